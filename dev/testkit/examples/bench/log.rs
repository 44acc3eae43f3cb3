//! The transparency log of one broker: entries in SQLite with `synchronous=FULL`, tiles and a
//! signed head on the disk, two other brokers that cosign. Then what one proof costs: to make it
//! from the tiles on the disk, and to check it with the log's signature and both cosignatures.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cordon_broker::log::{Log, LogParts, PeerError, Peers, append};
use cordon_broker::store::{Store, StoreError};
use cordon_crypto::dsse::Signed;
use cordon_crypto::{RecipientSecret, SigningKey, SystemRandom, sha256};
use cordon_protocol::entry::{Action, Actor, Decision};
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_protocol::party::{PartyCard, Profile};
use cordon_protocol::{LogEntry, V1};
use cordon_testkit::measure::{Report, Target, Watch};
use cordon_testkit::now;
use cordon_testkit::world::PARTIES;
use cordon_tlog::{LogKey, Quorum, WitnessKey, verify_proof};
use cordon_types::PartyId;
use futures_util::future::BoxFuture;

const BATCH: usize = 100;
const BATCHES: usize = 200;
const PROOFS: usize = 2_000;
const REPETITIONS: usize = 5;
/// How long the last head may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run() -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(bench())
}

async fn bench() -> Result<Report> {
    let root = tempfile::tempdir()?;
    let logs = start(root.path()).await?;
    let site = &logs[0];
    let witnesses = logs.iter().skip(1).map(|site| {
        let name = site.card.witness_name().parse()?;
        anyhow::Ok(WitnessKey::new(name, site.card.witness_key))
    });
    let quorum = Quorum::all(witnesses.collect::<Result<Vec<_>>>()?)?;
    let key = LogKey::new(site.card.log_origin.parse()?, site.card.log_key);
    let (mut rates, mut cosigned, mut making, mut checking) = (vec![], vec![], vec![], vec![]);
    // The first round only warms up.
    for round in 0..=REPETITIONS {
        let entries = entries(&site.card, round)?;
        let watch = Watch::start();
        let mut last = 0;
        for batch in entries.chunks(BATCH) {
            last = site.append(batch.to_vec()).await?;
        }
        tokio::time::timeout(PATIENCE, site.until_signed(last)).await.context("no head")?;
        let signed = watch.read().seconds();
        let newest = entries.last().context("an entry")?;
        site.log.prove(last, newest, &quorum).await?;
        let all = watch.read().seconds();

        let first = last + 1 - entries.len() as u64;
        let places = (0..PROOFS).map(|i| i * 7_919 % entries.len());
        let mut proofs = Vec::with_capacity(PROOFS);
        let watch = Watch::start();
        for place in places {
            let proof = site.log.prove(first + place as u64, &entries[place], &quorum).await?;
            proofs.push((place, proof));
        }
        let made = watch.read().seconds();
        let watch = Watch::start();
        for (place, proof) in &proofs {
            verify_proof(proof.as_bytes(), &entries[*place], &key, &quorum)?;
        }
        let checked = watch.read().seconds();
        if round > 0 {
            rates.push(entries.len() as f64 / signed);
            cosigned.push(entries.len() as f64 / all);
            making.push(made * 1e6 / PROOFS as f64);
            checking.push(checked * 1e6 / PROOFS as f64);
        }
    }
    let sum: Vec<f64> = making.iter().zip(&checking).map(|(make, check)| make + check).collect();
    let mut report = Report::new("log");
    report.add("entries in a signed head", "per s", &rates, Target::AtLeast(10_000.0));
    report.add("entries that two witnesses cosigned", "per s", &cosigned, Target::None);
    report.add("one proof, made from the disk", "µs", &making, Target::None);
    report.add("one proof, checked with three signatures", "µs", &checking, Target::None);
    report.add("one proof, made and checked", "µs", &sum, Target::AtMost(50.0));
    report.note(format!(
        "{BATCHES} transactions of {BATCH} entries, one after the other, per repetition; \
         {REPETITIONS} repetitions; the log grows to {} entries",
        BATCH * BATCHES * (REPETITIONS + 1)
    ));
    report.note("the two witnesses are in this process, on the same disk");
    for site in &logs {
        site.log.close().await;
    }
    Ok(report)
}

/// A broker's log, and no more of the broker.
struct Site {
    card: PartyCard,
    store: Arc<Store>,
    log: Arc<Log>,
}

impl Site {
    /// One transaction; the index of its last entry.
    async fn append(&self, entries: Vec<Vec<u8>>) -> Result<u64> {
        let last = self.store.write(move |connection| {
            Box::pin(async move {
                let mut last = 0;
                for entry in &entries {
                    last = append(connection, entry).await.map_err(StoreError::Log)?;
                }
                Ok(last)
            })
        });
        let last = last.await?;
        self.log.wake();
        Ok(last)
    }

    async fn until_signed(&self, index: u64) {
        while self.log.size() <= index {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

/// Three logs that witness each other.
async fn start(root: &Path) -> Result<Vec<Site>> {
    let mut random = SystemRandom::new();
    let mut keys = Vec::new();
    for party in PARTIES {
        let [broker, log, witness] = [(); 3].map(|()| SigningKey::generate(&mut random));
        let card = PartyCard {
            v: V1,
            party: party.parse()?,
            profile: Profile::Development,
            broker_key: broker.verifying_key(),
            log_origin: format!("{party}.example/log"),
            log_key: log.verifying_key(),
            witness_key: witness.verifying_key(),
            box_key: RecipientSecret::generate(&mut random).public_key(),
            manifest_keys: vec![broker.verifying_key()],
            issued: now(),
        };
        keys.push((card, broker, log, witness));
    }
    let cards: Vec<PartyCard> = keys.iter().map(|(card, ..)| card.clone()).collect();
    let (others, mut sites) = (Arc::new(Others::default()), Vec::new());
    for (card, broker, log_key, witness_key) in keys {
        let folder = root.join(card.party.as_str());
        std::fs::create_dir_all(&folder)?;
        let store = Arc::new(Store::open(&folder).await?);
        let parts = LogParts {
            card: Signed::sign(card.clone(), &broker)?,
            log_key,
            witness_key,
            store: store.clone(),
            peers: others.clone(),
            enrolled: cards.iter().filter(|other| other.party != card.party).cloned().collect(),
        };
        let log = Arc::new(Log::open(&folder.join("log"), parts).await?);
        sites.push(Site { card, store, log });
    }
    let reached = sites.iter().map(|site| (site.card.party.clone(), Arc::downgrade(&site.log)));
    ensure!(others.0.set(reached.collect()).is_ok(), "set once");
    Ok(sites)
}

/// Logs that are asked by calling them, once all of them are there.
#[derive(Default)]
struct Others(OnceLock<BTreeMap<PartyId, Weak<Log>>>);

impl Others {
    async fn answer(&self, party: &PartyId, message: ToBroker) -> Result<FromBroker> {
        let log = self.0.get().and_then(|logs| logs.get(party)?.upgrade()).context("silent")?;
        Ok(match message {
            ToBroker::AddCheckpoint { body } => {
                let (status, body) = log.cosign(&body, now()).await?;
                FromBroker::Cosigned { status, body }
            }
            ToBroker::LastCheckpoint { origin } => {
                FromBroker::LastCheckpoint { checkpoint: log.last_cosigned(&origin).await? }
            }
            _ => bail!("not asked of a witness"),
        })
    }
}

impl Peers for Others {
    fn ask<'a>(
        &'a self,
        party: &'a PartyId,
        message: ToBroker,
    ) -> BoxFuture<'a, Result<FromBroker, PeerError>> {
        let answer = async move { self.answer(party, message).await };
        Box::pin(async { answer.await.map_err(|error| PeerError(format!("{error:#}"))) })
    }
}

/// Entries as a grant makes them: their size is what counts.
fn entries(card: &PartyCard, round: usize) -> Result<Vec<Vec<u8>>> {
    let make = |number: usize| {
        let digest = sha256(&[&round.to_be_bytes(), &number.to_be_bytes()]);
        let entry = LogEntry {
            v: V1,
            time: now(),
            profile: Profile::Development,
            holder: card.party.clone(),
            actor: Actor::Guard,
            action: Action::GrantIssued,
            decision: Decision::Permit,
            code: "ok".to_owned(),
            study: Some("study".parse()?),
            agreement: Some(digest),
            run: Some(cordon_protocol::RunId(digest)),
            objects: vec![digest],
            evidence: vec![digest, digest],
        };
        Ok(entry.to_bytes()?)
    };
    (0..BATCH * BATCHES).map(make).collect()
}
