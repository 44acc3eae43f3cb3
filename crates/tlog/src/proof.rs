//! Proofs that an entry was logged and witnessed, in one file (C2SP tlog-proof).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{
    CheckpointError, CosignedCheckpoint, QuorumError, SignedCheckpoint, VerifiedCheckpoint,
};
use crate::cosignature::Cosigner;
use crate::hash::TreeHash;
use crate::key::LogKey;
use crate::note::{KeyName, MAX_NOTE_BYTES};
use crate::policy::Quorum;
use crate::text::{HashLinesError, parse_decimal, split_hash_lines};
use crate::tree::{
    HashReader, InclusionProof, MAX_PROOF_HASHES, MAX_TREE_SIZE, MakeProofError, TreeProofError,
};

/// Most bytes of extra data: a proof of a verifiable random function or the like fits.
pub const MAX_EXTRA_BYTES: usize = 16 * 1024;

/// Most bytes in a proof file: the largest note, the extra data, 63 hash lines, the header.
pub const MAX_BUNDLE_BYTES: usize =
    MAX_NOTE_BYTES + MAX_EXTRA_BYTES / 3 * 4 + MAX_PROOF_HASHES * 45 + 128;

/// A `.tlog-proof` file, parsed; nothing in it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofBundle {
    // INVARIANT: the proof's size is the checkpoint's.
    inclusion: InclusionProof,
    extra: Option<Vec<u8>>,
    checkpoint: SignedCheckpoint,
}

/// An entry that stands in a log, under a head that the log signed and a quorum cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    index: u64,
    leaf: TreeHash,
    head: CosignedCheckpoint,
}

/// Why a proof does not prove what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// More bytes than any proof file has.
    #[error("proof of {found} bytes is above the limit of {MAX_BUNDLE_BYTES}")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// Not text.
    #[error("proof is not valid UTF-8 at byte {position}")]
    NotUtf8 {
        /// Where.
        position: usize,
    },
    /// The first line says another format or version.
    #[error("proof line 1: expected `{HEADER}`")]
    Header,
    /// The extra line is malformed.
    #[error("proof line 2: expected `extra` and padded base64 of 1 to {MAX_EXTRA_BYTES} bytes")]
    Extra,
    /// The index line is malformed or missing.
    #[error("proof line {line}: expected `index` and a decimal number below 2^62")]
    Index {
        /// Which line, from 1.
        line: usize,
    },
    /// The hash lines are malformed.
    #[error("the proof's hash lines are malformed")]
    Hashes(#[from] HashLinesError),
    /// The checkpoint is malformed, of another log, or not signed by its key.
    #[error("the proof's checkpoint is refused")]
    Checkpoint(#[from] CheckpointError),
    /// The witnesses do not suffice.
    #[error("the checkpoint of size {size} is not cosigned as it must be")]
    Quorum {
        /// Entries of the checkpoint.
        size: u64,
        /// What is missing.
        #[source]
        source: QuorumError,
    },
    /// The entry does not stand there.
    #[error("the entry is not shown to be at index {index} of {size}")]
    Inclusion {
        /// The index in the proof.
        index: u64,
        /// Entries of the checkpoint.
        size: u64,
        /// What is wrong.
        #[source]
        source: TreeProofError,
    },
}

/// Why a proof file could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MakeBundleError<E: std::error::Error + 'static> {
    /// The proof's hashes could not be collected.
    #[error("no proof for index {index} of {size}")]
    Make {
        /// The index asked for.
        index: u64,
        /// Entries of the checkpoint.
        size: u64,
        /// Why.
        #[source]
        source: MakeProofError<E>,
    },
    /// The proof does not verify: tiles, leaf and checkpoint do not belong together.
    #[error("the proof made for index {index} of {size} does not verify")]
    Wrong {
        /// The index asked for.
        index: u64,
        /// Entries of the checkpoint.
        size: u64,
        /// Why.
        #[source]
        source: TreeProofError,
    },
}

/// Checks that `entry` stands in the log of `log`, under a head cosigned as `witnesses` demands.
///
/// Everything that decides comes from the caller: the entry, whose hash is computed here, the
/// log's key with its origin, and the quorum. The bundle only has to fit.
///
/// # Errors
/// The first check that fails: form, origin and log signature, cosignatures, inclusion.
pub fn verify_proof(
    bundle: &[u8],
    entry: &[u8],
    log: &LogKey,
    witnesses: &Quorum,
) -> Result<Proven, ProofError> {
    ProofBundle::parse(bundle)?.verify(entry, log, witnesses)
}

impl ProofBundle {
    /// Makes the proof for the leaf at `index` under this head, and verifies it before it is
    /// given away.
    ///
    /// The quorum is left to [`verify`](Self::verify): cosignatures are taken as they are.
    ///
    /// # Errors
    /// If there is no such leaf, a hash cannot be read, or what was read does not lead from the
    /// leaf to the root.
    pub fn make<R>(
        reader: &mut R,
        index: u64,
        leaf: &TreeHash,
        head: &VerifiedCheckpoint,
    ) -> Result<Self, MakeBundleError<R::Error>>
    where
        R: HashReader,
        R::Error: std::error::Error + 'static,
    {
        let size = head.size();
        let inclusion = InclusionProof::make(reader, index, size)
            .map_err(|source| MakeBundleError::Make { index, size, source })?;
        inclusion.verify(leaf, head.root()).map_err(|source| MakeBundleError::Wrong {
            index,
            size,
            source,
        })?;
        Ok(Self { inclusion, extra: None, checkpoint: head.signed().clone() })
    }

    /// Adds data that the proof does not authenticate; `None` if it is empty or above
    /// [`MAX_EXTRA_BYTES`].
    pub fn with_unauthenticated_extra(self, extra: Vec<u8>) -> Option<Self> {
        let fits = (1..=MAX_EXTRA_BYTES).contains(&extra.len());
        fits.then_some(Self { extra: Some(extra), ..self })
    }

    /// Reads a `.tlog-proof` file; verifies nothing.
    ///
    /// # Errors
    /// If the bytes are not exactly of that form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(ProofError::TooLarge { found: bytes.len() });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| ProofError::NotUtf8 { position: error.valid_up_to() })?;
        let text = text
            .strip_prefix(HEADER)
            .and_then(|text| text.strip_prefix('\n'))
            .ok_or(ProofError::Header)?;
        let (extra, text) = match text.strip_prefix("extra ") {
            None => (None, text),
            Some(text) => {
                let (line, text) = text.split_once('\n').ok_or(ProofError::Extra)?;
                (Some(parse_extra(line)?), text)
            }
        };
        let index_error = || ProofError::Index { line: if extra.is_some() { 3 } else { 2 } };
        let (line, text) = text.split_once('\n').ok_or_else(index_error)?;
        let index = line
            .strip_prefix("index ")
            .and_then(parse_decimal)
            .filter(|index| *index < MAX_TREE_SIZE)
            .ok_or_else(index_error)?;
        let (hashes, note) = split_hash_lines(text, MAX_PROOF_HASHES)?;
        let checkpoint = SignedCheckpoint::parse(note.as_bytes())?;
        let inclusion = InclusionProof { index, size: checkpoint.unverified().size(), hashes };
        Ok(Self { inclusion, extra, checkpoint })
    }

    /// Checks that `entry` is what the bundle proves; see [`verify_proof`].
    ///
    /// # Errors
    /// As [`verify_proof`].
    pub fn verify(
        &self,
        entry: &[u8],
        log: &LogKey,
        witnesses: &Quorum,
    ) -> Result<Proven, ProofError> {
        let head = self.checkpoint.verify(log)?;
        let (index, size) = (self.inclusion.index, head.size());
        let head = head.require(witnesses).map_err(|source| ProofError::Quorum { size, source })?;
        let leaf = TreeHash::of_entry(entry);
        self.inclusion
            .verify(&leaf, head.verified().root())
            .map_err(|source| ProofError::Inclusion { index, size, source })?;
        Ok(Proven { index, leaf, head })
    }

    /// Where the entry is said to stand. Not verified.
    pub const fn unverified_index(&self) -> u64 {
        self.inclusion.index
    }

    /// The checkpoint that came along. Not verified.
    pub const fn unverified_checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// Data beside the proof. No verification covers it.
    pub fn unauthenticated_extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }
}

impl fmt::Display for ProofBundle {
    /// Writes the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.inclusion.index)?;
        self.inclusion.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl Proven {
    /// Where the entry stands in the log, from 0.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Entries of the log under the head that was cosigned.
    pub const fn size(&self) -> u64 {
        self.head.verified().size()
    }

    /// The log's name.
    pub const fn origin(&self) -> &KeyName {
        self.head.verified().origin()
    }

    /// The entry's leaf hash.
    pub const fn leaf(&self) -> &TreeHash {
        &self.leaf
    }

    /// The head that includes the entry.
    pub const fn head(&self) -> &CosignedCheckpoint {
        &self.head
    }

    /// The witnesses that cosigned that head, each with its time.
    pub fn cosigned_by(&self) -> &[Cosigner] {
        self.head.cosigned_by()
    }
}

fn parse_extra(encoded: &str) -> Result<Vec<u8>, ProofError> {
    if encoded.len() > MAX_EXTRA_BYTES.div_ceil(3) * 4 {
        return Err(ProofError::Extra);
    }
    let extra = STANDARD.decode(encoded).map_err(|_| ProofError::Extra)?;
    if (1..=MAX_EXTRA_BYTES).contains(&extra.len()) { Ok(extra) } else { Err(ProofError::Extra) }
}

const HEADER: &str = "c2sp.org/tlog-proof@v1";

#[cfg(test)]
mod tests;
