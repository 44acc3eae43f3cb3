//! Results on their way out: the guard's receipt, each broker's clearance, and what the
//! recipient needs to open the result.

use cordon_crypto::dsse::Document;
use cordon_crypto::{SealedBox, canonical};
use cordon_types::{
    Base64Bytes, DatasetId, Milliseconds, Nonce, PartyId, PersonId, Sha256Digest, UnixSeconds,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::V1;
use crate::evidence::TeeKind;
use crate::run::RunId;

/// The guard's statement of what ran on what. Signed by the guard's key, which the evidence
/// binds. It holds no data and no plain digest of data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Format version.
    pub v: V1,
    /// The run.
    pub run: RunId,
    /// The agreement.
    pub agreement: Sha256Digest,
    /// Digest of the evidence.
    pub evidence: Sha256Digest,
    /// SHA-256 of the engine that ran.
    pub engine: Sha256Digest,
    /// What stands behind the confidentiality of the run.
    pub assurance: Assurance,
    /// What was read, sorted by holder and dataset.
    pub inputs: Vec<ReceiptInput>,
    /// Digests of the grant contexts, sorted by holder.
    pub grants: Vec<ReceiptGrant>,
    /// What became of it.
    pub outcome: Outcome,
    /// Wall time of the worker, rounded up to 100 ms.
    pub worker_ms: Milliseconds,
    /// Ciphertext bytes that the worker read.
    pub bytes_read: u64,
}

impl Document for Receipt {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.receipt.v1+json";
}

/// One dataset version that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptInput {
    /// Whose.
    pub holder: PartyId,
    /// Which dataset.
    pub dataset: DatasetId,
    /// Which version.
    pub version: u32,
    /// Digest of its manifest.
    pub manifest: Sha256Digest,
}

/// One grant that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptGrant {
    /// Whose.
    pub holder: PartyId,
    /// Digest of its context.
    pub context: Sha256Digest,
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// The gate passed; the result is sealed and waits for clearance.
    Sealed(SealedOutcome),
    /// Nothing left; the code says why, and never what.
    Failed {
        /// A stable code, for example `gate_small_cells`.
        code: String,
    },
}

/// The sealed result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedOutcome {
    /// SHA-256 of the sealed bytes: their name in the object store.
    pub sealed: Sha256Digest,
    /// Their size.
    pub size_bytes: u64,
    /// HMAC of the result document under a salt that only the recipients learn.
    pub commitment: Sha256Digest,
    /// Commitment to the result key, which the joined shares must match.
    pub key_commitment: Sha256Digest,
    /// What each holder's broker gets, sorted by holder.
    pub shares: Vec<ReceiptShare>,
    /// The rules by which the gate judged, sorted. What they did stands in the result: before
    /// anybody has cleared it, not even a number of rows leaves.
    pub gates: Vec<String>,
}

/// What one holder's broker gets beside the receipt, by digest: who carries it can withhold it, and
/// not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptShare {
    /// Whose.
    pub holder: PartyId,
    /// Digest of the box with its share of the result key.
    pub share: Sha256Digest,
    /// Digests of the boxes of its reviewers' copies, in the agreement's order.
    pub reviews: Vec<Sha256Digest>,
}

/// One rule of a gate. Counts say how many cells it touched, never which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateVerdict {
    /// The rule, for example `min_cell`.
    pub rule: String,
    /// Rows that it looked at.
    pub checked: u64,
    /// Rows that it suppressed.
    pub suppressed: u64,
}

/// What a broker consents to when it clears an output. Its digest is in the log entry *before*
/// the share is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearanceContext {
    /// Format version.
    pub v: V1,
    /// The holder whose broker clears.
    pub holder: PartyId,
    /// The agreement.
    pub agreement: Sha256Digest,
    /// The run.
    pub run: RunId,
    /// Digest of the receipt.
    pub receipt: Sha256Digest,
    /// Digest of the share's box.
    pub share: Sha256Digest,
    /// SHA-256 of each recipient's box key, in the agreement's order.
    pub recipients: Vec<Sha256Digest>,
    /// Digests of the review decisions that it rests on, sorted; empty if the gate suffices.
    pub reviews: Vec<Sha256Digest>,
    /// When it was decided.
    pub issued: UnixSeconds,
}

impl Document for ClearanceContext {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.clearance-context.v1+json";
}

/// A broker's share of the result key, sealed to every recipient. Signed by the broker key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Format version.
    pub v: V1,
    /// What was cleared.
    pub context: ClearanceContext,
    /// The 32-byte share, once per recipient in the agreement's order; label `ReleaseBox`,
    /// context `[digest of the clearance context]`.
    pub sealed_shares: Vec<SealedBox>,
    /// The log entry of this clearance, canonical bytes.
    pub entry: Base64Bytes,
    /// Its `.tlog-proof`.
    pub proof: String,
}

impl Document for Release {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.release.v1+json";
}

/// A copy of the checked output for one reviewer: the result document, boxed with label
/// `ReviewBox` and context `[run id, sealed result digest]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewCopy {
    /// The reviewer's organisation.
    pub party: PartyId,
    /// The reviewer.
    pub person: PersonId,
    /// The result document, sealed.
    pub sealed: SealedBox,
}

/// The result document itself: what recipients find inside the sealed result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultDocument {
    /// Format version.
    pub v: V1,
    /// The run.
    pub run: RunId,
    /// The agreement.
    pub agreement: Sha256Digest,
    /// Whether a software TEE made it: then it was never confidential.
    pub assurance: Assurance,
    /// Makes the receipt's commitment say nothing about a guessed result.
    pub salt: Nonce,
    /// The checked table.
    pub table: crate::table::ResultTable,
    /// What the gate did.
    pub verdicts: Vec<GateVerdict>,
    /// Zeros up to a size that many results share: the sealed size is public before clearance.
    pub padding: String,
}

impl ResultDocument {
    /// The canonical bytes, padded to a power of two of at least 4 KiB, or to `most` if that is
    /// less. `None` if even without padding there are more than `most`.
    ///
    /// # Errors
    /// If it has no canonical form.
    pub fn to_padded(
        mut self,
        most: usize,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, canonical::CanonicalError> {
        self.padding.clear();
        let bytes = Zeroizing::new(canonical::to_canonical(&self)?);
        if bytes.len() > most {
            return Ok(None);
        }
        let wanted = bytes.len().next_power_of_two().max(SMALLEST_RESULT).min(most);
        self.padding = "0".repeat(wanted - bytes.len());
        canonical::to_canonical(&self).map(Zeroizing::new).map(Some)
    }
}

/// Results of a few hundred cells look alike.
const SMALLEST_RESULT: usize = 4096;

impl Document for ResultDocument {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.result.v1+json";
    const MAX_BYTES: usize = 16 * 1024 * 1024;
}

/// What stands behind the confidentiality of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// A software TEE: development only, not confidential.
    None,
    /// A TPM measured what was started, and the brokers verified it; the operator of the machine
    /// can read memory.
    MeasuredBoot,
    /// A hardware TEE, whose evidence the brokers verified.
    Hardware,
}

impl Assurance {
    /// What a kind of TEE is good for.
    pub const fn of(tee: TeeKind) -> Self {
        match tee {
            TeeKind::Software => Self::None,
            TeeKind::Tpm => Self::MeasuredBoot,
            TeeKind::SevSnp
            | TeeKind::Tdx
            | TeeKind::Sgx
            | TeeKind::Nitro
            | TeeKind::AzureSnp
            | TeeKind::AzureTdx => Self::Hardware,
        }
    }

    /// Its name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::MeasuredBoot => "measured_boot",
            Self::Hardware => "hardware",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Cell, ResultTable};

    fn document(rows: usize) -> ResultDocument {
        let digest = Sha256Digest::from_bytes([1; 32]);
        ResultDocument {
            v: V1,
            run: RunId(digest),
            agreement: digest,
            assurance: Assurance::None,
            salt: Nonce::from_bytes([2; 32]),
            table: ResultTable { columns: Vec::new(), rows: vec![vec![Cell::Integer(7)]; rows] },
            verdicts: Vec::new(),
            padding: String::new(),
        }
    }

    #[test]
    fn results_of_different_sizes_look_alike_until_they_are_opened() {
        let size = |rows, most| document(rows).to_padded(most).unwrap().map(|bytes| bytes.len());
        let most = ResultDocument::MAX_BYTES;
        assert_eq!([size(0, most), size(1, most), size(100, most)], [Some(4096); 3]);
        assert_eq!(size(2000, most), Some(32_768));
        // An agreement may allow less.
        assert_eq!(size(100, 3000), Some(3000));
        assert_eq!(size(2000, 3000), None);
    }

    #[test]
    fn what_was_padded_reads_back() {
        let bytes = document(5).to_padded(ResultDocument::MAX_BYTES).unwrap().unwrap();
        let read: ResultDocument = canonical::from_canonical(&bytes, bytes.len()).unwrap();
        assert_eq!(ResultDocument { padding: String::new(), ..read }, document(5));
    }
}
