//! Agreements, the decisions of people about them, and stops.

use cordon_crypto::dsse::{Envelope, Signed};
use cordon_protocol::decision::Verdict;
use cordon_protocol::{Agreement, Approval, Stop};
use cordon_types::{PersonId, Sha256Digest, StudyId};
use sqlx::{SqliteConnection, SqlitePool};

use super::{read_envelope, reopen, row_number};
use crate::store::{Conflict, StoreError};

/// An agreement and how many of its runs are spent.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The agreement.
    pub agreement: Signed<Agreement>,
    /// Runs spent at this broker.
    pub runs: u32,
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

/// Reads an agreement.
///
/// # Errors
/// If the database fails.
pub async fn get(readers: &SqlitePool, digest: Sha256Digest) -> Result<Option<Stored>, StoreError> {
    let row: Option<(Vec<u8>, i64)> =
        sqlx::query_as("SELECT envelope, runs FROM agreement WHERE digest = ?")
            .bind(digest.as_bytes().as_slice())
            .fetch_optional(readers)
            .await?;
    row.map(|(envelope, runs)| stored(&envelope, runs)).transpose()
}

/// All agreements, oldest first.
///
/// # Errors
/// If the database fails.
pub async fn all(readers: &SqlitePool) -> Result<Vec<Stored>, StoreError> {
    let rows: Vec<(Vec<u8>, i64)> =
        sqlx::query_as("SELECT envelope, runs FROM agreement ORDER BY entry")
            .fetch_all(readers)
            .await?;
    rows.iter().map(|(envelope, runs)| stored(envelope, *runs)).collect()
}

fn stored(envelope: &[u8], runs: i64) -> Result<Stored, StoreError> {
    Ok(Stored {
        agreement: reopen(envelope, "agreement")?,
        runs: u32::try_from(runs).map_err(|_| StoreError::Corrupt("agreement"))?,
    })
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

/// The stop of a study, if it was stopped: who did it.
///
/// # Errors
/// If the database fails.
pub async fn stop_of(
    readers: &SqlitePool,
    study: &StudyId,
) -> Result<Option<(PersonId, Envelope)>, StoreError> {
    let row: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT envelope FROM study_stop WHERE study = ?")
            .bind(study.as_str())
            .fetch_optional(readers)
            .await?;
    let Some(bytes) = row else { return Ok(None) };
    let stop = reopen::<Stop>(&bytes, "stop")?;
    Ok(Some((stop.value().person.clone(), read_envelope(&bytes, "stop")?)))
}
