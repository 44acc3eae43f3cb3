//! AMD SEV-SNP: what a report says, and whether a chip of AMD's said it.
//!
//! [`examine`] says that a report is genuine. It says neither that it is fresh nor what it is
//! bound to, and without a revocation list not even whether its key was revoked: keys are never
//! released for an [`Examined`], only for what [`crate::verify`] makes of one.

mod appraise;
mod chain;
mod claims;
mod report;
mod store;

use cordon_protocol::evidence::{Evidence, TeeKind};
use cordon_protocol::release::Assurance;
use cordon_types::{UnixSeconds, hex};

use crate::collateral::{Collateral, CollateralKey, Used, missing};
use crate::rejection::Rejection;
use crate::roots::TrustRoots;
use crate::verify::{EvidenceVerifier, Genuine, PlatformClaims, ReportData};

pub(crate) use appraise::appraise;
pub use chain::{AMD_ROOTS, AmdRoot, Chain, ChipKey};
pub use claims::{Claims, Versions};
pub use report::{Generation, KeyInfo, Platform, Policy, REPORT_BYTES, RawTcb, Report, SigningKey};
pub use store::needs;
pub(crate) use store::{certificate_table, recognised};

/// A report that a chip of AMD's signed.
#[derive(Clone, Debug)]
pub struct Examined<'a> {
    report: Report<'a>,
    generation: Generation,
    used: Used,
    is_revocation_checked: bool,
}

/// Checks that a report is genuine at `now`. Where a revocation list is in hand, it counts.
///
/// # Errors
/// The first check that fails.
pub fn examine<'a>(
    report: &'a [u8],
    collateral: &Collateral,
    roots: &TrustRoots,
    now: UnixSeconds,
) -> Result<Examined<'a>, Rejection> {
    // 1. The report, byte by byte.
    let report = Report::parse(report)?;
    // 2. The certificates that it needs, up to a trusted root.
    let found = store::certificates(&report, collateral)?;
    let chain = Chain::parse(found.ark.1, found.authority.1, found.leaf.1, report.key.signing_key)?;
    let key = chain.verify(roots.amd(), now)?;
    let mut used = Used::default();
    for ((name, item), not_after) in
        [found.ark, found.authority, found.leaf].into_iter().zip(chain.ends())
    {
        used.note(name, item, Some(not_after));
    }
    // 3. That none of them was revoked.
    let list_key = CollateralKey::AmdRevocations(key.generation());
    let list = collateral.get(&list_key);
    if let Some(list) = list {
        let (number, ends) = chain.require_not_revoked(list, now)?;
        collateral.require_not_older(&list_key, "crl", number)?;
        used.note(list_key.clone(), list, ends);
        used.numbers.insert(list_key, number);
    }
    // 4. The signature, and that the key stands for this chip and these versions.
    key.require_signed(&report)?;
    let generation = key.generation();
    Ok(Examined { report, generation, used, is_revocation_checked: list.is_some() })
}

impl<'a> Examined<'a> {
    /// The report.
    pub const fn report(&self) -> &Report<'a> {
        &self.report
    }

    /// The product line whose root stands behind it.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether a revocation list of AMD's was in hand. Without one, no key is released.
    pub const fn is_revocation_checked(&self) -> bool {
        self.is_revocation_checked
    }

    /// What was used to check it.
    pub const fn used(&self) -> &Used {
        &self.used
    }

    /// What it says, in words.
    pub fn claims(&self) -> Claims {
        Claims::of(&self.report, self.generation)
    }
}

/// Evidence of SEV-SNP: a report whose report data is the binding.
pub(crate) struct SnpVerifier;

impl EvidenceVerifier for SnpVerifier {
    fn kind(&self) -> TeeKind {
        TeeKind::SevSnp
    }

    fn verify(
        &self,
        evidence: &Evidence,
        collateral: &Collateral,
        roots: &TrustRoots,
        now: UnixSeconds,
        report_data: &ReportData,
    ) -> Result<Genuine, Rejection> {
        let carried = evidence.collateral.as_ref().map(|carried| carried.as_slice());
        let collateral = collateral.with_carried(carried)?;
        let examined = examine(evidence.evidence.as_slice(), &collateral, roots, now)?;
        report_data.require(examined.report.report_data(), "report.report_data")?;
        if !examined.is_revocation_checked {
            return Err(missing("crl", CollateralKey::AmdRevocations(examined.generation)));
        }
        Ok(Genuine {
            measurement: hex::encode(examined.report.measurement()),
            assurance: Assurance::Hardware,
            platform: PlatformClaims::Snp(Box::new(examined.claims())),
            used: examined.used,
        })
    }
}
