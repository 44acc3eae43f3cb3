//! `cargo xtask torture`: campaigns that are too long for the test suite.

use std::process::Command;

use anyhow::Result;
use clap::Subcommand;

use crate::tools::{cargo, hand_over_to, step, target_directory};

/// Long campaigns of which the test suite runs a short form.
#[derive(clap::Args)]
pub struct TortureArguments {
    #[command(subcommand)]
    campaign: Campaign,
}

#[derive(Subcommand)]
enum Campaign {
    /// Kills a broker while it releases keys: no key without a log entry, nothing spent twice.
    Kill {
        /// How often.
        #[arg(short, default_value_t = 500)]
        n: u32,
        /// Draws the random moments; the same seed draws the same.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// Builds as the tests do, and runs.
pub fn run(arguments: &TortureArguments) -> Result<()> {
    step("building", &mut cargo(&["build", "--workspace", "--locked"]))?;
    let mut command = Command::new(target_directory().join("debug/torture"));
    match &arguments.campaign {
        Campaign::Kill { n, seed } => {
            command.args(["kill", "-n", &n.to_string(), "--seed", &seed.to_string()]);
        }
    }
    hand_over_to(&mut command)
}
