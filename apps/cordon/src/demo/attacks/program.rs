//! Other programs than the agreed ones, and evidence that is not of this run.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use cordon_crypto::SystemRandom;
use cordon_hub::MailboxName;
use cordon_hub::client::Mailbox;
use cordon_hub::host::Mischief;
use cordon_protocol::Refusal;
use cordon_protocol::message::{FromBroker, ToBroker};
use std::os::unix::fs::PermissionsExt as _;

use super::must_end_with;
use crate::demo::place::{Place, program};
use crate::demo::stage::{Seen, Stage};
use crate::demo::study::{start, start_through};
use crate::demo::work::Done;
use crate::ops::submit::ANSWER;

pub async fn attacks(stage: &mut Stage, done: &Done) {
    stage
        .attack(
            "a byte of the guard is changed",
            "every broker refuses the evidence: wrong_measurement",
            changed_guard(done),
        )
        .await;
    stage
        .attack(
            "the host gives the guard another engine",
            "the guard hashes what it starts: wrong_engine",
            other_engine(done),
        )
        .await;
    stage
        .attack(
            "the evidence of the finished run is sent again",
            "the broker's nonce counts once: not_challenged",
            replayed(done),
        )
        .await;
    stage
        .attack(
            "evidence of another run is sent for a new one",
            "evidence binds one run: wrong_run",
            of_another_run(done),
        )
        .await;
}

async fn changed_guard(done: &Done) -> Result<Seen> {
    let place = &done.place;
    let path = place.folder.join("changed-guard");
    let mut bytes = program(&place.guards.guard_path)?.to_vec();
    // A byte that no loader reads (padding of the ELF header): the changed guard does exactly
    // what the genuine one does, and is another program all the same.
    const PADDING: usize = 15;
    *bytes.get_mut(PADDING).context("the guard is no program")? ^= 1;
    std::fs::write(&path, bytes)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    place.guards.start_instead(Some(path));
    let seen = async {
        let started = start(place, &done.agreement).await?;
        must_end_with(place, &started, "wrong_measurement").await
    };
    let seen = seen.await;
    place.guards.start_instead(None);
    seen
}

async fn other_engine(done: &Done) -> Result<Seen> {
    let mut engine = done.place.guards.engine.to_vec();
    engine.push(0);
    let relay = Mischief::SwapEngine(Bytes::from(engine));
    let started = start_through(&done.place, &done.agreement, relay).await?;
    must_end_with(&done.place, &started, "wrong_engine").await
}

async fn replayed(done: &Done) -> Result<Seen> {
    let evidence = done.run.recording.evidence().context("no evidence was seen")?;
    let message = ToBroker::Grant { run: done.run.run, evidence };
    let refusal = ask_first(&done.place, &message).await?;
    let words = format!("broker of {}: {}: {}", refusal.holder, refusal.code, refusal.sentence);
    Ok(Seen::code("not_challenged", &refusal.code, words))
}

async fn of_another_run(done: &Done) -> Result<Seen> {
    let evidence = done.run.recording.evidence().context("no evidence was seen")?;
    let relay = Mischief::ReplayEvidence(Box::new(evidence));
    let started = start_through(&done.place, &done.agreement, relay).await?;
    must_end_with(&done.place, &started, "wrong_run").await
}

/// Sends the first broker a message, as anybody can, and expects a refusal.
async fn ask_first(place: &Place, message: &ToBroker) -> Result<Refusal> {
    let hospital = place.hospital(0)?;
    let mailbox = Mailbox::open(place.client.clone(), Box::new(SystemRandom::new())).await?;
    let to = MailboxName::Party(hospital.party.clone());
    let answer: FromBroker = mailbox.ask(&to, message, ANSWER).await?;
    mailbox.close().await?;
    match answer {
        FromBroker::Refused { refusal } => {
            Ok(refusal.open::<Refusal>(&hospital.card.value().broker_key)?.into_value())
        }
        other => bail!("the broker did it: {other:?}"),
    }
}
