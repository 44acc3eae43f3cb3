//! What a broker's log records. An entry is canonical JSON of at most 65,535 bytes (tlog-tiles)
//! and holds identifiers, digests and codes; no personal data (`notes/trust.md` §2.2).

use cordon_crypto::dsse::Document;
use cordon_types::{PartyId, PersonId, Sha256Digest, StudyId, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::V1;
use crate::party::{Profile, Role};
use crate::run::RunId;

/// One entry of a broker's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    /// Format version.
    pub v: V1,
    /// When, by the broker's clock.
    pub time: UnixSeconds,
    /// The broker's profile.
    pub profile: Profile,
    /// The holder whose log this is.
    pub holder: PartyId,
    /// Who acted.
    pub actor: Actor,
    /// What happened.
    pub action: Action,
    /// Whether it was permitted.
    pub decision: Decision,
    /// Stable code; `ok` when permitted.
    pub code: String,
    /// The study, if it concerns one.
    pub study: Option<StudyId>,
    /// The agreement, if it concerns one.
    pub agreement: Option<Sha256Digest>,
    /// The run, if it concerns one.
    pub run: Option<RunId>,
    /// Digests of the documents that it is about: a grant context, a manifest, a card.
    pub objects: Vec<Sha256Digest>,
    /// Digests of what it rests on: evidence, attestation result, full reason.
    pub evidence: Vec<Sha256Digest>,
}

impl Document for LogEntry {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.log-entry.v1+json";
    const MAX_BYTES: usize = 65_535;
}

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Actor {
    /// The broker itself.
    Broker,
    /// The guard of the entry's run.
    Guard,
    /// An enrolled person.
    Person {
        /// The organisation.
        party: PartyId,
        /// The person; an identifier of staff, never of a patient.
        person: PersonId,
        /// In which role, where one was needed.
        role: Option<Role>,
    },
    /// Another enrolled party.
    Party(PartyId),
    /// Nobody that we know.
    Unknown,
}

/// What happened. Closed: a new action is a new version of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// The log begins; objects: the party's card.
    #[serde(rename = "log.started")]
    LogStarted,
    /// A party was enrolled; objects: its card.
    #[serde(rename = "party.enrolled")]
    PartyEnrolled,
    /// A person was enrolled; objects: the card.
    #[serde(rename = "person.enrolled")]
    PersonEnrolled,
    /// A dataset version arrived; objects: its manifest.
    #[serde(rename = "dataset.published")]
    DatasetPublished,
    /// An agreement arrived; objects: the agreement.
    #[serde(rename = "agreement.proposed")]
    AgreementProposed,
    /// A person approved; objects: the approval.
    #[serde(rename = "approval.given")]
    ApprovalGiven,
    /// A person rejected; objects: the approval document.
    #[serde(rename = "approval.rejected")]
    ApprovalRejected,
    /// A person stopped a study; objects: the stop.
    #[serde(rename = "study.stopped")]
    StudyStopped,
    /// Evidence was appraised; evidence: evidence and attestation result.
    #[serde(rename = "evidence.appraised")]
    EvidenceAppraised,
    /// Keys are granted; objects: the grant context, and nothing else.
    #[serde(rename = "grant.issued")]
    GrantIssued,
    /// A grant was refused.
    #[serde(rename = "grant.refused")]
    GrantRefused,
    /// A lease was not renewed.
    #[serde(rename = "lease.revoked")]
    LeaseRevoked,
    /// A receipt arrived and the output waits; objects: the receipt.
    #[serde(rename = "output.held")]
    OutputHeld,
    /// A reviewer decided; objects: the review decision.
    #[serde(rename = "output.reviewed")]
    OutputReviewed,
    /// An output is cleared; objects: the clearance context, and nothing else.
    #[serde(rename = "output.cleared")]
    OutputCleared,
    /// An output was refused.
    #[serde(rename = "output.refused")]
    OutputRefused,
    /// A budget was charged before noise is drawn. Specified here; no gate charges yet.
    #[serde(rename = "budget.charged")]
    BudgetCharged,
    /// A key's state changed; objects: digest of its name.
    #[serde(rename = "key.changed")]
    KeyChanged,
    /// The broker's configuration changed; objects: digest of it.
    #[serde(rename = "config.changed")]
    ConfigChanged,
    /// A message was refused before it concerned anything of the above.
    #[serde(rename = "message.refused")]
    MessageRefused,
}

/// Whether it was permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Yes.
    Permit,
    /// No.
    Deny,
}

/// Largest entry: the length prefix of an entry bundle is 16 bits.
pub const MAX_ENTRY_BYTES: usize = 65_535;

impl LogEntry {
    /// The bytes that the log holds: the leaf is their hash.
    ///
    /// # Errors
    /// Never in practice: entries hold no fractions.
    pub fn to_bytes(&self) -> Result<Vec<u8>, cordon_crypto::canonical::CanonicalError> {
        cordon_crypto::canonical::to_canonical(self)
    }
}
