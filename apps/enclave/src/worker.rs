//! One confined worker: started, told its job, asked for one answer, ended.

use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use cordon_protocol::agreement::Agreement;
use cordon_protocol::evidence::SandboxLevel;
use cordon_protocol::message::is_detail;
use cordon_protocol::worker::{FromWorker, Job, PlanReport, ToWorker, WorkerFailure};
use cordon_sandbox::{ExitCause, Limits, SealedEngine, Worker, WorkerSpec};

use crate::failure::{Code, Failure};
use crate::jobs;
use crate::lines::{Body, Gone, Lines, WorkerLine};
use crate::talk::{Heard, Talk};

/// Where workers start: the engine, and the confinement that the evidence names.
pub(crate) struct Workshop {
    engine: SealedEngine,
    level: cordon_sandbox::SandboxLevel,
}

/// A running worker. Dropped, it is killed and gone.
pub(crate) struct Confined {
    worker: Worker,
    line: WorkerLine,
}

impl Workshop {
    /// Finds out how well a worker can be confined here.
    pub fn probe(engine: SealedEngine) -> Result<Self, Code> {
        let level = cordon_sandbox::probe().map_err(|_| Code::SandboxUnavailable)?;
        Ok(Self { engine, level })
    }

    /// The level for the evidence; never better than what is in force.
    pub fn level(&self) -> Result<SandboxLevel, Code> {
        use cordon_sandbox::SandboxLevel as Found;
        match self.level {
            Found::None => Err(Code::SandboxTooWeak),
            Found::Seccomp | Found::SeccompLandlock => Ok(SandboxLevel::Seccomp),
            Found::Namespaces => Ok(SandboxLevel::Namespaces),
            Found::NamespacesLandlock => Ok(SandboxLevel::NamespacesLandlock),
        }
    }

    /// Starts a worker that ends after `wall`.
    pub fn start(
        &self,
        lines: &mut Lines,
        agreement: &Agreement,
        wall: Duration,
    ) -> Result<Confined, Code> {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let processors = u64::try_from(processors).unwrap_or(1);
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let limits = Limits {
            memory_bytes: agreement.limits.memory_bytes,
            cpu_seconds: wall_ms.div_ceil(1000).saturating_mul(processors).min(MAX_CPU_SECONDS),
            wall_ms,
            threads: processors.saturating_mul(2).saturating_add(16),
            open_files: OPEN_FILES,
        };
        let spec =
            WorkerSpec { engine: &self.engine, name: ENGINE_NAME, limits, level: self.level };
        let worker = cordon_sandbox::start(&spec).map_err(|_| Code::WorkerNotStarted)?;
        let frames = usize::try_from(jobs::max_output_bytes(agreement)).unwrap_or(usize::MAX);
        let line = lines.open_worker(worker.socket(), frames);
        Ok(Confined { line: line.map_err(|_| Code::WorkerNotStarted)?, worker })
    }
}

impl Confined {
    /// Whether an event is this worker's and not an earlier one's.
    pub fn is(&self, number: u32) -> bool {
        self.line.number == number
    }

    /// Tells the worker something.
    pub fn tell(&self, message: &ToWorker) -> Result<(), Code> {
        let body = serde_json::to_vec(message).map_err(|_| Code::CannotSeal)?;
        self.send(Body::Open(body), 0)
    }

    /// Sends it a raw frame.
    pub fn send(&self, body: Body, counted: usize) -> Result<(), Code> {
        self.line.send(body, counted).map_err(|_| Code::WorkerMisbehaved)
    }

    /// It says no more: sees to its end and finds out why.
    pub fn why(mut self, gone: Gone) -> Code {
        let exit = self.worker.kill();
        match (gone, exit.cause) {
            (Gone::Babble, _) => Code::WorkerMisbehaved,
            (Gone::Closed, ExitCause::Exited { .. } | ExitCause::Stopped) => Code::WorkerEnded,
            (Gone::Closed, ExitCause::Crashed { .. } | ExitCause::Killed | ExitCause::Lost) => {
                Code::WorkerCrashed
            }
            (Gone::Closed, ExitCause::Forbidden) => Code::WorkerForbidden,
            (Gone::Closed, ExitCause::CpuLimit) => Code::WorkerCpuLimit,
            (Gone::Closed, ExitCause::Deadline) => Code::Deadline,
        }
    }
}

/// Plans the query: no key and no file is near that worker.
pub(crate) fn plan(
    talk: &mut Talk<'_>,
    workshop: &Workshop,
    job: Job,
) -> Result<PlanReport, Failure> {
    let agreement = &talk.order.agreement;
    let until = Instant::now() + PLAN_PATIENCE;
    let worker = workshop.start(&mut talk.lines, agreement, PLAN_PATIENCE)?;
    worker.tell(&ToWorker::Job(Box::new(job)))?;
    loop {
        match talk.hear(until)? {
            Heard::Worker(number, message) if worker.is(number) => {
                return match message {
                    FromWorker::Planned(report) => Ok(*report),
                    FromWorker::Failed(failure) => Err(refused_plan(failure)),
                    FromWorker::Read { .. } | FromWorker::Output(_) => {
                        Err(Code::WorkerMisbehaved.into())
                    }
                };
            }
            Heard::WorkerGone(number, gone) if worker.is(number) => {
                return Err(worker.why(gone).into());
            }
            Heard::Nothing => return Err(Code::Deadline.into()),
            Heard::Range(_) => return Err(Code::HostMisbehaved.into()),
            Heard::Broker(..)
            | Heard::Worker(..)
            | Heard::WorkerTook(..)
            | Heard::WorkerGone(..) => {}
        }
    }
}

/// A planning engine has seen no key and no data: its words tell of query and schema only.
fn refused_plan(failure: WorkerFailure) -> Failure {
    let detail = failure.detail.filter(|detail| is_detail(detail));
    Failure { code: Code::Worker(failure.code), refusal: None, detail }
}

/// The engine's `argv[0]`.
const ENGINE_NAME: &str = "cordon-engine";
/// Socket, standard descriptors, and what a runtime opens for itself.
const OPEN_FILES: u64 = 32;
/// A week: the most that the sandbox takes.
const MAX_CPU_SECONDS: u64 = 7 * 24 * 3600;
/// Planning reads nothing and takes milliseconds.
const PLAN_PATIENCE: Duration = Duration::from_secs(60);
