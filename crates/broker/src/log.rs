//! The broker's transparency log: rows in the database, tiles and signed heads in a folder, and
//! the cosignatures of the other holders' brokers.
//!
//! ```text
//! record + entry, one transaction -> tiles -> head signed, durable -> cosignatures -> proof
//!   (store, append)                  (sequence)                      (peers)         (prove)
//! ```
//! What a crash leaves, at each arrow: before the first nothing at all; after it an entry that the
//! next start puts into tiles; tiles without a head are written again, to the same bytes; a head
//! without cosignatures is offered to the witnesses again. Nothing takes effect before its proof,
//! so that in every case nothing was released that the log does not tell of.
//!
//! A log must never sign two histories. Therefore nothing is signed before the database was found
//! to hold exactly the entries of the last signed head, and before the witnesses were asked which
//! head they cosigned last: an old backup is noticed, and its broker refuses to start.

mod error;
mod files;
mod heads;
mod peers;
mod rows;
mod sequence;
mod start;
mod witness;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use cordon_crypto::SigningKey;
use cordon_crypto::dsse::Signed;
use cordon_protocol::party::{PartyCard, witness_name};
use cordon_tlog::tile::TileHashReader;
use cordon_tlog::{KeyName, LogKey, ProofBundle, Quorum, TreeHash, VerifiedCheckpoint, WitnessKey};
use cordon_types::PartyId;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::store::Store;

pub use error::{Fatal, LogError};
pub use peers::{HubPeers, NoPeers, PeerError, Peers};
pub use rows::{append, entry};

use files::LogFolder;
use heads::Heads;
use peers::Peer;

/// How long a caller waits for the cosignatures of a quorum before it is told to try again.
const PROOF_PATIENCE: Duration = Duration::from_secs(20);

/// What a log is opened with.
pub struct LogParts {
    /// The broker's own card: origin and public keys.
    pub card: Signed<PartyCard>,
    /// Signs heads.
    pub log_key: SigningKey,
    /// Cosigns the heads of others.
    pub witness_key: SigningKey,
    /// The entries.
    pub store: Arc<Store>,
    /// How other brokers are reached.
    pub peers: Arc<dyn Peers>,
    /// Cards of the enrolled parties.
    pub enrolled: Vec<PartyCard>,
}

/// The log of one broker, and its part as a witness of others.
pub struct Log {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

/// What the tasks of a log share.
struct Shared {
    origin: KeyName,
    witness_name: KeyName,
    log_key: SigningKey,
    witness_key: SigningKey,
    store: Arc<Store>,
    folder: LogFolder,
    /// Tiles of the head that was proven under last.
    tiles: Mutex<Option<TileHashReader<LogFolder>>>,
    peers: Arc<dyn Peers>,
    /// Logs that this broker witnesses.
    witnessed: RwLock<Vec<LogKey>>,
    /// There may be new entries.
    work: Notify,
    heads: watch::Sender<Heads>,
    condition: watch::Sender<Condition>,
}

/// Whether the log may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// The witnesses have not yet said what they cosigned last.
    Starting,
    /// It may.
    Ready,
    /// It must not, ever.
    Fatal(Fatal),
}

impl Log {
    /// Opens the log in `folder` and starts its tasks.
    ///
    /// # Errors
    /// If the database does not hold the entries that were signed, or the folder cannot be used.
    pub async fn open(folder: &Path, parts: LogParts) -> Result<Self, LogError> {
        let card = parts.card.value();
        let name = |text: &str| text.parse::<KeyName>().map_err(|_| LogError::Name);
        let folder = LogFolder::open(folder)?;
        let own = LogKey::new(name(&card.log_origin)?, card.log_key);
        let tree = start::resume(&folder, &parts.store, &own).await?;
        let shared = Arc::new(Shared {
            origin: name(&card.log_origin)?,
            witness_name: name(&card.witness_name())?,
            log_key: parts.log_key,
            witness_key: parts.witness_key,
            store: parts.store,
            folder,
            tiles: Mutex::default(),
            peers: parts.peers,
            witnessed: RwLock::default(),
            work: Notify::new(),
            heads: watch::Sender::new(Heads::new(tree.head)),
            condition: watch::Sender::new(Condition::Starting),
        });
        let log = Self { shared: shared.clone(), tasks: Mutex::default() };
        let mut peers = Vec::new();
        for card in &parts.enrolled {
            peers.push(log.know(card)?);
        }
        {
            let mut tasks = log.tasks();
            tasks.spawn(start::ask_witnesses(shared.clone(), peers.clone()));
            tasks.spawn(sequence::run(shared.clone(), tree.tree));
            tasks.spawn(sequence::publish(shared.clone()));
            for peer in peers {
                tasks.spawn(peers::collect(shared.clone(), peer));
            }
        }
        shared.work.notify_one();
        Ok(log)
    }

    /// Says that there are new entries.
    pub fn wake(&self) {
        self.shared.work.notify_one();
    }

    /// Entries under the newest head.
    pub fn size(&self) -> u64 {
        self.shared.heads.borrow().size()
    }

    /// Whether it may sign: the witnesses know of no newer head.
    pub fn is_ready(&self) -> bool {
        *self.shared.condition.borrow() == Condition::Ready
    }

    /// How many of these parties' brokers cosigned when they were asked last.
    pub fn answering(&self, parties: &[PartyId]) -> u32 {
        self.shared.heads.borrow().answering(parties)
    }

    /// Resolves when so many of these parties' brokers answer.
    pub async fn wait_for_answering(&self, parties: &[PartyId], wanted: u32) {
        let mut heads = self.shared.heads.subscribe();
        // The sender lives as long as this log does.
        let _ = heads.wait_for(|heads| heads.answering(parties) >= wanted).await;
    }

    /// Resolves when the log must not go on, and says why.
    pub async fn fatal(&self) -> Fatal {
        let mut condition = self.shared.condition.subscribe();
        let found = condition.wait_for(|now| matches!(now, Condition::Fatal(_))).await;
        match found.as_deref() {
            Ok(Condition::Fatal(fatal)) => fatal.clone(),
            // The sender lives as long as this log does.
            _ => std::future::pending().await,
        }
    }

    /// Takes a newly enrolled party as witness, and its log as one to witness.
    ///
    /// # Errors
    /// If its names cannot be used.
    pub fn enrol(&self, card: &PartyCard) -> Result<(), LogError> {
        let peer = self.know(card)?;
        self.tasks().spawn(peers::collect(self.shared.clone(), peer));
        Ok(())
    }

    /// The `.tlog-proof` of an entry, under a head that `quorum` cosigned.
    ///
    /// # Errors
    /// [`LogError::NotCosigned`] if the witnesses do not answer in time: nothing is lost, the entry
    /// stands, ask again.
    pub async fn prove(
        &self,
        index: u64,
        entry: &[u8],
        quorum: &Quorum,
    ) -> Result<String, LogError> {
        let mut heads = self.shared.heads.subscribe();
        let covering = heads.wait_for(|heads| heads.covering(index, quorum).is_some());
        let head = match tokio::time::timeout(PROOF_PATIENCE, covering).await {
            Ok(Ok(heads)) => heads.covering(index, quorum).cloned(),
            Ok(Err(_)) | Err(_) => None,
        };
        let head = head.ok_or(LogError::NotCosigned { seconds: PROOF_PATIENCE.as_secs() })?;
        let (shared, leaf) = (self.shared.clone(), TreeHash::of_entry(entry));
        let proof = tokio::task::spawn_blocking(move || shared.make_proof(index, &leaf, &head));
        Ok(proof.await.map_err(|_| LogError::Closed)??.to_string())
    }

    /// A file of the log by its tlog-tiles path: `checkpoint`, `tile/…`.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn file(&self, path: &str) -> Result<Option<Vec<u8>>, LogError> {
        let (folder, path) = (self.shared.folder.clone(), path.to_owned());
        let read = tokio::task::spawn_blocking(move || folder.read_public(&path));
        read.await.map_err(|_| LogError::Closed)?
    }

    /// Ends the tasks of this log.
    pub async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks());
        tasks.shutdown().await;
    }

    fn know(&self, card: &PartyCard) -> Result<Peer, LogError> {
        let name = |text: &str| text.parse::<KeyName>().map_err(|_| LogError::Name);
        let log = LogKey::new(name(&card.log_origin)?, card.log_key);
        let witness = WitnessKey::new(name(&witness_name(&card.log_origin))?, card.witness_key);
        // A panic cannot leave the list half changed.
        let mut known = self.shared.witnessed.write().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&log) {
            known.push(log);
        }
        Ok(Peer { party: card.party.clone(), key: witness })
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn fail(&self, fatal: Fatal) {
        tracing::error!(error = %fatal, "the log must not go on");
        self.condition.send_replace(Condition::Fatal(fatal));
    }

    /// Grants of one group have one head: they share what is read of its tiles.
    fn make_proof(
        &self,
        index: u64,
        leaf: &TreeHash,
        head: &VerifiedCheckpoint,
    ) -> Result<ProofBundle, LogError> {
        let mut kept = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = kept.take().filter(|reader| reader.size() == head.size());
        let mut reader =
            fitting.unwrap_or_else(|| TileHashReader::new(self.folder.clone(), head.size()));
        let proof = ProofBundle::make(&mut reader, index, leaf, head);
        let proof = proof.map_err(|error| LogError::damaged(&error))?;
        // Only what has just led to the signed root is kept.
        *kept = Some(reader);
        Ok(proof)
    }

    /// Waits until the log may sign.
    async fn ready(&self) -> bool {
        let mut condition = self.condition.subscribe();
        condition.wait_for(|now| *now == Condition::Ready).await.is_ok()
    }
}

#[cfg(test)]
mod tests;
