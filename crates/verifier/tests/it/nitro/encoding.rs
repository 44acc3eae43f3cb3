//! Documents that say something in another form than AWS's, under good signatures.

use cordon_types::UnixSeconds;
use cordon_vendors::aws::{Aws, Document as Made, ES384, Envelope, LEAF};
use cordon_vendors::cbor;
use cordon_verifier::RejectionCode::{self, BadSignature, Malformed, TooLarge};
use cordon_verifier::nitro::{Document, MAX_DOCUMENT_BYTES};

use super::{NOW, NOW_MS, outcome, root};

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

fn pcrs(entries: &[(u64, usize)]) -> Vec<u8> {
    let entry =
        |(index, size): &(u64, usize)| (cbor::unsigned(*index), cbor::bytes(&vec![1; *size]));
    cbor::map(&entries.iter().map(entry).collect::<Vec<_>>())
}

#[test]
fn members_keep_to_their_limits() {
    let three = [(0, 48), (1, 48), (2, 48)];
    let with = |more: (u64, usize)| pcrs(&[&three[..], &[more]].concat());
    let aws = Aws::new(NOW);
    let cases = [
        ("pcrs", "index 32", with((32, 48))),
        ("pcrs", "of SHA-256", with((3, 32))),
        ("pcrs", "of SHA-512", with((3, 64))),
        ("pcrs", "empty", with((3, 0))),
        ("pcrs", "one twice", with((2, 48))),
        ("pcrs", "without index 2", pcrs(&three[..2])),
        ("pcrs", "none", cbor::map(&[])),
        ("pcrs", "null", cbor::null()),
        ("digest", "another", cbor::text("SHA256")),
        ("digest", "bytes", cbor::bytes(b"SHA384")),
        ("certificate", "empty", cbor::bytes(&[])),
        ("certificate", "long", cbor::bytes(&[0; 1025])),
        ("certificate", "null", cbor::null()),
        ("cabundle", "none", cbor::array(&[])),
        ("cabundle", "one that is empty", cbor::array(&[cbor::bytes(&[])])),
        ("cabundle", "one that is long", cbor::array(&[cbor::bytes(&[0; 1025])])),
        ("cabundle", "seven", cbor::array(&vec![cbor::bytes(&[1]); 7])),
        ("cabundle", "not an array", cbor::bytes(&aws.chain()[0])),
        ("user_data", "long", cbor::bytes(&[0; 513])),
        ("nonce", "long", cbor::bytes(&[0; 513])),
        ("nonce", "text", cbor::text("a")),
        ("public_key", "long", cbor::bytes(&[0; 1025])),
        ("module_id", "empty", cbor::text("")),
        ("module_id", "long", cbor::text(&"a".repeat(129))),
        ("module_id", "of two lines", cbor::text("i-0\ni-1")),
        ("timestamp", "none", cbor::unsigned(0)),
        ("timestamp", "after all time", cbor::unsigned(u64::MAX)),
        ("timestamp", "text", cbor::text("now")),
    ];
    let good = aws.document(NOW_MS);
    let found = |made: &Made| outcome(&aws.seal(made.encode()).encode(), &root(&aws), NOW);
    assert_eq!(found(&good), Ok(()));
    for (name, what, value) in cases {
        let mut made = good.clone();
        made.set(name, value);
        let refused = found(&made).expect_err(what);
        assert_eq!(
            (refused.0, refused.1),
            (Malformed, format!("payload.{name}").as_str()),
            "{what}"
        );
    }
    for name in ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"] {
        let mut made = good.clone();
        made.remove(name);
        let refused = found(&made).expect_err(name);
        assert_eq!((refused.0, refused.1), (Malformed, format!("payload.{name}").as_str()));
    }
    for (what, name) in [
        ("one more", cbor::text("debug")),
        ("one twice", cbor::text("nonce")),
        ("no text", cbor::unsigned(1)),
    ] {
        let mut made = good.clone();
        made.members.push((name, cbor::null()));
        assert_eq!(found(&made), Err((Malformed, "payload")), "{what}");
    }
}

#[test]
fn members_reach_their_limits_and_null_is_absence() {
    let seal = |aws: &Aws, made: Made| aws.seal(made.encode()).encode();
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
                let parts = [cbor::bytes(&ES384), vec![0xa0], cbor::null()];
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
