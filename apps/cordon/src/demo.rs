//! `cordon demo`: the whole of a study on loopback, and the attacks that are refused.

pub mod report;

use std::path::PathBuf;

use clap::Args;

use crate::failure::Outcome;

/// What the demo is run with.
#[derive(Args, Debug)]
pub struct DemoArguments {
    /// Where the report goes.
    #[arg(long, value_name = "DIR", default_value = "demo-out")]
    pub out: PathBuf,
    /// Keep the brokers' folders, keys and synthetic patients beside the report.
    #[arg(long)]
    pub keep: bool,
    /// How many synthetic patients.
    #[arg(long, value_name = "N", default_value_t = 3000)]
    pub patients: u32,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the demo.
///
/// # Errors
/// If a step does not come out as expected.
pub fn run(arguments: DemoArguments) -> Outcome {
    let DemoArguments { out, .. } = arguments;
    Err(anyhow::anyhow!(
        "the demo is not part of this build; nothing was written to `{}`",
        out.display()
    )
    .into())
}
