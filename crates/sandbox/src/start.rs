//! The guard's side of a worker.

use crate::SandboxLevel;
use crate::launcher::ARGUMENT;
use crate::spec::{self, Limits, SandboxError, WorkerSpec};
use crate::wire::{Exit, ExitCause, Report, Task};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Finds the strongest level at which this kernel lets a worker start, by confining a process
/// at each level, strongest first, until one holds; it runs nothing.
///
/// The guard does this before it collects evidence, puts the level into its runtime data, and
/// passes the same level to [`start`].
///
/// # Errors
/// No launcher could be run, so no worker could be started either.
pub fn probe() -> Result<SandboxLevel, SandboxError> {
    for level in SandboxLevel::ALL.into_iter().rev() {
        match probe_level(level) {
            Ok(()) => return Ok(level),
            Err(SandboxError::Refused { .. }) if level != SandboxLevel::None => {}
            Err(error) => return Err(error),
        }
    }
    Ok(SandboxLevel::None)
}

/// Tries one level, as [`probe`] does with all of them.
///
/// # Errors
/// [`SandboxError::Refused`] says which step is not to be had here.
pub fn probe_level(level: SandboxLevel) -> Result<(), SandboxError> {
    let task = Task { run: false, level, limits: PROBE_LIMITS, name: "probe".to_owned() };
    let mut launcher = Launcher::run(Stdio::null(), Stdio::null())?;
    launcher.order(&task)
}

/// Starts a worker, confined exactly as the specification says.
///
/// # Errors
/// The specification is out of bounds, or the kernel refused a step; then nothing is running.
pub fn start(spec: &WorkerSpec<'_>) -> Result<Worker, SandboxError> {
    spec.limits.check()?;
    spec::check_name(spec.name)?;
    let engine = spec.engine.to_owned_fd().map_err(SandboxError::Seal)?;
    let (socket, workers_end) = UnixStream::pair().map_err(SandboxError::Launcher)?;
    let wall = Duration::from_millis(spec.limits.wall_ms);
    // The launcher ends the worker by then, so that no read waits longer; a second net.
    socket.set_read_timeout(Some(wall + GRACE)).map_err(SandboxError::Launcher)?;
    socket.set_write_timeout(Some(wall + GRACE)).map_err(SandboxError::Launcher)?;
    let task =
        Task { run: true, level: spec.level, limits: spec.limits, name: spec.name.to_owned() };
    let deadline = Instant::now() + wall;
    let mut launcher = Launcher::run(OwnedFd::from(workers_end).into(), engine.into())?;
    launcher.order(&task)?;
    Ok(Worker { socket, launcher, level: spec.level, deadline, exit: None })
}

/// A running worker. Dropped, it is killed and gone.
pub struct Worker {
    socket: UnixStream,
    launcher: Launcher,
    level: SandboxLevel,
    deadline: Instant,
    exit: Option<Exit>,
}

impl Worker {
    /// The socket to the worker, which has the other end. No read or write on it waits beyond
    /// the worker's deadline (and a grace of five seconds); shorter timeouts are up to the
    /// guard. Whatever arrives here was written by the engine: bound it before you keep it.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// The level at which it runs: the one of its specification.
    pub fn level(&self) -> SandboxLevel {
        self.level
    }

    /// The time left until the deadline.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits for the end of the worker, at most until its deadline.
    pub fn wait(&mut self) -> Exit {
        let patience = self.remaining() + GRACE;
        self.end(patience)
    }

    /// Ends the worker, and with it every process of its namespace, unless it has just ended by
    /// itself. It is gone when this returns.
    pub fn kill(&mut self) -> Exit {
        if self.exit.is_none() {
            // The launcher takes the end of the control stream as the order to stop. If it
            // does not hear any more, `end` makes sure.
            let _ = self.launcher.control.shutdown(Shutdown::Write);
        }
        self.end(GRACE)
    }

    fn end(&mut self, patience: Duration) -> Exit {
        if let Some(exit) = self.exit {
            return exit;
        }
        let exit = match self.launcher.report(patience) {
            Ok(Report::Ended(exit)) => exit,
            Ok(Report::Ready | Report::Failed { .. }) | Err(_) => {
                Exit { cause: ExitCause::Lost, cpu_ms: 0, peak_memory_bytes: 0 }
            }
        };
        self.launcher.end();
        self.exit = Some(exit);
        exit
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The process that holds the worker. Whatever becomes of it, the worker ends with it.
struct Launcher {
    process: Child,
    control: UnixStream,
}

impl Launcher {
    /// Runs this very program once more. Its memory is new: nothing of the guard's is in it.
    fn run(socket: Stdio, engine: Stdio) -> Result<Self, SandboxError> {
        let (control, launchers_end) = UnixStream::pair().map_err(SandboxError::Launcher)?;
        let process = Command::new("/proc/self/exe")
            .arg0("cordon-launcher")
            .arg(ARGUMENT)
            .env_clear()
            .stdin(OwnedFd::from(launchers_end))
            .stdout(socket)
            .stderr(engine)
            .spawn()
            .map_err(SandboxError::Launcher)?;
        Ok(Self { process, control })
    }

    /// Gives the task and waits until the worker is confined, and running if it is to.
    fn order(&mut self, task: &Task) -> Result<(), SandboxError> {
        self.control.write_all(&task.encode()).map_err(SandboxError::Silent)?;
        match self.report(SETUP).map_err(SandboxError::Silent)? {
            Report::Ready => Ok(()),
            Report::Failed { stage, errno } => Err(SandboxError::Refused {
                level: task.level,
                stage,
                source: io::Error::from_raw_os_error(errno),
            }),
            Report::Ended(_) => Err(SandboxError::Silent(io::ErrorKind::InvalidData.into())),
        }
    }

    fn report(&mut self, patience: Duration) -> io::Result<Report> {
        // A timeout of zero would mean none.
        self.control.set_read_timeout(Some(patience.max(GRACE)))?;
        let mut bytes = [0; Report::BYTES];
        self.control.read_exact(&mut bytes)?;
        Report::decode(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn end(&mut self) {
        // It is ending by itself, and then its end of the stream closes; or it must, and then
        // the kernel ends the worker with it. Being asked first, it leaves no child to reap.
        let _ = self.control.shutdown(Shutdown::Write);
        while self.report(GRACE).is_ok() {}
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.end();
    }
}

/// How long confining may take; it takes some milliseconds.
const SETUP: Duration = Duration::from_secs(10);

/// How long the launcher may take to end what is over: freeing much memory takes a while.
const GRACE: Duration = Duration::from_secs(5);

const PROBE_LIMITS: Limits =
    Limits { memory_bytes: 64 << 20, cpu_seconds: 5, wall_ms: 5_000, threads: 1, open_files: 8 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_the_hook_is_no_launcher() {
        // This test program does not call `run_if_asked`: the harness takes the argument for
        // the name of a test, finds none, and ends without an answer.
        assert!(matches!(probe(), Err(SandboxError::Silent(_))));
    }
}
