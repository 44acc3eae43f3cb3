//! The process between guard and worker: makes the worker, waits for its end, ends it.

use crate::confine;
use crate::spec::Stage;
use crate::sys::{self, Cloned};
use crate::wire::{Exit, ExitCause, Report, Task};
use crate::worker;
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use std::{env, process, thread};

/// Acts as the launcher, and does not return, if the guard has started this program as one.
///
/// Every program that calls [`start`](crate::start) or [`probe`](crate::probe) calls this first
/// in `main`. A person who runs the program by hand with the same argument gets a process that
/// ends at once: it has no task.
pub fn run_if_asked() {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == ARGUMENT) && arguments.next().is_none() {
        process::exit(i32::from(launch().is_none()));
    }
}

/// The argument that makes this program a launcher.
pub(crate) const ARGUMENT: &str = "launch-worker";

/// Where the launcher keeps the engine: beyond any descriptor that a worker may have.
pub(crate) const ENGINE: RawFd = 200;
const CONTROL: RawFd = 201;

/// One worker from task to end. `None`: the guard is gone or has sent no task.
fn launch() -> Option<()> {
    let control = arrange_control().ok()?;
    let mut bytes = [0; Task::BYTES];
    (&control).read_exact(&mut bytes).ok()?;
    let task = Task::decode(&bytes)?;
    let deadline = Instant::now() + Duration::from_millis(task.limits.wall_ms);
    let started = arrange_rest().map_err(failed(Stage::Launch)).and_then(|()| begin(&task));
    let child = match started {
        Ok(child) => child,
        Err(report) => return send(&control, report),
    };
    let told = child.setup_report(&control, deadline);
    send(&control, told.unwrap_or_else(|| silent(deadline)))?;
    if told == Some(Report::Ready) && task.run {
        send(&control, Report::Ended(child.supervise(&control, &task, deadline)))?;
    }
    child.end();
    Some(())
}

/// The guard passes three things as standard descriptors: 0 control, 1 the worker's socket,
/// 2 the engine. Whatever else came along is closed.
fn arrange_control() -> io::Result<UnixStream> {
    sys::close_from(3)?;
    sys::duplicate_to(0, CONTROL, true)?;
    Ok(UnixStream::from(sys::owned(CONTROL)?))
}

/// From here on, the descriptors up to 3 are as the worker will have them.
fn arrange_rest() -> io::Result<()> {
    sys::duplicate_to(2, ENGINE, true)?;
    sys::duplicate_to(1, worker::SOCKET, false)?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    for standard in 0..=2 {
        sys::duplicate_to(nothing.as_raw_fd(), standard, false)?;
    }
    Ok(())
}

/// The new process, seen from the launcher.
struct Child {
    pid: i32,
    handle: OwnedFd,
    reports: PipeReader,
    /// Held open: the child takes its end for the launcher's.
    _gate: io::PipeWriter,
}

fn begin(task: &Task) -> Result<Child, Report> {
    let (gate_reader, mut gate) = io::pipe().map_err(failed(Stage::Launch))?;
    let (reports, report_writer) = io::pipe().map_err(failed(Stage::Launch))?;
    if sys::effective_user() == 0 {
        sys::leave_groups().map_err(failed(Stage::Identity))?;
    }
    // The launcher holds no secret. Undumpable, its copy's user mapping would belong to root.
    sys::process_control(libc::PR_SET_DUMPABLE, 1, 0).map_err(failed(Stage::Launch))?;
    let namespaces = confine::namespaces(task.level);
    match sys::clone_process(namespaces).map_err(failed(Stage::Clone))? {
        Cloned::Child => {
            drop((gate, reports));
            confine::become_worker(task, gate_reader, report_writer)
        }
        Cloned::Parent { pid, handle } => {
            drop((gate_reader, report_writer));
            let mapped = match namespaces {
                0 => Ok(()),
                _ => confine::map_user(pid),
            };
            let opened = mapped.and_then(|()| gate.write_all(&[1]));
            let child = Child { pid, handle, reports, _gate: gate };
            if let Err(error) = opened {
                child.end();
                return Err(failed(Stage::Mapping)(error));
            }
            // The worker's alone: the guard must see its end.
            drop((sys::owned(worker::SOCKET), sys::owned(ENGINE)));
            Ok(child)
        }
    }
}

impl Child {
    /// What the new process says of its confinement: after [`Report::Ready`] nothing more means
    /// that it has become the engine, or was not to.
    fn setup_report(&self, control: &UnixStream, deadline: Instant) -> Option<Report> {
        let first = self.next_report(control, deadline)?;
        match first {
            Report::Ready => Some(self.next_report(control, deadline).unwrap_or(Report::Ready)),
            Report::Failed { .. } | Report::Ended(_) => Some(first),
        }
    }

    fn next_report(&self, control: &UnixStream, deadline: Instant) -> Option<Report> {
        let [told, ended] = wait_until(deadline, [self.reports.as_fd(), control.as_fd()]);
        if !told || ended {
            return None;
        }
        let mut bytes = [0; Report::BYTES];
        (&self.reports).read_exact(&mut bytes).ok()?;
        Report::decode(&bytes)
    }

    /// Waits for the end of the worker and sees to it that there is one.
    fn supervise(&self, control: &UnixStream, task: &Task, deadline: Instant) -> Exit {
        let cause = self.reason_to_end(control, task, deadline);
        if cause.is_some() {
            // Fails if it has just ended by itself.
            let _ = sys::kill(self.handle.as_fd());
        }
        let Ok(end) = sys::wait(self.pid) else {
            return Exit { cause: ExitCause::Lost, cpu_ms: 0, peak_memory_bytes: 0 };
        };
        Exit {
            cause: exit_cause(end.status, cause),
            cpu_ms: u64::try_from(end.cpu.as_millis()).unwrap_or(u64::MAX),
            peak_memory_bytes: end.peak_memory_bytes,
        }
    }

    /// Waits until there is a reason to kill the worker; `None` if it ends before.
    fn reason_to_end(
        &self,
        control: &UnixStream,
        task: &Task,
        deadline: Instant,
    ) -> Option<ExitCause> {
        let allowed = Duration::from_secs(task.limits.cpu_seconds);
        let processors = thread::available_parallelism().map_or(1, |n| n.get() as u32);
        loop {
            // Fails only for a process that has ended, which shows below.
            let used = sys::processor_time(self.pid).unwrap_or_default();
            if used >= allowed {
                return Some(ExitCause::CpuLimit);
            }
            let now = Instant::now();
            if now >= deadline {
                return Some(ExitCause::Deadline);
            }
            // It cannot be used up earlier than by all processors at once.
            let next = now + ((allowed - used) / processors).max(TICK);
            match wait_until(next.min(deadline), [self.handle.as_fd(), control.as_fd()]) {
                [true, _] => return None,
                [false, true] => return Some(ExitCause::Stopped),
                [false, false] => {}
            }
        }
    }

    /// Makes sure that nothing is left; harmless if nothing is.
    fn end(&self) {
        let _ = sys::kill(self.handle.as_fd());
        let _ = sys::wait(self.pid);
    }
}

/// `ours`: why we killed it, if we did.
fn exit_cause(status: i32, ours: Option<ExitCause>) -> ExitCause {
    if libc::WIFEXITED(status) {
        return ExitCause::Exited { code: libc::WEXITSTATUS(status) };
    }
    match (libc::WTERMSIG(status), ours) {
        (libc::SIGKILL, Some(cause)) => cause,
        (libc::SIGKILL, None) => ExitCause::Killed,
        (libc::SIGSYS, _) => ExitCause::Forbidden,
        (signal, _) => ExitCause::Crashed { signal },
    }
}

/// The least time between two looks at the worker's processor time.
const TICK: Duration = Duration::from_millis(5);

/// Waits until a descriptor has something, at most until the deadline.
fn wait_until(deadline: Instant, descriptors: [std::os::fd::BorrowedFd<'_>; 2]) -> [bool; 2] {
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        match sys::wait_readable(descriptors, rest) {
            Ok(ready) if ready.contains(&true) || rest.is_zero() => return ready,
            Ok(_) => {}
            // Cannot happen; then rather end the worker than wait for ever.
            Err(_) => return [false; 2],
        }
    }
}

fn send(mut control: &UnixStream, report: Report) -> Option<()> {
    control.write_all(&report.encode()).ok()
}

fn failed(stage: Stage) -> impl FnOnce(io::Error) -> Report {
    move |error| Report::Failed { stage, errno: error.raw_os_error().unwrap_or(libc::EIO) }
}

/// The new process has said nothing: because the time was over, or else because it ended.
fn silent(deadline: Instant) -> Report {
    let errno = if Instant::now() < deadline { libc::ECHILD } else { libc::ETIMEDOUT };
    Report::Failed { stage: Stage::Clone, errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_itself_is_its_own_even_after_the_deadline() {
        let status = 7 << 8; // wait(2): the code is in the second byte
        let cause = exit_cause(status, Some(ExitCause::Deadline));
        assert_eq!(cause, ExitCause::Exited { code: 7 });
    }

    #[test]
    fn a_kill_has_the_cause_of_the_killer() {
        let crash = ExitCause::Crashed { signal: libc::SIGSEGV };
        for (signal, ours, expected) in [
            (libc::SIGKILL, Some(ExitCause::Deadline), ExitCause::Deadline),
            (libc::SIGKILL, Some(ExitCause::CpuLimit), ExitCause::CpuLimit),
            (libc::SIGKILL, None, ExitCause::Killed),
            (libc::SIGSYS, None, ExitCause::Forbidden),
            (libc::SIGSYS, Some(ExitCause::Stopped), ExitCause::Forbidden),
            (libc::SIGSEGV, Some(ExitCause::Stopped), crash),
        ] {
            assert_eq!(exit_cause(signal, ours), expected);
        }
    }
}
