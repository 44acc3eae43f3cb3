//! The release of keys at one broker: challenge, evidence, grant. All of it is real: signatures,
//! evidence of the software TEE, policy, SQLite with `synchronous=FULL`, a log that two other
//! brokers cosign before anything takes effect, and a key process that checks the proof.
//!
//! The other two brokers are witnesses in this same process, on the same disk: what they cost is
//! in the figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use cordon_crypto::dsse::Signed;
use cordon_protocol::Agreement;
use cordon_protocol::evidence::PartyNonce;
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_testkit::guard::{Guard, ask};
use cordon_testkit::holder::nonce;
use cordon_testkit::measure::{Report, Target, Watch, quantile};
use cordon_testkit::world::{Terms, World};

/// Releases at once, and how many of them one repetition makes.
const LOADS: [(usize, usize); 4] = [(1, 150), (8, 800), (16, 1_600), (32, 1_600)];
/// The load for which the targets are meant: a broker that is asked faster than it can answer has
/// any latency.
const TARGET_LOAD: usize = 16;
const REPETITIONS: usize = 5;

pub fn run() -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(bench())
}

/// One repetition.
struct Round {
    per_second: f64,
    cpu_ms: f64,
    latencies_ms: Vec<f64>,
}

async fn bench() -> Result<Report> {
    let world = Arc::new(World::start().await?);
    let terms = || Terms { max_runs: 10_000, ..Terms::default() };
    let agreement = world.agree(terms()).await?;
    round(&world, &agreement, 64, TARGET_LOAD).await?;
    let mut rounds: [Vec<Round>; LOADS.len()] = Default::default();
    for _ in 0..REPETITIONS {
        let agreement = world.agree(terms()).await?;
        for ((concurrent, releases), rounds) in LOADS.into_iter().zip(&mut rounds) {
            rounds.push(round(&world, &agreement, releases, concurrent).await?);
        }
    }
    let mut report = Report::new("release");
    for ((concurrent, _), rounds) in LOADS.into_iter().zip(&rounds) {
        let each = |figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Vec<_>>();
        let (rate, p99) = match concurrent {
            TARGET_LOAD => (Target::AtLeast(800.0), Target::AtMost(25.0)),
            _ => (Target::None, Target::None),
        };
        let title = match concurrent {
            1 => "releases, one after the other".to_owned(),
            _ => format!("releases, {concurrent} at once"),
        };
        report.add(title, "per s", &each(|round| round.per_second), rate);
        let median = each(|round| quantile(&round.latencies_ms, 0.5));
        report.add("the same, latency, median", "ms", &median, Target::None);
        let tail = each(|round| quantile(&round.latencies_ms, 0.99));
        report.add("the same, latency, 99th percentile", "ms", &tail, p99);
        let cpu = each(|round| round.cpu_ms);
        report.add("the same, processor time per release", "ms", &cpu, Target::None);
    }
    report.note(
        "one process: the broker and its key thread, two brokers as witnesses (each waits for its \
         own disk), and the guards; processor time is that of all of them",
    );
    report.note("latency is that of challenge and grant together, without the guard's own work");
    report.note(format!(
        "a load of {LOADS:?} (at once, distinct runs) per repetition, {REPETITIONS} repetitions, in {}",
        std::env::temp_dir().display()
    ));
    Ok(report)
}

async fn round(
    world: &Arc<World>,
    agreement: &Signed<Agreement>,
    releases: usize,
    concurrent: usize,
) -> Result<Round> {
    let guards: Result<Vec<Guard>> = (0..releases).map(|_| world.guard(agreement)).collect();
    let (guards, next) = (Arc::new(guards?), Arc::new(AtomicUsize::new(0)));
    let watch = Watch::start();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..concurrent {
        let (world, guards, next) = (world.clone(), guards.clone(), next.clone());
        clients.spawn(async move {
            let mut latencies = Vec::new();
            while let Some(guard) = guards.get(next.fetch_add(1, Ordering::Relaxed)) {
                latencies.push(release(&world, guard).await?);
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies_ms = Vec::with_capacity(releases);
    while let Some(client) = clients.join_next().await {
        latencies_ms.extend(client??);
    }
    let cost = watch.read();
    Ok(Round {
        per_second: releases as f64 / cost.seconds(),
        cpu_ms: cost.cpu.as_secs_f64() * 1e3 / releases as f64,
        latencies_ms,
    })
}

/// One release; milliseconds that the broker took.
async fn release(world: &World, guard: &Guard) -> Result<f64> {
    let party = &world.holders[0].party;
    let start = Instant::now();
    let message = ToBroker::Challenge { request: guard.request.envelope().clone() };
    let FromBroker::Challenged { nonce: own, .. } = ask(world, party, message).await? else {
        bail!("expected a challenge");
    };
    let challenged = start.elapsed();
    // The other holders' nonces are theirs to check.
    let nonces = world.holders.iter().map(|holder| PartyNonce {
        party: holder.party.clone(),
        nonce: if holder.party == *party { own } else { nonce() },
    });
    let evidence = guard.evidence(&guard.runtime_data(nonces.collect()))?;
    let start = Instant::now();
    guard.ask_grant(world, party, &evidence).await.context("a grant")?;
    Ok((challenged + start.elapsed()).as_secs_f64() * 1e3)
}
