//! A guard that talks to the hostile engine.

use cordon_sandbox::{Limits, SandboxLevel, SealedEngine, Worker, WorkerSpec, probe, start};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::time::Duration;

pub type Test = (&'static str, fn());

pub const HOSTILE: &str = env!("CARGO_BIN_EXE_cordon-hostile-engine");

pub static HOSTILE_BYTES: LazyLock<Vec<u8>> =
    LazyLock::new(|| fs::read(HOSTILE).expect("the hostile engine is built with the tests"));

/// The best this machine grants.
pub static BEST: LazyLock<SandboxLevel> = LazyLock::new(|| {
    let level = probe().expect("a launcher");
    eprintln!("sandbox level of this machine: {level}");
    level
});

/// Sealed once: it starts many times.
pub static HOSTILE_ENGINE: LazyLock<SealedEngine> =
    LazyLock::new(|| SealedEngine::of(&HOSTILE_BYTES).expect("an engine"));

pub const LIMITS: Limits = Limits {
    memory_bytes: 256 << 20,
    cpu_seconds: 30,
    wall_ms: 60_000,
    threads: 8,
    open_files: 16,
};

pub fn hostile(level: SandboxLevel, limits: Limits) -> Worker {
    start(&WorkerSpec { engine: &HOSTILE_ENGINE, name: "hostile", limits, level })
        .expect("a worker")
}

/// Sends one attempt and returns the answer; empty if the worker has ended instead.
pub fn ask(mut socket: &UnixStream, attempt: &str) -> String {
    if writeln!(socket, "{attempt}").is_err() {
        return String::new();
    }
    let mut answer = String::new();
    // A reader per answer is right: the engine says nothing unasked.
    let _ = BufReader::new(socket).read_line(&mut answer);
    answer.trim_end().to_owned()
}

/// The hostile engine as an ordinary process.
pub struct Outside {
    socket: UnixStream,
    process: Child,
}

impl Outside {
    pub fn run() -> Self {
        let (socket, theirs) = UnixStream::pair().expect("a pair");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut command = Command::new(HOSTILE);
        let process = command.arg("outside").stdin(OwnedFd::from(theirs)).spawn();
        Self { socket, process: process.expect("a process") }
    }

    pub fn ask(&self, attempt: &str) -> String {
        ask(&self.socket, attempt)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
