//! Objects: what is stored under a digest has it, and comes back whole or in ranges.

use std::sync::Arc;

use bytes::Bytes;
use cordon_crypto::sha256;
use object_store::memory::InMemory;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use reqwest::Method;

use crate::fixture::{BROKER, register};
use crate::support::{Hub, code, refusal};

async fn hub_with(object: &[u8]) -> (Hub, String) {
    let hub = Hub::start().await;
    let path = put(&hub, object).await;
    (hub, path)
}

/// Stores an object; gives its path.
async fn put(hub: &Hub, object: &[u8]) -> String {
    register(&hub.client(BROKER)).await;
    let digest = hub.client(BROKER).put_object(Bytes::copy_from_slice(object)).await;
    format!("/v1/objects/{}", digest.expect("stored").to_hex())
}

#[tokio::test]
async fn an_object_comes_back_whole_in_ranges_and_as_a_file() {
    comes_back(&Hub::start().await).await;
}

/// As in a bucket of a cloud: another store behind the same interface.
#[tokio::test]
async fn objects_may_live_in_another_store_than_the_folder() {
    let bucket = Arc::new(InMemory::new());
    let store = bucket.clone();
    let hub = Hub::start_with(|config| config.objects = Some(store)).await;
    comes_back(&hub).await;
    refuses_other_bytes(&hub).await;
    let stored: Vec<_> =
        futures_util::TryStreamExt::try_collect(bucket.list(None)).await.expect("a listing");
    assert_eq!(stored.len(), 1, "what was refused leaves nothing: {stored:?}");

    // What is there counts against the limit of the next hub on it, and is read by it.
    let store = bucket.clone();
    let next = Hub::start_with(|config| {
        config.objects = Some(store);
        config.limits.stored_bytes = stored[0].size + 10;
    });
    let next = next.await;
    let client = next.client(BROKER);
    register(&client).await;
    assert_eq!(code(client.put_object(vec![1; 11].into()).await), "storage_full");
    client.put_object(vec![1; 10].into()).await.expect("fits");
    assert_eq!(next.anonymous().object_size(&digest_of_the_object()).await.unwrap(), Some(SIZE));

    // A store that loses an object, or gives other bytes: nobody takes them for it.
    let place = stored[0].location.clone();
    bucket.put(&place, vec![0; 17_000_000].into()).await.expect("replaced");
    assert!(next.anonymous().object(&digest_of_the_object(), SIZE).await.is_err());
    bucket.delete(&place).await.expect("deleted");
    let gone = next.anonymous().object(&digest_of_the_object(), SIZE).await;
    assert_eq!(code(gone), "not_found");
}

const SIZE: u64 = 17_000_000;

/// Two parts of an upload and the rest of a third.
fn the_object() -> Vec<u8> {
    (0..SIZE).map(|i| (i % 253) as u8).collect()
}

fn digest_of_the_object() -> cordon_types::Sha256Digest {
    sha256(&[&the_object()])
}

async fn comes_back(hub: &Hub) {
    let object = the_object();
    put(hub, &object).await;
    let digest = digest_of_the_object();
    let anybody = hub.anonymous();
    let size = object.len() as u64;
    assert_eq!(anybody.object_size(&digest).await.expect("known"), Some(size));
    assert!(anybody.object(&digest, size).await.expect("whole") == object);
    for range in [0..1, 5..5, 8_388_600..8_388_700, size - 1..size, 0..size] {
        let found = anybody.object_range(&digest, range.clone()).await.expect("a range");
        let place = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert!(found == object[place], "{range:?}");
    }

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("copy");
    assert_eq!(anybody.object_to_file(&digest, &file, size).await.expect("a file"), size);
    assert!(std::fs::read(&file).expect("the file") == object);
    assert_eq!(hub.client(BROKER).put_object_file(&file).await.expect("known"), (digest, size));
    assert!(anybody.object_to_file(&digest, &file, size).await.is_err(), "never overwrites");
}

#[tokio::test]
async fn the_limit_of_the_caller_holds() {
    let (hub, _) = hub_with(b"0123456789").await;
    let digest = sha256(&[b"0123456789"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("copy");
    assert!(hub.anonymous().object(&digest, 9).await.is_err());
    assert!(hub.anonymous().object_to_file(&digest, &file, 9).await.is_err());
    assert!(!file.exists());
}

#[tokio::test]
async fn ranges_over_http_are_those_of_rfc_9110() {
    let (hub, path) = hub_with(b"0123456789").await;
    for (range, status, content_range, body) in [
        (None, 200, None, "0123456789"),
        (Some("bytes=2-4"), 206, Some("bytes 2-4/10"), "234"),
        (Some("bytes=8-99"), 206, Some("bytes 8-9/10"), "89"),
        (Some("bytes=-1"), 206, Some("bytes 9-9/10"), "9"),
        (Some("bytes=0-1,3-4"), 200, None, "0123456789"),
        (Some("bytes=4-2"), 200, None, "0123456789"),
    ] {
        let mut request = hub.request(Method::GET, &path);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), status, "{range:?}");
        let found = response.headers().get("content-range").cloned();
        assert_eq!(found.as_ref().map(|v| v.to_str().unwrap()), content_range, "{range:?}");
        assert_eq!(response.headers()["accept-ranges"], "bytes");
        assert_eq!(response.text().await.expect("a body"), body, "{range:?}");
    }

    let outside = hub.request(Method::GET, &path).header("range", "bytes=10-").send().await;
    let outside = outside.expect("an answer");
    assert_eq!(outside.headers()["content-range"], "bytes */10");
    assert_eq!(refusal(outside).await, (416, "range_not_satisfiable".to_owned()));

    let other = hub.request(Method::GET, &path).header("range", "bytes=2-4");
    let other = other.header("if-range", "\"another\"").send().await.expect("an answer");
    assert_eq!(other.status().as_u16(), 200);
}

#[tokio::test]
async fn head_has_the_size_and_no_body() {
    let (hub, path) = hub_with(b"0123456789").await;
    let request = hub.request(Method::HEAD, &path).header("range", "bytes=2-4");
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["content-length"], "10");
    assert!(response.bytes().await.expect("a body").is_empty());
}

#[tokio::test]
async fn bytes_under_another_digest_are_refused_and_leave_nothing() {
    let hub = Hub::start().await;
    register(&hub.client(BROKER)).await;
    refuses_other_bytes(&hub).await;
    let staged = std::fs::read_dir(hub.folder().join("objects/staging")).expect("the folder");
    assert_eq!(staged.count(), 0);
}

async fn refuses_other_bytes(hub: &Hub) {
    let promised = sha256(&[b"what was promised"]);
    let path = format!("/v1/objects/{}", promised.to_hex());
    let parts = cordon_hub::signature::SignedParts {
        service: cordon_hub::signature::Service::Hub,
        method: "PUT",
        path: &path,
        query: "",
        body: promised,
    };
    let mut request = hub.request(Method::PUT, &path).body("what came");
    for (name, value) in hub.headers(BROKER, parts) {
        request = request.header(name, value);
    }
    let refused = refusal(request.send().await.expect("an answer")).await;
    assert_eq!(refused, (400, "digest_mismatch".to_owned()));
    assert_eq!(hub.anonymous().object_size(&promised).await.expect("an answer"), None);
}

#[tokio::test]
async fn names_are_64_lower_case_hex_digits() {
    let hub = Hub::start().await;
    for name in ["0", "..%2f..%2fetc%2fpasswd", &"AB".repeat(32), &"ab".repeat(33)] {
        let response = hub.request(Method::GET, &format!("/v1/objects/{name}")).send().await;
        let refused = refusal(response.expect("an answer")).await;
        assert_eq!(refused, (400, "bad_request".to_owned()), "{name}");
    }
    let unknown = hub.anonymous().object(&sha256(&[b"unknown"]), 10).await;
    assert_eq!(code(unknown), "not_found");
}
