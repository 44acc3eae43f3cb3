//! Evidence, collateral and a time in; an attestation result out (RFC 9334).
//!
//! Two steps, and neither can be left out. [`verify`] says whether evidence is genuine, fresh and
//! about *this* run: signatures up to a trusted root, and the binding of DESIGN invariant 5.
//! [`appraise`] says whether what it proves is good enough: reference values and an appraisal
//! policy. Only [`verify`] makes a [`Verified`], only [`appraise`] makes an
//! [`AttestationResult`], and there is no result that says "no": a refusal is a [`Rejection`]
//! with a stable code and a plain reason.
//!
//! This crate never fetches, and it must never see a clock, a file or a source of randomness.
//! Collateral that is not in hand means "cannot appraise", never "fine". Unknown versions,
//! members, algorithms and kinds of TEE are refused. A kind of TEE is an [`EvidenceVerifier`]
//! *value*; there are no features.
//!
//! Evidence of the software TEE proves nothing to anybody but a developer. Its root is a type of
//! its own, which [`TrustRoots::production`] does not hold and no setting can add; what it
//! vouches for has [`Assurance::None`].
//!
//! ```
//! use cordon_crypto::{RecipientSecret, SigningKey, dsse::Signed, sha256};
//! use cordon_protocol::evidence::{
//!     Evidence, PartyNonce, RuntimeData, SandboxLevel, SoftwareReport, TeeKind, binding,
//! };
//! use cordon_protocol::{RunId, V1};
//! use cordon_types::{Nonce, PartyId, Secret, UnixSeconds};
//! use cordon_verifier::{
//!     AppraisalPolicy, Assurance, Collateral, Expected, ReferenceValues, TrustRoots, appraise,
//!     verify,
//! };
//!
//! // The guard and its TEE: `cordon-softtee` signs what it measured and what it was asked to bind.
//! let root = SigningKey::from_seed(Secret::from_bytes([1; 32]));
//! let party: PartyId = "hospital-a".parse()?;
//! let nonce = Nonce::from_bytes([2; 32]);
//! let (run, agreement, engine) =
//!     (RunId(sha256(&[b"run"])), sha256(&[b"agreement"]), sha256(&[b"engine"]));
//! let runtime_data = RuntimeData {
//!     v: V1,
//!     run,
//!     agreement,
//!     nonces: vec![PartyNonce { party: party.clone(), nonce }],
//!     guard_signing_key: SigningKey::from_seed(Secret::from_bytes([3; 32])).verifying_key(),
//!     guard_box_key: RecipientSecret::from_seed(Secret::from_bytes([4; 32])).public_key(),
//!     engine,
//!     sandbox: SandboxLevel::Namespaces,
//! }
//! .to_bytes()?;
//! let report = SoftwareReport {
//!     v: V1,
//!     measurement: "ab".repeat(32),
//!     report_data: binding(&runtime_data).as_slice().into(),
//! };
//! let evidence = Evidence {
//!     tee: TeeKind::Software,
//!     evidence: Signed::sign(report, &root)?.envelope().to_json().into(),
//!     collateral: None,
//!     runtime_data: runtime_data.into(),
//! };
//!
//! // A broker: what it expects is its own knowledge, nothing of it comes from the evidence.
//! let expected = Expected {
//!     party: &party,
//!     nonce: &nonce,
//!     holders: std::slice::from_ref(&party),
//!     run,
//!     agreement,
//!     engine,
//!     weakest_sandbox: SandboxLevel::Seccomp,
//! };
//! let now = UnixSeconds::new(1_700_000_000);
//! let roots = TrustRoots::dangerous_development(root.verifying_key());
//! let verified = verify(&evidence, &Collateral::none(), &roots, now, &expected)?;
//!
//! let reference = ReferenceValues::new([(TeeKind::Software, "ab".repeat(32))]);
//! let policy = AppraisalPolicy::dangerous_development();
//! let result = appraise(&verified, &reference, &policy, now)?;
//! assert_eq!(result.assurance(), Assurance::None);
//!
//! // A production broker has no root for it, and a production policy would not have it either.
//! let refused = verify(&evidence, &Collateral::none(), &TrustRoots::production(), now, &expected);
//! assert_eq!(refused.unwrap_err().code.as_str(), "software_tee_refused");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod appraise;
mod collateral;
mod ear;
mod rejection;
mod roots;
mod software;
mod verify;
mod x509;

pub mod eventlog;
pub mod nitro;
pub mod snp;
pub mod tpm;

#[cfg(test)]
mod testing;

pub use appraise::{AppraisalPolicy, AttestationResult, Reason, ReferenceValues, appraise};
pub use collateral::{Collateral, CollateralKey, Used};
pub use cordon_protocol::release::Assurance;
pub use ear::{EAR_PROFILE, Tier};
pub use rejection::{Rejection, RejectionCode, Stage};
pub use roots::{SoftwareRoot, TrustRoots, VendorRoots};
pub use verify::{
    EvidenceVerifier, Expected, Genuine, PlatformClaims, ReportData, VERIFIERS, Verified, verify,
};
