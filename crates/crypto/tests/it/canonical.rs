//! Canonical JSON against RFC 8785, and against a crate that implements all of it.

use cordon_crypto::canonical::{CanonicalError, from_canonical, to_canonical};
use proptest::prelude::*;
use serde_json::{Value, json};

fn canonical(text: &str) -> Result<String, CanonicalError> {
    let value: Value = serde_json::from_str(text).expect("JSON");
    to_canonical(&value).map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
}

/// RFC 8785 §3.2.3: names in the order of their UTF-16 code units.
#[test]
fn names_are_sorted_as_in_the_example() {
    let names = ["\u{20ac}", "\r", "\u{fb33}", "1", "\u{1f600}", "\u{80}", "\u{f6}"];
    let object: Value = names
        .iter()
        .map(|name| ((*name).to_owned(), json!(0)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let sorted = ["\\r", "1", "\u{80}", "\u{f6}", "\u{20ac}", "\u{1f600}", "\u{fb33}"];
    let members: Vec<_> = sorted.iter().map(|name| format!("\"{name}\":0")).collect();
    let expected = format!("{{{}}}", members.join(","));
    assert_eq!(String::from_utf8(to_canonical(&object).unwrap()).unwrap(), expected);
}

/// RFC 8785 §3.2.2.2: U+0000 to U+001F, quotation mark, backslash; all else is itself.
#[test]
fn characters_are_escaped_as_stated() {
    let text: String = (0..0x20_u8).map(char::from).chain("\"\\/\u{7f}é€😀".chars()).collect();
    let short = [(8, "b"), (9, "t"), (10, "n"), (12, "f"), (13, "r")];
    let control = |code: u8| match short.iter().find(|(known, _)| *known == code) {
        Some((_, letter)) => format!("\\{letter}"),
        None => format!("\\u{code:04x}"),
    };
    let controls: String = (0..0x20).map(control).collect();
    let expected = format!("\"{controls}\\\"\\\\/\u{7f}é€😀\"");
    assert_eq!(to_canonical(&text).unwrap(), expected.into_bytes());
}

/// RFC 8785 appendix B. Integers below 2^53 are written; all other doubles have no form here,
/// since our documents carry none.
#[test]
fn integers_are_written_and_other_numbers_refused() {
    for (text, expected) in [
        ("0", "0"),
        ("1", "1"),
        ("-1", "-1"),
        ("9007199254740991", "9007199254740991"),
        ("-9007199254740991", "-9007199254740991"),
        ("295147905179352", "295147905179352"),
    ] {
        assert_eq!(canonical(text).unwrap(), expected);
    }
    for text in [
        "-0.0",
        "5e-324",
        "-5e-324",
        "1.7976931348623157e+308",
        "-1.7976931348623157e+308",
        "9007199254740992",
        "-9007199254740992",
        "295147905179352830000",
        "9.999999999999997e+22",
        "1e+23",
        "1.0000000000000001e+23",
        "999999999999999700000",
        "1e+21",
        "9.999999999999997e-7",
        "0.000001",
        "333333333.3333332",
        "-0.0000033333333333333333",
        "1424953923781206.2",
        "4.50",
        "2e-3",
    ] {
        assert!(matches!(canonical(text), Err(CanonicalError::Number)), "{text}");
    }
}

/// RFC 8785 §3.1 asks for I-JSON (RFC 7493): no name twice, no half of a surrogate pair, UTF-8.
#[test]
fn what_is_no_i_json_is_refused() {
    for bad in [
        b"{\"a\":1,\"a\":2}".as_slice(),
        b"\"\\ud800\"",
        b"\"\\udead\\ud83d\"",
        b"\"\xff\"",
        b"\"\xc0\x80\"",
        b"\xef\xbb\xbf\"bom\"",
        b"NaN",
        b"Infinity",
    ] {
        assert!(from_canonical::<Value>(bad, 64).is_err(), "{}", bad.escape_ascii());
    }
}

/// A member, an element, an escape, a number: each has one spelling.
#[test]
fn a_second_spelling_is_refused() {
    for (good, bad) in [
        ("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}"),
        ("[1,2]", "[1, 2]"),
        ("\"a\"", "\"\\u0061\""),
        ("\"\\u001f\"", "\"\\u001F\""),
        ("\"\\n\"", "\"\\u000a\""),
        ("\"/\"", "\"\\/\""),
        ("100", "1e2"),
        ("0", "-0"),
        ("true", "true\n"),
    ] {
        assert!(from_canonical::<Value>(good.as_bytes(), 64).is_ok(), "{good}");
        assert!(from_canonical::<Value>(bad.as_bytes(), 64).is_err(), "{bad}");
    }
}

/// Depth is bounded by the parser, so that no document exhausts the stack.
#[test]
fn deep_nesting_is_refused() {
    let deep = "[".repeat(100_000);
    assert!(from_canonical::<Value>(deep.as_bytes(), deep.len()).is_err());
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53) + 1..1 << 53).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let name =
            prop_oneof![any::<String>(), "[\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}a]{1,3}"];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(name, inner, 0..6)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn our_form_is_that_of_another_implementation(value in any_value()) {
        let ours = to_canonical(&value).unwrap();
        let theirs = serde_json_canonicalizer::to_vec(&value).unwrap();
        prop_assert_eq!(&ours, &theirs);
        prop_assert_eq!(from_canonical::<Value>(&ours, ours.len()).unwrap(), value);
    }

    #[test]
    fn only_one_encoding_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(value) = from_canonical::<Value>(&bytes, 40) {
            prop_assert_eq!(to_canonical(&value).unwrap(), bytes);
        }
    }
}
