//! Envelopes from outside: whatever their bytes are, only what the fixed key signed opens.

use cordon_crypto::SigningKey;
use cordon_crypto::dsse::{Envelope, EnvelopeError};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

use crate::format::{Format, Signing, signer};
use crate::hostile::{Mutations, seeded};
use crate::json::Json;
use crate::samples;

const LIMIT: usize = 1 << 20;

fn documents() -> Vec<(Format, Signing)> {
    let signed = |mut format: Format| format.signing.take().map(|signing| (format, signing));
    samples::all().into_iter().filter_map(signed).collect()
}

/// Reads `bytes` as an envelope of `signing`'s document; says whether it opened.
fn check(signing: &Signing, bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::from_json(bytes, LIMIT) else { return false };
    let again = Envelope::from_json(&envelope.to_json(), LIMIT).expect("what was written reads");
    assert_eq!(again, envelope);
    match (signing.open)(&envelope) {
        Ok(_) => {
            assert_eq!(envelope, signing.envelope, "opens, and nobody signed it");
            true
        }
        Err(_) => {
            assert_ne!(envelope, signing.envelope);
            false
        }
    }
}

#[test]
fn a_mutated_envelope_does_not_open() {
    let documents = documents();
    let mut runner = TestRunner::new(seeded(10_000));
    runner
        .run(&(any::<Index>(), Mutations::any()), |(document, mutations)| {
            let (_, signing) = &documents[document.index(documents.len())];
            check(signing, &mutations.apply(&signing.envelope.to_json()));
            Ok(())
        })
        .expect("no panic, and nothing opens that nobody signed");
}

#[test]
fn random_bytes_are_no_envelope() {
    let mut runner = TestRunner::new(seeded(2_000));
    let json_like = "[\\[\\]{}:,\"a-z0-9.\\\\ -]{0,40}".prop_map(String::into_bytes);
    runner
        .run(&prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), json_like], |bytes| {
            Envelope::from_json(&bytes, LIMIT).expect_err("no envelope");
            Ok(())
        })
        .expect("no panic");
}

/// With a signature that holds: then the payload is all that is left to refuse.
#[test]
fn a_mutated_payload_that_its_signer_signed_is_refused_or_canonical() {
    let documents = documents();
    let mut runner = TestRunner::new(seeded(10_000));
    runner
        .run(&(any::<Index>(), Mutations::any()), |(document, mutations)| {
            let (format, signing) = &documents[document.index(documents.len())];
            let payload = mutations.apply(&format.bytes);
            let envelope = sign_anything(signing.payload_type, &payload, &signer());
            match (signing.open)(&envelope) {
                Ok(digest) => {
                    let again = (format.decode)(&payload, format.limit).expect("canonical");
                    assert_eq!(again, payload);
                    assert_eq!(digest, cordon_crypto::sha256(&[&payload]));
                }
                Err(EnvelopeError::Payload { .. }) => {}
                Err(other) => panic!("the signature holds, but: {other}"),
            }
            Ok(())
        })
        .expect("no panic, no second spelling");
}

#[test]
fn a_document_does_not_open_as_another_type() {
    let documents = documents();
    for (of, signed) in &documents {
        for (other, opener) in &documents {
            let same = signed.payload_type == opener.payload_type;
            let found = (opener.open)(&signed.envelope);
            assert_eq!(found.is_ok(), same, "{} as {}", of.name, other.name);
            if !same {
                assert!(matches!(found, Err(EnvelopeError::WrongType { .. })));
                // Nor when its signer gives it that type.
                let renamed = sign_anything(opener.payload_type, &of.bytes, &signer());
                let found = (opener.open)(&renamed);
                assert!(
                    matches!(found, Err(EnvelopeError::Payload { .. })),
                    "{} as {}",
                    of.name,
                    other.name
                );
            }
        }
    }
}

#[test]
fn another_signer_is_refused_whatever_key_the_envelope_names() {
    let stranger = samples::key(0x52);
    for (format, signing) in documents() {
        let theirs = sign_anything(signing.payload_type, &format.bytes, &stranger);
        assert!(matches!((signing.open)(&theirs), Err(EnvelopeError::WrongSigner { .. })));
        let json = String::from_utf8(theirs.to_json()).expect("UTF-8");
        let claimed = json
            .replace(&stranger.verifying_key().to_string(), &signer().verifying_key().to_string());
        let claimed = Envelope::from_json(claimed.as_bytes(), LIMIT).expect("an envelope");
        assert!(matches!((signing.open)(&claimed), Err(EnvelopeError::BadSignature(_))));
    }
}

#[test]
fn an_envelope_over_the_limit_is_refused_before_parsing() {
    let bytes = vec![0xff; 65];
    assert!(matches!(
        Envelope::from_json(&bytes, 64),
        Err(EnvelopeError::TooLarge { size: 65, limit: 64 })
    ));
    assert!(matches!(Envelope::from_json(&bytes, 65), Err(EnvelopeError::Malformed(_))));
}

/// Signed bytes over the document's limit are not parsed, either.
#[test]
fn a_signed_payload_over_the_limit_of_its_document_is_refused() {
    for (format, signing) in documents().into_iter().filter(|(format, _)| format.limit <= LIMIT) {
        let payload = vec![0xff; format.limit + 1];
        let envelope = sign_anything(signing.payload_type, &payload, &signer());
        let refusal = (signing.open)(&envelope).expect_err("too large");
        let EnvelopeError::Payload { source, .. } = refusal else { panic!("{refusal}") };
        assert!(
            matches!(source, cordon_crypto::canonical::CanonicalError::TooLarge { .. }),
            "{source}"
        );
    }
}

#[test]
fn members_and_signatures_of_an_envelope_are_exactly_those_of_the_format() {
    let (_, signing) = documents().remove(0);
    let golden = Json::parse(&signing.envelope.to_json());
    assert!(check(&signing, golden.text().as_bytes()));
    for (index, node) in golden.nodes().into_iter().enumerate() {
        match node {
            Json::Object(members) => {
                for at in 0..=members.len() {
                    let edited = golden.with(index, |node| {
                        let Json::Object(members) = node else { return };
                        match members.get(at).cloned() {
                            Some(member) => members.push(member),
                            None => members.push(("zzz".into(), Json::Raw("0".into()))),
                        }
                    });
                    assert!(Envelope::from_json(edited.text().as_bytes(), LIMIT).is_err());
                }
            }
            Json::Array(items) => {
                for count in [0, 2, 3] {
                    let items = Json::Array(vec![items[0].clone(); count]);
                    let edited = golden.with(index, |node| *node = items.clone());
                    assert!(Envelope::from_json(edited.text().as_bytes(), LIMIT).is_err());
                }
            }
            Json::Raw(_) => {}
        }
    }
}

/// An envelope around any bytes, as only the holder of a key can make one (DSSE v1).
fn sign_anything(payload_type: &str, payload: &[u8], key: &SigningKey) -> Envelope {
    let mut encoded =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    encoded.extend_from_slice(payload);
    let base64 = |bytes: &[u8]| cordon_types::Base64Bytes::from(bytes);
    let json = serde_json::json!({
        "payload": base64(payload),
        "payloadType": payload_type,
        "signatures": [{
            "keyid": key.verifying_key(),
            "sig": base64(key.sign(&encoded).as_bytes()),
        }],
    });
    Envelope::from_json(json.to_string().as_bytes(), usize::MAX).expect("an envelope")
}
