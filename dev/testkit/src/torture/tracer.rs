//! Killing a process exactly before or after its n-th durable step, without a line in its code.
//!
//! The child asks the kernel to stop it at each system call that changes a file
//! ([`mark_durable_steps`], inherited by its threads). A thread here that traces it counts, lets
//! it go on, or kills it where it stands: before the call, which then does not happen, or after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// Calls that put something on the disk, or give it its name there. Plain `write` is left out, as
/// pipes and wake-ups use it, too: what it wrote is flushed by one of these.
const STEPS: &[libc::c_long] = &[
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_pwrite64,
    libc::SYS_renameat2,
    libc::SYS_renameat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    libc::SYS_ftruncate,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// Makes this thread, and those that it starts from now on, stop for its tracer at each durable
/// step. Without a tracer these calls fail.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn mark_durable_steps() -> Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let rules: BTreeMap<_, _> = STEPS.iter().map(|call| (*call, Vec::new())).collect();
    let (others, steps) = (SeccompAction::Allow, SeccompAction::Trace(0));
    let program: BpfProgram = SeccompFilter::new(rules, others, steps, arch)?.try_into()?;
    apply_filter(&program).context("the kernel takes no filter")
}

/// Where a traced process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KillPoint {
    /// Which step from now on, from 1.
    pub step: u32,
    /// After the step rather than before it.
    pub after: bool,
}

/// Counts the steps of a process, and kills it at one of them.
#[derive(Debug)]
pub(super) struct Tracer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    steps: AtomicU32,
    /// 0: at none.
    kill_at: AtomicU32,
    after: AtomicBool,
}

impl Tracer {
    /// Traces a process that has one thread and waits for its first message.
    ///
    /// # Errors
    /// If the kernel does not let this process trace its child.
    pub fn attach(process: u32) -> Result<Self> {
        let process = Pid::from_raw(i32::try_from(process)?);
        let shared = Arc::new(Shared::default());
        let (ready, attached) = channel();
        let counting = shared.clone();
        // All calls of a tracer come from one thread.
        std::thread::Builder::new().name("tracer".to_owned()).spawn(move || {
            let options = Options::PTRACE_O_TRACECLONE
                | Options::PTRACE_O_TRACESECCOMP
                | Options::PTRACE_O_TRACESYSGOOD
                | Options::PTRACE_O_EXITKILL;
            let seized = ptrace::seize(process, options);
            let failed = seized.is_err();
            if ready.send(seized).is_ok() && !failed {
                follow(process, &counting);
            }
        })?;
        attached.recv()?.context("the kernel does not let a process trace its own child")?;
        Ok(Self(shared))
    }

    /// Counts anew, and kills at this point.
    pub fn arm(&self, point: KillPoint) {
        self.0.after.store(point.after, Ordering::SeqCst);
        self.0.steps.store(0, Ordering::SeqCst);
        self.0.kill_at.store(point.step, Ordering::SeqCst);
    }

    /// Counts anew, and kills at none.
    pub fn count(&self) {
        self.arm(KillPoint { step: 0, after: false });
    }

    /// Steps since it was armed.
    pub fn steps(&self) -> u32 {
        self.0.steps.load(Ordering::SeqCst)
    }
}

/// Until all threads of the process have ended.
fn follow(process: Pid, shared: &Shared) {
    // Of this thread's tracees only: other children are none of its business.
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    loop {
        let status = match waitpid(None, Some(flags)) {
            Ok(status) => status,
            Err(Errno::EINTR) => continue,
            Err(_) => return,
        };
        // A thread that was killed meanwhile is gone: its end is reported next.
        let _gone = match status {
            WaitStatus::PtraceEvent(thread, _, event) if event == libc::PTRACE_EVENT_SECCOMP => {
                let step = shared.steps.fetch_add(1, Ordering::SeqCst) + 1;
                let is_it = step == shared.kill_at.load(Ordering::SeqCst);
                match (is_it, shared.after.load(Ordering::SeqCst)) {
                    (true, false) => kill(process, Signal::SIGKILL),
                    // Stops once more when the call is done.
                    (true, true) => ptrace::syscall(thread, None),
                    (false, _) => ptrace::cont(thread, None),
                }
            }
            WaitStatus::PtraceSyscall(_) => kill(process, Signal::SIGKILL),
            WaitStatus::PtraceEvent(thread, ..) => ptrace::cont(thread, None),
            WaitStatus::Stopped(thread, signal) => ptrace::cont(thread, signal),
            WaitStatus::Exited(..)
            | WaitStatus::Signaled(..)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive => Ok(()),
        };
    }
}
