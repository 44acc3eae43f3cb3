//! The program people run: commands for each person of a study, and the services behind them.
//!
//! `commands` parses and prints, `ops` does, and neither decides anything that a broker, a guard
//! or a verifier has to decide.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "a program: it reads files and the clock")]

mod clock;
mod commands;
mod demo;
mod failure;
mod files;
mod keyfile;
mod ops;
mod output;
mod person;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Planning a study confines an engine: this very program is then its launcher.
    cordon_sandbox::launcher::run_if_asked();
    commands::run()
}
