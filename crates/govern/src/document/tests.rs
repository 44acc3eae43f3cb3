use cordon_crypto::{SigningKey, sha256};
use cordon_protocol::V1;
use cordon_protocol::decision::Verdict;
use cordon_protocol::entry::Decision;
use cordon_protocol::release::{Assurance, Outcome};
use cordon_types::{Milliseconds, Nonce};

use super::*;
use crate::testing::{Case, NOW, at, boxes, envelope, key, sign};

/// The code of an approval by sam that differs from a valid one by `change`.
fn approval(signer: &SigningKey, change: impl FnOnce(&mut Approval)) -> Result<(), Code> {
    let case = Case::valid();
    let mut approval = case.approval("sam");
    change(&mut approval);
    check_approval(&envelope(approval, signer), &case.recognized(), &case.directory(), NOW)
        .map(drop)
        .map_err(|error| error.code)
}

#[test]
fn an_approval_is_refused_for_one_reason_each() {
    let sam = key("hospital-a/sam");
    assert_eq!(approval(&sam, |_| {}), Ok(()));
    assert_eq!(approval(&key("nobody"), |_| {}), Err(Code::SignerUnknown));
    assert_eq!(approval(&key("hospital-a/dora"), |_| {}), Err(Code::SignerMismatch));
    let other = sha256(&[b"another"]);
    assert_eq!(approval(&sam, |a| a.agreement = other), Err(Code::WrongSubject));
    let elsewhere = "hospital-b".parse().unwrap();
    assert_eq!(approval(&sam, |a| a.audience = elsewhere), Err(Code::WrongAudience));
    assert_eq!(approval(&sam, |a| a.issued = at(121)), Err(Code::DocumentTime));
    assert_eq!(approval(&sam, |a| a.expires = NOW), Err(Code::DocumentTime));
    assert_eq!(approval(&sam, |a| a.issued = at(120)), Ok(()));
    // A rejection is checked in the same way.
    assert_eq!(approval(&sam, |a| a.verdict = Verdict::Reject), Ok(()));
}

#[test]
fn an_approval_by_somebody_without_the_role_is_refused() {
    let as_rob = |approval: &mut Approval| approval.person = "rob".parse().unwrap();
    assert_eq!(approval(&key("hospital-a/rob"), as_rob), Err(Code::RoleMissing));
}

#[test]
fn a_refusal_names_the_person_whose_signature_held_and_nobody_else() {
    let (case, directory) = (Case::valid(), Case::valid().directory());
    let actor = |signer: &SigningKey, person: &str| {
        let approval = Approval { person: person.parse().unwrap(), ..case.approval("sam") };
        let signed = envelope(approval, signer);
        let refused = check_approval(&signed, &case.recognized(), &directory, NOW).unwrap_err();
        let denial = refused.deny(&directory, Action::MessageRefused, None, None, NOW);
        denial.entry().actor.clone()
    };
    let rob = actor(&key("hospital-a/rob"), "rob");
    assert!(matches!(rob, Actor::Person { person, .. } if person.as_str() == "rob"));
    assert_eq!(actor(&key("nobody"), "rob"), Actor::Unknown);
}

#[test]
fn a_document_of_another_type_is_no_approval() {
    let case = Case::valid();
    let stop = envelope(stop_by("sam"), &key("hospital-a/sam"));
    let refused = check_approval(&stop, &case.recognized(), &case.directory(), NOW);
    assert_eq!(refused.unwrap_err().code, Code::DocumentInvalid);
}

fn stop_by(person: &str) -> Stop {
    Stop {
        v: V1,
        study: "heart-failure".parse().unwrap(),
        audience: "hospital-a".parse().unwrap(),
        person: person.parse().unwrap(),
        nonce: Nonce::from_bytes([4; 32]),
        issued: NOW,
    }
}

fn stop(case: &Case, signer: &str, change: impl FnOnce(&mut Stop)) -> Result<(), Code> {
    let mut stop = stop_by("sam");
    change(&mut stop);
    let checked = check_stop(&envelope(stop, &key(signer)), &case.directory(), NOW);
    checked.map(drop).map_err(|error| error.code)
}

#[test]
fn a_stop_is_refused_for_one_reason_each() {
    let (case, sam) = (Case::valid(), "hospital-a/sam");
    assert_eq!(stop(&case, sam, |_| {}), Ok(()));
    assert_eq!(stop(&case, "nobody", |_| {}), Err(Code::SignerUnknown));
    assert_eq!(stop(&case, "hospital-a/dora", |_| {}), Err(Code::SignerMismatch));
    let elsewhere = "hospital-b".parse().unwrap();
    assert_eq!(stop(&case, sam, |s| s.audience = elsewhere), Err(Code::WrongAudience));
    assert_eq!(stop(&case, sam, |s| s.issued = at(121)), Err(Code::DocumentTime));
    let rob = |s: &mut Stop| s.person = "rob".parse().unwrap();
    assert_eq!(stop(&case, "hospital-a/rob", rob), Err(Code::RoleMissing));
    let bea = |s: &mut Stop| s.person = "bea".parse().unwrap();
    assert_eq!(stop(&case, "hospital-b/bea", bea), Err(Code::RoleMissing));
}

#[test]
fn a_role_that_takes_approving_away_leaves_stopping() {
    let case = Case::with(|case| case.roles("sam").push(Role::Auditor));
    assert_eq!(stop(&case, "hospital-a/sam", |_| {}), Ok(()));
}

fn receipt(case: &Case) -> Signed<Receipt> {
    let receipt = Receipt {
        v: V1,
        run: RunId(sha256(&[b"run"])),
        agreement: case.signed().digest(),
        evidence: sha256(&[b"evidence"]),
        engine: case.agreement.program.engine,
        assurance: Assurance::None,
        inputs: Vec::new(),
        grants: Vec::new(),
        outcome: Outcome::Failed { code: "deadline".to_owned() },
        worker_ms: Milliseconds::new(1),
        bytes_read: 0,
    };
    sign(receipt, &key("guard"))
}

fn review(signer: &str, change: impl FnOnce(&mut ReviewDecision)) -> Result<(), Code> {
    let case = Case::valid();
    let receipt = receipt(&case);
    let mut review = ReviewDecision {
        v: V1,
        run: receipt.value().run,
        receipt: receipt.digest(),
        audience: "hospital-a".parse().unwrap(),
        person: "rob".parse().unwrap(),
        verdict: Verdict::Approve,
        nonce: Nonce::from_bytes([5; 32]),
        issued: NOW,
    };
    change(&mut review);
    check_review(&envelope(review, &key(signer)), &case.recognized(), &receipt, NOW)
        .map(drop)
        .map_err(|error| error.code)
}

#[test]
fn a_review_is_refused_for_one_reason_each() {
    let rob = "hospital-a/rob";
    assert_eq!(review(rob, |_| {}), Ok(()));
    assert_eq!(review("hospital-a/dora", |_| {}), Err(Code::SignerUnknown));
    // A reviewer of another holder has the same name here.
    assert_eq!(review("hospital-b/rob", |_| {}), Err(Code::SignerUnknown));
    let elsewhere = "hospital-b".parse().unwrap();
    assert_eq!(review(rob, |r| r.audience = elsewhere), Err(Code::WrongAudience));
    assert_eq!(review(rob, |r| r.run = RunId(sha256(&[]))), Err(Code::WrongSubject));
    assert_eq!(review(rob, |r| r.receipt = sha256(&[])), Err(Code::WrongSubject));
    let dora = "dora".parse().unwrap();
    assert_eq!(review(rob, |r| r.person = dora), Err(Code::SignerUnknown));
    assert_eq!(review(rob, |r| r.issued = at(121)), Err(Code::DocumentTime));
}

#[test]
fn one_reviewer_does_not_speak_for_another() {
    let case = Case::with(|case| {
        let dora = crate::testing::person_of("hospital-a", "dora");
        case.agreement.holders[0].reviewers.insert(0, dora);
    });
    let receipt = receipt(&case);
    let review = ReviewDecision {
        v: V1,
        run: receipt.value().run,
        receipt: receipt.digest(),
        audience: "hospital-a".parse().unwrap(),
        person: "dora".parse().unwrap(),
        verdict: Verdict::Approve,
        nonce: Nonce::from_bytes([5; 32]),
        issued: NOW,
    };
    let review = envelope(review, &key("hospital-a/rob"));
    let refused = check_review(&review, &case.recognized(), &receipt, NOW).unwrap_err();
    assert_eq!(refused.code, Code::SignerMismatch);
}

fn enrolment(signer: &str, change: impl FnOnce(&mut Enrolment)) -> Result<(), Code> {
    let case = Case::valid();
    let card = sha256(&[b"card"]);
    let mut enrolment = Enrolment {
        v: V1,
        audience: "hospital-a".parse().unwrap(),
        card,
        roles: vec![Role::Steward],
        administrator: "ada".parse().unwrap(),
        nonce: Nonce::from_bytes([6; 32]),
        issued: NOW,
    };
    change(&mut enrolment);
    check_enrolment(&envelope(enrolment, &key(signer)), card, &case.directory(), NOW)
        .map(drop)
        .map_err(|error| error.code)
}

#[test]
fn an_enrolment_is_refused_for_one_reason_each() {
    let ada = "hospital-a/ada";
    assert_eq!(enrolment(ada, |_| {}), Ok(()));
    assert_eq!(enrolment("nobody", |_| {}), Err(Code::SignerUnknown));
    assert_eq!(enrolment("hospital-a/sam", |_| {}), Err(Code::SignerMismatch));
    let sam = |e: &mut Enrolment| e.administrator = "sam".parse().unwrap();
    assert_eq!(enrolment("hospital-a/sam", sam), Err(Code::RoleMissing));
    let elsewhere = "hospital-b".parse().unwrap();
    assert_eq!(enrolment(ada, |e| e.audience = elsewhere), Err(Code::WrongAudience));
    assert_eq!(enrolment(ada, |e| e.card = sha256(&[b"another"])), Err(Code::WrongSubject));
    assert_eq!(enrolment(ada, |e| e.issued = at(121)), Err(Code::DocumentTime));
}

#[test]
fn a_party_card_is_signed_by_itself_and_of_this_profile() {
    let card = Case::valid().parties.remove(1);
    let own = key("hospital-b broker");
    let check = |card: &PartyCard, signer: &SigningKey, profile| {
        let checked = check_party_card(&envelope(card.clone(), signer), profile);
        checked.map(drop).map_err(|error| error.code)
    };
    assert_eq!(check(&card, &own, Profile::Development), Ok(()));
    let other = key("nobody");
    assert_eq!(check(&card, &other, Profile::Development), Err(Code::SignerMismatch));
    assert_eq!(check(&card, &own, Profile::Production), Err(Code::ProfileMismatch));
    let production = PartyCard { profile: Profile::Production, ..card };
    assert_eq!(check(&production, &own, Profile::Production), Ok(()));
}

#[test]
fn a_person_card_is_signed_by_itself() {
    let card = PersonCard {
        v: V1,
        person: "sam".parse().unwrap(),
        party: "hospital-a".parse().unwrap(),
        signing_key: key("sam").verifying_key(),
        box_key: boxes("sam").public_key(),
        issued: NOW,
    };
    assert!(check_person_card(&envelope(card.clone(), &key("sam"))).is_ok());
    let refused = check_person_card(&envelope(card, &key("nobody"))).unwrap_err();
    assert_eq!(refused.code, Code::SignerMismatch);
}

#[test]
fn a_refused_document_is_recorded_with_its_code_and_without_its_reason() {
    let directory = Case::valid().directory();
    let error = DocumentError::new(Code::SignerUnknown, "signed by `somebody`");
    let denial = error.deny(&directory, Action::MessageRefused, None, None, NOW);
    assert_eq!(denial.reasons(), ["signed by `somebody`"]);
    let entry = denial.entry();
    assert_eq!((entry.action, entry.decision), (Action::MessageRefused, Decision::Deny));
    assert_eq!((entry.code.as_str(), entry.holder.as_str()), ("signer_unknown", "hospital-a"));
    assert_eq!(entry.evidence, [sha256(&[b"signed by `somebody`"])]);
    let public = serde_json::to_string(&denial.refusal()).unwrap();
    assert!(!public.contains("somebody"), "{public}");
}
