//! What the guard asks for, and why it may not get it.

use crate::SandboxLevel;
use crate::engine::{MAX_ENGINE_BYTES, SealedEngine};
use cordon_types::LogSafe;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;

/// One worker to start.
#[derive(Clone, Copy)]
pub struct WorkerSpec<'a> {
    /// The engine. These bytes run, no others.
    pub engine: &'a SealedEngine,
    /// The engine's `argv[0]`, for people who list processes. At most [`MAX_NAME_BYTES`].
    pub name: &'a str,
    /// What it may use.
    pub limits: Limits,
    /// The level named in the evidence, as [`probe`](crate::probe) found it. The worker starts
    /// at exactly this level or not at all.
    pub level: SandboxLevel,
}

/// What a worker may use. All of it is enforced by the kernel or by the launcher.
///
/// Two limits are not a choice: a worker writes no file (`RLIMIT_FSIZE` is 0) and leaves no
/// core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Writable memory: heap, thread stacks (in full, 2 MiB each by default) and data.
    pub memory_bytes: u64,
    /// Processor time of all threads together; then the kernel kills the worker.
    pub cpu_seconds: u64,
    /// Time from start to the end, whatever happens; then the launcher kills the worker.
    pub wall_ms: u64,
    /// Threads, the first one included. Below [`SandboxLevel::Namespaces`], a guard that is
    /// not root cannot enforce it, because the kernel would count all processes of its user;
    /// there memory is what bounds threads.
    pub threads: u64,
    /// Open files, counting the four that every worker has.
    pub open_files: u64,
}

impl Limits {
    pub(crate) fn check(&self) -> Result<(), SandboxError> {
        let within = |limit, found: u64, range: RangeInclusive<u64>| {
            if range.contains(&found) {
                return Ok(());
            }
            Err(SandboxError::Limit { limit, found, least: *range.start(), most: *range.end() })
        };
        within("memory_bytes", self.memory_bytes, MEMORY_BYTES)?;
        within("cpu_seconds", self.cpu_seconds, CPU_SECONDS)?;
        within("wall_ms", self.wall_ms, WALL_MS)?;
        within("threads", self.threads, THREADS)?;
        within("open_files", self.open_files, OPEN_FILES)
    }
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A limit is out of its range.
    #[error("worker limit `{limit}` is {found}, expected {least} to {most}")]
    Limit {
        /// The field of [`Limits`].
        limit: &'static str,
        /// What it was.
        found: u64,
        /// The least allowed.
        least: u64,
        /// The most allowed.
        most: u64,
    },
    /// The name is empty, too long, or holds a control character.
    #[error("worker name must have 1 to {MAX_NAME_BYTES} printable ascii characters")]
    Name,
    /// The engine is no program.
    #[error("engine of {found_bytes} bytes is not an elf file of at most {MAX_ENGINE_BYTES} bytes")]
    Engine {
        /// How many bytes there were.
        found_bytes: usize,
    },
    /// The engine could not be sealed in memory.
    #[error("cannot seal the engine in memory")]
    Seal(#[source] io::Error),
    /// The launcher could not be run.
    #[error("cannot run the launcher")]
    Launcher(#[source] io::Error),
    /// The launcher ended or fell silent before it had started the worker. A program that
    /// does not call [`run_if_asked`](crate::launcher::run_if_asked) first looks like this.
    #[error("the launcher gave no answer")]
    Silent(#[source] io::Error),
    /// The kernel refused one step.
    #[error("sandbox level `{level}` is not to be had: step `{stage}` failed")]
    Refused {
        /// The level that was asked for.
        level: SandboxLevel,
        /// The step.
        stage: Stage,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// A step of the confinement, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The launcher reads its task and arranges its descriptors.
    Launch = 1,
    /// New process, new namespaces.
    Clone = 2,
    /// The user mapping of the new user namespace.
    Mapping = 3,
    /// New session.
    Session = 4,
    /// An unprivileged user of its own.
    Identity = 5,
    /// A root that holds the C library only.
    Mounts = 6,
    /// No capabilities, none to gain; dies with the launcher.
    Privileges = 7,
    /// Landlock.
    Landlock = 8,
    /// Resource limits.
    Limits = 9,
    /// The system call allow-list.
    Seccomp = 10,
    /// The engine itself.
    Exec = 11,
}

impl Stage {
    pub(crate) const ALL: [Self; 11] = [
        Self::Launch,
        Self::Clone,
        Self::Mapping,
        Self::Session,
        Self::Identity,
        Self::Mounts,
        Self::Privileges,
        Self::Landlock,
        Self::Limits,
        Self::Seccomp,
        Self::Exec,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Clone => "clone",
            Self::Mapping => "mapping",
            Self::Session => "session",
            Self::Identity => "identity",
            Self::Mounts => "mounts",
            Self::Privileges => "privileges",
            Self::Landlock => "landlock",
            Self::Limits => "limits",
            Self::Seccomp => "seccomp",
            Self::Exec => "exec",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl LogSafe for Stage {}

pub(crate) fn check_name(name: &str) -> Result<(), SandboxError> {
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !printable {
        return Err(SandboxError::Name);
    }
    Ok(())
}

/// The longest name of a worker.
pub const MAX_NAME_BYTES: usize = 32;

const MEMORY_BYTES: RangeInclusive<u64> = 16 << 20..=1 << 44; // less does not load a C library
const CPU_SECONDS: RangeInclusive<u64> = 1..=7 * 24 * 3600;
const WALL_MS: RangeInclusive<u64> = 1..=7 * 24 * 3600 * 1000; // a week: longer is no run
const THREADS: RangeInclusive<u64> = 1..=4096;
const OPEN_FILES: RangeInclusive<u64> = 8..=128; // four are taken; the launcher's own lie above

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Limits =
        Limits { memory_bytes: 64 << 20, cpu_seconds: 1, wall_ms: 1000, threads: 2, open_files: 8 };

    fn refused(limits: Limits) -> &'static str {
        match limits.check() {
            Err(SandboxError::Limit { limit, .. }) => limit,
            other => panic!("expected a refused limit, found {other:?}"),
        }
    }

    #[test]
    fn each_limit_has_a_range() {
        GOOD.check().expect("good limits");
        assert_eq!(refused(Limits { memory_bytes: 0, ..GOOD }), "memory_bytes");
        assert_eq!(refused(Limits { cpu_seconds: 0, ..GOOD }), "cpu_seconds");
        assert_eq!(refused(Limits { wall_ms: u64::MAX, ..GOOD }), "wall_ms");
        assert_eq!(refused(Limits { threads: 0, ..GOOD }), "threads");
        assert_eq!(refused(Limits { open_files: 7, ..GOOD }), "open_files");
        assert_eq!(refused(Limits { open_files: 129, ..GOOD }), "open_files");
    }

    #[test]
    fn a_name_is_short_and_printable() {
        assert!(check_name("engine-sql").is_ok());
        for other in ["", "two words", "nul\0", "ä", &"x".repeat(MAX_NAME_BYTES + 1)] {
            assert!(matches!(check_name(other), Err(SandboxError::Name)), "{other}");
        }
    }
}
