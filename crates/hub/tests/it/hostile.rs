//! Requests that no client makes: whatever comes, the hub answers, never fails by itself, and goes
//! on.

use std::time::Duration;

use cordon_hub::api::{Finish, Progress};
use cordon_hub::signature::{KEY_HEADER, SIGNATURE_HEADER, TIME_HEADER};
use cordon_protocol::message::{Mail, Stage};
use cordon_types::Nonce;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};
use reqwest::Method;

use crate::fixture::{
    BROKER, RESEARCHER, agreement, party_card, person_card, register, run_id, sign, signed_request,
};
use crate::support::Hub;

/// Every place that reads a body, with one that it takes.
fn places() -> Vec<(Method, String, Vec<u8>)> {
    let json = |value: serde_json::Value| value.to_string().into_bytes();
    let value = |value: Result<serde_json::Value, serde_json::Error>| json(value.expect("JSON"));
    let run = format!("/v1/runs/{}", run_id(1).0.to_hex());
    let signed = sign(agreement(), RESEARCHER);
    let mail = Mail { id: Nonce::from_bytes([1; 32]), reply_to: None, body: "hello".to_owned() };
    let progress = Progress { stage: Some(Stage::Planning), bytes_read: 7 };
    vec![
        (
            Method::PUT,
            format!("/v1/documents/{}", signed.digest().to_hex()),
            signed.envelope().to_json(),
        ),
        (
            Method::PUT,
            "/v1/parties/hospital-a".to_owned(),
            sign(party_card(), BROKER).envelope().to_json(),
        ),
        (
            Method::PUT,
            "/v1/persons/hospital-a/riley".to_owned(),
            sign(person_card(), RESEARCHER).envelope().to_json(),
        ),
        (Method::POST, "/v1/mailboxes/hospital-a".to_owned(), value(serde_json::to_value(&mail))),
        (Method::POST, "/v1/runs".to_owned(), signed_request(1).envelope().to_json()),
        (Method::PUT, format!("{run}/progress"), value(serde_json::to_value(progress))),
        (
            Method::PUT,
            format!("{run}/finish"),
            value(serde_json::to_value(Finish::without_receipt("deadline"))),
        ),
        (Method::POST, "/v1/queue/claims".to_owned(), Vec::new()),
        (Method::GET, "/v1/documents".to_owned(), Vec::new()),
        (Method::GET, format!("/v1/objects/{}", signed.digest().to_hex()), Vec::new()),
    ]
}

/// What is done to a request.
#[derive(Clone, Debug)]
enum Change {
    /// Other bytes altogether.
    Body(Vec<u8>),
    /// A byte in the middle is another.
    Byte(proptest::sample::Index, u8),
    /// The body ends early.
    Cut(proptest::sample::Index),
    /// A query that nobody knows, or knows otherwise.
    Query(String),
    /// A header of the signature is another.
    Header(usize, String),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Change::Body),
        (any::<proptest::sample::Index>(), any::<u8>())
            .prop_map(|(place, byte)| Change::Byte(place, byte)),
        any::<proptest::sample::Index>().prop_map(Change::Cut),
        "(after|wait_ms|upto|kind|signer|run|x)=[0-9a-z%&=-]{0,30}".prop_map(Change::Query),
        (0_usize..3, "[ -~]{0,100}").prop_map(|(header, text)| Change::Header(header, text)),
    ]
}

#[tokio::test]
async fn no_request_makes_the_hub_fail() {
    let hub = Hub::start_with(|config| config.limits.mailbox_messages = 100_000).await;
    register(&hub.client(BROKER)).await;
    let places = places();
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    });
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    for round in 0..1_500 {
        let change = change().new_tree(&mut runner).expect("a change").current();
        let (method, path, mut body) = places[round % places.len()].clone();
        let mut target = path;
        let mut header = None;
        match &change {
            Change::Body(bytes) => body.clone_from(bytes),
            Change::Byte(_, _) | Change::Cut(_) if body.is_empty() => {}
            Change::Byte(place, byte) => {
                let place = place.index(body.len());
                body[place] = *byte;
            }
            Change::Cut(place) => body.truncate(place.index(body.len())),
            Change::Query(query) => target = format!("{target}?{query}"),
            Change::Header(index, text) => header = Some((*index, text.clone())),
        }
        let (client, request) = hub.signed(BROKER, method, &target, body).build_split();
        let mut request = request.expect("a request");
        if let Some((index, text)) = header {
            let name = [KEY_HEADER, TIME_HEADER, SIGNATURE_HEADER][index];
            request.headers_mut().insert(name, text.parse().expect("a header"));
        }
        let answer = tokio::time::timeout(Duration::from_secs(40), client.execute(request)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{target} {change:?}: no answer"));
        let status = answer.unwrap_or_else(|error| panic!("{target} {change:?}: {error}")).status();
        assert!(!status.is_server_error(), "{target} {change:?}: {status}");
        *statuses.entry(status.as_u16()).or_default() += 1;
    }
    hub.anonymous().health().await.expect("healthy");
    // It was not all refused for one reason.
    assert!(statuses.len() >= 6, "{statuses:?}");
}
