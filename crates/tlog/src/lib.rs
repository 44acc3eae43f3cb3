//! A transparency log over opaque entries: tree, tiles, notes, proofs, witnesses.
//!
//! Nobody has to believe the keeper of such a log: an entry is shown to stand in it by a short
//! proof, the log is shown never to have been rewritten by another, and witnesses see to it that
//! everybody is shown the same log. Everything follows the C2SP documents, so that programs that
//! we did not write can check it: tlog-tiles, signed-note, tlog-checkpoint, tlog-cosignature,
//! tlog-witness, tlog-proof and tlog-policy, over the tree of RFC 6962.
//!
//! This crate takes bytes and gives bytes. It must never see a file, a socket, a clock or a
//! source of randomness; whoever stores a log decides when something is durable, and must keep
//! the order that [`Growth`](tile::Growth) and [`Cosigned`](witness::Cosigned) ask for.
//!
//! What was checked has a type of its own that only the check can make: a
//! [`VerifiedCheckpoint`] was signed by its log, a [`CosignedCheckpoint`] by a quorum too, a
//! [`Proven`] entry stands under such a head. The relying party names log and witnesses by their
//! keys and needs nothing else:
//!
//! ```
//! use std::collections::HashMap;
//! use std::convert::Infallible;
//!
//! use cordon_crypto::SigningKey;
//! use cordon_tlog::tile::{LogTree, TileHashReader, TilePath};
//! use cordon_tlog::witness::{AddCheckpoint, Decision, Witness};
//! use cordon_tlog::{LogSigner, ProofBundle, Quorum, TreeHash, WitnessSigner, verify_proof};
//! use cordon_types::{Secret, UnixSeconds};
//!
//! let (log_key, witness_key) = (
//!     SigningKey::from_seed(Secret::from_bytes([1; 32])),
//!     SigningKey::from_seed(Secret::from_bytes([2; 32])),
//! );
//!
//! // The log appends a batch, makes its files durable, and signs the new head.
//! let signer = LogSigner::new("hospital-a.example/log".parse()?, &log_key);
//! let growth = LogTree::new().append(&["first entry", "second entry"])?;
//! let mut disk = HashMap::new();
//! for file in growth.files {
//!     disk.insert(file.path, file.bytes);
//! }
//! let mut head = signer.sign(growth.tree.size(), growth.tree.root())?;
//!
//! // A witness of another party cosigns it: it saw nothing of this log before.
//! let name = "hospital-b.example/witness".parse()?;
//! let witness = Witness::new(WitnessSigner::new(name, &witness_key), [signer.key().clone()])?;
//! let request = AddCheckpoint::new(0, Vec::new(), head.signed().clone());
//! let answer = match witness.decide(None, &request, UnixSeconds::new(1_700_000_000)) {
//!     Decision::Cosign(cosigned) => cosigned.into_answer_once_stored(),
//!     Decision::Refuse { refusal, .. } => refusal.answer(),
//! };
//! let quorum = Quorum::all([witness.key().clone()])?;
//! head.add_cosignatures(answer.body.as_bytes(), &quorum)?;
//!
//! // The log proves an entry; a key process or a guard checks the proof, offline.
//! let read = |path: &TilePath| Ok::<_, Infallible>(disk.get(path).cloned());
//! let mut reader = TileHashReader::new(read, head.size());
//! let leaf = TreeHash::of_entry(b"second entry");
//! let bundle = ProofBundle::make(&mut reader, 1, &leaf, &head)?.to_string();
//!
//! let proven = verify_proof(bundle.as_bytes(), b"second entry", signer.key(), &quorum)?;
//! assert_eq!((proven.index(), proven.size(), proven.cosigned_by().len()), (1, 2, 1));
//! assert!(verify_proof(bundle.as_bytes(), b"another entry", signer.key(), &quorum).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Deliberate limits
//! - Signature types 01 (Ed25519) and 04 (Ed25519 cosignature) only. ML-DSA-44 (06) is not
//!   supported: `cordon-crypto` does not offer it. Lines of other types are ignored, as the
//!   specification demands, and kept.
//! - Stricter than the documents: origins are key names; a key is a log's or a witness's, never
//!   both; cosignatures have a time other than 0; `quorum none` must be asked for by a function
//!   whose name says that it is dangerous.
//! - Trees have at most 2^62 leaves, entries at most 65,535 bytes. Nothing is ever pruned.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod cosignature;
pub mod key;
pub mod note;
pub mod policy;
pub mod proof;
pub mod tile;
pub mod tree;
pub mod witness;

mod hash;
mod text;

#[cfg(test)]
mod testing;

pub use checkpoint::{
    Checkpoint, CheckpointError, CosignedCheckpoint, HeadOrder, QuorumError, SignedCheckpoint,
    VerifiedCheckpoint,
};
pub use cosignature::{CosignatureError, Cosigner};
pub use hash::{TreeHash, TreeHashError};
pub use key::{LogKey, LogSigner, VkeyError, WitnessKey, WitnessSigner};
pub use note::{KeyName, KeyNameError};
pub use policy::{Policy, PolicyError, Quorum, RuleError};
pub use proof::{ProofBundle, ProofError, Proven, verify_proof};
pub use text::HashLinesError;
