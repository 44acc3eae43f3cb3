//! One run from start to end, step by step.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use cordon_attester::{Attester, collect};
use cordon_crypto::Random;
use cordon_crypto::dsse::Envelope;
use cordon_protocol::V1;
use cordon_protocol::evidence::{Evidence, PartyNonce, RuntimeData};
use cordon_protocol::frame;
use cordon_protocol::message::{FromBroker, FromGuard, Stage, ToBroker};
use cordon_protocol::release::{Assurance, Outcome, ReceiptGrant, ReceiptInput};
use cordon_sandbox::SealedEngine;
use cordon_types::PartyId;

use crate::failure::{Code, Failure};
use crate::grants::{self, Granted, Wanted, box_key_digest};
use crate::inputs::{self, Inputs, Offer};
use crate::jobs::{check_plan, plan_job, run_job};
use crate::lines::Lines;
use crate::order::{self, Order};
use crate::output;
use crate::seal::{self, Facts, Sealed};
use crate::talk::{GuardKeys, Talk};
use crate::work;
use crate::worker::{self, Workshop};

/// How a run ended, for the exit code; everything else has been told to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A result was sealed.
    Sealed,
    /// Nothing leaves.
    Failed,
}

/// Serves one run to the host behind this connection.
///
/// The program that calls this has called [`cordon_sandbox::launcher::run_if_asked`] first.
pub fn run(
    mut host: UnixStream,
    attester: Option<&mut dyn Attester>,
    random: &mut dyn Random,
) -> Ended {
    // A host that never says what to run is no host.
    let patience = host.set_read_timeout(Some(START_PATIENCE));
    let started = patience.map_err(|_| Code::BadStart).and_then(|()| order::receive(&mut host));
    let (order, engine) = match started {
        Ok(started) => started,
        Err(code) => {
            let finished = finished(None, None, &code.into());
            // The host may be gone.
            let _ = frame::write_message(&mut host, &finished);
            return Ended::Failed;
        }
    };
    let keys = GuardKeys::generate(random);
    let Ok(lines) = Lines::open(host) else { return Ended::Failed };
    let mut talk = Talk::new(&order, &keys, random, lines);
    let mut facts = Facts::default();
    let mut evidence = None;
    let result = attempt(&mut talk, engine, attester, &mut evidence, &mut facts);
    talk.leases.end();
    let ended = if result.is_ok() { Ended::Sealed } else { Ended::Failed };
    // If the host is gone, there is nobody left to tell.
    let _ = deliver(&mut talk, evidence, facts, result);
    talk.lines.close();
    ended
}

/// Steps 2 to 7. Whatever happens, worker and keys are gone when this returns.
fn attempt(
    talk: &mut Talk<'_>,
    engine: SealedEngine,
    attester: Option<&mut dyn Attester>,
    evidence: &mut Option<Evidence>,
    facts: &mut Facts,
) -> Result<Sealed, Failure> {
    let order = talk.order;
    let attester = attester.ok_or(Code::NoEvidence)?;
    if !order.agreement.platform.tees.contains(&attester.kind()) {
        return Err(Code::TeeNotAgreed.into());
    }
    let workshop = Workshop::probe(engine)?;
    if workshop.level()? < order.agreement.platform.sandbox {
        return Err(Code::SandboxTooWeak.into());
    }

    // 2. Nonces and manifests of all brokers; the plan, before any key is asked for.
    talk.show(Stage::Challenging, 0)?;
    let (nonces, inputs) = challenge(talk)?;
    talk.show(Stage::Planning, 0)?;
    let plan = worker::plan(talk, &workshop, plan_job(order, &inputs)?)?;
    check_plan(&order.agreement, &plan)?;

    // 3. One evidence over the nonces of all brokers and this guard's keys.
    talk.show(Stage::Attesting, 0)?;
    let runtime_data = RuntimeData {
        v: V1,
        run: order.run,
        agreement: order.digest,
        nonces,
        guard_signing_key: talk.keys.signing.verifying_key(),
        guard_box_key: talk.keys.opening.public_key(),
        engine: order.agreement.program.engine,
        sandbox: workshop.level()?,
    };
    let collected = collect(attester, &runtime_data).map_err(|_| Code::NoEvidence)?;
    let evidence = evidence.insert(collected);

    // 4. Grants of all brokers, or none is used.
    let granted = ask_for_grants(talk, evidence, &inputs)?;
    talk.confirm_leases()?;
    facts.grants = listed_grants(&granted);
    facts.inputs = listed_inputs(order, &inputs);

    // 5. The worker, with file keys only; the column keys end here.
    talk.show(Stage::Running, 0)?;
    let job = run_job(order, &inputs, &granted)?;
    drop(granted);
    let raw = work::run(talk, &workshop, job, &mut facts.costs)?;
    talk.leases.check(Instant::now())?;
    talk.leases.end();

    // 6. The gate.
    talk.show(Stage::Checking, facts.costs.bytes_read)?;
    let passed = output::check(&order.agreement, &raw)?;
    drop(raw);

    // 7. The seal.
    talk.show(Stage::Sealing, facts.costs.bytes_read)?;
    Ok(seal::seal(order, Assurance::of(attester.kind()), passed, talk.random)?)
}

/// Asks every broker for a nonce and for the manifests of what it would release.
fn challenge(talk: &mut Talk<'_>) -> Result<(Vec<PartyNonce>, Inputs), Failure> {
    let request = talk.order.request_envelope.clone();
    let answers = talk.ask_all(
        CHALLENGE_PATIENCE,
        |_, _| Ok(ToBroker::Challenge { request: request.clone() }),
        |talk, party, _, body| {
            let FromBroker::Challenged { holder, nonce, manifests } = body else {
                return Err(Code::HostMisbehaved.into());
            };
            let terms = talk.order.agreement.holder(party).ok_or(Code::HostMisbehaved)?;
            if holder != *party {
                return Err(Code::HostMisbehaved.into());
            }
            let offers = inputs::check(&talk.order.agreement, terms, &manifests)?;
            Ok((PartyNonce { party: party.clone(), nonce }, offers))
        },
    )?;
    let (nonces, offers): (Vec<PartyNonce>, Vec<Vec<Offer>>) = answers.into_iter().unzip();
    Ok((nonces, Inputs::new(offers.into_iter().flatten())))
}

/// Sends the evidence to every broker. From a holder's grant on, its lease counts.
fn ask_for_grants(
    talk: &mut Talk<'_>,
    evidence: &Evidence,
    inputs: &Inputs,
) -> Result<Vec<Granted>, Failure> {
    let (order, keys) = (talk.order, talk.keys);
    let wanted = Wanted {
        agreement: &order.agreement,
        agreement_digest: order.digest,
        run: order.run,
        evidence: evidence.digest(),
        guard_signing_key: keys.signing.verifying_key(),
        guard_box_key: box_key_digest(&keys.opening),
        inputs,
    };
    talk.ask_all(
        GRANT_PATIENCE,
        |_, _| Ok(ToBroker::Grant { run: order.run, evidence: evidence.clone() }),
        |talk, party, asked, body| {
            let FromBroker::Granted { grant } = body else {
                return Err(Code::HostMisbehaved.into());
            };
            let holder = order.agreement.holder(party).ok_or(Code::HostMisbehaved)?;
            let granted = grants::open(&wanted, holder, &grant, &keys.opening)?;
            talk.leases.start(party, asked, Instant::now(), granted.lease);
            Ok(granted)
        },
    )
}

fn listed_grants(granted: &[Granted]) -> Vec<ReceiptGrant> {
    let listed = |granted: &Granted| ReceiptGrant {
        holder: granted.holder.clone(),
        context: granted.context,
    };
    granted.iter().map(listed).collect()
}

/// The dataset versions that the program uses, sorted by holder and dataset.
fn listed_inputs(order: &Order, inputs: &Inputs) -> Vec<ReceiptInput> {
    let used = |offer: &&Offer| {
        let manifest = &offer.manifest;
        let sources = order.agreement.program.tables.values().flatten();
        sources
            .into_iter()
            .any(|source| source.holder == manifest.holder && source.dataset == manifest.dataset)
    };
    let listed = |offer: &Offer| ReceiptInput {
        holder: offer.manifest.holder.clone(),
        dataset: offer.manifest.dataset.clone(),
        version: offer.manifest.version,
        manifest: offer.digest,
    };
    inputs.offers().filter(used).map(listed).collect()
}

/// Stores the result, delivers the receipt to every broker, and says goodbye.
fn deliver(
    talk: &mut Talk<'_>,
    evidence: Option<Evidence>,
    facts: Facts,
    result: Result<Sealed, Failure>,
) -> Result<(), Failure> {
    let failure = result.as_ref().err().cloned();
    let Some(evidence) = evidence else {
        // Nothing binds the guard's key: a receipt would prove nothing.
        let failure = failure.unwrap_or_else(|| Code::NoEvidence.into());
        return Ok(talk.lines.tell_host(&finished(None, None, &failure))?);
    };
    if failure.as_ref().is_some_and(|failure| failure.code == Code::HostGone) {
        return Err(Code::HostGone.into());
    }
    let outcome = match &result {
        Ok(sealed) => Outcome::Sealed(sealed.outcome.clone()),
        Err(failure) => Outcome::Failed { code: failure.code.as_str().to_owned() },
    };
    let key = &talk.keys.signing;
    let receipt = seal::receipt(talk.order, &evidence, facts, outcome, key)?;
    let mut sealed = result.ok();
    if let Some(sealed) = &mut sealed {
        let bytes = std::mem::take(&mut sealed.bytes);
        talk.lines.tell_host(&FromGuard::Store { sealed: bytes.into() })?;
    }
    let refusal = hand_over(talk, &receipt, sealed)?;

    let end = FromGuard::Finished {
        receipt: Some(receipt),
        evidence: Some(evidence),
        code: failure.as_ref().map_or("ok", |failure| failure.code.as_str()).to_owned(),
        refusal: failure.and_then(|failure| failure.refusal).map(|refusal| *refusal).or(refusal),
        // There was evidence, so planning was over.
        detail: None,
    };
    Ok(talk.lines.tell_host(&end)?)
}

/// Gives every broker the receipt, and its share if there is one. A broker that refuses or keeps
/// silent withholds its clearance later; that is no reason to keep the others waiting.
fn hand_over(
    talk: &mut Talk<'_>,
    receipt: &Envelope,
    sealed: Option<Sealed>,
) -> Result<Option<Envelope>, Failure> {
    let (mut shares, mut reviews) =
        sealed.map(|sealed| (sealed.shares, sealed.reviews)).unwrap_or_default();
    let run = talk.order.run;
    let message = |_: &mut Talk<'_>, party: &PartyId| {
        Ok(ToBroker::Deliver {
            run,
            receipt: receipt.clone(),
            share: shares.remove(party),
            reviews: reviews.remove(party).unwrap_or_default(),
        })
    };
    let take = |_: &mut Talk<'_>, _: &PartyId, _: Instant, body| match body {
        FromBroker::Refused { refusal } => Ok(Some(refusal)),
        FromBroker::Received { .. } => Ok(None),
        FromBroker::Proposed { .. }
        | FromBroker::Challenged { .. }
        | FromBroker::Granted { .. }
        | FromBroker::Leased { .. }
        | FromBroker::Cosigned { .. }
        | FromBroker::LastCheckpoint { .. } => Err(Code::HostMisbehaved.into()),
    };
    match talk.ask_all(DELIVER_PATIENCE, message, take) {
        Ok(answers) => Ok(answers.into_iter().flatten().next()),
        Err(Failure { code: Code::BrokerSilent, .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn finished(receipt: Option<Envelope>, evidence: Option<Evidence>, failure: &Failure) -> FromGuard {
    FromGuard::Finished {
        receipt,
        evidence,
        code: failure.code.as_str().to_owned(),
        refusal: failure.refusal.as_deref().cloned(),
        detail: failure.detail.clone(),
    }
}

/// The host has everything at hand.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Brokers poll their mailboxes; one that restarts is back by then.
const CHALLENGE_PATIENCE: Duration = Duration::from_secs(60);
/// A grant waits for the log to be cosigned by other brokers.
const GRANT_PATIENCE: Duration = Duration::from_secs(120);
/// The host goes on handing out what brokers have not taken by then.
const DELIVER_PATIENCE: Duration = Duration::from_secs(30);
