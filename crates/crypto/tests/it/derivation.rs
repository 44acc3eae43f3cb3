//! Derivation against RFC 5869.
//!
//! [`cordon_crypto::derive`] takes a 32-byte secret, no salt, and an `info` of its own form, which
//! no published vector has. So HKDF is written here as RFC 5869 §2 states it, shown to be right
//! by the RFC's vectors, and then compared.

use aws_lc_rs::hmac;
use cordon_crypto::{Label, derive};
use cordon_types::Secret;
use proptest::prelude::*;

use crate::peers::{bytes, vectors};

/// RFC 5869 §2.2 and §2.3.
fn hkdf(salt: &[u8], key: &[u8], info: &[u8], length: usize) -> (Vec<u8>, Vec<u8>) {
    let mac = |key: &[u8], parts: &[&[u8]]| {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        parts.iter().for_each(|part| context.update(part));
        context.sign().as_ref().to_vec()
    };
    let salt = if salt.is_empty() { &[0; 32] } else { salt };
    let pseudorandom_key = mac(salt, &[key]);
    let (mut out, mut block) = (Vec::new(), Vec::new());
    for number in 1..=255_u8 {
        if out.len() >= length {
            break;
        }
        block = mac(&pseudorandom_key, &[&block, info, &[number]]);
        out.extend_from_slice(&block);
    }
    out.truncate(length);
    (pseudorandom_key, out)
}

#[test]
fn hkdf_as_stated_matches_rfc_5869_appendix_a() {
    let file = vectors("KDF/rfc-5869-HKDF-SHA256.txt");
    let mut cases = 0;
    for case in file.split("COUNT = ").skip(1) {
        let field = |name: &str| {
            let line = case.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_once('=').unwrap().1.trim()
        };
        let length = field("L ").parse().unwrap();
        let found =
            hkdf(&bytes(field("salt")), &bytes(field("IKM")), &bytes(field("info")), length);
        assert_eq!(found, (bytes(field("PRK")), bytes(field("OKM"))));
        cases += 1;
    }
    assert_eq!(cases, 3, "appendix A.1 to A.3");
}

/// Label, a zero byte, and each part after its length in 8 bytes.
fn info(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut info = [label.as_bytes(), &[0]].concat();
    for part in parts {
        info.extend_from_slice(&(part.len() as u64).to_be_bytes());
        info.extend_from_slice(part);
    }
    info
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn derive_is_hkdf_over_the_framed_context(
        secret in any::<[u8; 32]>(),
        one in proptest::collection::vec(any::<u8>(), 0..40),
        two in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let parts: [&[u8]; 2] = [&one, &two];
        let derived = derive(&Secret::from_bytes(secret), Label::FileKey, &parts);
        let (_, expected) = hkdf(&[], &secret, &info("cordon/file-key/v1", &parts), 32);
        prop_assert_eq!(derived.expose().as_slice(), expected.as_slice());
    }
}
