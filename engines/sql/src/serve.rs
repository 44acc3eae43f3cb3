use std::io;
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use cordon_protocol::frame::{self, FrameError, MAX_FRAME_BYTES};
use cordon_protocol::table::RawTable;
use cordon_protocol::worker::{
    FailureCode, FromWorker, Job, JobKeys, JobLimits, MAX_JOB_KEYS, Mode, ToWorker,
};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::run::{plan, run};

/// Why the engine could not even say that a job failed.
#[derive(Debug)]
pub enum ServeError {
    /// The guard cannot be talked to.
    Frame(FrameError),
    /// No thread could be started.
    Thread(io::Error),
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Frame(_) => "cannot talk to the guard",
            Self::Thread(_) => "cannot start a thread",
        })
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Frame(error) => Some(error),
            Self::Thread(error) => Some(error),
        }
    }
}

/// Takes one job from the guard, does it and answers. A job that cannot be done is answered too.
///
/// # Errors
/// [`ServeError`], if the guard got no answer.
pub fn serve(guard: UnixStream) -> Result<(), ServeError> {
    let worker = thread::Builder::new().name("job".to_owned()).stack_size(STACK_BYTES);
    let served = worker.spawn(move || serve_here(Arc::new(guard))).map_err(ServeError::Thread)?;
    // Panics of a job are caught where its answer is made.
    served.join().unwrap_or(Err(ServeError::Frame(FrameError::Closed)))
}

fn serve_here(guard: Arc<UnixStream>) -> Result<(), ServeError> {
    let answer = match receive(&guard)? {
        Ok((job, keys)) => {
            let mode = job.mode;
            let socket = Arc::clone(&guard);
            // A panic message may hold data; only the code of it goes out.
            let answer = catch_unwind(AssertUnwindSafe(|| answer(&job, keys, socket)));
            let answer = answer.unwrap_or_else(|_| Err(Failure::bare(FailureCode::Internal)));
            answer.unwrap_or_else(|failure| FromWorker::Failed(failure.into_message(mode)))
        }
        Err(failure) => FromWorker::Failed(failure.into_message(Mode::Run)),
    };
    frame::write_message(&mut guard.as_ref(), &answer).map_err(ServeError::Frame)
}

/// The job and, in run mode, its keys.
fn receive(mut guard: &UnixStream) -> Result<Result<(Job, JobKeys), Failure>, ServeError> {
    let bad = || Ok(Err(Failure::bare(FailureCode::BadJob)));
    let job = match frame::read_message(&mut guard, MAX_FRAME_BYTES) {
        Ok(ToWorker::Job(job)) => *job,
        Ok(ToWorker::Range | ToWorker::RangeFailed) => return bad(),
        Err(FrameError::Malformed(_) | FrameError::TooLarge { .. }) => return bad(),
        Err(error @ (FrameError::Closed | FrameError::Io(_))) => {
            return Err(ServeError::Frame(error));
        }
    };
    match job.mode {
        Mode::Plan => Ok(Ok((job, JobKeys::default()))),
        Mode::Run => match frame::read_bytes(&mut guard, MAX_KEY_FRAME_BYTES) {
            Ok(bytes) => match JobKeys::from_frame(&Zeroizing::new(bytes)) {
                Ok(keys) => Ok(Ok((job, keys))),
                Err(_) => bad(),
            },
            Err(FrameError::TooLarge { .. }) => bad(),
            Err(error) => Err(ServeError::Frame(error)),
        },
    }
}

fn answer(job: &Job, keys: JobKeys, guard: Arc<UnixStream>) -> Result<FromWorker, Failure> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    // No I/O driver: the sandbox lets no runtime have one. The guard has its own thread.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors)
        .enable_time()
        .build()
        .map_err(|_| Failure::bare(FailureCode::Internal))?;
    match job.mode {
        Mode::Plan => Ok(FromWorker::Planned(Box::new(runtime.block_on(plan(job, processors))?))),
        Mode::Run => {
            let table = runtime.block_on(run(job, keys, guard, processors))?;
            bounded(table, &job.limits)
        }
    }
}

/// The output, if it is no larger than agreed.
fn bounded(table: RawTable, limits: &JobLimits) -> Result<FromWorker, Failure> {
    let output = FromWorker::Output(Box::new(table));
    let mut frame = Vec::new();
    let most = usize::try_from(limits.max_output_bytes).unwrap_or(usize::MAX).min(MAX_FRAME_BYTES);
    frame::write_message(&mut frame, &output)
        .map_err(|_| Failure::bare(FailureCode::OutputTooLarge))?;
    if frame.len().saturating_sub(LENGTH_BYTES) > most {
        return Err(Failure::bare(FailureCode::OutputTooLarge));
    }
    Ok(output)
}

/// Planning recurses into the query; [`crate::parse`] and [`crate::expression`] bound how deep.
const STACK_BYTES: usize = 64 * 1024 * 1024;
const MAX_KEY_FRAME_BYTES: usize = MAX_JOB_KEYS * 38;
/// Before each frame stands its length.
const LENGTH_BYTES: usize = 4;
