use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use cordon_types::Secret;

use crate::label::{Label, framed};
use crate::random::Random;

/// A ciphertext that does not open: wrong key, wrong context, or changed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ciphertext does not open: wrong key, wrong context, or changed bytes")]
pub struct AeadError;

/// An AES-256-GCM key for one-shot messages (NIST SP 800-38D).
///
/// Nonces are 96 random bits, so one key may seal at most 2^32 messages; all our uses stay far
/// below (a wrapped key each, a result each).
pub struct AeadKey(LessSafeKey);

impl AeadKey {
    /// Prepares the key schedule.
    pub fn new(secret: &Secret<32>) -> Self {
        match UnboundKey::new(&AES_256_GCM, secret.expose()) {
            Ok(key) => Self(LessSafeKey::new(key)),
            // Only a wrong length fails, and the type fixes it.
            Err(_) => std::process::abort(),
        }
    }

    /// Seals `plaintext`, bound to a label and context: nonce ‖ ciphertext ‖ tag.
    pub fn seal(
        &self,
        label: Label,
        context: &[&[u8]],
        plaintext: &[u8],
        random: &mut dyn Random,
    ) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce);
        let mut sealed = Vec::with_capacity(NONCE_BYTES + plaintext.len() + TAG_BYTES);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let aad = Aad::from(framed(label, context));
        let (_, body) = sealed.split_at_mut(NONCE_BYTES);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let Ok(tag) = self.0.seal_in_place_separate_tag(nonce, aad, body) else {
            // Fails only above 2^36 bytes, which no caller can hold in memory.
            std::process::abort()
        };
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what [`AeadKey::seal`] made under the same label and context.
    ///
    /// # Errors
    /// [`AeadError`] for anything else; nothing of the plaintext is returned.
    pub fn open(
        &self,
        label: Label,
        context: &[&[u8]],
        sealed: &[u8],
    ) -> Result<Vec<u8>, AeadError> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(AeadError)?;
        let mut plaintext = body.to_vec();
        let aad = Aad::from(framed(label, context));
        let length = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut plaintext)
            .map_err(|_| AeadError)?
            .len();
        plaintext.truncate(length);
        Ok(plaintext)
    }

    /// Opens a sealed 32-byte key.
    ///
    /// # Errors
    /// [`AeadError`] if it does not open or is not 32 bytes.
    pub fn open_secret(
        &self,
        label: Label,
        context: &[&[u8]],
        sealed: &[u8],
    ) -> Result<Secret<32>, AeadError> {
        let mut plaintext = zeroize::Zeroizing::new(self.open(label, context, sealed)?);
        let array: &mut [u8; 32] = plaintext.as_mut_slice().try_into().map_err(|_| AeadError)?;
        Ok(Secret::take(array))
    }
}

pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn opens_only_under_the_same_key_label_and_context() {
        let key = AeadKey::new(&Secret::from_bytes([1; 32]));
        let sealed = key.seal(Label::KeyWrap, &[b"a", b"b"], b"text", &mut SystemRandom::new());
        assert_eq!(key.open(Label::KeyWrap, &[b"a", b"b"], &sealed), Ok(b"text".to_vec()));
        assert_eq!(key.open(Label::KeyWrap, &[b"ab"], &sealed), Err(AeadError));
        assert_eq!(key.open(Label::RootWrap, &[b"a", b"b"], &sealed), Err(AeadError));
        let other = AeadKey::new(&Secret::from_bytes([2; 32]));
        assert_eq!(other.open(Label::KeyWrap, &[b"a", b"b"], &sealed), Err(AeadError));
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(Label::KeyWrap, &[b"a", b"b"], &changed), Err(AeadError));
        }
        for length in 0..sealed.len() {
            assert!(key.open(Label::KeyWrap, &[b"a", b"b"], &sealed[..length]).is_err());
        }
    }
}
