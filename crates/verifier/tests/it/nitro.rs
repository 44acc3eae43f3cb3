//! Documents of Nitro Enclaves: two genuine ones, and those of a look-alike AWS with one thing wrong.

use std::time::Duration;

use cordon_crypto::sha256;
use cordon_types::{Sha256Digest, UnixSeconds};
use cordon_vendors::aws::{Aws, Document as Made, Envelope, INSTANCE, LEAF, REGION, ROOT, ZONE};
use cordon_vendors::genuine::crate_file;
use cordon_vendors::pki::{Extension, Key};
use cordon_vendors::{cbor, der};
use cordon_verifier::RejectionCode::{
    self, BadSignature, CertificateInvalid, CertificateTime, DebugEnabled, Malformed, TooLarge,
    TooOld, UnknownRoot,
};
use cordon_verifier::nitro::{ChainCache, Document, MAX_DOCUMENT_BYTES, ROOTS};
use expect_test::expect;
use proptest::prelude::*;

/// Of the look-alike.
const NOW: u64 = 1_750_000_000;
const NOW_MS: u64 = NOW * 1_000;
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const KEY_USAGE: &str = "2.5.29.15";

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

/// What is wrong, how it comes to be, and what refuses it.
type Case<T> = (&'static str, fn(&mut T), RejectionCode, &'static str);

/// Runs each case on a fresh look-alike.
fn check<T>(cases: &[Case<T>], made: impl Fn(&Aws) -> T, finished: impl Fn(&Aws, T) -> Vec<u8>) {
    let aws = Aws::new(NOW);
    assert_eq!(outcome(&finished(&aws, made(&aws)), &root(&aws), NOW), Ok(()));
    for (name, change, code, field) in cases {
        let mut value = made(&aws);
        change(&mut value);
        let found = outcome(&finished(&aws, value), &root(&aws), NOW);
        assert_eq!(found, Err((*code, *field)), "{name}");
    }
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

/// Everything is signed again, so that no signature refuses what another check must.
#[test]
fn certificates_must_be_what_their_place_demands() {
    fn drop_extension(aws: &mut Aws, place: usize, oid: &str) {
        aws.certificates[place].extensions.retain(|extension| extension.oid != oid);
    }
    fn usage(aws: &mut Aws, place: usize, bits: u8) {
        aws.certificates[place].set_extension(KEY_USAGE, Extension::key_usage(bits).value);
    }
    fn constraints(aws: &mut Aws, place: usize, extension: Extension) {
        aws.certificates[place].set_extension(BASIC_CONSTRAINTS, extension.value);
    }
    fn unknown(critical: bool) -> Extension {
        Extension { oid: "2.5.29.30", critical, value: der::sequence(&[]) }
    }
    fn rekey(aws: &mut Aws, place: usize, key: Key) {
        aws.certificates[place].key = key.info();
        aws.keys[place] = key;
    }
    let cases: &[Case<Aws>] = &[
        ("forged root", |aws| rekey(aws, ROOT, Key::p384()), UnknownRoot, "cabundle[0]"),
        (
            "leaf is an authority",
            |aws| constraints(aws, LEAF, Extension::authority(None)),
            CertificateInvalid,
            "certificate",
        ),
        ("leaf may issue", |aws| usage(aws, LEAF, 0x84), CertificateInvalid, "certificate"),
        ("leaf may not sign", |aws| usage(aws, LEAF, 0x40), CertificateInvalid, "certificate"),
        (
            "leaf without keyUsage",
            |aws| drop_extension(aws, LEAF, KEY_USAGE),
            CertificateInvalid,
            "certificate",
        ),
        (
            "leaf without basicConstraints",
            |aws| drop_extension(aws, LEAF, BASIC_CONSTRAINTS),
            CertificateInvalid,
            "certificate",
        ),
        (
            "instance is no authority",
            |aws| constraints(aws, INSTANCE, Extension::end_entity()),
            CertificateInvalid,
            "cabundle[3]",
        ),
        ("zone may not issue", |aws| usage(aws, ZONE, 0x80), CertificateInvalid, "cabundle[2]"),
        (
            "zone without keyUsage",
            |aws| drop_extension(aws, ZONE, KEY_USAGE),
            CertificateInvalid,
            "cabundle[2]",
        ),
        (
            "zone without basicConstraints",
            |aws| drop_extension(aws, ZONE, BASIC_CONSTRAINTS),
            CertificateInvalid,
            "cabundle[2]",
        ),
        (
            "basicConstraints that may be ignored",
            |aws| aws.certificates[ZONE].extensions[0].critical = false,
            CertificateInvalid,
            "cabundle[2]",
        ),
        (
            "region above too many",
            |aws| constraints(aws, REGION, Extension::authority(Some(1))),
            CertificateInvalid,
            "cabundle[1]",
        ),
        (
            "zone above too many",
            |aws| constraints(aws, ZONE, Extension::authority(Some(0))),
            CertificateInvalid,
            "cabundle[2]",
        ),
        (
            "unknown and critical in an authority",
            |aws| aws.certificates[REGION].extensions.push(unknown(true)),
            CertificateInvalid,
            "cabundle[1]",
        ),
        (
            "unknown and critical in the leaf",
            |aws| aws.certificates[LEAF].extensions.push(unknown(true)),
            CertificateInvalid,
            "certificate",
        ),
        (
            "an extension twice",
            |aws| aws.certificates[LEAF].extensions.extend([unknown(false), unknown(false)]),
            CertificateInvalid,
            "certificate",
        ),
        (
            "expired leaf",
            |aws| aws.certificates[LEAF].not_after = NOW - 1,
            CertificateTime,
            "certificate",
        ),
        (
            "leaf of the future",
            |aws| aws.certificates[LEAF].not_before = NOW + 1,
            CertificateTime,
            "certificate",
        ),
        (
            "expired zone",
            |aws| aws.certificates[ZONE].not_after = NOW - 1,
            CertificateTime,
            "cabundle[2]",
        ),
        (
            "zone of the future",
            |aws| aws.certificates[ZONE].not_before = NOW + 1,
            CertificateTime,
            "cabundle[2]",
        ),
        (
            "expired root",
            |aws| aws.certificates[ROOT].not_after = NOW - 1,
            CertificateTime,
            "cabundle[0]",
        ),
        (
            "another issuer's name",
            |aws| aws.certificates[ZONE].issuer = aws.certificates[ROOT].subject.clone(),
            UnknownRoot,
            "cabundle[2]",
        ),
        ("another issuer's key", |aws| aws.keys[ZONE] = Key::p384(), BadSignature, "cabundle[3]"),
        ("leaf on P-256", |aws| rekey(aws, LEAF, Key::p256()), CertificateInvalid, "certificate"),
        ("zone on P-256", |aws| rekey(aws, ZONE, Key::p256()), CertificateInvalid, "cabundle[3]"),
        (
            "document by another",
            |aws| aws.keys[LEAF] = Key::p384(),
            BadSignature,
            "document.signature",
        ),
    ];
    for (name, change, code, field) in cases {
        let mut aws = Aws::new(NOW);
        let roots = root(&aws);
        change(&mut aws);
        let mut envelope = aws.seal(aws.document(NOW_MS).encode());
        // 64 bytes of another curve would be refused for their number.
        envelope.signature.resize(96, 1);
        assert_eq!(outcome(&envelope.encode(), &roots, NOW), Err((*code, *field)), "{name}");
    }
    let allowed: &[(&str, fn(&mut Aws))] = &[
        ("as it is", |_| ()),
        ("unknown, may be ignored", |aws| aws.certificates[LEAF].extensions.push(unknown(false))),
        ("at its last second", |aws| aws.certificates[LEAF].not_after = NOW),
        ("at its first second", |aws| aws.certificates[ZONE].not_before = NOW),
        ("no limit", |aws| constraints(aws, REGION, Extension::authority(None))),
    ];
    for (name, change) in allowed {
        let mut aws = Aws::new(NOW);
        change(&mut aws);
        let bytes = aws.seal(aws.document(NOW_MS).encode()).encode();
        assert_eq!(outcome(&bytes, &root(&aws), NOW), Ok(()), "{name}");
        let other = root(&Aws::new(NOW));
        assert_eq!(outcome(&bytes, &other, NOW), Err((UnknownRoot, "cabundle[0]")), "{name}");
        assert_eq!(outcome(&bytes, &[], NOW), Err((UnknownRoot, "cabundle[0]")), "{name}");
    }
}

/// No authority has a limit here, so that the order is the only thing wrong.
#[test]
fn the_bundle_is_the_path() {
    let mut aws = Aws::new(NOW);
    for place in [REGION, ZONE, INSTANCE] {
        let value = Extension::authority(None).value;
        aws.certificates[place].set_extension(BASIC_CONSTRAINTS, value);
    }
    // Another instance of the zone, for which nobody asked.
    let extra = aws.certificates[INSTANCE].sign(&aws.keys[ZONE]);
    type Change<'a> = &'a dyn Fn(&mut Vec<Vec<u8>>);
    let cases: [(&str, Change<'_>, RejectionCode, &str); 11] = [
        ("reversed", &|chain| chain[..LEAF].reverse(), UnknownRoot, "cabundle[0]"),
        ("two exchanged", &|chain| chain.swap(REGION, ZONE), UnknownRoot, "cabundle[1]"),
        (
            "extra at the end",
            &|chain| chain.insert(LEAF, extra.clone()),
            UnknownRoot,
            "cabundle[4]",
        ),
        ("extra before it", &|chain| chain.insert(ZONE, extra.clone()), UnknownRoot, "cabundle[2]"),
        (
            "root twice",
            &|chain| chain.insert(REGION, chain[ROOT].clone()),
            CertificateInvalid,
            "cabundle[1]",
        ),
        ("without its root", &|chain| drop(chain.remove(ROOT)), UnknownRoot, "cabundle[0]"),
        ("without its zone", &|chain| drop(chain.remove(ZONE)), UnknownRoot, "cabundle[2]"),
        ("without its instance", &|chain| drop(chain.remove(INSTANCE)), UnknownRoot, "certificate"),
        ("after the end", &|chain| chain[ZONE].push(0), CertificateInvalid, "cabundle[2]"),
        (
            "root that did not sign itself",
            &|chain| chain[ROOT] = aws.certificates[ROOT].sign(&aws.keys[ZONE]),
            BadSignature,
            "cabundle[0]",
        ),
        (
            "another algorithm than it says",
            &|chain| {
                let (key, said) = (&aws.keys[INSTANCE], Key::p256().algorithm());
                chain[LEAF] = aws.certificates[LEAF].sign_as(key, &said);
            },
            CertificateInvalid,
            "certificate",
        ),
    ];
    for (name, change, code, field) in cases {
        let mut chain = aws.chain();
        let sealed = |chain: &[Vec<u8>]| aws.seal(Made::new(chain, NOW_MS).encode()).encode();
        assert_eq!(outcome(&sealed(&chain), &root(&aws), NOW), Ok(()));
        change(&mut chain);
        assert_eq!(outcome(&sealed(&chain), &root(&aws), NOW), Err((code, field)), "{name}");
    }
}

fn pcrs(entries: &[(u64, usize)]) -> Vec<u8> {
    let entry =
        |(index, size): &(u64, usize)| (cbor::unsigned(*index), cbor::bytes(&vec![1; *size]));
    cbor::map(&entries.iter().map(entry).collect::<Vec<_>>())
}

#[test]
fn members_keep_to_their_limits() {
    let cases: &[Case<Made>] = &[
        (
            "PCR 32",
            |made| made.set("pcrs", pcrs(&[(0, 48), (1, 48), (2, 48), (32, 48)])),
            Malformed,
            "payload.pcrs",
        ),
        (
            "PCR of SHA-256",
            |made| made.set("pcrs", pcrs(&[(0, 32), (1, 48), (2, 48)])),
            Malformed,
            "payload.pcrs",
        ),
        (
            "PCR of SHA-512",
            |made| made.set("pcrs", pcrs(&[(0, 48), (1, 64), (2, 48)])),
            Malformed,
            "payload.pcrs",
        ),
        (
            "empty PCR",
            |made| made.set("pcrs", pcrs(&[(0, 48), (1, 48), (2, 48), (3, 0)])),
            Malformed,
            "payload.pcrs",
        ),
        (
            "a PCR twice",
            |made| made.set("pcrs", pcrs(&[(0, 48), (1, 48), (2, 48), (2, 48)])),
            Malformed,
            "payload.pcrs",
        ),
        ("no PCR 2", |made| made.set("pcrs", pcrs(&[(0, 48), (1, 48)])), Malformed, "payload.pcrs"),
        ("no PCR", |made| made.set("pcrs", cbor::map(&[])), Malformed, "payload.pcrs"),
        ("null", |made| made.set("pcrs", cbor::null()), Malformed, "payload.pcrs"),
        ("SHA-256", |made| made.set("digest", cbor::text("SHA256")), Malformed, "payload.digest"),
        (
            "empty certificate",
            |made| made.set("certificate", cbor::bytes(&[])),
            Malformed,
            "payload.certificate",
        ),
        (
            "long certificate",
            |made| made.set("certificate", cbor::bytes(&[0; 1025])),
            Malformed,
            "payload.certificate",
        ),
        (
            "no certificate",
            |made| made.set("certificate", cbor::null()),
            Malformed,
            "payload.certificate",
        ),
        ("no bundle", |made| made.set("cabundle", cbor::array(&[])), Malformed, "payload.cabundle"),
        (
            "empty authority",
            |made| made.set("cabundle", cbor::array(&[cbor::bytes(&[])])),
            Malformed,
            "payload.cabundle",
        ),
        (
            "seven authorities",
            |made| made.set("cabundle", cbor::array(&vec![cbor::bytes(&[1]); 7])),
            Malformed,
            "payload.cabundle",
        ),
        (
            "long user_data",
            |made| made.set("user_data", cbor::bytes(&[0; 513])),
            Malformed,
            "payload.user_data",
        ),
        (
            "long nonce",
            |made| made.set("nonce", cbor::bytes(&[0; 513])),
            Malformed,
            "payload.nonce",
        ),
        (
            "long public_key",
            |made| made.set("public_key", cbor::bytes(&[0; 1025])),
            Malformed,
            "payload.public_key",
        ),
        ("nonce as text", |made| made.set("nonce", cbor::text("a")), Malformed, "payload.nonce"),
        ("no module_id", |made| made.remove("module_id"), Malformed, "payload.module_id"),
        (
            "empty module_id",
            |made| made.set("module_id", cbor::text("")),
            Malformed,
            "payload.module_id",
        ),
        (
            "module_id of two lines",
            |made| made.set("module_id", cbor::text("i-0\ni-1")),
            Malformed,
            "payload.module_id",
        ),
        (
            "before all time",
            |made| made.set("timestamp", cbor::unsigned(0)),
            Malformed,
            "payload.timestamp",
        ),
        (
            "after all time",
            |made| made.set("timestamp", cbor::unsigned(u64::MAX)),
            Malformed,
            "payload.timestamp",
        ),
        ("unknown member", |made| made.set("debug", cbor::null()), Malformed, "payload"),
        (
            "a member twice",
            |made| made.members.push((cbor::text("nonce"), cbor::bytes(b"other"))),
            Malformed,
            "payload",
        ),
        (
            "a name that is no text",
            |made| made.members.push((cbor::unsigned(1), cbor::null())),
            Malformed,
            "payload",
        ),
    ];
    let seal = |aws: &Aws, made: Made| aws.seal(made.encode()).encode();
    check(cases, |aws| aws.document(NOW_MS), seal);

    // At the limits; and null says what absence says.
    let aws = Aws::new(NOW);
    let mut made = aws.document(NOW_MS);
    let nothing = Document::parse(&seal(&aws, made.clone())).expect("null");
    for name in ["user_data", "nonce", "public_key"] {
        made.remove(name);
    }
    let absent = Document::parse(&seal(&aws, made.clone())).expect("absent");
    for document in [nothing, absent] {
        assert_eq!(
            (document.user_data(), document.nonce(), document.public_key()),
            (None, None, None)
        );
    }
    made.set("user_data", cbor::bytes(&[1; 512]));
    made.set("nonce", cbor::bytes(&[]));
    made.set("public_key", cbor::bytes(&[3; 1024]));
    let all: Vec<_> = (0..32).map(|index| (index, 48)).collect();
    made.set("pcrs", pcrs(&all));
    let full = Document::parse(&seal(&aws, made)).expect("at the limits");
    assert_eq!((full.nonce(), full.pcrs().len()), (Some(&[][..]), 32));
    full.verify(&root(&aws), UnixSeconds::new(NOW)).expect("genuine");
}

/// The payload is signed again, so that only its form is wrong.
#[test]
fn a_payload_has_one_encoding() {
    fn wide(major: u8, value: &[u8]) -> Vec<u8> {
        [cbor::wide_head(major, (value[0] & 0x1f).into()), value[1..].to_vec()].concat()
    }
    let cases: &[Case<Vec<u8>>] = &[
        ("trailing byte", |bytes| bytes.push(0), Malformed, "payload"),
        ("endless map", |bytes| *bytes = cbor::endless(bytes), Malformed, "payload"),
        ("long head of the map", |bytes| *bytes = wide(5, bytes), Malformed, "payload"),
        (
            "long head of a name",
            |bytes| drop(bytes.splice(1..2, cbor::wide_head(3, 9))),
            Malformed,
            "payload",
        ),
        (
            "endless name",
            |bytes| drop(bytes.splice(1..11, cbor::endless(&cbor::text("module_id")))),
            Malformed,
            "payload",
        ),
        (
            "undefined for null",
            |bytes| *bytes.last_mut().expect("null") = 0xf7,
            Malformed,
            "payload",
        ),
        ("no map", |bytes| *bytes = cbor::unsigned(1), Malformed, "payload"),
        ("nothing", Vec::clear, Malformed, "payload"),
        (
            "huge map",
            |bytes| *bytes = [&cbor::head(5, u64::MAX), &bytes[1..]].concat(),
            Malformed,
            "payload",
        ),
        ("deep", |bytes| *bytes = [vec![0x81; 9_000], cbor::null()].concat(), Malformed, "payload"),
    ];
    check(cases, |aws| aws.document(NOW_MS).encode(), |aws, payload| aws.seal(payload).encode());

    // In members, too: a byte string or an integer that is written otherwise.
    let cases: &[Case<Made>] = &[
        (
            "endless bytes",
            |made| made.set("nonce", cbor::endless(&cbor::bytes(&[1]))),
            Malformed,
            "payload",
        ),
        (
            "number of bytes in eight",
            |made| made.set("nonce", [cbor::wide_head(2, 1), vec![1]].concat()),
            Malformed,
            "payload",
        ),
        (
            "number in a byte string",
            |made| made.set("timestamp", cbor::tag(2, &cbor::bytes(&[1]))),
            Malformed,
            "payload",
        ),
        (
            "small number in eight bytes",
            |made| made.set("timestamp", cbor::wide_head(0, 1_000)),
            Malformed,
            "payload",
        ),
        ("huge bytes", |made| made.set("nonce", cbor::head(2, u64::MAX)), Malformed, "payload"),
    ];
    let seal = |aws: &Aws, made: Made| aws.seal(made.encode()).encode();
    check(cases, |aws| aws.document(NOW_MS), seal);
}

#[test]
fn an_envelope_has_one_form() {
    let cases: &[Case<Envelope>] = &[
        ("tag of COSE_Mac0", |made| made.tag = Some(17), Malformed, "document"),
        ("tag of a signed message", |made| made.tag = Some(98), Malformed, "document"),
        (
            "algorithm in the other header",
            |made| made.unprotected = cbor::map(&[(vec![1], vec![0x38, 0x22])]),
            Malformed,
            "document.unprotected",
        ),
        (
            "other header of another kind",
            |made| made.unprotected = cbor::null(),
            Malformed,
            "document.unprotected",
        ),
        ("r is zero", |made| made.signature[..48].fill(0), BadSignature, "document.signature"),
        ("s is zero", |made| made.signature[48..].fill(0), BadSignature, "document.signature"),
        ("both are zero", |made| made.signature.fill(0), BadSignature, "document.signature"),
        (
            "r above the order",
            |made| made.signature[..48].fill(0xff),
            BadSignature,
            "document.signature",
        ),
        (
            "s above the order",
            |made| made.signature[48..].fill(0xff),
            BadSignature,
            "document.signature",
        ),
        (
            "r and s exchanged",
            |made| made.signature.rotate_left(48),
            BadSignature,
            "document.signature",
        ),
        ("short", |made| made.signature.truncate(95), Malformed, "document.signature"),
        ("long", |made| made.signature.push(0), Malformed, "document.signature"),
        ("unsigned", |made| made.signature.clear(), Malformed, "document.signature"),
        ("large", |made| made.payload.resize(MAX_DOCUMENT_BYTES, 0), TooLarge, "document"),
    ];
    let made = |aws: &Aws| aws.seal(aws.document(NOW_MS).encode());
    check(cases, made, |_, envelope| envelope.encode());

    // What the signature covers is signed again.
    let headers: &[Case<Envelope>] = &[
        ("ES256", |made| made.protected = vec![0xa1, 1, 0x26], Malformed, "document.protected"),
        ("none", |made| made.protected = Vec::new(), Malformed, "document.protected"),
        ("no algorithm", |made| made.protected = vec![0xa0], Malformed, "document.protected"),
        (
            "a critical header",
            |made| made.protected = vec![0xa2, 1, 0x38, 0x22, 2, 0x81, 1],
            Malformed,
            "document.protected",
        ),
        (
            "not shortest",
            |made| made.protected = vec![0xa1, 1, 0x39, 0, 0x22],
            Malformed,
            "document.protected",
        ),
    ];
    check(headers, made, |aws, mut envelope| {
        envelope.sign(&aws.keys[LEAF]);
        envelope.encode()
    });

    let bytes: &[Case<Vec<u8>>] = &[
        ("trailing byte", |bytes| bytes.push(0), Malformed, "document"),
        ("endless", |bytes| *bytes = cbor::endless(bytes), Malformed, "document"),
        (
            "long head",
            |bytes| drop(bytes.splice(..1, cbor::wide_head(4, 4))),
            Malformed,
            "document",
        ),
        ("tag in two bytes", |bytes| drop(bytes.splice(..0, [0xd8, 18])), Malformed, "document"),
        ("two tags", |bytes| drop(bytes.splice(..0, [0xd2, 0xd2])), Malformed, "document"),
        (
            "three parts",
            |bytes| *bytes = cbor::array(&vec![cbor::null(); 3]),
            Malformed,
            "document",
        ),
        ("five parts", |bytes| *bytes = cbor::array(&vec![cbor::null(); 5]), Malformed, "document"),
        (
            "detached payload",
            |bytes| {
                let parts = [cbor::bytes(&cordon_vendors::aws::ES384), vec![0xa0], cbor::null()];
                *bytes = cbor::array(&[&parts[..], &[cbor::bytes(&[1; 96])]].concat());
            },
            Malformed,
            "document.payload",
        ),
        (
            "huge array",
            |bytes| drop(bytes.splice(..1, cbor::head(4, u64::MAX))),
            Malformed,
            "document",
        ),
        (
            "huge header",
            |bytes| drop(bytes.splice(1..2, cbor::head(2, u64::MAX))),
            Malformed,
            "document",
        ),
        ("huge text", |bytes| *bytes = cbor::head(3, u64::MAX), Malformed, "document"),
        ("nothing", Vec::clear, Malformed, "document"),
    ];
    check(bytes, |aws| made(aws).encode(), |_, bytes| bytes);
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

    /// Whatever comes, the answer is an answer: arbitrary bytes alone, in the place of others, and in
    /// between.
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
