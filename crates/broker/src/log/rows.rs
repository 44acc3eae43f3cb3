//! The log's rows in the database.

use cordon_protocol::entry::MAX_ENTRY_BYTES;
use sqlx::{SqliteConnection, SqlitePool};

use super::LogError;

/// Appends an entry, in the caller's transaction; gives its index.
///
/// # Errors
/// If it is too large, or the database fails.
pub async fn append(connection: &mut SqliteConnection, entry: &[u8]) -> Result<u64, LogError> {
    if entry.len() > MAX_ENTRY_BYTES {
        return Err(LogError::EntryTooLarge { found: entry.len() });
    }
    // There is one writer, so that no index is given twice or left out.
    let index: i64 = sqlx::query_scalar(
        "INSERT INTO log_entry (idx, bytes)
         SELECT COALESCE(MAX(idx) + 1, 0), ? FROM log_entry RETURNING idx",
    )
    .bind(entry)
    .fetch_one(connection)
    .await?;
    number(index)
}

/// Reads an entry.
///
/// # Errors
/// If the database fails.
pub async fn entry(readers: &SqlitePool, index: u64) -> Result<Option<Vec<u8>>, LogError> {
    let Ok(index) = i64::try_from(index) else { return Ok(None) };
    let bytes = sqlx::query_scalar("SELECT bytes FROM log_entry WHERE idx = ?")
        .bind(index)
        .fetch_optional(readers)
        .await?;
    Ok(bytes)
}

/// At most `limit` entries from `first` on.
pub(super) async fn from(
    readers: &SqlitePool,
    first: u64,
    limit: u32,
) -> Result<Vec<Vec<u8>>, LogError> {
    let first = i64::try_from(first).unwrap_or(i64::MAX);
    let rows =
        sqlx::query_scalar("SELECT bytes FROM log_entry WHERE idx >= ? ORDER BY idx LIMIT ?")
            .bind(first)
            .bind(i64::from(limit))
            .fetch_all(readers)
            .await?;
    Ok(rows)
}

/// How many there are.
pub(super) async fn count(readers: &SqlitePool) -> Result<u64, LogError> {
    let count: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(idx) + 1, 0) FROM log_entry")
        .fetch_one(readers)
        .await?;
    number(count)
}

fn number(value: i64) -> Result<u64, LogError> {
    u64::try_from(value).map_err(|_| LogError::Damaged("an entry has a negative index".into()))
}
