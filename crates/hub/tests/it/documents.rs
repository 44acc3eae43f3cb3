//! Documents: stored under the digest of their payload, if their signature holds.

use cordon_crypto::dsse::Envelope;
use cordon_crypto::sha256;
use cordon_hub::api::{DocumentKind, DocumentQuery};
use cordon_protocol::{Agreement, Manifest};
use reqwest::Method;

use crate::fixture::{
    BROKER, RESEARCHER, STEWARD, agreement, envelope_with, manifest, party, person_card, public,
    register, run_id, sign, signed_request,
};
use crate::support::{Hub, code, refusal};

async fn hub() -> Hub {
    let hub = Hub::start().await;
    register(&hub.client(BROKER)).await;
    hub
}

#[tokio::test]
async fn a_document_comes_back_with_its_signature() {
    let hub = hub().await;
    let signed = sign(agreement(), RESEARCHER);
    let client = hub.client(RESEARCHER);
    let digest = client.put_document(signed.envelope()).await.expect("stored");
    assert_eq!(digest, signed.digest());
    assert_eq!(client.put_document(signed.envelope()).await.expect("again"), digest);

    let opened = hub.anonymous().open_document::<Agreement>(&digest, &public(RESEARCHER)).await;
    assert_eq!(opened.expect("opens").into_value(), agreement());
    let other_signer = hub.anonymous().open_document::<Agreement>(&digest, &public(BROKER)).await;
    assert_eq!(code(other_signer), "not_found");
}

#[tokio::test]
async fn the_index_says_what_documents_claim() {
    let hub = hub().await;
    let client = hub.client(BROKER);
    let agreement = sign(agreement(), RESEARCHER);
    for envelope in [
        agreement.envelope(),
        sign(manifest(), STEWARD).envelope(),
        signed_request(1).envelope(),
        signed_request(2).envelope(),
        sign(crate::fixture::refusal(), BROKER).envelope(),
    ] {
        client.put_document(envelope).await.expect("stored");
    }
    let any = DocumentQuery::default;
    for (query, count) in [
        (any(), 5),
        (DocumentQuery { kind: Some(DocumentKind::RunRequest), ..any() }, 2),
        (DocumentQuery { study: Some(agreement.value().study.clone()), ..any() }, 1),
        (DocumentQuery { agreement: Some(agreement.digest()), ..any() }, 3),
        (DocumentQuery { run: Some(run_id(1)), ..any() }, 2),
        (DocumentQuery { holder: Some(party()), ..any() }, 2),
        (DocumentQuery { dataset: Some(manifest().dataset), ..any() }, 1),
        (DocumentQuery { signer: Some(public(RESEARCHER)), ..any() }, 3),
        (DocumentQuery { run: Some(run_id(3)), ..any() }, 0),
    ] {
        let listed = hub.anonymous().documents(&query).await.expect("a listing");
        assert_eq!((listed.documents.len(), listed.truncated), (count, false), "{query:?}");
    }
    let about = hub.anonymous().run_documents(&run_id(1), DocumentKind::Refusal).await;
    assert_eq!(about.expect("a listing").documents.len(), 1);
    let unknown = hub.request(Method::GET, "/v1/documents?colour=red").send().await;
    assert_eq!(refusal(unknown.expect("an answer")).await, (400, "bad_request".to_owned()));
}

#[tokio::test]
async fn who_signs_a_payload_first_displaces_nobody() {
    let hub = hub().await;
    let squatter = sign(manifest(), BROKER);
    let holder = sign(manifest(), STEWARD);
    assert_eq!(squatter.digest(), holder.digest());
    for signed in [&squatter, &holder] {
        hub.client(BROKER).put_document(signed.envelope()).await.expect("stored");
    }
    for signed in [squatter, holder] {
        let opened =
            hub.anonymous().open_document::<Manifest>(&signed.digest(), &signed.signer()).await;
        assert_eq!(opened.expect("opens").signer(), signed.signer());
    }
}

#[tokio::test]
async fn what_is_no_document_under_its_digest_is_refused() {
    let hub = hub().await;
    let good = sign(agreement(), RESEARCHER);
    let path = format!("/v1/documents/{}", good.digest().to_hex());
    let other_path = format!("/v1/documents/{}", sha256(&[b"another"]).to_hex());
    let bad_signature = envelope_with(good.envelope(), |json| {
        json["signatures"][0]["sig"] = "A".repeat(86).into();
        json["signatures"][0]["sig"] = format!("{}==", "A".repeat(86)).into();
    });
    let unknown_member = envelope_with(good.envelope(), |json| json["extra"] = 1.into());
    let two_signatures = envelope_with(good.envelope(), |json| {
        let first = json["signatures"][0].clone();
        json["signatures"].as_array_mut().expect("an array").push(first);
    });
    let card = sign(person_card(), RESEARCHER);
    let card_path = format!("/v1/documents/{}", card.digest().to_hex());
    for (path, body, expected) in [
        (&other_path, good.envelope().to_json(), (400, "digest_mismatch")),
        (&path, bad_signature, (422, "document_refused")),
        (&path, unknown_member, (422, "document_refused")),
        (&path, two_signatures, (422, "document_refused")),
        (&path, b"{}".to_vec(), (422, "document_refused")),
        // Well formed and signed, but nothing that a hub keeps.
        (&card_path, card.envelope().to_json(), (422, "document_refused")),
    ] {
        let response = hub.signed(BROKER, Method::PUT, path, body).send().await;
        let (status, found) = refusal(response.expect("an answer")).await;
        assert_eq!((status, found.as_str()), expected);
    }
    let stored = hub.anonymous().documents(&DocumentQuery::default()).await.expect("a listing");
    assert!(stored.documents.is_empty());
}

#[tokio::test]
async fn a_hub_that_is_full_of_documents_says_so() {
    let hub = Hub::start_with(|config| config.limits.documents = 1).await;
    register(&hub.client(BROKER)).await;
    let client = hub.client(BROKER);
    let [first, second]: [Envelope; 2] =
        [1, 2].map(|number| signed_request(number).envelope().clone());
    client.put_document(&first).await.expect("room for one");
    assert_eq!(code(client.put_document(&second).await), "too_many");
    client.put_document(&first).await.expect("a known one takes no room");

    let small = Hub::start_with(|config| config.limits.document_bytes = 100).await;
    register(&small.client(BROKER)).await;
    assert_eq!(code(small.client(BROKER).put_document(&first).await), "storage_full");
}
