//! AWS's chain: root, region, zone, instance, and the key of one enclave. RFC 5280 §6.1, where the
//! bundle itself is the path: its order is fixed, and nothing is searched or left over.

use std::collections::VecDeque;

use cordon_crypto::sha256;
use cordon_types::{Sha256Digest, UnixSeconds};

use super::document::{Document, MAX_AUTHORITIES};
use crate::rejection::{Rejection, RejectionCode};
use crate::x509::{Certificate, P_384};

/// The certificate of the key that signs documents, once it leads to a pinned root.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// Uncompressed, on P-384.
    pub(super) point: Vec<u8>,
    /// Hex.
    pub(super) serial: String,
    /// The earliest end of all certificates: until then, the chain holds.
    pub(super) chain_not_after: UnixSeconds,
    /// Its own end.
    pub(super) not_after: UnixSeconds,
}

/// Follows the chain of a document from a pinned root to its leaf at `now`.
pub(super) fn verify(
    document: &Document,
    roots: &[Sha256Digest],
    now: UnixSeconds,
    cache: &mut ChainCache,
) -> Result<Leaf, Rejection> {
    let bundle = document.cabundle();
    let authorities = bundle.iter().zip(ROLES).map(|(der, role)| Certificate::parse(der, role));
    let authorities = authorities.collect::<Result<Vec<_>, _>>()?;
    let leaf = Certificate::parse(document.certificate(), "certificate")?;

    // The root is known by its key; its certificate only carries names, limits and dates. It comes
    // first, so that nobody else's certificates cost more than this.
    require_pinned(authorities.first(), roots)?;

    for (place, authority) in authorities.iter().enumerate() {
        authority.require_known_extensions()?;
        authority.require_authority(authorities.len() - 1 - place)?;
        // Only the root stands above itself. Any other could be repeated at will.
        if place > 0 && authority.is_self_issued() {
            let code = RejectionCode::CertificateInvalid;
            let found = "its own issuer";
            return Err(Rejection::new(code, authority.role(), found, "the one before it"));
        }
    }
    leaf.require_known_extensions()?;
    leaf.require_signer()?;
    let point = leaf.key_of(&P_384)?.to_vec();

    for certificate in authorities.iter().chain([&leaf]) {
        certificate.require_valid_at(now)?;
    }

    // INVARIANT: only links below a pinned root enter the cache, so only AWS can fill it.
    let mut above = authorities.first().zip(bundle.first());
    for (authority, der) in authorities.iter().zip(bundle) {
        if let Some((issuer, issuer_der)) = above {
            let link = Link { issuer: sha256(&[issuer_der]), subject: sha256(&[der]) };
            cache.require(link, || authority.require_issued_by_p384(issuer))?;
        }
        above = Some((authority, der));
    }
    if let Some((issuer, _)) = above {
        leaf.require_issued_by_p384(issuer)?;
    }

    let ends = authorities.iter().chain([&leaf]).map(Certificate::not_after);
    Ok(Leaf {
        point,
        serial: cordon_types::hex::encode(leaf.serial()),
        chain_not_after: ends.min().unwrap_or(leaf.not_after()),
        not_after: leaf.not_after(),
    })
}

/// Names of the places in a bundle, for reasons.
const ROLES: [&str; MAX_AUTHORITIES] =
    ["cabundle[0]", "cabundle[1]", "cabundle[2]", "cabundle[3]", "cabundle[4]", "cabundle[5]"];

fn require_pinned(root: Option<&Certificate<'_>>, roots: &[Sha256Digest]) -> Result<(), Rejection> {
    let digest = root.map(Certificate::key_info).transpose()?.map(|info| sha256(&[&info]));
    match digest {
        Some(digest) if roots.contains(&digest) => Ok(()),
        Some(other) => Err(unknown_root(other)),
        None => Err(unknown_root("no certificate")),
    }
}

fn unknown_root(found: impl std::fmt::Display) -> Rejection {
    let wanted = "the key of a pinned root of AWS";
    Rejection::new(RejectionCode::UnknownRoot, ROLES[0], found, wanted)
}

/// Which authorities are known to have signed which, so that the next document of the same instance
/// costs two checks of signatures instead of six.
///
/// It belongs to the caller and changes no outcome: pinned roots, dates, names, limits and uses of
/// certificates are looked at each time, and so is the signature on the enclave's own certificate.
#[derive(Clone, Debug, Default)]
pub struct ChainCache {
    /// Oldest first. Few, so they are searched one by one.
    links: VecDeque<Link>,
    hits: u64,
}

/// SHA-256 of two certificates, whole: another signature on the same contents is another link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    issuer: Sha256Digest,
    subject: Sha256Digest,
}

impl ChainCache {
    /// Links that it holds at most; the oldest goes first. A region and its zones change in days,
    /// instances each day: this is some hundred instances.
    pub const MAX_LINKS: usize = 256;

    /// Nothing known.
    pub const fn new() -> Self {
        Self { links: VecDeque::new(), hits: 0 }
    }

    /// How many links it holds.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// How many checks of signatures it has saved.
    pub const fn hits(&self) -> u64 {
        self.hits
    }

    /// Runs the check unless it has passed before for this link.
    fn require(
        &mut self,
        link: Link,
        check: impl FnOnce() -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        if self.links.contains(&link) {
            self.hits = self.hits.saturating_add(1);
            return Ok(());
        }
        check()?;
        if self.links.len() >= Self::MAX_LINKS {
            self.links.pop_front();
        }
        self.links.push_back(link);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(number: usize) -> Link {
        Link { issuer: sha256(&[&number.to_be_bytes()]), subject: sha256(&[b"subject"]) }
    }

    #[test]
    fn what_failed_is_not_remembered() {
        let mut cache = ChainCache::new();
        let refusal = || Err(unknown_root("another"));
        assert!(cache.require(link(0), refusal).is_err() && cache.is_empty());
        assert!(cache.require(link(0), || Ok(())).is_ok() && cache.len() == 1);
        assert!(cache.require(link(0), refusal).is_ok() && cache.hits() == 1);
        // The same issuer for another subject is another link.
        let other = Link { subject: sha256(&[b"other"]), ..link(0) };
        assert!(cache.require(other, refusal).is_err());
    }

    #[test]
    fn the_oldest_goes_when_it_is_full() {
        let mut cache = ChainCache::new();
        for number in 0..=ChainCache::MAX_LINKS {
            cache.require(link(number), || Ok(())).expect("passes");
        }
        assert_eq!(cache.len(), ChainCache::MAX_LINKS);
        let refusal = || Err(unknown_root("another"));
        assert!(cache.require(link(0), refusal).is_err());
        assert!(cache.require(link(1), refusal).is_ok());
    }
}
