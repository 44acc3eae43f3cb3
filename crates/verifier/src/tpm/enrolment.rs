//! Machines that a relying party has enrolled, and counters that only go up.

use super::key::Name;
use super::quote::Examined;
use crate::rejection::{Rejection, RejectionCode};

/// A TPM as it was last seen. The relying party keeps one for each machine.
///
/// The counters are plain numbers only if the attestation key is of the endorsement hierarchy: for
/// others a TPM adds a secret to them (part 1, §36.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Its attestation key. That the key lives beside a known endorsement key was found out by
    /// [`super::make_credential`].
    pub attestation_key: Name,
    /// How often the TPM had been reset.
    pub reset_count: u32,
    /// How often it had been resumed or restarted since then.
    pub restart_count: u32,
    /// Its clock, in milliseconds.
    pub clock_ms: u64,
}

/// Whether an enrolled machine made this quote, and not before it was last seen. What is returned
/// takes the place of the machine's entry.
///
/// # Errors
/// [`RejectionCode::AttestationKeyUnknown`], or [`RejectionCode::CounterWentBack`].
pub fn admit(enrolled: &[Enrolled], examined: &Examined<'_>) -> Result<Enrolled, Rejection> {
    let known = examined
        .signer()
        .and_then(|signer| enrolled.iter().find(|machine| machine.attestation_key == *signer));
    let Some(known) = known else {
        return Err(Rejection::new(
            RejectionCode::AttestationKeyUnknown,
            "attestation_key",
            examined.signer().map_or_else(|| "no name".to_owned(), ToString::to_string),
            format_args!("one of {} enrolled machines", enrolled.len()),
        ));
    };
    let quote = examined.quote();
    let seen = Enrolled {
        attestation_key: known.attestation_key,
        reset_count: quote.reset_count,
        restart_count: quote.restart_count,
        clock_ms: quote.clock_ms,
    };
    require_onwards("quote.reset_count", known.reset_count, seen.reset_count)?;
    let has_reset = seen.reset_count > known.reset_count;
    if !has_reset {
        // A reset sets it to zero.
        require_onwards("quote.restart_count", known.restart_count, seen.restart_count)?;
    }
    // A TPM writes its clock down once in a while. After power was cut it goes on from there, and
    // says that it is not sure.
    if !has_reset || quote.safe {
        require_onwards("quote.clock", known.clock_ms, seen.clock_ms)?;
    }
    Ok(seen)
}

fn require_onwards<T: Ord + std::fmt::Display>(
    field: &'static str,
    known: T,
    seen: T,
) -> Result<(), Rejection> {
    if seen >= known {
        return Ok(());
    }
    let wanted = format_args!("at least {known}");
    Err(Rejection::new(RejectionCode::CounterWentBack, field, seen, wanted))
}
