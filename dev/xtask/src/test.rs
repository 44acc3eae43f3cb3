//! `cargo xtask test`: what continuous integration runs, and what a newcomer runs.

use anyhow::Result;

use crate::install;
use crate::tools::{cargo, step};

/// Formatting, lints, and every test with the real components.
#[derive(clap::Args)]
pub struct TestArguments {
    /// Leave out formatting and lints.
    #[arg(long)]
    only_tests: bool,
}

/// Runs it all; the runner's own count comes last.
pub fn run(arguments: &TestArguments) -> Result<()> {
    install::debian_packages()?;
    install::test_runner()?;
    let python = install::python_peers()?;
    if !arguments.only_tests {
        step("formatting", &mut cargo(&["fmt", "--all", "--check"]))?;
    }
    // The programs that tests start as processes, and the tests themselves, in one build.
    step("building", &mut cargo(&["build", "--workspace", "--all-targets", "--locked"]))?;
    if !arguments.only_tests {
        step(
            "lints",
            &mut cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "--deny",
                "warnings",
            ]),
        )?;
    }
    step(
        "examples in the documentation",
        &mut cargo(&["test", "--workspace", "--doc", "--locked"]),
    )?;
    step(
        "tests",
        cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"])
            .env("CORDON_PEERS_PYTHON", &python),
    )
}
