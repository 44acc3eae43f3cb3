//! Documents of Nitro Enclaves: two genuine ones, and those of a look-alike AWS with one thing
//! wrong.

mod certificates;
mod encoding;

use std::time::Duration;

use cordon_crypto::sha256;
use cordon_types::{Sha256Digest, UnixSeconds};
use cordon_vendors::aws::{Aws, Document as Made, INSTANCE, LEAF, REGION, ROOT, ZONE};
use cordon_vendors::cbor;
use cordon_vendors::genuine::crate_file;
use cordon_vendors::pki::Key;
use cordon_verifier::RejectionCode::{
    self, BadSignature, CertificateTime, DebugEnabled, Malformed, TooOld, UnknownRoot,
};
use cordon_verifier::nitro::{ChainCache, Document, ROOTS};
use expect_test::expect;
use proptest::prelude::*;

/// Of the look-alike.
const NOW: u64 = 1_750_000_000;
const NOW_MS: u64 = NOW * 1_000;

/// A document of a production enclave, and a time at which it holds.
fn production() -> (Vec<u8>, u64) {
    (crate_file("nitro_attest", "0.2.0", "tests/fixtures/attestation.cose"), 1_736_179_625)
}

/// A document of an enclave that was started for debugging.
fn debug() -> Vec<u8> {
    crate_file("aws-nitro-enclaves-attestation", "0.1.0", "tests/data/nitro_ad_debug.bin")
}

fn root(aws: &Aws) -> [Sha256Digest; 1] {
    [sha256(&[&aws.keys[ROOT].info()])]
}

/// Code and field of the refusal, if it is refused.
fn outcome(
    bytes: &[u8],
    roots: &[Sha256Digest],
    now: u64,
) -> Result<(), (RejectionCode, &'static str)> {
    let read = Document::parse(bytes);
    let verified = read.and_then(|read| read.verify(roots, UnixSeconds::new(now)).map(|_| ()));
    verified.map_err(|rejection| (rejection.code, rejection.field))
}

#[test]
fn genuine_documents_hold_while_their_certificates_do() {
    for (bytes, from, to) in
        [(production().0, 1_736_179_622, 1_736_190_425), (debug(), 1_614_963_709, 1_614_974_509)]
    {
        for (now, wanted) in [
            (from, Ok(())),
            (to, Ok(())),
            (from - 1, Err((CertificateTime, "certificate"))),
            (to + 1, Err((CertificateTime, "certificate"))),
        ] {
            assert_eq!(outcome(&bytes, ROOTS, now), wanted, "{now}");
        }
        // As other readers of CBOR write it.
        assert_eq!(outcome(&cbor::tag(18, &bytes), ROOTS, from), Ok(()));
        let document = Document::parse(&bytes).expect("a document");
        let examined = document.verify(ROOTS, UnixSeconds::new(from)).expect("genuine");
        assert_eq!(examined.chain_not_after().get(), to);
        // A certificate outlives its document: freshness is another question.
        let made = document.timestamp().get() / 1_000;
        let recent = |now| examined.require_recent(UnixSeconds::new(now), Duration::from_secs(60));
        assert!(recent(made).is_ok());
        assert_eq!(recent(to).expect_err("old").code, TooOld);
    }
}

#[test]
fn genuine_documents_say_who_they_are_about() {
    let (bytes, now) = production();
    let document = Document::parse(&bytes).expect("a document");
    let examined = document.verify(ROOTS, UnixSeconds::new(now)).expect("genuine");
    examined.require_production().expect("no debugging");
    let claims = examined.claims();
    assert_eq!(claims.module_id, "i-0bee92034f3d60691-enc01943c5eaab3ad6a");
    assert_eq!(claims.pcrs.len(), 16);
    assert!(claims.pcrs[&0].starts_with("8bb159f202bb95d6") && !claims.debug);
    assert!(claims.public_key.is_some_and(|key| key.len() == 2 * 294));
    assert_eq!((claims.nonce, claims.certificate_not_after.get()), (None, 1_736_190_425));

    let document = Document::parse(&debug()).expect("a document");
    let examined = document.verify(ROOTS, UnixSeconds::new(1_614_964_000)).expect("genuine");
    assert!(document.is_debug() && examined.claims().debug);
    assert_eq!(examined.require_production().expect_err("debugging").code, DebugEnabled);
}

/// The fingerprint that AWS publishes, of the certificate whose key is pinned.
#[test]
fn the_pinned_root_is_what_aws_publishes() {
    let certificate = crate_file("nitro_attest", "0.2.0", "tests/fixtures/0.der");
    assert_eq!(
        sha256(&[&certificate]).to_hex(),
        "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
    );
    let document = Document::parse(&production().0).expect("a document");
    assert_eq!(document.cabundle()[0], certificate);
}

/// One bit of each byte of a genuine document. Nothing is on the list of what may change: the
/// signature covers the payload, certificates included, and the envelope has one form.
#[test]
fn every_byte_of_a_document_counts() {
    let (good, now) = production();
    let mut cache = ChainCache::new();
    let mut accepted = |bytes: &[u8]| {
        let read = Document::parse(bytes);
        let now = UnixSeconds::new(now);
        read.and_then(|read| read.verify_with(ROOTS, now, &mut cache).map(|_| ())).is_ok()
    };
    assert!(accepted(&good));
    let mut bytes = good.clone();
    let mut unnoticed = Vec::new();
    for place in 0..good.len() {
        bytes[place] ^= 1 << (place % 8);
        if accepted(&bytes) {
            unnoticed.push(place);
        }
        bytes[place] = good[place];
    }
    assert_eq!(unnoticed, Vec::<usize>::new());
    // Nothing of what was refused is remembered: a root and three links.
    assert_eq!(cache.len(), 4);

    for size in 0..good.len() {
        let refused = Document::parse(&good[..size]).expect_err("cut");
        assert_eq!(refused.code, Malformed, "{size}");
    }
}

#[test]
fn documents_are_recent_and_without_debugging() {
    let aws = Aws::new(NOW);
    let now = UnixSeconds::new(NOW);
    let zeros = |indices: std::ops::Range<u64>| {
        let value = move |index| [u8::from(!indices.contains(&index)); 48];
        let entries = (0..16).map(|index| (cbor::unsigned(index), cbor::bytes(&value(index))));
        cbor::map(&entries.collect::<Vec<_>>())
    };
    for (timestamp_ms, recent) in [
        (NOW_MS, true),
        (NOW_MS - 60_000, true),
        (NOW_MS - 60_001, false),
        (NOW_MS + 300_000, true),
        (NOW_MS + 300_001, false),
        (1, false),
        ((1 << 53) - 1, false),
    ] {
        let bytes = aws.seal(aws.document(timestamp_ms).encode()).encode();
        let document = Document::parse(&bytes).expect("a document");
        let examined = document.verify(&root(&aws), now).expect("genuine");
        let found = examined.require_recent(now, Duration::from_secs(60));
        let wanted = if recent { None } else { Some(TooOld) };
        assert_eq!(found.err().map(|rejection| rejection.code), wanted, "{timestamp_ms}");
    }
    for (zero, production) in [(3..16, true), (0..3, false), (0..1, false), (2..3, false)] {
        let mut made = aws.document(NOW_MS);
        made.set("pcrs", zeros(zero.clone()));
        let document = Document::parse(&aws.seal(made.encode()).encode()).expect("a document");
        let examined = document.verify(&root(&aws), now).expect("genuine");
        let wanted = if production { None } else { Some(DebugEnabled) };
        let found = examined.require_production().err().map(|rejection| rejection.code);
        assert_eq!(found, wanted, "{zero:?}");
        assert_eq!(document.is_debug(), !production);
    }
}

#[test]
fn claims_are_for_people_and_machines() {
    let aws = Aws::new(NOW);
    let mut made = aws.document(NOW_MS + 1);
    made.set("nonce", cbor::bytes(b"\x01\xab"));
    made.set("user_data", cbor::bytes(&[]));
    let document = Document::parse(&aws.seal(made.encode()).encode()).expect("a document");
    let examined = document.verify(&root(&aws), UnixSeconds::new(NOW)).expect("genuine");
    let mut claims = examined.claims();
    claims.pcrs.retain(|index, _| *index == 1);
    expect![[r#"
        {
          "module_id": "i-0123456789abcdef0-enc0123456789abcdef",
          "timestamp_ms": 1750000000001,
          "pcrs": {
            "1": "111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111"
          },
          "user_data": "",
          "nonce": "01ab",
          "public_key": null,
          "debug": false,
          "certificate_serial": "0104",
          "certificate_not_after": 1750007200
        }"#]].assert_eq(&serde_json::to_string_pretty(&claims).expect("JSON"));
}

/// A second enclave of the instance: its certificate and its document are checked, and no more.
#[test]
fn a_cache_saves_signatures_and_nothing_else() {
    let mut aws = Aws::new(NOW);
    let roots = root(&aws);
    let mut cache = ChainCache::new();
    let mut verified = |aws: &Aws, chain: &[Vec<u8>], roots: &[Sha256Digest], now| {
        let bytes = aws.seal(Made::new(chain, NOW_MS).encode()).encode();
        let document = Document::parse(&bytes).expect("a document");
        let before = cache.hits();
        let outcome = document.verify_with(roots, UnixSeconds::new(now), &mut cache);
        let refused = outcome.err().map(|rejection| (rejection.code, rejection.field));
        (refused, cache.hits() - before, cache.len())
    };
    // Nothing under a root that is not pinned is remembered.
    let stranger = Aws::new(NOW);
    let unknown = Some((UnknownRoot, "cabundle[0]"));
    assert_eq!(verified(&stranger, &stranger.chain(), &roots, NOW), (unknown, 0, 0));

    let mut chain = aws.chain();
    assert_eq!(verified(&aws, &chain, &roots, NOW), (None, 0, 4));
    let leaf = Key::p384();
    aws.certificates[LEAF].key = leaf.info();
    aws.keys[LEAF] = leaf;
    chain[LEAF] = aws.certificates[LEAF].sign(&aws.keys[INSTANCE]);
    assert_eq!(verified(&aws, &chain, &roots, NOW), (None, 4, 4));

    // Dates, roots and the leaf are looked at all the same.
    let end = aws.certificates[LEAF].not_after;
    let late = Some((CertificateTime, "certificate"));
    assert_eq!(verified(&aws, &chain, &roots, end + 1), (late, 0, 4));
    assert_eq!(verified(&aws, &chain, &root(&stranger), NOW), (unknown, 0, 4));
    chain[LEAF] = aws.certificates[LEAF].sign(&stranger.keys[INSTANCE]);
    let forged = Some((BadSignature, "certificate"));
    assert_eq!(verified(&aws, &chain, &roots, NOW), (forged, 4, 4));
    // The same certificate with another signature is another certificate.
    chain[ZONE] = aws.certificates[ZONE].sign(&stranger.keys[REGION]);
    let forged = Some((BadSignature, "cabundle[2]"));
    assert_eq!(verified(&aws, &chain, &roots, NOW), (forged, 2, 4));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, the answer is an answer: arbitrary bytes alone, and before or in the place
    /// of others.
    #[test]
    fn arbitrary_bytes_do_not_panic(
        bytes in proptest::collection::vec(any::<u8>(), 1..300),
        place in 0_usize..4_400,
    ) {
        prop_assert!(Document::parse(&bytes).is_err());
        let (good, now) = production();
        for end in [place, place + 1, place + bytes.len()] {
            let mut document = good.clone();
            document.splice(place..end, bytes.iter().copied());
            prop_assert!(document == good || outcome(&document, ROOTS, now).is_err());
        }
    }
}
