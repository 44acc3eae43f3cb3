//! Whether evidence is genuine, fresh, and about this run.

use cordon_crypto::canonical::{CanonicalError, from_canonical};
use cordon_crypto::dsse::Document as _;
use cordon_protocol::RunId;
use cordon_protocol::evidence::{
    Evidence, MAX_EVIDENCE_BYTES, RuntimeData, SandboxLevel, TeeKind, binding,
};
use cordon_protocol::release::Assurance;
use cordon_types::{Nonce, PartyId, Sha256Digest, UnixSeconds};
use subtle::ConstantTimeEq;

use crate::collateral::{Collateral, Used};
use crate::rejection::{Rejection, RejectionCode};
use crate::roots::TrustRoots;
use crate::snp::{self, SnpVerifier};
use crate::software::SoftwareVerifier;

/// What the relying party knows by itself and the evidence must say (DESIGN invariant 5). All of
/// it is mandatory: there is no verification that leaves the binding open.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The relying party's own name.
    pub party: &'a PartyId,
    /// The nonce that it made for this run and has not accepted before.
    pub nonce: &'a Nonce,
    /// The holders of the agreement, sorted: one nonce of each must be bound.
    pub holders: &'a [PartyId],
    /// The run: digest of the signed run request.
    pub run: RunId,
    /// Digest of the agreement.
    pub agreement: Sha256Digest,
    /// The engine that the agreement names.
    pub engine: Sha256Digest,
    /// The weakest confinement of the worker that the agreement accepts.
    pub weakest_sandbox: SandboxLevel,
}

/// Evidence that is genuine, fresh and bound to what was expected. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    tee: TeeKind,
    genuine: Genuine,
    runtime: RuntimeData,
    party: PartyId,
    nonce: Nonce,
    evidence: Sha256Digest,
}

/// What a kind of TEE has proved about the program it runs, before anybody judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genuine {
    /// What was launched, lower-case hex.
    pub measurement: String,
    /// What stands behind it.
    pub assurance: Assurance,
    /// All that the platform says of itself.
    pub platform: PlatformClaims,
    /// What was used to check it.
    pub used: Used,
}

/// What each kind of platform says of itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformClaims {
    /// Nothing: a software TEE.
    Software,
    /// A report of SEV-SNP.
    Snp(Box<snp::Claims>),
}

/// The 64 bytes that the TEE's report must hold, compared in constant time and in full length.
#[derive(Clone, Copy)]
pub struct ReportData([u8; 64]);

impl ReportData {
    /// Checks what a report holds.
    ///
    /// # Errors
    /// [`RejectionCode::NotBound`] if it is not exactly these 64 bytes. Nothing is padded, cut or
    /// matched in part.
    pub fn require(&self, found: &[u8], field: &'static str) -> Result<(), Rejection> {
        // `ct_eq` of slices is false for another length.
        if found.len() == self.0.len() && bool::from(found.ct_eq(&self.0)) {
            return Ok(());
        }
        Err(Rejection::new(
            RejectionCode::NotBound,
            field,
            format_args!("{} bytes, {}", found.len(), cordon_types::hex::encode(found)),
            format_args!("64 bytes, {}", cordon_types::hex::encode(&self.0)),
        ))
    }
}

/// Reads and checks the evidence of one kind of TEE. Later vendors are further values.
pub trait EvidenceVerifier: Sync {
    /// The kind whose evidence it reads.
    fn kind(&self) -> TeeKind;

    /// Checks that `evidence` leads to a root of its own kind at `now`, and that its report holds
    /// `report_data`.
    ///
    /// # Errors
    /// The first check that fails.
    fn verify(
        &self,
        evidence: &Evidence,
        collateral: &Collateral,
        roots: &TrustRoots,
        now: UnixSeconds,
        report_data: &ReportData,
    ) -> Result<Genuine, Rejection>;
}

/// Every kind of TEE that this version reads.
pub const VERIFIERS: &[&dyn EvidenceVerifier] = &[&SoftwareVerifier, &SnpVerifier];

/// Verifies evidence.
///
/// `now` is the relying party's time; an audit passes the logged time of the decision.
///
/// # Errors
/// The first check that fails, in the order of the steps below.
pub fn verify(
    evidence: &Evidence,
    collateral: &Collateral,
    roots: &TrustRoots,
    now: UnixSeconds,
    expected: &Expected<'_>,
) -> Result<Verified, Rejection> {
    // 1. Sizes, before anything is parsed.
    check_sizes(evidence)?;

    // 2. The runtime data, from the raw bytes that were received: one encoding, nothing unknown.
    let raw = evidence.runtime_data.as_slice();
    let runtime: RuntimeData =
        from_canonical(raw, RuntimeData::MAX_BYTES).map_err(runtime_data_malformed)?;

    // 3. The TEE: the label selects a parser and proves nothing; the signature leads to a root of
    //    that kind, and the report binds exactly those raw bytes.
    let verifier = VERIFIERS.iter().find(|verifier| verifier.kind() == evidence.tee);
    let verifier = verifier.ok_or_else(|| {
        Rejection::new(RejectionCode::TeeNotAccepted, "tee", evidence.tee, "a kind that we read")
    })?;
    let report_data = ReportData(binding(raw));
    let genuine = verifier.verify(evidence, collateral, roots, now, &report_data)?;

    // 4. The binding, each part of it.
    check_binding(&runtime, expected)?;
    Ok(Verified {
        tee: evidence.tee,
        genuine,
        runtime,
        party: expected.party.clone(),
        nonce: *expected.nonce,
        evidence: evidence.digest(),
    })
}

impl Verified {
    /// The kind of TEE.
    pub const fn tee(&self) -> TeeKind {
        self.tee
    }

    /// What the TEE proved about the guard.
    pub const fn genuine(&self) -> &Genuine {
        &self.genuine
    }

    /// What the evidence binds.
    pub const fn runtime_data(&self) -> &RuntimeData {
        &self.runtime
    }

    /// Digest of the evidence.
    pub const fn evidence_digest(&self) -> Sha256Digest {
        self.evidence
    }

    /// The relying party whose challenge it answers.
    pub const fn party(&self) -> &PartyId {
        &self.party
    }

    /// That challenge.
    pub const fn nonce(&self) -> &Nonce {
        &self.nonce
    }
}

fn check_sizes(evidence: &Evidence) -> Result<(), Rejection> {
    let collateral = evidence.collateral.as_ref().map_or(0, |bytes| bytes.as_slice().len());
    let parts = [
        ("evidence", evidence.evidence.as_slice().len(), MAX_EVIDENCE_BYTES),
        ("collateral", collateral, MAX_EVIDENCE_BYTES),
        ("runtime_data", evidence.runtime_data.as_slice().len(), RuntimeData::MAX_BYTES),
    ];
    match parts.into_iter().find(|(_, size, limit)| size > limit) {
        None => Ok(()),
        Some((field, size, limit)) => Err(Rejection::new(
            RejectionCode::TooLarge,
            field,
            format_args!("{size} bytes"),
            format_args!("at most {limit} bytes"),
        )),
    }
}

fn check_binding(runtime: &RuntimeData, expected: &Expected<'_>) -> Result<(), Rejection> {
    if runtime.run != expected.run {
        let (found, wanted) = (runtime.run, expected.run);
        return Err(Rejection::new(RejectionCode::WrongRun, "runtime_data.run", found, wanted));
    }
    if runtime.agreement != expected.agreement {
        let (found, wanted) = (runtime.agreement, expected.agreement);
        let field = "runtime_data.agreement";
        return Err(Rejection::new(RejectionCode::WrongAgreement, field, found, wanted));
    }
    if runtime.engine != expected.engine {
        let (found, wanted) = (runtime.engine, expected.engine);
        let field = "runtime_data.engine";
        return Err(Rejection::new(RejectionCode::WrongEngine, field, found, wanted));
    }
    if runtime.sandbox < expected.weakest_sandbox {
        return Err(Rejection::new(
            RejectionCode::SandboxTooWeak,
            "runtime_data.sandbox",
            format_args!("{:?}", runtime.sandbox),
            format_args!("at least {:?}", expected.weakest_sandbox),
        ));
    }
    // Sorted, one of each holder, no other: then our own stands there at most once.
    let parties = runtime.nonces.iter().map(|bound| &bound.party);
    if !parties.clone().eq(expected.holders) {
        return Err(Rejection::new(
            RejectionCode::WrongHolders,
            "runtime_data.nonces",
            listed(parties),
            listed(expected.holders),
        ));
    }
    let mut own = runtime.nonces.iter().filter(|bound| bound.party == *expected.party);
    match (own.next(), own.next()) {
        (Some(bound), None)
            if bool::from(bound.nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) =>
        {
            Ok(())
        }
        (Some(bound), None) => Err(Rejection::new(
            RejectionCode::NotFresh,
            "runtime_data.nonces",
            bound.nonce,
            expected.nonce,
        )),
        (None, _) | (_, Some(_)) => Err(Rejection::new(
            RejectionCode::WrongHolders,
            "runtime_data.nonces",
            "not exactly one nonce of ours",
            format_args!("one for `{}`", expected.party),
        )),
    }
}

fn runtime_data_malformed(error: CanonicalError) -> Rejection {
    let wanted = "canonical runtime data of version 1";
    Rejection::new(RejectionCode::RuntimeDataMalformed, "runtime_data", error, wanted)
}

fn listed<'a>(parties: impl IntoIterator<Item = &'a PartyId>) -> String {
    let parties: Vec<_> = parties.into_iter().map(|party| format!("`{party}`")).collect();
    if parties.is_empty() { "nobody".to_owned() } else { parties.join(", ") }
}

#[cfg(test)]
mod tests;
