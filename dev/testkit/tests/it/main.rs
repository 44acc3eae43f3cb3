//! Our formats as programs read them that we did not write.
#![expect(clippy::disallowed_methods, reason = "tests write and change files")]

mod go_log;
mod kill;
