//! The victim, those around it, and what was seen of its log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cordon_broker::log::Peers;
use cordon_broker::setup::log_folder;
use cordon_crypto::dsse::Signed;
use cordon_protocol::Agreement;
use cordon_protocol::agreement::Review;
use cordon_protocol::message::ToBroker;
use cordon_tlog::LogKey;
use cordon_types::PartyId;

use super::campaign::{Kill, Measure, Round};
use super::disk::LogOnDisk;
use super::remote::Remote;
use super::tally::{Stage, Tally, Task};
use super::tracer::Tracer;
use super::wire::{Answer, Ask, Start};
use crate::guard::ask;
use crate::holder::Holder;
use crate::world::{Terms, World};

/// The broker that is killed: the first.
pub(super) const VICTIM: usize = 0;
/// A step that a task makes now and then only is waited for so long after the answer.
const PATIENCE: Duration = Duration::from_millis(300);
/// Tasks that are timed before the first kill.
const TIMED: usize = 5;

/// Brokers, guards, and what was seen of the victim's log.
pub(super) struct Field {
    program: PathBuf,
    pub world: World,
    pub victim: Arc<Remote>,
    pub log: LogOnDisk,
    pub party: PartyId,
    agreements: u32,
}

impl Field {
    pub async fn prepare(program: &Path) -> Result<Self> {
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

    /// How long a task takes, and how many durable steps it makes.
    pub async fn measure(&mut self, task: Task) -> Result<Measure> {
        self.start_anew(true).await?;
        let mut steps = 0;
        for _ in 0..2 {
            steps = self.complete(task, true).await?.steps;
        }
        ensure!(steps > 0, "{task:?} without a durable step");
        self.start_anew(false).await?;
        let mut time = Duration::ZERO;
        for _ in 0..TIMED {
            time = time.max(self.complete(task, false).await?.time);
        }
        self.log.read()?;
        Ok(Measure { time, steps })
    }

    /// One task that nobody disturbs.
    async fn complete(&mut self, task: Task, traced: bool) -> Result<Measure> {
        let agreement = self.agree(task).await?;
        let guard = self.world.guard(&agreement)?;
        let delivery = match task {
            Task::Grant => None,
            Task::Clearance => Some(guard.deliver(&guard.attest(&self.world).await?)?),
        };
        if traced {
            self.tracer()?.count();
        }
        let begin = Instant::now();
        match &delivery {
            None => drop(self.release(&guard).await?),
            Some(delivery) => drop(self.clear(&guard, delivery).await?),
        }
        let time = begin.elapsed();
        if !traced {
            return Ok(Measure { time, steps: 0 });
        }
        tokio::time::sleep(PATIENCE / 3).await;
        Ok(Measure { time, steps: self.tracer()?.steps() })
    }

    /// How many durable steps a start makes.
    pub async fn measure_start(&mut self) -> Result<u32> {
        self.end().await;
        self.restart(true)?;
        self.tracer()?.count();
        self.running().await?;
        Ok(self.tracer()?.steps())
    }

    pub async fn play(&mut self, round: Round, tally: &mut Tally) -> Result<()> {
        let wants_tracer = matches!(round.kill, Kill::Step(_));
        if self.victim.tracer.is_some() != wants_tracer {
            self.start_anew(wants_tracer).await?;
        }
        tally.kills += 1;
        tally.at_steps += u32::from(wants_tracer);
        let mut wrong = Wrong { number: tally.kills, round, tally };
        let stage = match round.task {
            Task::Grant => self.kill_a_grant(&mut wrong).await?,
            Task::Clearance => self.kill_a_clearance(&mut wrong).await?,
        };
        *tally.stages.entry((round.task, stage)).or_default() += 1;
        Ok(())
    }

    /// What the task gave before the broker died of it.
    pub async fn until_dead<T>(
        &self,
        kill: Kill,
        task: impl Future<Output = Result<T>>,
    ) -> Option<T> {
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
            let given = task.await.ok();
            if matches!(kill, Kill::Step(_)) {
                // The last steps come after the answer; perhaps fewer than usual.
                let _ = tokio::time::timeout(PATIENCE, self.victim.gone()).await;
                self.victim.kill();
            }
            given
        };
        tokio::join!(dies, asks).1
    }

    /// Starts the broker again; if it is to die of that, too, once more.
    pub async fn mend(&mut self, wrong: &mut Wrong<'_>) -> Result<()> {
        if let Some(point) = wrong.round.again {
            self.restart(true)?;
            self.tracer()?.arm(point);
            if !self.victim.is_started().await {
                wrong.tally.kills_at_start += 1;
            }
            self.end().await;
            self.look(wrong).await;
        }
        // The next one is killed at a random moment if it is the turn of that.
        self.restart(!wrong.number.is_multiple_of(3))?;
        self.running().await.context("the broker does not start again")
    }

    /// Reads the log on the disk, and compares it with what the witnesses have. Gives the size
    /// that all of them cosigned.
    pub async fn look(&mut self, wrong: &mut Wrong<'_>) -> Option<u64> {
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

    /// How far an entry came that stands at this place.
    pub fn stage_of(entry: u64, cosigned: Option<u64>) -> Stage {
        match cosigned.is_some_and(|size| size > entry) {
            true => Stage::Cosigned,
            false => Stage::Signed,
        }
    }

    /// One agreement for one run. A clearance needs the grants of all.
    pub async fn agree(&mut self, task: Task) -> Result<Signed<Agreement>> {
        self.agreements += 1;
        let study = format!("study-{}", self.agreements);
        let review = match task {
            Task::Grant => Review::GateSuffices,
            Task::Clearance => Review::EachHolder,
        };
        let terms = Terms { max_runs: 1, study, review, ..Terms::default() };
        let agreement = self.world.agreement(&terms)?;
        let message = ToBroker::Propose { agreement: agreement.envelope().clone() };
        ask(&self.world, &self.party, message).await.context("proposing")?;
        for approval in self.holder().approvals(agreement.digest())? {
            match self.victim.ask(Ask::Approve(approval)).await {
                Some(Answer::Done) => {}
                other => bail!("approving: {other:?}"),
            }
        }
        if task == Task::Clearance {
            for other in (0..self.world.holders.len()).filter(|index| *index != VICTIM) {
                self.world.broker(other).propose(agreement.envelope()).await?;
                self.world.approve(other, &agreement).await?;
            }
        }
        Ok(agreement)
    }

    pub fn holder(&self) -> &Holder {
        &self.world.holders[VICTIM]
    }

    async fn start_anew(&mut self, traced: bool) -> Result<()> {
        self.end().await;
        self.restart(traced)?;
        self.running().await
    }

    async fn end(&self) {
        self.victim.kill();
        self.victim.gone().await;
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

    fn tracer(&self) -> Result<&Tracer> {
        self.victim.tracer.as_ref().context("the broker is not traced")
    }
}

fn start(program: &Path, world: &World, traced: bool) -> Result<Remote> {
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
pub(super) struct Wrong<'a> {
    number: u32,
    pub round: Round,
    pub tally: &'a mut Tally,
}

impl Wrong<'_> {
    pub fn unless(&mut self, holds: bool, what: &str) {
        if !holds {
            let Self { number, round: Round { task, kill, .. }, .. } = self;
            self.tally.violations.push(format!("kill {number} ({task:?}, {kill:?}): {what}"));
        }
    }

    /// For what left the broker: its entry must stand in the log, with a proof that holds.
    pub fn unless_logged(&mut self, logged: Result<()>, what: &str) {
        if let Err(error) = logged {
            self.tally.without_entry += 1;
            self.unless(false, &format!("{what} without its entry: {error:#}"));
        }
    }
}
