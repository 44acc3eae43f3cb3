//! Ed25519 against RFC 8032.

use cordon_crypto::{Signature, SigningKey, VerifyingKey};
use cordon_types::{Secret, hex};

use crate::peers::{bytes, vectors};

/// A private key with a message, and what they must give.
struct Vector {
    seed: [u8; 32],
    public: [u8; 32],
    message: Vec<u8>,
    signature: [u8; 64],
}

fn vector(seed: &str, public: &str, message: &str, signature: &str) -> Vector {
    Vector {
        seed: hex::decode_array(seed).unwrap(),
        public: hex::decode_array(public).unwrap(),
        message: bytes(message),
        signature: hex::decode_array(signature).unwrap(),
    }
}

fn check(vector: &Vector) {
    let Vector { seed, public, message, signature } = vector;
    let key = SigningKey::from_seed(Secret::from_bytes(*seed));
    assert_eq!(key.verifying_key().as_bytes(), public);
    assert_eq!(key.sign(message).as_bytes(), signature);
    let (public, signature) =
        (VerifyingKey::from_bytes(*public), Signature::from_bytes(*signature));
    assert!(public.verify(message, &signature).is_ok());
    assert!(public.verify(&[message.as_slice(), b"!"].concat(), &signature).is_err());
}

/// The vectors of the algorithm's authors; RFC 8032 §7.1 has tests 1, 2, 3 and 1024 from them.
/// Fields: seed and public key, public key, message, signature and message.
#[test]
fn all_vectors_of_the_authors_sign_and_verify() {
    let file = vectors("asymmetric/Ed25519/sign.input");
    let mut count = 0;
    for line in file.lines() {
        let mut fields = line.split(':');
        let mut next = || fields.next().unwrap();
        let (seed, public, message, signature) = (next(), next(), next(), next());
        check(&vector(&seed[..64], public, message, &signature[..128]));
        count += 1;
    }
    assert_eq!(count, 1024);
}

/// RFC 8032 §7.1, test 3.
#[test]
fn test_3_of_rfc_8032() {
    check(&test_3());
}

/// RFC 8032 §7.1, test SHA(abc).
#[test]
fn test_sha_abc_of_rfc_8032() {
    check(&vector(
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589\
         09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ));
}

/// RFC 8032 §5.1.7, step 1: S is below the order of the group, or anybody could make a second
/// signature of the first.
#[test]
fn a_signature_whose_scalar_is_not_reduced_is_refused() {
    let Vector { public, message, mut signature, .. } = test_3();
    let mut carry = 0;
    for (byte, part) in signature[32..].iter_mut().zip(GROUP_ORDER) {
        let sum = u16::from(*byte) + u16::from(part) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    assert_eq!(carry, 0, "still 32 bytes");
    let public = VerifyingKey::from_bytes(public);
    assert!(public.verify(&message, &Signature::from_bytes(signature)).is_err());
}

#[test]
fn every_changed_bit_of_a_signature_is_refused() {
    let Vector { public, message, signature, .. } = test_3();
    let public = VerifyingKey::from_bytes(public);
    for bit in 0..512 {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(public.verify(&message, &Signature::from_bytes(changed)).is_err(), "bit {bit}");
    }
}

fn test_3() -> Vector {
    vector(
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
         18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    )
}

/// L = 2^252 + 27742317777372353535851937790883648493 (RFC 8032 §5.1), little-endian.
const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
