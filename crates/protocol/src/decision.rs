//! What persons decide, signed by their own keys, each for one broker and once.

use cordon_crypto::dsse::Document;
use cordon_types::{Nonce, PartyId, PersonId, Sha256Digest, StudyId, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::V1;
use crate::run::RunId;

/// Yes or no to an agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Approve.
    Approve,
    /// Reject, for good.
    Reject,
}

/// A person's signature over an agreement digest, for that person's own broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Format version.
    pub v: V1,
    /// The agreement.
    pub agreement: Sha256Digest,
    /// The broker that this is for.
    pub audience: PartyId,
    /// Who decides.
    pub person: PersonId,
    /// What.
    pub verdict: Verdict,
    /// Used once.
    pub nonce: Nonce,
    /// When it was signed.
    pub issued: UnixSeconds,
    /// Does not count from then on.
    pub expires: UnixSeconds,
}

impl Document for Approval {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.approval.v1+json";
    const MAX_BYTES: usize = 4 * 1024;
}

/// A person stops a study at one broker, at once and for good. One holder's stop ends every run
/// of the study: leases are not renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Format version.
    pub v: V1,
    /// The study.
    pub study: StudyId,
    /// The broker that this is for.
    pub audience: PartyId,
    /// Who stops it.
    pub person: PersonId,
    /// Used once.
    pub nonce: Nonce,
    /// When it was signed.
    pub issued: UnixSeconds,
}

impl Document for Stop {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.stop.v1+json";
    const MAX_BYTES: usize = 4 * 1024;
}

/// A reviewer's decision about the output of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewDecision {
    /// Format version.
    pub v: V1,
    /// The run.
    pub run: RunId,
    /// Digest of the receipt, which names the reviewed result.
    pub receipt: Sha256Digest,
    /// The broker that this is for.
    pub audience: PartyId,
    /// Who decides.
    pub person: PersonId,
    /// Approve clears, reject withholds for good.
    pub verdict: Verdict,
    /// Used once.
    pub nonce: Nonce,
    /// When it was signed.
    pub issued: UnixSeconds,
}

impl Document for ReviewDecision {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.review.v1+json";
    const MAX_BYTES: usize = 4 * 1024;
}
