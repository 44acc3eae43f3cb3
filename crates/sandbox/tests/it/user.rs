//! A guard that is an ordinary user confines as well as root does.

use crate::support::{LIMITS, Test, ask};
use cordon_sandbox::{ExitCause, Limits, SandboxLevel, SealedEngine, WorkerSpec, probe, start};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

pub fn tests() -> Vec<Test> {
    vec![("an_ordinary_user_gets_a_confined_worker", ordinary_user)]
}

pub const GUARD: &str = "ordinary-guard";

/// A guard; the engine comes on standard input, since this user may not read the folder.
pub fn guard() -> ExitCode {
    let mut engine = Vec::new();
    io::stdin().read_to_end(&mut engine).expect("an engine");
    let engine = SealedEngine::of(&engine).expect("an engine");
    let level = probe().expect("a launcher");
    let limits = Limits { threads: 4, ..LIMITS };
    let spec = WorkerSpec { engine: &engine, name: "hostile", limits, level };
    let mut worker = start(&spec).expect("a worker");
    println!("level {level}");
    for attempt in [
        "identity",
        "environment",
        "descriptors",
        "read /etc/passwd",
        "tcp 127.0.0.1:1",
        "threads 9",
    ] {
        println!("{attempt}: {}", ask(worker.socket(), attempt));
    }
    assert_eq!(worker.kill().cause, ExitCause::Stopped);
    ExitCode::SUCCESS
}

fn ordinary_user() {
    const NOBODY: u32 = 65_534;
    let engine = File::open(crate::support::HOSTILE).expect("the hostile engine");
    let mut command = Command::new("/proc/self/exe");
    command.arg(GUARD).stdin(engine);
    if Command::new("id").arg("-u").output().expect("id").stdout == b"0\n" {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().expect("a guard");
    let found = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{found}{}", String::from_utf8_lossy(&output.stderr));
    let (level, answers) = found.split_once('\n').expect("a level");
    let level: SandboxLevel = level.trim_start_matches("level ").parse().expect("a level");
    if level < SandboxLevel::NamespacesLandlock {
        eprintln!("an ordinary user gets level {level} on this machine");
        return;
    }
    assert_eq!(
        answers,
        "identity: user 65533 process 1 parent 0\n\
         environment: 0\n\
         descriptors: 0 1 2 3\n\
         read /etc/passwd: errno 2\n\
         tcp 127.0.0.1:1: errno 1\n\
         threads 9: 3 errno 11\n"
    );
}
