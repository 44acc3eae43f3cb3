//! What a tightened engine may still do, and what ends it at once.

use crate::support::{BEST, LIMITS, Test, ask, hostile};
use cordon_sandbox::{ExitCause, SandboxLevel, Worker};

pub fn tests() -> Vec<Test> {
    vec![
        ("a_call_that_no_honest_engine_makes_ends_it", deadly_calls),
        ("a_tightened_engine_opens_no_file_and_makes_no_code", no_files_no_code),
        ("a_tightened_engine_cannot_be_tightened_again", once),
    ]
}

fn tightened(level: SandboxLevel) -> Worker {
    let worker = hostile(level, LIMITS);
    assert_eq!(ask(worker.socket(), "tighten"), "allowed");
    worker
}

/// The kernel alone never answers with this end: it is the filter that refuses each of these,
/// on machines, too, that would refuse them anyway.
fn deadly_calls() {
    let calls = [
        "memfd",
        "tcp 127.0.0.1:1",
        "udp 127.0.0.1:1",
        "unix /x",
        "abstract x",
        "socketpair",
        "netlink",
        "vsock",
        "ptrace 1",
        "peek 1 1",
        "kill 1",
        "kill -1",
        "fork",
        "exec /bin/true",
        "execveat /bin/true",
        "unshare",
        "mount",
        "fsopen",
        "chroot",
        "io_uring",
        "keyctl",
        "add_key",
        "bpf",
        "userfaultfd",
        "perf",
        "personality",
    ];
    for attempt in calls {
        let mut worker = tightened(*BEST);
        assert_eq!(ask(worker.socket(), attempt), "", "`{attempt}` was survived");
        assert_eq!(worker.wait().cause, ExitCause::Forbidden, "`{attempt}`");
    }
}

fn no_files_no_code() {
    let loader = if cfg!(target_arch = "x86_64") {
        "read /lib64/ld-linux-x86-64.so.2"
    } else {
        "read /lib/ld-linux-aarch64.so.1"
    };
    let worker = hostile(*BEST, LIMITS);
    for attempt in [loader, "code"] {
        assert_eq!(ask(worker.socket(), attempt), "allowed", "`{attempt}` before");
    }
    assert_eq!(ask(worker.socket(), "tighten"), "allowed");
    for attempt in [loader, "code"] {
        assert_eq!(ask(worker.socket(), attempt), "errno 1", "`{attempt}` after");
    }
    assert_eq!(ask(worker.socket(), "clone3"), "errno 38");
    assert_eq!(ask(worker.socket(), "threads 3"), "3 allowed");
}

fn once() {
    let worker = tightened(*BEST);
    assert_eq!(ask(worker.socket(), "tighten"), "errno -1"); // an error of ours, no number
}
