//! The host relay: claims runs, starts a guard for each, and carries its messages.
//!
//! The host is trusted with nothing. It sees ciphertext, signed documents and timing; what it
//! drops, repeats or changes is noticed by guard or brokers. So it checks little, and only to
//! fail early with a clear code. All traffic between a guard and the world passes through a
//! [`Relay`]; a hostile one is how tests and the demo attack ([`Mischief`]).

mod cache;
mod engines;
mod guard;
mod mischief;
mod relay;
mod run;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::cache::ObjectCache;
use self::engines::Engines;
use crate::client::{Client, ClientError};

pub use self::engines::EngineError;
pub use self::guard::{Guard, GuardLauncher, GuardProcess};
pub use self::mischief::{Mischief, Recorder, Recording};
pub use self::relay::{GuardFrame, Honest, Relay, RelayMaker};

/// One long poll for a run.
const CLAIM_WAIT: Duration = Duration::from_secs(25);
/// After a failed claim.
const CLAIM_PAUSE: Duration = Duration::from_secs(1);

/// How a host is run.
pub struct HostConfig {
    launcher: Arc<dyn GuardLauncher>,
    engines: Vec<PathBuf>,
    max_concurrent: usize,
    cache_bytes: usize,
    drain: Duration,
    relay: RelayMaker,
}

impl HostConfig {
    /// A host that starts guards with `launcher`, two at a time.
    pub fn new(launcher: Arc<dyn GuardLauncher>) -> Self {
        Self {
            launcher,
            engines: Vec::new(),
            max_concurrent: 2,
            cache_bytes: 256 << 20,
            drain: Duration::from_secs(30),
            relay: Arc::new(|_| Box::new(Honest)),
        }
    }

    /// Looks for engines in these files and folders before it asks the hub.
    #[must_use]
    pub fn with_engines(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        self.engines.extend(paths);
        self
    }

    /// Runs so many guards at a time, at least one.
    #[must_use]
    pub fn running_at_most(mut self, guards: usize) -> Self {
        self.max_concurrent = guards.max(1);
        self
    }

    /// Keeps so many bytes of ciphertext in memory.
    #[must_use]
    pub fn caching(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Gives running guards so long to end when the host shall end.
    #[must_use]
    pub fn draining(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    /// Passes the traffic of each run through what this makes. For tests and demonstrations: a
    /// real attacker brings a host of his own.
    #[must_use]
    pub fn relaying_through(mut self, relay: RelayMaker) -> Self {
        self.relay = relay;
        self
    }
}

/// Why a host does not run.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engines cannot be read.
    #[error("cannot read the engines")]
    Engines(#[source] EngineError),
    /// The hub does not take this host.
    #[error("the hub does not let this host claim runs")]
    Refused(#[source] ClientError),
}

/// What all runs of a host share.
struct Host {
    client: Client,
    launcher: Arc<dyn GuardLauncher>,
    engines: Engines,
    cache: ObjectCache,
    relay: RelayMaker,
}

/// Claims and executes runs until `shutdown` resolves; running guards then get time to end.
///
/// # Errors
/// If the engines cannot be read, or the hub refuses this host's key.
pub async fn run_host(
    client: Client,
    config: HostConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), HostError> {
    let HostConfig { launcher, engines, max_concurrent, cache_bytes, drain, relay } = config;
    let engines = tokio::task::spawn_blocking(move || Engines::scan(&engines))
        .await
        .unwrap_or_else(|error| Err(EngineError::Io(std::io::Error::other(error))))
        .map_err(HostError::Engines)?;
    let cache = ObjectCache::new(client.clone(), cache_bytes);
    let host = Arc::new(Host { client, launcher, engines, cache, relay });
    let slots = Arc::new(Semaphore::new(max_concurrent));
    let (stop, stopping) = watch::channel(false);
    let mut runs = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let result = loop {
        let claimed = tokio::select! {
            () = &mut shutdown => break Ok(()),
            claimed = claim(&host.client, &slots) => claimed,
        };
        while runs.try_join_next().is_some() {}
        match claimed {
            Ok(None) => {}
            Ok(Some((claim, slot))) => {
                let (host, stopping) = (host.clone(), stopping.clone());
                runs.spawn(async move {
                    let _slot = slot;
                    run::execute(host, claim, stopping).await;
                });
            }
            Err(error) if error.code() == Some("signer_unknown") => {
                break Err(HostError::Refused(error));
            }
            Err(error) => {
                tracing::warn!(code = error.code(), "cannot claim a run");
                tokio::time::sleep(CLAIM_PAUSE).await;
            }
        }
    };
    let drained = async { while runs.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, drained).await.is_err() {
        // Guards are killed; each run tells the hub so before it ends.
        let _ = stop.send(true);
        while runs.join_next().await.is_some() {}
    }
    result
}

type Claimed = (crate::api::Claim, tokio::sync::OwnedSemaphorePermit);

async fn claim(client: &Client, slots: &Arc<Semaphore>) -> Result<Option<Claimed>, ClientError> {
    // The semaphore is never closed.
    let Ok(slot) = slots.clone().acquire_owned().await else { return Ok(None) };
    let claim = client.claim_run(CLAIM_WAIT).await?;
    Ok(claim.map(|claim| (claim, slot)))
}
