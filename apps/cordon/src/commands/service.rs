//! What services share: credentials, certificates, logs, signals.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use cordon_crypto::Random;
use cordon_hub::server::TlsIdentity;
use cordon_keystore::Credential;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

use crate::failure::Outcome;
use crate::files;
use crate::ops::stop::Stop;
use crate::output::Output;

/// What opens a key store.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct CredentialArguments {
    /// Opens the key store: a file on another medium than the store.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Opens the key store: a file with a passphrase of at least 12 bytes, readable by you only.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Certificate and key of a service.
#[derive(Args, Debug)]
pub struct TlsArguments {
    /// Certificate chain; needed anywhere but on loopback.
    #[arg(long, value_name = "PEM", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl CredentialArguments {
    /// The credential of a key store that there is.
    pub fn read(&self) -> Result<Credential> {
        match (&self.key_file, &self.passphrase_file) {
            (Some(path), None) => Ok(Credential::KeyFile(absolute(path)?)),
            (None, Some(path)) => passphrase(path),
            _ => anyhow::bail!("expected one of `--key-file` and `--passphrase-file`"),
        }
    }

    /// The credential of a key store to be made; a key file that is not there is made, too.
    pub fn read_or_make(&self, random: &mut dyn Random) -> Result<Credential> {
        match &self.key_file {
            Some(path) if !path.exists() => Ok(Credential::create_key_file(path, random)?),
            _ => self.read(),
        }
    }
}

impl TlsArguments {
    /// The identity, if one is given.
    pub fn read(&self) -> Result<Option<TlsIdentity>> {
        let (Some(chain), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let private = Zeroizing::new(files::read(key)?);
        let identity = TlsIdentity::from_pem(&files::read(chain)?, &private);
        identity.map(Some).with_context(|| format!("`{}`", chain.display()))
    }
}

/// Listens, and fails with the address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on `{address}`"))
}

/// Prints where a service is: the first line of its standard output.
pub fn show_address(address: SocketAddr, is_tls: bool, output: Output) -> Outcome {
    let scheme = if is_tls { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    output.show(&json!({ "listening": url }), || format!("listening {url}"))
}

/// Logs to standard error; `CORDON_LOG` says how much.
pub fn start_log() {
    let filter = EnvFilter::try_from_env("CORDON_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // It fails if there is a log already, which then serves.
    let _ = log.try_init();
}

/// Resolves when somebody asks the process to end: ctrl-c, or the service manager.
///
/// # Errors
/// If the system gives no signals.
pub fn shutdown() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for ctrl-c")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// For work on files: asked to end by ctrl-c or the service manager, it can tidy up first.
///
/// # Errors
/// If the system gives no signals.
pub fn stop_on_signals() -> Result<Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shutdown = runtime.block_on(async { shutdown() })?;
    let stop = Stop::default();
    let asked = stop.clone();
    // Ends with the process.
    std::thread::spawn(move || {
        runtime.block_on(shutdown);
        asked.ask();
    });
    Ok(stop)
}

/// The key process reads the file by itself, wherever it runs.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("`{}`", path.display()))
}

fn passphrase(path: &Path) -> Result<Credential> {
    files::check_private(path)?;
    let mut text = Zeroizing::new(files::read(path)?);
    // Editors end a file with a line break that nobody means.
    while matches!(text.last(), Some(b'\n' | b'\r')) {
        text.pop();
    }
    Ok(Credential::Passphrase(text))
}
