//! Signed documents: DSSE envelopes (secure-systems-lab DSSE v1) with exactly one Ed25519
//! signature over a canonical JSON payload.
//!
//! A [`Document`] becomes [`Signed`] in two ways only: this process signs it, or an envelope's
//! signature is checked against a key that the caller already trusts for this purpose.

use cordon_types::{Base64Bytes, Sha256Digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::canonical::{CanonicalError, from_canonical, to_canonical};
use crate::hash::sha256;
use crate::sign::{Signature, SigningKey, VerifyingKey};

/// A type of document that may be signed.
pub trait Document: Serialize + DeserializeOwned {
    /// `application/vnd.cordon.<name>.v<version>+json`.
    const PAYLOAD_TYPE: &'static str;
    /// Largest payload in bytes that a reader accepts.
    const MAX_BYTES: usize = 256 * 1024;
}

/// Why an envelope is not a signed document of the expected type and signer.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The outer JSON is not an envelope.
    #[error("not a DSSE envelope")]
    Malformed(#[source] serde_json::Error),
    /// Over the size limit.
    #[error("envelope of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes found.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Another type of document.
    #[error("expected payload type `{expected}`, found another")]
    WrongType {
        /// The type that the caller asked for.
        expected: &'static str,
    },
    /// Signed by somebody else.
    #[error("expected the signature of `{expected}`, found `{found}`")]
    WrongSigner {
        /// The key that should have signed.
        expected: VerifyingKey,
        /// The key that the envelope names.
        found: VerifyingKey,
    },
    /// The signature does not verify.
    #[error("the signature of `{0}` does not verify")]
    BadSignature(VerifyingKey),
    /// The payload is not a canonical document.
    #[error("payload of `{payload_type}` refused")]
    Payload {
        /// The type that the caller asked for.
        payload_type: &'static str,
        /// Why.
        #[source]
        source: CanonicalError,
    },
}

/// A DSSE envelope as it travels. Its content is untrusted until opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    payload: Base64Bytes,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: [EnvelopeSignature; 1],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: VerifyingKey,
    sig: Base64Bytes,
}

impl Envelope {
    /// Reads an envelope from JSON.
    ///
    /// # Errors
    /// If it is over `limit` bytes or not an envelope with exactly one signature.
    pub fn from_json(bytes: &[u8], limit: usize) -> Result<Self, EnvelopeError> {
        if bytes.len() > limit {
            return Err(EnvelopeError::TooLarge { size: bytes.len(), limit });
        }
        serde_json::from_slice(bytes).map_err(EnvelopeError::Malformed)
    }

    /// Writes the envelope as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // An envelope holds text and base64 only, which always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The key that the envelope *claims* to be signed by: a name to look up, not a proof.
    pub fn claimed_signer(&self) -> VerifyingKey {
        self.signatures[0].keyid
    }

    /// The payload type that the envelope claims.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// Digest of the payload: the name of the document, whoever signed it.
    pub fn payload_digest(&self) -> Sha256Digest {
        sha256(&[self.payload.as_slice()])
    }

    /// Opens the envelope as a `T` signed by `signer`.
    ///
    /// # Errors
    /// If type, signer, signature or payload are not as expected; nothing is parsed before the
    /// signature holds.
    pub fn open<T: Document>(&self, signer: &VerifyingKey) -> Result<Signed<T>, EnvelopeError> {
        if self.payload_type != T::PAYLOAD_TYPE {
            return Err(EnvelopeError::WrongType { expected: T::PAYLOAD_TYPE });
        }
        let EnvelopeSignature { keyid, sig } = &self.signatures[0];
        if keyid != signer {
            return Err(EnvelopeError::WrongSigner { expected: *signer, found: *keyid });
        }
        let payload = self.payload.as_slice();
        let signature: [u8; 64] =
            sig.as_slice().try_into().map_err(|_| EnvelopeError::BadSignature(*signer))?;
        signer
            .verify(
                &pre_authentication_encoding(T::PAYLOAD_TYPE, payload),
                &Signature::from_bytes(signature),
            )
            .map_err(|_| EnvelopeError::BadSignature(*signer))?;
        let value = from_canonical(payload, T::MAX_BYTES)
            .map_err(|source| EnvelopeError::Payload { payload_type: T::PAYLOAD_TYPE, source })?;
        Ok(Signed { value, digest: sha256(&[payload]), signer: *signer, envelope: self.clone() })
    }
}

/// A document whose signature has been made or checked by this process.
#[derive(Clone, Debug)]
pub struct Signed<T> {
    value: T,
    digest: Sha256Digest,
    signer: VerifyingKey,
    envelope: Envelope,
}

impl<T: Document> Signed<T> {
    /// Signs `value`.
    ///
    /// # Errors
    /// If it has no canonical form or is over its limit.
    pub fn sign(value: T, key: &SigningKey) -> Result<Self, EnvelopeError> {
        let refuse = |source| EnvelopeError::Payload { payload_type: T::PAYLOAD_TYPE, source };
        let payload = to_canonical(&value).map_err(refuse)?;
        if payload.len() > T::MAX_BYTES {
            let (size, limit) = (payload.len(), T::MAX_BYTES);
            return Err(refuse(CanonicalError::TooLarge { size, limit }));
        }
        let signature = key.sign(&pre_authentication_encoding(T::PAYLOAD_TYPE, &payload));
        let signer = key.verifying_key();
        Ok(Self {
            value,
            digest: sha256(&[&payload]),
            signer,
            envelope: Envelope {
                payload: payload.into(),
                payload_type: T::PAYLOAD_TYPE.to_owned(),
                signatures: [EnvelopeSignature {
                    keyid: signer,
                    sig: signature.as_bytes().as_slice().into(),
                }],
            },
        })
    }

    /// The document.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// SHA-256 of the canonical payload: the document's name.
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// Whose signature holds.
    pub fn signer(&self) -> VerifyingKey {
        self.signer
    }

    /// The envelope to store or send.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Gives the document away.
    pub fn into_value(self) -> T {
        self.value
    }
}

/// The digest that names a document which is not signed by itself.
///
/// # Errors
/// If it has no canonical form.
pub fn document_digest<T: Document>(value: &T) -> Result<Sha256Digest, CanonicalError> {
    Ok(sha256(&[&to_canonical(value)?]))
}

/// DSSE v1 PAE: `DSSEv1 <type length> <type> <body length> <body>`.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_types::Secret;

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        text: String,
    }

    impl Document for Note {
        const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.test-note.v1+json";
        const MAX_BYTES: usize = 64;
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Other {
        text: String,
    }

    impl Document for Other {
        const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.test-other.v1+json";
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Secret::from_bytes([seed; 32]))
    }

    #[test]
    fn opens_as_what_was_signed_by_whom() {
        let signed = Signed::sign(Note { text: "hello".into() }, &key(1)).unwrap();
        let envelope = Envelope::from_json(&signed.envelope().to_json(), 4096).unwrap();
        let opened = envelope.open::<Note>(&key(1).verifying_key()).unwrap();
        assert_eq!(opened.value().text, "hello");
        assert_eq!(opened.digest(), signed.digest());
        assert!(matches!(
            envelope.open::<Note>(&key(2).verifying_key()),
            Err(EnvelopeError::WrongSigner { .. })
        ));
        assert!(matches!(
            envelope.open::<Other>(&key(1).verifying_key()),
            Err(EnvelopeError::WrongType { .. })
        ));
    }

    #[test]
    fn a_changed_payload_type_or_byte_breaks_the_signature() {
        let signed = Signed::sign(Note { text: "hello".into() }, &key(1)).unwrap();
        let signer = key(1).verifying_key();
        let mut retyped = signed.envelope().clone();
        retyped.payload_type = Other::PAYLOAD_TYPE.into();
        assert!(matches!(retyped.open::<Other>(&signer), Err(EnvelopeError::BadSignature(_))));
        let mut changed = signed.envelope().clone();
        changed.payload = b"{\"text\":\"hellO\"}".as_slice().into();
        assert!(matches!(changed.open::<Note>(&signer), Err(EnvelopeError::BadSignature(_))));
    }

    #[test]
    fn two_signatures_and_oversized_payloads_are_refused() {
        let signed = Signed::sign(Note { text: "hello".into() }, &key(1)).unwrap();
        let json = String::from_utf8(signed.envelope().to_json()).unwrap();
        let start = json.find("[{").unwrap();
        let signature = &json[start + 1..json.len() - 2];
        let doubled = json.replace(signature, &format!("{signature},{signature}"));
        assert!(Envelope::from_json(doubled.as_bytes(), 4096).is_err());
        assert!(Signed::sign(Note { text: "x".repeat(64) }, &key(1)).is_err());
    }

    #[test]
    fn pre_authentication_encoding_is_that_of_dsse() {
        assert_eq!(
            pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
