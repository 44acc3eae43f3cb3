use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;
use crate::id::IdError;
use crate::log_safe::LogSafe;

/// A SHA-256 digest, written `sha256:<64 lower-case hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest([u8; 32]);

/// 32 bytes that are used once: a challenge, a run's nonce, a salt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce([u8; 32]);

macro_rules! prefixed_32_bytes {
    ($name:ident, $prefix:literal) => {
        impl $name {
            /// Wraps the raw bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The 64 hex digits alone, for file names.
            pub fn to_hex(&self) -> String {
                hex::encode(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), hex::encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix).and_then(hex::decode_array).map(Self).ok_or(IdError {
                    kind: stringify!($name),
                    expected: concat!("`", $prefix, "` and 64 lower-case hex digits"),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl LogSafe for $name {}
    };
}

prefixed_32_bytes!(Sha256Digest, "sha256:");
prefixed_32_bytes!(Nonce, "nonce:");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Sha256Digest::from_bytes([0xab; 32]);
        let text = digest.to_string();
        assert_eq!(text.parse(), Ok(digest));
        assert!(text.to_uppercase().parse::<Sha256Digest>().is_err());
        assert!(text[..70].parse::<Sha256Digest>().is_err());
        assert!(text.replace("sha256", "nonce").parse::<Sha256Digest>().is_err());
    }
}
