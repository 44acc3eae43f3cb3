//! The new process on its way from a copy of the launcher to the worker.

use crate::SandboxLevel;
use crate::filesystem;
use crate::filter;
use crate::launcher::ENGINE;
use crate::memory::NO_CORE;
use crate::spec::{Limits, Stage};
use crate::sys;
use crate::wire::{Report, Task};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use std::ffi::{CStr, CString};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

/// Confines this process as the task says and becomes the engine. Reports how far it got; what
/// the report pipe carries after [`Report::Ready`] is the failed exec, or nothing.
pub(crate) fn become_worker(task: &Task, gate: PipeReader, mut reports: PipeWriter) -> ! {
    let error = match confine(task, gate) {
        Ok(()) => {
            let ready = reports.write_all(&Report::Ready.encode());
            if !task.run || ready.is_err() {
                sys::exit(0);
            }
            let name = CString::new(task.name.as_str()).unwrap_or_default();
            Failure { stage: Stage::Exec, error: sys::execute(ENGINE, EMPTY_PATH, &name) }
        }
        Err(failure) => failure,
    };
    // Nobody is left to tell if this fails.
    let _ = reports.write_all(&error.report().encode());
    sys::exit(1)
}

/// The steps of [`Stage`], in order.
fn confine(task: &Task, mut gate: PipeReader) -> Result<(), Failure> {
    let level = task.level;
    // The launcher opens the gate when it has mapped the user.
    gate.read_exact(&mut [0]).at(Stage::Mapping)?;
    sys::new_session().at(Stage::Session)?;
    sys::private_files();
    let alone = level.has_namespaces() || sys::effective_user() == 0;
    if alone {
        sys::drop_bounding_capabilities().at(Stage::Identity)?;
        sys::become_user(WORKER_USER).at(Stage::Identity)?;
    }
    let libraries = filesystem::libraries();
    if level.has_namespaces() {
        sys::set_host_name(c"worker").at(Stage::Mounts)?;
        filesystem::enter(&libraries).at(Stage::Mounts)?;
    } else {
        env::set_current_dir("/").at(Stage::Mounts)?;
    }
    lose_privileges(&gate).at(Stage::Privileges)?;
    if level.has_landlock() {
        restrict_files(&libraries).at(Stage::Landlock)?;
    }
    set_limits(&task.limits, alone).at(Stage::Limits)?;
    if level.has_seccomp() {
        restrict_calls().at(Stage::Seccomp)?;
    }
    Ok(())
}

/// No capabilities, none to gain by any program, and no life after the launcher.
fn lose_privileges(gate: &PipeReader) -> io::Result<()> {
    sys::drop_capabilities()?;
    sys::process_control(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    // Changes of identity reset this, so it comes after them.
    sys::process_control(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0)?;
    // Had the launcher died before, its end of the gate would be closed.
    let [gone] = sys::wait_readable([gate.as_fd()], Duration::ZERO)?;
    if gone {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

/// No file but the libraries, no TCP, no signals or abstract sockets to the outside: each as
/// far as this kernel's Landlock knows it, files always.
fn restrict_files(libraries: &[PathBuf]) -> io::Result<()> {
    let restrict = || -> Result<RulesetStatus, landlock::RulesetError> {
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?;
        for library in libraries {
            let access = match filesystem::is_loader(library) {
                true => AccessFs::ReadFile | AccessFs::Execute,
                false => AccessFs::ReadFile.into(),
            };
            let Ok(file) = PathFd::new(library) else { continue };
            ruleset = ruleset.add_rule(PathBeneath::new(file, access))?;
        }
        Ok(ruleset.restrict_self()?.ruleset)
    };
    match restrict() {
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Ok(()),
        Ok(RulesetStatus::NotEnforced) => Err(io::ErrorKind::Unsupported.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// `alone`: no other process counts as this worker's user.
fn set_limits(limits: &Limits, alone: bool) -> io::Result<()> {
    sys::limit(libc::RLIMIT_DATA, limits.memory_bytes)?;
    // Address space is not memory: allocators reserve much and use little. What is used and
    // does not count as data, files read and one shared stack, is small; the filter denies
    // shared mappings, which would not count either.
    let address_space = limits.memory_bytes.saturating_mul(2).saturating_add(RESERVED_BYTES);
    sys::limit(libc::RLIMIT_AS, address_space)?;
    sys::limit(libc::RLIMIT_STACK, STACK_BYTES)?;
    sys::limit(libc::RLIMIT_MEMLOCK, limits.memory_bytes)?;
    // The launcher measures; the kernel counts ticks, and is the second net.
    sys::limit(libc::RLIMIT_CPU, limits.cpu_seconds.saturating_mul(2) + 1)?;
    sys::limit(libc::RLIMIT_NOFILE, limits.open_files)?;
    if alone {
        sys::limit(libc::RLIMIT_NPROC, limits.threads)?;
    }
    sys::limit(libc::RLIMIT_CORE, NO_CORE)?;
    for none in [libc::RLIMIT_FSIZE, libc::RLIMIT_MSGQUEUE, libc::RLIMIT_RTPRIO, libc::RLIMIT_NICE]
    {
        sys::limit(none, 0)?;
    }
    Ok(())
}

fn restrict_calls() -> io::Result<()> {
    let programs = filter::for_launch(ENGINE, EMPTY_PATH, std::process::id());
    for program in programs.map_err(io::Error::other)? {
        seccompiler::apply_filter(&program).map_err(|error| match error {
            seccompiler::Error::Prctl(source) | seccompiler::Error::Seccomp(source) => source,
            other => io::Error::other(other),
        })?;
    }
    Ok(())
}

/// What the launcher must do to the new process from outside: in the new user namespace there
/// is one user, who is the worker and has no power outside of it.
pub(crate) fn map_user(pid: i32) -> io::Result<()> {
    let (user, group) = match sys::effective_user() {
        // A guard that is root does not run its worker as root.
        0 => (WORKER_USER, WORKER_USER),
        own => (own, sys::effective_group()),
    };
    let process = Path::new("/proc").join(pid.to_string());
    fs::write(process.join("setgroups"), "deny")?;
    fs::write(process.join("gid_map"), format!("{WORKER_USER} {group} 1\n"))?;
    fs::write(process.join("uid_map"), format!("{WORKER_USER} {user} 1\n"))
}

/// The namespaces of a level.
pub(crate) fn namespaces(level: SandboxLevel) -> libc::c_int {
    if !level.has_namespaces() {
        return 0;
    }
    libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
}

struct Failure {
    stage: Stage,
    error: io::Error,
}

impl Failure {
    fn report(&self) -> Report {
        // Errors without a number are our own: the kernel lacks something.
        let errno = self.error.raw_os_error().unwrap_or(libc::ENOTSUP);
        Report::Failed { stage: self.stage, errno }
    }
}

trait AtStage<T> {
    fn at(self, stage: Stage) -> Result<T, Failure>;
}

impl<T> AtStage<T> for io::Result<T> {
    fn at(self, stage: Stage) -> Result<T, Failure> {
        self.map_err(|error| Failure { stage, error })
    }
}

/// The worker's user and group: unprivileged, in no password file, not the `nobody` that other
/// services may run as, and within the first 65,536, which is all that many containers map.
const WORKER_USER: u32 = 65_533;

/// The newest Landlock whose rights we know.
const LANDLOCK: ABI = ABI::V7;

/// The filter lets `execveat` through for this address only.
const EMPTY_PATH: &CStr = c"";

const RESERVED_BYTES: u64 = 16 << 30; // 64 arenas of 64 MiB, stacks, libraries, four times over
const STACK_BYTES: u64 = 8 << 20; // the usual one
