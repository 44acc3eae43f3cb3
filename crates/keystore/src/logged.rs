//! What grants and clearances have in common: the context is this party's, its agreement is one
//! that this party stands in, and the log entry of this very context is in the log, under a head
//! that the other holders cosigned.

use std::sync::Arc;

use cordon_crypto::canonical::from_canonical;
use cordon_crypto::dsse::{Document as _, Envelope, Signed};
use cordon_protocol::agreement::Holder;
use cordon_protocol::entry::{Action, Decision};
use cordon_protocol::party::{Profile, witness_name};
use cordon_protocol::{Agreement, LogEntry, RunId};
use cordon_tlog::{KeyName, LogKey, Proven, Quorum, WitnessKey, verify_proof};
use cordon_types::{Base64Bytes, PartyId, Sha256Digest, UnixSeconds};

use crate::cache::AgreementCache;
use crate::directory::Directory;
use crate::refusal::{DocumentKind, Refusal, chain};
use crate::store::PublicParts;

/// The part that both kinds of context share.
pub(crate) struct Claim<'a> {
    pub holder: &'a PartyId,
    pub agreement: Sha256Digest,
    pub run: RunId,
    pub issued: UnixSeconds,
    /// Digest of the whole context.
    pub digest: Sha256Digest,
    /// What the log must record about it.
    pub action: Action,
}

/// The agreement of a claim whose every check of this module held.
pub(crate) struct Logged {
    pub agreement: Arc<Signed<Agreement>>,
    // Kept so that nothing can be made of an agreement alone.
    _proven: Proven,
}

/// Checks a claim, from who it is for to the log's proof.
pub(crate) fn check(
    own: &PublicParts,
    directory: &Directory,
    agreements: &mut AgreementCache,
    claim: &Claim<'_>,
    agreement: &Envelope,
    entry: &Base64Bytes,
    proof: &str,
) -> Result<Logged, Refusal> {
    // 1. The context is this party's, under this agreement, in its time.
    if *claim.holder != own.party {
        return Err(Refusal::OtherHolder { holder: claim.holder.clone() });
    }
    if agreement.payload_digest() != claim.agreement {
        return Err(Refusal::OtherAgreement);
    }
    let agreement = open_agreement(agreements, agreement)?;
    let terms = agreement.value();
    if terms.profile != own.profile {
        return Err(Refusal::OtherProfile);
    }
    if claim.issued < terms.not_before || claim.issued >= terms.not_after {
        return Err(Refusal::OutsideValidity);
    }
    // 2. Every holder stands there with the keys that this store knows.
    let quorum = quorum(own, directory, terms)?;
    // 3. The entry records this very context.
    check_entry(own, terms, claim, entry.as_slice())?;
    // 4. The entry is in this party's log, and the quorum has seen it.
    let proof = verify_proof(proof.as_bytes(), entry.as_slice(), &log_key(own)?, &quorum);
    let _proven = proof.map_err(|error| Refusal::Proof { reason: chain(&error) })?;
    Ok(Logged { agreement, _proven })
}

/// An agreement is signed by the requester that it names.
fn open_agreement(
    cache: &mut AgreementCache,
    envelope: &Envelope,
) -> Result<Arc<Signed<Agreement>>, Refusal> {
    if let Some(known) = cache.get(envelope) {
        return Ok(known);
    }
    let signed = envelope
        .open::<Agreement>(&envelope.claimed_signer())
        .map_err(|error| Refusal::document(DocumentKind::Agreement, &error))?;
    if signed.value().requester.signing_key != signed.signer() {
        let reason = "not signed by the requester that it names".to_owned();
        return Err(Refusal::Document { document: DocumentKind::Agreement, reason });
    }
    let signed = Arc::new(signed);
    cache.insert(signed.clone());
    Ok(signed)
}

/// The rule for cosignatures: so many of the other holders' witnesses.
fn quorum(own: &PublicParts, directory: &Directory, terms: &Agreement) -> Result<Quorum, Refusal> {
    let mut own_entries = 0;
    let mut witnesses = Vec::new();
    for holder in &terms.holders {
        if holder.party == own.party {
            own_entries += 1;
            check_own_entry(own, holder)?;
        } else {
            directory.check(holder)?;
            witnesses.push(WitnessKey::new(
                note_name(&witness_name(&holder.log_origin))?,
                holder.witness_key,
            ));
        }
    }
    if own_entries != 1 {
        return Err(Refusal::OwnEntry);
    }
    let needed = terms.witness_quorum;
    if needed == 0 {
        return match own.profile {
            Profile::Development => Ok(Quorum::dangerous_development_none()),
            Profile::Production => Err(Refusal::QuorumNone),
        };
    }
    let count = u32::try_from(witnesses.len()).unwrap_or(u32::MAX);
    let impossible = Refusal::QuorumImpossible { quorum: needed, witnesses: count };
    // Any two quorums must share a witness: otherwise the log could show two histories.
    if needed < count / 2 + 1 {
        return Err(Refusal::QuorumNoMajority { quorum: needed, witnesses: count });
    }
    let threshold = usize::try_from(needed).unwrap_or(usize::MAX);
    Quorum::at_least(threshold, witnesses).map_err(|_| impossible)
}

fn check_own_entry(own: &PublicParts, holder: &Holder) -> Result<(), Refusal> {
    let same = holder.broker_key == own.broker_key
        && holder.log_origin == own.log_origin
        && holder.log_key == own.log_key
        && holder.witness_key == own.witness_key
        && holder.box_key == own.box_key;
    if same { Ok(()) } else { Err(Refusal::OwnEntry) }
}

fn check_entry(
    own: &PublicParts,
    terms: &Agreement,
    claim: &Claim<'_>,
    bytes: &[u8],
) -> Result<(), Refusal> {
    let entry: LogEntry = from_canonical(bytes, LogEntry::MAX_BYTES)
        .map_err(|error| Refusal::document(DocumentKind::Entry, &error))?;
    if entry.holder != own.party || entry.profile != own.profile {
        return Err(Refusal::EntryOtherLog);
    }
    if entry.action != claim.action {
        return Err(Refusal::EntryOtherAction);
    }
    if entry.decision != Decision::Permit {
        return Err(Refusal::EntryNotPermitted);
    }
    let about_this = entry.study.as_ref() == Some(&terms.study)
        && entry.agreement == Some(claim.agreement)
        && entry.run == Some(claim.run);
    if !about_this {
        return Err(Refusal::EntryOtherRun);
    }
    // Exactly one object: an entry that names two contexts would release twice and look like once.
    if entry.objects == [claim.digest] { Ok(()) } else { Err(Refusal::EntryOtherContext) }
}

fn log_key(own: &PublicParts) -> Result<LogKey, Refusal> {
    Ok(LogKey::new(note_name(&own.log_origin)?, own.log_key))
}

fn note_name(text: &str) -> Result<KeyName, Refusal> {
    text.parse().map_err(|error| Refusal::document(DocumentKind::Agreement, &error))
}
