//! Dataset versions of this holder.

use cordon_crypto::dsse::Signed;
use cordon_protocol::Manifest;
use cordon_types::DatasetId;
use sqlx::{SqliteConnection, SqlitePool};

use super::{reopen, row_number};
use crate::store::{Conflict, StoreError};

/// Stores a version.
///
/// # Errors
/// [`Conflict::Exists`] if this version is there already.
pub async fn insert(
    connection: &mut SqliteConnection,
    manifest: &Signed<Manifest>,
    entry: u64,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "INSERT OR IGNORE INTO dataset_version (dataset, version, digest, manifest, entry)
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(manifest.value().dataset.as_str())
    .bind(i64::from(manifest.value().version))
    .bind(manifest.digest().as_bytes().as_slice())
    .bind(manifest.envelope().to_json())
    .bind(row_number(entry)?)
    .execute(connection)
    .await?;
    match done.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(Conflict::Exists)),
    }
}

/// The newest version of a dataset.
///
/// # Errors
/// If the database fails.
pub async fn newest(
    readers: &SqlitePool,
    dataset: &DatasetId,
) -> Result<Option<Signed<Manifest>>, StoreError> {
    let row: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT manifest FROM dataset_version WHERE dataset = ? ORDER BY version DESC LIMIT 1",
    )
    .bind(dataset.as_str())
    .fetch_optional(readers)
    .await?;
    row.map(|manifest| reopen(&manifest, "manifest")).transpose()
}

/// One version of a dataset.
///
/// # Errors
/// If the database fails.
pub async fn get(
    readers: &SqlitePool,
    dataset: &DatasetId,
    version: u32,
) -> Result<Option<Signed<Manifest>>, StoreError> {
    let row: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT manifest FROM dataset_version WHERE dataset = ? AND version = ?",
    )
    .bind(dataset.as_str())
    .bind(i64::from(version))
    .fetch_optional(readers)
    .await?;
    row.map(|manifest| reopen(&manifest, "manifest")).transpose()
}

/// All versions, by dataset and version.
///
/// # Errors
/// If the database fails.
pub async fn all(readers: &SqlitePool) -> Result<Vec<Signed<Manifest>>, StoreError> {
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT manifest FROM dataset_version ORDER BY dataset, version")
            .fetch_all(readers)
            .await?;
    rows.iter().map(|manifest| reopen(manifest, "manifest")).collect()
}
