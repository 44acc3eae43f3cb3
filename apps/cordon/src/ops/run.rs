//! Asking for a run, waiting for it, and collecting what it came to.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordon_crypto::Random;
use cordon_crypto::dsse::{Envelope, Signed};
use cordon_hub::MailboxName;
use cordon_hub::api::{DocumentKind, RunState, RunStatus};
use cordon_hub::client::{Client, Inbox};
use cordon_protocol::message::ToPerson;
use cordon_protocol::run::ParameterValue;
use cordon_protocol::{Agreement, Evidence, Refusal, Release, RunId, RunRequest, V1};
use cordon_types::{ParameterName, PartyId, Sha256Digest, UnixSeconds};

use crate::person::PersonKeys;

/// A request that no host picks up within a day is void.
const REQUEST_VALID_SECONDS: u64 = 86_400;
/// One long poll.
const POLL: Duration = Duration::from_secs(10);

/// Fetches an agreement from the hub; whoever uses it has its digest from people, not from there.
///
/// # Errors
/// If the hub has it not, or it is not signed by the requester whom it names.
pub async fn agreement(hub: &Client, digest: Sha256Digest) -> Result<Signed<Agreement>> {
    let envelope = hub.document(&digest, None).await.context("the hub has no such agreement")?;
    let signed = envelope.open::<Agreement>(&envelope.claimed_signer())?;
    ensure!(signed.digest() == digest, "the hub gave another agreement");
    ensure!(
        signed.signer() == signed.value().requester.signing_key,
        "the agreement is not signed by its requester"
    );
    Ok(signed)
}

/// The agreement that a run is under: the run's own name is the digest of its request, and that
/// names the agreement, so that the hub cannot give another.
///
/// # Errors
/// If the hub has not both, or request and agreement are not of the same requester.
pub async fn agreement_of(hub: &Client, run: RunId) -> Result<Signed<Agreement>> {
    let envelope = hub.document(&run.0, None).await.context("the hub has no such run")?;
    let request = envelope.open::<RunRequest>(&envelope.claimed_signer())?;
    let agreement = agreement(hub, request.value().agreement).await?;
    ensure!(
        request.signer() == agreement.signer(),
        "the run was not requested by the agreement's requester"
    );
    Ok(agreement)
}

/// Signs a run request. A parameter that is not given takes the value of its bound if there is
/// just one.
///
/// # Errors
/// If a parameter is missing.
pub fn request(
    agreement: &Signed<Agreement>,
    given: &BTreeMap<ParameterName, ParameterValue>,
    requester: &PersonKeys,
    now: UnixSeconds,
    random: &mut dyn Random,
) -> Result<Signed<RunRequest>> {
    let mut parameters = given.clone();
    for (name, bound) in &agreement.value().program.parameters {
        if let ([only], false) = (bound.one_of.as_slice(), parameters.contains_key(name)) {
            parameters.insert(name.clone(), only.clone());
        }
        ensure!(
            parameters.contains_key(name),
            "parameter `{name}` needs a value: choose one of those agreed"
        );
    }
    let request = RunRequest {
        v: V1,
        agreement: agreement.digest(),
        parameters,
        audience: agreement.value().holders.iter().map(|h| h.party.clone()).collect(),
        nonce: random.nonce(),
        issued: now,
        not_after: now.plus_seconds(REQUEST_VALID_SECONDS),
    };
    Ok(Signed::sign(request, &requester.signing)?)
}

/// Waits until a run has ended, telling every change.
///
/// # Errors
/// If the hub does not answer, or `within` is over.
pub async fn wait(
    hub: &Client,
    run: RunId,
    within: Duration,
    mut tell: impl FnMut(&RunStatus),
) -> Result<RunStatus> {
    let work = async {
        let mut status = hub.run(&run).await?;
        loop {
            tell(&status);
            if status.state == RunState::Finished {
                return anyhow::Ok(status);
            }
            status = hub.watch_run(&run, status.revision, POLL).await?;
        }
    };
    tokio::time::timeout(within, work).await.context("the run takes longer than that")?
}

/// The receipt of a run and the evidence that binds its key, from the person's own mailbox.
///
/// # Errors
/// If none has come within the time.
pub async fn receipt(
    hub: &Client,
    person: &PersonKeys,
    run: RunId,
    within: Duration,
) -> Result<(Envelope, Evidence)> {
    let name = MailboxName::Person(person.party.clone(), person.person.clone());
    let mut inbox = Inbox::<ToPerson>::new(hub.clone(), name, person.signing.clone());
    let work = async {
        loop {
            for delivery in inbox.receive(POLL).await? {
                if let Ok(mail) = delivery.mail
                    && let ToPerson::Receipt { receipt, evidence } = mail.body
                    && names_run(&evidence, run)
                {
                    return anyhow::Ok((receipt, evidence));
                }
            }
        }
    };
    tokio::time::timeout(within, work).await.context("no receipt of this run has come")?
}

fn names_run(evidence: &Evidence, run: RunId) -> bool {
    use cordon_crypto::dsse::Document as _;
    use cordon_protocol::RuntimeData;
    let bytes = evidence.runtime_data.as_slice();
    cordon_crypto::canonical::from_canonical::<RuntimeData>(bytes, RuntimeData::MAX_BYTES)
        .is_ok_and(|data| data.run == run)
}

/// The releases of a run that the hub has, by holder. Signatures are checked when they are used.
///
/// # Errors
/// If the hub does not answer.
pub async fn releases(
    hub: &Client,
    agreement: &Agreement,
    run: RunId,
) -> Result<BTreeMap<PartyId, Envelope>> {
    let mut releases = BTreeMap::new();
    let list = hub.run_documents(&run, DocumentKind::Release).await?;
    for entry in list.documents {
        let holder = agreement.holders.iter().find(|h| h.broker_key == entry.signer);
        let Some(holder) = holder else { continue };
        let envelope = hub.document(&entry.digest, Some(&entry.signer)).await?;
        if envelope.open::<Release>(&holder.broker_key).is_ok() {
            releases.insert(holder.party.clone(), envelope);
        }
    }
    Ok(releases)
}

/// Which holders' brokers refused a run, in the order in which they did, as they signed it.
///
/// # Errors
/// If the hub does not answer.
pub async fn refusals(hub: &Client, agreement: &Agreement, run: RunId) -> Result<Vec<Refusal>> {
    let mut refusals = Vec::new();
    for entry in hub.run_documents(&run, DocumentKind::Refusal).await?.documents {
        let holder = agreement.holders.iter().find(|h| h.broker_key == entry.signer);
        let Some(holder) = holder else { continue };
        let envelope = hub.document(&entry.digest, Some(&entry.signer)).await?;
        if let Ok(refusal) = envelope.open::<Refusal>(&holder.broker_key)
            && refusal.value().run == Some(run)
        {
            refusals.push(refusal.into_value());
        }
    }
    refusals.sort_by_key(|refusal| refusal.issued);
    Ok(refusals)
}

/// Some holders have not released their shares in time.
#[derive(Debug, thiserror::Error)]
#[error("not released by {}", .0.join(", "))]
pub struct NotReleased(Vec<String>);

/// Waits until every holder has released its share.
///
/// # Errors
/// [`NotReleased`] when the time is over.
pub async fn all_releases(
    hub: &Client,
    agreement: &Agreement,
    run: RunId,
    within: Duration,
) -> Result<BTreeMap<PartyId, Envelope>> {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let releases = releases(hub, agreement, run).await?;
        let parties = agreement.holders.iter().map(|holder| &holder.party);
        let missing = parties.filter(|party| !releases.contains_key(party));
        let missing: Vec<String> = missing.map(ToString::to_string).collect();
        if missing.is_empty() {
            return Ok(releases);
        }
        ensure!(tokio::time::Instant::now() < deadline, NotReleased(missing));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
