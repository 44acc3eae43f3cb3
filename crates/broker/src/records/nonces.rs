//! Nonces of signed documents, each good once.

use cordon_types::{Nonce, UnixSeconds};
use sqlx::SqliteConnection;

use crate::store::{Conflict, StoreError};

/// Marks a nonce as used.
///
/// # Errors
/// [`Conflict::NonceUsed`] if it was before.
pub async fn spend(
    connection: &mut SqliteConnection,
    nonce: Nonce,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    let done = sqlx::query("INSERT OR IGNORE INTO used_nonce (nonce, used_at) VALUES (?, ?)")
        .bind(nonce.as_bytes().as_slice())
        .bind(super::row_number(now.get())?)
        .execute(connection)
        .await?;
    match done.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(Conflict::NonceUsed)),
    }
}
