//! Limits hold before anything is read: a caller announces too much, and is answered at once.

use std::time::Duration;

use bytes::Bytes;
use cordon_crypto::sha256;
use cordon_hub::signature::{Service, SignedParts};
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{BROKER, register};
use crate::support::{Hub, code, refusal};

/// Sends a header that announces `length` bytes, and none of them.
async fn announce(hub: &Hub, method: &str, target: &str, length: u64) -> String {
    let digest = sha256(&[b"never sent"]);
    let parts =
        SignedParts { service: Service::Hub, method, path: target, query: "", body: digest };
    let signature: String = hub
        .headers(BROKER, parts)
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let address = hub.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\n{signature}content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = [0; 64];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer)).await;
    let read = read.expect("answered without the body").expect("an answer");
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_announced_size_over_the_limit_is_refused_before_a_byte_of_it() {
    let hub = Hub::start().await;
    register(&hub.client(BROKER)).await;
    let digest = sha256(&[b"never sent"]).to_hex();
    for (method, target) in [
        ("PUT", format!("/v1/objects/{digest}")),
        ("PUT", format!("/v1/documents/{digest}")),
        ("PUT", "/v1/parties/hospital-a".to_owned()),
        ("PUT", "/v1/persons/hospital-a/riley".to_owned()),
        ("POST", "/v1/mailboxes/hospital-a".to_owned()),
        ("POST", "/v1/runs".to_owned()),
        ("PUT", format!("/v1/runs/{digest}/progress")),
        ("GET", "/v1/mailboxes/hospital-a".to_owned()),
        ("POST", "/v1/queue/claims".to_owned()),
    ] {
        let line = announce(&hub, method, &target, 1 << 60).await;
        assert_eq!(line, "HTTP/1.1 413 Payload Too Large", "{method} {target}");
    }
}

/// Strangers who send slowly take the room that there is for bodies, and no memory beyond it.
#[tokio::test]
async fn bodies_that_do_not_come_leave_memory_to_others() {
    const BODY: usize = 700_000;
    let hub = Hub::start_with(|config| config.limits.received_bytes = 1_000_000).await;
    register(&hub.client(BROKER)).await;
    let address = hub.url.trim_start_matches("http://").to_owned();
    let mut slow = TcpStream::connect(&address).await.expect("a connection");
    let head = format!(
        "POST /v1/mailboxes/hospital-a HTTP/1.1\r\nhost: {address}\r\ncontent-length: {BODY}\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let post = || {
        let request = hub.request(Method::POST, "/v1/mailboxes/hospital-a");
        request.body(vec![b'x'; BODY]).send()
    };
    assert_eq!(refusal(post().await.expect("an answer")).await, (503, "unavailable".to_owned()));
    drop(slow);
    // With room again it is looked at, and is no message.
    let status = post().await.expect("an answer").status();
    assert!(status != StatusCode::SERVICE_UNAVAILABLE, "{status}");
}

#[tokio::test]
async fn a_body_of_unknown_size_is_cut_at_the_limit() {
    let hub = Hub::start().await;
    register(&hub.client(BROKER)).await;
    let piece = Bytes::from(vec![b' '; 1024 * 1024]);
    let endless = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
    let body = reqwest::Body::wrap_stream(endless);
    let sent = hub.request(Method::POST, "/v1/mailboxes/hospital-a").body(body).send().await;
    // The hub may close the connection while the client still sends.
    if let Ok(response) = sent {
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}

#[tokio::test]
async fn objects_are_bounded_one_by_one_and_together() {
    let hub = Hub::start_with(|config| {
        config.limits.object_bytes = 100;
        config.limits.stored_bytes = 150;
    })
    .await;
    let client = hub.client(BROKER);
    register(&client).await;
    assert_eq!(code(client.put_object(vec![1; 101].into()).await), "too_large");
    client.put_object(vec![2; 100].into()).await.expect("fits");
    assert_eq!(code(client.put_object(vec![3; 51].into()).await), "storage_full");
    // A refused upload gives back what it reserved.
    client.put_object(vec![4; 50].into()).await.expect("fits");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_as_well() {
    let hub = Hub::start().await;
    for (method, path, expected) in [
        (Method::GET, "/", (404, "not_found")),
        (Method::GET, "/v1/objects", (404, "not_found")),
        (Method::DELETE, "/v1/documents", (405, "method_not_allowed")),
        (Method::POST, "/healthz", (405, "method_not_allowed")),
    ] {
        let response = hub.request(method, path).send().await.expect("an answer");
        let (status, found) = refusal(response).await;
        assert_eq!((status, found.as_str()), expected, "{path}");
    }
    hub.anonymous().health().await.expect("healthy");
}
