//! What the hub's HTTP interface carries: names, JSON bodies, problems.

use std::fmt;
use std::str::FromStr;

use cordon_crypto::VerifyingKey;
use cordon_crypto::dsse::Envelope;
use cordon_protocol::message::Stage;
use cordon_protocol::run::RunId;
use cordon_types::{
    Base64Bytes, DatasetId, LogSafe, Milliseconds, PartyId, PersonId, Sha256Digest, StudyId,
    UnixMillis,
};
use serde::{Deserialize, Serialize};

/// Longest wait that a long poll may ask for.
pub const MAX_WAIT_MS: u64 = 30_000;
/// Largest envelope: a manifest of 4 MiB, base64, and its signature.
pub const MAX_ENVELOPE_BYTES: usize = 6 * 1024 * 1024;
/// Longest result code of a run.
pub const MAX_CODE_BYTES: usize = 64;
/// Most entries in one listing of documents.
pub const MAX_LISTED_DOCUMENTS: usize = 1_000;

/// Whose mailbox. Written `hospital-a`, `hospital-a/alice` or `reply-<64 hex digits>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MailboxName {
    /// A party's: read with the broker key of its registered card.
    Party(PartyId),
    /// A person's: read with the signing key of the registered card.
    Person(PartyId, PersonId),
    /// Of whoever holds the key with this SHA-256: a guard's run, a command, a witness request.
    /// The name is proof enough, so nobody needs to register it and nobody else can read it.
    Reply(Sha256Digest),
}

/// A text that names no mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a mailbox: expected `<party>`, `<party>/<person>` or `reply-` and 64 hex digits")]
pub struct MailboxNameError;

const REPLY_PREFIX: &str = "reply-";

impl MailboxName {
    /// The reply mailbox of the holder of `key`.
    pub fn reply(key: &VerifyingKey) -> Self {
        Self::Reply(cordon_crypto::sha256(&[key.as_bytes()]))
    }
}

impl From<PartyId> for MailboxName {
    fn from(party: PartyId) -> Self {
        Self::Party(party)
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Party(party) => write!(f, "{party}"),
            Self::Person(party, person) => write!(f, "{party}/{person}"),
            Self::Reply(key) => write!(f, "{REPLY_PREFIX}{}", key.to_hex()),
        }
    }
}

impl LogSafe for MailboxName {}

impl FromStr for MailboxName {
    type Err = MailboxNameError;

    fn from_str(text: &str) -> Result<Self, MailboxNameError> {
        // No party is called like a reply mailbox: those names are longer than identifiers.
        if let Some(key) = text.strip_prefix(REPLY_PREFIX).and_then(digest_from_hex) {
            return Ok(Self::Reply(key));
        }
        match text.split_once('/') {
            None => text.parse().map(Self::Party).map_err(|_| MailboxNameError),
            Some((party, person)) => {
                let party = party.parse().map_err(|_| MailboxNameError)?;
                let person = person.parse().map_err(|_| MailboxNameError)?;
                Ok(Self::Person(party, person))
            }
        }
    }
}

/// A digest from its bare 64 hex digits, as it stands in paths.
pub fn digest_from_hex(text: &str) -> Option<Sha256Digest> {
    cordon_types::hex::decode_array(text).map(Sha256Digest::from_bytes)
}

/// Answer to a posted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posted {
    /// Its place in the mailbox.
    pub cursor: u64,
}

/// Messages of a mailbox, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Messages {
    /// The messages.
    pub messages: Vec<Message>,
}

/// One message of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Its place; grows from message to message.
    pub cursor: u64,
    /// The bytes as they were posted.
    pub body: Base64Bytes,
}

/// What kinds of signed documents the hub keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// [`cordon_protocol::Agreement`].
    Agreement,
    /// [`cordon_protocol::Manifest`].
    Manifest,
    /// [`cordon_protocol::RunRequest`].
    RunRequest,
    /// [`cordon_protocol::Receipt`].
    Receipt,
    /// [`cordon_protocol::Release`].
    Release,
    /// [`cordon_protocol::Refusal`].
    Refusal,
}

impl DocumentKind {
    /// As it stands in queries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agreement => "agreement",
            Self::Manifest => "manifest",
            Self::RunRequest => "run_request",
            Self::Receipt => "receipt",
            Self::Release => "release",
            Self::Refusal => "refusal",
        }
    }
}

/// What the hub's index says about a document. Claims only: open the document to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentEntry {
    /// Digest of the payload.
    pub digest: Sha256Digest,
    /// The kind.
    pub kind: DocumentKind,
    /// Whose signature it carries.
    pub signer: VerifyingKey,
    /// When the hub got it.
    pub received: UnixMillis,
    /// The study, of an agreement.
    pub study: Option<StudyId>,
    /// The agreement, of an agreement, a run request, a receipt or a release.
    pub agreement: Option<Sha256Digest>,
    /// The run, of a run request, a receipt, a release or a refusal.
    pub run: Option<RunId>,
    /// The holder, of a manifest, a release or a refusal.
    pub holder: Option<PartyId>,
    /// The dataset, of a manifest.
    pub dataset: Option<DatasetId>,
}

/// Which documents to list. All given members must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentQuery {
    /// Of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DocumentKind>,
    /// Of this study.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub study: Option<StudyId>,
    /// Of this agreement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Sha256Digest>,
    /// Of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Of this holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<PartyId>,
    /// Of this dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetId>,
    /// Signed with this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<VerifyingKey>,
}

impl DocumentQuery {
    /// Whether an entry is asked for.
    pub fn matches(&self, entry: &DocumentEntry) -> bool {
        fn is<T: PartialEq>(wanted: &Option<T>, found: Option<&T>) -> bool {
            wanted.as_ref().is_none_or(|wanted| found == Some(wanted))
        }
        is(&self.kind, Some(&entry.kind))
            && is(&self.study, entry.study.as_ref())
            && is(&self.agreement, entry.agreement.as_ref())
            && is(&self.run, entry.run.as_ref())
            && is(&self.holder, entry.holder.as_ref())
            && is(&self.dataset, entry.dataset.as_ref())
            && is(&self.signer, Some(&entry.signer))
    }
}

/// A listing of documents, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentList {
    /// The newest [`MAX_LISTED_DOCUMENTS`] that match.
    pub documents: Vec<DocumentEntry>,
    /// Whether older ones were left out: narrow the query.
    pub truncated: bool,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Waits for a host.
    Queued,
    /// A host has it.
    Claimed,
    /// Ended; the code says how.
    Finished,
}

/// What the hub knows about a run. For people who wait; proof is in receipts and releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunStatus {
    /// The run.
    pub run: RunId,
    /// Its agreement.
    pub agreement: Sha256Digest,
    /// Grows with every change: what a long poll waits for.
    pub revision: u64,
    /// Where it is.
    pub state: RunState,
    /// Its last stage.
    pub stage: Option<Stage>,
    /// Ciphertext bytes read.
    pub bytes_read: u64,
    /// How it ended: `ok` or a stable code.
    pub code: Option<String>,
    /// Digest of its receipt, if it got that far.
    pub receipt: Option<Sha256Digest>,
    /// What to change, if its query could not be planned.
    pub detail: Option<String>,
    /// When it was queued.
    pub submitted: UnixMillis,
    /// When the hub last heard of it.
    pub updated: UnixMillis,
}

/// A run that a host has claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The run.
    pub run: RunId,
    /// The signed [`cordon_protocol::RunRequest`].
    pub request: Envelope,
    /// The claim is lost this long after the last word from the host.
    pub lease_ms: Milliseconds,
}

/// A host's word that it is still at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The stage, if one has begun.
    pub stage: Option<Stage>,
    /// Ciphertext bytes read so far.
    pub bytes_read: u64,
}

/// A host's last word about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// `ok`, or a stable code.
    pub code: String,
    /// Digest of the receipt, if there is one.
    pub receipt: Option<Sha256Digest>,
    /// What to change, where a query could not be planned.
    pub detail: Option<String>,
}

impl Finish {
    /// An end without a receipt.
    pub fn without_receipt(code: &str) -> Self {
        Self { code: code.to_owned(), receipt: None, detail: None }
    }
}

/// Whether a text is a stable code: lower case, digits, underscores.
pub fn is_code(text: &str) -> bool {
    (1..=MAX_CODE_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Why the hub refuses a request: RFC 9457, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// `urn:cordon:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// One sentence per code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What was expected and found here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mailbox_has_one_spelling() {
        let reply = format!("reply-{}", "ab".repeat(32));
        for name in ["hospital-a", "hospital-a/alice", "a.b/c.d", "reply-1", &reply] {
            assert_eq!(name.parse::<MailboxName>().unwrap().to_string(), name);
        }
        assert!(matches!(reply.parse(), Ok(MailboxName::Reply(_))));
        let upper = format!("reply-{}", "AB".repeat(32));
        for bad in ["", "/", "a/", "/a", "a/b/c", "../a", "A", "a b", &upper] {
            assert_eq!(bad.parse::<MailboxName>(), Err(MailboxNameError), "{bad}");
        }
    }

    #[test]
    fn codes_are_lower_case_words() {
        assert!(is_code("ok") && is_code("gate_small_cells2") && is_code(&"x".repeat(64)));
        for bad in ["", "Ok", "a b", "é", "a-b", &"x".repeat(65)] {
            assert!(!is_code(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parsing_a_mailbox_never_panics_and_is_inverse_to_writing(text in ".{0,80}") {
            if let Ok(name) = text.parse::<MailboxName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
