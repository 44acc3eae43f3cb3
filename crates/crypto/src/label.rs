/// What a key, a tag or a box is for. Every derivation in Cordon names one of these, so that no
/// two uses can ever share a key by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// Dataset version key → column key (DESIGN §7).
    ColumnKey,
    /// Dataset version key → footer key.
    FooterKey,
    /// Column or footer key → key of one file.
    FileKey,
    /// Dataset version key → key of one sealed stream.
    StreamKey,
    /// Any key → a public commitment to it, since AES-GCM does not commit.
    KeyCommitment,
    /// Dataset, version and path → AAD prefix of one Parquet file.
    AadPrefix,
    /// Holder key → pseudonym of one subject.
    SubjectPseudonym,
    /// Box: dataset version key, holder → its broker.
    DatasetVersionBox,
    /// Box: released keys, broker → guard.
    GrantBox,
    /// Box: share of the result key, guard → broker.
    ShareBox,
    /// Box: share of the result key, broker → recipient.
    ReleaseBox,
    /// Box: review copy, guard → reviewer.
    ReviewBox,
    /// The sealed result itself.
    SealedResult,
    /// Root key → wrapped key-encryption key.
    RootWrap,
    /// Key-encryption key → wrapped dataset version key.
    KeyWrap,
    /// Passphrase or key file → root key.
    RootSeal,
    /// Broker's state key → wrapped signing and opening keys.
    StateSeal,
    /// Root key → authentication of a key store's records, which are readable but not changeable.
    StateRecord,
    /// Fingerprint of a back-end key, checked at start.
    KeyFingerprint,
    /// Study key → pseudonym in a log leaf.
    LogPseudonym,
    /// Salt → commitment to data in a receipt.
    ReceiptCommitment,
    /// Runtime data of evidence (DESIGN invariant 5).
    Evidence,
    /// Launch measurement of the software TEE.
    SoftwareMeasurement,
    /// A caller's proof of identity to the hub or a broker.
    RequestSignature,
}

impl Label {
    /// The domain-separation string, unique and prefix-free among all labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ColumnKey => "cordon/column-key/v1",
            Self::FooterKey => "cordon/footer-key/v1",
            Self::FileKey => "cordon/file-key/v1",
            Self::StreamKey => "cordon/stream-key/v1",
            Self::KeyCommitment => "cordon/key-commitment/v1",
            Self::AadPrefix => "cordon/aad-prefix/v1",
            Self::SubjectPseudonym => "cordon/subject-pseudonym/v1",
            Self::DatasetVersionBox => "cordon/dataset-version-box/v1",
            Self::GrantBox => "cordon/grant-box/v1",
            Self::ShareBox => "cordon/share-box/v1",
            Self::ReleaseBox => "cordon/release-box/v1",
            Self::ReviewBox => "cordon/review-box/v1",
            Self::SealedResult => "cordon/sealed-result/v1",
            Self::RootWrap => "cordon/root-wrap/v1",
            Self::KeyWrap => "cordon/key-wrap/v1",
            Self::RootSeal => "cordon/root-seal/v1",
            Self::StateSeal => "cordon/state-seal/v1",
            Self::StateRecord => "cordon/state-record/v1",
            Self::KeyFingerprint => "cordon/key-fingerprint/v1",
            Self::LogPseudonym => "cordon/log-pseudonym/v1",
            Self::ReceiptCommitment => "cordon/receipt-commitment/v1",
            Self::Evidence => "cordon/evidence/v1",
            Self::SoftwareMeasurement => "cordon/software-measurement/v1",
            Self::RequestSignature => "cordon/request-signature/v1",
        }
    }
}

/// Joins a label and parts so that no two inputs give the same bytes: each part carries its
/// length as a 64-bit big-endian number.
pub(crate) fn framed(label: Label, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + parts.iter().map(|p| p.len() + 8).sum::<usize>());
    bytes.extend_from_slice(label.as_str().as_bytes());
    bytes.push(0);
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}
