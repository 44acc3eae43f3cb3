//! `cordon hub`: trusted with nothing, needed by all.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use cordon_crypto::VerifyingKey;
use cordon_hub::server::{Hosts, Registration, ServerConfig, open};

use super::service::{TlsArguments, listen, show_address, shutdown, start_log};
use super::wait_for;
use crate::failure::Outcome;
use crate::output::Output;

pub const EXAMPLE: &str = "Example:\n  \
    cordon hub --folder hub --listen 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem";

/// How the hub is run.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where everything is kept; made if it is not there.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Where everybody connects; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    #[command(flatten)]
    tls: TlsArguments,
    /// A host that may claim runs [default: any].
    #[arg(long = "host-key", value_name = "PUBLIC KEY")]
    host_keys: Vec<VerifyingKey>,
    /// A broker that may register, with the persons of its party [default: any].
    #[arg(long = "broker-key", value_name = "PUBLIC KEY")]
    broker_keys: Vec<VerifyingKey>,
}

/// Runs it until somebody asks it to end.
pub fn run(arguments: Arguments, output: Output) -> Outcome {
    start_log();
    wait_for(serve_hub(arguments, output))
}

async fn serve_hub(arguments: Arguments, output: Output) -> Outcome {
    let Arguments { folder, listen: address, tls, host_keys, broker_keys } = arguments;
    let shutdown = shutdown()?;
    let mut config = ServerConfig::new(folder);
    config.tls = tls.read()?;
    if !host_keys.is_empty() {
        config.hosts = Hosts::Listed(host_keys.into_iter().collect());
    }
    if !broker_keys.is_empty() {
        config.registration = Registration::Listed(broker_keys.into_iter().collect());
    }
    let listener = listen(address).await?;
    let address = listener.local_addr().context("cannot read the own address")?;
    let is_tls = config.tls.is_some();
    let hub = open(listener, config).await?;
    show_address(address, is_tls, output)?;
    hub.run(shutdown).await;
    Ok(())
}
