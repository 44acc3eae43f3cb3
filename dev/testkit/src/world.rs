//! Three hospitals whose brokers know each other, and one study of all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use anyhow::{Context as _, Result, ensure};
use cordon_broker::log::{PeerError, Peers};
use cordon_broker::mail;
use cordon_broker::service::Broker;
use cordon_broker::setup::Running;
use cordon_crypto::dsse::Signed;
use cordon_crypto::{SigningKey, SystemRandom, canonical, sha256};
use cordon_protocol::agreement::{
    Agreement, ApprovalRule, DatasetTerms, Gate, Holder as HolderTerms, Limits, OutputPolicy,
    ParameterBound, Platform, Program, Purpose, ResultColumn, ResultKind, Review, TableGate,
    TableSource, ZeroPolicy,
};
use cordon_protocol::evidence::{SandboxLevel, TeeKind};
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_protocol::party::{Profile, Role};
use cordon_protocol::run::ParameterValue;
use cordon_protocol::{Stop, V1};
use cordon_types::{ColumnName, Milliseconds, PartyId, StudyId};
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::guard::Guard;
use crate::holder::{Holder, nonce};
use crate::now;
use crate::person::Person;

/// The hospitals, sorted.
pub const PARTIES: [&str; 3] = ["hospital-a", "hospital-b", "hospital-c"];
/// What the guard of these tests is measured as.
pub const GUARD: &[u8] = b"the guard of the tests";
/// The engine that agreements name.
pub const ENGINE: &[u8] = b"the engine of the tests";

/// Brokers that are reached by calling them. One that was taken out is silent.
#[derive(Clone, Default)]
pub struct Direct(Arc<RwLock<BTreeMap<PartyId, Reached>>>);

/// Where a broker is.
#[derive(Clone)]
enum Reached {
    Here(Weak<Broker>),
    Elsewhere(Arc<dyn Peers>),
}

impl Direct {
    /// Lets a broker be reached.
    pub fn add(&self, party: &PartyId, broker: &Arc<Broker>) {
        self.lock().insert(party.clone(), Reached::Here(Arc::downgrade(broker)));
    }

    /// Lets a broker of another process be reached.
    pub fn add_elsewhere(&self, party: &PartyId, broker: Arc<dyn Peers>) {
        self.lock().insert(party.clone(), Reached::Elsewhere(broker));
    }

    /// Lets a broker answer only when the sender says `true`: nobody notices before that.
    pub fn hold(&self, party: &PartyId, broker: &Arc<Broker>) -> watch::Sender<bool> {
        let (open, opened) = watch::channel(false);
        let there = Self::default();
        there.add(party, broker);
        self.add_elsewhere(party, Arc::new(Slow { there, opened }));
        open
    }

    /// Makes a broker silent.
    pub fn remove(&self, party: &PartyId) {
        self.lock().remove(party);
    }

    fn lock(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<PartyId, Reached>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a broker, if it is there.
    pub async fn send(&self, party: &PartyId, message: ToBroker) -> Option<FromBroker> {
        let reached = {
            let brokers = self.0.read().unwrap_or_else(PoisonError::into_inner);
            brokers.get(party).cloned()
        };
        match reached? {
            Reached::Here(broker) => mail::respond(&*broker.upgrade()?, message).await,
            Reached::Elsewhere(broker) => broker.ask(party, message).await.ok(),
        }
    }
}

/// A broker whose answers are held back.
struct Slow {
    there: Direct,
    opened: watch::Receiver<bool>,
}

impl Peers for Slow {
    fn ask<'a>(
        &'a self,
        party: &'a PartyId,
        message: ToBroker,
    ) -> BoxFuture<'a, Result<FromBroker, PeerError>> {
        Box::pin(async move {
            // An error means that the test is over.
            let _ = self.opened.clone().wait_for(|open| *open).await;
            self.there.ask(party, message).await
        })
    }
}

impl Peers for Direct {
    fn ask<'a>(
        &'a self,
        party: &'a PartyId,
        message: ToBroker,
    ) -> BoxFuture<'a, Result<FromBroker, PeerError>> {
        Box::pin(async move {
            let answer = self.send(party, message).await;
            answer.ok_or_else(|| PeerError("silent".to_owned()))
        })
    }
}

/// Three hospitals and a researcher.
pub struct World {
    /// Everything on disk.
    pub root: TempDir,
    /// The hospitals, sorted.
    pub holders: Vec<Holder>,
    /// Their brokers, in the same order; a test may take one out.
    pub running: Vec<Option<Running>>,
    /// Who asks.
    pub researcher: Person,
    /// How brokers are reached.
    pub direct: Direct,
    /// The root of the software TEE.
    pub tee_root: SigningKey,
}

/// What may differ between agreements of tests.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Runs at most.
    pub max_runs: u32,
    /// Whether people look.
    pub review: Review,
    /// How many brokers must cosign.
    pub witness_quorum: u32,
    /// The study.
    pub study: String,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            max_runs: 10,
            review: Review::GateSuffices,
            witness_quorum: 2,
            study: "study".to_owned(),
        }
    }
}

impl World {
    /// Makes and starts three brokers, enrols everybody, publishes all datasets.
    ///
    /// # Errors
    /// If anything fails.
    pub async fn start() -> Result<Self> {
        let root = tempfile::tempdir()?;
        let direct = Direct::default();
        let tee_root = SigningKey::generate(&mut SystemRandom::new());
        let university: PartyId = "university".parse()?;
        let researcher = Person::new(&university, "researcher", &[Role::Researcher])?;
        let mut holders = Vec::new();
        for party in PARTIES {
            holders.push(Holder::make(root.path(), party).await?);
        }
        let running = Vec::new();
        let mut world = Self { root, holders, running, researcher, direct, tee_root };
        for index in 0..PARTIES.len() {
            world.running.push(None);
            world.start_broker(index).await?;
        }
        world.enrol().await?;
        Ok(world)
    }

    /// Starts one broker, again or for the first time.
    ///
    /// # Errors
    /// As its start.
    pub async fn start_broker(&mut self, index: usize) -> Result<()> {
        self.start_broker_with_hub(index, None).await
    }

    /// Likewise, with a hub for its releases.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_broker_with_hub(&mut self, index: usize, hub: Option<&str>) -> Result<()> {
        let holder = &self.holders[index];
        let peers: Arc<dyn Peers> = Arc::new(self.direct.clone());
        let running = holder.start(Some(peers), hub, self.tee_root.verifying_key()).await?;
        self.direct.add(&holder.party, running.broker());
        self.running[index] = Some(running);
        Ok(())
    }

    /// Ends one broker.
    ///
    /// # Errors
    /// What one of its tasks failed with.
    pub async fn stop_broker(&mut self, index: usize) -> Result<()> {
        self.direct.remove(&self.holders[index].party);
        if let Some(running) = self.running[index].take() {
            running.stop().await?;
        }
        Ok(())
    }

    /// A broker that runs.
    ///
    /// # Panics
    /// If it does not.
    pub fn broker(&self, index: usize) -> &Arc<Broker> {
        self.running[index].as_ref().expect("the broker runs").broker()
    }

    async fn enrol(&self) -> Result<()> {
        for (index, holder) in self.holders.iter().enumerate() {
            let broker = self.broker(index);
            for other in &self.holders {
                if other.party == holder.party {
                    continue;
                }
                broker.enrol_party(&holder.enrol_party(&other.card)?).await?;
                let reviewer = other.reviewer.card()?;
                broker.enrol_person(&holder.enrol_person(&reviewer, &[])?).await?;
            }
            let card = self.researcher.card()?;
            broker.enrol_person(&holder.enrol_person(&card, &[Role::Researcher])?).await?;
            holder.publish(broker).await?;
        }
        Ok(())
    }

    /// An agreement of all hospitals, proposed and approved everywhere.
    ///
    /// # Errors
    /// If a broker refuses.
    pub async fn agree(&self, terms: Terms) -> Result<Signed<Agreement>> {
        let agreement = self.agreement(&terms)?;
        for index in 0..self.holders.len() {
            self.broker(index).propose(agreement.envelope()).await?;
            self.approve(index, &agreement).await?;
        }
        Ok(agreement)
    }

    /// The approvals that one hospital owes.
    ///
    /// # Errors
    /// If its broker refuses.
    pub async fn approve(&self, index: usize, agreement: &Signed<Agreement>) -> Result<()> {
        for approval in self.holders[index].approvals(agreement.digest())? {
            self.broker(index).approve(&approval).await?;
        }
        Ok(())
    }

    /// One hospital's officer stops a study.
    ///
    /// # Errors
    /// If its broker refuses.
    pub async fn stop_study(&self, index: usize, study: &StudyId) -> Result<()> {
        let holder = &self.holders[index];
        let stop = Stop {
            v: V1,
            study: study.clone(),
            audience: holder.party.clone(),
            person: holder.officer.person.clone(),
            nonce: nonce(),
            issued: now(),
        };
        self.broker(index).stop(&holder.officer.sign(stop)?).await?;
        Ok(())
    }

    /// A guard for a fresh run of an agreement.
    ///
    /// # Errors
    /// Never in practice.
    pub fn guard(&self, agreement: &Signed<Agreement>) -> Result<Guard> {
        Guard::new(self, agreement)
    }

    /// An agreement, signed by the researcher.
    ///
    /// # Errors
    /// Never in practice.
    pub fn agreement(&self, terms: &Terms) -> Result<Signed<Agreement>> {
        let columns: Vec<ColumnName> = vec!["days".parse()?, "patient".parse()?, "sex".parse()?];
        let table = || anyhow::Ok("visit".parse()?);
        let holders = self.holders.iter().map(|holder| self.terms_of(holder, &columns, terms));
        let source = |holder: &Holder| {
            let (holder, dataset) = (holder.party.clone(), "visits".parse()?);
            anyhow::Ok(TableSource { holder, dataset, table: table()? })
        };
        let sources = self.holders.iter().map(source).collect::<Result<Vec<_>>>()?;
        let result = |name: &str, kind| anyhow::Ok(ResultColumn { name: name.parse()?, kind });
        let bound = ParameterBound { one_of: vec![ParameterValue::Integer(5)] };
        let agreement = Agreement {
            v: V1,
            study: terms.study.parse()?,
            name: "v1".parse()?,
            title: "Visits by sex".to_owned(),
            purpose: Purpose {
                statement: "How many visits last longer than some days".to_owned(),
                duo: vec!["DUO:0000006".to_owned()],
                legal_basis: "GDPR Art. 9(2)(j)".to_owned(),
                references: vec!["ethics vote 1".to_owned()],
            },
            profile: Profile::Development,
            holders: holders.collect::<Result<_>>()?,
            requester: self.researcher.named(),
            recipients: vec![self.researcher.named()],
            program: Program {
                name: "sql".parse()?,
                engine: sha256(&[ENGINE]),
                query: "SELECT sex, COUNT(*) AS n FROM visit WHERE days > $days GROUP BY sex"
                    .to_owned(),
                parameters: BTreeMap::from([("days".parse()?, bound)]),
                tables: BTreeMap::from([(table()?, sources)]),
                touched: BTreeMap::from([(table()?, columns)]),
                result: vec![result("sex", ResultKind::Key)?, result("n", ResultKind::Count)?],
            },
            platform: Platform {
                tees: vec![TeeKind::Software],
                measurements: vec![cordon_softtee::measurement_of(GUARD)],
                releases: Vec::new(),
                sandbox: SandboxLevel::Seccomp,
            },
            output: OutputPolicy {
                gate: Gate::Table(TableGate {
                    min_cell: 11,
                    zeros: ZeroPolicy::Suppress,
                    round_to: 1,
                }),
                review: terms.review,
                max_rows: 100,
                max_bytes: 100_000,
            },
            witness_quorum: terms.witness_quorum,
            limits: Limits {
                max_runs: terms.max_runs,
                deadline_ms: Milliseconds::new(60_000),
                lease_ms: Milliseconds::new(4_000),
                heartbeat_ms: Milliseconds::new(1_000),
                memory_bytes: 512 << 20,
            },
            not_before: now(),
            not_after: now().plus_seconds(30 * 86_400),
        };
        Ok(Signed::sign(agreement, &self.researcher.signing)?)
    }

    fn terms_of(
        &self,
        holder: &Holder,
        columns: &[ColumnName],
        terms: &Terms,
    ) -> Result<HolderTerms> {
        let card = holder.card.value();
        let schema = canonical::to_canonical(&holder.manifest.value().schema())?;
        Ok(HolderTerms {
            party: holder.party.clone(),
            broker_key: card.broker_key,
            log_origin: card.log_origin.clone(),
            log_key: card.log_key,
            witness_key: card.witness_key,
            box_key: card.box_key.clone(),
            manifest_keys: card.manifest_keys.clone(),
            datasets: vec![DatasetTerms {
                dataset: "visits".parse()?,
                schema: sha256(&[&schema]),
                columns: BTreeMap::from([("visit".parse()?, columns.to_vec())]),
            }],
            approvals: ApprovalRule {
                persons: 2,
                roles: vec![Role::Steward, Role::DataProtectionOfficer],
            },
            reviewers: match terms.review {
                Review::EachHolder => vec![holder.reviewer.named()],
                Review::GateSuffices => Vec::new(),
            },
        })
    }

    /// Waits until a condition holds, at most ten seconds.
    ///
    /// # Errors
    /// If it does not.
    pub async fn until(
        &self,
        what: &str,
        mut holds: impl AsyncFnMut() -> Result<bool>,
    ) -> Result<()> {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        while !holds().await.with_context(|| what.to_owned())? {
            ensure!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Ok(())
    }
}
