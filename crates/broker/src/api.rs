//! The JSON bodies of the staff interface, shared by server and client.

use cordon_crypto::dsse::Envelope;
use cordon_protocol::decision::Verdict;
use cordon_protocol::entry::{Action, Actor};
use cordon_protocol::party::{Profile, Role};
use cordon_protocol::release::ReviewCopy;
use cordon_protocol::run::RunId;
use cordon_types::{
    AgreementName, DatasetId, PartyId, PersonId, Sha256Digest, StudyId, UnixSeconds,
};
use serde::{Deserialize, Serialize};

/// How a broker is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The party.
    pub party: PartyId,
    /// Its profile; a development broker protects nothing.
    pub profile: Profile,
    /// Whether it takes part: its log is known to be no older than its witnesses remember.
    pub ready: bool,
    /// Entries in its log.
    pub log_size: u64,
}

/// A card and an administrator's statement about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The signed party or person card.
    pub card: Envelope,
    /// The signed [`cordon_protocol::party::Enrolment`].
    pub enrolment: Envelope,
}

/// A sealed dataset version and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The signed [`cordon_protocol::Manifest`].
    pub manifest: Envelope,
    /// The signed [`cordon_protocol::Deposit`].
    pub deposit: Envelope,
}

/// Something was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Digest of the document.
    pub digest: Sha256Digest,
    /// Index of its log entry; absent if nothing new was recorded.
    pub entry: Option<u64>,
}

/// A dataset version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetView {
    /// The dataset.
    pub dataset: DatasetId,
    /// Its version.
    pub version: u32,
    /// Digest of its manifest.
    pub digest: Sha256Digest,
    /// The signed manifest.
    pub manifest: Envelope,
}

/// Where an agreement stands at this broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgreementState {
    /// Approvals are missing.
    Proposed,
    /// All approvals of this holder are in.
    Active,
    /// A person rejected it.
    Rejected,
    /// A person stopped its study.
    Stopped,
    /// Its time is over.
    Expired,
}

impl std::fmt::Display for AgreementState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Rejected => "rejected",
            Self::Stopped => "stopped",
            Self::Expired => "expired",
        })
    }
}

/// A person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionView {
    /// Who.
    pub person: PersonId,
    /// In which roles.
    pub roles: Vec<Role>,
    /// What.
    pub verdict: Verdict,
    /// Until when it counts.
    pub expires: UnixSeconds,
}

/// An agreement at this broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgreementView {
    /// Its digest: what people approve.
    pub digest: Sha256Digest,
    /// The study.
    pub study: StudyId,
    /// Name within the study.
    pub name: AgreementName,
    /// One line for people.
    pub title: String,
    /// Where it stands here.
    pub state: AgreementState,
    /// Decisions of this holder's people.
    pub decisions: Vec<DecisionView>,
    /// What is missing before it is active, in plain words.
    pub missing: Vec<String>,
    /// Runs spent.
    pub runs: u32,
    /// Runs allowed.
    pub max_runs: u32,
    /// The signed agreement; absent in lists.
    pub envelope: Option<Envelope>,
}

/// Where a run stands at this broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Keys were granted; no receipt yet.
    Granted,
    /// The output waits for a decision.
    Held,
    /// This broker released its share.
    Cleared,
    /// A reviewer withheld the output.
    Withheld,
    /// The guard reports that nothing leaves.
    Failed,
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Granted => "granted",
            Self::Held => "held",
            Self::Cleared => "cleared",
            Self::Withheld => "withheld",
            Self::Failed => "failed",
        })
    }
}

/// A run at this broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// Its agreement.
    pub agreement: Sha256Digest,
    /// Where it stands.
    pub state: RunState,
    /// `ok`, or why it failed.
    pub code: String,
    /// The signed receipt, if it came.
    pub receipt: Option<Envelope>,
}

/// What a reviewer needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewView {
    /// The signed receipt.
    pub receipt: Envelope,
    /// Review copies of this holder's reviewers, sealed to each.
    pub copies: Vec<ReviewCopy>,
}

/// A refusal with its full reason, for owner and auditor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalView {
    /// Index of its log entry.
    pub entry: u64,
    /// When.
    pub time: UnixSeconds,
    /// What was refused.
    pub action: Action,
    /// Whom, as far as it is known.
    pub actor: Actor,
    /// The run, if it concerns one.
    pub run: Option<RunId>,
    /// Stable code.
    pub code: String,
    /// The full reason, line by line.
    pub reasons: Vec<String>,
}

/// An error, RFC 9457 (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:cordon:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short, the same for all problems of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// The stable code.
    pub code: String,
    /// Failed conditions, for those who may know them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}
