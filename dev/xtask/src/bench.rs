//! `cargo xtask bench`: the figures of `docs/performance.md`.

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::tools::{cargo, hand_over_to, step, target_directory};

/// Measures, against a peer in the same run, and says whether the target is met.
#[derive(clap::Args)]
pub struct BenchArguments {
    /// What to measure.
    bench: Bench,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bench {
    /// Challenge, evidence, grant at one broker.
    Release,
    /// Durable log entries, and proofs of them.
    Log,
    /// FHIR NDJSON to sealed Parquet.
    Ingest,
    /// Sealed stream against AES-256-GCM.
    Stream,
    /// A whole run against the bare engine.
    Run,
}

/// Builds with optimisation (all but the engine, which takes too long) and measures.
pub fn run(arguments: &BenchArguments) -> Result<()> {
    // One set of packages for all benches: the features of shared dependencies, and so their
    // builds, are then the same.
    let packages = ["-p", "cordon", "-p", "cordon-enclave", "-p", "cordon-testkit"];
    let targets = ["--bins", "--example", "bench"];
    step(
        "building with optimisation (the first time takes some 10 minutes)",
        cargo(&["build", "--release", "--locked"]).args(packages).args(targets),
    )?;
    let release = target_directory().join("release");
    let mut command = Command::new(release.join("examples/bench"));
    match arguments.bench {
        Bench::Release => command.arg("release"),
        Bench::Log => command.arg("log"),
        Bench::Stream => command.arg("stream"),
        Bench::Ingest => command.arg("ingest").arg("--programs").arg(&release),
        Bench::Run => {
            step(
                "building the engine as the demo does",
                &mut cargo(&["build", "--workspace", "--locked"]),
            )?;
            let engine = target_directory().join("debug/cordon-engine-sql");
            command.arg("run").arg("--programs").arg(&release).arg("--engine").arg(engine)
        }
    };
    if arguments.json {
        command.arg("--json");
    }
    hand_over_to(&mut command)
}
