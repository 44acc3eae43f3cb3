//! The staff interface over HTTP.

use std::sync::Arc;

use cordon_broker::client::{ClientError, StaffClient};
use cordon_crypto::SigningKey;
use cordon_protocol::entry::{Action, Actor};
use cordon_protocol::party::Role;
use cordon_testkit::holder::Holder;
use cordon_testkit::person::Person;
use cordon_testkit::world::{Terms, World};

fn client(world: &World, index: usize, person: &Person) -> StaffClient {
    let address = world.running[index].as_ref().unwrap().address();
    let key = Arc::new(SigningKey::from_seed(person.signing.seed().duplicate()));
    StaffClient::new(&format!("http://{address}"), key).unwrap()
}

fn code(error: ClientError) -> (u16, String) {
    match error {
        ClientError::Refused(problem) => (problem.status, problem.code),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_read_their_own_broker_and_nobody_else_does() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let holder = &world.holders[0];
    let steward = client(&world, 0, &holder.steward);
    assert!(steward.health().await.unwrap().ready);
    assert_eq!(steward.datasets().await.unwrap().len(), 1);
    assert_eq!(steward.agreements().await.unwrap()[0].digest, agreement.digest());
    assert!(steward.agreement(agreement.digest()).await.unwrap().envelope.is_some());
    assert_eq!(steward.party().await.unwrap(), *holder.card.envelope());

    for stranger in [&world.researcher, &world.holders[1].steward] {
        let error = client(&world, 0, stranger).agreements().await.unwrap_err();
        assert_eq!(code(error), (401, "unsigned".to_owned()));
    }
    let missing = steward.agreement(holder.manifest.digest()).await.unwrap_err();
    assert_eq!(code(missing), (404, "not_found".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_a_stranger_posts_is_not_even_read() {
    let world = World::start().await.unwrap();
    let holder = &world.holders[0];
    let officer = client(&world, 0, &holder.officer);
    let before = officer.health().await.unwrap().log_size;
    let stop = cordon_protocol::Stop {
        v: cordon_protocol::V1,
        study: "a-study".parse().unwrap(),
        audience: holder.party.clone(),
        person: world.researcher.person.clone(),
        nonce: cordon_testkit::holder::nonce(),
        issued: cordon_testkit::now(),
    };
    let stop = world.researcher.sign(stop).unwrap();
    let refused = client(&world, 0, &world.researcher).stop(&stop).await.unwrap_err();
    assert_eq!(code(refused), (401, "unsigned".to_owned()));
    assert_eq!(officer.health().await.unwrap().log_size, before, "no trace in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn reasons_of_refusals_are_for_owner_and_auditor() {
    let world = World::start().await.unwrap();
    let holder = &world.holders[0];
    assert!(client(&world, 0, &holder.officer).refusals().await.is_ok());
    let error = client(&world, 0, &holder.reviewer).refusals().await.unwrap_err();
    assert_eq!(code(error), (403, "not_allowed".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_comes_as_a_problem_with_its_reasons() {
    let world = World::start().await.unwrap();
    let agreement = world.agreement(&Terms::default()).unwrap();
    world.broker(0).propose(agreement.envelope()).await.unwrap();
    let holder = &world.holders[0];
    let approval = cordon_protocol::Approval {
        v: cordon_protocol::V1,
        agreement: agreement.digest(),
        audience: holder.party.clone(),
        person: holder.reviewer.person.clone(),
        verdict: cordon_protocol::decision::Verdict::Approve,
        nonce: cordon_testkit::holder::nonce(),
        issued: cordon_testkit::now(),
        expires: cordon_testkit::now().plus_seconds(60),
    };
    let envelope = holder.reviewer.sign(approval).unwrap();
    let staff = client(&world, 0, &holder.reviewer);
    let ClientError::Refused(problem) = staff.approve(&envelope).await.unwrap_err() else {
        panic!("expected a refusal")
    };
    assert_eq!(problem.kind, "urn:cordon:problem:role_missing");
    assert_eq!(problem.status, 403);
    assert_eq!(problem.reasons, Vec::<String>::new(), "a reviewer learns the code");

    // Somebody who may read reasons gets them at once.
    let staff = client(&world, 0, &holder.officer);
    let ClientError::Refused(problem) = staff.approve(&envelope).await.unwrap_err() else {
        panic!("expected a refusal")
    };
    assert!(!problem.reasons.is_empty(), "{problem:?}");
}

/// What no decision of the policy refused is in the log all the same: who tried, and why not.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_outside_of_a_decision_are_in_the_log_too() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let holder = &world.holders[0];
    let officer = client(&world, 0, &holder.officer);
    let refused_as = async |expected: &str| {
        let mut newest = None;
        world
            .until("the refusal is in the log", async || {
                newest = officer.refusals().await?.into_iter().next();
                Ok(newest.as_ref().is_some_and(|refusal| refusal.code == expected))
            })
            .await
            .unwrap();
        newest.unwrap()
    };

    // A document that was used before.
    let approval = holder.approvals(agreement.digest()).unwrap().remove(0);
    let steward = client(&world, 0, &holder.steward);
    steward.approve(&approval).await.unwrap();
    let again = steward.approve(&approval).await.unwrap_err();
    assert_eq!(code(again), (409, "nonce_used".to_owned()));
    let entry = refused_as("nonce_used").await;
    assert_eq!(entry.action, Action::ApprovalGiven);
    let steward = holder.steward.person.clone();
    assert_eq!(
        entry.actor,
        Actor::Person { party: holder.party.clone(), person: steward, role: None }
    );

    // A party that an administrator enrols whom the key store was not made with.
    let deputy = Person::new(&holder.party, "deputy", &[Role::Administrator]).unwrap();
    let card = deputy.card().unwrap();
    let administrator = client(&world, 0, &holder.administrator);
    let enrol = holder.enrol_person(&card, &deputy.roles).unwrap();
    administrator.enrol_person(&enrol).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Holder::make(elsewhere.path(), "hospital-x").await.unwrap();
    let enrol = holder.enrol_party_by(&deputy, &stranger.card).unwrap();
    let refused = client(&world, 0, &deputy).enrol_party(&enrol).await.unwrap_err();
    assert_eq!(code(refused), (403, "key_process_refused".to_owned()));
    let entry = refused_as("key_process_refused").await;
    assert_eq!(entry.action, Action::PartyEnrolled);
    assert!(entry.reasons[0].starts_with("the key process refuses: "), "{entry:?}");
}

#[test]
fn plain_http_to_another_machine_is_refused() {
    let key = Arc::new(SigningKey::generate(&mut cordon_crypto::SystemRandom::new()));
    for address in ["http://broker.example", "ftp://127.0.0.1", "nonsense"] {
        assert!(matches!(StaffClient::new(address, key.clone()), Err(ClientError::Address(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_there_is_a_problem_too() {
    use std::io::{Read as _, Write as _};
    let world = World::start().await.unwrap();
    let address = world.running[0].as_ref().unwrap().address();
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.write_all(b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    });
    let answer = asked.await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(
        answer.contains("application/problem+json") && answer.contains("not_found"),
        "{answer}"
    );
}
