//! Who may do what. Each request has exactly one thing wrong with its signature.

use std::time::Duration;

use cordon_crypto::sha256;
use cordon_hub::signature::{
    KEY_HEADER, SIGNATURE_HEADER, Service, SignedParts, TOLERANCE_SECONDS,
};
use reqwest::{Method, RequestBuilder};

use crate::fixture::{BROKER, STRANGER, public, register};
use crate::support::{Hub, refusal};

/// Everything that only a known key may do.
const TARGETS: [(Method, &str); 3] = [
    (Method::PUT, "/v1/objects/"),
    (Method::PUT, "/v1/documents/"),
    (Method::GET, "/v1/mailboxes/hospital-a"),
];

const BODY: &[u8] = b"{}";

fn target(method: &Method, path: &str) -> (String, &'static [u8]) {
    match *method {
        Method::PUT => (format!("{path}{}", sha256(&[BODY]).to_hex()), BODY),
        _ => (path.to_owned(), b""),
    }
}

async fn refused(request: RequestBuilder) -> (u16, String) {
    refusal(request.send().await.expect("an answer")).await
}

async fn hub() -> Hub {
    let hub = Hub::start().await;
    register(&hub.client(BROKER)).await;
    hub
}

#[tokio::test]
async fn unsigned_requests_are_refused() {
    let hub = hub().await;
    for (method, path) in TARGETS {
        let (target, body) = target(&method, path);
        let response = hub.request(method, &target).body(body).send().await.expect("an answer");
        assert_eq!(response.headers()["www-authenticate"], "Cordon-Signature");
        assert_eq!(refusal(response).await, (401, "signature_missing".to_owned()), "{target}");
    }
}

#[tokio::test]
async fn keys_that_the_hub_does_not_know_are_refused() {
    let hub = hub().await;
    for (method, path) in TARGETS {
        let (target, body) = target(&method, path);
        let expected = if method == Method::GET { "not_yours" } else { "signer_unknown" };
        let found = refused(hub.signed(STRANGER, method, &target, body)).await;
        assert_eq!(found, (403, expected.to_owned()), "{target}");
    }
}

#[tokio::test]
async fn stale_signatures_are_refused() {
    let hub = hub().await;
    for (method, path) in TARGETS {
        let (target, body) = target(&method, path);
        let early = hub.signed(BROKER, method, &target, body);
        hub.clock.advance(Duration::from_secs(TOLERANCE_SECONDS + 1));
        let found = refused(early).await;
        assert_eq!(found, (401, "signature_stale".to_owned()), "{target}");
    }
}

#[tokio::test]
async fn signatures_of_other_requests_are_refused() {
    let hub = hub().await;
    for (method, path) in TARGETS {
        let (target, body) = target(&method, path);
        let parts = SignedParts {
            service: Service::Hub,
            method: method.as_str(),
            path: &target,
            query: "",
            body: sha256(&[body]),
        };
        let others = [
            SignedParts { service: Service::Broker, ..parts },
            SignedParts { method: "POST", ..parts },
            SignedParts { path: "/v1/other", ..parts },
            SignedParts { query: "after=1", ..parts },
            SignedParts { body: sha256(&[b"another"]), ..parts },
        ];
        for other in others {
            let mut request = hub.request(method.clone(), &target).body(body);
            for (name, value) in hub.headers(BROKER, other) {
                request = request.header(name, value);
            }
            let found = refused(request).await;
            assert_eq!(found, (401, "signature_invalid".to_owned()), "{other:?}");
        }
    }
}

#[tokio::test]
async fn somebody_elses_name_on_a_signature_is_refused() {
    let hub = hub().await;
    let (target, body) = target(&Method::PUT, TARGETS[0].1);
    let parts = SignedParts {
        service: Service::Hub,
        method: "PUT",
        path: &target,
        query: "",
        body: sha256(&[body]),
    };
    for (replaced, with) in
        [(KEY_HEADER, public(BROKER).to_string()), (SIGNATURE_HEADER, "AAAA".to_owned())]
    {
        let mut request = hub.request(Method::PUT, &target).body(body);
        for (name, value) in hub.headers(STRANGER, parts) {
            let value = if name == replaced { with.clone() } else { value };
            request = request.header(name, value);
        }
        assert_eq!(refused(request).await, (401, "signature_invalid".to_owned()), "{replaced}");
    }
}

#[tokio::test]
async fn a_wrong_signature_is_refused_even_where_none_is_needed() {
    let hub = hub().await;
    let post = hub.request(Method::POST, "/v1/mailboxes/hospital-a").body("hello");
    let post = post.header(KEY_HEADER, public(BROKER).to_string());
    assert_eq!(refused(post).await, (401, "signature_invalid".to_owned()));
}
