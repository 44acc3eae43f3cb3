//! Too much of anything ends, and nothing outlives its guard.

use crate::support::{BEST, HOSTILE_ENGINE, LIMITS, Outside, Test, ask, hostile};
use cordon_sandbox::{ExitCause, Limits, SandboxLevel, WorkerSpec, start};
use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{fs, process, thread};

pub fn tests() -> Vec<Test> {
    vec![
        ("memory_beyond_the_limit_is_refused", memory),
        ("an_engine_that_takes_all_memory_crashes_alone", hog),
        ("threads_beyond_the_limit_are_refused", threads),
        ("descriptors_beyond_the_limit_are_refused", files),
        ("a_worker_out_of_processor_time_is_killed", processor_time),
        ("a_worker_beyond_its_deadline_is_killed", deadline),
        ("a_flood_of_output_stops_at_the_socket", flood),
        ("exit_codes_and_crashes_are_told_apart", ends),
        ("a_worker_dies_with_its_guard", guard_dies),
        ("a_worker_dies_with_its_launcher", launcher_dies),
        ("a_dropped_worker_leaves_nothing", dropped),
    ]
}

fn memory() {
    let limits = Limits { memory_bytes: 64 << 20, ..LIMITS };
    let inside = hostile(*BEST, limits);
    assert_eq!(ask(inside.socket(), "memory 33554432"), "allowed");
    assert_eq!(ask(inside.socket(), "memory 134217728"), "errno 12");
    assert_eq!(Outside::run().ask("memory 134217728"), "allowed");
}

fn hog() {
    let limits = Limits { memory_bytes: 64 << 20, ..LIMITS };
    let mut inside = hostile(*BEST, limits);
    assert_eq!(ask(inside.socket(), "hog"), "");
    let exit = inside.wait();
    assert!(matches!(exit.cause, ExitCause::Crashed { .. }), "{exit:?}");
    assert!(exit.peak_memory_bytes > 32 << 20, "{exit:?}");
    assert!(exit.peak_memory_bytes < 96 << 20, "{exit:?}");
}

fn threads() {
    let wanted = "threads 40";
    assert_eq!(Outside::run().ask(wanted), "40 allowed");
    let limited = *BEST >= SandboxLevel::Namespaces;
    if !limited {
        eprintln!("threads are not limited at level {}", *BEST);
        return;
    }
    let inside = hostile(*BEST, Limits { threads: 8, ..LIMITS });
    assert_eq!(ask(inside.socket(), wanted), "7 errno 11"); // and the first one
}

fn files() {
    let wanted = "files 40";
    assert_eq!(Outside::run().ask(wanted), "40 allowed");
    let inside = hostile(*BEST, Limits { open_files: 12, ..LIMITS });
    assert_eq!(ask(inside.socket(), wanted), "8 errno 24"); // and the four that it was born with
}

fn processor_time() {
    let mut inside = hostile(*BEST, Limits { cpu_seconds: 1, ..LIMITS });
    assert_eq!(ask(inside.socket(), "spin"), "");
    let exit = inside.wait();
    assert_eq!(exit.cause, ExitCause::CpuLimit);
    assert!((1_000..2_000).contains(&exit.cpu_ms), "{exit:?}");
}

fn deadline() {
    let mut inside = hostile(*BEST, Limits { wall_ms: 400, ..LIMITS });
    let begin = Instant::now();
    assert_eq!(ask(inside.socket(), "sleep"), "");
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(inside.wait().cause, ExitCause::Deadline);
    assert_eq!(inside.remaining(), Duration::ZERO);
}

fn flood() {
    let mut inside = hostile(*BEST, LIMITS);
    writeln!(inside.socket(), "flood").expect("a listening worker");
    let mut first = vec![0; 1 << 20];
    inside.socket().read_exact(&mut first).expect("a flood");
    // Nobody reads on: the worker waits, and ends when told to.
    let exit = inside.kill();
    assert_eq!(exit.cause, ExitCause::Stopped);
    assert!(exit.peak_memory_bytes < 64 << 20, "{exit:?}");
    let mut rest = Vec::new();
    inside.socket().take(64 << 20).read_to_end(&mut rest).expect("the rest");
    assert!(rest.len() < 8 << 20, "{} bytes were on their way", rest.len());
}

fn ends() {
    let mut inside = hostile(*BEST, LIMITS);
    ask(inside.socket(), "exit 7");
    assert_eq!(inside.wait().cause, ExitCause::Exited { code: 7 });
    assert_eq!(inside.kill().cause, ExitCause::Exited { code: 7 }, "an end is final");
    let mut inside = hostile(*BEST, LIMITS);
    ask(inside.socket(), "abort");
    assert!(matches!(inside.wait().cause, ExitCause::Crashed { .. }));
}

pub const DOOMED_GUARD: &str = "doomed-guard";

/// A guard that starts a worker, says so, and waits to be killed.
pub fn doomed_guard() -> ExitCode {
    let name = std::env::args().nth(2).expect("the name of the worker");
    let engine = &*HOSTILE_ENGINE;
    let worker = start(&WorkerSpec { engine, name: &name, limits: LIMITS, level: *BEST });
    let worker = worker.expect("a worker");
    println!("{}", ask(worker.socket(), "ping"));
    ask(worker.socket(), "sleep");
    ExitCode::FAILURE
}

fn guard_dies() {
    let name = format!("orphan-{}", process::id());
    let mut guard = Command::new("/proc/self/exe")
        .args([DOOMED_GUARD, &name])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a guard");
    let mut line = [0; 8];
    guard.stdout.take().expect("a pipe").read_exact(&mut line).expect("a running worker");
    assert_eq!(processes(&name).len(), 1);
    guard.kill().expect("a guard to kill");
    guard.wait().expect("its end");
    gone(&name);
}

fn launcher_dies() {
    let name = format!("follower-{}", process::id());
    let engine = &*HOSTILE_ENGINE;
    let spec = WorkerSpec { engine, name: &name, limits: LIMITS, level: *BEST };
    let mut worker = start(&spec).expect("a worker");
    let found = processes(&name);
    let [worker_id] = found[..] else { panic!("one worker, found {found:?}") };
    let status = fs::read_to_string(format!("/proc/{worker_id}/status")).expect("a process");
    let launcher = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    let killed = Command::new("sh").args(["-c", &format!("kill -9 {launcher}")]).status();
    assert!(killed.expect("a shell").success());
    assert_eq!(worker.wait().cause, ExitCause::Lost);
    gone(&name);
}

fn dropped() {
    let name = format!("dropped-{}", process::id());
    let engine = &*HOSTILE_ENGINE;
    let spec = WorkerSpec { engine, name: &name, limits: LIMITS, level: *BEST };
    let worker = start(&spec).expect("a worker");
    assert_eq!(ask(worker.socket(), "ping"), "allowed");
    assert_eq!(processes(&name).len(), 1);
    drop(worker);
    assert_eq!(processes(&name), [0; 0], "at once, not some time later");
}

/// The processes whose first argument is this.
fn processes(name: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("processes").flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).next() == Some(name.as_bytes())
    };
    ids.filter(named).collect()
}

/// Waits until the kernel has ended them.
fn gone(name: &str) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !processes(name).is_empty() {
        assert!(Instant::now() < patience, "`{name}` lives on");
        thread::yield_now();
    }
}
