//! Messages through the hub's mailboxes, and between the guard and its host.
//!
//! The hub may read, drop, reorder and repeat all of them: nothing here is trusted for where it
//! came from. What matters inside is signed or sealed.

use cordon_crypto::SealedBox;
use cordon_crypto::dsse::Envelope;
use cordon_types::{Base64Bytes, Nonce, PartyId, Sha256Digest};
use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::release::ReviewCopy;
use crate::run::RunId;

/// Largest message in a mailbox: evidence, grants and receipts fit many times.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes that the review copies for one holder may hold together: in base64, with receipt and
/// share, they are one message.
pub const MAX_REVIEW_BYTES: usize = MAX_MESSAGE_BYTES / 2;
/// Most bytes of all manifests that a broker sends with a challenge, likewise.
pub const MAX_MANIFESTS_BYTES: usize = MAX_MESSAGE_BYTES / 2;

/// To a broker, in the mailbox of its party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToBroker {
    /// A requester proposes an [`crate::Agreement`].
    Propose {
        /// The signed agreement.
        agreement: Envelope,
    },
    /// A guard asks for a nonce for its run.
    Challenge {
        /// The signed [`crate::RunRequest`].
        request: Envelope,
    },
    /// A guard asks for keys.
    Grant {
        /// The run.
        run: RunId,
        /// One evidence for all brokers.
        evidence: Evidence,
    },
    /// A guard renews its lease.
    Heartbeat {
        /// The signed [`crate::Heartbeat`].
        heartbeat: Envelope,
    },
    /// A guard delivers what its run came to.
    Deliver {
        /// The run.
        run: RunId,
        /// The signed [`crate::Receipt`].
        receipt: Envelope,
        /// This broker's share of the result key: label `ShareBox`, context `[run id, holder]`.
        /// Absent if nothing leaves.
        share: Option<SealedBox>,
        /// Review copies for this holder's reviewers.
        reviews: Vec<ReviewCopy>,
    },
    /// Another broker asks for a cosignature: the body of a C2SP `add-checkpoint` request.
    AddCheckpoint {
        /// The request body.
        body: String,
    },
    /// Another broker asks which head of its log was last cosigned.
    LastCheckpoint {
        /// Origin of the log.
        origin: String,
    },
}

/// A broker's answer, in the mailbox that the message named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromBroker {
    /// The agreement was recorded and waits for approvals.
    Proposed {
        /// Its digest.
        agreement: Sha256Digest,
    },
    /// A nonce to bind.
    Challenged {
        /// Whose.
        holder: PartyId,
        /// Used once.
        nonce: Nonce,
        /// The signed [`crate::Manifest`]s of the dataset versions that this broker would
        /// release, so that the guard can plan before it has keys.
        manifests: Vec<Envelope>,
    },
    /// Keys.
    Granted {
        /// The signed [`crate::Grant`].
        grant: Box<Envelope>,
    },
    /// A lease.
    Leased {
        /// The signed [`crate::Lease`].
        lease: Envelope,
    },
    /// The receipt is logged; clearance may take days.
    Received {
        /// Whose broker.
        holder: PartyId,
        /// Digest of the receipt.
        receipt: Sha256Digest,
    },
    /// No.
    Refused {
        /// The signed [`crate::Refusal`].
        refusal: Envelope,
    },
    /// A witness's answer: HTTP status and body of C2SP `add-checkpoint`.
    Cosigned {
        /// 200, or why not.
        status: u16,
        /// Cosignature lines, or the size last cosigned.
        body: String,
    },
    /// The head last cosigned for an origin; absent if never.
    LastCheckpoint {
        /// The signed note with cosignatures.
        checkpoint: Option<String>,
    },
}

/// To a person's mailbox: `<party>/<person>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToPerson {
    /// A run ended; the receipt, from the host.
    Receipt {
        /// The signed [`crate::Receipt`].
        receipt: Envelope,
        /// The evidence that binds the receipt's key.
        evidence: Evidence,
    },
    /// A holder's broker released its share.
    Release {
        /// The signed [`crate::Release`].
        release: Box<Envelope>,
    },
    /// A holder's broker refused.
    Refused {
        /// The signed [`crate::Refusal`].
        refusal: Envelope,
    },
}

/// A message in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail<T> {
    /// Chosen by the sender; the answer repeats it.
    pub id: Nonce,
    /// Mailbox for the answer; absent if none is wanted.
    pub reply_to: Option<String>,
    /// The message.
    pub body: T,
}

/// From host to guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToGuard {
    /// The first frame: what to run. The engine's bytes follow in one or more raw frames.
    Start {
        /// The signed [`crate::Agreement`].
        agreement: Box<Envelope>,
        /// The signed [`crate::RunRequest`].
        request: Box<Envelope>,
        /// Size of the engine in bytes.
        engine_size: u64,
    },
    /// An answer of a broker.
    FromBroker {
        /// Which broker, as the host says; the guard checks signatures.
        party: PartyId,
        /// Which of the guard's messages it answers.
        id: Nonce,
        /// The answer.
        body: Box<FromBroker>,
    },
    /// Announces that the next raw frame answers the oldest open [`FromGuard::Read`].
    Range,
    /// The range cannot be had.
    RangeFailed,
}

/// Longest detail of [`FromGuard::Finished`].
pub const MAX_DETAIL_BYTES: usize = 2048;

/// Whether a text can be shown to people as a detail: of bounded length and one line.
pub fn is_detail(text: &str) -> bool {
    text.len() <= MAX_DETAIL_BYTES && !text.chars().any(char::is_control)
}

/// From guard to host. Sealed, signed, or free of data: nothing else can be put into it.
#[expect(clippy::large_enum_variant, reason = "one at a time; the largest ends the run")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromGuard {
    /// A message for a broker.
    ToBroker {
        /// Which broker.
        party: PartyId,
        /// The answer repeats it.
        id: Nonce,
        /// The message.
        body: Box<ToBroker>,
    },
    /// Asks for ciphertext of an object.
    Read {
        /// The object.
        object: Sha256Digest,
        /// First byte.
        offset: u64,
        /// How many.
        length: u32,
    },
    /// Where it is; shown to people.
    Progress {
        /// The stage.
        stage: Stage,
        /// Ciphertext bytes read so far.
        bytes_read: u64,
    },
    /// The sealed result, to be stored under its digest.
    Store {
        /// The sealed bytes.
        sealed: Base64Bytes,
    },
    /// The end.
    Finished {
        /// The signed [`crate::Receipt`], if the run got as far as evidence.
        receipt: Option<Envelope>,
        /// The evidence that binds the receipt's key.
        evidence: Option<Evidence>,
        /// `ok`, or why not: a stable code.
        code: String,
        /// The broker's signed refusal, if that is why.
        refusal: Option<Envelope>,
        /// What to change, for the author of a query that cannot be planned. The guard passes it
        /// on only before it asks for any key, when nobody has seen data.
        detail: Option<String>,
    },
}

/// Stages of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Planning without keys.
    Planning,
    /// Asking for nonces.
    Challenging,
    /// Sending evidence, waiting for grants.
    Attesting,
    /// The worker runs.
    Running,
    /// The gate judges.
    Checking,
    /// Sealing and delivering.
    Sealing,
}
