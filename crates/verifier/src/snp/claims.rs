//! What a report says, for people and for machines.

use std::collections::BTreeMap;

use cordon_types::hex;
use serde::Serialize;

use super::chain::{layout, product};
use super::report::{Generation, RawTcb, Report};

/// What a genuine report of SEV-SNP says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Product line of the processor.
    pub product: &'static str,
    /// Version of the report's layout.
    pub report_version: u32,
    /// What was launched.
    pub measurement: String,
    /// What the guest had bound into it.
    pub report_data: String,
    /// What the host gave it at launch.
    pub host_data: String,
    /// The chip.
    pub chip_id: String,
    /// Privilege level that asked: 0 is the highest.
    pub vmpl: u32,
    /// Security version of the guest.
    pub guest_svn: u32,
    /// Whether the host may read the guest's memory: then nothing is confidential.
    pub debug: bool,
    /// Whether a migration agent may move the guest.
    pub migration: bool,
    /// Whether SMT is allowed, and whether it is on.
    pub smt_allowed: bool,
    /// Likewise, on this machine.
    pub smt_on: bool,
    /// Whether the firmware looked for memory under two addresses (BadRAM).
    pub alias_check: bool,
    /// Firmware that runs: major.minor.build.
    pub firmware: String,
    /// Security versions that the signing key stands for.
    pub reported_tcb: BTreeMap<&'static str, u8>,
    /// Those below which the platform cannot go back.
    pub committed_tcb: BTreeMap<&'static str, u8>,
}

impl Claims {
    pub(super) fn of(report: &Report<'_>, generation: Generation) -> Self {
        let (major, minor, build) = report.current_version;
        Self {
            product: product(generation),
            report_version: report.version,
            measurement: hex::encode(report.measurement()),
            report_data: hex::encode(report.report_data()),
            host_data: hex::encode(report.host_data()),
            chip_id: hex::encode(report.chip_id()),
            vmpl: report.vmpl,
            guest_svn: report.guest_svn,
            debug: report.policy.allows_debugging(),
            migration: report.policy.allows_migration() || report.has_migration_agent(),
            smt_allowed: report.policy.allows_smt(),
            smt_on: report.platform.has_smt(),
            alias_check: report.platform.has_checked_aliases(),
            firmware: format!("{major}.{minor}.{build}"),
            reported_tcb: named(report.reported_tcb, generation),
            committed_tcb: named(report.committed_tcb, generation),
        }
    }
}

/// The versions by the names of their parts.
fn named(tcb: RawTcb, generation: Generation) -> BTreeMap<&'static str, u8> {
    let name = |arc: u32| match arc {
        1 => "boot_loader",
        2 => "tee",
        3 => "snp",
        8 => "microcode",
        _ => "fmc",
    };
    layout(generation).iter().map(|(arc, place)| (name(*arc), tcb.0[*place])).collect()
}
