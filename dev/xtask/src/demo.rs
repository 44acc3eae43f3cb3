//! `cargo xtask demo`: builds the five programs and runs the main job.

use anyhow::Result;

use crate::tools::{cargo, hand_over_to, step, target_directory};

/// Builds what the demo needs and runs it.
#[derive(clap::Args)]
pub struct DemoArguments {
    /// Passed on to `cordon demo`, for example `--keep`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds and runs.
pub fn run(arguments: &DemoArguments) -> Result<()> {
    // The whole workspace and not single packages: the features of shared dependencies, and so
    // their builds, are then the same as for the tests.
    step(
        "building (the first time takes some 15 minutes)",
        &mut cargo(&["build", "--workspace", "--locked"]),
    )?;
    let cordon = target_directory().join("debug/cordon");
    let mut command = std::process::Command::new(cordon);
    hand_over_to(command.arg("demo").args(&arguments.rest))
}
