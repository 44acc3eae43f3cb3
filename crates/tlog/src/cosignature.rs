//! Cosignatures of witnesses (C2SP tlog-cosignature, `cosignature/v1`).

use cordon_crypto::Signature;
use cordon_types::UnixSeconds;

use crate::key::WitnessKey;
use crate::note::{KeyName, SignatureLine};

/// A witness that was found to have cosigned a head, and when it says it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigner {
    key: WitnessKey,
    time: UnixSeconds,
}

/// Why a cosignature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// The line names another key.
    #[error("expected a cosignature by `{expected}`, found one by `{found}`")]
    OtherKey {
        /// The key that was asked for.
        expected: KeyName,
        /// The key that the line names; the ids may differ where the names agree.
        found: KeyName,
    },
    /// Not a time and an Ed25519 signature.
    #[error("the cosignature by `{name}` has {found} bytes, expected 72")]
    Length {
        /// The witness.
        name: KeyName,
        /// Bytes found.
        found: usize,
    },
    /// A time that no honest witness writes: 0 makes no statement.
    #[error("the cosignature by `{name}` has time {time}, expected 1 to 2^53 - 1")]
    Time {
        /// The witness.
        name: KeyName,
        /// The time found.
        time: u64,
    },
    /// The witness did not sign this head at this time.
    #[error("the cosignature by `{name}` does not verify")]
    Mismatch {
        /// The witness.
        name: KeyName,
    },
}

impl Cosigner {
    /// The witness's key.
    pub const fn key(&self) -> &WitnessKey {
        &self.key
    }

    /// The witness's name.
    pub const fn name(&self) -> &KeyName {
        self.key.name()
    }

    /// When, by its own clock, it had seen no larger tree than the one that it cosigned.
    pub const fn time(&self) -> UnixSeconds {
        self.time
    }
}

/// Checks that `line` is `key`'s cosignature of the checkpoint with this text.
pub(crate) fn verify(
    line: &SignatureLine,
    key: &WitnessKey,
    text: &str,
) -> Result<Cosigner, CosignatureError> {
    let name = || key.name().clone();
    if line.name() != key.name() || line.key_id() != key.id() {
        return Err(CosignatureError::OtherKey { expected: name(), found: line.name().clone() });
    }
    let length = || CosignatureError::Length { name: name(), found: line.signature().len() };
    let (time, signature) = line.signature().split_first_chunk::<8>().ok_or_else(length)?;
    let signature: [u8; 64] = signature.try_into().map_err(|_| length())?;
    let seconds = u64::from_be_bytes(*time);
    let time = UnixSeconds::new(seconds);
    // `UnixSeconds` cuts what it cannot hold; what was signed is the time as written.
    if seconds == 0 || time.get() != seconds {
        return Err(CosignatureError::Time { name: name(), time: seconds });
    }
    key.public()
        .verify(&message(time, text), &Signature::from_bytes(signature))
        .map_err(|_| CosignatureError::Mismatch { name: name() })?;
    Ok(Cosigner { key: key.clone(), time })
}

/// What an Ed25519 cosigner signs: a header, the time, and the whole text of the checkpoint.
pub(crate) fn message(time: UnixSeconds, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {}\n{text}", time.get()).into_bytes()
}
