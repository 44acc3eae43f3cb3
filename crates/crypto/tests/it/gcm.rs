//! AES-256-GCM against NIST's vectors.
//!
//! [`cordon_crypto::AeadKey`] chooses nonce and additional data itself, so the vectors go to the
//! primitive that it stands on; that it uses just this primitive is then shown side by side.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use cordon_crypto::{AeadKey, Label, Random};
use cordon_types::Secret;

use crate::peers::{bytes, vectors};

fn key(bytes: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).unwrap())
}

/// CAVS 14.0, decryption with keys of 256 bits: those with our nonce and tag lengths.
#[test]
fn the_primitive_decrypts_and_refuses_as_nist_says() {
    let file = vectors("ciphers/AES/GCM/gcmDecrypt256.rsp");
    let (mut opened, mut refused) = (0, 0);
    let (mut nonce_bits, mut tag_bits) = ("", "");
    for block in file.split("\r\n\r\n").flat_map(|block| block.split("\n\n")) {
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start().strip_prefix('=').map(str::trim)
        };
        for line in block.lines() {
            let bits = line.split_once('=').map(|(_, bits)| bits.trim_matches([' ', ']']));
            match line.split(' ').next() {
                Some("[IVlen") => nonce_bits = bits.unwrap(),
                Some("[Taglen") => tag_bits = bits.unwrap(),
                _ => {}
            }
        }
        let (Some(secret), "96", "128") = (field("Key"), nonce_bits, tag_bits) else { continue };
        let nonce = Nonce::try_assume_unique_for_key(&bytes(field("IV").unwrap())).unwrap();
        let aad = Aad::from(bytes(field("AAD").unwrap()));
        let mut sealed = [bytes(field("CT").unwrap()), bytes(field("Tag").unwrap())].concat();
        let found = key(&bytes(secret)).open_in_place(nonce, aad, &mut sealed);
        match field("PT") {
            Some(plaintext) => {
                assert_eq!(found.unwrap(), bytes(plaintext));
                opened += 1;
            }
            None => {
                assert!(block.contains("FAIL") && found.is_err());
                refused += 1;
            }
        }
    }
    assert!(opened > 100 && refused > 50, "{opened} opened, {refused} refused");
}

struct Fixed;

impl Random for Fixed {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0x77);
    }
}

#[test]
fn sealing_is_nonce_ciphertext_and_tag_of_the_primitive() {
    let sealed = AeadKey::new(&Secret::from_bytes([3; 32])).seal(
        Label::RootWrap,
        &[b"ab"],
        b"text",
        &mut Fixed,
    );
    let aad = [b"cordon/root-wrap/v1\0".as_slice(), &2_u64.to_be_bytes(), b"ab"].concat();
    let mut expected = b"text".to_vec();
    let nonce = Nonce::assume_unique_for_key([0x77; 12]);
    key(&[3; 32]).seal_in_place_append_tag(nonce, Aad::from(aad), &mut expected).unwrap();
    assert_eq!(sealed, [[0x77; 12].as_slice(), &expected].concat());
}
