//! PyPI `cryptography` reads what we write, and we read what it writes: same formats, no shared
//! code.

use cordon_crypto::dsse::{Document, Signed};
use cordon_crypto::stream::{CHUNK_BYTES, StreamSealer};
use cordon_crypto::{
    AeadKey, Label, RecipientSecret, SUITE_XWING_AES256, SealedBox, SigningKey, SystemRandom,
    commitment, derive, mac,
};
use cordon_types::{Secret, hex};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::peers::ask;

const SEED: [u8; 32] = [0x5e; 32];
const PLAINTEXT: &[u8] = b"thirty-two bytes of a secret key";
/// Bytes of an X-Wing ciphertext, the `enc` of a box.
const ENC_BYTES: usize = 1120;

fn secret() -> Secret<32> {
    Secret::from_bytes(SEED)
}

fn parts() -> [String; 2] {
    [hex::encode(b"run"), hex::encode(b"hospital-a")]
}

#[test]
fn the_peer_opens_our_box_and_only_in_its_context() {
    let key = RecipientSecret::from_seed(secret()).public_key();
    let context: [&[u8]; 2] = [b"run", b"hospital-a"];
    let sealed = key.seal(Label::ShareBox, &context, PLAINTEXT, &mut SystemRandom::new()).unwrap();
    let joined = [sealed.enc.as_slice(), sealed.ciphertext.as_slice()].concat();
    let open = |label: &str| {
        ask(&json!({
            "ask": "open box", "seed": hex::encode(&SEED), "sealed": hex::encode(&joined),
            "label": label, "parts": parts(),
        }))
    };
    assert_eq!(open("cordon/share-box/v1").as_deref(), Some(PLAINTEXT));
    assert_eq!(open("cordon/grant-box/v1"), None);
}

#[test]
fn we_open_the_peers_box() {
    let joined = ask(&json!({
        "ask": "seal box", "seed": hex::encode(&SEED), "plaintext": hex::encode(PLAINTEXT),
        "label": "cordon/share-box/v1", "parts": parts(),
    }))
    .unwrap();
    let (enc, ciphertext) = joined.split_at(ENC_BYTES);
    let sealed = SealedBox {
        suite: SUITE_XWING_AES256.to_owned(),
        enc: enc.into(),
        ciphertext: ciphertext.into(),
    };
    let secret = RecipientSecret::from_seed(secret());
    let context: [&[u8]; 2] = [b"run", b"hospital-a"];
    assert_eq!(*secret.open(Label::ShareBox, &context, &sealed).unwrap(), PLAINTEXT);
    assert!(secret.open(Label::GrantBox, &context, &sealed).is_err());
}

#[test]
fn sealed_messages_are_the_peers_aes_256_gcm() {
    let (key, context): (_, [&[u8]; 2]) = (AeadKey::new(&secret()), [b"run", b"hospital-a"]);
    let ours = key.seal(Label::KeyWrap, &context, PLAINTEXT, &mut SystemRandom::new());
    let opened = ask(&json!({
        "ask": "open message", "key": hex::encode(&SEED), "sealed": hex::encode(&ours),
        "label": "cordon/key-wrap/v1", "parts": parts(),
    }));
    assert_eq!(opened.as_deref(), Some(PLAINTEXT));
    let theirs = ask(&json!({
        "ask": "seal message", "key": hex::encode(&SEED), "plaintext": hex::encode(PLAINTEXT),
        "nonce": "000102030405060708090a0b", "label": "cordon/key-wrap/v1", "parts": parts(),
    }))
    .unwrap();
    assert_eq!(key.open(Label::KeyWrap, &context, &theirs).unwrap(), PLAINTEXT);
}

#[test]
fn derived_keys_and_commitments_are_the_peers() {
    let context: [&[u8]; 2] = [b"run", b"hospital-a"];
    let question = |ask: &str, label: &str, parts: &[String]| json!({ "ask": ask, "key": hex::encode(&SEED), "label": label, "parts": parts });
    let derived = ask(&question("derive", "cordon/column-key/v1", &parts())).unwrap();
    assert_eq!(derive(&secret(), Label::ColumnKey, &context).expose(), derived.as_slice());
    let tag = ask(&question("mac", "cordon/receipt-commitment/v1", &parts())).unwrap();
    assert_eq!(mac(&secret(), Label::ReceiptCommitment, &context), tag.as_slice());
    let committed = ask(&question("mac", "cordon/key-commitment/v1", &[])).unwrap();
    assert_eq!(commitment(&secret()).as_bytes(), committed.as_slice());
}

#[test]
fn streams_open_chunk_by_chunk_at_the_peer() {
    use std::io::Write as _;
    for length in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1] {
        let plaintext: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let mut sealer =
            StreamSealer::new(Vec::new(), &secret(), b"notes", &mut SystemRandom::new()).unwrap();
        sealer.write_all(&plaintext).unwrap();
        let sealed = sealer.finish().unwrap();
        let opened = ask(&json!({
            "ask": "open stream", "key": hex::encode(&SEED), "sealed": hex::encode(&sealed),
            "parts_joined": hex::encode(b"notes"),
        }));
        assert_eq!(opened, Some(plaintext), "{length} bytes");
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    text: String,
}

impl Document for Note {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.test-note.v1+json";
}

#[test]
fn the_peer_verifies_our_envelopes_and_not_those_of_another_key() {
    let key = SigningKey::from_seed(secret());
    let signed = Signed::sign(Note { text: "hello".to_owned() }, &key).unwrap();
    let open = |public: &SigningKey| {
        ask(&json!({
            "ask": "open envelope", "envelope": hex::encode(&signed.envelope().to_json()),
            "key": hex::encode(public.verifying_key().as_bytes()),
        }))
    };
    assert_eq!(open(&key).as_deref(), Some(b"{\"text\":\"hello\"}".as_slice()));
    assert_eq!(open(&SigningKey::from_seed(Secret::from_bytes([1; 32]))), None);
}
