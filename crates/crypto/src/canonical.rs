//! The one encoding of a document: RFC 8785 (JSON Canonicalization Scheme) for JSON without
//! fractions.
//!
//! Our documents carry integers below 2^53 and decimals as text, so the number formatting of
//! RFC 8785 §3.2.2.3 reduces to integers; a fraction is an error, not a rounding. Reading
//! accepts only bytes that writing would give again: white space, a second spelling, a repeated
//! or unknown member are all refused by that one comparison.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a document has no canonical form, or bytes are not one.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// The value cannot be written as JSON.
    #[error("cannot be written as JSON")]
    NotJson(#[source] serde_json::Error),
    /// A number that is not an integer of magnitude below 2^53.
    #[error("holds a number that is not an integer below 2^53 in magnitude")]
    Number,
    /// More bytes than the reader allows.
    #[error("{size} bytes are over the limit of {limit}")]
    TooLarge {
        /// Bytes found.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes do not parse as the expected document; position only, never content.
    #[error("not a `{expected}` document: {category} at line {line} column {column}")]
    Malformed {
        /// Name of the expected type.
        expected: &'static str,
        /// `syntax`, `unknown or missing member` …
        category: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The member that was refused, if the parser named one of ours.
        #[source]
        source: serde_json::Error,
    },
    /// It parses, but another spelling is the canonical one.
    #[error("not in canonical form (RFC 8785): first difference at byte {offset}")]
    NotCanonical {
        /// Offset of the first differing byte.
        offset: usize,
    },
}

/// Writes the canonical form.
///
/// # Errors
/// If the value holds fractions or integers from 2^53 on, or is no JSON at all.
pub fn to_canonical<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value).map_err(CanonicalError::NotJson)?;
    let mut out = Vec::with_capacity(512);
    write_value(&value, &mut out)?;
    Ok(out)
}

/// Reads a document of type `T` from its canonical form, and from no other.
///
/// # Errors
/// If the bytes are over `limit`, malformed, or not canonical.
pub fn from_canonical<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    limit: usize,
) -> Result<T, CanonicalError> {
    if bytes.len() > limit {
        return Err(CanonicalError::TooLarge { size: bytes.len(), limit });
    }
    let value: T = serde_json::from_slice(bytes).map_err(|source| CanonicalError::Malformed {
        expected: short_name::<T>(),
        category: match source.classify() {
            serde_json::error::Category::Data => "unexpected member or value",
            serde_json::error::Category::Syntax => "syntax error",
            serde_json::error::Category::Eof => "unexpected end",
            serde_json::error::Category::Io => "read error",
        },
        line: source.line(),
        column: source.column(),
        source,
    })?;
    let canonical = to_canonical(&value)?;
    if canonical != bytes {
        let offset = canonical.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        return Err(CanonicalError::NotCanonical { offset });
    }
    Ok(value)
}

fn short_name<T>() -> &'static str {
    let full = std::any::type_name::<T>();
    full.rsplit("::").next().unwrap_or(full)
}

fn write_value(value: &Value, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            let integer = number.as_i64().ok_or(CanonicalError::Number)?;
            if integer.unsigned_abs() >= 1 << 53 {
                return Err(CanonicalError::Number);
            }
            out.extend_from_slice(integer.to_string().as_bytes());
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // RFC 8785 §3.2.3: order by UTF-16 code units, not by bytes or scalars.
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push(b'{');
            for (index, (name, member)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(name, out);
                out.push(b':');
                write_value(member, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// RFC 8785 §3.2.2.2: short escapes where JSON has them, `\u00xx` for other controls, all else
/// as it is.
fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            control @ 0..0x20 => {
                out.extend_from_slice(format!("\\u{control:04x}").as_bytes());
            }
            other => out.push(other),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        let value: Value = serde_json::from_str(text).unwrap();
        String::from_utf8(to_canonical(&value).unwrap()).unwrap()
    }

    /// RFC 8785 §3.2.3, the sorting example.
    #[test]
    fn sorts_by_utf16_code_units_as_rfc_8785() {
        let input = "{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\
            \"\\ufb33\":\"Hebrew Letter Dalet With Dagesh\",\"1\":\"One\",\
            \"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\",\
            \"\\u00f6\":\"Latin Small Letter O With Diaeresis\"}";
        let output = canonical(input);
        let order = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"];
        let positions: Vec<_> = order.iter().map(|name| output.find(name).unwrap()).collect();
        assert!(positions.is_sorted(), "{positions:?}");
    }

    /// RFC 8785 §3.2.2, the string and the literals of the example.
    #[test]
    fn escapes_as_rfc_8785() {
        let input = "{\"string\":\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\",\
            \"literals\":[null, true, false]}";
        assert_eq!(
            canonical(input),
            "{\"literals\":[null,true,false],\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
    }

    #[test]
    fn fractions_and_large_integers_have_no_form() {
        for text in ["1.5", "1e3", "9007199254740992", "-9007199254740992"] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert!(matches!(to_canonical(&value), Err(CanonicalError::Number)), "{text}");
        }
        assert_eq!(canonical("9007199254740991"), "9007199254740991");
    }

    #[test]
    fn reading_refuses_every_other_spelling() {
        #[derive(Debug, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Point {
            x: u32,
            y: u32,
        }
        assert!(from_canonical::<Point>(b"{\"x\":1,\"y\":2}", 64).is_ok());
        for bad in [
            "{\"y\":2,\"x\":1}",
            "{\"x\":1, \"y\":2}",
            "{\"x\":1,\"y\":2}\n",
            "{\"x\":1,\"x\":1,\"y\":2}",
            "{\"x\":1,\"y\":2,\"z\":3}",
            "{\"x\":1}",
            "{\"x\":1,\"\\u0079\":2}",
            "{\"x\":1,\"y\":2",
            "",
        ] {
            assert!(from_canonical::<Point>(bad.as_bytes(), 64).is_err(), "{bad}");
        }
        assert!(from_canonical::<Point>(b"{\"x\":1,\"y\":2}", 12).is_err());
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point(entries in proptest::collection::btree_map(".*", any::<i32>(), 0..8)) {
            let once = to_canonical(&entries).unwrap();
            let again: Value = serde_json::from_slice(&once).unwrap();
            prop_assert_eq!(to_canonical(&again).unwrap(), once);
        }
    }
}
