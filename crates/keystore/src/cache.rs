//! What is kept in memory between requests: few things, bounded, wiped when they go.

use std::collections::VecDeque;
use std::sync::Arc;

use cordon_crypto::dsse::{Envelope, Signed};
use cordon_protocol::Agreement;
use cordon_types::{DatasetId, Secret, Sha256Digest};

/// Unwrapped version keys, the most recently used first.
#[derive(Default)]
pub(crate) struct VersionKeyCache(VecDeque<(VersionName, Secret<32>)>);

type VersionName = (DatasetId, u32);

impl VersionKeyCache {
    /// Moves a key to the front; whether it is there.
    pub fn touch(&mut self, name: &VersionName) -> bool {
        let Some(at) = self.0.iter().position(|(known, _)| known == name) else { return false };
        if let Some(found) = self.0.remove(at) {
            self.0.push_front(found);
        }
        true
    }

    /// Puts a key to the front, in place of the one that was not used for longest.
    pub fn insert(&mut self, name: VersionName, key: Secret<32>) {
        self.forget(&name);
        self.0.truncate(MAX_VERSION_KEYS - 1);
        self.0.push_front((name, key));
    }

    /// The key at the front.
    pub fn newest(&self) -> Option<&Secret<32>> {
        self.0.front().map(|(_, key)| key)
    }

    /// Wipes a key.
    pub fn forget(&mut self, name: &VersionName) {
        self.0.retain(|(known, _)| known != name);
    }
}

/// Agreements whose signature and form were checked. Only the work is saved: an envelope that
/// differs in a byte is checked anew.
#[derive(Default)]
pub(crate) struct AgreementCache(VecDeque<(Sha256Digest, Arc<Signed<Agreement>>)>);

impl AgreementCache {
    /// The agreement in exactly this envelope, if it was checked before.
    pub fn get(&self, envelope: &Envelope) -> Option<Arc<Signed<Agreement>>> {
        let digest = envelope.payload_digest();
        let found = self.0.iter().find(|(known, _)| *known == digest);
        found.filter(|(_, signed)| signed.envelope() == envelope).map(|(_, signed)| signed.clone())
    }

    /// Keeps an agreement, in place of the oldest.
    pub fn insert(&mut self, signed: Arc<Signed<Agreement>>) {
        let digest = signed.digest();
        self.0.retain(|(known, _)| *known != digest);
        self.0.truncate(MAX_AGREEMENTS - 1);
        self.0.push_front((digest, signed));
    }
}

const MAX_VERSION_KEYS: usize = 64;
const MAX_AGREEMENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> VersionName {
        ("labs".parse().unwrap(), number)
    }

    #[test]
    fn the_least_recently_used_key_goes_first() {
        let mut cache = VersionKeyCache::default();
        for number in 0..MAX_VERSION_KEYS as u32 {
            cache.insert(name(number), Secret::from_bytes([number as u8; 32]));
        }
        assert!(cache.touch(&name(0)));
        assert_eq!(cache.newest().unwrap().expose(), &[0; 32]);
        cache.insert(name(1000), Secret::from_bytes([9; 32]));
        assert!(cache.touch(&name(0)), "used recently");
        assert!(!cache.touch(&name(1)), "the oldest");
        cache.forget(&name(0));
        assert!(!cache.touch(&name(0)));
        assert_eq!(cache.0.len(), MAX_VERSION_KEYS - 1);
    }
}
