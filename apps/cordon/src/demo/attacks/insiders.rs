//! People with keys: a reviewer who says no, a hospital that stops.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cordon_broker::api::RunState;
use cordon_crypto::SystemRandom;
use cordon_hub::api::RunStatus;
use cordon_hub::host::{GuardFrame, Relay};
use cordon_protocol::decision::Verdict;
use cordon_protocol::message::Stage as RunStage;

use crate::clock::now;
use crate::demo::stage::{Seen, Stage};
use crate::demo::study::{QUERY, agree, decide, draft, end_code, receipt, start, start_through};
use crate::demo::work::Done;
use crate::ops::{holder, run};

pub async fn attacks(stage: &mut Stage, done: &Done) {
    stage
        .attack(
            "one hospital withholds its clearance",
            "two of three shares open nothing",
            withheld(done),
        )
        .await;
    stage
        .attack(
            "one hospital presses stop during a run",
            "the guard forgets its keys within a lease of 4 s: stopped",
            stopped(done),
        )
        .await;
}

async fn withheld(done: &Done) -> Result<Seen> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let place = &done.place;
    let started = start(place, &done.agreement).await?;
    let code = end_code(place, started.run).await?;
    ensure!(code == "ok", "the run ended with {code}");
    let (no, yes) = place.hospitals.split_last().unwrap_or((place.hospital(0)?, &[]));
    for hospital in yes {
        decide(hospital, started.run, Verdict::Approve).await?;
    }
    decide(no, started.run, Verdict::Reject).await?;
    receipt(place, started.run, PATIENCE).await?;
    let agreement = done.agreement.value();
    let releases = run::all_releases(&place.client, agreement, started.run, PATIENCE).await;
    let state = no.staff(&no.officer)?.run(started.run).await?.state;
    Ok(match releases {
        Ok(_) => Seen { ok: false, observed: "all three released".to_owned() },
        Err(error) => Seen {
            ok: state == RunState::Withheld && error.to_string().contains(no.party.as_str()),
            observed: format!("researcher: {error:#}; broker of {}: {state}", no.party),
        },
    })
}

/// A run that is slow because its host is: no ciphertext arrives.
struct Slow;

impl Relay for Slow {
    fn to_guard(&mut self, frame: GuardFrame) -> Vec<GuardFrame> {
        match frame {
            GuardFrame::Range(_) => Vec::new(),
            GuardFrame::Start { .. } | GuardFrame::FromBroker { .. } | GuardFrame::RangeFailed => {
                vec![frame]
            }
        }
    }
}

async fn stopped(done: &Done) -> Result<Seen> {
    let place = &done.place;
    let agreement = agree(place, &draft(place, "to-be-stopped", QUERY)?).await?;
    let started = start_through(place, &agreement, Slow).await?;
    let mut status = place.client.run(&started.run).await?;
    while status.stage != Some(RunStage::Running) {
        ensure!(status.code.is_none(), "the run ended early: {:?}", status.code);
        status = next(done, &status).await?;
    }
    let hospital = place.hospital(place.hospitals.len() - 1)?;
    let study = &agreement.value().study;
    let stop = holder::stop(study, &hospital.officer, now(), &mut SystemRandom::new())?;
    hospital.staff(&hospital.officer)?.stop(&stop).await?;
    let pressed = Instant::now();
    let code = end_code(place, started.run).await?;
    let took = pressed.elapsed();
    let lease = agreement.value().limits.lease_ms.to_duration();
    Ok(Seen {
        ok: code == "stopped" && took <= lease,
        observed: format!("guard: {code}, {:.1} s after the stop", took.as_secs_f64()),
    })
}

async fn next(done: &Done, status: &RunStatus) -> Result<RunStatus> {
    const POLL: Duration = Duration::from_secs(10);
    Ok(done.place.client.watch_run(&status.run, status.revision, POLL).await?)
}
