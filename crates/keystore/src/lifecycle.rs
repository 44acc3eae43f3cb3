//! The life of a dataset version's key: taken in, active, suspended, wrapped anew, destroyed.

use cordon_crypto::{AeadKey, Label, Random};
use cordon_types::{DatasetId, Secret, UnixSeconds};

use crate::deposit::{self, DepositRequest, OpenedDeposit};
use crate::files;
use crate::header::MAX_SMALL_BYTES;
use crate::record::{VersionRecord, VersionStatus};
use crate::refusal::{KeyPart, Refusal};
use crate::state::{KeyState, Transition};
use crate::store::{Keystore, KeystoreError, StoreError, as_slices};

impl Keystore {
    /// Takes a dataset version's key in, pre-active. The same deposit twice is one.
    ///
    /// # Errors
    /// If manifest or deposit is not signed by one allowed key, they do not belong together or
    /// here, the key does not open or is not the one that the manifest commits to in every place.
    pub fn deposit(
        &mut self,
        request: &DepositRequest,
        random: &mut dyn Random,
    ) -> Result<VersionStatus, KeystoreError> {
        let OpenedDeposit { record: facts, key } =
            deposit::open(self.public(), self.box_secret(), request)?;
        let (dataset, version) = (facts.dataset.clone(), facts.version);
        if let Some(known) = self.record(&dataset, version) {
            if known.state == KeyState::Destroyed {
                let state = known.state;
                return Err(Refusal::State { dataset, version, state }.into());
            }
            // All commitments hold, so an equal manifest means an equal key.
            if known.manifest == facts.manifest {
                return Ok(known.status());
            }
            return Err(Refusal::VersionExists { dataset, version }.into());
        }
        self.seal_version(facts, &key, 1, random)
    }

    /// Changes the state of a version's key. What is already so stays so.
    ///
    /// # Errors
    /// If there is no such version or no such way from its state.
    pub fn change(
        &mut self,
        dataset: &DatasetId,
        version: u32,
        transition: Transition,
        time: UnixSeconds,
    ) -> Result<VersionStatus, KeystoreError> {
        let mut record = self.existing(dataset, version)?.clone();
        let state = record.state;
        let refuse = || Refusal::State { dataset: dataset.clone(), version, state };
        record.state = state.after(transition).ok_or_else(refuse)?;
        record.was_compromised |= record.state == KeyState::Compromised;
        record.changed = time;
        self.keep(record)
    }

    /// Wraps a version's key under a new key-encryption key and shreds the old one.
    ///
    /// # Errors
    /// If there is no such version, it is destroyed or damaged, or the disk fails.
    pub fn rewrap(
        &mut self,
        dataset: &DatasetId,
        version: u32,
        random: &mut dyn Random,
    ) -> Result<VersionStatus, KeystoreError> {
        let record = self.existing(dataset, version)?.clone();
        let key = self.unwrap_version_key(&record)?;
        let old = record.kek_generation;
        let generation =
            old.checked_add(1).ok_or_else(|| damaged(&record, KeyPart::KeyEncryptionKey))?;
        let status = self.seal_version(record, &key, generation, random)?;
        self.shred_kek(dataset, version, old)?;
        Ok(status)
    }

    /// Destroys a version's key: only its tombstone remains. Twice is once.
    ///
    /// # Errors
    /// If there is no such version, or it can still be granted: deactivate it first.
    pub fn destroy(
        &mut self,
        dataset: &DatasetId,
        version: u32,
        time: UnixSeconds,
    ) -> Result<VersionStatus, KeystoreError> {
        let mut record = self.existing(dataset, version)?.clone();
        let (state, generation) = (record.state, record.kek_generation);
        if state != KeyState::Destroyed {
            if !state.may_be_destroyed() {
                return Err(Refusal::State { dataset: dataset.clone(), version, state }.into());
            }
            record.state = KeyState::Destroyed;
            record.changed = time;
            record.wrapped_key = None;
            self.keep(record.clone())?;
        }
        self.shred_kek(dataset, version, generation)?;
        Ok(record.status())
    }

    /// The key of a version, for as long as the caller needs it.
    pub(crate) fn version_key(&mut self, record: &VersionRecord) -> Result<&Secret<32>, Refusal> {
        let name = (record.dataset.clone(), record.version);
        if !self.version_keys.touch(&name) {
            let key = self.unwrap_version_key(record)?;
            self.version_keys.insert(name, key);
        }
        self.version_keys.newest().ok_or_else(|| damaged(record, KeyPart::WrappedKey))
    }

    fn existing(&self, dataset: &DatasetId, version: u32) -> Result<&VersionRecord, Refusal> {
        let unknown = || Refusal::UnknownVersion { dataset: dataset.clone(), version };
        self.record(dataset, version).ok_or_else(unknown)
    }

    fn unwrap_version_key(&self, record: &VersionRecord) -> Result<Secret<32>, Refusal> {
        let (dataset, version) = (&record.dataset, record.version);
        let Some(wrapped) = &record.wrapped_key else {
            let (dataset, state) = (dataset.clone(), record.state);
            return Err(Refusal::State { dataset, version, state });
        };
        let place = key_place(record);
        let path = self.kek_path(dataset, version, record.kek_generation);
        let kek = files::read(&path, MAX_SMALL_BYTES)
            .ok()
            .flatten()
            .and_then(|wrapped| self.root.unwrap(&as_slices(&place), &wrapped))
            .ok_or_else(|| damaged(record, KeyPart::KeyEncryptionKey))?;
        AeadKey::new(&kek)
            .open_secret(Label::KeyWrap, &as_slices(&place), wrapped.as_slice())
            .map_err(|_| damaged(record, KeyPart::WrappedKey))
    }

    /// Wraps `key` under a new key-encryption key and writes both.
    fn seal_version(
        &mut self,
        mut record: VersionRecord,
        key: &Secret<32>,
        generation: u32,
        random: &mut dyn Random,
    ) -> Result<VersionStatus, KeystoreError> {
        let place = key_place(&record);
        let kek = random.secret();
        let wrapped_kek = self.root.wrap(&as_slices(&place), &kek, random);
        let path = self.kek_path(&record.dataset, record.version, generation);
        if let Some(folder) = path.parent() {
            files::private_folder(folder).map_err(StoreError::File)?;
        }
        files::replace(&path, &wrapped_kek).map_err(StoreError::File)?;
        let wrapped =
            AeadKey::new(&kek).seal(Label::KeyWrap, &as_slices(&place), key.expose(), random);
        record.wrapped_key = Some(wrapped.into());
        record.kek_generation = generation;
        self.keep(record)
    }
}

/// AAD of both wraps of a version key.
fn key_place(record: &VersionRecord) -> [Vec<u8>; 4] {
    [
        record.party.as_str().into(),
        record.dataset.as_str().into(),
        record.version.to_string().into_bytes(),
        record.manifest.as_bytes().to_vec(),
    ]
}

fn damaged(record: &VersionRecord, part: KeyPart) -> Refusal {
    Refusal::KeyDamaged { dataset: record.dataset.clone(), version: record.version, part }
}
