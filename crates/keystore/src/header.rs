//! Whose store it is, and how its root key is sealed.

use std::fs::File;
use std::path::Path;

use cordon_crypto::canonical::{from_canonical, to_canonical};
use cordon_crypto::{Random, VerifyingKey};
use cordon_protocol::V1;
use cordon_protocol::party::{Profile, witness_name};
use cordon_tlog::KeyName;
use cordon_types::{Base64Bytes, PartyId, Sha256Digest};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::record::RecordError;
use crate::root::{Credential, RootError, RootKey, Sealing};
use crate::store::{StoreError, as_slices};

/// Whose store it is; fixed for good when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The organisation.
    pub party: PartyId,
    /// Bound into the root key: a development store never becomes a production one.
    pub profile: Profile,
    /// Origin of the broker's log, which is also the log key's name.
    pub log_origin: String,
    /// Keys of the persons who may enrol parties.
    pub administrators: Vec<VerifyingKey>,
}

/// The sealed root key and what is bound to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub v: V1,
    pub identity: Identity,
    pub sealing: Sealing,
    /// Of the root key: a back-end that answers with another key shows by it.
    pub fingerprint: Sha256Digest,
    pub sealed_root: Base64Bytes,
}

pub(crate) fn check_identity(identity: &Identity) -> Result<(), StoreError> {
    let names_fit = identity.log_origin.parse::<KeyName>().is_ok()
        && witness_name(&identity.log_origin).parse::<KeyName>().is_ok();
    let administrators = &identity.administrators;
    if names_fit && (1..=MAX_ADMINISTRATORS).contains(&administrators.len()) {
        Ok(())
    } else {
        Err(StoreError::Identity)
    }
}

/// One process per store: a second one would undo what the first one writes.
pub(crate) fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    let file = std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600)
        .open(&path)
        .map_err(files::at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse),
        Err(std::fs::TryLockError::Error(source)) => Err(files::at("lock", &path)(source).into()),
    }
}

pub(crate) fn read_header(folder: &Path) -> Result<Header, StoreError> {
    let path = folder.join(HEADER);
    let bytes = files::read(&path, MAX_SMALL_BYTES)?
        .ok_or_else(|| StoreError::Missing(folder.to_owned()))?;
    from_canonical(&bytes, bytes.len())
        .map_err(|source| StoreError::Record { path, source: RecordError::Malformed(source) })
}

pub(crate) fn write_header(folder: &Path, header: &Header) -> Result<(), StoreError> {
    let path = folder.join(HEADER);
    match to_canonical(header) {
        Ok(bytes) => Ok(files::replace(&path, &bytes)?),
        Err(source) => Err(StoreError::Record { path, source: RecordError::Malformed(source) }),
    }
}

pub(crate) fn seal_header(
    identity: Identity,
    root: &RootKey,
    credential: &Credential,
    random: &mut dyn Random,
) -> Result<Header, StoreError> {
    let sealing = credential.new_sealing(random)?;
    let context = header_context(&identity, &sealing)?;
    let sealing_key = credential.sealing_key(&sealing)?;
    let sealed_root = root.seal(&sealing_key, &as_slices(&context), random).into();
    let fingerprint = root.fingerprint(&as_slices(&context[..1]));
    Ok(Header { v: V1, identity, sealing, fingerprint, sealed_root })
}

pub(crate) fn unseal_root(header: &Header, credential: &Credential) -> Result<RootKey, StoreError> {
    let context = header_context(&header.identity, &header.sealing)?;
    let sealing_key = credential.sealing_key(&header.sealing)?;
    let sealed = header.sealed_root.as_slice();
    let root = RootKey::unseal(&sealing_key, &as_slices(&context), sealed)?;
    if root.fingerprint(&as_slices(&context[..1])) == header.fingerprint {
        Ok(root)
    } else {
        Err(RootError::Fingerprint.into())
    }
}

/// Binds party, profile, origin, administrators and the sealing's parameters.
fn header_context(identity: &Identity, sealing: &Sealing) -> Result<[Vec<u8>; 2], StoreError> {
    let canonical = |result: Result<_, _>| result.map_err(|_| StoreError::Identity);
    Ok([canonical(to_canonical(identity))?, canonical(to_canonical(sealing))?])
}

/// Its presence makes a folder a key store.
pub(crate) const HEADER: &str = "keystore.json";
const LOCK: &str = "lock";
const MAX_ADMINISTRATORS: usize = 64;

/// The header with 64 administrators, a wrapped key, the service keys.
pub(crate) const MAX_SMALL_BYTES: u64 = 64 * 1024;
