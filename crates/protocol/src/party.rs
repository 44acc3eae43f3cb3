//! Who takes part: organisations and persons, with the keys that speak for them.

use cordon_crypto::dsse::Document;
use cordon_crypto::{RecipientKey, VerifyingKey};
use cordon_types::{PartyId, PersonId, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::V1;

/// Whether a broker may ever accept the software TEE. Fixed when the broker is initialised,
/// bound into its root key and its first log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// For laptops and tests: the software TEE may be accepted. Nothing here is confidential.
    Development,
    /// For patient data: evidence needs hardware behind it.
    Production,
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Development => "development",
            Self::Production => "production",
        })
    }
}

impl cordon_types::LogSafe for Profile {}

/// A data holder's public keys, signed by its own broker key. Two parties exchange cards and
/// their people compare the broker key's fingerprint over another channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyCard {
    /// Format version.
    pub v: V1,
    /// The organisation.
    pub party: PartyId,
    /// Its broker's profile.
    pub profile: Profile,
    /// Signs grants, leases and releases.
    pub broker_key: VerifyingKey,
    /// Origin line of the broker's log, which is also the log key's name.
    pub log_origin: String,
    /// Signs the log's checkpoints (signed-note type 01).
    pub log_key: VerifyingKey,
    /// Cosigns other logs' checkpoints (type 04); its name is `<log_origin>/witness`.
    pub witness_key: VerifyingKey,
    /// Opens boxes that are sealed to the broker: deposits and result shares.
    pub box_key: RecipientKey,
    /// Keys that may sign manifests of this holder's datasets.
    pub manifest_keys: Vec<VerifyingKey>,
    /// When the card was made.
    pub issued: UnixSeconds,
}

impl Document for PartyCard {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.party-card.v1+json";
    const MAX_BYTES: usize = 16 * 1024;
}

impl PartyCard {
    /// Name of the witness key in signed notes.
    pub fn witness_name(&self) -> String {
        witness_name(&self.log_origin)
    }
}

/// Name of the witness key of the party whose log has this origin.
pub fn witness_name(log_origin: &str) -> String {
    format!("{log_origin}/witness")
}

/// A person's public keys, signed by that person's own key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonCard {
    /// Format version.
    pub v: V1,
    /// The person, unique within the party.
    pub person: PersonId,
    /// The organisation that the person acts for.
    pub party: PartyId,
    /// Signs agreements, approvals, stops, run requests and reviews.
    pub signing_key: VerifyingKey,
    /// Opens results and review copies.
    pub box_key: RecipientKey,
    /// When the card was made.
    pub issued: UnixSeconds,
}

impl Document for PersonCard {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.person-card.v1+json";
    const MAX_BYTES: usize = 8 * 1024;
}

/// What a person may do at one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Seals and publishes datasets, approves their use.
    Steward,
    /// Data protection officer: approves, stops, reviews.
    DataProtectionOfficer,
    /// Approves, stops, sets reference values.
    SecurityOfficer,
    /// Reviews outputs before clearance.
    Reviewer,
    /// Proposes agreements and requests runs.
    Researcher,
    /// Reads the log and all reasons; decides nothing.
    Auditor,
    /// Enrols parties and persons; approves nothing.
    Administrator,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Steward => "steward",
            Self::DataProtectionOfficer => "data_protection_officer",
            Self::SecurityOfficer => "security_officer",
            Self::Reviewer => "reviewer",
            Self::Researcher => "researcher",
            Self::Auditor => "auditor",
            Self::Administrator => "administrator",
        })
    }
}

impl cordon_types::LogSafe for Role {}

/// An administrator's statement to one broker that a card's person has these roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Format version.
    pub v: V1,
    /// The broker that this is for.
    pub audience: PartyId,
    /// Digest of the party or person card.
    pub card: cordon_types::Sha256Digest,
    /// The person's roles; empty for a party.
    pub roles: Vec<Role>,
    /// The administrator who signs.
    pub administrator: PersonId,
    /// Used once.
    pub nonce: cordon_types::Nonce,
    /// When it was signed.
    pub issued: UnixSeconds,
}

impl Document for Enrolment {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.enrolment.v1+json";
    const MAX_BYTES: usize = 8 * 1024;
}
