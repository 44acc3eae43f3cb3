//! AWS Nitro Enclaves: what an attestation document says, and whether AWS vouches for it.
//!
//! [`Document::parse`] reads it, [`Document::verify`] follows its chain to a pinned root. That says
//! that a document is genuine. It says neither that it is recent ([`Examined::require_recent`]), nor
//! that the host cannot look in ([`Examined::require_production`]), nor what it is bound to, nor
//! what runs there: keys are never released for an [`Examined`].
//!
//! AWS publishes no revocation lists that this chain could be held against; its certificates are
//! short instead: a region's holds for 20 days, an instance's for one, an enclave's for 3 hours.
//! To judge a decision of the past, verify at the logged time of the decision.

mod chain;
mod claims;
mod document;

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use cordon_types::{Sha256Digest, UnixSeconds, hex};

use crate::rejection::{Rejection, RejectionCode};

pub use chain::ChainCache;
pub use claims::Claims;
pub use document::{Document, MAX_DOCUMENT_BYTES, PCR_BYTES};

/// SHA-256 of the public keys of AWS's roots, as `openssl x509 -pubkey` and DER give them.
///
/// There is one, "aws.nitro-enclaves", from 2019 to 2049. SHA-256 of the certificate that it was
/// taken from is 641A0321A3E244EFE456463195D606317ED7CDCC3C1756E09893F3C68F79BB5B, the fingerprint
/// that AWS publishes ("Verifying the root of trust"); a test compares both.
pub const ROOTS: &[Sha256Digest] = &[Sha256Digest::from_bytes([
    0xf2, 0xca, 0xf5, 0xec, 0xc6, 0x19, 0x0b, 0x4a, 0x83, 0x99, 0xb7, 0x8b, 0xc5, 0x8a, 0x2b, 0xbc,
    0xd0, 0x38, 0x23, 0x75, 0xdb, 0x8a, 0x1b, 0xfd, 0x78, 0xa8, 0x27, 0x43, 0x87, 0x4f, 0xd2, 0x25,
])];

/// How far a document may lie in the future: clocks of two machines differ.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// A document that AWS vouches for. Only [`Document::verify`] makes one.
#[derive(Clone, Debug)]
pub struct Examined<'a> {
    document: &'a Document,
    leaf: chain::Leaf,
}

impl Document {
    /// Checks that the document is genuine at `now`. `roots` are SHA-256 of keys, as in [`ROOTS`].
    ///
    /// # Errors
    /// The first check that fails.
    pub fn verify(
        &self,
        roots: &[Sha256Digest],
        now: UnixSeconds,
    ) -> Result<Examined<'_>, Rejection> {
        self.verify_with(roots, now, &mut ChainCache::new())
    }

    /// Likewise, and remembers which authorities signed which.
    ///
    /// # Errors
    /// The first check that fails; the same as without the cache.
    pub fn verify_with(
        &self,
        roots: &[Sha256Digest],
        now: UnixSeconds,
        cache: &mut ChainCache,
    ) -> Result<Examined<'_>, Rejection> {
        let leaf = chain::verify(self, roots, now, cache)?;
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &leaf.point);
        key.verify(self.signed(), self.signature()).map_err(|_| {
            let (field, found) = ("document.signature", "a signature that does not verify");
            Rejection::new(RejectionCode::BadSignature, field, found, "one by `certificate`")
        })?;
        Ok(Examined { document: self, leaf })
    }
}

impl<'a> Examined<'a> {
    /// The document.
    pub const fn document(&self) -> &'a Document {
        self.document
    }

    /// What it says, in words.
    pub fn claims(&self) -> Claims {
        Claims::of(self.document, &self.leaf)
    }

    /// The last second at which all certificates of its chain are valid.
    pub const fn chain_not_after(&self) -> UnixSeconds {
        self.leaf.chain_not_after
    }

    /// Whether the document was made at most `max_age` before `now`, and not after it, up to
    /// [`MAX_CLOCK_SKEW`]. A certificate outlives its document by hours, so this must be asked of
    /// each live document.
    ///
    /// # Errors
    /// [`RejectionCode::TooOld`] if it was not.
    pub fn require_recent(&self, now: UnixSeconds, max_age: Duration) -> Result<(), Rejection> {
        let made = Duration::from_millis(self.document.timestamp().get());
        let now = Duration::from_secs(now.get());
        // One of the two is zero.
        let (age, ahead) = (now.saturating_sub(made), made.saturating_sub(now));
        let (found, wanted) = if age > max_age {
            (format!("{} ms old", age.as_millis()), format!("at most {} ms", max_age.as_millis()))
        } else if ahead > MAX_CLOCK_SKEW {
            let wanted = format!("at most {} ms", MAX_CLOCK_SKEW.as_millis());
            (format!("{} ms in the future", ahead.as_millis()), wanted)
        } else {
            return Ok(());
        };
        Err(Rejection::new(RejectionCode::TooOld, "payload.timestamp", found, wanted))
    }

    /// Whether the enclave runs without debugging.
    ///
    /// # Errors
    /// [`RejectionCode::DebugEnabled`] if the host can read its console.
    pub fn require_production(&self) -> Result<(), Rejection> {
        if !self.document.is_debug() {
            return Ok(());
        }
        let found = self.document.pcrs().get(&0).map(|value| hex::encode(value));
        let found = found.unwrap_or_else(|| "nothing".to_owned());
        let wanted = "PCRs 0 to 2 that are not zero";
        Err(Rejection::new(RejectionCode::DebugEnabled, "payload.pcrs", found, wanted)
            .with_remedy("Start the enclave without `--debug-mode`."))
    }
}
