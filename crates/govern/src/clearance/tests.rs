use cordon_crypto::SigningKey;
use cordon_protocol::grant::GrantedDataset;
use cordon_protocol::release::{
    Assurance, ReceiptGrant, ReceiptInput, ReceiptShare, ReviewCopy, SealedOutcome,
};
use cordon_types::{Milliseconds, Nonce};

use super::*;
use crate::approval::Standing;
use crate::testing::{
    BROKER, Case, HOSPITALS, NOW, at, boxes, envelope, key, name, prove, sealed_box, sign,
    signed_manifest,
};

/// The witnesses of hospital-a's log.
const WITNESSES: [&str; 2] = [HOSPITALS[1], HOSPITALS[2]];

fn granted() -> GrantContext {
    let case = Case::valid();
    GrantContext {
        v: V1,
        holder: name(HOSPITALS[0]),
        agreement: case.signed().digest(),
        run: RunId(sha256(&[b"run"])),
        evidence: sha256(&[b"evidence"]),
        appraisal: sha256(&[b"appraisal"]),
        guard_signing_key: key("guard").verifying_key(),
        guard_box_key: sha256(&[boxes("guard").public_key().as_bytes()]),
        datasets: vec![GrantedDataset {
            dataset: name("ehr"),
            version: 3,
            manifest: signed_manifest().digest(),
            keys: Vec::new(),
        }],
        lease_ms: Milliseconds::new(30_000),
        policy: sha256(&[b"policy"]),
        issued: NOW,
    }
}

fn receipt() -> Receipt {
    let granted = granted();
    let own = document_digest(&granted).unwrap();
    let grant = |party: &str| ReceiptGrant {
        holder: name(party),
        context: if party == HOSPITALS[0] { own } else { sha256(&[party.as_bytes()]) },
    };
    let input = |party: &str| ReceiptInput {
        holder: name(party),
        dataset: name("ehr"),
        version: 3,
        manifest: if party == HOSPITALS[0] { signed_manifest().digest() } else { sha256(&[]) },
    };
    let share = |party: &str| ReceiptShare {
        holder: name(party),
        share: share_of(party).digest(),
        reviews: vec![copy_of(party).sealed.digest()],
    };
    Receipt {
        v: V1,
        run: granted.run,
        agreement: granted.agreement,
        evidence: granted.evidence,
        engine: Case::valid().agreement.program.engine,
        assurance: Assurance::None,
        inputs: HOSPITALS.map(input).to_vec(),
        grants: HOSPITALS.map(grant).to_vec(),
        outcome: Outcome::Sealed(SealedOutcome {
            sealed: sha256(&[b"sealed"]),
            size_bytes: 2_000,
            commitment: sha256(&[b"commitment"]),
            key_commitment: sha256(&[b"key"]),
            shares: HOSPITALS.map(share).to_vec(),
            gates: vec!["cell_size".to_owned()],
        }),
        worker_ms: Milliseconds::new(40),
        bytes_read: 4_000,
    }
}

fn share_of(party: &str) -> SealedBox {
    sealed_box(&format!("share of {party}"))
}

/// The copy for the one reviewer of a hospital.
fn copy_of(party: &str) -> ReviewCopy {
    let sealed = sealed_box(&format!("copy of {party}"));
    ReviewCopy { party: name(party), person: name("rob"), sealed }
}

fn sealed(receipt: &mut Receipt) -> &mut SealedOutcome {
    match &mut receipt.outcome {
        Outcome::Sealed(sealed) => sealed,
        Outcome::Failed { .. } => panic!("sealed"),
    }
}

fn receive_signed(
    change: impl FnOnce(&mut Receipt),
    signer: &SigningKey,
    share: Option<SealedBox>,
) -> Result<Session<Received>, Box<Denial>> {
    let mut receipt = receipt();
    change(&mut receipt);
    let copies = match receipt.outcome {
        Outcome::Sealed(_) => vec![copy_of(HOSPITALS[0])],
        Outcome::Failed { .. } => Vec::new(),
    };
    receive_all(&envelope(receipt, signer), share.as_ref(), &copies)
}

fn receive_all(
    receipt: &Envelope,
    share: Option<&SealedBox>,
    reviews: &[ReviewCopy],
) -> Result<Session<Received>, Box<Denial>> {
    let delivery = Delivery { receipt, share, reviews };
    Session::receive(&Case::valid().recognized(), &granted(), delivery, NOW)
}

fn receive(change: impl FnOnce(&mut Receipt)) -> Result<Session<Received>, Box<Denial>> {
    receive_signed(change, &key("guard"), Some(share_of(HOSPITALS[0])))
}

fn received() -> Session<Received> {
    receive(|_| {}).expect("received")
}

fn review_of(session: &Session<Received>, verdict: Opinion) -> ReviewDecision {
    ReviewDecision {
        v: V1,
        run: session.run(),
        receipt: session.receipt().digest(),
        audience: name(HOSPITALS[0]),
        person: name("rob"),
        verdict,
        nonce: Nonce::from_bytes([5; 32]),
        issued: NOW,
    }
}

fn reviewed() -> Session<Reviewed> {
    let session = received();
    let review = sign(review_of(&session, Opinion::Approve), &key("hospital-a/rob"));
    match session.review(&[review], NOW) {
        ReviewOutcome::Complete(session) => *session,
        other @ (ReviewOutcome::Waiting(_) | ReviewOutcome::Withheld { .. }) => panic!("{other:?}"),
    }
}

fn permit(
    session: Session<Reviewed>,
    change: impl FnOnce(&mut ClearanceFacts<'_>),
    now: UnixSeconds,
) -> Result<Session<Permitted>, Box<Denial>> {
    let standing = Case::valid().standing();
    let mut facts = ClearanceFacts {
        study_stopped: false,
        standing: &standing,
        earlier_releases: 0,
        broker: BROKER,
    };
    change(&mut facts);
    session.permit(&Policy::built_in().expect("a policy"), facts, now)
}

fn permitted() -> Session<Permitted> {
    permit(reviewed(), |_| {}, NOW).expect("permitted")
}

fn recorded() -> Session<Recorded> {
    let session = permitted();
    let proof = prove(HOSPITALS[0], session.entry(), &WITNESSES);
    session.record(&proof).expect("recorded")
}

#[track_caller]
fn denied<S: std::fmt::Debug>(result: Result<S, Box<Denial>>, code: Code) {
    let denial = result.expect_err("denied");
    assert_eq!(denial.code(), code, "{:?}", denial.reasons());
    let entry = denial.entry();
    assert_eq!((entry.action, entry.decision), (Action::OutputRefused, Decision::Deny));
    assert_eq!(entry.code, code.as_str());
}

#[test]
fn an_output_in_order_is_cleared_and_released() {
    let session = recorded();
    assert_eq!(session.proven().cosigned_by().len(), 2);
    let context = session.release_order().context.clone();
    assert_eq!(context.share, share_of(HOSPITALS[0]).digest());
    assert_eq!(context.reviews.len(), 1);
    let recipient = boxes("institute/riley").public_key();
    assert_eq!(context.recipients, [sha256(&[recipient.as_bytes()])]);
    let release = session.release(vec![sealed_box("share")], &key("hospital-a broker")).unwrap();
    assert_eq!(release.value().context, context);
}

#[test]
fn a_permission_records_the_digest_of_its_context() {
    let session = permitted();
    let entry = session.entry();
    assert_eq!((entry.action, entry.decision), (Action::OutputCleared, Decision::Permit));
    assert_eq!(entry.objects, [document_digest(session.context()).unwrap()]);
}

#[test]
fn a_held_output_is_recorded_by_its_receipt() {
    let session = received();
    let entry = session.held_entry(NOW);
    assert_eq!(entry.action, Action::OutputHeld);
    assert_eq!(entry.objects, [session.receipt().digest()]);
}

#[test]
fn a_receipt_is_of_the_guard_that_got_the_grant() {
    let share = || Some(share_of(HOSPITALS[0]));
    denied(receive_signed(|_| {}, &key("another guard"), share()), Code::ReceiptSigner);
    let review = envelope(review_of(&received(), Opinion::Approve), &key("guard"));
    denied(receive_all(&review, share().as_ref(), &[]), Code::DocumentInvalid);
}

#[test]
fn a_receipt_that_differs_from_the_grant_is_refused() {
    let other = sha256(&[b"another"]);
    let refused = |change: &dyn Fn(&mut Receipt)| {
        denied(receive(change), Code::ReceiptMismatch);
    };
    refused(&|r| r.run = RunId(other));
    refused(&|r| r.agreement = other);
    refused(&|r| r.evidence = other);
    refused(&|r| r.engine = other);
    refused(&|r| r.assurance = Assurance::Hardware);
    refused(&|r| drop(r.grants.pop()));
    refused(&|r| r.grants.swap(0, 1));
    refused(&|r| r.grants[0].context = other);
    refused(&|r| drop(r.inputs.remove(0)));
    refused(&|r| r.inputs[0].version = 2);
    refused(&|r| r.inputs[0].manifest = other);
}

#[test]
fn a_grant_of_another_agreement_does_not_clear() {
    let agreement = Case::valid().recognized();
    let receipt = envelope(receipt(), &key("guard"));
    for change in [(|g| g.holder = name(HOSPITALS[1])) as fn(&mut GrantContext), |g| {
        g.agreement = sha256(&[b"another"])
    }] {
        let mut granted = granted();
        change(&mut granted);
        let (share, copies) = (share_of(HOSPITALS[0]), [copy_of(HOSPITALS[0])]);
        let delivery = Delivery { receipt: &receipt, share: Some(&share), reviews: &copies };
        let refused = Session::receive(&agreement, &granted, delivery, NOW);
        denied(refused, Code::ReceiptMismatch);
    }
}

#[test]
fn the_share_is_the_one_that_the_receipt_names() {
    let guard = key("guard");
    denied(receive_signed(|_| {}, &guard, None), Code::ShareMismatch);
    let foreign = Some(share_of(HOSPITALS[1]));
    denied(receive_signed(|_| {}, &guard, foreign), Code::ShareMismatch);
    denied(receive(|r| drop(sealed(r).shares.pop())), Code::ShareMismatch);
    denied(receive(|r| sealed(r).shares.swap(0, 1)), Code::ShareMismatch);
    let failed = |r: &mut Receipt| r.outcome = Outcome::Failed { code: "deadline".to_owned() };
    denied(receive(failed), Code::ShareMismatch);
    assert!(receive_signed(failed, &guard, None).is_ok());
}

/// A carrier who leaves a copy out would make the output unreviewable.
#[test]
fn each_reviewer_has_the_copy_that_the_receipt_names_and_nobody_else_has_one() {
    let (share, good) = (share_of(HOSPITALS[0]), envelope(receipt(), &key("guard")));
    let own = || copy_of(HOSPITALS[0]);
    let receive_with = |copies: &[ReviewCopy]| receive_all(&good, Some(&share), copies);
    assert!(receive_with(&[own()]).is_ok());
    let other_person = ReviewCopy { person: name("alex"), ..own() };
    for copies in [
        &[][..],
        &[copy_of(HOSPITALS[1])],
        &[own(), own()],
        &[other_person],
        &[ReviewCopy { sealed: sealed_box("another"), ..own() }],
    ] {
        denied(receive_with(copies), Code::ReviewCopyMismatch);
    }
    denied(receive(|r| sealed(r).shares[0].reviews.clear()), Code::ReceiptMismatch);
    let mut failed = receipt();
    failed.outcome = Outcome::Failed { code: "deadline".to_owned() };
    let failed = envelope(failed, &key("guard"));
    denied(receive_all(&failed, None, &[own()]), Code::ReviewCopyMismatch);
}

#[test]
fn an_output_waits_for_a_reviewer_of_this_holder() {
    let waits = |reviews: &[Signed<ReviewDecision>]| {
        matches!(received().review(reviews, NOW), ReviewOutcome::Waiting(_))
    };
    assert!(waits(&[]));
    let by = |signer: &str, change: &dyn Fn(&mut ReviewDecision)| {
        let mut review = review_of(&received(), Opinion::Approve);
        change(&mut review);
        sign(review, &key(signer))
    };
    let rob = "hospital-a/rob";
    assert!(!waits(&[by(rob, &|_| {})]));
    assert!(waits(&[by("hospital-b/rob", &|_| {})]));
    assert!(waits(&[by(rob, &|r| r.audience = name(HOSPITALS[1]))]));
    assert!(waits(&[by(rob, &|r| r.run = RunId(sha256(&[])))]));
    assert!(waits(&[by(rob, &|r| r.receipt = sha256(&[]))]));
    assert!(waits(&[by("hospital-a/dora", &|r| r.person = name("dora"))]));
}

#[test]
fn one_reviewer_withholds_whatever_others_say() {
    let session = received();
    let reviews = [Opinion::Approve, Opinion::Reject]
        .map(|opinion| sign(review_of(&session, opinion), &key("hospital-a/rob")));
    let ReviewOutcome::Withheld { by, denial } = session.review(&reviews, NOW) else {
        panic!("withheld");
    };
    assert_eq!(by.as_str(), "rob");
    denied(Err::<(), _>(denial), Code::ReviewRejected);
}

#[test]
fn the_policy_is_asked_with_what_the_records_say() {
    denied(permit(reviewed(), |f| f.study_stopped = true, NOW), Code::StudyStopped);
    denied(permit(reviewed(), |f| f.broker.log_current = false, NOW), Code::LogNotCurrent);
    denied(permit(reviewed(), |f| f.broker.witnesses_ready = 1, NOW), Code::WitnessesMissing);
    denied(permit(reviewed(), |f| f.broker.last_entry = at(6), NOW), Code::ClockSetBack);
    denied(permit(reviewed(), |_| {}, at(30 * 86_400)), Code::AgreementExpired);
    let rejected = Standing::Rejected { by: name("dora") };
    let facts = ClearanceFacts {
        study_stopped: false,
        standing: &rejected,
        earlier_releases: 0,
        broker: BROKER,
    };
    let policy = Policy::built_in().unwrap();
    denied(reviewed().permit(&policy, facts, NOW), Code::ApprovalRejected);
}

/// The session of a receipt that differs by `change`, past the reviewers.
fn reviewed_of(change: fn(&mut Receipt), share: Option<SealedBox>) -> Session<Reviewed> {
    let session = receive_signed(change, &key("guard"), share).expect("received");
    let review = sign(review_of(&session, Opinion::Approve), &key("hospital-a/rob"));
    match session.review(&[review], NOW) {
        ReviewOutcome::Complete(session) => *session,
        other @ (ReviewOutcome::Waiting(_) | ReviewOutcome::Withheld { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn what_the_gates_did_not_pass_is_not_cleared() {
    let own = || Some(share_of(HOSPITALS[0]));
    let without_gate = reviewed_of(|r| sealed(r).gates.clear(), own());
    denied(permit(without_gate, |_| {}, NOW), Code::GateMissing);
    let too_large = reviewed_of(|r| sealed(r).size_bytes = 16 * 1024 + 4_097, own());
    denied(permit(too_large, |_| {}, NOW), Code::OutputTooLarge);
    let failed = |r: &mut Receipt| r.outcome = Outcome::Failed { code: "deadline".to_owned() };
    let denial = permit(reviewed_of(failed, None), |_| {}, NOW).unwrap_err();
    assert_eq!(denial.code(), Code::RunFailed);
}

/// No result opens without every broker's logged clearance (DESIGN invariant 2).
#[test]
fn a_clearance_is_recorded_by_a_proof_under_a_cosigned_head_and_by_nothing_else() {
    let refused = |proof: String| {
        let error = permitted().record(&proof).expect_err("not recorded");
        assert!(matches!(error, RecordError::Proof(_)), "{error:?}");
    };
    let entry = permitted().entry().clone();
    refused(prove(HOSPITALS[0], &entry, &WITNESSES[..1]));
    refused(prove(HOSPITALS[1], &entry, &WITNESSES));
    refused(prove(HOSPITALS[0], &LogEntry { time: at(1), ..entry }, &WITNESSES));
    refused(String::new());
}

#[test]
fn a_release_has_one_share_for_each_recipient_and_is_signed_by_this_broker() {
    let broker = key("hospital-a broker");
    let wrong = recorded().release(Vec::new(), &broker);
    assert!(matches!(wrong, Err(RecordError::Shares { expected: 1, found: 0 })));
    let two = vec![sealed_box("one"), sealed_box("two")];
    let wrong = recorded().release(two, &broker);
    assert!(matches!(wrong, Err(RecordError::Shares { expected: 1, found: 2 })));
    let wrong = recorded().release(vec![sealed_box("one")], &key("hospital-b broker"));
    assert!(matches!(wrong, Err(RecordError::Sign)));
}

#[test]
fn a_recorded_clearance_is_taken_up_again_and_no_other_is() {
    let resume = |change: &dyn Fn(&mut ClearanceContext, &mut LogEntry), witnesses: &[&str]| {
        let session = permitted();
        let (mut context, mut entry) = (session.context().clone(), session.entry().clone());
        change(&mut context, &mut entry);
        let proof = prove(HOSPITALS[0], &entry, witnesses);
        let agreement = Case::valid().recognized();
        let receipt = session.receipt().clone();
        Session::resume(&agreement, receipt, context, &entry.to_bytes().unwrap(), &proof)
    };
    assert!(resume(&|_, _| {}, &WITNESSES).is_ok());
    let other = sha256(&[b"another"]);
    let contexts: [&dyn Fn(&mut ClearanceContext, &mut LogEntry); 4] = [
        &|c, _| c.holder = name(HOSPITALS[1]),
        &|c, _| c.agreement = other,
        &|c, _| c.run = RunId(other),
        &|c, _| c.receipt = other,
    ];
    for change in contexts {
        assert!(matches!(resume(change, &WITNESSES), Err(RecordError::OtherContext)));
    }
    let entries: [&dyn Fn(&mut ClearanceContext, &mut LogEntry); 7] = [
        &|c, _| c.share = other,
        &|_, e| e.action = Action::GrantIssued,
        &|_, e| e.decision = Decision::Deny,
        &|_, e| e.holder = name(HOSPITALS[1]),
        &|_, e| e.agreement = None,
        &|_, e| e.run = None,
        &|_, e| e.objects.push(other),
    ];
    for change in entries {
        assert!(matches!(resume(change, &WITNESSES), Err(RecordError::OtherEntry)));
    }
    assert!(matches!(resume(&|_, _| {}, &WITNESSES[..1]), Err(RecordError::Proof(_))));
}
