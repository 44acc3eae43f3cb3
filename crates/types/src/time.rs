use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::log_safe::LogSafe;

/// Largest integer that every JSON reader keeps exactly (RFC 8785 §3.2.2.3).
const MAX_JSON_INTEGER: u64 = (1 << 53) - 1;

macro_rules! count_of_time {
    ($(#[$doc:meta])* $name:ident, $unit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(u64);

        impl $name {
            /// Wraps the count; more than 2^53 - 1 is cut to it, since documents cannot carry it.
            pub const fn new(count: u64) -> Self {
                Self(if count > MAX_JSON_INTEGER { MAX_JSON_INTEGER } else { count })
            }

            /// The count itself.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{}", $unit), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let count = u64::deserialize(deserializer)?;
                if count > MAX_JSON_INTEGER {
                    return Err(serde::de::Error::custom("expected an integer below 2^53"));
                }
                Ok(Self(count))
            }
        }

        impl LogSafe for $name {}
    };
}

count_of_time!(
    /// Seconds since 1970-01-01T00:00:00Z.
    UnixSeconds, ""
);
count_of_time!(
    /// Milliseconds since 1970-01-01T00:00:00Z.
    UnixMillis, ""
);
count_of_time!(
    /// A duration in milliseconds.
    Milliseconds, " ms"
);

impl UnixSeconds {
    /// This moment and `seconds` more.
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        Self::new(self.0.saturating_add(seconds))
    }
}

impl UnixMillis {
    /// Whole seconds, rounded down.
    pub const fn to_seconds(self) -> UnixSeconds {
        UnixSeconds::new(self.0 / 1000)
    }
}

impl Milliseconds {
    /// As the standard library's type.
    pub const fn to_duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}
