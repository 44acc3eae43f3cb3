//! Signed requests: who may read a mailbox, write an object, claim a run; at a broker, who asks.
//!
//! The caller signs the kind of service that it asks, method, path, query, time and the digest of the body with its Ed25519 key
//! (label `RequestSignature`) and sends key, time and signature in three headers. A signature
//! counts for five minutes around its time. Within them a request can be repeated by whoever
//! saw it, which TLS prevents and which changes nothing: every signed request is idempotent, or
//! (claiming a run) costs only its own sender something.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cordon_crypto::{Label, Signature, SigningKey, VerifyingKey, labelled_digest};
use cordon_types::{Sha256Digest, UnixSeconds};

/// Names the key.
pub const KEY_HEADER: &str = "cordon-key";
/// When it was signed, Unix seconds.
pub const TIME_HEADER: &str = "cordon-time";
/// The signature, padded base64.
pub const SIGNATURE_HEADER: &str = "cordon-signature";
/// All of them.
pub(crate) const SIGNED_HEADERS: [&str; 3] = [KEY_HEADER, TIME_HEADER, SIGNATURE_HEADER];
/// Clocks of hub and caller may differ by this much.
pub const TOLERANCE_SECONDS: u64 = 300;

/// Whom a signed request is for: what the hub is sent, it cannot send to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The hub.
    Hub,
    /// The staff interface of the signer's own broker.
    Broker,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct SignedParts<'a> {
    /// Who is asked.
    pub service: Service,
    /// `GET`, `PUT`, ….
    pub method: &'a str,
    /// As it stands in the request line, percent-encoded.
    pub path: &'a str,
    /// Likewise, without `?`; empty if there is none.
    pub query: &'a str,
    /// Digest of the body, of no bytes if there is none.
    pub body: Sha256Digest,
}

/// The headers of a signed request, as text.
#[derive(Clone, Copy, Debug)]
pub struct SignatureHeaders<'a> {
    /// Of [`KEY_HEADER`].
    pub key: &'a str,
    /// Of [`TIME_HEADER`].
    pub time: &'a str,
    /// Of [`SIGNATURE_HEADER`].
    pub signature: &'a str,
}

/// Why a signed request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureRefusal {
    /// A header is missing or cannot be read.
    #[error("a signature header is missing or malformed")]
    Malformed,
    /// Signed too long ago, or in the future.
    #[error("signed more than {TOLERANCE_SECONDS} seconds away from the hub's time")]
    Stale,
    /// Signed with another key, or something else was signed.
    #[error("the signature does not match this request")]
    Mismatch,
}

impl SignedParts<'_> {
    fn digest(&self, time: &str) -> Sha256Digest {
        labelled_digest(
            Label::RequestSignature,
            &[
                match self.service {
                    Service::Hub => b"hub".as_slice(),
                    Service::Broker => b"broker".as_slice(),
                },
                self.method.as_bytes(),
                self.path.as_bytes(),
                self.query.as_bytes(),
                time.as_bytes(),
                self.body.as_bytes(),
            ],
        )
    }

    /// Signs; gives the values of time and signature header.
    pub fn sign(&self, key: &SigningKey, now: UnixSeconds) -> (String, String) {
        let time = now.get().to_string();
        let signature = key.sign(self.digest(&time).as_bytes());
        (time, STANDARD.encode(signature.as_bytes()))
    }

    /// Checks; gives the key whose owner sent this. Whether that key may is for the caller.
    ///
    /// # Errors
    /// [`SignatureRefusal`].
    pub fn verify(
        &self,
        headers: SignatureHeaders<'_>,
        now: UnixSeconds,
    ) -> Result<VerifyingKey, SignatureRefusal> {
        let key: VerifyingKey = headers.key.parse().map_err(|_| SignatureRefusal::Malformed)?;
        let time: u64 = headers.time.parse().map_err(|_| SignatureRefusal::Malformed)?;
        let signature = STANDARD
            .decode(headers.signature)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Signature::from_bytes)
            .ok_or(SignatureRefusal::Malformed)?;
        if time.abs_diff(now.get()) > TOLERANCE_SECONDS {
            return Err(SignatureRefusal::Stale);
        }
        key.verify(self.digest(headers.time).as_bytes(), &signature)
            .map_err(|_| SignatureRefusal::Mismatch)?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_types::Secret;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn parts() -> SignedParts<'static> {
        SignedParts {
            service: Service::Hub,
            method: "GET",
            path: "/v1/mailboxes/hospital-a",
            query: "after=3",
            body: cordon_crypto::sha256(&[]),
        }
    }

    fn verify_at(
        parts: SignedParts<'_>,
        key: VerifyingKey,
        now: UnixSeconds,
    ) -> Result<VerifyingKey, SignatureRefusal> {
        let signer = SigningKey::from_seed(Secret::from_bytes([1; 32]));
        let (time, signature) = self::parts().sign(&signer, NOW);
        let key = key.to_string();
        parts.verify(SignatureHeaders { key: &key, time: &time, signature: &signature }, now)
    }

    fn key(seed: u8) -> VerifyingKey {
        SigningKey::from_seed(Secret::from_bytes([seed; 32])).verifying_key()
    }

    #[test]
    fn a_signature_counts_for_this_request_key_and_time_only() {
        assert_eq!(verify_at(parts(), key(1), NOW), Ok(key(1)));
        assert_eq!(verify_at(parts(), key(2), NOW), Err(SignatureRefusal::Mismatch));
        let other = [
            SignedParts { service: Service::Broker, ..parts() },
            SignedParts { method: "DELETE", ..parts() },
            SignedParts { path: "/v1/mailboxes/hospital-b", ..parts() },
            SignedParts { query: "after=2", ..parts() },
            SignedParts { body: cordon_crypto::sha256(&[b"x"]), ..parts() },
        ];
        for parts in other {
            assert_eq!(verify_at(parts, key(1), NOW), Err(SignatureRefusal::Mismatch));
        }
    }

    #[test]
    fn a_signature_is_stale_five_minutes_later_and_earlier() {
        let at = |seconds| verify_at(parts(), key(1), UnixSeconds::new(seconds));
        assert!(at(NOW.get() + TOLERANCE_SECONDS).is_ok());
        assert!(at(NOW.get() - TOLERANCE_SECONDS).is_ok());
        assert_eq!(at(NOW.get() + TOLERANCE_SECONDS + 1), Err(SignatureRefusal::Stale));
        assert_eq!(at(NOW.get() - TOLERANCE_SECONDS - 1), Err(SignatureRefusal::Stale));
    }

    proptest::proptest! {
        #[test]
        fn no_other_headers_are_taken(
            key in ".{0,80}", time in ".{0,24}", signature in ".{0,100}", which in 0_usize..7,
        ) {
            let signer = SigningKey::from_seed(Secret::from_bytes([1; 32]));
            let (good_time, good_signature) = parts().sign(&signer, NOW);
            let good_key = signer.verifying_key().to_string();
            // At least one of the three is not what was signed.
            let headers = SignatureHeaders {
                key: if which & 1 == 0 { &key } else { &good_key },
                time: if which & 2 == 0 { &time } else { &good_time },
                signature: if which & 4 == 0 { &signature } else { &good_signature },
            };
            proptest::prop_assert!(parts().verify(headers, NOW).is_err());
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let signer = SigningKey::from_seed(Secret::from_bytes([1; 32]));
        let (time, signature) = parts().sign(&signer, NOW);
        let key = signer.verifying_key().to_string();
        let good = SignatureHeaders { key: &key, time: &time, signature: &signature };
        for bad in [
            SignatureHeaders { key: "ed25519:AAAA", ..good },
            SignatureHeaders { time: "now", ..good },
            SignatureHeaders { time: "-1", ..good },
            SignatureHeaders { signature: "AAAA", ..good },
            SignatureHeaders { signature: "", ..good },
        ] {
            assert_eq!(parts().verify(bad, NOW), Err(SignatureRefusal::Malformed));
        }
    }
}
