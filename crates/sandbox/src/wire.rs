//! What guard and launcher say to each other: one task, then one or two reports, each of a
//! fixed size. Both ends are the same program, so there are no versions.

use crate::SandboxLevel;
use crate::spec::{Limits, MAX_NAME_BYTES, Stage};
use cordon_types::LogSafe;
use std::fmt;

/// The guard's order to a launcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// Confine, and then run the engine; otherwise only find out whether it would work.
    pub run: bool,
    pub level: SandboxLevel,
    pub limits: Limits,
    pub name: String,
}

impl Task {
    pub const BYTES: usize = 2 + 5 * 8 + 1 + MAX_NAME_BYTES;

    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = u8::from(self.run);
        bytes[1] = self.level as u8;
        let numbers = [
            self.limits.memory_bytes,
            self.limits.cpu_seconds,
            self.limits.wall_ms,
            self.limits.threads,
            self.limits.open_files,
        ];
        for (place, number) in bytes[2..NAME_AT].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let name = &self.name.as_bytes()[..self.name.len().min(MAX_NAME_BYTES)];
        bytes[NAME_AT] = name.len() as u8;
        bytes[NAME_AT + 1..][..name.len()].copy_from_slice(name);
        bytes
    }

    /// Reads a task; `None` if the bytes are not exactly what [`Task::encode`] writes.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let number = |index: usize| {
            let at = 2 + 8 * index;
            bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok()
        };
        let name = bytes[NAME_AT + 1..].get(..usize::from(bytes[NAME_AT]))?;
        let task = Self {
            run: bytes[0] == 1,
            level: *SandboxLevel::ALL.get(usize::from(bytes[1]))?,
            limits: Limits {
                memory_bytes: number(0)?,
                cpu_seconds: number(1)?,
                wall_ms: number(2)?,
                threads: number(3)?,
                open_files: number(4)?,
            },
            name: String::from_utf8(name.to_vec()).ok()?,
        };
        (task.encode() == *bytes).then_some(task)
    }
}

const NAME_AT: usize = 2 + 5 * 8;

/// What a launcher, or the process that is about to become the worker, has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Confined at the level of the task.
    Ready,
    /// A step failed with this error number.
    Failed { stage: Stage, errno: i32 },
    /// The worker has ended.
    Ended(Exit),
}

impl Report {
    pub const BYTES: usize = 2 + 4 + 8 + 8;

    pub fn encode(&self) -> [u8; Self::BYTES] {
        let nothing = Exit { cause: ExitCause::Stopped, cpu_ms: 0, peak_memory_bytes: 0 };
        let (tag, detail, number, exit) = match *self {
            Self::Ready => (0, 0, 0, nothing),
            Self::Failed { stage, errno } => (1, stage as u8, errno, nothing),
            Self::Ended(exit) => {
                let (detail, number) = exit.cause.code();
                (2, detail, number, exit)
            }
        };
        let mut bytes = [0; Self::BYTES];
        bytes[0] = tag;
        bytes[1] = detail;
        bytes[2..6].copy_from_slice(&number.to_le_bytes());
        bytes[6..14].copy_from_slice(&exit.cpu_ms.to_le_bytes());
        bytes[14..].copy_from_slice(&exit.peak_memory_bytes.to_le_bytes());
        bytes
    }

    /// Reads a report; `None` if the bytes are not exactly what [`Report::encode`] writes.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let number = i32::from_le_bytes(bytes[2..6].try_into().ok()?);
        let report = match bytes[0] {
            0 => Self::Ready,
            1 => Self::Failed {
                stage: *Stage::ALL.iter().find(|stage| **stage as u8 == bytes[1])?,
                errno: number,
            },
            2 => Self::Ended(Exit {
                cause: ExitCause::from_code(bytes[1], number)?,
                cpu_ms: u64::from_le_bytes(bytes[6..14].try_into().ok()?),
                peak_memory_bytes: u64::from_le_bytes(bytes[14..].try_into().ok()?),
            }),
            _ => return None,
        };
        (report.encode() == *bytes).then_some(report)
    }
}

/// How a worker ended, and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Why it ended.
    pub cause: ExitCause,
    /// Processor time of all its threads, in user and kernel.
    pub cpu_ms: u64,
    /// The most memory that was resident at once.
    pub peak_memory_bytes: u64,
}

/// Why a worker ended. Only `Exited { code: 0 }` can be a success, and the output decides that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCause {
    /// It ended by itself.
    Exited {
        /// Its exit code, 0 to 255.
        code: i32,
    },
    /// A signal that nobody sent: a crash. An abort shows as a segmentation fault (11) in a pid
    /// namespace, whose first process is immune to `SIGABRT`; an allocation beyond
    /// [`Limits::memory_bytes`] is such an abort, too.
    Crashed {
        /// The signal.
        signal: i32,
    },
    /// It made a system call that a tightened engine has no use for (see
    /// [`worker::tighten`](crate::worker::tighten)), or one for another architecture.
    Forbidden,
    /// It used up [`Limits::cpu_seconds`].
    CpuLimit,
    /// It was still there after [`Limits::wall_ms`].
    Deadline,
    /// The guard ended it.
    Stopped,
    /// Something else killed it, which is how the kernel ends a process when the machine has no
    /// memory left.
    Killed,
    /// The launcher is gone, and the worker with it.
    Lost,
}

impl ExitCause {
    const fn code(self) -> (u8, i32) {
        match self {
            Self::Exited { code } => (0, code),
            Self::Crashed { signal } => (1, signal),
            Self::Forbidden => (2, 0),
            Self::CpuLimit => (3, 0),
            Self::Deadline => (4, 0),
            Self::Stopped => (5, 0),
            Self::Killed => (6, 0),
            Self::Lost => (7, 0),
        }
    }

    const fn from_code(detail: u8, number: i32) -> Option<Self> {
        Some(match detail {
            0 => Self::Exited { code: number },
            1 => Self::Crashed { signal: number },
            2 => Self::Forbidden,
            3 => Self::CpuLimit,
            4 => Self::Deadline,
            5 => Self::Stopped,
            6 => Self::Killed,
            7 => Self::Lost,
            _ => return None,
        })
    }
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Crashed { signal } => write!(f, "crashed with signal {signal}"),
            Self::Forbidden => f.write_str("made a forbidden system call"),
            Self::CpuLimit => f.write_str("used up its processor time"),
            Self::Deadline => f.write_str("missed its deadline"),
            Self::Stopped => f.write_str("was stopped by the guard"),
            Self::Killed => f.write_str("was killed from outside"),
            Self::Lost => f.write_str("was lost with its launcher"),
        }
    }
}

impl LogSafe for ExitCause {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tasks_come_back(
            run: bool,
            level in 0..SandboxLevel::ALL.len(),
            numbers: [u64; 5],
            name in "[!-~]{0,32}",
        ) {
            let [memory_bytes, cpu_seconds, wall_ms, threads, open_files] = numbers;
            let limits = Limits { memory_bytes, cpu_seconds, wall_ms, threads, open_files };
            let task = Task { run, level: SandboxLevel::ALL[level], limits, name };
            prop_assert_eq!(Task::decode(&task.encode()), Some(task));
        }

        #[test]
        fn only_canonical_tasks_are_read(bytes in prop::collection::vec(any::<u8>(), Task::BYTES)) {
            let bytes = bytes.try_into().expect("the right length");
            if let Some(task) = Task::decode(&bytes) {
                prop_assert_eq!(task.encode(), bytes);
            }
        }

        #[test]
        fn only_canonical_reports_are_read(tag in 0u8..4, rest: [u8; Report::BYTES]) {
            let mut bytes = rest;
            bytes[0] = tag;
            if let Some(report) = Report::decode(&bytes) {
                prop_assert_eq!(report.encode(), bytes);
            }
        }

        #[test]
        fn ends_come_back(detail in 0u8..8, cpu_ms: u64, peak_memory_bytes: u64) {
            let cause = ExitCause::from_code(detail, 0).expect("a cause");
            let report = Report::Ended(Exit { cause, cpu_ms, peak_memory_bytes });
            prop_assert_eq!(Report::decode(&report.encode()), Some(report));
        }
    }

    #[test]
    fn every_step_can_be_reported() {
        for stage in Stage::ALL {
            let report = Report::Failed { stage, errno: 13 };
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(&Report::Ready.encode()), Some(Report::Ready));
    }
}
