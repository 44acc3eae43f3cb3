use std::fmt;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::hash::TreeHash;
use crate::note::MAX_NOTE_BYTES;
use crate::text::{HashLinesError, parse_decimal, split_hash_lines};
use crate::tree::{ConsistencyProof, MAX_PROOF_HASHES, MAX_TREE_SIZE};

/// Most bytes in a request: the largest note, 63 hash lines, and the size line.
pub const MAX_REQUEST_BYTES: usize = MAX_NOTE_BYTES + MAX_PROOF_HASHES * 45 + 64;

/// The body of `add-checkpoint`: a head and its proof of consistency with the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    // INVARIANT: the proof's new size is the checkpoint's size.
    proof: ConsistencyProof,
    checkpoint: SignedCheckpoint,
}

/// Why the body of a request cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More bytes than any request has.
    #[error("request of {found} bytes is above the limit of {MAX_REQUEST_BYTES}")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// The part before the checkpoint is not text.
    #[error("request is not valid UTF-8 at byte {position}")]
    NotUtf8 {
        /// Where.
        position: usize,
    },
    /// The first line is not an old size.
    #[error("request line 1: expected `old` and a decimal size of at most 2^62")]
    OldSize,
    /// The proof lines are malformed.
    #[error("the proof lines are malformed")]
    Proof(#[from] HashLinesError),
    /// The rest is not a checkpoint.
    #[error("the checkpoint is malformed")]
    Checkpoint(#[from] CheckpointError),
}

impl AddCheckpoint {
    /// Asks to cosign `checkpoint`, which follows the tree of `old_size` by these hashes.
    ///
    /// Use the size that the witness cosigned last; 0, without hashes, if that is not known.
    pub fn new(old_size: u64, hashes: Vec<TreeHash>, checkpoint: SignedCheckpoint) -> Self {
        let new_size = checkpoint.unverified().size();
        Self { proof: ConsistencyProof { old_size, new_size, hashes }, checkpoint }
    }

    /// Reads the body of a request; verifies nothing.
    ///
    /// # Errors
    /// If the body is not exactly of the form of the specification.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLarge { found: body.len() });
        }
        let text = std::str::from_utf8(body)
            .map_err(|error| RequestError::NotUtf8 { position: error.valid_up_to() })?;
        let (line, rest) = text.split_once('\n').ok_or(RequestError::OldSize)?;
        let old_size = line
            .strip_prefix("old ")
            .and_then(parse_decimal)
            .filter(|size| *size <= MAX_TREE_SIZE)
            .ok_or(RequestError::OldSize)?;
        let (hashes, note) = split_hash_lines(rest, MAX_PROOF_HASHES)?;
        Ok(Self::new(old_size, hashes, SignedCheckpoint::parse(note.as_bytes())?))
    }

    /// The size that the log believes was cosigned last.
    pub const fn old_size(&self) -> u64 {
        self.proof.old_size
    }

    /// The proof from that size to the checkpoint's.
    pub const fn proof(&self) -> &ConsistencyProof {
        &self.proof
    }

    /// The head to cosign.
    pub const fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }
}

/// Reads the body of a 409 answer: the size that the witness cosigned last, to prove from next.
///
/// `None` if the body is not a size and a line break. A witness whose size is above the log's own
/// shows that the log was restored from an old backup.
pub fn parse_stored_size(body: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(body).ok()?.strip_suffix('\n')?;
    parse_decimal(line).filter(|size| *size <= MAX_TREE_SIZE)
}

impl fmt::Display for AddCheckpoint {
    /// Writes the body of the request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.proof.old_size)?;
        self.proof.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
