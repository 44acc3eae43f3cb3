//! What a report says, for people, for machines, and for the appraisal.

use std::collections::BTreeMap;

use cordon_types::hex;
use serde::Serialize;

use super::chain::layout;
use super::report::{Generation, RawTcb, Report};

/// Security versions by the names of their parts.
pub type Versions = BTreeMap<&'static str, u8>;

/// What a genuine report of SEV-SNP says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Product line of the processor.
    pub product: &'static str,
    /// Version of the report's layout.
    pub report_version: u32,
    /// The key that signed: of the chip (`vcek`), or loaded by a provider (`vlek`).
    pub endorsement: &'static str,
    /// What was launched.
    pub measurement: String,
    /// What the guest had bound into it.
    pub report_data: String,
    /// What the host gave it at launch.
    pub host_data: String,
    /// Digest of the key that signed the guest's identity; zeros if none did.
    pub id_key_digest: String,
    /// Digest of the key that signed that key, if one did.
    pub author_key_digest: Option<String>,
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
    /// Whether SMT is allowed.
    pub smt_allowed: bool,
    /// Whether SMT is on, on this machine.
    pub smt_on: bool,
    /// Whether the guest may run on one socket only.
    pub single_socket: bool,
    /// Whether the guest demands AES-256-XTS.
    pub aes_256_xts: bool,
    /// Whether the firmware looked for memory under two addresses (BadRAM).
    pub alias_check: bool,
    /// Whether ciphertext is hidden from the host.
    pub ciphertext_hiding: bool,
    /// Whether power readings are off.
    pub rapl_off: bool,
    /// Whether all memory is encrypted transparently.
    pub memory_encryption: bool,
    /// Firmware that runs: major.minor.build.
    pub firmware: String,
    /// Firmware that is committed.
    pub committed_firmware: String,
    /// Oldest firmware interface that the guest accepts.
    pub minimum_abi: String,
    /// Security versions that the signing key stands for.
    pub reported_tcb: Versions,
    /// Those that run now.
    pub current_tcb: Versions,
    /// Those below which the platform cannot go back.
    pub committed_tcb: Versions,
    /// Those that ran when the guest was launched.
    pub launch_tcb: Versions,
    /// The reported versions, as they stand in the report.
    #[serde(skip)]
    pub(super) raw_reported_tcb: String,
}

impl Claims {
    pub(super) fn of(report: &Report<'_>, generation: Generation) -> Self {
        let shown = |(major, minor, build): (u8, u8, u8)| format!("{major}.{minor}.{build}");
        let (major, minor) = report.policy.minimum_abi();
        let has_author = report.key.has_author_key;
        Self {
            product: generation.as_str(),
            report_version: report.version,
            endorsement: report.key.signing_key.as_str(),
            measurement: hex::encode(report.measurement()),
            report_data: hex::encode(report.report_data()),
            host_data: hex::encode(report.host_data()),
            id_key_digest: hex::encode(report.id_key_digest()),
            author_key_digest: has_author.then(|| hex::encode(report.author_key_digest())),
            chip_id: hex::encode(report.chip_id()),
            vmpl: report.vmpl,
            guest_svn: report.guest_svn,
            debug: report.policy.allows_debugging(),
            migration: report.policy.allows_migration() || report.has_migration_agent(),
            smt_allowed: report.policy.allows_smt(),
            smt_on: report.platform.has_smt(),
            single_socket: report.policy.is_single_socket(),
            aes_256_xts: report.policy.demands_aes_256_xts(),
            alias_check: report.platform.has_checked_aliases(),
            ciphertext_hiding: report.platform.hides_ciphertext(),
            rapl_off: report.platform.has_rapl_off(),
            memory_encryption: report.platform.encrypts_memory(),
            firmware: shown(report.current_version),
            committed_firmware: shown(report.committed_version),
            minimum_abi: format!("{major}.{minor}"),
            reported_tcb: named(report.reported_tcb, generation),
            current_tcb: named(report.current_tcb, generation),
            committed_tcb: named(report.committed_tcb, generation),
            launch_tcb: named(report.launch_tcb, generation),
            raw_reported_tcb: report.reported_tcb.to_string(),
        }
    }
}

/// The versions by the names of their parts.
fn named(tcb: RawTcb, generation: Generation) -> Versions {
    let name = |arc: u32| match arc {
        1 => "boot_loader",
        2 => "tee",
        3 => "snp",
        8 => "microcode",
        _ => "fmc",
    };
    layout(generation).iter().map(|(arc, place)| (name(*arc), tcb.0[*place])).collect()
}
