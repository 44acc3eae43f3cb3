//! Starts one confined worker.
//!
//! The guard holds the bytes of an engine, whose digest it has checked, and wants them to run
//! where they can compute and nothing else: one socket to the guard, no network, no files, no
//! other process, no way to start one, bounded memory, time and threads. [`start`] does that;
//! [`probe`] says beforehand how much of it this kernel grants, so that the guard can put the
//! [`SandboxLevel`] into its evidence and the holders can decide.
//!
//! What this crate must never do: run other bytes than it was given, run them at another level
//! than the one named in the evidence, or leave a process behind.
//!
//! # How a worker starts
//! The guard runs *its own program* once more (`/proc/self/exe`) with a hidden argument: the
//! launcher. A fork of the guard would be one process fewer, but for a moment it would be a
//! second copy of all keys, and code that builds a sandbox would run in it. The launcher has
//! an empty memory, is alone in its process, and is measured with the guard.
//!
//! ```text
//! guard ── control, socket, engine (sealed memfd) ──> launcher ── clone(new namespaces) ──> worker
//!   ^                                                    │ waits: deadline, end, guard gone    │
//!   └──────────────── one socket pair ───────────────────┼─────────────────────────────────────┘
//!                                                        └─ kills the worker with its whole pid namespace
//! ```
//! The worker waits for its user mapping, then takes these steps in this order, and any that
//! fails is an error with its [`Stage`]: session, identity, mounts, privileges, landlock,
//! limits, seccomp, exec of the sealed bytes.
//!
//! # Example
//! ```standalone_crate
//! use cordon_sandbox::{
//!     ExitCause, Limits, SealedEngine, WorkerSpec, launcher, probe, start, worker,
//! };
//! use std::io::{Read, Write};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     launcher::run_if_asked(); // first in `main` of every program that starts workers
//!     if std::env::args().next().as_deref() == Some("engine") {
//!         worker::tighten()?; // first in `main` of every engine
//!         worker::socket()?.write_all(b"42")?;
//!         return Ok(());
//!     }
//!     let mut worker = start(&WorkerSpec {
//!         engine: &SealedEngine::of(&std::fs::read("/proc/self/exe")?)?,
//!         name: "engine",
//!         level: probe()?,
//!         limits: Limits {
//!             memory_bytes: 256 << 20,
//!             cpu_seconds: 10,
//!             wall_ms: 20_000,
//!             threads: 4,
//!             open_files: 16,
//!         },
//!     })?;
//!     let mut answer = String::new();
//!     worker.socket().read_to_string(&mut answer)?;
//!     assert_eq!(answer, "42");
//!     assert_eq!(worker.wait().cause, ExitCause::Exited { code: 0 });
//!     Ok(())
//! }
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "the launcher writes user mappings and reads the loader"
)]

mod confine;
mod engine;
mod filesystem;
mod filter;
pub mod launcher;
mod level;
pub mod memory;
mod spec;
mod start;
mod sys;
mod wire;
pub mod worker;

pub use engine::{EngineWriter, MAX_ENGINE_BYTES, SealedEngine};
pub use level::{SandboxLevel, UnknownLevel};
pub use spec::{Limits, MAX_NAME_BYTES, SandboxError, Stage, WorkerSpec};
pub use start::{Worker, probe, probe_level, start};
pub use wire::{Exit, ExitCause};
