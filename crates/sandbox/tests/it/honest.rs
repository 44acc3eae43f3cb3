//! Honest engines work: threads, memory, clocks, randomness, tokio.

use crate::support::{BEST, LIMITS, Test};
use cordon_sandbox::{ExitCause, Limits, SealedEngine, WorkerSpec, start, worker};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, thread};

pub fn tests() -> Vec<Test> {
    vec![
        ("an_honest_engine_with_threads_and_tokio_works", works),
        ("a_worker_is_running_within_the_agreed_time", overhead),
    ]
}

pub const NAME: &str = "honest-engine";

/// The engine: this program, under another name.
pub fn run() -> ExitCode {
    if worker::tighten().is_err() {
        return ExitCode::from(10);
    }
    let Ok(mut socket) = worker::socket() else { return ExitCode::from(11) };
    let answer = compute();
    match socket.write_all(answer.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(12),
    }
}

fn compute() -> String {
    // Reads /proc and cgroup files where it may, and must do without.
    let processors = thread::available_parallelism().expect("processors");
    assert!(processors.get() >= 1);
    let begin = Instant::now();
    let parts: Vec<_> = (0..4u64)
        .map(|part| {
            thread::spawn(move || {
                // Random keys, much memory, many frees.
                let mut counts = HashMap::new();
                for number in 0..200_000u64 {
                    *counts.entry(number % 1_000 + part).or_insert(0u64) += number;
                }
                let big = vec![1u8; 16 << 20];
                counts.values().sum::<u64>() + big.iter().map(|byte| u64::from(*byte)).sum::<u64>()
            })
        })
        .collect();
    let sum: u64 = parts.into_iter().map(|part| part.join().expect("a thread")).sum();
    assert!(begin.elapsed() > Duration::ZERO);
    let caught = std::panic::catch_unwind(|| panic!("unwinding works, too"));
    assert!(caught.is_err());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_time()
        .build()
        .expect("a runtime");
    let joined = runtime.block_on(async {
        let tasks: Vec<_> = (0..100u64)
            .map(|number| {
                tokio::spawn(async move {
                    tokio::time::timeout(Duration::from_secs(10), async {
                        tokio::task::yield_now().await;
                        tokio::task::spawn_blocking(move || number).await.expect("a task")
                    })
                    .await
                    .expect("in time")
                })
            })
            .collect();
        let mut joined = 0;
        for task in tasks {
            joined += task.await.expect("a task");
        }
        joined
    });
    format!("{sum} {joined}")
}

fn works() {
    let engine = fs::read("/proc/self/exe").expect("this program");
    let engine = SealedEngine::of(&engine).expect("an engine");
    let limits = Limits { memory_bytes: 1 << 30, threads: 128, ..LIMITS };
    let mut worker =
        start(&WorkerSpec { engine: &engine, name: NAME, limits, level: *BEST }).expect("a worker");
    let mut answer = String::new();
    worker.socket().read_to_string(&mut answer).expect("an answer");
    let exit = worker.wait();
    assert_eq!(exit.cause, ExitCause::Exited { code: 0 });
    assert_eq!(answer, compute());
    assert!(exit.cpu_ms > 0 && exit.peak_memory_bytes > 16 << 20, "{exit:?}");
}

/// A tripwire, far above what it takes (see the report it prints): DESIGN §14 allows 150 ms
/// for guard, sandbox and grant together.
fn overhead() {
    let mut times: Vec<_> = (0..11)
        .map(|_| {
            let begin = Instant::now();
            let worker = crate::support::hostile(*BEST, LIMITS);
            assert_eq!(crate::support::ask(worker.socket(), "ping"), "allowed");
            begin.elapsed()
        })
        .collect();
    times.sort();
    eprintln!("start to first answer: median {:?}, slowest {:?}", times[5], times[10]);
    assert!(times[0] < Duration::from_millis(150), "{times:?}");
}
