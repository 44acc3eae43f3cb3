//! Who is enrolled: other holders by their cards, people by theirs and their roles here.

use cordon_crypto::dsse::Signed;
use cordon_protocol::party::{PartyCard, PersonCard, Role};
use cordon_types::{PartyId, PersonId};
use sqlx::{SqliteConnection, SqlitePool};

use super::{reopen, row_number};
use crate::store::{Conflict, StoreError};

/// An enrolled person.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The card.
    pub card: Signed<PersonCard>,
    /// Roles at this broker, sorted.
    pub roles: Vec<Role>,
}

/// Enrols a party. The same card again changes nothing.
///
/// # Errors
/// [`Conflict::Exists`] if the party is enrolled with another card.
pub async fn insert_party(
    connection: &mut SqliteConnection,
    card: &Signed<PartyCard>,
    entry: u64,
) -> Result<(), StoreError> {
    let done = sqlx::query("INSERT OR IGNORE INTO party (party, card, entry) VALUES (?, ?, ?)")
        .bind(card.value().party.as_str())
        .bind(card.envelope().to_json())
        .bind(row_number(entry)?)
        .execute(connection)
        .await?;
    match done.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(Conflict::Exists)),
    }
}

/// Enrols a person.
///
/// # Errors
/// [`Conflict::Exists`] if the person is enrolled already.
pub async fn insert_person(
    connection: &mut SqliteConnection,
    card: &Signed<PersonCard>,
    roles: &[Role],
    entry: u64,
) -> Result<(), StoreError> {
    let mut roles = roles.to_vec();
    roles.sort_unstable();
    roles.dedup();
    let roles = serde_json::to_string(&roles).map_err(|_| StoreError::Corrupt("roles"))?;
    let done = sqlx::query(
        "INSERT OR IGNORE INTO person (party, person, card, roles, entry) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(card.value().party.as_str())
    .bind(card.value().person.as_str())
    .bind(card.envelope().to_json())
    .bind(roles)
    .bind(row_number(entry)?)
    .execute(connection)
    .await?;
    match done.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(Conflict::Exists)),
    }
}

/// All enrolled parties, sorted.
///
/// # Errors
/// If the database fails.
pub async fn parties(readers: &SqlitePool) -> Result<Vec<Signed<PartyCard>>, StoreError> {
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT card FROM party ORDER BY party").fetch_all(readers).await?;
    rows.iter().map(|card| reopen(card, "party card")).collect()
}

/// All enrolled people, sorted by party and person.
///
/// # Errors
/// If the database fails.
pub async fn people(readers: &SqlitePool) -> Result<Vec<Enrolled>, StoreError> {
    let rows: Vec<(Vec<u8>, String)> =
        sqlx::query_as("SELECT card, roles FROM person ORDER BY party, person")
            .fetch_all(readers)
            .await?;
    rows.iter().map(|(card, roles)| enrolled(card, roles)).collect()
}

/// One enrolled person.
///
/// # Errors
/// If the database fails.
pub async fn person(
    readers: &SqlitePool,
    party: &PartyId,
    person: &PersonId,
) -> Result<Option<Enrolled>, StoreError> {
    let row: Option<(Vec<u8>, String)> =
        sqlx::query_as("SELECT card, roles FROM person WHERE party = ? AND person = ?")
            .bind(party.as_str())
            .bind(person.as_str())
            .fetch_optional(readers)
            .await?;
    row.map(|(card, roles)| enrolled(&card, &roles)).transpose()
}

fn enrolled(card: &[u8], roles: &str) -> Result<Enrolled, StoreError> {
    Ok(Enrolled {
        card: reopen(card, "person card")?,
        roles: serde_json::from_str(roles).map_err(|_| StoreError::Corrupt("roles"))?,
    })
}
