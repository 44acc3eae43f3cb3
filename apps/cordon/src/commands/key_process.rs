//! `cordon key-process`: holds a broker's keys behind two pipes.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use cordon_crypto::SystemRandom;
use cordon_keystore::process::serve;
use cordon_sandbox::memory;

use crate::failure::Outcome;

pub const EXAMPLE: &str =
    "Example (a broker does this):\n  cordon key-process --folder broker/keys";

/// Where the keys are.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The key store's folder.
    #[arg(long, value_name = "KEYS")]
    folder: PathBuf,
}

/// Serves requests on standard input until it ends.
pub fn run(arguments: &Arguments) -> Outcome {
    // Whether pages could be locked as well depends on the user's limits; the operator sets them.
    let _locked = memory::protect().context("cannot forbid core dumps of the key process")?;
    // Not through the standard library's buffers: seeds would stay in them.
    let input = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    Ok(serve(&arguments.folder, input, output, &mut SystemRandom::new())?)
}
