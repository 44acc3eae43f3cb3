//! `cordon-enclave`: the guard of one run. It takes no arguments: its host is standard input.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::{self, ExitCode};

use cordon_attester::probe;
use cordon_crypto::SystemRandom;
use cordon_enclave::{Ended, run};
use cordon_sandbox::{launcher, memory};

/// For people who start it by hand.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // 1. This program is also the launcher of its workers.
    launcher::run_if_asked();

    if std::env::args_os().nth(1).is_some() {
        eprintln!("cordon-enclave is the guard of one run: a host starts it, without arguments");
        return ExitCode::from(USAGE);
    }

    // 2. A panic says nothing, and nothing goes on after it: its message might be made of data.
    std::panic::set_hook(Box::new(|_| process::abort()));

    // 3. No core dump, no tracing, no swap. Where memory cannot be locked, a confidential machine
    //    has no swap to begin with, and a development machine protects nothing anyway.
    let Ok(memory::Locked::Everything | memory::Locked::Nothing) = memory::protect() else {
        return ExitCode::FAILURE;
    };

    // 4. One connection, one run.
    let Ok(host) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    let mut attester = probe().ok();
    let attester = attester.as_mut().map(|attester| attester.as_mut() as _);
    match run(host, attester, &mut SystemRandom::new()) {
        Ended::Sealed => ExitCode::SUCCESS,
        Ended::Failed => ExitCode::FAILURE,
    }
}
