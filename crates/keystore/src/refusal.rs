use cordon_protocol::grant::KeyName;
use cordon_types::{DatasetId, PartyId};
use serde::{Deserialize, Serialize};

use crate::state::KeyState;

/// Why the key process says no. It travels to the broker, which logs the code.
///
/// No variant carries a key or anything of a record: identifiers, states and counts only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Refusal {
    /// No request but `unlock` is served before it.
    #[error("the key store is locked")]
    Locked,
    /// It is unlocked once per process.
    #[error("the key store is already unlocked")]
    AlreadyUnlocked,
    /// A document is malformed, of another type, or not signed by whom it must be.
    #[error("the {document} is refused: {reason}")]
    Document {
        /// Which document.
        document: DocumentKind,
        /// Why.
        reason: String,
    },

    // Enrolment.
    /// Not signed by an administrator that the store was made with.
    #[error("the enrolment is not signed by an administrator of this key store")]
    NotAnAdministrator,
    /// The enrolment is for another broker.
    #[error("the document is for `{audience}`, not for this broker")]
    OtherAudience {
        /// Whom it is for.
        audience: PartyId,
    },
    /// The enrolment names another card.
    #[error("the enrolment names another card")]
    OtherCard,
    /// A card is no newer than the one that is enrolled.
    #[error("the card of `{party}` is not newer than the one enrolled")]
    CardNotNewer {
        /// Whose card.
        party: PartyId,
    },
    /// A party cannot be its own witness, nor two parties share keys or a log.
    #[error("the card of `{party}` repeats a key or the log origin of another party")]
    CardRepeatsKeys {
        /// Whose card.
        party: PartyId,
    },
    /// More parties than a directory holds.
    #[error("the directory is full")]
    DirectoryFull,

    // Deposits.
    /// The manifest is signed by a key that may not sign manifests.
    #[error("the manifest is signed by a key that may not sign manifests here")]
    ManifestKeyNotAllowed,
    /// The deposit or grant names another manifest.
    #[error("another manifest is named than the one that is there")]
    OtherManifest,
    /// The manifest is not in the one order that manifests have, repeats a name or counts from 0.
    #[error("the manifest is malformed: {reason}")]
    ManifestMalformed {
        /// What is wrong.
        reason: String,
    },
    /// The box does not open with the broker's key for this manifest.
    #[error("the sealed version key does not open, or is not 32 bytes")]
    DepositDoesNotOpen,
    /// The key is not the one that the manifest commits to.
    #[error("the version key does not match the manifest's commitment to `{key}`")]
    CommitmentMismatch {
        /// The first key that differs.
        key: KeyText,
    },
    /// This version has another manifest.
    #[error("version {version} of `{dataset}` exists with another manifest")]
    VersionExists {
        /// The dataset.
        dataset: DatasetId,
        /// The version.
        version: u32,
    },

    // Life cycle.
    /// No such dataset version.
    #[error("no version {version} of `{dataset}` was deposited")]
    UnknownVersion {
        /// The dataset.
        dataset: DatasetId,
        /// The version.
        version: u32,
    },
    /// There is no way from the present state.
    #[error("version {version} of `{dataset}` is {state}, which does not allow this")]
    State {
        /// The dataset.
        dataset: DatasetId,
        /// The version.
        version: u32,
        /// The present state.
        state: KeyState,
    },
    /// The key-encryption key is missing or does not open, or the wrapped key does not.
    #[error("the key of version {version} of `{dataset}` is damaged: {part} cannot be used")]
    KeyDamaged {
        /// The dataset.
        dataset: DatasetId,
        /// The version.
        version: u32,
        /// `key-encryption key` or `wrapped key`.
        part: KeyPart,
    },

    // Grants and clearances: who and what it is for.
    /// The context names another holder.
    #[error("the context is for holder `{holder}`")]
    OtherHolder {
        /// The holder it names.
        holder: PartyId,
    },
    /// The context names another agreement than the one that came along.
    #[error("the context is for another agreement")]
    OtherAgreement,
    /// The agreement is for another profile than this broker's.
    #[error("the agreement's profile is not this broker's")]
    OtherProfile,
    /// This party is no holder of the agreement, or stands there with other keys.
    #[error("the agreement does not name this party with its own keys")]
    OwnEntry,
    /// Another holder of the agreement is not enrolled, or stands there with other keys.
    #[error("holder `{party}` of the agreement is not enrolled with these keys")]
    HolderNotEnrolled {
        /// The holder.
        party: PartyId,
    },
    /// Production needs witnesses.
    #[error("a witness quorum of 0 is not allowed in production")]
    QuorumNone,
    /// More witnesses are needed than the agreement has.
    #[error("a quorum of {quorum} among {witnesses} witnesses is impossible")]
    QuorumImpossible {
        /// Needed.
        quorum: u32,
        /// Other holders.
        witnesses: u32,
    },
    /// So few witnesses might not hear of each other's.
    #[error("a quorum of {quorum} is no majority of {witnesses} witnesses")]
    QuorumNoMajority {
        /// Needed.
        quorum: u32,
        /// Other holders.
        witnesses: u32,
    },
    /// It was decided outside the agreement's time.
    #[error("it was decided outside the time of the agreement")]
    OutsideValidity,

    // Grants and clearances: the log entry.
    /// The entry is of another broker or profile.
    #[error("the log entry is of another holder or profile")]
    EntryOtherLog,
    /// The entry says that something else happened.
    #[error("the log entry records another action")]
    EntryOtherAction,
    /// The entry records a refusal.
    #[error("the log entry does not record a permission")]
    EntryNotPermitted,
    /// The entry is about another study, agreement or run.
    #[error("the log entry is about another study, agreement or run")]
    EntryOtherRun,
    /// The entry does not name exactly this context.
    #[error("the log entry does not name exactly this context")]
    EntryOtherContext,
    /// The entry is not shown to be in the log under a cosigned head.
    #[error("the log proof is refused: {reason}")]
    Proof {
        /// Why.
        reason: String,
    },

    // Grants only.
    /// The key to seal to is not the one in the context.
    #[error("the guard's box key is not the one in the grant context")]
    OtherGuardKey,
    /// Longer than the agreement allows.
    #[error("the lease is longer than the agreement allows")]
    LeaseTooLong,
    /// Datasets or keys are missing, repeated, out of order, or too many.
    #[error("the granted datasets and keys are not sorted and distinct, 1 to {limit} in all")]
    GrantForm {
        /// Most keys of one grant.
        limit: usize,
    },
    /// The agreement does not name the dataset for this holder.
    #[error("dataset `{dataset}` is not in the agreement")]
    DatasetNotAgreed {
        /// The dataset.
        dataset: DatasetId,
    },
    /// The deposited version has another schema than the agreement pins.
    #[error("version {version} of `{dataset}` has another schema than the agreement")]
    SchemaNotAgreed {
        /// The dataset.
        dataset: DatasetId,
        /// The version.
        version: u32,
    },
    /// The manifest was signed by a key that the agreement does not name.
    #[error("the manifest of `{dataset}` is signed by a key that the agreement does not name")]
    SignerNotAgreed {
        /// The dataset.
        dataset: DatasetId,
    },
    /// The manifest has no such key.
    #[error("`{dataset}` has no key `{key}`")]
    UnknownKey {
        /// The dataset.
        dataset: DatasetId,
        /// The key.
        key: KeyText,
    },
    /// The agreement does not release this key.
    #[error("the agreement does not release key `{key}` of `{dataset}`")]
    KeyNotAgreed {
        /// The dataset.
        dataset: DatasetId,
        /// The key.
        key: KeyText,
    },

    // Clearances only.
    /// The recipients' keys are not those of the agreement, in its order.
    #[error("the recipients are not those of the agreement")]
    OtherRecipients,
    /// The box is not the one in the context.
    #[error("the sealed share is not the one in the clearance context")]
    OtherShare,
    /// The share does not open with the broker's key for this run.
    #[error("the share does not open, or is not 32 bytes")]
    ShareDoesNotOpen,
    /// A recipient's or guard's public key cannot be sealed to.
    #[error("a public key cannot be sealed to")]
    UnusableKey,
}

/// Documents that the key process reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// A party card.
    Card,
    /// An administrator's enrolment.
    Enrolment,
    /// A manifest.
    Manifest,
    /// A deposit.
    Deposit,
    /// An agreement.
    Agreement,
    /// A log entry.
    Entry,
    /// A grant or clearance context.
    Context,
}

/// Parts of a stored key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPart {
    /// The file that the root wraps.
    KeyEncryptionKey,
    /// The version key that it wraps.
    WrappedKey,
}

/// A key's name as text: `table` for the footer, `table.column`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyText(String);

impl From<&KeyName> for KeyText {
    fn from(name: &KeyName) -> Self {
        Self(match &name.column {
            Some(column) => format!("{}.{column}", name.table),
            None => name.table.to_string(),
        })
    }
}

macro_rules! shown {
    ($($name:ident { $($variant:ident => $text:literal,)* })*) => {
        $(impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)* })
            }
        })*
    };
}

shown! {
    DocumentKind {
        Card => "card",
        Enrolment => "enrolment",
        Manifest => "manifest",
        Deposit => "deposit",
        Agreement => "agreement",
        Entry => "log entry",
        Context => "context",
    }
    KeyPart {
        KeyEncryptionKey => "the key-encryption key",
        WrappedKey => "the wrapped key",
    }
}

impl std::fmt::Display for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Refusal {
    /// A stable code, for log entries and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Locked => "keystore_locked",
            Self::AlreadyUnlocked => "keystore_already_unlocked",
            Self::Document { .. } => "document_refused",
            Self::NotAnAdministrator => "not_an_administrator",
            Self::OtherAudience { .. } => "other_audience",
            Self::OtherCard => "other_card",
            Self::CardNotNewer { .. } => "card_not_newer",
            Self::CardRepeatsKeys { .. } => "card_repeats_keys",
            Self::DirectoryFull => "directory_full",
            Self::ManifestKeyNotAllowed => "manifest_key_not_allowed",
            Self::OtherManifest => "other_manifest",
            Self::ManifestMalformed { .. } => "manifest_malformed",
            Self::DepositDoesNotOpen => "deposit_does_not_open",
            Self::CommitmentMismatch { .. } => "commitment_mismatch",
            Self::VersionExists { .. } => "version_exists",
            Self::UnknownVersion { .. } => "version_unknown",
            Self::State { .. } => "key_state",
            Self::KeyDamaged { .. } => "key_damaged",
            Self::OtherHolder { .. } => "other_holder",
            Self::OtherAgreement => "other_agreement",
            Self::OtherProfile => "other_profile",
            Self::OwnEntry => "own_entry_differs",
            Self::HolderNotEnrolled { .. } => "holder_not_enrolled",
            Self::QuorumNone => "quorum_none",
            Self::QuorumImpossible { .. } => "quorum_impossible",
            Self::QuorumNoMajority { .. } => "quorum_no_majority",
            Self::OutsideValidity => "outside_validity",
            Self::EntryOtherLog => "entry_other_log",
            Self::EntryOtherAction => "entry_other_action",
            Self::EntryNotPermitted => "entry_not_permitted",
            Self::EntryOtherRun => "entry_other_run",
            Self::EntryOtherContext => "entry_other_context",
            Self::Proof { .. } => "proof_refused",
            Self::OtherGuardKey => "other_guard_key",
            Self::LeaseTooLong => "lease_too_long",
            Self::GrantForm { .. } => "grant_form",
            Self::DatasetNotAgreed { .. } => "dataset_not_agreed",
            Self::SchemaNotAgreed { .. } => "schema_not_agreed",
            Self::SignerNotAgreed { .. } => "signer_not_agreed",
            Self::UnknownKey { .. } => "key_unknown",
            Self::KeyNotAgreed { .. } => "column_not_agreed",
            Self::OtherRecipients => "other_recipients",
            Self::OtherShare => "other_share",
            Self::ShareDoesNotOpen => "share_does_not_open",
            Self::UnusableKey => "public_key_unusable",
        }
    }

    /// Refuses a document, with the whole chain of reasons.
    pub(crate) fn document(document: DocumentKind, error: &dyn std::error::Error) -> Self {
        Self::Document { document, reason: chain(error) }
    }
}

/// The messages of an error and its causes, joined.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
