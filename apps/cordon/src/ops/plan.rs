//! Planning a query without data: the engine in plan mode, in the sandbox it will later run in.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cordon_protocol::frame;
use cordon_protocol::worker::{FromWorker, Job, PlanReport, ToWorker};
use cordon_sandbox::{Limits, SealedEngine, WorkerSpec, probe, start};

/// A plan takes milliseconds; an engine that needs longer is stuck.
const PLAN_DEADLINE: Duration = Duration::from_secs(30);
/// A plan names columns only.
const MAX_PLAN_BYTES: usize = 1024 * 1024;

/// Plans `job`.
///
/// # Errors
/// If the engine refuses the query; it says what to change, since no data is near.
pub fn plan(engine: &[u8], job: &Job) -> Result<PlanReport> {
    let engine = SealedEngine::of(engine).context("cannot start the engine")?;
    let worker = start(&WorkerSpec {
        engine: &engine,
        name: "engine",
        level: probe()?,
        limits: Limits {
            memory_bytes: 2 * 1024 * 1024 * 1024,
            cpu_seconds: PLAN_DEADLINE.as_secs(),
            wall_ms: u64::try_from(PLAN_DEADLINE.as_millis())?,
            threads: 64,
            open_files: 64,
        },
    })
    .context("cannot start the engine")?;
    let mut socket = worker.socket();
    frame::write_message(&mut socket, &ToWorker::Job(Box::new(job.clone())))?;
    let answer =
        frame::read_message(&mut socket, MAX_PLAN_BYTES).context("the engine gave no plan")?;
    match answer {
        FromWorker::Planned(report) => Ok(*report),
        FromWorker::Failed(failure) => {
            bail!("{} ({})", failure.detail.unwrap_or_default(), failure.code.as_str())
        }
        FromWorker::Read { .. } | FromWorker::Output(_) => bail!("the engine gave no plan"),
    }
}
