//! The decisions of a witness (C2SP tlog-witness, `add-checkpoint`), without its HTTP and storage.
//!
//! The caller reads the request with [`AddCheckpoint::parse`], looks up what it stored for the
//! request's origin, and asks [`Witness::decide`]. Between look-up and store no other request for
//! that origin may come in: otherwise a slow request rolls the record back.

mod request;

use std::collections::BTreeMap;

use cordon_types::UnixSeconds;

pub use request::{AddCheckpoint, MAX_REQUEST_BYTES, RequestError, parse_stored_size};

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::key::{LogKey, WitnessKey, WitnessSigner};
use crate::note::{KeyName, NoteError};
use crate::tree::TreeProofError;

/// A witness: its key, and the logs whose heads it cosigns.
#[derive(Debug)]
pub struct Witness<'k> {
    signer: WitnessSigner<'k>,
    logs: BTreeMap<KeyName, Vec<LogKey>>,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Store the new head, then answer with the cosignature.
    Cosign(Cosigned),
    /// Answer with the refusal; the record stays as it is.
    Refuse {
        /// Why.
        refusal: Refusal,
        /// Heads that the log signed and that do not fit each other: keep them.
        fork: Option<Box<Fork>>,
    },
}

/// A cosignature that is not yet to be shown to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    head: SignedCheckpoint,
    cosignature: String,
}

/// What the witness answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type` of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// Why a request is refused: the rows of the table in tlog-witness, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400: the request cannot be read.
    #[error("the request is malformed")]
    Malformed(#[from] RequestError),
    /// 404: a log that this witness does not know.
    #[error("log `{origin}` is not witnessed here")]
    UnknownOrigin {
        /// The origin in the checkpoint.
        origin: KeyName,
    },
    /// 403: none of the log's trusted keys signed.
    #[error("log `{origin}` did not sign the checkpoint with a trusted key")]
    NotSigned {
        /// The log.
        origin: KeyName,
    },
    /// 403: a signature by a trusted key does not verify.
    #[error("the signature of log `{origin}` does not verify")]
    BadSignature {
        /// The log.
        origin: KeyName,
    },
    /// 400: the tree would have shrunk.
    #[error("old size {old_size} is above the checkpoint's size {size}")]
    OldSizeAboveSize {
        /// Size in the request's first line.
        old_size: u64,
        /// Size in the checkpoint.
        size: u64,
    },
    /// 409: the log does not know what was cosigned last; the answer says it.
    #[error("old size {old_size} is not the size cosigned last, {stored_size}")]
    OldSizeNotStored {
        /// Size in the request's first line.
        old_size: u64,
        /// Size cosigned last, 0 if never.
        stored_size: u64,
    },
    /// 422: size 0 with a root other than that of the empty tree.
    #[error("a checkpoint of size 0 has a root other than that of the empty tree")]
    EmptyTreeRoot,
    /// 422: a proof where there is nothing to prove.
    #[error("a proof from size 0 must be empty, found {found} hashes")]
    ProofFromEmptyTree {
        /// Hashes in the proof.
        found: usize,
    },
    /// 422: the same size as last time, with another root.
    #[error("the checkpoint cosigned last has the same size {size} and another root")]
    EqualSizesUnequalRoots {
        /// The size.
        size: u64,
    },
    /// 422: the proof does not lead from the head cosigned last to this one.
    #[error("the consistency proof is refused")]
    Inconsistent(#[source] TreeProofError),
}

/// Two heads that one log signed for one size: a fork, and no further proof is needed.
///
/// A proof that does not hold is no evidence: anybody can send a genuine head with a nonsense proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// The head cosigned last. Only the empty tree, whose root is known, can fork without one.
    pub stored: Option<SignedCheckpoint>,
    /// The head that was offered, with the log's own signatures only.
    pub offered: SignedCheckpoint,
}

/// Why a witness cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// A log signs with the witness's own key.
    #[error("log `{log}` signs with the key of this witness")]
    OwnLog {
        /// The log.
        log: KeyName,
    },
}

impl<'k> Witness<'k> {
    /// Sets up a witness for these logs; a log may have several keys of one name.
    ///
    /// # Errors
    /// If a log has the public key of the witness: nobody witnesses a log that they operate.
    pub fn new(
        signer: WitnessSigner<'k>,
        logs: impl IntoIterator<Item = LogKey>,
    ) -> Result<Self, WitnessError> {
        let mut by_origin = BTreeMap::<_, Vec<_>>::new();
        for log in logs {
            if log.public() == signer.key().public() {
                return Err(WitnessError::OwnLog { log: log.name().clone() });
            }
            by_origin.entry(log.name().clone()).or_default().push(log);
        }
        Ok(Self { signer, logs: by_origin })
    }

    /// The witness's public key.
    pub const fn key(&self) -> &WitnessKey {
        self.signer.key()
    }

    /// Decides about a request, given the head that was cosigned last for its origin.
    ///
    /// `stored` is the witness's own record and is believed.
    pub fn decide(
        &self,
        stored: Option<&SignedCheckpoint>,
        request: &AddCheckpoint,
        now: UnixSeconds,
    ) -> Decision {
        let offered = request.checkpoint();
        if let Err(refusal) = self.check_signature(offered) {
            return Decision::Refuse { refusal, fork: None };
        }
        // From here on the log stands for what was offered.
        match check_history(stored, request) {
            Ok(()) => self.cosign(offered, now),
            Err(refusal) => {
                // Whatever the request was refused for.
                let fork = is_fork(stored, offered).then(|| self.fork(stored, offered));
                Decision::Refuse { refusal, fork }
            }
        }
    }

    fn check_signature(&self, offered: &SignedCheckpoint) -> Result<(), Refusal> {
        let origin = offered.unverified().origin();
        let keys = self.logs.get(origin);
        let keys = keys.ok_or_else(|| Refusal::UnknownOrigin { origin: origin.clone() })?;
        let mut signed = false;
        for key in keys {
            match offered.note().verify(key) {
                Ok(_) => signed = true,
                Err(NoteError::NotSigned { .. }) => {}
                Err(_) => {
                    return Err(Refusal::BadSignature { origin: origin.clone() });
                }
            }
        }
        if signed { Ok(()) } else { Err(Refusal::NotSigned { origin: origin.clone() }) }
    }

    fn fork(&self, stored: Option<&SignedCheckpoint>, offered: &SignedCheckpoint) -> Box<Fork> {
        let mut offered = offered.clone();
        let keys = self.logs.get(offered.unverified().origin()).map_or(&[][..], Vec::as_slice);
        // An error leaves it as it came.
        let _ = offered.keep_only(keys, None);
        Box::new(Fork { stored: stored.cloned(), offered })
    }

    fn cosign(&self, offered: &SignedCheckpoint, now: UnixSeconds) -> Decision {
        // A time of 0 would make no statement, and verifiers refuse it.
        let time = now.max(UnixSeconds::new(1));
        let line = self.signer.cosign_text(offered.note().text(), time);
        let mut head = offered.clone();
        // INVARIANT: the stored head carries the log's signatures and ours, and nothing that a
        // stranger attached, so that the record cannot be filled up.
        let origin = offered.unverified().origin();
        let keys = self.logs.get(origin).map_or(&[][..], Vec::as_slice);
        match head.keep_only(keys, Some(line.clone())) {
            Ok(()) => Decision::Cosign(Cosigned { head, cosignature: line.to_string() }),
            Err(error) => {
                let refusal = RequestError::Checkpoint(CheckpointError::Note(error)).into();
                Decision::Refuse { refusal, fork: None }
            }
        }
    }
}

impl Cosigned {
    /// The new record: the log's signatures and this cosignature. Monitors may see it.
    pub const fn head(&self) -> &SignedCheckpoint {
        &self.head
    }

    /// The answer. Call this only once [`head`](Self::head) is durable in place of the record
    /// that was decided upon: a cosignature of a forgotten head lets its log fork.
    pub fn into_answer_once_stored(self) -> Answer {
        Answer { status: 200, content_type: TEXT, body: self.cosignature }
    }
}

impl Refusal {
    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::OldSizeAboveSize { .. } => 400,
            Self::NotSigned { .. } | Self::BadSignature { .. } => 403,
            Self::UnknownOrigin { .. } => 404,
            Self::OldSizeNotStored { .. } => 409,
            Self::EmptyTreeRoot
            | Self::ProofFromEmptyTree { .. }
            | Self::EqualSizesUnequalRoots { .. }
            | Self::Inconsistent(_) => 422,
        }
    }

    /// The whole answer.
    pub fn answer(&self) -> Answer {
        let (content_type, body) = if let Self::OldSizeNotStored { stored_size, .. } = self {
            (SIZE, format!("{stored_size}\n"))
        } else {
            (TEXT, format!("{self}\n"))
        };
        Answer { status: self.status(), content_type, body }
    }
}

/// Where monitors find the head that a witness cosigned last, below its monitoring prefix:
/// `<hex SHA-256 of the origin>/checkpoint`.
pub fn monitoring_path(origin: &KeyName) -> String {
    let digest = cordon_crypto::sha256(&[origin.as_str().as_bytes()]);
    format!("{}/checkpoint", digest.to_hex())
}

/// The rows of the table below the signature, in their order.
fn check_history(
    stored: Option<&SignedCheckpoint>,
    request: &AddCheckpoint,
) -> Result<(), Refusal> {
    let new = request.checkpoint().unverified();
    let (old_size, size) = (request.old_size(), new.size());
    if old_size > size {
        return Err(Refusal::OldSizeAboveSize { old_size, size });
    }
    let stored = stored.map(SignedCheckpoint::unverified);
    let stored_size = stored.map_or(0, |stored| stored.size());
    if old_size != stored_size {
        return Err(Refusal::OldSizeNotStored { old_size, stored_size });
    }
    if !new.has_empty_tree_root() {
        return Err(Refusal::EmptyTreeRoot);
    }
    let proof = request.proof();
    match stored {
        // Every tree begins with the empty one.
        _ if old_size == 0 => match proof.hashes.len() {
            0 => Ok(()),
            found => Err(Refusal::ProofFromEmptyTree { found }),
        },
        Some(stored) => proof.verify(stored.root(), new.root()).map_err(|error| match error {
            TreeProofError::EqualSizesUnequalRoots { size } => {
                Refusal::EqualSizesUnequalRoots { size }
            }
            other => Refusal::Inconsistent(other),
        }),
        // Not reached: without a record the old size is 0.
        None => Err(Refusal::OldSizeNotStored { old_size, stored_size }),
    }
}

/// Whether a head that its log signed has another root than the log signed before.
fn is_fork(stored: Option<&SignedCheckpoint>, offered: &SignedCheckpoint) -> bool {
    let new = offered.unverified();
    let forks = |stored: &SignedCheckpoint| {
        let stored = stored.unverified();
        stored.size() == new.size() && stored.root() != new.root()
    };
    !new.has_empty_tree_root() || stored.is_some_and(forks)
}

const TEXT: &str = "text/plain; charset=utf-8";
const SIZE: &str = "text/x.tlog.size";

#[cfg(test)]
mod tests;
