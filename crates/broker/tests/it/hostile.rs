//! Staff whose program has gone wrong, or worse: whatever an enrolled person sends, the broker
//! answers, never fails by itself, and goes on.

use std::collections::BTreeMap;

use cordon_crypto::{SigningKey, sha256};
use cordon_hub::signature::{KEY_HEADER, SIGNATURE_HEADER, Service, SignedParts, TIME_HEADER};
use cordon_protocol::party::Role;
use cordon_testkit::person::Person;
use cordon_testkit::world::{Terms, World};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};

/// Every place that reads a body, with one that it takes or took.
fn places(world: &World, agreement: cordon_types::Sha256Digest) -> Vec<(&'static str, Vec<u8>)> {
    let holder = &world.holders[0];
    let newcomer = Person::new(&holder.party, "newcomer", &[Role::Auditor]).unwrap();
    let enrol = holder.enrol_person(&newcomer.card().unwrap(), &newcomer.roles).unwrap();
    let party = holder.enrol_party(&world.holders[1].card).unwrap();
    let approval = holder.approvals(agreement).unwrap().remove(0);
    vec![
        ("/v1/persons", serde_json::to_vec(&enrol).unwrap()),
        ("/v1/parties", serde_json::to_vec(&party).unwrap()),
        ("/v1/datasets", serde_json::to_vec(&holder.publication().unwrap()).unwrap()),
        ("/v1/approvals", approval.to_json()),
        ("/v1/stops", approval.to_json()),
        ("/v1/reviews", approval.to_json()),
    ]
}

fn changed(runner: &mut TestRunner, body: &[u8]) -> Vec<u8> {
    let mut pick = |end: usize| (0..end).new_tree(runner).expect("a number").current();
    let mut bytes = body.to_vec();
    match pick(4) {
        0 => bytes.truncate(pick(body.len())),
        1 => bytes = (0..pick(100)).map(|_| pick(256) as u8).collect(),
        // Of the same kind, so that it can still be read.
        2 => {
            let place = pick(body.len());
            bytes[place] = b'A' + pick(26) as u8;
        }
        _ => {
            let (from, to, place) = (pick(body.len()), pick(body.len()), pick(body.len()));
            let part = body[from.min(to)..from.max(to)].to_vec();
            bytes.splice(place..place, part);
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_of_staff_makes_the_broker_fail() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let address = world.running[0].as_ref().unwrap().address();
    let seed = world.holders[0].administrator.signing.seed().duplicate();
    let key = SigningKey::from_seed(seed);
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    });
    let mut statuses = BTreeMap::<u16, u32>::new();
    let places = places(&world, agreement.digest());
    for round in 0..600 {
        let (path, good) = &places[round % places.len()];
        let body = changed(&mut runner, good);
        if body == *good {
            continue;
        }
        let parts = SignedParts {
            service: Service::Broker,
            method: "POST",
            path,
            query: "",
            body: sha256(&[&body]),
        };
        let (time, signature) = parts.sign(&key, cordon_testkit::now());
        let request = client
            .post(format!("http://{address}{path}"))
            .header(KEY_HEADER, key.verifying_key().to_string())
            .header(TIME_HEADER, time)
            .header(SIGNATURE_HEADER, signature)
            .timeout(std::time::Duration::from_secs(20));
        let shown = String::from_utf8_lossy(&body).into_owned();
        let status = request.body(body).send().await.expect("an answer").status();
        assert!(!status.is_server_error() && !status.is_success(), "{path}: {status}: {shown}");
        *statuses.entry(status.as_u16()).or_default() += 1;
    }
    // Some cannot be read; some are read, and refused.
    assert!([400, 403].iter().all(|status| statuses[status] > 50), "{statuses:?}");
    // It is as it was, and everything still works.
    let guard = world.guard(&agreement).unwrap();
    assert_eq!(guard.attest(&world).await.unwrap().len(), 3);
}
