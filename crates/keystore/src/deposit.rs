//! A holder hands the key of a sealed dataset version to its own broker.

use cordon_crypto::canonical::to_canonical;
use cordon_crypto::dsse::Envelope;
use cordon_crypto::{Label, RecipientSecret, VerifyingKey, commitment, sha256};
use cordon_protocol::V1;
use cordon_protocol::dataset::{Deposit, Manifest, column_key, footer_key};
use cordon_protocol::grant::KeyName;
use cordon_types::{Secret, Sha256Digest, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::record::VersionRecord;
use crate::refusal::{DocumentKind, Refusal};
use crate::state::KeyState;
use crate::store::PublicParts;

/// A manifest and the key that it commits to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepositRequest {
    /// The signed [`Manifest`].
    pub manifest: Envelope,
    /// The signed [`Deposit`], by the same key.
    pub deposit: Envelope,
    /// The keys that may sign manifests here. Grants check the signer again, against the
    /// agreement.
    pub allowed: Vec<VerifyingKey>,
    /// When it is taken in, by the broker's clock.
    pub time: UnixSeconds,
}

/// A deposit that holds: what to store, and the key.
pub(crate) struct OpenedDeposit {
    pub record: VersionRecord,
    pub key: Secret<32>,
}

/// Checks a deposit from its signatures to the last commitment.
pub(crate) fn open(
    own: &PublicParts,
    box_secret: &RecipientSecret,
    request: &DepositRequest,
) -> Result<OpenedDeposit, Refusal> {
    let signer = request.manifest.claimed_signer();
    if !request.allowed.contains(&signer) {
        return Err(Refusal::ManifestKeyNotAllowed);
    }
    let manifest = request
        .manifest
        .open::<Manifest>(&signer)
        .map_err(|error| Refusal::document(DocumentKind::Manifest, &error))?;
    let deposit = request
        .deposit
        .open::<Deposit>(&signer)
        .map_err(|error| Refusal::document(DocumentKind::Deposit, &error))?
        .into_value();
    let digest = manifest.digest();
    let manifest = manifest.into_value();
    if manifest.holder != own.party {
        return Err(Refusal::OtherHolder { holder: manifest.holder });
    }
    if deposit.audience != own.party {
        return Err(Refusal::OtherAudience { audience: deposit.audience });
    }
    if deposit.manifest != digest {
        return Err(Refusal::OtherManifest);
    }
    let keys = key_names(&manifest)?;
    let key = box_secret
        .open(Label::DatasetVersionBox, &[digest.as_bytes()], &deposit.sealed_key)
        .ok()
        .and_then(|opened| Secret::from_slice(&opened))
        .ok_or(Refusal::DepositDoesNotOpen)?;
    check_commitments(&manifest, &key)?;
    Ok(OpenedDeposit { record: record(manifest, digest, signer, keys, request.time)?, key })
}

/// The name of every key of a manifest, in the order of grants: sorted, footer before columns.
fn key_names(manifest: &Manifest) -> Result<Vec<KeyName>, Refusal> {
    let malformed = |reason: &str| Refusal::ManifestMalformed { reason: reason.to_owned() };
    if manifest.version == 0 {
        return Err(malformed("versions are counted from 1"));
    }
    let tables = &manifest.tables;
    if tables.is_empty() || !tables.is_sorted_by(|a, b| a.name < b.name) {
        return Err(malformed("expected at least one table, sorted by name, each once"));
    }
    let mut keys = Vec::new();
    for table in tables {
        let footer = KeyName { table: table.name.clone(), column: None };
        let columns = table
            .columns
            .iter()
            .map(|column| KeyName { table: table.name.clone(), column: Some(column.name.clone()) });
        keys.extend(std::iter::once(footer).chain(columns));
        if keys.len() > MAX_KEYS {
            return Err(malformed("more tables and columns than a dataset may have"));
        }
        if !table.columns.iter().any(|column| column.name == table.subject) {
            return Err(malformed("a table's subject is not one of its columns"));
        }
    }
    keys.sort_unstable();
    if keys.is_sorted_by(|a, b| a < b) { Ok(keys) } else { Err(malformed("a column is repeated")) }
}

/// AES-GCM does not commit to its key: a holder's mistake, or a file mixed up, would show only in
/// the guard, in the middle of a run. So every key is derived and compared here, once.
fn check_commitments(manifest: &Manifest, key: &Secret<32>) -> Result<(), Refusal> {
    for table in &manifest.tables {
        let footer = KeyName { table: table.name.clone(), column: None };
        check_commitment(&footer, &footer_key(key, &table.name), table.footer_commitment)?;
        for column in &table.columns {
            let name = KeyName { table: table.name.clone(), column: Some(column.name.clone()) };
            let derived = column_key(key, &table.name, &column.name);
            check_commitment(&name, &derived, column.key_commitment)?;
        }
    }
    Ok(())
}

fn check_commitment(
    name: &KeyName,
    key: &Secret<32>,
    expected: Sha256Digest,
) -> Result<(), Refusal> {
    if commitment(key) == expected {
        Ok(())
    } else {
        Err(Refusal::CommitmentMismatch { key: name.into() })
    }
}

fn record(
    manifest: Manifest,
    digest: Sha256Digest,
    signer: VerifyingKey,
    keys: Vec<KeyName>,
    time: UnixSeconds,
) -> Result<VersionRecord, Refusal> {
    let schema = to_canonical(&manifest.schema())
        .map_err(|error| Refusal::document(DocumentKind::Manifest, &error))?;
    Ok(VersionRecord {
        v: V1,
        party: manifest.holder,
        dataset: manifest.dataset,
        version: manifest.version,
        manifest: digest,
        schema: sha256(&[&schema]),
        signer,
        keys,
        state: KeyState::PreActive,
        changed: time,
        was_compromised: false,
        kek_generation: 1,
        wrapped_key: None,
    })
}

/// Most tables and columns of a dataset, together: as many as a job may have keys.
pub(crate) const MAX_KEYS: usize = cordon_protocol::worker::MAX_JOB_KEYS;
