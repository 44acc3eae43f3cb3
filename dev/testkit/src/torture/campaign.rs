//! The campaign: agree, challenge, ask for keys, kill, look, start again, and try to cheat.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cordon_broker::log::Peers;
use cordon_broker::setup::log_folder;
use cordon_crypto::dsse::Signed;
use cordon_protocol::evidence::{Evidence, PartyNonce};
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_protocol::{Agreement, Grant};
use cordon_tlog::{LogKey, Quorum};
use cordon_types::{Nonce, PartyId};

use super::disk::{LogOnDisk, witnesses};
use super::remote::Remote;
use super::tracer::KillPoint;
use super::wire::{Answer, Ask, Start};
use crate::guard::{Guard, ask};
use crate::holder::nonce;
use crate::world::{Terms, World};

/// The broker that is killed: the first.
const VICTIM: usize = 0;
/// A step that a release makes now and then only is waited for so long after the answer.
const PATIENCE: Duration = Duration::from_millis(300);
/// Releases that are timed before the first kill.
const TIMED: usize = 5;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The program whose argument `broker` calls [`super::serve`].
    pub program: PathBuf,
    /// How many kills within a release.
    pub kills: u32,
    /// Draws the random moments.
    pub seed: u64,
}

/// How far a release was when its broker died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No trace of it.
    NothingRecorded,
    /// Record and entry are in the database.
    Recorded,
    /// A head that covers the entry was signed.
    Signed,
    /// Every witness cosigned such a head.
    Cosigned,
    /// The grant left the broker.
    Sent,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Kills within a release.
    pub kills: u32,
    /// Of these, before or after a durable step.
    pub at_steps: u32,
    /// Durable steps that one release makes.
    pub steps: u32,
    /// Kills more, while the broker was starting again.
    pub kills_at_start: u32,
    /// Grants that left the broker without an entry in its log.
    pub without_entry: u32,
    /// Agreements for one run that paid more than one.
    pub spent_twice: u32,
    /// How far releases were.
    pub stages: BTreeMap<Stage, u32>,
    /// Whatever else was not as it must be.
    pub violations: Vec<String>,
}

impl Tally {
    /// Whether everything held.
    pub fn is_clean(&self) -> bool {
        self.without_entry == 0 && self.spent_twice == 0 && self.violations.is_empty()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, at_steps, steps, kills_at_start, .. } = self;
        writeln!(
            f,
            "{kills} kills: {} keys without an entry, {} spent twice",
            self.without_entry, self.spent_twice
        )?;
        writeln!(
            f,
            "{at_steps} of them before or after one of the {steps} durable steps of a release, the others at a random moment; {kills_at_start} more while the broker started again"
        )?;
        writeln!(f, "how far the release was:")?;
        for (stage, name) in [
            (Stage::NothingRecorded, "nothing recorded"),
            (Stage::Recorded, "recorded"),
            (Stage::Signed, "in a signed head"),
            (Stage::Cosigned, "cosigned"),
            (Stage::Sent, "sent"),
        ] {
            let count = self.stages.get(&stage).copied().unwrap_or_default();
            let bar = "#".repeat((count * 40 / kills.max(&1)) as usize);
            writeln!(f, "  {name:17} {count:5} {bar}")?;
        }
        self.violations.iter().try_for_each(|violation| writeln!(f, "VIOLATION: {violation}"))
    }
}

/// When a broker dies.
#[derive(Clone, Copy, Debug)]
enum Kill {
    Step(KillPoint),
    Time(Duration),
}

impl Campaign {
    /// Kills, and counts.
    ///
    /// # Errors
    /// If the campaign itself fails; what the broker does wrong is in the tally.
    pub async fn run(&self, mut progress: impl FnMut(&Tally)) -> Result<Tally> {
        let mut field = Field::prepare(&self.program).await?;
        let (time, steps, start_steps) = field.take_measure().await?;
        let mut dice = Dice(self.seed);
        let mut tally = Tally { steps, ..Tally::default() };
        for round in 0..self.kills {
            let kill = match round % 3 {
                0 => Kill::Time(time.mul_f64(1.25 * dice.unit())),
                _ => Kill::Step(spread(round, steps)),
            };
            // Now and then a second one, while the first is being mended.
            let again = (round % 4 == 3).then(|| spread(round, start_steps));
            let rival_first = round % 2 == 0;
            field.round(kill, again, rival_first, &mut tally).await?;
            progress(&tally);
        }
        Ok(tally)
    }
}

/// A place among all that there are, such that few rounds are spread over all of them, too.
fn spread(round: u32, steps: u32) -> KillPoint {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let places = f64::from(steps.max(1) * 2);
    let place = ((f64::from(round) * GOLDEN).fract() * places) as u32;
    KillPoint { step: place / 2 + 1, after: place % 2 == 1 }
}

/// A generator for moments (SplitMix64): the seed gives the campaign again.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Brokers, guards, and what was seen of the victim's log.
struct Field {
    program: PathBuf,
    world: World,
    victim: Arc<Remote>,
    log: LogOnDisk,
    party: PartyId,
    agreements: u32,
}

impl Field {
    async fn prepare(program: &std::path::Path) -> Result<Self> {
        let mut world = World::start().await?;
        world.stop_broker(VICTIM).await?;
        let holder = &world.holders[VICTIM];
        let (party, card) = (holder.party.clone(), holder.card.value());
        let key = LogKey::new(card.log_origin.parse()?, card.log_key);
        let log = LogOnDisk::new(log_folder(&holder.folder), key);
        let victim = Arc::new(start(program, &world, true)?);
        let program = program.to_owned();
        let mut field = Self { program, world, victim, log, party, agreements: 0 };
        field.running().await.context("the first start")?;
        Ok(field)
    }

    /// How long a release takes, and how many durable steps it and a start make.
    async fn take_measure(&mut self) -> Result<(Duration, u32, u32)> {
        let mut steps = 0;
        for _ in 0..2 {
            let agreement = self.agree().await?;
            let guard = self.world.guard(&agreement)?;
            self.tracer()?.count();
            self.release(&guard).await?;
            tokio::time::sleep(PATIENCE / 3).await;
            steps = self.tracer()?.steps();
        }
        ensure!(steps > 0, "a release without a durable step");
        self.victim.kill();
        self.victim.gone().await;
        self.restart(true)?;
        self.tracer()?.count();
        self.running().await?;
        let start_steps = self.tracer()?.steps();
        self.victim.kill();
        self.victim.gone().await;
        self.restart(false)?;
        self.running().await?;
        let mut slowest = Duration::ZERO;
        for _ in 0..TIMED {
            let agreement = self.agree().await?;
            let guard = self.world.guard(&agreement)?;
            let begin = Instant::now();
            self.release(&guard).await?;
            slowest = slowest.max(begin.elapsed());
        }
        self.log.read()?;
        Ok((slowest, steps, start_steps))
    }

    async fn round(
        &mut self,
        kill: Kill,
        again: Option<KillPoint>,
        rival_first: bool,
        tally: &mut Tally,
    ) -> Result<()> {
        let wants_tracer = matches!(kill, Kill::Step(_));
        if self.victim.tracer.is_some() != wants_tracer {
            self.victim.kill();
            self.victim.gone().await;
            self.restart(wants_tracer)?;
            self.running().await?;
        }
        let agreement = self.agree().await?;
        let guard = self.world.guard(&agreement)?;
        let quorum = witnesses(agreement.value(), VICTIM)?;
        let sent = self.release_and_die(&guard, kill).await;
        tally.kills += 1;
        tally.at_steps += u32::from(wants_tracer);

        // Before anything is mended.
        let mut wrong = Wrong { round: tally.kills, kill, tally };
        let looked = self.look(&mut wrong).await;
        if let Some(grant) = &sent {
            self.check_entry(grant, &quorum, &mut wrong);
        }
        let stage = match (&sent, self.log.grants_of_run(guard.run()).first()) {
            (Some(_), _) => Stage::Sent,
            (None, Some(index)) if looked.is_some_and(|size| size > *index) => Stage::Cosigned,
            (None, Some(_)) => Stage::Signed,
            (None, None) => Stage::NothingRecorded,
        };
        self.mend(again, &mut wrong).await?;
        let recorded = match self.victim.ask(Ask::IsRecorded(guard.run())).await {
            Some(Answer::Recorded(recorded)) => recorded,
            other => bail!("is it recorded? {other:?}"),
        };
        let stage = match stage {
            Stage::NothingRecorded if recorded => Stage::Recorded,
            stage => stage,
        };
        wrong.unless(recorded || stage == Stage::NothingRecorded, "a record is lost");
        *wrong.tally.stages.entry(stage).or_default() += 1;

        let grants =
            self.cheat(&agreement, &guard, sent, recorded, rival_first, &mut wrong).await?;
        self.look(&mut wrong).await;
        for grant in &grants {
            self.check_entry(grant, &quorum, &mut wrong);
        }
        let paid = self.log.grants_of(agreement.digest()).len();
        wrong.tally.spent_twice += u32::from(paid > 1 || grants.len() > 1);
        wrong.unless(paid == 1, &format!("an agreement for one run has {paid} grants logged"));
        wrong.unless(grants.len() == 1, &format!("{} grants of one run are out", grants.len()));
        Ok(())
    }

    /// Asks for keys while the broker dies; the grant, if it came out.
    async fn release_and_die(&self, guard: &Guard, kill: Kill) -> Option<Signed<Grant>> {
        if let (Kill::Step(point), Some(tracer)) = (kill, &self.victim.tracer) {
            tracer.arm(point);
        }
        let dies = async {
            match kill {
                Kill::Time(after) => {
                    tokio::time::sleep(after).await;
                    self.victim.kill();
                }
                Kill::Step(_) => {}
            }
            self.victim.gone().await;
        };
        let asks = async {
            let grant = self.release(guard).await.ok();
            if matches!(kill, Kill::Step(_)) {
                // The last steps come after the answer; perhaps fewer than usual.
                let _ = tokio::time::timeout(PATIENCE, self.victim.gone()).await;
                self.victim.kill();
            }
            grant
        };
        tokio::join!(dies, asks).1
    }

    /// Starts the broker again; if `again`, kills it while it does, and starts it once more.
    async fn mend(&mut self, again: Option<KillPoint>, wrong: &mut Wrong<'_>) -> Result<()> {
        if let Some(point) = again {
            self.restart(true)?;
            self.tracer()?.arm(point);
            if !self.victim.is_started().await {
                wrong.tally.kills_at_start += 1;
            }
            self.victim.kill();
            self.victim.gone().await;
            self.look(wrong).await;
        }
        // The next one is killed at a random moment if it is the turn of that.
        self.restart(!wrong.tally.kills.is_multiple_of(3))?;
        self.running().await.context("the broker does not start again")
    }

    /// Everybody tries to get the keys of this one run: its guard, another guard for the same
    /// request, and a guard of a further run. One grant in all is what the agreement pays.
    async fn cheat(
        &self,
        agreement: &Signed<Agreement>,
        guard: &Guard,
        sent: Option<Signed<Grant>>,
        recorded: bool,
        rival_first: bool,
        wrong: &mut Wrong<'_>,
    ) -> Result<Vec<Signed<Grant>>> {
        let rival = Guard::for_request(&self.world, agreement, guard.request.clone())?;
        let next = self.world.guard(agreement)?;
        let order = if rival_first { [&rival, &next, guard] } else { [guard, &rival, &next] };
        let mut grants: Vec<Signed<Grant>> = sent.into_iter().collect();
        let mut own = false;
        for asks in order.into_iter().chain([guard]) {
            if let Ok(grant) = self.release(asks).await {
                own |= grant.value().context.guard_signing_key == guard.signing.verifying_key();
                if !grants.iter().any(|earlier| earlier.envelope() == grant.envelope()) {
                    grants.push(grant);
                }
            }
        }
        wrong.unless(own || !recorded, "the guard that the record names gets no grant");
        Ok(grants)
    }

    /// Reads the log on the disk, and compares it with what the witnesses have. Gives the size
    /// that all of them cosigned.
    async fn look(&mut self, wrong: &mut Wrong<'_>) -> Option<u64> {
        // The witnesses first: a log that lives may grow meanwhile, but is never behind them.
        let origin = &self.world.holders[VICTIM].card.value().log_origin;
        let mut theirs = Vec::new();
        for witness in 1..self.world.holders.len() {
            let head = self.world.broker(witness).log().last_cosigned(origin).await;
            theirs.push((witness, head.ok().flatten()?));
        }
        if let Err(error) = self.log.read() {
            wrong.unless(false, &format!("the log does not verify: {error:#}"));
            return None;
        }
        let mut cosigned = u64::MAX;
        for (witness, head) in theirs {
            let head = self.log.open(&head).and_then(|head| {
                self.log.covers(&head)?;
                Ok(head.size())
            });
            match head {
                Ok(size) => cosigned = cosigned.min(size),
                Err(error) => wrong.unless(false, &format!("witness {witness}: {error:#}")),
            }
        }
        Some(cosigned)
    }

    fn check_entry(&self, grant: &Signed<Grant>, quorum: &Quorum, wrong: &mut Wrong<'_>) {
        if let Err(error) = self.log.holds(grant, quorum) {
            wrong.tally.without_entry += 1;
            wrong.unless(false, &format!("a grant without its entry: {error:#}"));
        }
    }

    /// One agreement for one run, approved at the victim.
    async fn agree(&mut self) -> Result<Signed<Agreement>> {
        self.agreements += 1;
        let study = format!("study-{}", self.agreements);
        let terms = Terms { max_runs: 1, study, ..Terms::default() };
        let agreement = self.world.agreement(&terms)?;
        let message = ToBroker::Propose { agreement: agreement.envelope().clone() };
        ask(&self.world, &self.party, message).await.context("proposing")?;
        for approval in self.world.holders[VICTIM].approvals(agreement.digest())? {
            match self.victim.ask(Ask::Approve(approval)).await {
                Some(Answer::Approved) => {}
                other => bail!("approving: {other:?}"),
            }
        }
        Ok(agreement)
    }

    /// Challenge, evidence, grant.
    async fn release(&self, guard: &Guard) -> Result<Signed<Grant>> {
        let message = ToBroker::Challenge { request: guard.request.envelope().clone() };
        let FromBroker::Challenged { nonce, .. } = ask(&self.world, &self.party, message).await?
        else {
            bail!("expected a challenge");
        };
        let evidence = self.evidence(guard, nonce)?;
        guard.ask_grant(&self.world, &self.party, &evidence).await
    }

    /// The other holders' nonces are theirs to check.
    fn evidence(&self, guard: &Guard, own: Nonce) -> Result<Evidence> {
        let nonces = self.world.holders.iter().map(|holder| PartyNonce {
            party: holder.party.clone(),
            nonce: if holder.party == self.party { own } else { nonce() },
        });
        guard.evidence(&guard.runtime_data(nonces.collect()))
    }

    fn restart(&mut self, traced: bool) -> Result<()> {
        self.victim = Arc::new(start(&self.program, &self.world, traced)?);
        Ok(())
    }

    /// Waits until it runs, and lets everybody reach it.
    async fn running(&mut self) -> Result<()> {
        ensure!(self.victim.is_started().await, "the broker ended while it started");
        let reached: Arc<dyn Peers> = self.victim.clone();
        self.world.direct.add_elsewhere(&self.party, reached);
        Ok(())
    }

    fn tracer(&self) -> Result<&super::tracer::Tracer> {
        self.victim.tracer.as_ref().context("the broker is not traced")
    }
}

fn start(program: &std::path::Path, world: &World, traced: bool) -> Result<Remote> {
    let holder = &world.holders[VICTIM];
    let start = Start {
        folder: holder.folder.clone(),
        key_file: holder.key_file.clone(),
        software_root: world.tee_root.verifying_key(),
        traced,
    };
    Remote::start(program, &start, &world.direct)
}

/// Where violations of one round go.
struct Wrong<'a> {
    round: u32,
    kill: Kill,
    tally: &'a mut Tally,
}

impl Wrong<'_> {
    fn unless(&mut self, holds: bool, what: &str) {
        if !holds {
            let Self { round, kill, .. } = self;
            self.tally.violations.push(format!("kill {round} ({kill:?}): {what}"));
        }
    }
}
