//! What a data holder's security officer accepts of platforms: which measurements are which
//! release of the guard, and how current firmware must be.
//!
//! An agreement names releases; this document maps what hardware measures to them. So an update of
//! the guard is approved once by each holder, without touching a study, and each holder can refuse
//! one. It says what is accepted: what it does not name is refused.

use std::collections::BTreeMap;

use cordon_crypto::VerifyingKey;
use cordon_crypto::dsse::Document;
use cordon_types::{PartyId, UnixSeconds};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::V1;
use crate::evidence::TeeKind;

/// Signed by a security officer of the holder. The one with the highest serial counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformPolicy {
    /// Format version.
    pub v: V1,
    /// Whose.
    pub holder: PartyId,
    /// Grows by each change; an older one is refused.
    pub serial: u64,
    /// When it was made.
    pub issued: UnixSeconds,
    /// The reference values (RFC 9334 §4.1).
    pub releases: Vec<GuardRelease>,
    /// Measurements that are refused even where an agreement names them.
    pub denied_measurements: Vec<String>,
    /// SEV-SNP, also below Azure. Without it, refused.
    pub amd: Option<AmdPolicy>,
    /// SGX and TDX, also below Azure. Without it, refused.
    pub intel: Option<IntelPolicy>,
    /// AWS Nitro Enclaves. Without it, refused.
    pub nitro: Option<NitroPolicy>,
    /// TPM 2.0. Without it, refused.
    pub tpm: Option<TpmPolicy>,
}

impl Document for PlatformPolicy {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.platform-policy.v1+json";
    const MAX_BYTES: usize = 256 * 1024;
}

/// One release of a guard, and what hardware measures of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardRelease {
    /// Whose release it is.
    pub signer: VerifyingKey,
    /// For example `cordon-enclave`.
    pub product: String,
    /// Its version.
    pub version: ReleaseVersion,
    /// What it measures as, per kind of TEE.
    pub measurements: Vec<Reference>,
}

/// How hardware knows a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reference {
    /// Exactly this measurement, lower-case hex.
    Exact {
        /// On this kind of TEE.
        tee: TeeKind,
        /// As the verifier gives it for that kind.
        measurement: String,
    },
    /// Any enclave of SGX that this key signed as this product, from a version on.
    SgxSigner {
        /// MRSIGNER, lower-case hex.
        mrsigner: String,
        /// ISVPRODID.
        product_id: u16,
        /// Least ISVSVN.
        minimum_svn: u16,
    },
}

/// Which releases an agreement accepts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRule {
    /// Whose releases.
    pub signer: VerifyingKey,
    /// Of which program.
    pub product: String,
    /// From which version on.
    pub minimum_version: ReleaseVersion,
}

impl ReleaseRule {
    /// Whether it accepts a release.
    pub fn accepts(&self, release: &GuardRelease) -> bool {
        self.signer == release.signer
            && self.product == release.product
            && self.minimum_version <= release.version
    }
}

/// `major.minor.patch`; ordered as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseVersion(pub u32, pub u32, pub u32);

impl std::fmt::Display for ReleaseVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Not `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version: expected three numbers, for example 1.4.0")]
pub struct VersionError;

impl std::str::FromStr for ReleaseVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.').map(str::parse::<u32>);
        let mut next = || parts.next().and_then(Result::ok).ok_or(VersionError);
        let version = Self(next()?, next()?, next()?);
        // One spelling: no sign, no leading zeros, nothing after it.
        if version.to_string() == text { Ok(version) } else { Err(VersionError) }
    }
}

impl Serialize for ReleaseVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReleaseVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Rules for SEV-SNP. A guest that can be debugged or moved is refused by no rule of these, but
/// always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmdPolicy {
    /// The least versions of each product line; a line that is not named is refused.
    pub floors: Vec<AmdFloor>,
    /// Whether SMT may be on.
    pub allow_smt: bool,
    /// Features that must be on, sorted.
    pub required: Vec<AmdFeature>,
    /// The lowest privilege (highest number) from which evidence may be asked for.
    pub highest_vmpl: u8,
    /// Only these chips, as lower-case hex of the report's chip id; all if absent.
    pub accepted_chips: Option<Vec<String>>,
    /// Never these.
    pub denied_chips: Vec<DeniedChip>,
    /// What the host must have given at launch, lower-case hex; anything if absent.
    pub host_data: Option<String>,
    /// Digests of author keys of which one must have signed the guest, lower-case hex; any guest
    /// if absent.
    pub author_keys: Option<Vec<String>>,
}

/// The least security versions of one product line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmdFloor {
    /// `Milan`, `Genoa`, `Turin`.
    pub product: String,
    /// By part: `fmc`, `boot_loader`, `tee`, `snp`, `microcode`. What is not named may be 0.
    pub versions: BTreeMap<String, u8>,
}

/// Features of an AMD platform or guest that a holder can insist on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AmdFeature {
    /// The firmware looked for memory under two addresses (BadRAM).
    AliasCheck,
    /// Ciphertext is hidden from the host.
    CiphertextHiding,
    /// Power readings of the processor are off.
    RaplOff,
    /// The guest may run on one socket only.
    SingleSocket,
    /// Memory is encrypted with AES-256-XTS.
    Aes256Xts,
    /// Transparent encryption of all memory.
    MemoryEncryption,
}

/// A chip that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeniedChip {
    /// Chip id of its reports, lower-case hex.
    pub chip_id: String,
    /// Only with these versions (reported TCB, lower-case hex), or with all.
    pub tcb: Option<String>,
}

/// Rules for SGX and TDX. What can be debugged or moved is refused always, and so is a platform
/// that Intel revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntelPolicy {
    /// Names of the states that are accepted, as Intel spells them, sorted: `UpToDate`.
    pub accepted_statuses: Vec<String>,
    /// Advisories that may not concern the platform, sorted: `INTEL-SA-00615`.
    pub denied_advisories: Vec<String>,
    /// Least evaluation number of TCB info and QE identity.
    pub minimum_evaluation: u32,
    /// Whether SMT may be on.
    pub allow_smt: bool,
    /// Whether packages may be added to the platform.
    pub allow_dynamic_platform: bool,
    /// Whether Intel keeps the platform's root keys.
    pub allow_cached_keys: bool,
    /// Never these platforms: PPID, lower-case hex.
    pub denied_platforms: Vec<String>,
}

/// Rules for Nitro Enclaves. Debug mode is refused always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NitroPolicy {
    /// Oldest document, by its own clock.
    pub max_age_seconds: u32,
    /// Values of further registers (3: role, 4: instance, 8: signer), lower-case hex.
    pub registers: BTreeMap<String, String>,
}

/// Rules for a TPM of which an attestation key was enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmPolicy {
    /// The machines.
    pub machines: Vec<TpmMachine>,
    /// Registers that evidence must cover, ascending.
    pub registers: Vec<u8>,
}

/// A machine, by its TPM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmMachine {
    /// Name of its attestation key (TPM 2.0 part 1 §16), lower-case hex.
    pub attestation_key: String,
    /// Counters when it was enrolled: they never go back.
    pub reset_count: u32,
    /// Likewise.
    pub restart_count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_with_one_spelling() {
        let version = |text: &str| text.parse::<ReleaseVersion>();
        assert_eq!(version("1.10.0"), Ok(ReleaseVersion(1, 10, 0)));
        assert!(ReleaseVersion(1, 10, 0) > ReleaseVersion(1, 9, 7));
        for bad in
            ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "+1.2.3", "1.2.3 ", "1.2.99999999999"]
        {
            assert_eq!(version(bad), Err(VersionError), "{bad}");
        }
    }
}
