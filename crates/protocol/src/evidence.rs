//! What a TEE says about the guard, and what it binds.

use cordon_crypto::dsse::Document;
use cordon_crypto::{Label, RecipientKey, VerifyingKey, canonical, sha512};
use cordon_types::{Base64Bytes, Nonce, PartyId, Sha256Digest};
use serde::{Deserialize, Serialize};

use crate::V1;
use crate::run::RunId;

/// Kinds of TEE whose evidence the verifier reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeeKind {
    /// The development TEE: a measuring launcher, no confidentiality.
    Software,
    /// AMD SEV-SNP: the guard is the guest.
    SevSnp,
    /// Intel TDX: the guard is the trust domain.
    Tdx,
    /// Intel SGX: the guard is the enclave.
    Sgx,
    /// AWS Nitro Enclaves.
    Nitro,
    /// A confidential VM of Azure on SEV-SNP, whose evidence is of its virtual TPM.
    AzureSnp,
    /// Likewise, on TDX.
    AzureTdx,
    /// A TPM 2.0: what was started is measured; memory is not encrypted.
    Tpm,
}

impl TeeKind {
    /// Its name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::SevSnp => "sev_snp",
            Self::Tdx => "tdx",
            Self::Sgx => "sgx",
            Self::Nitro => "nitro",
            Self::AzureSnp => "azure_snp",
            Self::AzureTdx => "azure_tdx",
            Self::Tpm => "tpm",
        }
    }
}

impl std::fmt::Display for TeeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl cordon_types::LogSafe for TeeKind {}

/// How strongly the worker is confined, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxLevel {
    /// System-call filter and limits only.
    Seccomp,
    /// And namespaces of its own: users, processes, network, mounts, IPC.
    Namespaces,
    /// And Landlock rules for files and TCP.
    NamespacesLandlock,
}

/// What the evidence binds (DESIGN invariant 5): the guard makes it, the TEE signs its digest,
/// every broker rebuilds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeData {
    /// Format version.
    pub v: V1,
    /// The run: digest of the run request.
    pub run: RunId,
    /// Digest of the agreement.
    pub agreement: Sha256Digest,
    /// The nonce of every holder's broker, sorted by party.
    pub nonces: Vec<PartyNonce>,
    /// Signs the guard's heartbeats and its receipt.
    pub guard_signing_key: VerifyingKey,
    /// Opens the boxes that brokers seal to the guard.
    pub guard_box_key: RecipientKey,
    /// SHA-256 of the engine that the guard will start.
    pub engine: Sha256Digest,
    /// The confinement that the guard will start it in.
    pub sandbox: SandboxLevel,
}

impl Document for RuntimeData {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.runtime-data.v1+json";
    const MAX_BYTES: usize = 64 * 1024;
}

/// One broker's challenge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyNonce {
    /// Whose.
    pub party: PartyId,
    /// Used once.
    pub nonce: Nonce,
}

/// B = SHA-512(label ‖ canonical runtime data): the value in a TEE's report data.
pub fn binding(runtime_data: &[u8]) -> [u8; 64] {
    sha512(&[Label::Evidence.as_str().as_bytes(), &[0], runtime_data])
}

impl RuntimeData {
    /// The canonical bytes that [`binding`] hashes.
    ///
    /// # Errors
    /// Never in practice: the document holds no numbers but its version.
    pub fn to_bytes(&self) -> Result<Vec<u8>, canonical::CanonicalError> {
        canonical::to_canonical(self)
    }
}

/// Evidence as it travels (RFC 9334): the kind selects a parser and proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Which parser to use.
    pub tee: TeeKind,
    /// The TEE's own format.
    pub evidence: Base64Bytes,
    /// Collateral that the attester brings along, in the verifier's format for this kind.
    pub collateral: Option<Base64Bytes>,
    /// Canonical bytes of [`RuntimeData`].
    pub runtime_data: Base64Bytes,
}

/// Largest evidence that a verifier reads: 4 × the largest TDX quote with its collateral.
pub const MAX_EVIDENCE_BYTES: usize = 256 * 1024;

impl Evidence {
    /// Names this evidence in grants and log entries.
    pub fn digest(&self) -> Sha256Digest {
        cordon_crypto::sha256(&[
            self.tee.to_string().as_bytes(),
            &[0],
            cordon_crypto::sha256(&[self.evidence.as_slice()]).as_bytes(),
            cordon_crypto::sha256(&[self.runtime_data.as_slice()]).as_bytes(),
        ])
    }
}

/// The software TEE's report: what the launcher measured and what the guard asked it to bind.
/// Signed by the launcher's root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftwareReport {
    /// Format version.
    pub v: V1,
    /// SHA-256 of the guard's executable, as lower-case hex.
    pub measurement: String,
    /// 64 bytes that the guard chose.
    pub report_data: Base64Bytes,
}

impl Document for SoftwareReport {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.software-report.v1+json";
    const MAX_BYTES: usize = 4 * 1024;
}
