//! Whether what evidence proves is good enough.

use std::collections::BTreeSet;

use cordon_crypto::canonical::{CanonicalError, to_canonical};
use cordon_crypto::{RecipientKey, VerifyingKey, sha256};
use cordon_protocol::agreement::Platform;
use cordon_protocol::evidence::{RuntimeData, TeeKind};
use cordon_protocol::party::Profile;
use cordon_protocol::release::Assurance;
use cordon_types::{Sha256Digest, UnixSeconds};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::ear::{self, Claim, Tier};
use crate::rejection::{Rejection, RejectionCode};
use crate::verify::Verified;

/// What a guard may be: kinds of TEE with the measurements that are accepted there.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ReferenceValues(BTreeSet<(TeeKind, String)>);

impl ReferenceValues {
    /// Collects pairs of kind and lower-case hex measurement.
    pub fn new(values: impl IntoIterator<Item = (TeeKind, String)>) -> Self {
        Self(values.into_iter().collect())
    }

    /// The platforms and measurements of an agreement: every measurement on every kind of TEE
    /// that it names. Measurements of different kinds have different lengths or meanings, so
    /// none is taken for another's.
    pub fn from_platform(platform: &Platform) -> Self {
        let pairs = platform.tees.iter().flat_map(|tee| {
            platform.measurements.iter().map(|measurement| (*tee, measurement.clone()))
        });
        Self(pairs.collect())
    }

    fn kinds(&self) -> impl Iterator<Item = TeeKind> {
        self.0.iter().map(|(tee, _)| *tee)
    }

    fn measurements(&self, tee: TeeKind) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(kind, _)| *kind == tee).map(|(_, value)| value.as_str())
    }
}

/// What the relying party insists on beyond reference values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppraisalPolicy {
    profile: Profile,
    valid_seconds: u64,
}

impl AppraisalPolicy {
    /// Hardware must stand behind the evidence.
    pub const fn production() -> Self {
        Self { profile: Profile::Production, valid_seconds: VALID_SECONDS }
    }

    /// Tolerates the software TEE, with a warning in every result.
    pub const fn dangerous_development() -> Self {
        Self { profile: Profile::Development, valid_seconds: VALID_SECONDS }
    }

    /// Its name, as in results.
    pub const fn id(&self) -> &'static str {
        match self.profile {
            Profile::Production => "cordon/appraisal/production/v1",
            Profile::Development => "cordon/appraisal/development/v1",
        }
    }
}

/// One thing that was looked at, in plain words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The EAR claim that it supports.
    pub claim: &'static str,
    /// How it came out.
    pub tier: Tier,
    /// One sentence.
    pub sentence: String,
}

/// An attestation result (RFC 9334 §8.4) that permits: evidence of an approved guard, for the
/// run and the keys that it names. Only [`appraise`] makes one.
#[derive(Clone, Debug)]
pub struct AttestationResult {
    verified: Verified,
    status: Tier,
    reasons: Vec<Reason>,
    ear: Map<String, Value>,
    // INVARIANT: the canonical form of `ear`, and its SHA-256.
    canonical: Vec<u8>,
    digest: Sha256Digest,
}

/// Judges verified evidence.
///
/// # Errors
/// The first condition that does not hold. There is no result that says "no".
pub fn appraise(
    verified: &Verified,
    reference: &ReferenceValues,
    policy: &AppraisalPolicy,
    now: UnixSeconds,
) -> Result<AttestationResult, Rejection> {
    let genuine = verified.genuine();
    let mut reasons = Vec::new();
    let mut vector = Vec::new();
    let mut judge = |claim: Claim, value: i8, tier, sentence: String| {
        vector.push((claim, value));
        reasons.push(Reason { claim: claim.as_str(), tier, sentence });
    };

    // Instance: the challenge ties the result to this guard; no list of machines is kept yet.
    judge(
        Claim::InstanceIdentity,
        NO_CLAIM,
        Tier::Affirming,
        format!("the evidence answers the challenge of `{}`", verified.party()),
    );

    // Hardware and memory (AR4SI: 32 is "known to be unsafe", and never better for software).
    match (genuine.assurance, policy.profile) {
        (Assurance::Hardware, Profile::Production | Profile::Development) => {
            let sentence = "hardware evidence leads to a pinned vendor root".to_owned();
            judge(Claim::Hardware, AFFIRMING, Tier::Affirming, sentence);
            let sentence = "the hardware encrypts the guard's memory".to_owned();
            judge(Claim::RuntimeOpaque, AFFIRMING, Tier::Affirming, sentence);
        }
        (Assurance::None, Profile::Development) => {
            let sentence = "a software TEE: no hardware vouches for the guard".to_owned();
            judge(Claim::Hardware, WARNING, Tier::Warning, sentence);
            let sentence = "the machine's operator can read the guard's memory".to_owned();
            judge(Claim::RuntimeOpaque, WARNING, Tier::Warning, sentence);
        }
        (Assurance::None, Profile::Production) => {
            return Err(Rejection::new(
                RejectionCode::SoftwareTeeRefused,
                "tee",
                verified.tee(),
                "a hardware TEE",
            ));
        }
    }

    // Configuration: kind of TEE, confinement of the worker.
    let tee = verified.tee();
    if !reference.kinds().any(|kind| kind == tee) {
        let wanted: BTreeSet<_> = reference.kinds().map(|kind| kind.to_string()).collect();
        let wanted = Vec::from_iter(wanted).join(", ");
        return Err(Rejection::new(RejectionCode::TeeNotAccepted, "tee", tee, wanted));
    }
    judge(
        Claim::Configuration,
        AFFIRMING,
        Tier::Affirming,
        format!("kind `{tee}` is accepted, the worker's confinement suffices"),
    );

    // Executables: the measurement.
    let measurement = genuine.measurement.as_str();
    if !reference.measurements(tee).any(|accepted| accepted == measurement) {
        let wanted = reference.measurements(tee).collect::<Vec<_>>().join(" or ");
        let field = "measurement";
        return Err(Rejection::new(RejectionCode::WrongMeasurement, field, measurement, wanted));
    }
    judge(
        Claim::Executables,
        EXECUTABLES_APPROVED,
        Tier::Affirming,
        "the guard's measurement is a reference value".to_owned(),
    );

    let status = reasons.iter().map(|reason| reason.tier).max().unwrap_or(Tier::Warning);
    let expires = now.plus_seconds(policy.valid_seconds);
    let ear = ear::claims(verified, &vector, status, policy.id(), now, expires);
    let canonical = to_canonical(&ear).map_err(not_canonical)?;
    let digest = sha256(&[&canonical]);
    Ok(AttestationResult { verified: verified.clone(), status, reasons, ear, canonical, digest })
}

impl AttestationResult {
    /// The worst tier of all claims.
    pub const fn status(&self) -> Tier {
        self.status
    }

    /// What was looked at, and how it came out.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// Signs the guard's heartbeats and receipt.
    pub const fn guard_signing_key(&self) -> &VerifyingKey {
        &self.runtime_data().guard_signing_key
    }

    /// Opens what is sealed to the guard.
    pub const fn guard_box_key(&self) -> &RecipientKey {
        &self.runtime_data().guard_box_key
    }

    /// Everything that the evidence binds.
    pub const fn runtime_data(&self) -> &RuntimeData {
        self.verified.runtime_data()
    }

    /// What stands behind it.
    pub const fn assurance(&self) -> Assurance {
        self.verified.genuine().assurance
    }

    /// The kind of TEE.
    pub const fn tee(&self) -> TeeKind {
        self.verified.tee()
    }

    /// What was launched, lower-case hex.
    pub fn measurement(&self) -> &str {
        &self.verified.genuine().measurement
    }

    /// Digest of the evidence.
    pub const fn evidence_digest(&self) -> Sha256Digest {
        self.verified.evidence_digest()
    }

    /// Digest of the canonical EAR: what logs and grants name.
    pub const fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// The EAR claims.
    pub const fn ear(&self) -> &Map<String, Value> {
        &self.ear
    }

    /// The EAR claims in canonical form, as [`AttestationResult::digest`] hashes them.
    pub fn to_json(&self) -> &[u8] {
        &self.canonical
    }
}

/// The claims hold text, booleans and small integers only; still, no panic.
fn not_canonical(error: CanonicalError) -> Rejection {
    Rejection::new(RejectionCode::Malformed, "ear", error, "claims in canonical form")
}

// Values of the trustworthiness vector (AR4SI §2.3.1).
const NO_CLAIM: i8 = 0;
const AFFIRMING: i8 = 2;
/// All that was launched is approved; nothing is said of what might be loaded later.
const EXECUTABLES_APPROVED: i8 = 2;
const WARNING: i8 = 32;

/// A result serves one grant, at once; what comes later is the lease's matter.
const VALID_SECONDS: u64 = 300;

#[cfg(test)]
mod tests;
