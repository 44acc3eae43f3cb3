use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cordon_types::{LogSafe, Secret};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::random::Random;

/// A signature that was not made by this key over this message, or a malformed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature does not verify.
    #[error("signature does not verify under the expected key")]
    Mismatch,
    /// The text is not a public key.
    #[error("not a public key: expected `ed25519:` and padded base64 of 32 bytes")]
    MalformedKey,
}

/// An Ed25519 private key (RFC 8032), made from its 32-byte seed.
pub struct SigningKey {
    seed: Secret<32>,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// Makes a new key.
    pub fn generate(random: &mut dyn Random) -> Self {
        Self::from_seed(random.secret())
    }

    /// Makes the key that belongs to `seed`.
    pub fn from_seed(seed: Secret<32>) -> Self {
        match Ed25519KeyPair::from_seed_unchecked(seed.expose()) {
            Ok(pair) => Self { seed, pair },
            // Every 32-byte string is a seed (RFC 8032 §5.1.5); only a wrong length fails.
            Err(_) => std::process::abort(),
        }
    }

    /// The seed, for sealing it at rest.
    pub fn seed(&self) -> &Secret<32> {
        &self.seed
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        VerifyingKey(bytes)
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        Signature(bytes)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifying_key())
    }
}

/// An Ed25519 public key, written `ed25519:<padded base64>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// Wraps 32 bytes; a point that is not on the curve verifies nothing.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks `signature` over `message`.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`].
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        UnparsedPublicKey::new(&signature::ED25519, self.0)
            .verify(message, &signature.0)
            .map_err(|_| SignatureError::Mismatch)
    }

    /// A short form for people to compare: the first 16 hex digits of the key's SHA-256, in
    /// groups of four.
    pub fn fingerprint(&self) -> String {
        let digest = crate::hash::sha256(&[&self.0]).to_hex();
        let groups: Vec<&str> = (0..4).filter_map(|i| digest.get(i * 4..i * 4 + 4)).collect();
        groups.join("-")
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl LogSafe for VerifyingKey {}

impl FromStr for VerifyingKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let encoded = text.strip_prefix("ed25519:").ok_or(SignatureError::MalformedKey)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SignatureError::MalformedKey)?;
        bytes.try_into().map(Self).map_err(|_| SignatureError::MalformedKey)
    }
}

impl Serialize for VerifyingKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VerifyingKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Wraps 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The raw signature.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(64 bytes)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_types::hex;

    /// RFC 8032 §7.1, tests 1 and 2: secret, public, message, signature.
    #[test]
    fn matches_rfc_8032() {
        for (seed, public, message, expected) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ] {
            let key = SigningKey::from_seed(Secret::from_bytes(hex::decode_array(seed).unwrap()));
            let message = hex::decode(message).unwrap();
            assert_eq!(hex::encode(key.verifying_key().as_bytes()), public);
            assert_eq!(hex::encode(key.sign(&message).as_bytes()), expected);
        }
    }

    #[test]
    fn debug_shows_only_the_public_key() {
        let key = SigningKey::from_seed(Secret::from_bytes([3; 32]));
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.verifying_key()));
    }
}
