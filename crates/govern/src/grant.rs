//! The grant session: from a run request to a grant, in five steps, none of which can be left
//! out, repeated, or fed another run's proof.
//!
//! ```text
//! Challenged --evidence--> Appraised --policy--> Permitted --log proof--> Recorded --box--> Grant
//! ```
//!
//! Each step takes the session and gives the next one, or a [`Denial`] to record. Nothing here
//! does I/O: the broker stores [`Session::entry`] in one transaction with the spent run and the
//! grant's record, waits for its witnesses, and comes back with the proof. The key process checks
//! that proof again and seals the keys; the broker never sees them.
//!
//! A later step cannot be had without the earlier one:
//! ```compile_fail,E0599
//! # use cordon_govern::grant::{Challenged, GrantFacts, Session};
//! # use cordon_govern::Policy;
//! # use cordon_types::UnixSeconds;
//! fn skip(session: Session<Challenged>, policy: &Policy, facts: GrantFacts<'_>, now: UnixSeconds) {
//!     let _ = session.permit(policy, facts, now); // no evidence was appraised
//! }
//! ```
//! ```compile_fail,E0599
//! # use cordon_govern::grant::{Permitted, Session};
//! # use cordon_crypto::{SealedBox, SigningKey};
//! fn unlogged(session: Session<Permitted>, keys: SealedBox, key: &SigningKey) {
//!     let _ = session.grant(keys, key); // nothing is in the log yet
//! }
//! ```
//! nor twice:
//! ```compile_fail,E0382
//! # use cordon_govern::grant::{Permitted, Session};
//! fn twice(session: Session<Permitted>, proof: &str) {
//!     let _ = session.record(proof);
//!     let _ = session.record(proof);
//! }
//! ```
//! nor can a state be made up or exchanged, since its fields are private:
//! ```compile_fail,E0451
//! # use cordon_govern::grant::{Recorded, Session};
//! fn forged(state: Recorded) -> Session<Recorded> {
//!     Session { state, ..todo!() }
//! }
//! ```

use cordon_crypto::canonical::from_canonical;
use cordon_crypto::dsse::{Document, Envelope, EnvelopeError, Signed, document_digest};
use cordon_crypto::{RecipientKey, SealedBox, SigningKey, sha256};
use cordon_protocol::entry::{Action, Actor, Decision};
use cordon_protocol::evidence::{Evidence, TeeKind};
use cordon_protocol::grant::{GrantedDataset, KeyName};
use cordon_protocol::party::Profile;
use cordon_protocol::platform::PlatformPolicy;
use cordon_protocol::release::Assurance;
use cordon_protocol::{Grant, GrantContext, LogEntry, Manifest, RunId, RunRequest, V1};
use cordon_tlog::{Proven, verify_proof};
use cordon_types::{Nonce, PartyId, Sha256Digest, UnixSeconds};
use cordon_verifier::{
    AppraisalPolicy, AttestationResult, Collateral, Expected, ReferenceValues, TrustRoots,
    appraise, verify,
};

use crate::approval::Standing;
use crate::denial::{Occasion, chain};
use crate::document::CLOCK_SKEW_SECONDS;
use crate::policy::{self, BrokerState, GuardFacts, Question, Verdict};
use crate::{AgreementError, Code, Denial, Policy, Recognized, RecordError, check_dataset};

/// How long a guard may take from challenge to evidence.
pub const CHALLENGE_SECONDS: u64 = 120;
/// Longest time that a run request may be good for: a week.
pub const MAX_REQUEST_SECONDS: u64 = 7 * 86_400;

/// One run's way to a grant of one broker.
#[derive(Debug)]
pub struct Session<S> {
    agreement: Recognized,
    request: Signed<RunRequest>,
    state: S,
}

/// The request is in order; the guard owes evidence over a nonce.
#[derive(Debug)]
pub struct Challenged {
    nonce: Nonce,
    opened: UnixSeconds,
}

/// The evidence is genuine, fresh, of this run, and good enough.
#[derive(Debug)]
pub struct Appraised {
    result: AttestationResult,
}

/// The policy permits; nothing is recorded yet.
#[derive(Debug)]
pub struct Permitted {
    guard_box_key: RecipientKey,
    context: GrantContext,
    digest: Sha256Digest,
    entry: LogEntry,
}

/// The entry of this very context is in the log, under a head that the witnesses cosigned.
#[derive(Debug)]
pub struct Recorded {
    guard_box_key: RecipientKey,
    context: GrantContext,
    entry: Vec<u8>,
    proof: String,
    proven: Proven,
}

/// What evidence is judged by, besides the session's own expectations.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// The roots of this broker.
    pub roots: &'a TrustRoots,
    /// What its security officer accepts of platforms.
    pub platform: Option<&'a PlatformPolicy>,
    /// Collateral that this broker has.
    pub collateral: &'a Collateral,
}

/// What the broker's records say.
#[derive(Clone, Copy, Debug)]
pub struct GrantFacts<'a> {
    /// Where the agreement stands with this holder's people: [`crate::approval::evaluate`].
    pub standing: &'a Standing,
    /// Whether a person of this holder stopped the study.
    pub study_stopped: bool,
    /// Runs of this agreement that were spent at this broker. The broker counts again when it
    /// spends one: two sessions may see the same number.
    pub runs_used: u32,
    /// The version of each of this holder's agreed datasets that would be released.
    pub datasets: &'a [DatasetVersion<'a>],
    /// How this broker is.
    pub broker: BrokerState,
}

/// A dataset version that would be released.
#[derive(Clone, Copy, Debug)]
pub struct DatasetVersion<'a> {
    /// Its manifest.
    pub manifest: &'a Signed<Manifest>,
    /// Whether the state of its key allows grants.
    pub key_active: bool,
}

/// What the key process needs to seal the keys.
#[derive(Clone, Copy, Debug)]
pub struct SealOrder<'a> {
    /// What is granted.
    pub context: &'a GrantContext,
    /// The guard's box key, whose digest the context holds.
    pub guard_box_key: &'a RecipientKey,
    /// The log entry, canonical bytes.
    pub entry: &'a [u8],
    /// Its `.tlog-proof`.
    pub proof: &'a str,
}

impl Session<Challenged> {
    /// Checks a run request and opens a challenge.
    ///
    /// `nonce` is fresh, random, and used for nothing else.
    ///
    /// # Errors
    /// If the request is not signed by the agreement's requester, is about another agreement, for
    /// other holders, not in its time, or chooses parameters outside the bounds.
    pub fn challenge(
        agreement: &Recognized,
        request: &Envelope,
        nonce: Nonce,
        now: UnixSeconds,
    ) -> Result<Self, Box<Denial>> {
        let run = RunId(request.payload_digest());
        let requester = &agreement.value().requester;
        let denied = |actor, (code, reason)| {
            let deny = occasion(agreement, run, actor, Vec::new(), now);
            Box::new(deny.deny(Action::GrantRefused, code, vec![reason]))
        };
        let request = request.open::<RunRequest>(&requester.signing_key).map_err(|error| {
            let code = match error {
                EnvelopeError::WrongSigner { .. } | EnvelopeError::BadSignature(_) => {
                    Code::RequestSigner
                }
                EnvelopeError::Malformed(_)
                | EnvelopeError::TooLarge { .. }
                | EnvelopeError::WrongType { .. }
                | EnvelopeError::Payload { .. } => Code::DocumentInvalid,
            };
            denied(Actor::Unknown, (code, chain(&error)))
        })?;
        let actor = Actor::Person {
            party: requester.party.clone(),
            person: requester.person.clone(),
            role: None,
        };
        check_request(agreement, request.value(), now).map_err(|why| denied(actor, why))?;
        let state = Challenged { nonce, opened: now };
        Ok(Self { agreement: agreement.clone(), request, state })
    }

    /// What the guard must bind.
    pub const fn nonce(&self) -> Nonce {
        self.state.nonce
    }

    /// Asks the policy about a guard that is all that the agreement wants. What is refused whatever
    /// the evidence, such as a run of an agreement that this holder's people have not approved, is
    /// refused before another holder's broker spends the run. Permits nothing: [`Session::permit`]
    /// decides.
    ///
    /// # Errors
    /// As [`Session::permit`].
    pub fn foresee(
        &self,
        policy: &Policy,
        facts: GrantFacts<'_>,
        now: UnixSeconds,
    ) -> Result<(), Box<Denial>> {
        let requester = &self.agreement.value().requester;
        let actor = Actor::Person {
            party: requester.party.clone(),
            person: requester.person.clone(),
            role: None,
        };
        let occasion = occasion(&self.agreement, self.run(), actor, Vec::new(), now);
        let platform = &self.agreement.value().platform;
        let guard = GuardFacts {
            tee: platform.tees.first().copied().unwrap_or(TeeKind::Software),
            measurement: platform.measurements.first().cloned().unwrap_or_default(),
            assurance: Assurance::Hardware,
            sandbox: platform.sandbox,
        };
        let key = "none yet".to_owned();
        self.ask(policy, (key, &guard), facts, &occasion).map(drop)
    }

    /// Verifies and appraises the guard's evidence. The nonce is used, whatever comes of it.
    ///
    /// # Errors
    /// If it came too late, is not genuine, not of this run, or not good enough.
    pub fn appraise(
        self,
        evidence: &Evidence,
        trust: Trust<'_>,
        now: UnixSeconds,
    ) -> Result<Session<Appraised>, Box<Denial>> {
        let agreement = self.agreement.value();
        let denied = |code, reason: String| {
            let seen = vec![evidence.digest()];
            let deny = occasion(&self.agreement, self.run(), Actor::Guard, seen, now);
            Box::new(deny.deny(Action::GrantRefused, code, vec![reason]))
        };
        let deadline = self.state.opened.plus_seconds(CHALLENGE_SECONDS);
        if now >= deadline {
            let reason = format!("evidence came at {now}, expected before {deadline}");
            return Err(denied(Code::ChallengeExpired, reason));
        }
        let holders: Vec<PartyId> = agreement.holders.iter().map(|h| h.party.clone()).collect();
        let expected = Expected {
            party: self.agreement.party(),
            nonce: &self.state.nonce,
            holders: &holders,
            run: self.run(),
            agreement: self.agreement.agreement().digest(),
            engine: agreement.program.engine,
            weakest_sandbox: agreement.platform.sandbox,
        };
        // The profile is fixed when a broker is initialised; no setting weakens it here.
        let appraisal = match self.agreement.profile() {
            Profile::Production => AppraisalPolicy::production(),
            Profile::Development => AppraisalPolicy::dangerous_development(),
        };
        let appraisal = appraisal.with_platform(trust.platform);
        let reference = ReferenceValues::of(&agreement.platform, trust.platform);
        let result = verify(evidence, trust.collateral, trust.roots, now, &expected)
            .and_then(|verified| appraise(&verified, &reference, &appraisal, now))
            .map_err(|rejection| denied(Code::Evidence(rejection.code), rejection.to_string()))?;
        let Self { agreement, request, .. } = self;
        Ok(Session { agreement, request, state: Appraised { result } })
    }
}

impl Session<Appraised> {
    /// What the verifier says of the guard.
    pub const fn attestation_result(&self) -> &AttestationResult {
        &self.state.result
    }

    /// Whether this guard is the one that got this earlier grant of the run: then, and only then,
    /// a retry gets the same grant again, and spends nothing.
    pub fn is_guard_of(&self, earlier: &GrantContext) -> bool {
        let result = &self.state.result;
        earlier.run == self.run()
            && earlier.agreement == self.agreement.agreement().digest()
            && earlier.guard_signing_key == *result.guard_signing_key()
            && earlier.guard_box_key == sha256(&[result.guard_box_key().as_bytes()])
    }

    /// Asks the policy.
    ///
    /// # Errors
    /// If a dataset is not what was agreed, or a condition of the policy fails.
    pub fn permit(
        self,
        policy: &Policy,
        facts: GrantFacts<'_>,
        now: UnixSeconds,
    ) -> Result<Session<Permitted>, Box<Denial>> {
        let result = &self.state.result;
        let run = self.run();
        let seen = vec![result.evidence_digest(), result.digest()];
        let occasion = occasion(&self.agreement, run, Actor::Guard, seen, now);
        let guard = GuardFacts {
            tee: result.tee(),
            measurement: result.measurement().to_owned(),
            assurance: result.assurance(),
            sandbox: result.runtime_data().sandbox,
        };
        let key = result.guard_signing_key().to_string();
        let datasets = self.ask(policy, (key, &guard), facts, &occasion)?;

        let context = GrantContext {
            v: V1,
            holder: self.agreement.party().clone(),
            agreement: self.agreement.agreement().digest(),
            run,
            evidence: result.evidence_digest(),
            appraisal: result.digest(),
            guard_signing_key: *result.guard_signing_key(),
            guard_box_key: sha256(&[result.guard_box_key().as_bytes()]),
            datasets,
            lease_ms: self.agreement.value().limits.lease_ms,
            policy: policy.digest(),
            issued: now,
        };
        let digest = document_digest(&context).map_err(|error| {
            Box::new(occasion.deny(Action::GrantRefused, Code::PolicyError, vec![chain(&error)]))
        })?;
        let entry = occasion.permit(Action::GrantIssued, digest);
        let guard_box_key = result.guard_box_key().clone();
        let Self { agreement, request, .. } = self;
        let state = Permitted { guard_box_key, context, digest, entry };
        Ok(Session { agreement, request, state })
    }
}

impl Session<Permitted> {
    /// What would be granted.
    pub const fn context(&self) -> &GrantContext {
        &self.state.context
    }

    /// Digest of the context, which the entry names.
    pub const fn context_digest(&self) -> Sha256Digest {
        self.state.digest
    }

    /// The entry to record, before anything else happens.
    pub const fn entry(&self) -> &LogEntry {
        &self.state.entry
    }

    /// The guard's box key, to be stored with the context.
    pub const fn guard_box_key(&self) -> &RecipientKey {
        &self.state.guard_box_key
    }

    /// Checks that the log proves the entry, under a head that the witnesses cosigned.
    ///
    /// # Errors
    /// If it does not: then nothing was granted, and the broker tries again.
    pub fn record(self, proof: &str) -> Result<Session<Recorded>, RecordError> {
        let Self { agreement, request, state } = self;
        let entry = state.entry.to_bytes()?;
        let proven =
            verify_proof(proof.as_bytes(), &entry, agreement.log(), agreement.witnesses())?;
        let Permitted { guard_box_key, context, .. } = state;
        let state = Recorded { guard_box_key, context, entry, proof: proof.to_owned(), proven };
        Ok(Session { agreement, request, state })
    }
}

impl Session<Recorded> {
    /// Takes up, after a crash, a grant that was recorded and perhaps never delivered: the log's
    /// proof says that this very context was permitted. Nothing is decided or spent again.
    ///
    /// # Errors
    /// If context, request, guard key, entry and proof do not belong together, or the log does
    /// not prove the entry.
    pub fn resume(
        agreement: &Recognized,
        request: Signed<RunRequest>,
        context: GrantContext,
        guard_box_key: RecipientKey,
        entry: &[u8],
        proof: &str,
    ) -> Result<Self, RecordError> {
        let digest = document_digest(&context)?;
        let belongs = context.holder == *agreement.party()
            && context.agreement == agreement.agreement().digest()
            && request.value().agreement == context.agreement
            && RunId(request.digest()) == context.run
            && context.guard_box_key == sha256(&[guard_box_key.as_bytes()]);
        if !belongs {
            return Err(RecordError::OtherContext);
        }
        let recorded: LogEntry = from_canonical(entry, LogEntry::MAX_BYTES)?;
        let is_this = recorded.action == Action::GrantIssued
            && recorded.decision == Decision::Permit
            && recorded.holder == context.holder
            && recorded.agreement == Some(context.agreement)
            && recorded.run == Some(context.run)
            && recorded.objects == [digest];
        if !is_this {
            return Err(RecordError::OtherEntry);
        }
        let proven = verify_proof(proof.as_bytes(), entry, agreement.log(), agreement.witnesses())?;
        let state = Recorded {
            guard_box_key,
            context,
            entry: entry.to_vec(),
            proof: proof.to_owned(),
            proven,
        };
        Ok(Self { agreement: agreement.clone(), request, state })
    }

    /// What the key process needs.
    pub fn seal_order(&self) -> SealOrder<'_> {
        SealOrder {
            context: &self.state.context,
            guard_box_key: &self.state.guard_box_key,
            entry: &self.state.entry,
            proof: &self.state.proof,
        }
    }

    /// Where the entry stands in the log, and who cosigned.
    pub const fn proven(&self) -> &Proven {
        &self.state.proven
    }

    /// The signed grant around the keys that the key process sealed.
    ///
    /// # Errors
    /// If `broker_key` is not this broker's, or the grant is too large to sign.
    pub fn grant(
        self,
        sealed_keys: SealedBox,
        broker_key: &SigningKey,
    ) -> Result<Signed<Grant>, RecordError> {
        if broker_key.verifying_key() != self.agreement.own_card().broker_key {
            return Err(RecordError::Sign);
        }
        let Recorded { context, entry, proof, .. } = self.state;
        let grant = Grant { v: V1, context, sealed_keys, entry: entry.into(), proof };
        Signed::sign(grant, broker_key).map_err(|_| RecordError::Sign)
    }
}

impl<S> Session<S> {
    /// The run.
    pub fn run(&self) -> RunId {
        RunId(self.request.digest())
    }

    /// The run request.
    pub const fn request(&self) -> &Signed<RunRequest> {
        &self.request
    }

    /// The agreement.
    pub const fn agreement(&self) -> &Recognized {
        &self.agreement
    }

    /// What would be granted to this guard, if the policy permits.
    fn ask(
        &self,
        policy: &Policy,
        (key, guard): (String, &GuardFacts),
        facts: GrantFacts<'_>,
        occasion: &Occasion,
    ) -> Result<Vec<GrantedDataset>, Box<Denial>> {
        let denied = |code, reasons| Box::new(occasion.deny(Action::GrantRefused, code, reasons));
        let datasets = granted_datasets(&self.agreement, facts.datasets)
            .map_err(|error| denied(error.code, vec![error.to_string()]))?;
        let now = occasion.time;
        let approved = facts.standing.approved();
        let digest = self.agreement.agreement().digest();
        let asked = policy::GrantFacts {
            now,
            // An approval of another agreement, or one that ran out since, is none.
            approved: approved.is_some_and(|a| a.agreement() == digest && a.until() > now),
            rejected: matches!(facts.standing, Standing::Rejected { .. }),
            study_stopped: facts.study_stopped,
            request_issued: self.request.value().issued,
            request_not_after: self.request.value().not_after,
            runs_used: facts.runs_used,
            datasets: datasets.iter().map(|d| d.dataset.to_string()).collect(),
            keys_active: facts.datasets.iter().all(|dataset| dataset.key_active),
            broker: facts.broker,
        };
        let question = Question::grant(&self.agreement, key, guard, &asked);
        let Verdict::Deny(failed) = policy.decide(&question) else { return Ok(datasets) };
        let code = failed.first().map_or(Code::PolicyError, |failed| failed.code);
        let mut reasons: Vec<String> = failed.into_iter().map(|failed| failed.reason).collect();
        reasons.extend(standing_lines(facts.standing));
        Err(denied(code, reasons))
    }
}

fn occasion(
    agreement: &Recognized,
    run: RunId,
    actor: Actor,
    evidence: Vec<Sha256Digest>,
    now: UnixSeconds,
) -> Occasion {
    Occasion {
        time: now,
        profile: agreement.profile(),
        holder: agreement.party().clone(),
        actor,
        study: Some(agreement.value().study.clone()),
        agreement: Some(agreement.agreement().digest()),
        run: Some(run),
        evidence,
    }
}

fn check_request(
    agreement: &Recognized,
    request: &RunRequest,
    now: UnixSeconds,
) -> Result<(), (Code, String)> {
    let digest = agreement.agreement().digest();
    if request.agreement != digest {
        let reason = format!("expected agreement `{digest}`, found `{}`", request.agreement);
        return Err((Code::RequestAgreement, reason));
    }
    let agreement = agreement.value();
    if !agreement.holders.iter().map(|holder| &holder.party).eq(&request.audience) {
        let reason = "expected all holders of the agreement, sorted".to_owned();
        return Err((Code::RequestAudience, reason));
    }
    let (issued, not_after) = (request.issued, request.not_after);
    let fresh = issued <= now.plus_seconds(CLOCK_SKEW_SECONDS)
        && now < not_after
        && not_after <= issued.plus_seconds(MAX_REQUEST_SECONDS);
    if !fresh {
        let reason = format!(
            "issued at {issued}, good until {not_after}, now {now}; expected at most \
             {MAX_REQUEST_SECONDS} s from issue to end"
        );
        return Err((Code::RequestNotFresh, reason));
    }
    let bounds = &agreement.program.parameters;
    if !bounds.keys().eq(request.parameters.keys()) {
        let reason = "expected one value for each parameter of the program".to_owned();
        return Err((Code::RequestParameters, reason));
    }
    for (name, value) in &request.parameters {
        let allowed = bounds.get(name).is_some_and(|bound| bound.one_of.contains(value));
        if !allowed {
            let reason = format!("`{name}` is not one of the agreed values");
            return Err((Code::RequestParameters, reason));
        }
    }
    Ok(())
}

/// The agreed keys of one version of each agreed dataset: of each table the footer key, then its
/// agreed columns.
fn granted_datasets(
    agreement: &Recognized,
    versions: &[DatasetVersion<'_>],
) -> Result<Vec<GrantedDataset>, AgreementError> {
    let mut granted = Vec::with_capacity(versions.len());
    for version in versions {
        let terms = check_dataset(agreement, version.manifest)?;
        let manifest = version.manifest.value();
        let mut keys: Vec<KeyName> = Vec::new();
        for (table, columns) in &terms.columns {
            keys.push(KeyName { table: table.clone(), column: None });
            let column =
                |name: &_| KeyName { table: table.clone(), column: Some(Clone::clone(name)) };
            keys.extend(columns.iter().map(column));
        }
        keys.sort_unstable();
        granted.push(GrantedDataset {
            dataset: manifest.dataset.clone(),
            version: manifest.version,
            manifest: version.manifest.digest(),
            keys,
        });
    }
    granted.sort_unstable_by(|a, b| a.dataset.cmp(&b.dataset));
    let agreed = agreement.own_holder().datasets.iter().map(|terms| &terms.dataset);
    if agreed.eq(granted.iter().map(|granted| &granted.dataset)) {
        return Ok(granted);
    }
    let field = format!("holders[{}].datasets", agreement.party());
    let expected = "one version of each agreed dataset";
    Err(AgreementError::new(Code::DatasetMismatch, field, expected, "others"))
}

fn standing_lines(standing: &Standing) -> Vec<String> {
    match standing {
        Standing::Approved(_) => Vec::new(),
        Standing::Rejected { by } => vec![format!("rejected by `{by}`")],
        Standing::Missing(missing) => missing.lines(),
    }
}

#[cfg(test)]
mod tests;
