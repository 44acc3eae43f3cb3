use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::log_safe::LogSafe;

/// A text that is not a well-formed identifier.
///
/// The text itself is not repeated: it may come from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: expected {expected}")]
pub struct IdError {
    pub(crate) kind: &'static str,
    pub(crate) expected: &'static str,
}

/// Longest identifier in bytes: fits a file name beside a suffix, and a host name label.
const MAX_ID_BYTES: usize = 63;

fn is_lower_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let bytes = text.as_bytes();
    bytes.len() <= MAX_ID_BYTES
        && bytes.first().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && bytes.iter().all(|b| inner(*b))
        && !text.contains("..")
}

/// SQL on FHIR: names match `^[A-Za-z][A-Za-z0-9_]*$`; ours also have an upper bound.
fn is_column_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= MAX_ID_BYTES
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $check:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if $check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError { kind: stringify!($name), expected: $expected })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! lower_identifiers {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            identifier!(
                $(#[$doc])* $name, is_lower_name,
                "1 to 63 of `a-z 0-9 . _ -`, a letter or digit first, no `..`"
            );
            impl LogSafe for $name {}
        )*
    };
}

lower_identifiers! {
    /// An organisation: a data holder, a sponsor, a platform operator.
    PartyId;
    /// A person enrolled by a party.
    PersonId;
    /// A dataset of one holder; its versions are counted from 1.
    DatasetId;
    /// A study: the wish that its agreements make precise.
    StudyId;
    /// The name of an agreement within its study, for people; machines use its digest.
    AgreementName;
    /// A key in a party's key store.
    KeyId;
    /// A program release that an agreement approves.
    ProgramName;
}

identifier!(
    /// A table that a query sees, within one agreement.
    TableName, is_column_name, "1 to 63 of `A-Z a-z 0-9 _`, a letter first"
);
identifier!(
    /// A column of a sealed table.
    ColumnName, is_column_name, "1 to 63 of `A-Z a-z 0-9 _`, a letter first"
);
identifier!(
    /// A column of a result.
    OutputColumn, is_column_name, "1 to 63 of `A-Z a-z 0-9 _`, a letter first"
);
identifier!(
    /// A parameter of a program, bound and never interpolated.
    ParameterName, is_column_name, "1 to 63 of `A-Z a-z 0-9 _`, a letter first"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_safe_as_file_names_and_labels() {
        for good in ["a", "hospital-a", "0", "a.b_c-d", &"x".repeat(63)] {
            assert!(good.parse::<PartyId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".", "..", "a..b", "A", "a b", "a/b", "ä", "a\n", &"x".repeat(64)] {
            assert!(bad.parse::<PartyId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_the_text() {
        let error = "Jane Doe".parse::<PersonId>().unwrap_err();
        assert!(!error.to_string().contains("Jane"));
    }
}
