//! The key store on disk, open.
//!
//! ```text
//! <folder>/                     mode 0700, one process at a time (`lock`)
//!   keystore.json               identity, how the root key is sealed, the sealed root key
//!   services.sealed             seeds of the broker, log, witness and box keys
//!   directory.json              enrolled parties, tagged
//!   versions/<dataset>/<n>.json state and wrapped key of each dataset version, tagged
//!   keks/<dataset>/<n>-<g>.kek  key-encryption key of version n, generation g, under the root
//! ```
//!
//! Every file is replaced whole. Where two files change together, the record in `versions`
//! decides, and what it has left behind is shredded when the store is opened:
//!
//! | operation | order | a crash between leaves |
//! |---|---|---|
//! | deposit | key-encryption key, record | a key that wraps nothing; the next deposit replaces it |
//! | rewrap | new key-encryption key, record, shred old | two keys, of which the record names one |
//! | destroy | record (tombstone without wrapped key), shred | a key-encryption key of a tombstone: shredded at start |
//!
//! A state that was restored from a backup is authentic and old. The store cannot see that, and
//! nobody else does yet: changes of state are not in the log that witnesses guard.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use cordon_crypto::dsse::Envelope;
use cordon_crypto::{Random, RecipientKey, RecipientSecret, SigningKey, VerifyingKey};
use cordon_protocol::party::Profile;
use cordon_types::{DatasetId, PartyId, Secret};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cache::{AgreementCache, VersionKeyCache};
use crate::directory::Directory;
use crate::files::{self, FileError};
use crate::header::{
    HEADER, Identity, MAX_SMALL_BYTES, check_identity, lock, read_header, seal_header, unseal_root,
    write_header,
};
use crate::record::{self, RecordError, VersionRecord, VersionStatus};
use crate::refusal::Refusal;
use crate::root::{Credential, RootError, RootKey};
use crate::state::KeyState;

/// The public halves of a broker's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicParts {
    /// The organisation.
    pub party: PartyId,
    /// The broker's profile.
    pub profile: Profile,
    /// Origin of the broker's log.
    pub log_origin: String,
    /// Signs grants, leases and releases.
    pub broker_key: VerifyingKey,
    /// Signs the log's checkpoints.
    pub log_key: VerifyingKey,
    /// Cosigns other logs' checkpoints.
    pub witness_key: VerifyingKey,
    /// Opens boxes that are sealed to the broker.
    pub box_key: RecipientKey,
}

/// The keys that the broker service works with. The box secret is not among them: it never
/// leaves the key process.
#[derive(Debug)]
pub struct ServiceKeys {
    /// Signs grants, leases and releases.
    pub broker: SigningKey,
    /// Signs the log's checkpoints.
    pub log: SigningKey,
    /// Cosigns other logs' checkpoints.
    pub witness: SigningKey,
}

/// Why an operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// The request is refused; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store itself is the problem.
    #[error("the key store cannot be used")]
    Store(#[from] StoreError),
}

/// What is wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error("a file of the key store cannot be used")]
    File(#[from] FileError),
    /// There is none in the folder.
    #[error("there is no key store in `{}`: `cordon init` makes one", .0.display())]
    Missing(PathBuf),
    /// There is one in the folder.
    #[error("there is a key store in `{}` already", .0.display())]
    Exists(PathBuf),
    /// Another process has it open.
    #[error("another process uses the key store")]
    InUse,
    /// The root key cannot be had.
    #[error("the root key cannot be opened")]
    Root(#[from] RootError),
    /// A stored record is refused.
    #[error("`{}` is refused", .path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// The service keys do not open.
    #[error("the service keys do not open: the file was changed or belongs to another key store")]
    Services,
    /// The identity has no administrator, or the log origin is no key name.
    #[error(
        "expected a log origin without spaces or `+`, of at most 240 bytes, and 1 to 64 administrators"
    )]
    Identity,
    /// A file that does not belong.
    #[error("`{}` does not belong into a key store", .0.display())]
    Stranger(PathBuf),
}

/// An open key store.
pub struct Keystore {
    folder: PathBuf,
    // Held, not read: another process cannot take it while we live.
    _lock: File,
    pub(crate) root: RootKey,
    identity: Identity,
    services: ServiceKeys,
    box_secret: RecipientSecret,
    public: PublicParts,
    directory: Directory,
    records: BTreeMap<(DatasetId, u32), VersionRecord>,
    pub(crate) version_keys: VersionKeyCache,
    agreements: AgreementCache,
}

impl Keystore {
    /// Makes a store: a root key sealed by `credential`, and four service keys.
    ///
    /// # Errors
    /// If the folder has one already, is not private, cannot be written, or the identity or the
    /// credential is refused.
    pub fn initialise(
        folder: &Path,
        identity: Identity,
        credential: &Credential,
        random: &mut dyn Random,
    ) -> Result<PublicParts, StoreError> {
        check_identity(&identity)?;
        files::private_folder(folder)?;
        let _lock = lock(folder)?;
        if folder.join(HEADER).exists() {
            return Err(StoreError::Exists(folder.to_owned()));
        }
        let root = RootKey::generate(random);
        let mut seeds = Zeroizing::new(vec![0; SERVICE_KEYS * 32]);
        random.fill(&mut seeds);
        let place = services_place(&identity);
        let sealed = root.seal_state(&as_slices(&place), &seeds, random);
        files::replace(&folder.join(SERVICES), &sealed)?;
        let (_, _, public) = open_services(&identity, &seeds).ok_or(StoreError::Services)?;
        // The header makes the folder a key store, so it is written last.
        let header = seal_header(identity, &root, credential, random)?;
        write_header(folder, &header)?;
        Ok(public)
    }

    /// Opens a store and finishes what a crash interrupted.
    ///
    /// # Errors
    /// If there is none, it is in use, the credential does not open it, or a record was changed.
    pub fn open(folder: &Path, credential: &Credential) -> Result<Self, StoreError> {
        let header = read_header(folder)?;
        files::private_folder(folder)?;
        let lock = lock(folder)?;
        let root = unseal_root(&header, credential)?;
        let identity = header.identity;
        let sealed = files::read(&folder.join(SERVICES), MAX_SMALL_BYTES)?;
        let place = services_place(&identity);
        let (services, box_secret, public) = sealed
            .and_then(|sealed| root.open_state(&as_slices(&place), &sealed))
            .and_then(|seeds| open_services(&identity, &seeds))
            .ok_or(StoreError::Services)?;
        let mut store = Self {
            folder: folder.to_owned(),
            _lock: lock,
            root,
            identity,
            services,
            box_secret,
            public,
            directory: Directory::default(),
            records: BTreeMap::new(),
            version_keys: VersionKeyCache::default(),
            agreements: AgreementCache::default(),
        };
        store.load_directory()?;
        store.load_records()?;
        store.shred_strays()?;
        Ok(store)
    }

    /// Seals the root key by another credential; the old one opens nothing any more.
    ///
    /// # Errors
    /// As [`Keystore::open`].
    pub fn reseal(
        folder: &Path,
        old: &Credential,
        new: &Credential,
        random: &mut dyn Random,
    ) -> Result<(), StoreError> {
        let header = read_header(folder)?;
        let _lock = lock(folder)?;
        let root = unseal_root(&header, old)?;
        let header = seal_header(header.identity, &root, new, random)?;
        write_header(folder, &header)
    }

    /// The public halves of the service keys.
    pub const fn public(&self) -> &PublicParts {
        &self.public
    }

    /// The keys that the broker service works with.
    pub const fn services(&self) -> &ServiceKeys {
        &self.services
    }

    pub(crate) const fn box_secret(&self) -> &RecipientSecret {
        &self.box_secret
    }

    pub(crate) const fn parts_for_checks(
        &mut self,
    ) -> (&PublicParts, &Directory, &mut AgreementCache) {
        (&self.public, &self.directory, &mut self.agreements)
    }

    pub(crate) fn record(&self, dataset: &DatasetId, version: u32) -> Option<&VersionRecord> {
        self.records.get(&(dataset.clone(), version))
    }

    /// Enrols another party: its log key and witness key may stand in agreements from now on.
    ///
    /// # Errors
    /// If the card is not signed by itself, or no administrator enrols exactly this card here.
    pub fn enrol(&mut self, card: &Envelope, enrolment: &Envelope) -> Result<(), KeystoreError> {
        let administrators = &self.identity.administrators;
        let directory = self.directory.with(&self.public, administrators, card, enrolment)?;
        if directory != self.directory {
            let path = self.folder.join(DIRECTORY);
            self.write_record(&path, &[b"directory"], &directory)?;
            self.directory = directory;
        }
        Ok(())
    }

    /// All dataset versions, sorted.
    pub fn status(&self) -> Vec<VersionStatus> {
        self.records.values().map(VersionRecord::status).collect()
    }

    /// The parties that are enrolled.
    pub fn enrolled(&self) -> Vec<PartyId> {
        self.directory.parties.iter().map(|known| known.party.clone()).collect()
    }

    /// Makes a record durable; from then on it counts.
    pub(crate) fn keep(&mut self, record: VersionRecord) -> Result<VersionStatus, KeystoreError> {
        let name = (record.dataset.clone(), record.version);
        let path = self.record_path(&name.0, name.1);
        if let Some(folder) = path.parent() {
            files::private_folder(folder).map_err(StoreError::File)?;
        }
        // Forgotten first: a failing disk must not leave a key in reach that may be suspended.
        self.version_keys.forget(&name);
        let number = name.1.to_string();
        let place: [&[u8]; 3] = [b"version", name.0.as_str().as_bytes(), number.as_bytes()];
        self.write_record(&path, &place, &record)?;
        let status = record.status();
        self.records.insert(name, record);
        Ok(status)
    }

    fn write_record<T: Serialize>(
        &self,
        path: &Path,
        place: &[&[u8]],
        record: &T,
    ) -> Result<(), StoreError> {
        let bytes = record::write(&self.root, place, record)
            .map_err(|source| StoreError::Record { path: path.to_owned(), source })?;
        Ok(files::replace(path, &bytes)?)
    }

    fn load_directory(&mut self) -> Result<(), StoreError> {
        let path = self.folder.join(DIRECTORY);
        if let Some(bytes) = files::read(&path, MAX_RECORD_BYTES)? {
            self.directory = record::read(&self.root, &[b"directory"], &bytes)
                .map_err(|source| StoreError::Record { path, source })?;
        }
        Ok(())
    }

    fn load_records(&mut self) -> Result<(), StoreError> {
        let versions = self.folder.join(VERSIONS);
        for dataset in files::names(&versions)? {
            let folder = versions.join(&dataset);
            for name in files::names(&folder)? {
                let path = folder.join(&name);
                let number = name.strip_suffix(".json").unwrap_or_default();
                let bytes = files::read(&path, MAX_RECORD_BYTES)?.unwrap_or_default();
                let place: [&[u8]; 3] = [b"version", dataset.as_bytes(), number.as_bytes()];
                let record: VersionRecord = record::read(&self.root, &place, &bytes)
                    .map_err(|source| StoreError::Record { path, source })?;
                self.records.insert((record.dataset.clone(), record.version), record);
            }
        }
        Ok(())
    }

    /// Shreds key-encryption keys that their record has left behind. One without a record has
    /// never wrapped anything, and one whose record names a missing key may be what a careful
    /// administrator needs after a restored backup: both stay.
    fn shred_strays(&self) -> Result<(), StoreError> {
        let keks = self.folder.join(KEKS);
        for dataset in files::names(&keks)? {
            let folder = keks.join(&dataset);
            for name in files::names(&folder)? {
                let path = folder.join(&name);
                let stranger = || StoreError::Stranger(path.clone());
                let (version, generation) = parse_kek_name(&name).ok_or_else(stranger)?;
                let id: DatasetId = dataset.parse().map_err(|_| stranger())?;
                let Some(record) = self.record(&id, version) else { continue };
                let named = self.kek_path(&id, version, record.kek_generation);
                let replaced = record.kek_generation != generation && named.exists();
                if replaced || record.state == KeyState::Destroyed {
                    files::shred(&path)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn shred_kek(
        &self,
        dataset: &DatasetId,
        version: u32,
        generation: u32,
    ) -> Result<(), StoreError> {
        Ok(files::shred(&self.kek_path(dataset, version, generation))?)
    }

    fn record_path(&self, dataset: &DatasetId, version: u32) -> PathBuf {
        self.folder.join(VERSIONS).join(dataset.as_str()).join(format!("{version}.json"))
    }

    pub(crate) fn kek_path(&self, dataset: &DatasetId, version: u32, generation: u32) -> PathBuf {
        self.folder.join(KEKS).join(dataset.as_str()).join(format!("{version}-{generation}.kek"))
    }
}

impl std::fmt::Debug for Keystore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keystore({}, {} versions)", self.public.party, self.records.len())
    }
}

fn services_place(identity: &Identity) -> [Vec<u8>; 3] {
    let profile = identity.profile.to_string().into_bytes();
    [b"services".to_vec(), identity.party.as_str().into(), profile]
}

pub(crate) fn as_slices(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

fn open_services(
    identity: &Identity,
    seeds: &[u8],
) -> Option<(ServiceKeys, RecipientSecret, PublicParts)> {
    let (seeds, rest) = seeds.as_chunks::<32>();
    let [broker, log, witness, boxes] = seeds else { return None };
    let signing = |seed: &[u8; 32]| Secret::from_slice(seed).map(SigningKey::from_seed);
    let services =
        ServiceKeys { broker: signing(broker)?, log: signing(log)?, witness: signing(witness)? };
    let box_secret = RecipientSecret::from_seed(Secret::from_slice(boxes)?);
    let public = PublicParts {
        party: identity.party.clone(),
        profile: identity.profile,
        log_origin: identity.log_origin.clone(),
        broker_key: services.broker.verifying_key(),
        log_key: services.log.verifying_key(),
        witness_key: services.witness.verifying_key(),
        box_key: box_secret.public_key(),
    };
    rest.is_empty().then_some((services, box_secret, public))
}

fn parse_kek_name(name: &str) -> Option<(u32, u32)> {
    let (version, generation) = name.strip_suffix(".kek")?.split_once('-')?;
    let parsed = (version.parse().ok()?, generation.parse().ok()?);
    // One file, one name.
    (format!("{}-{}.kek", parsed.0, parsed.1) == name).then_some(parsed)
}

const SERVICES: &str = "services.sealed";
const DIRECTORY: &str = "directory.json";
const VERSIONS: &str = "versions";
const KEKS: &str = "keks";

/// Broker, log, witness, box.
const SERVICE_KEYS: usize = 4;

/// A record names up to [`deposit::MAX_KEYS`] keys of at most 160 bytes each.
const MAX_RECORD_BYTES: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests;
