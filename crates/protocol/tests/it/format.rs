//! A wire format without its Rust type, so that one test reads them all.

use std::fmt::Debug;

use cordon_crypto::canonical::{CanonicalError, from_canonical, to_canonical};
use cordon_crypto::dsse::{Document, Envelope, EnvelopeError, Signed};
use cordon_protocol::frame::{FrameError, MAX_FRAME_BYTES, read_message};
use cordon_types::Sha256Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::samples::key;

/// One format with its sample.
pub struct Format {
    /// Name of its golden file.
    pub name: String,
    /// The sample in canonical form.
    pub bytes: Vec<u8>,
    /// Largest document that its reader takes.
    pub limit: usize,
    /// Reads a document or message and writes it again, both in canonical form.
    pub decode: fn(&[u8], usize) -> Result<Vec<u8>, CanonicalError>,
    /// Reads a message from a frame and writes it again.
    pub read: fn(&[u8]) -> Result<Vec<u8>, FrameError>,
    /// Whether bytes parse to the very sample.
    pub is_sample: Box<dyn Fn(&[u8]) -> bool>,
    /// What signing adds; absent for what is not signed.
    pub signing: Option<Signing>,
}

/// A document under its signature.
pub struct Signing {
    /// Its payload type.
    pub payload_type: &'static str,
    /// Signed by [`signer`].
    pub envelope: Envelope,
    /// Opens an envelope as this document, signed by [`signer`].
    pub open: fn(&Envelope) -> Result<Sha256Digest, EnvelopeError>,
}

/// Signs every sample.
pub fn signer() -> cordon_crypto::SigningKey {
    key(0x51)
}

/// A message: read from frames and mail, never signed.
pub fn message<T>(name: &str, sample: T) -> Format
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    Format {
        name: name.to_owned(),
        bytes: to_canonical(&sample).expect("a sample has a canonical form"),
        limit: MAX_FRAME_BYTES,
        decode: |bytes, limit| to_canonical(&from_canonical::<T>(bytes, limit)?),
        read: |frame| {
            let value: T = read_message(&mut &*frame, MAX_FRAME_BYTES)?;
            Ok(serde_json::to_vec(&value).expect("what was read can be written"))
        },
        is_sample: Box::new(move |bytes| {
            from_canonical::<T>(bytes, MAX_FRAME_BYTES).is_ok_and(|value| value == sample)
        }),
        signing: None,
    }
}

/// A document.
pub fn document<T>(name: &str, sample: T) -> Format
where
    T: Document + Clone + PartialEq + Debug + 'static,
{
    let signed = Signed::sign(sample.clone(), &signer()).expect("a sample can be signed");
    Format {
        limit: T::MAX_BYTES,
        signing: Some(Signing {
            payload_type: T::PAYLOAD_TYPE,
            envelope: signed.envelope().clone(),
            open: |envelope| Ok(envelope.open::<T>(&signer().verifying_key())?.digest()),
        }),
        ..message(name, sample)
    }
}

/// `bytes` as one frame.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short frame");
    [length.to_be_bytes().as_slice(), bytes].concat()
}
