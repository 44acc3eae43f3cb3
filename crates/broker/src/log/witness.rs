//! This broker as a witness of the others' logs (C2SP tlog-witness), without HTTP.

use std::sync::PoisonError;

use cordon_crypto::sha256;
use cordon_tlog::witness::{AddCheckpoint, Answer, Decision, Fork, Refusal, Witness};
use cordon_tlog::{SignedCheckpoint, WitnessSigner};
use cordon_types::UnixSeconds;
use sqlx::SqliteConnection;

use super::{Log, LogError, Shared};
use crate::store::StoreError;

impl Log {
    /// Answers an `add-checkpoint` request: HTTP status and body.
    ///
    /// # Errors
    /// If the database fails; nothing was cosigned then.
    pub async fn cosign(&self, body: &str, now: UnixSeconds) -> Result<(u16, String), LogError> {
        let request = match AddCheckpoint::parse(body.as_bytes()) {
            Ok(request) => request,
            Err(error) => return Ok(status_and_body(Refusal::from(error).answer())),
        };
        let shared = self.shared.clone();
        // One writer: between look-up and store no other request comes in.
        let answer = self.shared.store.write(move |connection| {
            Box::pin(async move { decide(&shared, connection, &request, now).await })
        });
        match answer.await {
            Ok(answer) => Ok(status_and_body(answer)),
            Err(StoreError::Database(error)) => Err(LogError::Database(error)),
            Err(error) => Err(LogError::damaged(&error)),
        }
    }

    /// The head that was last cosigned for an origin.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn last_cosigned(&self, origin: &str) -> Result<Option<String>, LogError> {
        let found = sqlx::query_scalar("SELECT checkpoint FROM witnessed WHERE origin = ?")
            .bind(origin)
            .fetch_optional(self.shared.store.readers())
            .await?;
        Ok(found)
    }
}

async fn decide(
    shared: &Shared,
    connection: &mut SqliteConnection,
    request: &AddCheckpoint,
    now: UnixSeconds,
) -> Result<Answer, StoreError> {
    let origin = request.checkpoint().unverified().origin().as_str();
    let stored: Option<String> =
        sqlx::query_scalar("SELECT checkpoint FROM witnessed WHERE origin = ?")
            .bind(origin)
            .fetch_optional(&mut *connection)
            .await?;
    let stored = stored.map(|text| SignedCheckpoint::parse(text.as_bytes())).transpose();
    let stored = stored.map_err(|_| StoreError::Corrupt("witnessed head"))?;
    let logs = shared.witnessed.read().unwrap_or_else(PoisonError::into_inner).clone();
    let signer = WitnessSigner::new(shared.witness_name.clone(), &shared.witness_key);
    let witness =
        Witness::new(signer, logs).map_err(|_| StoreError::Corrupt("list of witnessed logs"))?;
    match witness.decide(stored.as_ref(), request, now) {
        Decision::Cosign(cosigned) => {
            sqlx::query(
                "INSERT INTO witnessed (origin, checkpoint) VALUES (?, ?)
                 ON CONFLICT (origin) DO UPDATE SET checkpoint = excluded.checkpoint",
            )
            .bind(origin)
            .bind(cosigned.head().to_string())
            .execute(connection)
            .await?;
            // The store gives this away only after its commit.
            Ok(cosigned.into_answer_once_stored())
        }
        Decision::Refuse { refusal, fork } => {
            if let Some(fork) = fork {
                keep(connection, &fork, now).await?;
            }
            Ok(refusal.answer())
        }
    }
}

async fn keep(
    connection: &mut SqliteConnection,
    fork: &Fork,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    let origin = fork.offered.unverified().origin();
    tracing::error!(%origin, "a log signed two histories");
    let offered = fork.offered.to_string();
    sqlx::query(
        "INSERT OR IGNORE INTO witness_evidence (digest, origin, stored, offered, seen_at)
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(sha256(&[offered.as_bytes()]).as_bytes().as_slice())
    .bind(origin.as_str())
    .bind(fork.stored.as_ref().map(ToString::to_string))
    .bind(offered)
    .bind(crate::records::row_number(now.get())?)
    .execute(connection)
    .await?;
    Ok(())
}

fn status_and_body(answer: Answer) -> (u16, String) {
    (answer.status, answer.body)
}
