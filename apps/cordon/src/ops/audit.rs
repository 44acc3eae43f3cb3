//! Verifying a log from the outside: a folder or a URL, and keys that somebody trusts.
//!
//! Nothing of a log is believed: the checkpoint must be signed and cosigned, every entry and every
//! tile must lead to its root, and the entries must be those that a broker writes.

mod source;

use std::io;

use anyhow::{Context as _, Error, Result, ensure};
use cordon_crypto::canonical;
use cordon_crypto::dsse::Document as _;
use cordon_govern::document::CLOCK_SKEW_SECONDS;
use cordon_protocol::LogEntry;
use cordon_protocol::party::PartyCard;
use cordon_tlog::tile::{TileHashReader, TilePath, audit};
use cordon_tlog::{
    CosignedCheckpoint, Cosigner, LogKey, ProofBundle, Proven, Quorum, SignedCheckpoint, TreeHash,
    WitnessKey, verify_proof,
};

pub use source::LogSource;
use source::{Files, with_files};

/// A log that verified as a whole.
#[derive(Debug)]
pub struct Audited {
    /// Its entries in order.
    pub entries: Vec<LogEntry>,
    /// Root of the tree over them.
    pub root: TreeHash,
    /// Who of the known witnesses cosigned the head, and when.
    pub cosigners: Vec<Cosigner>,
    /// Tiles and bundles that were read.
    pub files: u64,
}

/// An entry with the proof that it stands in the log.
#[derive(Debug)]
pub struct ProvenEntry {
    /// The entry's bytes, as they are hashed.
    pub entry: Vec<u8>,
    /// The `.tlog-proof`.
    pub proof: String,
}

/// Verifies a whole log. A folder needs no network.
///
/// # Errors
/// The first thing that does not verify, or that cannot be read.
pub fn verify(source: &LogSource, key: &LogKey, witnesses: &Quorum) -> Result<Audited> {
    with_files(source, |files| {
        let head = head(files, key, witnesses)?;
        read_all(files, &head)
    })
}

/// What was asked for is not there, which is no log that does not verify.
#[derive(Debug, thiserror::Error)]
pub enum NotThere {
    /// No log.
    #[error("there is no `checkpoint`: is this a log?")]
    Log,
    /// No such entry.
    #[error("the log has {found} entries, no entry {index}")]
    Entry {
        /// How many there are.
        found: usize,
        /// What was asked for, counted from 0.
        index: u64,
    },
}

/// Takes one entry out of a log, with its proof. The proof holds for whoever has the same keys.
///
/// # Errors
/// If there is no such entry, or the log does not verify as a whole.
pub fn prove(
    source: &LogSource,
    key: &LogKey,
    witnesses: &Quorum,
    index: u64,
) -> Result<ProvenEntry> {
    with_files(source, |files| {
        let head = head(files, key, witnesses)?;
        let audited = read_all(files, &head)?;
        let entry = usize::try_from(index).ok().and_then(|index| audited.entries.get(index));
        let found = audited.entries.len();
        let entry = entry.ok_or(NotThere::Entry { found, index })?;
        let entry = entry.to_bytes()?;
        let leaf = TreeHash::of_entry(&entry);
        let tiles = |path: &TilePath| files.read(&path.to_string());
        let mut reader = TileHashReader::new(tiles, head.verified().size());
        let proof = ProofBundle::make(&mut reader, index, &leaf, head.verified())?.to_string();
        Ok(ProvenEntry { entry, proof })
    })
}

/// Checks that `entry` stands in the log, under a head that the witnesses cosigned.
///
/// # Errors
/// What does not hold.
pub fn check_proof(proof: &[u8], entry: &[u8], key: &LogKey, witnesses: &Quorum) -> Result<Proven> {
    Ok(verify_proof(proof, entry, key, witnesses)?)
}

/// The keys of a party's log and of its witness, as `cordon audit` takes them.
///
/// # Errors
/// If the card's origin is no name of a log.
pub fn log_keys(card: &PartyCard) -> Result<(LogKey, WitnessKey)> {
    let log = LogKey::new(card.log_origin.parse()?, card.log_key);
    Ok((log, WitnessKey::new(card.witness_name().parse()?, card.witness_key)))
}

/// The newest head, signed by the log and cosigned by enough of the witnesses.
fn head(files: &mut Files<'_>, key: &LogKey, witnesses: &Quorum) -> Result<CosignedCheckpoint> {
    let checkpoint = files.read(CHECKPOINT)?.ok_or(NotThere::Log)?;
    let head = SignedCheckpoint::parse(&checkpoint)
        .and_then(|signed| signed.verify(key))
        .context("the checkpoint is refused")?;
    head.require(witnesses).context("the checkpoint is not cosigned as it must be")
}

fn read_all(files: &mut Files<'_>, head: &CosignedCheckpoint) -> Result<Audited> {
    let mut entries = Entries::default();
    let mut tiles =
        |path: &TilePath| -> io::Result<Option<Vec<u8>>> { files.read(&path.to_string()) };
    let audited = audit(head.verified(), &mut tiles, |index, bytes| entries.take(index, bytes))?;
    Ok(Audited {
        entries: entries.finish()?,
        root: *head.verified().root(),
        cosigners: head.cosigned_by().to_vec(),
        files: audited.files(),
    })
}

/// Entries as they come, and the first that is not as a broker writes them.
#[derive(Default)]
struct Entries {
    entries: Vec<LogEntry>,
    wrong: Option<Error>,
}

impl Entries {
    fn take(&mut self, index: u64, bytes: &[u8]) {
        if self.wrong.is_some() {
            return;
        }
        match self.check(bytes) {
            Ok(entry) => self.entries.push(entry),
            Err(error) => self.wrong = Some(error.context(format!("entry {index}"))),
        }
    }

    fn check(&self, bytes: &[u8]) -> Result<LogEntry> {
        let entry: LogEntry = canonical::from_canonical(bytes, LogEntry::MAX_BYTES)?;
        let Some(before) = self.entries.last() else { return Ok(entry) };
        ensure!(entry.holder == before.holder, "of another holder than the entry before");
        ensure!(entry.profile == before.profile, "of another profile than the entry before");
        // Clocks are set; more than that is a clock set back to hide something.
        let latest = entry.time.plus_seconds(CLOCK_SKEW_SECONDS);
        ensure!(
            before.time <= latest,
            "time runs back from {} to {}, more than {CLOCK_SKEW_SECONDS} s",
            before.time,
            entry.time
        );
        Ok(entry)
    }

    fn finish(self) -> Result<Vec<LogEntry>> {
        match self.wrong {
            Some(error) => Err(error),
            None => Ok(self.entries),
        }
    }
}

const CHECKPOINT: &str = "checkpoint";

#[cfg(test)]
mod tests;
