//! `cordon synth`: patients who do not exist.

use std::path::PathBuf;

use clap::Args;
use cordon_clinical::synth::{DEFAULT_SITES, Generator};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::ops::synth;
use crate::output::Output;

pub const EXAMPLE: &str = "Example:\n  cordon synth --patients 5000 --seed 1 --out synthetic";

/// Which patients.
#[derive(Args, Debug)]
pub struct Arguments {
    /// How many.
    #[arg(long, value_name = "N")]
    patients: u32,
    /// The same seed gives the same bytes on every machine.
    #[arg(long, value_name = "S")]
    seed: u64,
    /// A new folder: `<site>/<Resource>.ndjson` and `truth.json`.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The sites, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = DEFAULT_SITES.iter().map(ToString::to_string))]
    sites: Vec<String>,
}

/// Writes them.
pub fn run(arguments: &Arguments, output: Output) -> Outcome {
    let Arguments { patients, seed, out, sites } = arguments;
    let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
    let generator = Generator::new(*seed, *patients, &sites).map_err(Failure::refused)?;
    let progress = output.count_bar(u64::from(*patients));
    let truth = synth::write(&generator, out, &progress)?;
    progress.finish_and_clear();
    let answer = json!({
        "out": out, "seed": seed, "patients": patients, "sites": sites,
        "shared": truth.people.shared,
    });
    output.show(&answer, || {
        format!(
            "{patients} patients at {} sites in `{}`; what there is to find: truth.json",
            sites.len(),
            out.display()
        )
    })
}
