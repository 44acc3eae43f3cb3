//! Documents of people: who may sign what, and each only once.

use cordon_protocol::decision::Verdict;
use cordon_protocol::party::Role;
use cordon_protocol::{Approval, Stop, V1};
use cordon_testkit::holder::nonce;
use cordon_testkit::now;
use cordon_testkit::person::Person;
use cordon_testkit::world::{Terms, World};

fn approval(world: &World, agreement: cordon_types::Sha256Digest) -> Approval {
    Approval {
        v: V1,
        agreement,
        audience: world.holders[0].party.clone(),
        person: world.holders[0].steward.person.clone(),
        verdict: Verdict::Approve,
        nonce: nonce(),
        issued: now(),
        expires: now().plus_seconds(3_600),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_document_takes_effect_once_and_for_its_own_broker() {
    let world = World::start().await.unwrap();
    let agreement = world.agreement(&Terms::default()).unwrap();
    let (first, second) = (world.broker(0), world.broker(1));
    first.propose(agreement.envelope()).await.unwrap();
    second.propose(agreement.envelope()).await.unwrap();
    let steward = &world.holders[0].steward;
    let envelope = steward.sign(approval(&world, agreement.digest())).unwrap();
    first.approve(&envelope).await.unwrap();
    assert_eq!(first.approve(&envelope).await.unwrap_err().code(), "nonce_used");
    assert_eq!(second.approve(&envelope).await.unwrap_err().code(), "signer_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_that_do_not_count_are_refused_each_for_its_own_reason() {
    let world = World::start().await.unwrap();
    let agreement = world.agreement(&Terms::default()).unwrap();
    let broker = world.broker(0);
    broker.propose(agreement.envelope()).await.unwrap();
    let holder = &world.holders[0];
    let good = || approval(&world, agreement.digest());
    type Change = fn(&mut Approval);
    let cases: [(&Person, Change, &str); 6] = [
        (&holder.steward, |a| a.audience = "hospital-b".parse().unwrap(), "wrong_audience"),
        (&holder.steward, |a| a.expires = a.issued, "document_time"),
        (&holder.steward, |a| a.issued = a.issued.plus_seconds(3_000), "document_time"),
        (&holder.officer, |_| {}, "signer_mismatch"),
        (&holder.reviewer, |a| a.person = "reviewer".parse().unwrap(), "role_missing"),
        (&world.researcher, |_| {}, "role_missing"),
    ];
    for (person, change, expected) in cases {
        let mut document = good();
        change(&mut document);
        let refused = broker.approve(&person.sign(document).unwrap()).await.unwrap_err();
        assert_eq!(refused.code(), expected);
    }
    let missing = broker.agreement(agreement.digest()).await.unwrap().missing;
    assert!(!missing.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_in_the_log_with_its_full_reason_for_the_owner() {
    let world = World::start().await.unwrap();
    let agreement = world.agreement(&Terms::default()).unwrap();
    let broker = world.broker(0);
    broker.propose(agreement.envelope()).await.unwrap();
    let before = broker.refusals().await.unwrap().len();
    let stranger =
        Person::new(&"hospital-a".parse().unwrap(), "stranger", &[Role::Steward]).unwrap();
    let envelope = stranger.sign(approval(&world, agreement.digest())).unwrap();
    broker.approve(&envelope).await.unwrap_err();
    world
        .until("the refusal is in the log", async || {
            let refusals = broker.refusals().await?;
            Ok(refusals.len() == before + 1 && !refusals[0].reasons.is_empty())
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn agreements_with_keys_that_nobody_enrolled_are_refused() {
    let world = World::start().await.unwrap();
    let broker = world.broker(0);
    let mut changed = world.agreement(&Terms::default()).unwrap().into_value();
    changed.holders[1].broker_key = changed.requester.signing_key;
    let signed = world.researcher.sign(changed.clone()).unwrap();
    let code = broker.propose(&signed).await.unwrap_err().code();
    assert!(["directory_mismatch", "agreement_key_reused"].contains(&code), "{code}");

    let mut changed = world.agreement(&Terms::default()).unwrap().into_value();
    changed.holders[0].datasets[0].schema = changed.program.engine;
    let signed = world.researcher.sign(changed).unwrap();
    assert_eq!(broker.propose(&signed).await.unwrap_err().code(), "dataset_mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_enrol_and_a_name_is_enrolled_once() {
    let world = World::start().await.unwrap();
    let (holder, broker) = (&world.holders[0], world.broker(0));
    let newcomer =
        Person::new(&holder.party, "newcomer", &[Role::Auditor]).unwrap().card().unwrap();
    let mut enrol = holder.enrol_person(&newcomer, &[Role::Auditor]).unwrap();
    broker.enrol_person(&enrol).await.unwrap();
    assert_eq!(broker.enrol_person(&enrol).await.unwrap_err().code(), "directory_conflict");
    let again = holder.enrol_person(&newcomer, &[Role::Administrator]).unwrap();
    assert_eq!(broker.enrol_person(&again).await.unwrap_err().code(), "directory_conflict");

    let statement = cordon_protocol::party::Enrolment {
        v: V1,
        audience: holder.party.clone(),
        card: newcomer.digest(),
        roles: vec![Role::Administrator],
        administrator: holder.steward.person.clone(),
        nonce: nonce(),
        issued: now(),
    };
    enrol.enrolment = holder.steward.sign(statement).unwrap();
    assert_eq!(broker.enrol_person(&enrol).await.unwrap_err().code(), "role_missing");
}

/// A directory in which one key has two names cannot be read: such a card must never get there.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_enrolled_under_one_name_and_the_broker_starts_again() {
    let mut world = World::start().await.unwrap();
    let holder = &world.holders[0];
    let mut double = Person::new(&holder.party, "double", &[]).unwrap();
    double.signing =
        cordon_crypto::SigningKey::from_seed(holder.steward.signing.seed().duplicate());
    let enrol = holder.enrol_person(&double.card().unwrap(), &[Role::Auditor]).unwrap();
    let refused = world.broker(0).enrol_person(&enrol).await.unwrap_err();
    assert_eq!(refused.code(), "directory_conflict");
    world.stop_broker(0).await.unwrap();
    world.start_broker(0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_needs_a_role_and_ends_a_study_for_good() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let (holder, broker) = (&world.holders[0], world.broker(0));
    let stop = |person: &Person| Stop {
        v: V1,
        study: agreement.value().study.clone(),
        audience: holder.party.clone(),
        person: person.person.clone(),
        nonce: nonce(),
        issued: now(),
    };
    let refused = broker.stop(&holder.reviewer.sign(stop(&holder.reviewer)).unwrap()).await;
    assert_eq!(refused.unwrap_err().code(), "role_missing");
    broker.stop(&holder.officer.sign(stop(&holder.officer)).unwrap()).await.unwrap();
    let view = broker.agreement(agreement.digest()).await.unwrap();
    assert_eq!(view.state, cordon_broker::api::AgreementState::Stopped);
}
