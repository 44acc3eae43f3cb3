//! Agreements, the decisions of people about them, and stops.

use cordon_crypto::dsse::Signed;
use cordon_protocol::decision::Verdict;
use cordon_protocol::{Agreement, Approval, Stop};
use cordon_types::Sha256Digest;
use sqlx::{SqliteConnection, SqlitePool};

use super::{read_digest, reopen, row_number};
use crate::store::{Conflict, StoreError};

/// What a decision about an agreement goes by, and by what one sees whether anything else about
/// it is newer than what was read before.
#[derive(Clone, Debug)]
pub struct Marks {
    /// Runs spent at this broker.
    pub runs: u32,
    /// Whether its study was stopped.
    pub stopped: bool,
    /// Log index of the newest decision about it.
    pub decided: Option<i64>,
    /// Log index of the newest dataset version, of whatever dataset.
    pub published: Option<i64>,
    /// The newest entry of the log.
    pub last_entry: Option<Vec<u8>>,
}

/// Stores a proposed agreement; `false` if this very agreement is there already.
///
/// # Errors
/// If the database fails.
pub async fn insert(
    connection: &mut SqliteConnection,
    agreement: &Signed<Agreement>,
    entry: u64,
) -> Result<bool, StoreError> {
    let value = agreement.value();
    let done = sqlx::query(
        "INSERT OR IGNORE INTO agreement (digest, study, name, envelope, max_runs, entry)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(agreement.digest().as_bytes().as_slice())
    .bind(value.study.as_str())
    .bind(value.name.as_str())
    .bind(agreement.envelope().to_json())
    .bind(i64::from(value.limits.max_runs))
    .bind(row_number(entry)?)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Reads the marks of an agreement.
///
/// # Errors
/// If the database fails.
pub async fn marks(
    readers: &SqlitePool,
    digest: Sha256Digest,
) -> Result<Option<Marks>, StoreError> {
    type Row = (i64, bool, Option<i64>, Option<i64>, Option<Vec<u8>>);
    let row: Option<Row> = sqlx::query_as(
        "SELECT runs,
                EXISTS (SELECT 1 FROM study_stop WHERE study_stop.study = agreement.study),
                (SELECT MAX(entry) FROM approval WHERE approval.agreement = agreement.digest),
                (SELECT MAX(entry) FROM dataset_version),
                (SELECT bytes FROM log_entry ORDER BY idx DESC LIMIT 1)
         FROM agreement WHERE digest = ?",
    )
    .bind(digest.as_bytes().as_slice())
    .fetch_optional(readers)
    .await?;
    let Some((runs, stopped, decided, published, last_entry)) = row else { return Ok(None) };
    let runs = u32::try_from(runs).map_err(|_| StoreError::Corrupt("agreement"))?;
    Ok(Some(Marks { runs, stopped, decided, published, last_entry }))
}

/// Reads an agreement.
///
/// # Errors
/// If the database fails.
pub async fn get(
    readers: &SqlitePool,
    digest: Sha256Digest,
) -> Result<Option<Signed<Agreement>>, StoreError> {
    let envelope: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT envelope FROM agreement WHERE digest = ?")
            .bind(digest.as_bytes().as_slice())
            .fetch_optional(readers)
            .await?;
    envelope.map(|envelope| reopen(&envelope, "agreement")).transpose()
}

/// The digests of all agreements, oldest first.
///
/// # Errors
/// If the database fails.
pub async fn all(readers: &SqlitePool) -> Result<Vec<Sha256Digest>, StoreError> {
    let digests: Vec<Vec<u8>> = sqlx::query_scalar("SELECT digest FROM agreement ORDER BY entry")
        .fetch_all(readers)
        .await?;
    digests.iter().map(|digest| read_digest(digest, "agreement")).collect()
}

/// Fails if the study was stopped or the agreement rejected. Decisions look at both before; this
/// looks again in the transaction that records the decision, so that nothing is ever recorded
/// after a stop.
///
/// # Errors
/// [`Conflict::Closed`].
pub async fn still_open(
    connection: &mut SqliteConnection,
    digest: Sha256Digest,
) -> Result<(), StoreError> {
    let closed: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM study_stop JOIN agreement USING (study) WHERE digest = ?1)
             OR EXISTS (SELECT 1 FROM approval WHERE agreement = ?1 AND rejected = 1)",
    )
    .bind(digest.as_bytes().as_slice())
    .fetch_one(connection)
    .await?;
    match closed {
        true => Err(StoreError::Conflict(Conflict::Closed)),
        false => Ok(()),
    }
}

/// Spends one run. One statement, so that two requests for the last run cannot both have it.
///
/// # Errors
/// [`Conflict::RunsSpent`] if none is left.
pub async fn spend_run(
    connection: &mut SqliteConnection,
    digest: Sha256Digest,
) -> Result<(), StoreError> {
    let done =
        sqlx::query("UPDATE agreement SET runs = runs + 1 WHERE digest = ? AND runs < max_runs")
            .bind(digest.as_bytes().as_slice())
            .execute(connection)
            .await?;
    match done.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(Conflict::RunsSpent)),
    }
}

/// Stores a person's decision. The latest counts, except that a rejection is for good: no
/// approval, not even one that was signed before and held back, replaces it.
///
/// # Errors
/// [`Conflict::Rejected`] if this person rejected the agreement before.
pub async fn put_approval(
    connection: &mut SqliteConnection,
    approval: &Signed<Approval>,
    entry: u64,
) -> Result<(), StoreError> {
    let value = approval.value();
    let done = sqlx::query(
        "INSERT INTO approval (agreement, person, envelope, entry, rejected) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (agreement, person)
         DO UPDATE SET envelope = excluded.envelope, entry = excluded.entry,
                       rejected = excluded.rejected
         WHERE approval.rejected = 0",
    )
    .bind(value.agreement.as_bytes().as_slice())
    .bind(value.person.as_str())
    .bind(approval.envelope().to_json())
    .bind(row_number(entry)?)
    .bind(value.verdict == Verdict::Reject)
    .execute(connection)
    .await?;
    match done.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(Conflict::Rejected)),
    }
}

/// The decisions about an agreement, by person.
///
/// # Errors
/// If the database fails.
pub async fn approvals(
    readers: &SqlitePool,
    digest: Sha256Digest,
) -> Result<Vec<Signed<Approval>>, StoreError> {
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT envelope FROM approval WHERE agreement = ? ORDER BY person")
            .bind(digest.as_bytes().as_slice())
            .fetch_all(readers)
            .await?;
    rows.iter().map(|envelope| reopen(envelope, "approval")).collect()
}

/// Stops a study for good; a second stop changes nothing.
///
/// # Errors
/// If the database fails.
pub async fn stop_study(
    connection: &mut SqliteConnection,
    stop: &Signed<Stop>,
    entry: u64,
) -> Result<(), StoreError> {
    sqlx::query("INSERT OR IGNORE INTO study_stop (study, envelope, entry) VALUES (?, ?, ?)")
        .bind(stop.value().study.as_str())
        .bind(stop.envelope().to_json())
        .bind(row_number(entry)?)
        .execute(connection)
        .await?;
    Ok(())
}
