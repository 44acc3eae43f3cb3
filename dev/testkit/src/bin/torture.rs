//! Long campaigns: `torture kill [-n KILLS] [--seed NUMBER]`. `torture broker` is their child.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use cordon_testkit::torture::{Campaign, serve};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("broker") => serve().map(|()| ExitCode::SUCCESS),
        Some("kill") => kill(arguments),
        _ => bail!("expected `kill`"),
    }
}

fn kill(mut arguments: impl Iterator<Item = String>) -> Result<ExitCode> {
    let mut campaign = Campaign { program: std::env::current_exe()?, kills: 500, seed: 1 };
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> {
            let value = arguments.next().with_context(|| format!("`{argument}` needs a number"))?;
            Ok(value.parse()?)
        };
        match argument.as_str() {
            "-n" => campaign.kills = u32::try_from(number()?)?,
            "--seed" => campaign.seed = number()?,
            other => bail!("`{other}` is unknown"),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let tally = runtime.block_on(campaign.run(|tally| {
        if tally.kills.is_multiple_of(50) {
            eprintln!("{} kills", tally.kills);
        }
    }))?;
    print!("{tally}");
    Ok(if tally.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
