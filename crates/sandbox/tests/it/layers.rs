//! What each level adds: at the weaker level the attempt works, at the stronger it does not.

use crate::support::{HOSTILE_ENGINE, LIMITS, Outside, Test, ask, hostile};
use cordon_sandbox::{
    SandboxError, SandboxLevel, SealedEngine, Stage, WorkerSpec, probe, probe_level, start,
};
use std::net::TcpListener;
use std::process::Command;

pub fn tests() -> Vec<Test> {
    vec![
        ("the_filter_closes_network_processes_and_writing", filter),
        ("landlock_and_namespaces_each_close_the_file_system", files),
        ("namespaces_hide_the_processes", processes),
        ("probe_names_the_strongest_level_that_starts", strongest),
        ("the_level_is_what_the_kernel_offers", offered),
        ("what_is_no_program_does_not_start", no_program),
        ("bounds_are_checked_before_anything_runs", bounds),
    ]
}

/// The answer at a level, or nothing where this machine does not have the level.
fn at(level: SandboxLevel, attempt: &str) -> Option<String> {
    if let Err(error) = probe_level(level) {
        eprintln!("not to be had on this machine: {error}");
        return None;
    }
    let worker = hostile(level, LIMITS);
    assert_eq!(worker.level(), level);
    Some(ask(worker.socket(), attempt))
}

fn check(attempt: &str, answers: [&str; 5]) {
    for (level, expected) in SandboxLevel::ALL.into_iter().zip(answers) {
        if let Some(found) = at(level, attempt) {
            assert_eq!(found, expected, "`{attempt}` at level {level}");
        }
    }
}

fn filter() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let refused = "errno 1";
    for attempt in [&format!("tcp {address}"), "io_uring", "memfd", "overwrite /dev/null"] {
        check(attempt, ["allowed", refused, refused, refused, refused]);
    }
}

fn files() {
    check("read /etc/passwd", ["allowed", "allowed", "errno 13", "errno 2", "errno 2"]);
    check("read /proc/self/status", ["allowed", "allowed", "errno 13", "errno 2", "errno 2"]);
    // Without Landlock the folder opens, but the filter does not let it be listed.
    check("list /", [&listing(), "", "errno 13", "", "errno 13"]);
}

/// What the root of this machine holds, as any process sees it.
fn listing() -> String {
    Outside::run().ask("list /")
}

fn processes() {
    for level in [SandboxLevel::Namespaces, SandboxLevel::NamespacesLandlock] {
        if let Some(found) = at(level, "identity") {
            assert_eq!(found, "user 65533 process 1 parent 0");
        }
    }
    let found = at(SandboxLevel::Seccomp, "identity").expect("every machine has filters");
    assert!(!found.contains("process 1 "), "{found}");
    // Root's worker is not root at any level.
    assert!(!found.contains("user 0 "), "{found}");
}

fn strongest() {
    let best = probe().expect("a launcher");
    for level in SandboxLevel::ALL {
        match probe_level(level) {
            Ok(()) => assert!(level <= best, "{level} works, {best} was named"),
            Err(error) => assert!(level > best, "{level}: {error}"),
        }
    }
    assert_eq!(ask(hostile(best, LIMITS).socket(), "ping"), "allowed");
}

/// A layer that is there and not used would let all other tests of it pass: asked here without any
/// code of this crate.
fn offered() {
    let namespaces = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--ipc", "--uts", "--pid", "--fork", "true"])
        .status()
        .expect("util-linux")
        .success();
    let expected = match (namespaces, landlock_is_there()) {
        (true, true) => SandboxLevel::NamespacesLandlock,
        (true, false) => SandboxLevel::Namespaces,
        (false, true) => SandboxLevel::SeccompLandlock,
        (false, false) => SandboxLevel::Seccomp,
    };
    assert_eq!(probe().expect("a launcher"), expected);
}

#[expect(unsafe_code, reason = "nothing safe asks for the version of Landlock")]
fn landlock_is_there() -> bool {
    const VERSION: libc::c_ulong = 1;
    let (none, nothing) = (std::ptr::null::<libc::c_void>(), 0_usize);
    // SAFETY: with this flag the kernel reads no memory and gives a number.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, nothing, VERSION) > 0 }
}

fn no_program() {
    let engine = &SealedEngine::of(b"\x7fELF and nothing more").expect("it looks like one");
    let level = probe().expect("a launcher");
    let refused = start(&WorkerSpec { engine, name: "broken", limits: LIMITS, level });
    let Err(SandboxError::Refused { stage: Stage::Exec, source, .. }) = refused else {
        panic!("expected a refused exec");
    };
    assert_eq!(source.raw_os_error(), Some(libc::ENOEXEC));
    let script = SealedEngine::of(b"#!/bin/true").map(drop);
    assert!(matches!(script, Err(SandboxError::Engine { found_bytes: 11 })));
}

fn bounds() {
    let engine = &*HOSTILE_ENGINE;
    let level = SandboxLevel::Seccomp;
    let limits = cordon_sandbox::Limits { threads: 0, ..LIMITS };
    let refused = start(&WorkerSpec { engine, name: "x", limits, level });
    assert!(matches!(refused, Err(SandboxError::Limit { limit: "threads", .. })));
    let refused = start(&WorkerSpec { engine, name: "two words", limits: LIMITS, level });
    assert!(matches!(refused, Err(SandboxError::Name)));
}
