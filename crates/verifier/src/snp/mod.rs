//! AMD SEV-SNP: what a report says, and whether a chip of AMD's said it.
//!
//! [`examine`] says that a report is genuine. It says neither that it is fresh, nor what it is
//! bound to, nor whether its key was revoked: keys are never released for an [`Examined`].

mod chain;
mod claims;
mod report;

use cordon_types::UnixSeconds;

use crate::rejection::Rejection;

pub use chain::{Chain, ChipKey};
pub use claims::Claims;
pub use report::{Generation, KeyInfo, Platform, Policy, REPORT_BYTES, RawTcb, Report, SigningKey};

/// A report that a chip of AMD's signed.
#[derive(Clone, Debug)]
pub struct Examined<'a> {
    report: Report<'a>,
    generation: Generation,
}

/// Checks that a report is genuine at `now`, with certificates that came in any order.
///
/// # Errors
/// The first check that fails.
pub fn examine<'a>(
    report: &'a [u8],
    certificates: &[Vec<u8>],
    now: UnixSeconds,
) -> Result<Examined<'a>, Rejection> {
    let report = Report::parse(report)?;
    let key = Chain::of(certificates)?.verify(now)?;
    key.require_signed(&report)?;
    Ok(Examined { report, generation: key.generation() })
}

impl<'a> Examined<'a> {
    /// The report.
    pub const fn report(&self) -> &Report<'a> {
        &self.report
    }

    /// What it says, in words.
    pub fn claims(&self) -> Claims {
        Claims::of(&self.report, self.generation)
    }
}
