//! AMD SEV-SNP: what a report says, and whether a chip of AMD's said it.

mod chain;
mod report;

pub use chain::{Chain, ChipKey};
pub use report::{Generation, KeyInfo, Platform, Policy, REPORT_BYTES, RawTcb, Report, SigningKey};
