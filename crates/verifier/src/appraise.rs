//! Whether what evidence proves is good enough.

use std::collections::{BTreeMap, BTreeSet};

use cordon_crypto::canonical::{CanonicalError, to_canonical};
use cordon_crypto::{RecipientKey, VerifyingKey, sha256};
use cordon_protocol::agreement::Platform;
use cordon_protocol::evidence::{RuntimeData, TeeKind};
use cordon_protocol::party::Profile;
use cordon_protocol::platform::{PlatformPolicy, Reference};
use cordon_protocol::release::Assurance;
use cordon_types::{Sha256Digest, UnixSeconds};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::collateral::Used;
use crate::ear::{self, Claim, Tier};
use crate::rejection::{Rejection, RejectionCode};
use crate::snp;
use crate::verify::{Genuine, PlatformClaims, Verified};
use crate::x509::shown;

/// What a guard may be: what is accepted on each kind of TEE.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ReferenceValues {
    exact: BTreeMap<(TeeKind, String), Named>,
    sgx_signers: Vec<(SgxSigner, Named)>,
}

/// What a reference value stands for: a release, or a measurement that was agreed as such.
type Named = Option<String>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct SgxSigner {
    mrsigner: String,
    product_id: u16,
    minimum_svn: u16,
}

impl ReferenceValues {
    /// Collects pairs of kind and lower-case hex measurement.
    pub fn new(values: impl IntoIterator<Item = (TeeKind, String)>) -> Self {
        let exact = values.into_iter().map(|value| (value, None)).collect();
        Self { exact, sgx_signers: Vec::new() }
    }

    /// What an agreement accepts: its measurements on every kind of TEE that it names, and what
    /// the holder's own document says that the agreed releases measure as. Measurements of
    /// different kinds have different lengths or meanings, so none is taken for another's.
    pub fn of(agreed: &Platform, holder: Option<&PlatformPolicy>) -> Self {
        let pairs = agreed.tees.iter().flat_map(|tee| {
            agreed.measurements.iter().map(|measurement| (*tee, measurement.clone()))
        });
        let mut values = Self::new(pairs);
        let releases = holder.map_or(&[][..], |holder| &holder.releases);
        for release in releases {
            if agreed.releases.iter().any(|rule| rule.accepts(release)) {
                let name = format!("{} {}", release.product, release.version);
                for reference in &release.measurements {
                    values.add(reference, &agreed.tees, &name);
                }
            }
        }
        // A holder can refuse what all have agreed on.
        if let Some(holder) = holder {
            let denied = &holder.denied_measurements;
            values.exact.retain(|(_, measurement), _| !denied.contains(measurement));
            values.sgx_signers.retain(|(signer, _)| !denied.contains(&signer.mrsigner));
        }
        values
    }

    fn add(&mut self, reference: &Reference, agreed: &[TeeKind], name: &str) {
        match reference {
            Reference::Exact { tee, measurement } if agreed.contains(tee) => {
                let value = (*tee, measurement.clone());
                self.exact.entry(value).or_insert_with(|| Some(name.to_owned()));
            }
            Reference::SgxSigner { mrsigner, product_id, minimum_svn }
                if agreed.contains(&TeeKind::Sgx) =>
            {
                let (mrsigner, product_id) = (mrsigner.clone(), *product_id);
                let signer = SgxSigner { mrsigner, product_id, minimum_svn: *minimum_svn };
                self.sgx_signers.push((signer, Some(name.to_owned())));
            }
            Reference::Exact { .. } | Reference::SgxSigner { .. } => {}
        }
    }

    fn kinds(&self) -> BTreeSet<TeeKind> {
        let signers = self.sgx_signers.iter().map(|_| TeeKind::Sgx);
        self.exact.keys().map(|(tee, _)| *tee).chain(signers).collect()
    }

    /// The release that the evidence is of, or why it is of none.
    fn require(&self, tee: TeeKind, genuine: &Genuine) -> Result<&Named, Rejection> {
        let kinds = self.kinds();
        if !kinds.contains(&tee) {
            let wanted = kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Rejection::new(RejectionCode::TeeNotAccepted, "tee", tee, wanted));
        }
        let measurement = genuine.measurement.as_str();
        if let Some(name) = self.exact.get(&(tee, measurement.to_owned())) {
            return Ok(name);
        }
        let wanted = self.exact.keys().filter(|(kind, _)| *kind == tee);
        let wanted = wanted.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" or ");
        let (code, field) = (RejectionCode::WrongMeasurement, "measurement");
        Err(Rejection::new(code, field, measurement, wanted))
    }
}

/// What the relying party insists on beyond reference values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppraisalPolicy<'a> {
    profile: Profile,
    platform: Option<&'a PlatformPolicy>,
    valid_seconds: u64,
}

impl<'a> AppraisalPolicy<'a> {
    /// Hardware must stand behind the evidence.
    pub const fn production() -> Self {
        Self { profile: Profile::Production, platform: None, valid_seconds: VALID_SECONDS }
    }

    /// Tolerates the software TEE, with a warning in every result.
    pub const fn dangerous_development() -> Self {
        Self { profile: Profile::Development, platform: None, valid_seconds: VALID_SECONDS }
    }

    /// With what the security officer says of hardware. Without it, no hardware is accepted.
    pub const fn with_platform(self, platform: Option<&'a PlatformPolicy>) -> Self {
        Self { platform, ..self }
    }

    /// Its name, as in results.
    pub const fn id(&self) -> &'static str {
        match self.profile {
            Profile::Production => "cordon/appraisal/production/v1",
            Profile::Development => "cordon/appraisal/development/v1",
        }
    }

    /// Whether the platform is one that the security officer accepts.
    fn require_platform(&self, tee: TeeKind, claims: &PlatformClaims) -> Result<(), Rejection> {
        let missing = || {
            let (code, found) = (RejectionCode::PlatformPolicyMissing, "none");
            Rejection::new(code, "platform_policy", found, format_args!("one that covers `{tee}`"))
        };
        match claims {
            PlatformClaims::Software => Ok(()),
            PlatformClaims::Snp(claims) => {
                let policy = self.platform.and_then(|policy| policy.amd.as_ref());
                snp::appraise(claims, policy.ok_or_else(missing)?)
            }
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
    notices: Vec<String>,
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
    policy: &AppraisalPolicy<'_>,
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
            let sentence = "hardware evidence leads to a trusted vendor root".to_owned();
            judge(Claim::Hardware, AFFIRMING, Tier::Affirming, sentence);
            let sentence = "the hardware keeps the guard's memory from its host".to_owned();
            judge(Claim::RuntimeOpaque, AFFIRMING, Tier::Affirming, sentence);
        }
        (Assurance::MeasuredBoot, Profile::Development) => {
            let sentence = "a TPM measured what was started".to_owned();
            judge(Claim::Hardware, AFFIRMING, Tier::Affirming, sentence);
            let sentence = "the machine's operator can read the guard's memory".to_owned();
            judge(Claim::RuntimeOpaque, WARNING, Tier::Warning, sentence);
        }
        (Assurance::None, Profile::Development) => {
            let sentence = "a software TEE: no hardware vouches for the guard".to_owned();
            judge(Claim::Hardware, WARNING, Tier::Warning, sentence);
            let sentence = "the machine's operator can read the guard's memory".to_owned();
            judge(Claim::RuntimeOpaque, WARNING, Tier::Warning, sentence);
        }
        (Assurance::None | Assurance::MeasuredBoot, Profile::Production) => {
            let code = match genuine.assurance {
                Assurance::MeasuredBoot => RejectionCode::TeeNotAccepted,
                Assurance::None | Assurance::Hardware => RejectionCode::SoftwareTeeRefused,
            };
            return Err(Rejection::new(code, "tee", verified.tee(), "a hardware TEE"));
        }
    }

    // Executables: the measurement. It comes before the platform's state, so that a guard that
    // nobody approved hears of that first.
    let tee = verified.tee();
    let release = reference.require(tee, genuine)?;
    let sentence = match release {
        Some(name) => format!("the guard is `{name}`, by this holder's reference values"),
        None => "the guard's measurement is a reference value".to_owned(),
    };
    judge(Claim::Executables, EXECUTABLES_APPROVED, Tier::Affirming, sentence);

    // Configuration: versions, features, confinement of the worker.
    policy.require_platform(tee, &genuine.platform)?;
    judge(
        Claim::Configuration,
        AFFIRMING,
        Tier::Affirming,
        format!("kind `{tee}` is accepted, the worker's confinement suffices"),
    );

    let status = reasons.iter().map(|reason| reason.tier).max().unwrap_or(Tier::Warning);
    let expires = now.plus_seconds(policy.valid_seconds);
    let notices = notices(&genuine.used, now);
    let ear = ear::claims(verified, &vector, status, policy.id(), &notices, (now, expires));
    let canonical = to_canonical(&ear).map_err(not_canonical)?;
    let digest = sha256(&[&canonical]);
    let verified = verified.clone();
    Ok(AttestationResult { verified, status, reasons, notices, ear, canonical, digest })
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

    /// What will soon refuse this machine, with dates.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Collateral that it rests on.
    pub const fn used(&self) -> &Used {
        &self.verified.genuine().used
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

/// Dates before which somebody must act.
fn notices(used: &Used, now: UnixSeconds) -> Vec<String> {
    let ends = used.expires.filter(|ends| *ends < now.plus_seconds(NOTICE_SECONDS));
    let words = |ends| {
        format!("this machine will be refused from {}: fetch its collateral before", shown(ends))
    };
    ends.map(words).into_iter().collect()
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

/// A week for people to act.
const NOTICE_SECONDS: u64 = 7 * 86_400;

/// A result serves one grant, at once; what comes later is the lease's matter.
const VALID_SECONDS: u64 = 300;

#[cfg(test)]
mod tests;
