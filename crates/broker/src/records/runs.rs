//! Grants: one per run, written with its log entry before any key is unwrapped.

use cordon_crypto::dsse::{Envelope, Signed};
use cordon_crypto::{RecipientKey, VerifyingKey, canonical};
use cordon_protocol::{GrantContext, RunId, RunRequest};
use cordon_types::Sha256Digest;
use sqlx::{SqliteConnection, SqlitePool};

use super::{read_digest, read_envelope, reopen, row_number};
use crate::store::{Conflict, StoreError};

/// What a grant is recorded as.
#[derive(Clone, Debug)]
pub struct GrantRecord {
    /// The run request.
    pub request: Signed<RunRequest>,
    /// The guard's signing key, from its evidence.
    pub signing_key: VerifyingKey,
    /// The guard's box key, from its evidence.
    pub box_key: RecipientKey,
    /// Digest of the evidence.
    pub evidence: Sha256Digest,
    /// What is granted.
    pub context: GrantContext,
    /// Its log entry.
    pub entry: u64,
    /// The grant, once it is sealed.
    pub envelope: Option<Envelope>,
}

type Row = (Vec<u8>, Vec<u8>, String, Vec<u8>, Vec<u8>, i64, Option<Vec<u8>>);

/// Records a grant that is about to be made.
///
/// # Errors
/// [`Conflict::OtherGuard`] if the run has one already.
pub async fn insert(
    connection: &mut SqliteConnection,
    run: RunId,
    record: &GrantRecord,
) -> Result<(), StoreError> {
    let context =
        canonical::to_canonical(&record.context).map_err(|_| StoreError::Corrupt("context"))?;
    let done = sqlx::query(
        "INSERT OR IGNORE INTO grant_record
         (run, agreement, request, signing_key, box_key, evidence, context, entry)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(run.0.as_bytes().as_slice())
    .bind(record.context.agreement.as_bytes().as_slice())
    .bind(record.request.envelope().to_json())
    .bind(record.signing_key.as_bytes().as_slice())
    .bind(record.box_key.to_string().into_bytes())
    .bind(record.evidence.as_bytes().as_slice())
    .bind(context)
    .bind(row_number(record.entry)?)
    .execute(connection)
    .await?;
    match done.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(Conflict::OtherGuard)),
    }
}

/// Keeps the sealed grant, so that a retry gets the same.
///
/// # Errors
/// If the database fails.
pub async fn set_envelope(
    connection: &mut SqliteConnection,
    run: RunId,
    envelope: &Envelope,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE grant_record SET envelope = ? WHERE run = ?")
        .bind(envelope.to_json())
        .bind(run.0.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that the lease of a run is not renewed any more; `false` if it was noted before.
///
/// # Errors
/// If the database fails.
pub async fn mark_revoked(
    connection: &mut SqliteConnection,
    run: RunId,
) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE grant_record SET revoked = 1 WHERE run = ? AND revoked = 0")
        .bind(run.0.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Reads the grant of a run.
///
/// # Errors
/// If the database fails.
pub async fn get(readers: &SqlitePool, run: RunId) -> Result<Option<GrantRecord>, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT request, signing_key, CAST(box_key AS TEXT), evidence, context, entry, envelope
         FROM grant_record WHERE run = ?",
    )
    .bind(run.0.as_bytes().as_slice())
    .fetch_optional(readers)
    .await?;
    row.map(from_row).transpose()
}

/// All runs that were granted, newest first.
///
/// # Errors
/// If the database fails.
pub async fn all(readers: &SqlitePool) -> Result<Vec<(RunId, GrantRecord)>, StoreError> {
    let runs: Vec<Vec<u8>> = sqlx::query_scalar("SELECT run FROM grant_record ORDER BY entry DESC")
        .fetch_all(readers)
        .await?;
    let mut all = Vec::with_capacity(runs.len());
    for run in runs {
        let run = RunId(read_digest(&run, "run")?);
        if let Some(record) = get(readers, run).await? {
            all.push((run, record));
        }
    }
    Ok(all)
}

fn from_row(row: Row) -> Result<GrantRecord, StoreError> {
    let (request, signing_key, box_key, evidence, context, entry, envelope) = row;
    let corrupt = || StoreError::Corrupt("grant");
    let box_key = serde_json::from_value(serde_json::Value::String(box_key));
    Ok(GrantRecord {
        request: reopen(&request, "run request")?,
        signing_key: VerifyingKey::from_bytes(signing_key.try_into().map_err(|_| corrupt())?),
        box_key: box_key.map_err(|_| corrupt())?,
        evidence: read_digest(&evidence, "grant")?,
        context: canonical::from_canonical(&context, usize::MAX).map_err(|_| corrupt())?,
        entry: u64::try_from(entry).map_err(|_| corrupt())?,
        envelope: envelope.map(|bytes| read_envelope(&bytes, "grant")).transpose()?,
    })
}
