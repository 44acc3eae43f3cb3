//! Bytes from outside, random and almost right: no panic, bounded memory, and every refusal names
//! its place and repeats nothing of a record.

mod csv;
mod lines;
mod mutation;
mod paths;
mod views;

use proptest::test_runner::{Config, RngSeed};

/// A value that tests put into records: no error may show it.
const CANARY: &str = "Quillfeather";

/// Property tests try the same cases each time and write no files.
fn seeded(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x4_1985),
        ..Config::default()
    }
}

/// Whether an error shows the canary, as people or as a debugger see it.
fn leaks(error: &impl std::error::Error) -> bool {
    format!("{error} {error:?}").contains(CANARY)
}
