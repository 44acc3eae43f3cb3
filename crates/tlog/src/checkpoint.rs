//! Checkpoints: signed tree heads of a log (C2SP tlog-checkpoint).
//!
//! Three types, each made only by the check that its name promises: [`SignedCheckpoint`] was
//! parsed, [`VerifiedCheckpoint`] was signed by its log, [`CosignedCheckpoint`] was also cosigned
//! by a quorum of witnesses.

use std::fmt;

use crate::cosignature::{self, CosignatureError, Cosigner};
use crate::hash::TreeHash;
use crate::key::{LogKey, LogSigner};
use crate::note::{KeyName, Note, NoteError, SignatureLine, parse_signature_lines};
use crate::policy::Quorum;
use crate::text::parse_decimal;
use crate::tree::MAX_TREE_SIZE;

/// What a log says of itself: its name, its size, its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: KeyName,
    size: u64,
    root: TreeHash,
    // INVARIANT: no line is empty or has a control character.
    extensions: Vec<String>,
}

/// A checkpoint with signatures, none of them verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    // INVARIANT: its text is the checkpoint's.
    note: Note,
}

/// A checkpoint that its log signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    signed: SignedCheckpoint,
    log: LogKey,
}

/// A checkpoint that its log signed and a quorum of witnesses cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignedCheckpoint {
    verified: VerifiedCheckpoint,
    cosigned_by: Vec<Cosigner>,
}

/// How two heads of one log stand to each other, as far as sizes and roots tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadOrder {
    /// Equal sizes and roots.
    Same,
    /// The other is smaller; a consistency proof must show that it is an earlier state.
    OtherIsOlder,
    /// The other is larger. For one's own log this means that the own state is an old backup.
    OtherIsNewer,
    /// Equal sizes, unequal roots: the log signed two histories.
    Forked,
}

/// Why a checkpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The bytes are not a note, or the log's signature is missing or wrong.
    #[error("the checkpoint is not a note signed by its log")]
    Note(#[from] NoteError),
    /// Fewer than three lines.
    #[error("expected at least 3 checkpoint lines, found {found}")]
    TooFewLines {
        /// Lines found.
        found: usize,
    },
    /// The first line is not the name of a log.
    #[error("checkpoint line 1: expected an origin of 1 to 255 bytes without spaces or `+`")]
    Origin,
    /// The second line is not a size.
    #[error("checkpoint line 2: expected a decimal size of at most 2^62")]
    Size,
    /// The third line is not a hash.
    #[error("checkpoint line 3: expected padded base64 of a 32-byte root")]
    Root,
    /// An extension line is empty.
    #[error("checkpoint line {line} is empty")]
    EmptyExtension {
        /// Which line, from 1.
        line: usize,
    },
    /// Another log's checkpoint.
    #[error("expected a checkpoint of `{expected}`, found one of `{found}`")]
    OtherOrigin {
        /// The log that was expected.
        expected: KeyName,
        /// The log that the checkpoint names.
        found: KeyName,
    },
    /// The tree without leaves has one root only.
    #[error("a checkpoint of size 0 has a root other than that of the empty tree")]
    EmptyTreeRoot,
}

/// Why the cosignatures on a checkpoint do not suffice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// A known witness's cosignature does not verify: the whole note is refused.
    #[error("a cosignature by a known witness is refused")]
    Cosignature(#[from] CosignatureError),
    /// Too few witnesses, or the wrong ones.
    #[error("{found} known witnesses cosigned, the quorum needs at least {needed}")]
    NotMet {
        /// Known witnesses whose cosignatures verify.
        found: usize,
        /// The fewest that can meet the quorum; with groups, not any so many do.
        needed: usize,
    },
    /// A key signs as log and as witness, so that the log would vouch for itself.
    #[error("the key of log `{log}` is also that of a witness")]
    LogIsWitness {
        /// The log.
        log: KeyName,
    },
}

/// Why cosignatures cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddCosignatureError {
    /// The bytes are not signature lines, or the note is full.
    #[error("the signature lines cannot be added")]
    Note(#[from] NoteError),
    /// A known witness's cosignature does not verify.
    #[error("a cosignature by a known witness is refused")]
    Cosignature(#[from] CosignatureError),
}

impl Checkpoint {
    /// Says that the log `origin` has `size` entries with this root.
    ///
    /// # Errors
    /// If `size` is above 2^62, or 0 with a root other than that of the empty tree.
    pub fn new(origin: KeyName, size: u64, root: TreeHash) -> Result<Self, CheckpointError> {
        let checkpoint = Self { origin, size, root, extensions: Vec::new() };
        if size > MAX_TREE_SIZE {
            Err(CheckpointError::Size)
        } else if checkpoint.has_empty_tree_root() {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::EmptyTreeRoot)
        }
    }

    /// Attaches a signature that was made elsewhere over the text that `Display` writes.
    ///
    /// # Errors
    /// If the note would be too large.
    pub fn with_signature(self, line: SignatureLine) -> Result<SignedCheckpoint, CheckpointError> {
        let mut note = Note::new(self.to_string())?;
        note.push(line)?;
        Ok(SignedCheckpoint { checkpoint: self, note })
    }

    /// The log's name.
    pub const fn origin(&self) -> &KeyName {
        &self.origin
    }

    /// Entries in the log.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree over them.
    pub const fn root(&self) -> &TreeHash {
        &self.root
    }

    /// Lines after the first three. No statement is made about them; Cordon's logs write none.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// Reads the text of a note.
    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::TooFewLines { found: text.lines().count() });
        };
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if let Some(position) = extensions.iter().position(String::is_empty) {
            return Err(CheckpointError::EmptyExtension { line: 4 + position });
        }
        Ok(Self {
            origin: origin.parse().map_err(|_| CheckpointError::Origin)?,
            size: parse_decimal(size)
                .filter(|size| *size <= MAX_TREE_SIZE)
                .ok_or(CheckpointError::Size)?,
            root: root.parse().map_err(|_| CheckpointError::Root)?,
            extensions,
        })
    }

    pub(crate) fn has_empty_tree_root(&self) -> bool {
        self.size != 0 || self.root == TreeHash::of_empty_tree()
    }
}

impl fmt::Display for Checkpoint {
    /// Writes the text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl SignedCheckpoint {
    /// Reads a signed note whose text is a checkpoint; verifies nothing.
    ///
    /// # Errors
    /// If the bytes are not exactly that.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let note = Note::parse(bytes)?;
        Ok(Self { checkpoint: Checkpoint::parse(note.text())?, note })
    }

    /// What the checkpoint says. Not verified.
    pub const fn unverified(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note with all signatures. Not verified.
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// Checks that `log` signed it.
    ///
    /// # Errors
    /// If the origin is not the key's name, the log's signature is missing or does not verify, or
    /// the size is 0 with a root other than that of the empty tree.
    pub fn verify(&self, log: &LogKey) -> Result<VerifiedCheckpoint, CheckpointError> {
        let origin = &self.checkpoint.origin;
        if origin != log.name() {
            let (expected, found) = (log.name().clone(), origin.clone());
            return Err(CheckpointError::OtherOrigin { expected, found });
        }
        self.note.verify(log)?;
        if !self.checkpoint.has_empty_tree_root() {
            return Err(CheckpointError::EmptyTreeRoot);
        }
        Ok(VerifiedCheckpoint { signed: self.clone(), log: log.clone() })
    }

    fn replace_signature(&mut self, line: SignatureLine) -> Result<(), NoteError> {
        self.note.remove(line.name(), line.key_id());
        self.note.push(line)
    }

    /// Drops all signatures but those of these keys, and adds one, if there is one.
    pub(crate) fn keep_only(
        &mut self,
        keys: &[LogKey],
        line: Option<SignatureLine>,
    ) -> Result<(), NoteError> {
        let mut note = Note::new(self.note.text().to_owned())?;
        for key in keys {
            self.note
                .by(key.name(), key.id())
                .take(1)
                .try_for_each(|kept| note.push(kept.clone()))?;
        }
        line.into_iter().try_for_each(|line| note.push(line))?;
        self.note = note;
        Ok(())
    }
}

impl fmt::Display for SignedCheckpoint {
    /// Writes the note.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.note, f)
    }
}

impl LogSigner<'_> {
    /// Signs a head of the log.
    ///
    /// Never sign a head that is not consistent with each one signed before: the caller keeps the
    /// last head and signs only what [`LogTree::append`](crate::tile::LogTree::append) made of it.
    ///
    /// # Errors
    /// If `size` is above 2^62, or 0 with a root other than that of the empty tree.
    pub fn sign(&self, size: u64, root: TreeHash) -> Result<VerifiedCheckpoint, CheckpointError> {
        let checkpoint = Checkpoint::new(self.key().name().clone(), size, root)?;
        let line = self.sign_text(&checkpoint.to_string());
        let signed = checkpoint.with_signature(line)?;
        Ok(VerifiedCheckpoint { signed, log: self.key().clone() })
    }
}

impl VerifiedCheckpoint {
    /// The log's name.
    pub const fn origin(&self) -> &KeyName {
        self.signed.checkpoint.origin()
    }

    /// Entries in the log.
    pub const fn size(&self) -> u64 {
        self.signed.checkpoint.size()
    }

    /// The root of the tree over them.
    pub const fn root(&self) -> &TreeHash {
        self.signed.checkpoint.root()
    }

    /// The key that signed it.
    pub const fn log(&self) -> &LogKey {
        &self.log
    }

    /// The checkpoint with its signatures, of which only the log's was verified.
    pub const fn signed(&self) -> &SignedCheckpoint {
        &self.signed
    }

    /// Adds the cosignatures that a witness answered, and gives those that are new.
    ///
    /// Lines by keys that `quorum` does not know are ignored. A newer cosignature of the same
    /// witness replaces the older one.
    ///
    /// # Errors
    /// If the bytes are not signature lines, or one by a known witness does not verify; nothing is
    /// added then.
    pub fn add_cosignatures(
        &mut self,
        answer: &[u8],
        quorum: &Quorum,
    ) -> Result<Vec<Cosigner>, AddCosignatureError> {
        let text = self.signed.note.text();
        let mut signed = self.signed.clone();
        let mut added = Vec::new();
        for line in parse_signature_lines(answer)? {
            let Some(key) = quorum.witness_of(&line) else {
                continue;
            };
            let cosigner = cosignature::verify(&line, key, text)?;
            let older = self.signed.note.by(key.name(), key.id());
            let is_newer = older
                .filter_map(|line| cosignature::verify(line, key, text).ok())
                .all(|older| older.time() < cosigner.time());
            if is_newer {
                signed.replace_signature(line)?;
                added.push(cosigner);
            }
        }
        self.signed = signed;
        Ok(added)
    }

    /// Checks that witnesses cosigned it as `quorum` demands.
    ///
    /// # Errors
    /// If a known witness's cosignature does not verify, too few verify, or the log's own key is
    /// among the witnesses.
    pub fn require(self, quorum: &Quorum) -> Result<CosignedCheckpoint, QuorumError> {
        if quorum.witnesses().any(|witness| witness.public() == self.log.public()) {
            return Err(QuorumError::LogIsWitness { log: self.log.name().clone() });
        }
        let note = &self.signed.note;
        let mut cosigned_by = Vec::<Cosigner>::new();
        for line in note.signatures() {
            let Some(key) = quorum.witness_of(line) else {
                continue;
            };
            let cosigner = cosignature::verify(line, key, note.text())?;
            // A witness counts once however often it cosigned; its latest word stands.
            match cosigned_by.iter_mut().find(|known| known.key() == key) {
                Some(known) if known.time() < cosigner.time() => *known = cosigner,
                Some(_) => {}
                None => cosigned_by.push(cosigner),
            }
        }
        if quorum.is_met_by(cosigned_by.iter().map(Cosigner::key)) {
            Ok(CosignedCheckpoint { verified: self, cosigned_by })
        } else {
            let (found, needed) = (cosigned_by.len(), quorum.fewest_witnesses());
            Err(QuorumError::NotMet { found, needed })
        }
    }

    /// Compares with another head of the same log; `None` if it is another log's.
    pub fn compare(&self, other: &Self) -> Option<HeadOrder> {
        if self.origin() != other.origin() {
            return None;
        }
        Some(match self.size().cmp(&other.size()) {
            std::cmp::Ordering::Less => HeadOrder::OtherIsNewer,
            std::cmp::Ordering::Greater => HeadOrder::OtherIsOlder,
            std::cmp::Ordering::Equal if self.root() == other.root() => HeadOrder::Same,
            std::cmp::Ordering::Equal => HeadOrder::Forked,
        })
    }
}

impl CosignedCheckpoint {
    /// The checkpoint that the log signed.
    pub const fn verified(&self) -> &VerifiedCheckpoint {
        &self.verified
    }

    /// The known witnesses whose cosignatures verify, each once. Empty only if the quorum is
    /// `none`.
    pub fn cosigned_by(&self) -> &[Cosigner] {
        &self.cosigned_by
    }
}

#[cfg(test)]
mod tests;
