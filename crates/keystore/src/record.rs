//! What is stored about a dataset version: readable by anybody who may read the folder,
//! changeable by nobody but the key process.

use cordon_crypto::canonical::{from_canonical, to_canonical};
use cordon_crypto::{VerifyingKey, sha256};
use cordon_protocol::V1;
use cordon_protocol::grant::KeyName;
use cordon_types::{Base64Bytes, DatasetId, PartyId, Sha256Digest, UnixSeconds};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::root::RootKey;
use crate::state::KeyState;

/// One dataset version and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionRecord {
    pub v: V1,
    pub party: PartyId,
    pub dataset: DatasetId,
    pub version: u32,
    /// Digest of the manifest.
    pub manifest: Sha256Digest,
    /// Digest of the manifest's schema, which agreements pin.
    pub schema: Sha256Digest,
    /// Who signed the manifest.
    pub signer: VerifyingKey,
    /// The keys that the manifest commits to, sorted: those that a grant may name.
    pub keys: Vec<KeyName>,
    pub state: KeyState,
    /// When the state was reached, by the broker's clock.
    pub changed: UnixSeconds,
    /// Whether it was compromised before it was destroyed.
    pub was_compromised: bool,
    /// Which of its key-encryption keys, counted from 1, wraps the version key.
    pub kek_generation: u32,
    /// The version key under that key; absent once destroyed.
    pub wrapped_key: Option<Base64Bytes>,
}

/// A record with the tag that only this party's root key makes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tagged<T> {
    record: T,
    tag: Base64Bytes,
}

/// Why a stored record is refused.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not one of our records.
    #[error("the record is malformed")]
    Malformed(#[source] cordon_crypto::canonical::CanonicalError),
    /// Changed by somebody without the root key, or moved here from elsewhere.
    #[error("the record is not authentic: it was changed or belongs elsewhere")]
    NotAuthentic,
}

/// Writes a record with its tag; `place` is where it belongs.
pub(crate) fn write<T: Serialize>(
    root: &RootKey,
    place: &[&[u8]],
    record: &T,
) -> Result<Vec<u8>, RecordError> {
    let bytes = to_canonical(record).map_err(RecordError::Malformed)?;
    let tag = root.tag(&parts(place, &bytes)).as_slice().into();
    to_canonical(&Tagged { record, tag }).map_err(RecordError::Malformed)
}

/// Reads a record that was written for this place by this root key.
pub(crate) fn read<T: Serialize + DeserializeOwned>(
    root: &RootKey,
    place: &[&[u8]],
    bytes: &[u8],
) -> Result<T, RecordError> {
    let Tagged::<T> { record, tag } =
        from_canonical(bytes, bytes.len()).map_err(RecordError::Malformed)?;
    let tag: &[u8; 32] = tag.as_slice().try_into().map_err(|_| RecordError::NotAuthentic)?;
    let canonical = to_canonical(&record).map_err(RecordError::Malformed)?;
    if root.tag_matches(&parts(place, &canonical), tag) {
        Ok(record)
    } else {
        Err(RecordError::NotAuthentic)
    }
}

fn parts<'a>(place: &[&'a [u8]], record: &'a [u8]) -> Vec<&'a [u8]> {
    [place, &[record]].concat()
}

/// What others may know of a dataset version's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionStatus {
    /// The dataset.
    pub dataset: DatasetId,
    /// Its version.
    pub version: u32,
    /// Digest of its manifest.
    pub manifest: Sha256Digest,
    /// The state of its key.
    pub state: KeyState,
    /// Since when, by the broker's clock.
    pub changed: UnixSeconds,
    /// Whether it was compromised, also if it is destroyed by now.
    pub was_compromised: bool,
    /// Names the key in log entries (`key.changed`).
    pub key: Sha256Digest,
}

impl VersionRecord {
    /// What others may know.
    pub fn status(&self) -> VersionStatus {
        VersionStatus {
            dataset: self.dataset.clone(),
            version: self.version,
            manifest: self.manifest,
            state: self.state,
            changed: self.changed,
            was_compromised: self.was_compromised,
            key: key_digest(&self.party, &self.dataset, self.version),
        }
    }
}

/// The digest that names a dataset version's key in log entries.
pub fn key_digest(party: &PartyId, dataset: &DatasetId, version: u32) -> Sha256Digest {
    sha256(&[format!("cordon/key/v1 {party}/{dataset}/{version}").as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_crypto::SystemRandom;

    #[test]
    fn a_record_reads_back_at_its_place_under_its_root_only() {
        let root = RootKey::generate(&mut SystemRandom::new());
        let record = vec![KeyState::Suspended];
        let bytes = write(&root, &[b"versions", b"d", b"1"], &record).unwrap();
        let read_at = |root: &RootKey, version: &[u8], bytes: &[u8]| {
            read::<Vec<KeyState>>(root, &[b"versions", b"d", version], bytes)
        };
        assert_eq!(read_at(&root, b"1", &bytes).unwrap(), record);
        assert!(matches!(read_at(&root, b"2", &bytes), Err(RecordError::NotAuthentic)));
        let other = RootKey::generate(&mut SystemRandom::new());
        assert!(matches!(read_at(&other, b"1", &bytes), Err(RecordError::NotAuthentic)));
        let text = String::from_utf8(bytes).unwrap();
        let resumed = text.replace("suspended", "active");
        assert!(matches!(read_at(&root, b"1", resumed.as_bytes()), Err(RecordError::NotAuthentic)));
        assert!(matches!(
            read_at(&root, b"1", &text.as_bytes()[1..]),
            Err(RecordError::Malformed(_))
        ));
    }
}
