//! `cordon broker`: a data holder's own gate.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;
use cordon_broker::setup::{self, HubSettings, KeyProcess, Settings, keys_folder};
use cordon_crypto::VerifyingKey;
use cordon_protocol::party::Profile;
use cordon_sandbox::memory;

use super::service::{
    CredentialArguments, TlsArguments, listen, show_address, shutdown, start_log,
};
use super::wait_for;
use crate::failure::Outcome;
use crate::files;
use crate::output::Output;

pub const EXAMPLE: &str = "Example:\n  \
    cordon broker --folder broker --listen 127.0.0.1:8701 --hub https://hub.example \\\n    \
    --key-file /media/key/root.key";

/// How the broker is run.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The folder that `cordon init party` made.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Where staff connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The hub; without one the broker serves its own staff only.
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// Certificates to trust for the hub instead of the system's.
    #[arg(long, value_name = "PEM", requires = "hub")]
    hub_roots: Option<PathBuf>,
    #[command(flatten)]
    credential: CredentialArguments,
    #[command(flatten)]
    tls: TlsArguments,
    /// Root key of the software TEE to accept; in profile development only.
    #[arg(long, value_name = "PUBLIC KEY")]
    software_root: Option<VerifyingKey>,
}

/// Runs it until somebody asks it to end, or its log must not go on.
pub fn run(arguments: Arguments, output: Output) -> Outcome {
    start_log();
    // The keys of the log, of the witness and of the broker itself are in this process.
    let _locked = memory::protect().context("cannot forbid core dumps of the broker")?;
    wait_for(serve(arguments, output))
}

async fn serve(arguments: Arguments, output: Output) -> Outcome {
    let Arguments { folder, listen: address, hub, hub_roots, credential, tls, software_root } =
        arguments;
    let shutdown = shutdown()?;
    let tls = tls.read()?;
    let is_tls = tls.is_some();
    let roots = hub_roots.map(|path| files::read(&path)).transpose()?;
    let mut running = setup::start(Settings {
        credential: credential.read()?,
        key_process: KeyProcess::Start(key_process(&folder)?),
        hub: hub.map(|url| HubSettings { url, roots }),
        listener: listen(address).await?,
        folder,
        tls,
        software_root,
        peers: None,
    })
    .await?;
    if running.broker().card().value().profile == Profile::Development {
        output.note(BANNER);
    }
    show_address(running.address(), is_tls, output)?;
    let failed = tokio::select! {
        failed = running.failed() => Err(failed),
        () = shutdown => Ok(()),
    };
    let stopped = running.stop().await;
    Ok(failed.and(stopped)?)
}

/// This program again, as the key process. In a process group of its own: ctrl-c in a terminal
/// reaches the broker, which then lets its keys end in order.
fn key_process(folder: &Path) -> Result<Command> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command.arg("key-process").arg("--folder").arg(keys_folder(folder)).process_group(0);
    Ok(command)
}

const BANNER: &str = "DEVELOPMENT BROKER: it may accept the software TEE, which is not confidential. \
     Whoever operates the machine of a guard can read everything that the guard reads.";
