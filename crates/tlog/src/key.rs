//! Keys of logs and witnesses, and their text form, the vkey (C2SP signed-note).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cordon_crypto::{Signature, SigningKey, VerifyingKey, sha256};
use cordon_types::{UnixSeconds, hex};

use crate::cosignature;
use crate::note::{KeyName, MAX_NAME_BYTES, NoteKeyId, SignatureLine};

/// The public key of a log, signature type 01: Ed25519 over the text of a note.
///
/// Its name is the origin of the log's checkpoints.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey(NamedKey);

/// The public key of a witness, signature type 04: Ed25519 cosignatures with a time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WitnessKey(NamedKey);

/// A log's private key with its name; see [`LogSigner::sign`](crate::LogSigner::sign).
#[derive(Debug, Clone)]
pub struct LogSigner<'k> {
    public: LogKey,
    private: &'k SigningKey,
}

/// A witness's private key with its name.
///
/// It cosigns through [`Witness::decide`](crate::witness::Witness::decide) only, so that no
/// cosignature exists for a head that was not checked.
#[derive(Debug, Clone)]
pub struct WitnessSigner<'k> {
    public: WitnessKey,
    private: &'k SigningKey,
}

/// Why a vkey is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VkeyError {
    /// Not of the form of a vkey.
    #[error("expected `<name>+<8 lower-case hex digits>+<base64>`")]
    Form,
    /// The key is for another use, or of an algorithm that is not supported (ML-DSA-44 is 06).
    #[error("expected a key of type {expected:02x}, found {found:02x}")]
    Type {
        /// The type that is needed here: 01 for logs, 04 for witnesses.
        expected: u8,
        /// The type of the key.
        found: u8,
    },
    /// The key has another length.
    #[error("expected a public key of 32 bytes, found {found}")]
    Length {
        /// Bytes of the key.
        found: usize,
    },
    /// The id does not belong to name and key.
    #[error("key id {found} is not that of the name and key, {expected}")]
    KeyId {
        /// The id that name and key have.
        expected: NoteKeyId,
        /// The id in the text.
        found: NoteKeyId,
    },
}

/// Name, id and key; the type is that of the wrapper.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct NamedKey {
    name: KeyName,
    // INVARIANT: computed from name, type and key.
    id: NoteKeyId,
    public: VerifyingKey,
}

impl NamedKey {
    fn new(name: KeyName, kind: u8, public: VerifyingKey) -> Self {
        let digest = sha256(&[name.as_str().as_bytes(), b"\n", &[kind], public.as_bytes()]);
        let [a, b, c, d, ..] = *digest.as_bytes();
        Self { name, id: NoteKeyId::from_bytes([a, b, c, d]), public }
    }

    fn parse(text: &str, expected: u8) -> Result<Self, VkeyError> {
        if text.len() > MAX_VKEY_BYTES {
            return Err(VkeyError::Form);
        }
        // Base64 may have a `+`; names may not.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VkeyError::Form);
        };
        let name = name.parse().map_err(|_| VkeyError::Form)?;
        let id = hex::decode_array(id).map(NoteKeyId::from_bytes).ok_or(VkeyError::Form)?;
        let bytes = STANDARD.decode(key).map_err(|_| VkeyError::Form)?;
        let (kind, key) = bytes.split_first().ok_or(VkeyError::Form)?;
        if *kind != expected {
            return Err(VkeyError::Type { expected, found: *kind });
        }
        let key = key.try_into().map_err(|_| VkeyError::Length { found: key.len() })?;
        let named = Self::new(name, expected, VerifyingKey::from_bytes(key));
        if named.id == id {
            Ok(named)
        } else {
            Err(VkeyError::KeyId { expected: named.id, found: id })
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, kind: u8) -> fmt::Result {
        let bytes = [&[kind], self.public.as_bytes().as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, self.id, STANDARD.encode(bytes))
    }
}

macro_rules! named_key {
    ($name:ident, $kind:expr) => {
        impl $name {
            /// Names a public key.
            pub fn new(name: KeyName, public: VerifyingKey) -> Self {
                Self(NamedKey::new(name, $kind, public))
            }

            /// The key's name.
            pub const fn name(&self) -> &KeyName {
                &self.0.name
            }

            /// The key's id on notes.
            pub const fn id(&self) -> NoteKeyId {
                self.0.id
            }

            /// The public key itself.
            pub const fn public(&self) -> &VerifyingKey {
                &self.0.public
            }
        }

        impl FromStr for $name {
            type Err = VkeyError;

            /// Reads a vkey and checks that its id belongs to it.
            fn from_str(text: &str) -> Result<Self, VkeyError> {
                NamedKey::parse(text, $kind).map(Self)
            }
        }

        impl fmt::Display for $name {
            /// Writes the vkey.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write(f, $kind)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

named_key!(LogKey, TYPE_ED25519);
named_key!(WitnessKey, TYPE_COSIGNATURE_V1);

impl LogKey {
    /// Puts a signature line together from a signature made elsewhere, such as in a key process,
    /// over the text of a note. Nothing is verified here.
    pub fn signature_line(&self, signature: &Signature) -> SignatureLine {
        SignatureLine::new(self.name().clone(), self.id(), signature.as_bytes().to_vec())
    }
}

impl<'k> LogSigner<'k> {
    /// Names a private key.
    pub fn new(name: KeyName, private: &'k SigningKey) -> Self {
        Self { public: LogKey::new(name, private.verifying_key()), private }
    }

    /// The public half.
    pub const fn key(&self) -> &LogKey {
        &self.public
    }

    pub(crate) fn sign_text(&self, text: &str) -> SignatureLine {
        self.public.signature_line(&self.private.sign(text.as_bytes()))
    }
}

impl<'k> WitnessSigner<'k> {
    /// Names a private key.
    pub fn new(name: KeyName, private: &'k SigningKey) -> Self {
        Self { public: WitnessKey::new(name, private.verifying_key()), private }
    }

    /// The public half.
    pub const fn key(&self) -> &WitnessKey {
        &self.public
    }

    pub(crate) fn cosign_text(&self, text: &str, time: UnixSeconds) -> SignatureLine {
        let signature = self.private.sign(&cosignature::message(time, text));
        let bytes = [time.get().to_be_bytes().as_slice(), signature.as_bytes()].concat();
        SignatureLine::new(self.public.name().clone(), self.public.id(), bytes)
    }
}

/// Ed25519 over the text of a note.
const TYPE_ED25519: u8 = 0x01;

/// Ed25519 cosignature with a time.
const TYPE_COSIGNATURE_V1: u8 = 0x04;

/// The longest name, two `+`, 8 hex digits, and base64 of 1 + 1,312 bytes: an ML-DSA-44 key gets
/// as far as to be refused by its type.
const MAX_VKEY_BYTES: usize = MAX_NAME_BYTES + 2 + 8 + 1752;

#[cfg(test)]
mod tests;
