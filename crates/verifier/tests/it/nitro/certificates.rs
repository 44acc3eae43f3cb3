//! Certificates with one thing wrong. Everything is signed again, so that no signature refuses what
//! another check must.

use cordon_vendors::aws::{Aws, Document as Made, INSTANCE, LEAF, REGION, ROOT, ZONE};
use cordon_vendors::der;
use cordon_vendors::pki::{Certificate, Extension, Key};
use cordon_verifier::RejectionCode::{
    self, BadSignature, CertificateInvalid, CertificateTime, UnknownRoot,
};

use super::{NOW, NOW_MS, outcome, root};

const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const KEY_USAGE: &str = "2.5.29.15";

/// The places of the chain, as reasons name them.
const FIELDS: [&str; 5] =
    ["cabundle[0]", "cabundle[1]", "cabundle[2]", "cabundle[3]", "certificate"];

/// What may be done with the key, from the bits of keyUsage.
fn usage(one: &mut Certificate, bits: u8) {
    one.set_extension(KEY_USAGE, Extension::key_usage(bits).value);
}

fn constraints(one: &mut Certificate, extension: Extension) {
    one.set_extension(BASIC_CONSTRAINTS, extension.value);
}

fn without(one: &mut Certificate, oid: &str) {
    one.extensions.retain(|extension| extension.oid != oid);
}

/// An extension that this version does not read.
fn unknown(critical: bool) -> Extension {
    Extension { oid: "2.5.29.30", critical, value: der::sequence(&[]) }
}

fn rekey(aws: &mut Aws, place: usize, key: Key) {
    aws.certificates[place].key = key.info();
    aws.keys[place] = key;
}

/// The outcome for a document of an AWS that was changed, under the root that it had before.
fn changed(change: impl FnOnce(&mut Aws)) -> Result<(), (RejectionCode, &'static str)> {
    let mut aws = Aws::new(NOW);
    let roots = root(&aws);
    change(&mut aws);
    let mut envelope = aws.seal(aws.document(NOW_MS).encode());
    // A signature of P-256 would be refused for its length.
    envelope.signature.resize(96, 1);
    outcome(&envelope.encode(), &roots, NOW)
}

#[test]
fn certificates_must_be_what_their_place_demands() {
    let cases: &[(&str, usize, fn(&mut Certificate))] = &[
        ("leaf that is an authority", LEAF, |one| constraints(one, Extension::authority(None))),
        ("leaf that may issue", LEAF, |one| usage(one, 0x84)),
        ("leaf that may not sign", LEAF, |one| usage(one, 0x40)),
        ("leaf without keyUsage", LEAF, |one| without(one, KEY_USAGE)),
        ("leaf without basicConstraints", LEAF, |one| without(one, BASIC_CONSTRAINTS)),
        ("no authority", INSTANCE, |one| constraints(one, Extension::end_entity())),
        ("zone that may not issue", ZONE, |one| usage(one, 0x80)),
        ("zone without keyUsage", ZONE, |one| without(one, KEY_USAGE)),
        ("zone without basicConstraints", ZONE, |one| without(one, BASIC_CONSTRAINTS)),
        ("constraints that may be ignored", ZONE, |one| one.extensions[0].critical = false),
        ("constraints with more after them", ZONE, |one| one.extensions[0].value.push(0)),
        ("region above two", REGION, |one| constraints(one, Extension::authority(Some(1)))),
        ("zone above one", ZONE, |one| constraints(one, Extension::authority(Some(0)))),
        ("unknown and critical above", REGION, |one| one.extensions.push(unknown(true))),
        ("unknown and critical", LEAF, |one| one.extensions.push(unknown(true))),
        ("twice", LEAF, |one| one.extensions.extend([unknown(false), unknown(false)])),
        ("none", ROOT, |one| one.extensions.clear()),
    ];
    for (name, place, change) in cases {
        let found = changed(|aws| change(&mut aws.certificates[*place]));
        assert_eq!(found, Err((CertificateInvalid, FIELDS[*place])), "{name}");
    }
    let allowed: &[(&str, usize, fn(&mut Certificate))] = &[
        ("as it is", ROOT, |_| ()),
        ("unknown, may be ignored", LEAF, |one| one.extensions.push(unknown(false))),
        ("without a limit", REGION, |one| constraints(one, Extension::authority(None))),
    ];
    for (name, place, change) in allowed {
        assert_eq!(changed(|aws| change(&mut aws.certificates[*place])), Ok(()), "{name}");
    }
}

#[test]
fn every_certificate_must_be_valid() {
    for (place, field) in FIELDS.into_iter().enumerate() {
        let refused = Err((CertificateTime, field));
        for (from, to, wanted) in [
            (NOW, NOW, Ok(())),
            (NOW + 1, NOW + 2, refused),
            (NOW - 2, NOW - 1, refused),
            (NOW + 1, NOW - 1, refused),
        ] {
            let found = changed(|aws| {
                let one = &mut aws.certificates[place];
                (one.not_before, one.not_after) = (from, to);
            });
            assert_eq!(found, wanted, "{field}, {from} to {to}");
        }
    }
}

#[test]
fn every_key_must_be_the_one_that_is_vouched_for() {
    let cases: &[(&str, fn(&mut Aws), RejectionCode, &str)] = &[
        ("forged root", |aws| rekey(aws, ROOT, Key::p384()), UnknownRoot, FIELDS[ROOT]),
        (
            "another issuer's name",
            |aws| aws.certificates[ZONE].issuer = aws.certificates[ROOT].subject.clone(),
            UnknownRoot,
            FIELDS[ZONE],
        ),
        ("another zone's key", |aws| aws.keys[ZONE] = Key::p384(), BadSignature, FIELDS[INSTANCE]),
        (
            "zone on P-256",
            |aws| rekey(aws, ZONE, Key::p256()),
            CertificateInvalid,
            FIELDS[INSTANCE],
        ),
        ("leaf on P-256", |aws| rekey(aws, LEAF, Key::p256()), CertificateInvalid, FIELDS[LEAF]),
        ("another leaf", |aws| aws.keys[LEAF] = Key::p384(), BadSignature, "document.signature"),
    ];
    for (name, change, code, field) in cases {
        assert_eq!(changed(change), Err((*code, *field)), "{name}");
    }
    let aws = Aws::new(NOW);
    let bytes = aws.seal(aws.document(NOW_MS).encode()).encode();
    let refused = Err((UnknownRoot, FIELDS[ROOT]));
    assert_eq!(outcome(&bytes, &root(&Aws::new(NOW)), NOW), refused);
    assert_eq!(outcome(&bytes, &[], NOW), refused);
    // Not even the genuine root, and one of several is enough.
    assert_eq!(outcome(&bytes, cordon_verifier::nitro::ROOTS, NOW), refused);
    let several = [root(&Aws::new(NOW)), root(&aws)].concat();
    assert_eq!(outcome(&bytes, &several, NOW), Ok(()));
}

/// No authority has a limit here, so that the order is the only thing wrong.
#[test]
fn the_bundle_is_the_path() {
    let mut aws = Aws::new(NOW);
    for place in [REGION, ZONE, INSTANCE] {
        constraints(&mut aws.certificates[place], Extension::authority(None));
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
