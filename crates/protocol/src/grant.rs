//! Grants: a broker lets named keys into one attested guard, for one run, for as long as it says.

use cordon_crypto::dsse::Document;
use cordon_crypto::{SealedBox, VerifyingKey};
use cordon_types::{
    Base64Bytes, ColumnName, DatasetId, Milliseconds, Nonce, PartyId, Sha256Digest, TableName,
    UnixSeconds,
};
use serde::{Deserialize, Serialize};

use crate::V1;
use crate::run::RunId;

/// What exactly is granted to whom. Its digest is in the log entry *before* any key is unwrapped,
/// and is the context that the box is sealed under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantContext {
    /// Format version.
    pub v: V1,
    /// The holder whose broker grants.
    pub holder: PartyId,
    /// The agreement.
    pub agreement: Sha256Digest,
    /// The run.
    pub run: RunId,
    /// Digest of the evidence that was appraised.
    pub evidence: Sha256Digest,
    /// Digest of the attestation result.
    pub appraisal: Sha256Digest,
    /// The guard's signing key, from that evidence.
    pub guard_signing_key: VerifyingKey,
    /// SHA-256 of the guard's box key, from that evidence.
    pub guard_box_key: Sha256Digest,
    /// Dataset versions and their keys, sorted by dataset.
    pub datasets: Vec<GrantedDataset>,
    /// How long the keys may be used without a renewed lease, on the guard's own counter.
    pub lease_ms: Milliseconds,
    /// Digest of the policy that permitted it.
    pub policy: Sha256Digest,
    /// When it was decided, by the broker's clock.
    pub issued: UnixSeconds,
}

impl Document for GrantContext {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.grant-context.v1+json";
}

/// Most keys of one grant: with names of full length, context and box stay within the 256 KiB of
/// a document. Agreements are held to it, so that no run fails over it.
pub const MAX_GRANT_KEYS: usize = 1024;

/// Keys of one dataset version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantedDataset {
    /// The dataset.
    pub dataset: DatasetId,
    /// Its version.
    pub version: u32,
    /// Digest of its manifest.
    pub manifest: Sha256Digest,
    /// The released keys: the footer key of each used table, then its agreed columns, sorted.
    pub keys: Vec<KeyName>,
}

/// Names a key within a dataset version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyName {
    /// The table.
    pub table: TableName,
    /// The column; absent for the footer key.
    pub column: Option<ColumnName>,
}

/// A grant as the guard gets it. The box holds the 32-byte keys of the context, joined in its
/// order; label `GrantBox`, context `[digest of the grant context]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Format version.
    pub v: V1,
    /// What is granted.
    pub context: GrantContext,
    /// The keys, sealed to the guard.
    pub sealed_keys: SealedBox,
    /// The log entry of this grant, canonical bytes.
    pub entry: Base64Bytes,
    /// Its `.tlog-proof`, with the witnesses' cosignatures.
    pub proof: String,
}

impl Document for Grant {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.grant.v1+json";
}

/// The guard asks for its lease to be renewed. Signed by the guard's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Format version.
    pub v: V1,
    /// The run.
    pub run: RunId,
    /// The broker that this is for.
    pub audience: PartyId,
    /// Fresh; the lease repeats it.
    pub nonce: Nonce,
}

impl Document for Heartbeat {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.heartbeat.v1+json";
    const MAX_BYTES: usize = 4 * 1024;
}

/// Go on or stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseVerdict {
    /// Go on for `lease_ms`, counted from when the heartbeat was sent.
    Go,
    /// Zeroise now.
    Stop,
}

/// A broker's answer to a heartbeat. Signed by the broker key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Format version.
    pub v: V1,
    /// The run.
    pub run: RunId,
    /// The holder whose broker answers.
    pub holder: PartyId,
    /// The heartbeat's nonce.
    pub nonce: Nonce,
    /// Go on or stop.
    pub verdict: LeaseVerdict,
    /// For how long.
    pub lease_ms: Milliseconds,
}

impl Document for Lease {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.lease.v1+json";
    const MAX_BYTES: usize = 4 * 1024;
}
