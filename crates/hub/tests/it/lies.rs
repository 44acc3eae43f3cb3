//! A hub that lies: gives other bytes, other documents, too much, or half of it. The client says
//! so, and nobody gets what was not asked for.

use std::time::Duration;

use cordon_crypto::sha256;
use cordon_hub::client::{Client, ClientConfig, ClientError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::fixture::{BROKER, RESEARCHER, agreement, manifest, public, sign};

/// A hub that gives this answer to everything.
async fn liar(answer: Vec<u8>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 16 * 1024];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(&answer).await;
            });
        }
    });
    let config = ClientConfig::anonymous().within(Duration::from_secs(3));
    Client::new(&url, config).expect("a client")
}

fn http(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn is_unexpected<T>(result: Result<T, ClientError>) -> bool {
    matches!(result, Err(ClientError::Unexpected { .. }))
}

#[tokio::test]
async fn another_document_than_the_one_that_was_asked_for_is_refused() {
    let other = sign(manifest(), RESEARCHER);
    let hub = liar(http(&other.envelope().to_json())).await;
    let wanted = sign(agreement(), RESEARCHER);
    assert!(is_unexpected(hub.document(&wanted.digest(), None).await));
    // The right document, signed by somebody else.
    let forged = sign(agreement(), BROKER);
    let hub = liar(http(&forged.envelope().to_json())).await;
    let signer = public(RESEARCHER);
    assert!(is_unexpected(hub.document(&wanted.digest(), Some(&signer)).await));
}

#[tokio::test]
async fn an_object_of_other_bytes_is_refused() {
    let hub = liar(http(b"other bytes")).await;
    assert!(is_unexpected(hub.object(&sha256(&[b"the bytes"]), 1_000).await));
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_its_limit() {
    let hub = liar(http(&vec![b'x'; 64 * 1024])).await;
    assert!(is_unexpected(hub.object(&sha256(&[b"the bytes"]), 1_000).await));
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let mut half = http(&[b'x'; 1_000]);
    half.truncate(half.len() - 500);
    let hub = liar(half).await;
    assert!(hub.object(&sha256(&[&[b'x'; 1_000]]), 1_000).await.is_err());
}

#[tokio::test]
async fn what_is_no_answer_at_all_is_an_error_and_no_panic() {
    for noise in [b"".as_slice(), b"\0\0\0\0", b"HTTP/1.1 200 OK\r\n\r\n{]", b"HTTP/9 x\r\n\r\n"] {
        let hub = liar(noise.to_vec()).await;
        assert!(hub.document(&sha256(&[b"x"]), None).await.is_err());
    }
}
