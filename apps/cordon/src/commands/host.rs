//! `cordon host`: claims runs and starts a guard for each.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use clap::Args;
use cordon_crypto::SystemRandom;
use cordon_hub::client::ClientConfig;
use cordon_hub::host::{HostConfig, run_host};
use cordon_softtee::{BANNER, read_root_key};
use serde_json::json;

use super::people::Hub;
use super::service::{shutdown, start_log};
use super::wait_for;
use crate::failure::Outcome;
use crate::files;
use crate::keyfile::{self, Purpose};
use crate::ops::hub;
use crate::ops::launcher::SoftwareLauncher;
use crate::output::Output;

pub const EXAMPLE: &str = "Example:\n  \
    cordon host --hub https://hub.example --key host.key --guard cordon-enclave \\\n    \
    --engine cordon-engine-sql --software-root-key root.key";

/// How the host is run.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    hub: Hub,
    /// The host's own key; made if it is not there.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The guard's executable; a bare name is looked up beside `cordon` and in PATH, too.
    #[arg(long, value_name = "FILE")]
    guard: PathBuf,
    /// An engine, looked up likewise, or a folder of engines; others are fetched from the hub.
    #[arg(long = "engine", value_name = "FILE")]
    engines: Vec<PathBuf>,
    /// Root key of the software TEE that guards start in: `cordon-softtee init` makes one.
    #[arg(long, value_name = "FILE")]
    software_root_key: PathBuf,
    /// How many guards run at a time.
    #[arg(long, value_name = "N", default_value_t = 2)]
    at_most: usize,
}

/// Runs it until somebody asks it to end.
pub fn run(arguments: Arguments, output: Output) -> Outcome {
    start_log();
    wait_for(serve(arguments, output))
}

async fn serve(arguments: Arguments, output: Output) -> Outcome {
    let Arguments { hub: at, key, guard, engines, software_root_key, at_most } = arguments;
    let shutdown = shutdown()?;
    let root = read_root_key(&software_root_key)?;
    let guard = files::program(&guard);
    ensure_file(&guard)?;
    let engines: Vec<PathBuf> = engines.iter().map(|engine| files::program(engine)).collect();
    let key = Arc::new(keyfile::signing_key(&key, Purpose::Host, &mut SystemRandom::new())?);
    let public = key.verifying_key();
    let roots = at.hub_roots.as_deref();
    let client = hub::connect(&at.hub, roots, ClientConfig::signing_as(key))?;
    let launcher = SoftwareLauncher::new(guard, &root);
    let config = HostConfig::new(Arc::new(launcher)).with_engines(engines).running_at_most(at_most);
    output.note(BANNER);
    let answer = json!({ "claiming": client.url(), "host_key": public });
    output.show(&answer, || format!("claiming runs from {} as {public}", client.url()))?;
    Ok(run_host(client, config, shutdown).await?)
}

/// Better now than at the first run.
fn ensure_file(guard: &std::path::Path) -> anyhow::Result<()> {
    ensure!(guard.is_file(), "there is no guard at `{}`: build `cordon-enclave`", guard.display());
    Ok(())
}
