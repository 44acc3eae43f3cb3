//! What the operator of the machine can do to a run: change ciphertext, drop messages, choose
//! another request, offer a TEE that is none.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use cordon_broker::api::RunState;
use cordon_crypto::SystemRandom;
use cordon_crypto::dsse::Signed;
use cordon_hub::host::Mischief;
use cordon_protocol::agreement::Holder;
use cordon_protocol::message::{FromGuard, ToBroker};
use cordon_protocol::party::Profile;
use cordon_protocol::run::ParameterValue;
use cordon_protocol::{Agreement, RunId};

use super::must_end_with;
use crate::clock::now;
use crate::demo::place::Hospital;
use crate::demo::stage::{Seen, Stage};
use crate::demo::study::{PARAMETER, Started, receipt, start_through};
use crate::demo::work::Done;
use crate::ops::run;
use crate::ops::submit::{Answer, send};

pub async fn attacks(stage: &mut Stage, done: &Done) {
    stage
        .attack(
            "a run asks for a value that was not agreed",
            "the guard refuses before it asks for any key: parameter_out_of_bounds",
            out_of_bounds(done),
        )
        .await;
    stage
        .attack(
            "the software TEE is offered to a production broker",
            "no setting and no agreement makes it accept: agreement_software_tee",
            production(done),
        )
        .await;
    stage
        .attack(
            "a byte of ciphertext is flipped on its way",
            "authenticated encryption notices: data_invalid, and nothing leaves",
            flipped(done),
        )
        .await;
    stage
        .attack(
            "the host drops the receipt of a run",
            "no broker releases a share for a result that it was not told of",
            dropped_receipt(done),
        )
        .await;
}

async fn out_of_bounds(done: &Done) -> Result<Seen> {
    let (place, agreement) = (&done.place, &done.agreement);
    let random = &mut SystemRandom::new();
    // The researcher's own signature does not widen what was agreed.
    let given = [(PARAMETER.parse()?, ParameterValue::Text("C50.9".to_owned()))].into();
    let request = run::request(agreement, &given, &place.researcher, now(), random)?;
    let run = RunId(request.digest());
    let recording = place.intercept(run, cordon_hub::host::Honest);
    place.client.put_document(request.envelope()).await?;
    place.client.submit_run(&request).await?;
    let started = Started { run, recording };
    must_end_with(place, &started, "parameter_out_of_bounds").await
}

async fn production(done: &Done) -> Result<Seen> {
    let place = &done.place;
    let mut clinic =
        Hospital::make(&place.folder, "production-clinic", Profile::Production).await?;
    let started = clinic.start(&place.hub_url, Some(&place.tee_root)).await;
    let Err(started) = started else { bail!("it starts with a root of a software TEE") };
    clinic.start(&place.hub_url, None).await?;

    // The agreement of the demo, in which this clinic takes part, as production.
    let mut agreement: Agreement = done.agreement.value().clone();
    agreement.profile = Profile::Production;
    let card = clinic.card.value();
    let terms = agreement.holders.remove(0);
    let sources = agreement.program.tables.values_mut();
    for source in sources.flatten().filter(|source| source.holder == terms.party) {
        source.holder = card.party.clone();
    }
    agreement.program.tables.values_mut().for_each(|sources| sources.sort());
    agreement.holders.push(Holder {
        party: card.party.clone(),
        broker_key: card.broker_key,
        log_origin: card.log_origin.clone(),
        log_key: card.log_key,
        witness_key: card.witness_key,
        box_key: card.box_key.clone(),
        manifest_keys: card.manifest_keys.clone(),
        reviewers: vec![clinic.reviewer.in_agreement()],
        ..terms
    });
    agreement.holders.sort_by(|a, b| a.party.cmp(&b.party));
    let agreement = Signed::sign(agreement, &place.researcher.signing)?;
    let answers = send(&place.client, &agreement).await?;
    let answer = answers.into_iter().find(|(party, _)| *party == clinic.party);
    let Some((party, Answer::Refused { code, sentence })) = answer else {
        bail!("the production broker does not refuse: {answer:?}")
    };
    let words = format!("at start: {started:#}; broker of {party}: {code}: {sentence}");
    Ok(Seen::code("agreement_software_tee", &code, words))
}

async fn flipped(done: &Done) -> Result<Seen> {
    let relay = Mischief::FlipCiphertextByte;
    let started = start_through(&done.place, &done.agreement, relay).await?;
    must_end_with(&done.place, &started, "data_invalid").await
}

async fn dropped_receipt(done: &Done) -> Result<Seen> {
    /// Releases of the main job came in less.
    const PATIENCE: Duration = Duration::from_secs(2);
    const WITHIN: Duration = Duration::from_secs(60);
    let place = &done.place;
    let relay = Mischief::DropReceipt;
    let started = start_through(place, &done.agreement, relay).await?;
    // The guard goes on trying for a while; that it tried once is enough here.
    let deadline = tokio::time::Instant::now() + WITHIN;
    while !started.recording.from_guard().iter().any(is_delivery) {
        ensure!(tokio::time::Instant::now() < deadline, "the run made no receipt");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let receipt = receipt(place, started.run, PATIENCE).await;
    let releases = run::releases(&place.client, done.agreement.value(), started.run).await?;
    let mut states = Vec::new();
    for hospital in &place.hospitals {
        states.push(hospital.staff(&hospital.officer)?.run(started.run).await?.state);
    }
    let ok = receipt.is_err()
        && releases.is_empty()
        && states.iter().all(|state| *state == RunState::Granted);
    let observed = format!(
        "researcher: {}; {} of 3 shares released; each broker's log shows a grant without a receipt",
        receipt.err().map_or("has a receipt".to_owned(), |error| error.to_string()),
        releases.len()
    );
    Ok(Seen { ok, observed })
}

fn is_delivery(message: &FromGuard) -> bool {
    match message {
        FromGuard::ToBroker { body, .. } => matches!(**body, ToBroker::Deliver { .. }),
        FromGuard::Read { .. }
        | FromGuard::Progress { .. }
        | FromGuard::Store { .. }
        | FromGuard::Finished { .. } => false,
    }
}
