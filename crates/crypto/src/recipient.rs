use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cordon_types::{Base64Bytes, Secret};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::sha256;
use crate::label::{Label, framed};
use crate::random::Random;

/// HPKE suite of every box: X-Wing (0x647a), HKDF-SHA-256, AES-256-GCM (RFC 9180 §7,
/// draft-connolly-cfrg-xwing-kem-10).
pub const SUITE_XWING_AES256: &str = "hpke-647a-0001-0002-draft10";

/// A box that does not open or a malformed public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoxError {
    /// The suite is not one we know.
    #[error("unknown suite: expected `{SUITE_XWING_AES256}`")]
    UnknownSuite,
    /// The text is not a public key.
    #[error("not a public key: expected `xwing:` and padded base64 of 1216 bytes")]
    MalformedKey,
    /// Wrong key, wrong context, or changed bytes.
    #[error("box does not open: wrong key, wrong context, or changed bytes")]
    DoesNotOpen,
}

/// A message sealed to one public key, for one purpose and context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedBox {
    /// Always [`SUITE_XWING_AES256`]; written so that a later suite cannot be confused with it.
    pub suite: String,
    /// The encapsulated key (RFC 9180 `enc`).
    pub enc: Base64Bytes,
    /// The ciphertext with its tag.
    pub ciphertext: Base64Bytes,
}

impl SealedBox {
    /// Bytes that name this box, for its digest.
    pub fn digest(&self) -> cordon_types::Sha256Digest {
        sha256(&[self.suite.as_bytes(), &[0], self.enc.as_slice(), self.ciphertext.as_slice()])
    }
}

/// An X-Wing public key, written `xwing:<padded base64 of 1216 bytes>`.
#[derive(Clone, PartialEq, Eq)]
pub struct RecipientKey(Box<[u8]>);

impl RecipientKey {
    /// The raw public key, 1216 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Seals `plaintext` for one purpose and context.
    ///
    /// HPKE base mode proves nothing about the sender: whoever relies on the origin of a box
    /// checks a signature over [`SealedBox::digest`].
    ///
    /// # Errors
    /// [`BoxError::MalformedKey`] if this is not a usable public key.
    pub fn seal(
        &self,
        label: Label,
        context: &[&[u8]],
        plaintext: &[u8],
        random: &mut dyn Random,
    ) -> Result<SealedBox, BoxError> {
        let public =
            <XWing as Kem>::PublicKey::from_bytes(&self.0).map_err(|_| BoxError::MalformedKey)?;
        let info = info(label, context);
        let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(
            &OpModeS::Base,
            &public,
            info.as_bytes(),
            plaintext,
            &[],
            &mut HpkeRandom(random),
        )
        .map_err(|_| BoxError::MalformedKey)?;
        Ok(SealedBox {
            suite: SUITE_XWING_AES256.to_owned(),
            enc: enc.to_bytes().to_vec().into(),
            ciphertext: ciphertext.into(),
        })
    }
}

impl fmt::Display for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xwing:{}", STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecipientKey({})", sha256(&[&self.0]))
    }
}

impl Serialize for RecipientKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecipientKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = text
            .strip_prefix("xwing:")
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .filter(|bytes| bytes.len() == PUBLIC_KEY_BYTES)
            .ok_or_else(|| serde::de::Error::custom(BoxError::MalformedKey))?;
        Ok(Self(bytes.into()))
    }
}

/// The private half: a 32-byte seed (X-Wing §5.2).
pub struct RecipientSecret(Secret<32>);

impl RecipientSecret {
    /// Makes a new key.
    pub fn generate(random: &mut dyn Random) -> Self {
        Self(random.secret())
    }

    /// Makes the key that belongs to `seed`.
    pub fn from_seed(seed: Secret<32>) -> Self {
        Self(seed)
    }

    /// The seed, for sealing it at rest.
    pub fn seed(&self) -> &Secret<32> {
        &self.0
    }

    /// The public half.
    pub fn public_key(&self) -> RecipientKey {
        RecipientKey(XWing::sk_to_pk(&self.private()).to_bytes().to_vec().into())
    }

    /// Opens a box that was sealed to this key for the same purpose and context.
    ///
    /// # Errors
    /// [`BoxError`]; nothing of the plaintext is returned.
    pub fn open(
        &self,
        label: Label,
        context: &[&[u8]],
        sealed: &SealedBox,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, BoxError> {
        if sealed.suite != SUITE_XWING_AES256 {
            return Err(BoxError::UnknownSuite);
        }
        let enc = <XWing as Kem>::EncappedKey::from_bytes(sealed.enc.as_slice())
            .map_err(|_| BoxError::DoesNotOpen)?;
        hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.private(),
            &enc,
            info(label, context).as_bytes(),
            sealed.ciphertext.as_slice(),
            &[],
        )
        .map(zeroize::Zeroizing::new)
        .map_err(|_| BoxError::DoesNotOpen)
    }

    fn private(&self) -> <XWing as Kem>::PrivateKey {
        match <XWing as Kem>::PrivateKey::from_bytes(self.0.expose()) {
            Ok(key) => key,
            // Every 32-byte string is a seed; only a wrong length fails.
            Err(_) => std::process::abort(),
        }
    }
}

impl fmt::Debug for RecipientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecipientSecret(32 bytes)")
    }
}

/// The 32-byte HPKE `info`: the crate limits `info`, and a digest has one length for all.
fn info(label: Label, context: &[&[u8]]) -> cordon_types::Sha256Digest {
    sha256(&[&framed(label, context)])
}

const PUBLIC_KEY_BYTES: usize = 1216;

/// Our generator behind the trait that `hpke` asks for.
struct HpkeRandom<'a>(&'a mut dyn Random);

impl hpke::rand_core::TryRng for HpkeRandom<'_> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(out);
        Ok(())
    }
}

impl hpke::rand_core::TryCryptoRng for HpkeRandom<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn opens_only_with_the_key_the_label_and_the_context() {
        let mut random = SystemRandom::new();
        let secret = RecipientSecret::generate(&mut random);
        let sealed =
            secret.public_key().seal(Label::GrantBox, &[b"run"], b"key", &mut random).unwrap();
        assert_eq!(*secret.open(Label::GrantBox, &[b"run"], &sealed).unwrap(), b"key".to_vec());
        assert!(secret.open(Label::GrantBox, &[b"other"], &sealed).is_err());
        assert!(secret.open(Label::ShareBox, &[b"run"], &sealed).is_err());
        let other = RecipientSecret::generate(&mut random);
        assert!(other.open(Label::GrantBox, &[b"run"], &sealed).is_err());
        let renamed = SealedBox { suite: "hpke-0020-0001-0002".into(), ..sealed };
        assert_eq!(secret.open(Label::GrantBox, &[b"run"], &renamed), Err(BoxError::UnknownSuite));
    }

    #[test]
    fn public_keys_round_trip_through_json() {
        let key = RecipientSecret::from_seed(Secret::from_bytes([5; 32])).public_key();
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<RecipientKey>(&json).unwrap(), key);
        assert!(serde_json::from_str::<RecipientKey>("\"xwing:AAAA\"").is_err());
    }
}
