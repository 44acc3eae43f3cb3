//! `cargo xtask bench NAME`: what it measures, and against what, is said in each module.
//!
//! Usage: `bench release|log|stream [--json]`, `bench ingest --programs FOLDER [--json]`, or
//! `bench run --programs FOLDER --engine FILE [--json]`.
#![expect(clippy::disallowed_methods, reason = "it reads clocks, and starts programs")]

mod ingest;
mod log;
mod release;
mod run;
mod stream;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let (mut as_json, mut programs, mut engine) = (false, None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            "--programs" => programs = arguments.next().map(PathBuf::from),
            "--engine" => engine = arguments.next().map(PathBuf::from),
            other => bail!("`{other}` is unknown"),
        }
    }
    let report = match name.as_str() {
        "release" => release::run()?,
        "log" => log::run()?,
        "stream" => stream::run()?,
        "ingest" => ingest::run(&programs.context("expected `--programs`")?)?,
        "run" => run::run(
            &programs.context("expected `--programs`")?,
            &engine.context("expected `--engine`")?,
        )?,
        other => bail!("there is no bench `{other}`"),
    };
    print!("{}", report.render(as_json));
    Ok(())
}
