//! Signed documents of people, when they arrive: who signed, may they, and is it for us.
//!
//! A document names its signer, but nobody believes it: the key that signed is looked up in the
//! directory, and must be that person's. Nonces are the broker's matter: it stores them with
//! what the document does, and a second use fails.

use cordon_crypto::dsse::{Document, Envelope, EnvelopeError, Signed};
use cordon_protocol::agreement::Review;
use cordon_protocol::entry::{Action, Actor};
use cordon_protocol::party::{Enrolment, PartyCard, PersonCard, Profile, Role};
use cordon_protocol::{Approval, Receipt, ReviewDecision, RunId, Stop};
use cordon_types::{PartyId, PersonId, Sha256Digest, UnixSeconds};

use crate::approval::may_approve;
use crate::denial::{Occasion, chain};
use crate::{Code, Denial, Directory, EnrolledPerson, Recognized};

/// How far clocks may be apart.
pub const CLOCK_SKEW_SECONDS: u64 = 120;
/// Longest time that an approval counts: a year; then people look again.
pub const MAX_APPROVAL_SECONDS: u64 = 366 * 86_400;

/// Why a document does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DocumentError {
    /// The stable code.
    pub code: Code,
    /// The reason, for owner and auditor.
    pub reason: String,
    /// Whose signature held, if that was found out.
    signer: Option<Box<(PartyId, PersonId)>>,
}

impl DocumentError {
    /// A document that nobody is known to have signed.
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), signer: None }
    }

    fn by(self, person: &EnrolledPerson) -> Self {
        let name = (person.card.party.clone(), person.card.person.clone());
        Self { signer: Some(Box::new(name)), ..self }
    }

    /// The denial to record and answer with. `run` and `agreement` as far as they are known.
    pub fn deny(
        self,
        directory: &Directory,
        action: Action,
        agreement: Option<Sha256Digest>,
        run: Option<RunId>,
        now: UnixSeconds,
    ) -> Denial {
        let own = directory.own();
        let actor = match self.signer {
            Some(name) => Actor::Person { party: name.0, person: name.1, role: None },
            None => Actor::Unknown,
        };
        let occasion = Occasion {
            time: now,
            profile: own.profile,
            holder: own.party.clone(),
            actor,
            study: None,
            agreement,
            run,
            evidence: Vec::new(),
        };
        occasion.deny(action, self.code, vec![self.reason])
    }
}

/// Opens an approval or rejection of `agreement` by one of this holder's people.
///
/// # Errors
/// If it is malformed, for somebody or something else, not by a person who may, or not now.
pub fn check_approval(
    envelope: &Envelope,
    agreement: &Recognized,
    directory: &Directory,
    now: UnixSeconds,
) -> Result<Signed<Approval>, DocumentError> {
    let (signed, person) = open_by_person::<Approval>(envelope, directory)?;
    check_decision(agreement, directory, &signed)
        .and_then(|_| check_validity(signed.value().issued, signed.value().expires, now))
        .map_err(|error| error.by(person))?;
    Ok(signed)
}

/// Opens a stop. Any person of this holder who may approve may stop, alone and at once.
///
/// # Errors
/// If it is malformed, for another broker, or not by a person who may.
pub fn check_stop(
    envelope: &Envelope,
    directory: &Directory,
    now: UnixSeconds,
) -> Result<Signed<Stop>, DocumentError> {
    let (signed, person) = open_by_person::<Stop>(envelope, directory)?;
    let stop = signed.value();
    check_person(person, directory, &stop.person, &stop.audience)
        .and_then(|()| may_stop(person))
        .and_then(|()| check_not_future(stop.issued, now))
        .map_err(|error| error.by(person))?;
    Ok(signed)
}

/// Stopping errs on the safe side: no other role takes it away.
fn may_stop(person: &EnrolledPerson) -> Result<(), DocumentError> {
    if person.roles.iter().any(|role| may_approve(*role)) {
        return Ok(());
    }
    let reason = format!("`{}` has no role to stop a study", person.card.person);
    Err(DocumentError::new(Code::RoleMissing, reason))
}

/// Opens a reviewer's decision about the output that `receipt` describes.
///
/// # Errors
/// If it is malformed, about another output, for another broker, or not by a reviewer whom the
/// agreement names for this holder.
pub fn check_review(
    envelope: &Envelope,
    agreement: &Recognized,
    receipt: &Signed<Receipt>,
    now: UnixSeconds,
) -> Result<Signed<ReviewDecision>, DocumentError> {
    let reviewers = &agreement.own_holder().reviewers;
    let key = envelope.claimed_signer();
    if !reviewers.iter().any(|reviewer| reviewer.signing_key == key) {
        return Err(DocumentError::new(Code::SignerUnknown, "not signed by an agreed reviewer"));
    }
    let signed = open::<ReviewDecision>(envelope, |envelope| envelope.open(&key))?;
    check_review_of(agreement, receipt.value().run, receipt.digest(), &signed)?;
    check_not_future(signed.value().issued, now)?;
    Ok(signed)
}

/// Opens an enrolment of a party or person card by an administrator of this party.
///
/// # Errors
/// If it is malformed, about another card, for another broker, or not by an administrator.
pub fn check_enrolment(
    envelope: &Envelope,
    card: Sha256Digest,
    directory: &Directory,
    now: UnixSeconds,
) -> Result<Signed<Enrolment>, DocumentError> {
    let (signed, person) = open_by_person::<Enrolment>(envelope, directory)?;
    let enrolment = signed.value();
    let is_about_it = match enrolment.card == card {
        true => Ok(()),
        false => Err(DocumentError::new(Code::WrongSubject, "about another card")),
    };
    check_person(person, directory, &enrolment.administrator, &enrolment.audience)
        .and_then(|()| require_role(person, |role| role == Role::Administrator, "enrol anybody"))
        .and(is_about_it)
        .and_then(|()| check_not_future(enrolment.issued, now))
        .map_err(|error| error.by(person))?;
    Ok(signed)
}

/// Opens a party card, which must be signed by its own broker key, and fit this broker.
///
/// # Errors
/// If it is malformed or not self-signed, or of profile development at a production broker.
pub fn check_party_card(
    envelope: &Envelope,
    profile: Profile,
) -> Result<Signed<PartyCard>, DocumentError> {
    let signed = open::<PartyCard>(envelope, |e| e.open(&e.claimed_signer()))?;
    if signed.signer() != signed.value().broker_key {
        return Err(DocumentError::new(Code::SignerMismatch, "not signed by its own broker key"));
    }
    if profile == Profile::Production && signed.value().profile != Profile::Production {
        let reason = "a development broker cannot take part beside a production broker";
        return Err(DocumentError::new(Code::ProfileMismatch, reason));
    }
    Ok(signed)
}

/// Opens a person card, which must be signed by its own signing key.
///
/// # Errors
/// If it is malformed or not self-signed.
pub fn check_person_card(envelope: &Envelope) -> Result<Signed<PersonCard>, DocumentError> {
    let signed = open::<PersonCard>(envelope, |e| e.open(&e.claimed_signer()))?;
    if signed.signer() != signed.value().signing_key {
        return Err(DocumentError::new(Code::SignerMismatch, "not signed by its own key"));
    }
    Ok(signed)
}

/// Who decided, if the decision is about this agreement, for this broker, by a person who may.
pub(crate) fn check_decision<'d>(
    agreement: &Recognized,
    directory: &'d Directory,
    decision: &Signed<Approval>,
) -> Result<&'d EnrolledPerson, DocumentError> {
    let value = decision.value();
    let person = directory
        .signer(&decision.signer())
        .ok_or_else(|| DocumentError::new(Code::SignerUnknown, "signed by an unknown key"))?;
    check_person(person, directory, &value.person, &value.audience)?;
    if value.agreement != agreement.agreement().digest() {
        return Err(DocumentError::new(Code::WrongSubject, "about another agreement"));
    }
    // trust.md §1, separation of duty: the author does not approve.
    let requester = &agreement.value().requester;
    if requester.signing_key == decision.signer()
        || (&requester.party, &requester.person) == (&person.card.party, &person.card.person)
    {
        return Err(DocumentError::new(Code::SelfApproval, "by the requester of the agreement"));
    }
    require_role(person, may_approve, "approve")?;
    Ok(person)
}

/// Whether a review is about this output, for this broker, by the reviewer whom it names.
pub(crate) fn check_review_of(
    agreement: &Recognized,
    run: RunId,
    receipt: Sha256Digest,
    review: &Signed<ReviewDecision>,
) -> Result<(), DocumentError> {
    let value = review.value();
    if value.audience != *agreement.party() {
        return Err(DocumentError::new(Code::WrongAudience, "addressed to another broker"));
    }
    if value.run != run || value.receipt != receipt {
        return Err(DocumentError::new(Code::WrongSubject, "about another output"));
    }
    // What people review although nobody asks them to review counts for nothing.
    let asked = agreement.value().output.review == Review::EachHolder;
    let reviewers = &agreement.own_holder().reviewers;
    let named = reviewers.iter().find(|reviewer| reviewer.person == value.person);
    match named {
        Some(reviewer) if asked && reviewer.signing_key == review.signer() => Ok(()),
        Some(_) => Err(DocumentError::new(Code::SignerMismatch, "not signed by that reviewer")),
        None => Err(DocumentError::new(Code::SignerUnknown, "not by an agreed reviewer")),
    }
}

/// Whether a decision counts now.
pub(crate) fn check_validity(
    issued: UnixSeconds,
    expires: UnixSeconds,
    now: UnixSeconds,
) -> Result<(), DocumentError> {
    check_not_future(issued, now)?;
    let reason = if expires <= now {
        format!("expired at {expires}")
    } else if expires > issued.plus_seconds(MAX_APPROVAL_SECONDS) {
        format!("would count for more than {MAX_APPROVAL_SECONDS} s")
    } else {
        return Ok(());
    };
    Err(DocumentError::new(Code::DocumentTime, reason))
}

fn check_not_future(issued: UnixSeconds, now: UnixSeconds) -> Result<(), DocumentError> {
    if issued <= now.plus_seconds(CLOCK_SKEW_SECONDS) {
        return Ok(());
    }
    let reason = format!("signed at {issued}, which is in the future");
    Err(DocumentError::new(Code::DocumentTime, reason))
}

fn open_by_person<'d, T: Document>(
    envelope: &Envelope,
    directory: &'d Directory,
) -> Result<(Signed<T>, &'d EnrolledPerson), DocumentError> {
    let key = envelope.claimed_signer();
    let person = directory
        .signer(&key)
        .ok_or_else(|| DocumentError::new(Code::SignerUnknown, format!("signed by `{key}`")))?;
    Ok((open(envelope, |envelope| envelope.open(&key))?, person))
}

fn open<T: Document>(
    envelope: &Envelope,
    open: impl Fn(&Envelope) -> Result<Signed<T>, EnvelopeError>,
) -> Result<Signed<T>, DocumentError> {
    open(envelope).map_err(|error| DocumentError::new(Code::DocumentInvalid, chain(&error)))
}

/// The signer is the person whom the document names, of this party, and it is for this broker.
fn check_person(
    person: &EnrolledPerson,
    directory: &Directory,
    named: &PersonId,
    audience: &PartyId,
) -> Result<(), DocumentError> {
    let own = &directory.own().party;
    if audience != own {
        let reason = format!("addressed to `{audience}`");
        return Err(DocumentError::new(Code::WrongAudience, reason));
    }
    if person.card.party != *own {
        let reason = format!("signed by a person of `{}`", person.card.party);
        return Err(DocumentError::new(Code::RoleMissing, reason));
    }
    if person.card.person != *named {
        let reason = format!("names `{named}`, signed by `{}`", person.card.person);
        return Err(DocumentError::new(Code::SignerMismatch, reason));
    }
    Ok(())
}

/// Administrators and auditors decide nothing, whatever other roles they were given
/// (separation of duty).
fn require_role(
    person: &EnrolledPerson,
    may: impl Fn(Role) -> bool,
    what: &str,
) -> Result<(), DocumentError> {
    let excluded = |role: &Role| matches!(role, Role::Administrator | Role::Auditor) && !may(*role);
    let name = &person.card.person;
    if let Some(role) = person.roles.iter().find(|role| excluded(role)) {
        let reason = format!("`{name}` is {role}, and so may not {what}");
        return Err(DocumentError::new(Code::RoleMissing, reason));
    }
    if person.roles.iter().any(|role| may(*role)) {
        return Ok(());
    }
    Err(DocumentError::new(Code::RoleMissing, format!("`{name}` has no role to {what}")))
}

#[cfg(test)]
mod tests;
