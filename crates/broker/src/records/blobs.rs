//! Content-addressed bytes that log entries name by digest: evidence, attestation results, and
//! the full reasons of refusals, which only owner and auditor may read.

use cordon_types::Sha256Digest;
use sqlx::{SqliteConnection, SqlitePool};

use crate::store::StoreError;

/// What a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Evidence as it came.
    Evidence,
    /// An attestation result.
    Appraisal,
    /// Lines that say why something was refused.
    Reasons,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Appraisal => "appraisal",
            Self::Reasons => "reasons",
        }
    }
}

/// Stores bytes under their name; the same bytes twice are once.
///
/// # Errors
/// If the database fails.
pub async fn put(
    connection: &mut SqliteConnection,
    digest: Sha256Digest,
    kind: Kind,
    bytes: &[u8],
) -> Result<(), StoreError> {
    sqlx::query("INSERT OR IGNORE INTO blob (digest, kind, bytes) VALUES (?, ?, ?)")
        .bind(digest.as_bytes().as_slice())
        .bind(kind.as_str())
        .bind(bytes)
        .execute(connection)
        .await?;
    Ok(())
}

/// Reads a blob of a kind.
///
/// # Errors
/// If the database fails.
pub async fn get(
    readers: &SqlitePool,
    digest: Sha256Digest,
    kind: Kind,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar("SELECT bytes FROM blob WHERE digest = ? AND kind = ?")
        .bind(digest.as_bytes().as_slice())
        .bind(kind.as_str())
        .fetch_optional(readers)
        .await?)
}
