//! The key process: a child of the broker that holds the root key and answers requests on its
//! standard input, one after the other.
//!
//! The broker service parses what comes from the network; this process does not. It holds what
//! must not leak (root key, key-encryption keys, the box secret, dataset keys, result shares)
//! and answers with public facts, sealed boxes, or a refusal. There is no request that gives a
//! dataset key to the broker. `cordon key-process` forbids core dumps and tracing before it calls
//! [`serve`].
//!
//! Frames are those of [`cordon_protocol::frame`], JSON except two: the passphrase after
//! [`Request::Unlock`] and the service keys after [`Response::Unlocked`] are raw, so that they
//! are wiped and never pass through a JSON parser.

mod client;
mod pending;
mod serve;

pub use client::{Client, ClientError};
pub use pending::Pending;
pub use serve::{ServeError, serve};

use cordon_crypto::SealedBox;
use cordon_crypto::dsse::Envelope;
use cordon_protocol::frame::MAX_FRAME_BYTES;
use cordon_types::{DatasetId, PartyId, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::deposit::DepositRequest;
use crate::record::VersionStatus;
use crate::refusal::Refusal;
use crate::release::{GrantRequest, ReleaseRequest};
use crate::state::Transition;
use crate::store::PublicParts;

/// What the broker asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Open the store. For [`Unlock::Passphrase`] a raw frame follows.
    Unlock(Unlock),
    /// Enrol a party.
    Enrol {
        /// The signed [`cordon_protocol::PartyCard`].
        card: Box<Envelope>,
        /// The signed [`cordon_protocol::party::Enrolment`] of that card.
        enrolment: Box<Envelope>,
    },
    /// Take a dataset version's key in.
    Deposit(Box<DepositRequest>),
    /// Seal keys to a guard.
    Grant(Box<GrantRequest>),
    /// Seal a share to the recipients.
    Release(Box<ReleaseRequest>),
    /// Change the state of a version's key.
    Change {
        /// The dataset.
        dataset: DatasetId,
        /// The version.
        version: u32,
        /// How.
        transition: Transition,
        /// When, by the broker's clock.
        time: UnixSeconds,
    },
    /// Wrap a version's key under a new key-encryption key.
    Rewrap {
        /// The dataset.
        dataset: DatasetId,
        /// The version.
        version: u32,
    },
    /// Destroy a version's key.
    Destroy {
        /// The dataset.
        dataset: DatasetId,
        /// The version.
        version: u32,
        /// When, by the broker's clock.
        time: UnixSeconds,
    },
    /// Say what is there.
    Status,
}

/// How the store is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Unlock {
    /// By the passphrase in the next frame.
    Passphrase,
    /// By a key file, which the key process reads itself.
    KeyFile(std::path::PathBuf),
}

/// What the key process answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Response {
    /// The store is open. A raw frame follows: the seeds of broker, log and witness key.
    Unlocked(Box<PublicParts>),
    /// The party is enrolled.
    Enrolled,
    /// The version's key as it stands now.
    Version(VersionStatus),
    /// The keys of a grant, sealed to its guard.
    Granted(Box<SealedBox>),
    /// The share, sealed to each recipient in the agreement's order.
    Released(Vec<SealedBox>),
    /// What is there.
    Status(Status),
    /// No; nothing changed.
    Refused(Refusal),
    /// The store cannot be used: a matter for the operator, not for the one who asked.
    Failed {
        /// Why, with all causes.
        reason: String,
    },
}

/// What is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// All dataset versions, sorted.
    pub versions: Vec<VersionStatus>,
    /// All enrolled parties, sorted.
    pub enrolled: Vec<PartyId>,
}

/// Largest request: a deposit, whose manifest may have 4 MiB before base64.
const MAX_REQUEST_BYTES: usize = MAX_FRAME_BYTES;
/// Longest passphrase frame; [`crate::MAX_PASSPHRASE_BYTES`] is checked later, by name.
const MAX_PASSPHRASE_FRAME_BYTES: usize = 4096;
/// Three seeds of 32 bytes.
const SERVICE_SEED_BYTES: usize = 96;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
