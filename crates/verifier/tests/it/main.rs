//! Genuine evidence, read from the packages that ship it, at its own date.
#![expect(clippy::disallowed_methods, reason = "tests read vectors")]

mod nitro;
mod snp;
mod vectors;
