//! What an attacker tries, and who stops it. Each attack is what a real one could do with what it
//! has: the host's traffic, a researcher's key, a disk, a backup.

mod host;
mod insiders;
mod program;
mod query;
mod records;

use anyhow::{Context as _, Result};

use super::place::{Hospital, Place};
use super::stage::{Seen, Stage};
use super::study::{self, Started};
use super::work::Done;

/// Tries them all.
///
/// # Errors
/// If the demo itself cannot go on.
pub async fn attacks(stage: &mut Stage, done: &mut Done) -> Result<()> {
    program::attacks(stage, done).await;
    host::attacks(stage, done).await;
    query::attacks(stage, done).await;
    insiders::attacks(stage, done).await;
    records::attacks(stage, done).await
}

/// Waits for the end of a run that must end with `expected`, and lets the first hospital's broker
/// say why, if it was a broker.
async fn must_end_with(place: &Place, started: &Started, expected: &str) -> Result<Seen> {
    let status = study::ended(place, started.run).await?;
    let code = status.code.context("the run ended without a code")?;
    let reasons = reasons(place.hospital(0)?, started).await?;
    let words = match reasons {
        Some(reasons) => format!("broker of {}: {code}: {reasons}", place.hospital(0)?.party),
        None => match status.detail {
            Some(detail) => format!("guard: {code}: {detail}"),
            None => format!("guard: {code}"),
        },
    };
    Ok(Seen::code(expected, &code, words))
}

/// What a broker wrote down for its own people about a run that it refused.
async fn reasons(hospital: &Hospital, started: &Started) -> Result<Option<String>> {
    let refusals = hospital.staff(&hospital.officer)?.refusals().await?;
    let refusal = refusals.into_iter().find(|refusal| refusal.run == Some(started.run));
    Ok(refusal.map(|refusal| refusal.reasons.join("; ")))
}
