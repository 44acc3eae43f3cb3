//! Outputs: receipts with this broker's share, reviews, and clearances.

use cordon_crypto::dsse::{Envelope, Signed};
use cordon_crypto::{SealedBox, canonical};
use cordon_protocol::decision::Verdict;
use cordon_protocol::release::ReviewCopy;
use cordon_protocol::{ClearanceContext, Receipt, ReviewDecision, RunId};
use cordon_types::{Sha256Digest, StudyId};
use sqlx::{SqliteConnection, SqlitePool};

use super::{read_digest, read_envelope, reopen, row_number};
use crate::store::{Conflict, StoreError};

/// A receipt and what came with it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The receipt.
    pub receipt: Signed<Receipt>,
    /// This broker's share of the result key, sealed to its key process.
    pub share: Option<SealedBox>,
    /// Review copies for this holder's reviewers.
    pub reviews: Vec<ReviewCopy>,
}

/// A recorded clearance.
#[derive(Clone, Debug)]
pub struct Cleared {
    /// What was cleared.
    pub context: ClearanceContext,
    /// Its log entry.
    pub entry: u64,
    /// The release, once it is made.
    pub release: Option<Envelope>,
    /// Whether it may be on its way to the hub, or there.
    pub sending: bool,
    /// Whether the hub has it.
    pub sent: bool,
}

/// Stores a receipt; `false` if this very receipt is there already.
///
/// # Errors
/// [`Conflict::Exists`] if the run has another receipt.
pub async fn insert_receipt(
    connection: &mut SqliteConnection,
    run: RunId,
    held: &Held,
    entry: u64,
) -> Result<bool, StoreError> {
    let present: Option<Vec<u8>> = sqlx::query_scalar("SELECT digest FROM receipt WHERE run = ?")
        .bind(run.0.as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(digest) = present {
        return match digest == held.receipt.digest().as_bytes() {
            true => Ok(false),
            false => Err(StoreError::Conflict(Conflict::Exists)),
        };
    }
    let json = |_| StoreError::Corrupt("receipt");
    let share = held.share.as_ref().map(serde_json::to_vec).transpose().map_err(json)?;
    sqlx::query(
        "INSERT INTO receipt (run, digest, envelope, share, reviews, entry)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(run.0.as_bytes().as_slice())
    .bind(held.receipt.digest().as_bytes().as_slice())
    .bind(held.receipt.envelope().to_json())
    .bind(share)
    .bind(serde_json::to_vec(&held.reviews).map_err(json)?)
    .bind(row_number(entry)?)
    .execute(connection)
    .await?;
    Ok(true)
}

/// Reads the receipt of a run.
///
/// # Errors
/// If the database fails.
pub async fn receipt(readers: &SqlitePool, run: RunId) -> Result<Option<Held>, StoreError> {
    let row: Option<(Vec<u8>, Option<Vec<u8>>, Vec<u8>)> =
        sqlx::query_as("SELECT envelope, share, reviews FROM receipt WHERE run = ?")
            .bind(run.0.as_bytes().as_slice())
            .fetch_optional(readers)
            .await?;
    let Some((envelope, share, reviews)) = row else { return Ok(None) };
    let corrupt = |_| StoreError::Corrupt("receipt");
    Ok(Some(Held {
        receipt: reopen(&envelope, "receipt")?,
        share: share.map(|s| serde_json::from_slice(&s)).transpose().map_err(corrupt)?,
        reviews: serde_json::from_slice(&reviews).map_err(corrupt)?,
    }))
}

/// Stores a reviewer's decision; the first counts.
///
/// # Errors
/// [`Conflict::Exists`] if this reviewer decided before, [`Conflict::Opened`] if a rejection comes
/// too late.
pub async fn insert_review(
    connection: &mut SqliteConnection,
    review: &Signed<ReviewDecision>,
    entry: u64,
) -> Result<(), StoreError> {
    let rejected = review.value().verdict == Verdict::Reject;
    let run = review.value().run;
    if rejected && is_sending(&mut *connection, run).await? {
        return Err(StoreError::Conflict(Conflict::Opened));
    }
    let done = sqlx::query(
        "INSERT OR IGNORE INTO review (run, person, rejected, envelope, entry)
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(run.0.as_bytes().as_slice())
    .bind(review.value().person.as_str())
    .bind(rejected)
    .bind(review.envelope().to_json())
    .bind(row_number(entry)?)
    .execute(connection)
    .await?;
    match done.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(Conflict::Exists)),
    }
}

/// The reviews of a run, by person.
///
/// # Errors
/// If the database fails.
pub async fn reviews(
    readers: &SqlitePool,
    run: RunId,
) -> Result<Vec<Signed<ReviewDecision>>, StoreError> {
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT envelope FROM review WHERE run = ? ORDER BY person")
            .bind(run.0.as_bytes().as_slice())
            .fetch_all(readers)
            .await?;
    rows.iter().map(|envelope| reopen(envelope, "review")).collect()
}

/// Fails unless exactly these many reviews of a run are there: a rejection that came in while a
/// decision was made counts.
///
/// # Errors
/// [`Conflict::Changed`].
pub async fn as_reviewed(
    connection: &mut SqliteConnection,
    run: RunId,
    reviews: usize,
) -> Result<(), StoreError> {
    let found: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM review WHERE run = ?")
        .bind(run.0.as_bytes().as_slice())
        .fetch_one(connection)
        .await?;
    match usize::try_from(found) == Ok(reviews) {
        true => Ok(()),
        false => Err(StoreError::Conflict(Conflict::Changed)),
    }
}

/// Notes that an output is never cleared, and why.
///
/// # Errors
/// If the database fails.
pub async fn set_refused(
    connection: &mut SqliteConnection,
    run: RunId,
    code: &str,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE receipt SET refused = ? WHERE run = ?")
        .bind(code)
        .bind(run.0.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Why an output is never cleared, if that is decided.
///
/// # Errors
/// If the database fails.
pub async fn refused(readers: &SqlitePool, run: RunId) -> Result<Option<String>, StoreError> {
    let row: Option<Option<String>> =
        sqlx::query_scalar("SELECT refused FROM receipt WHERE run = ?")
            .bind(run.0.as_bytes().as_slice())
            .fetch_optional(readers)
            .await?;
    Ok(row.flatten())
}

/// Records a clearance that is about to take effect; `false` if the run has one already.
///
/// # Errors
/// If the database fails.
pub async fn insert_clearance(
    connection: &mut SqliteConnection,
    context: &ClearanceContext,
    entry: u64,
) -> Result<bool, StoreError> {
    let bytes = canonical::to_canonical(context).map_err(|_| StoreError::Corrupt("clearance"))?;
    let done =
        sqlx::query("INSERT OR IGNORE INTO clearance (run, context, entry) VALUES (?, ?, ?)")
            .bind(context.run.0.as_bytes().as_slice())
            .bind(bytes)
            .bind(row_number(entry)?)
            .execute(connection)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Fails if somebody rejected the output since it was cleared.
///
/// # Errors
/// [`Conflict::Reviewed`].
pub async fn not_rejected(connection: &mut SqliteConnection, run: RunId) -> Result<(), StoreError> {
    let rejected: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM review WHERE run = ? AND rejected = 1)")
            .bind(run.0.as_bytes().as_slice())
            .fetch_one(&mut *connection)
            .await?;
    if rejected {
        return Err(StoreError::Conflict(Conflict::Reviewed));
    }
    Ok(())
}

/// Notes whether the release may be on its way out: then neither rejection nor stop counts.
///
/// # Errors
/// If the database fails.
pub async fn set_sending(
    connection: &mut SqliteConnection,
    run: RunId,
    sending: bool,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE clearance SET sending = ? WHERE run = ?")
        .bind(sending)
        .bind(run.0.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether the release may be on its way out.
///
/// # Errors
/// If the database fails.
pub async fn is_sending(connection: &mut SqliteConnection, run: RunId) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar("SELECT sending FROM clearance WHERE run = ?")
        .bind(run.0.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(found.unwrap_or(false))
}

/// Keeps the release.
///
/// # Errors
/// If the database fails.
pub async fn set_release(
    connection: &mut SqliteConnection,
    run: RunId,
    release: &Envelope,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE clearance SET release = ? WHERE run = ?")
        .bind(release.to_json())
        .bind(run.0.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Marks the release as delivered.
///
/// # Errors
/// If the database fails.
pub async fn set_sent(connection: &mut SqliteConnection, run: RunId) -> Result<(), StoreError> {
    sqlx::query("UPDATE clearance SET sent = 1 WHERE run = ?")
        .bind(run.0.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Reads the clearance of a run.
///
/// # Errors
/// If the database fails.
pub async fn clearance(readers: &SqlitePool, run: RunId) -> Result<Option<Cleared>, StoreError> {
    let row: Option<(Vec<u8>, i64, Option<Vec<u8>>, bool, bool)> = sqlx::query_as(
        "SELECT context, entry, release, sending, sent FROM clearance WHERE run = ?",
    )
    .bind(run.0.as_bytes().as_slice())
    .fetch_optional(readers)
    .await?;
    let Some((context, entry, release, sending, sent)) = row else { return Ok(None) };
    let corrupt = || StoreError::Corrupt("clearance");
    Ok(Some(Cleared {
        context: canonical::from_canonical(&context, usize::MAX).map_err(|_| corrupt())?,
        entry: u64::try_from(entry).map_err(|_| corrupt())?,
        release: release.map(|bytes| read_envelope(&bytes, "release")).transpose()?,
        sending,
        sent,
    }))
}

/// How many outputs of a study were cleared here.
///
/// # Errors
/// If the database fails.
pub async fn count_cleared(readers: &SqlitePool, study: &StudyId) -> Result<u32, StoreError> {
    let count: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM clearance
         JOIN grant_record USING (run)
         JOIN agreement ON agreement.digest = grant_record.agreement
         WHERE agreement.study = ?",
    )
    .bind(study.as_str())
    .fetch_one(readers)
    .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Clearances that a crash or an unreachable hub left unfinished.
///
/// # Errors
/// If the database fails.
pub async fn unfinished(readers: &SqlitePool) -> Result<Vec<RunId>, StoreError> {
    let rows: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT run FROM clearance JOIN receipt USING (run)
             WHERE sent = 0 AND refused IS NULL ORDER BY clearance.entry",
    )
    .fetch_all(readers)
    .await?;
    rows.iter().map(|run| read_digest(run, "run").map(RunId)).collect()
}

/// Runs whose output waits for a decision.
///
/// # Errors
/// If the database fails.
pub async fn undecided(readers: &SqlitePool) -> Result<Vec<(RunId, Sha256Digest)>, StoreError> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "SELECT run, digest FROM receipt
         WHERE share IS NOT NULL AND refused IS NULL
           AND run NOT IN (SELECT run FROM clearance)
         ORDER BY entry",
    )
    .fetch_all(readers)
    .await?;
    rows.iter()
        .map(|(run, digest)| Ok((RunId(read_digest(run, "run")?), read_digest(digest, "receipt")?)))
        .collect()
}
