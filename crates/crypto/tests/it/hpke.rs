//! HPKE against RFC 9180 and the vectors of X-Wing.
//!
//! Our suite is X-Wing, HKDF-SHA-256 and AES-256-GCM. No published file has all three together:
//! the key encapsulation is checked with X-Wing's vectors, key schedule and sealing with those of
//! RFC 9180, and the whole with a peer in `interop`.

use ::hpke::aead::{Aead, AesGcm256, ExportOnlyAead};
use ::hpke::kdf::HkdfSha256;
use ::hpke::kem::{X25519HkdfSha256, XWing};
use ::hpke::{Deserializable, Kem, OpModeR, Serializable, setup_receiver};
use cordon_crypto::{Label, Random, RecipientSecret};
use cordon_types::Secret;
use serde_json::Value;

use crate::peers::{crate_file, member, vectors};

fn list(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("a list of vectors")
}

/// Gives out what a vector says was drawn, and no more.
struct Drawn(Vec<u8>);

impl Random for Drawn {
    fn fill(&mut self, out: &mut [u8]) {
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&self.0);
        self.0 = rest;
    }
}

fn secret(vector: &Value, name: &str) -> RecipientSecret {
    RecipientSecret::from_seed(Secret::from_slice(&member(vector, name)).expect("32 bytes"))
}

/// draft-connolly-cfrg-xwing-kem, appendix C, as the crate `x-wing` ships it.
#[test]
fn keys_and_encapsulations_are_those_of_x_wing() {
    let vectors = list(&crate_file("x-wing", "tests/test-vectors.json"));
    assert_eq!(vectors.len(), 3);
    for vector in &vectors {
        let key = secret(vector, "seed");
        assert_eq!(key.public_key().as_bytes(), member(vector, "pk"));
        let mut drawn = Drawn(member(vector, "eseed"));
        let sealed = key.public_key().seal(Label::GrantBox, &[], b"key", &mut drawn).unwrap();
        assert!(drawn.0.is_empty(), "all of it was used");
        assert_eq!(sealed.enc.as_slice(), member(vector, "ct"));
        assert_eq!(*key.open(Label::GrantBox, &[], &sealed).unwrap(), b"key");
    }
}

/// draft-ietf-hpke-pq: the X-Wing entries seal with ChaCha20-Poly1305, which we do not use; keys
/// and encapsulated secrets are the same.
#[test]
fn keys_are_those_of_the_draft_for_hybrid_hpke() {
    let all = list(&vectors("HPKE/hpke-pq-test-vectors.json"));
    let ours: Vec<_> = all.iter().filter(|vector| vector["kem_id"] == 0x647a).collect();
    assert_eq!(ours.len(), 2);
    for vector in ours {
        assert_eq!(secret(vector, "skRm").public_key().as_bytes(), member(vector, "pkRm"));
        let (private, public) = XWing::derive_keypair(&member(vector, "ikmR"));
        assert_eq!(private.to_bytes().as_slice(), member(vector, "skRm"));
        assert_eq!(public.to_bytes().as_slice(), member(vector, "pkRm"));
        let enc = <XWing as Kem>::EncappedKey::from_bytes(&member(vector, "enc")).unwrap();
        let shared = XWing::decap(&private, None, &enc).unwrap();
        assert_eq!(shared.0.as_slice(), member(vector, "shared_secret"));
    }
}

/// RFC 9180, appendix A and the full file behind it: X25519 (0x0020), HKDF-SHA256 (0x0001), base
/// mode.
fn receivers(aead: u16) -> Vec<Value> {
    let all = list(&vectors("HPKE/test-vectors.json"));
    let wanted = |vector: &Value| {
        let ids =
            ["mode", "kem_id", "kdf_id", "aead_id"].map(|name| vector[name].as_u64().unwrap());
        ids == [0, 0x0020, 0x0001, aead.into()]
    };
    let found: Vec<_> = all.into_iter().filter(wanted).collect();
    assert!(!found.is_empty());
    found
}

fn receiver<A: Aead>(vector: &Value) -> ::hpke::aead::AeadCtxR<A, HkdfSha256, X25519HkdfSha256> {
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&member(vector, "skRm"));
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&member(vector, "enc"));
    let info = member(vector, "info");
    setup_receiver(&OpModeR::Base, &private.unwrap(), &enc.unwrap(), &info).unwrap()
}

/// Our schedule and our cipher: AES-256-GCM (0x0002).
#[test]
fn the_schedule_opens_what_rfc_9180_seals() {
    for vector in receivers(0x0002) {
        let mut receiver = receiver::<AesGcm256>(&vector);
        for sealed in vector["encryptions"].as_array().unwrap() {
            let opened = receiver.open(&member(sealed, "ct"), &member(sealed, "aad")).unwrap();
            assert_eq!(opened, member(sealed, "pt"));
        }
    }
}

/// The schedule alone: its exports, where nothing is sealed (0xffff).
#[test]
fn the_schedule_exports_what_rfc_9180_exports() {
    for vector in receivers(0xffff) {
        let receiver = receiver::<ExportOnlyAead>(&vector);
        for export in vector["exports"].as_array().unwrap() {
            let expected = member(export, "exported_value");
            let mut found = vec![0; expected.len()];
            receiver.export(&member(export, "exporter_context"), &mut found).unwrap();
            assert_eq!(found, expected);
        }
    }
}
