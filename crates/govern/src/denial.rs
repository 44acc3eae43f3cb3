//! A no, with everything that has to be said about it to whom.

use cordon_crypto::sha256;
use cordon_protocol::entry::{Action, Actor, Decision};
use cordon_protocol::party::Profile;
use cordon_protocol::{LogEntry, Refusal, RunId, V1};
use cordon_types::{PartyId, Sha256Digest, StudyId, UnixSeconds};

use crate::Code;

/// A refusal: a stable code and a public sentence for everybody, reasons for owner and auditor,
/// and the entry to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    code: Code,
    reasons: Vec<String>,
    entry: Box<LogEntry>,
}

/// A decision that cannot take effect, because the log does not prove it. Nothing is wrong with
/// the request: the broker tries again, or waits for its witnesses.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The proof does not prove the entry of this decision.
    #[error("the log does not prove the entry of this decision")]
    Proof(#[from] cordon_tlog::ProofError),
    /// The stored entry is of another decision.
    #[error("the stored entry is not the permission of this very context")]
    OtherEntry,
    /// The stored context is not of this broker and agreement, or for another guard.
    #[error("the stored context does not belong to this agreement and guard")]
    OtherContext,
    /// Something has no canonical form. A bug.
    #[error("a document has no canonical form")]
    Canonical(#[from] cordon_crypto::canonical::CanonicalError),
    /// Signing failed, or a signing key of somebody else was offered.
    #[error("cannot sign for this broker")]
    Sign,
    /// Not one box for each recipient.
    #[error("expected {expected} sealed shares, one for each recipient, found {found}")]
    Shares {
        /// Recipients of the agreement.
        expected: usize,
        /// Boxes.
        found: usize,
    },
}

impl Denial {
    /// The stable code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The public sentence.
    pub const fn sentence(&self) -> &'static str {
        self.code.sentence()
    }

    /// What exactly is wrong: for the owner and auditors, and nobody else.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// The entry to record. The last digest of its `evidence` is that of the reasons, joined by
    /// line feeds.
    pub const fn entry(&self) -> &LogEntry {
        &self.entry
    }

    /// The document that everybody may see; the broker signs it.
    pub fn refusal(&self) -> Refusal {
        Refusal {
            v: V1,
            holder: self.entry.holder.clone(),
            run: self.entry.run,
            code: self.code.as_str().to_owned(),
            sentence: self.sentence().to_owned(),
            issued: self.entry.time,
        }
    }
}

/// What a decision is about: everything in a log entry but its outcome.
#[derive(Clone, Debug)]
pub(crate) struct Occasion {
    pub time: UnixSeconds,
    pub profile: Profile,
    pub holder: PartyId,
    pub actor: Actor,
    pub study: Option<StudyId>,
    pub agreement: Option<Sha256Digest>,
    pub run: Option<RunId>,
    pub evidence: Vec<Sha256Digest>,
}

impl Occasion {
    pub fn deny(&self, action: Action, code: Code, reasons: Vec<String>) -> Denial {
        let mut entry = self.entry(action, Vec::new());
        entry.decision = Decision::Deny;
        entry.code = code.as_str().to_owned();
        entry.evidence.push(sha256(&[reasons.join("\n").as_bytes()]));
        Denial { code, reasons, entry: Box::new(entry) }
    }

    pub fn permit(&self, action: Action, object: Sha256Digest) -> LogEntry {
        self.entry(action, vec![object])
    }

    fn entry(&self, action: Action, objects: Vec<Sha256Digest>) -> LogEntry {
        LogEntry {
            v: V1,
            time: self.time,
            profile: self.profile,
            holder: self.holder.clone(),
            actor: self.actor.clone(),
            action,
            decision: Decision::Permit,
            code: "ok".to_owned(),
            study: self.study.clone(),
            agreement: self.agreement,
            run: self.run,
            objects,
            evidence: self.evidence.clone(),
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    printable(&text)
}

/// The text with control characters written out: a parser's message may repeat a name from a
/// document, and people read reasons in a terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}
