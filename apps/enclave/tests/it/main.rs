//! The real guard in the development TEE, between a host that this program plays and three
//! brokers with real keys, logs, witnesses and boxes. The engine is this program too.
#![expect(clippy::disallowed_methods, reason = "tests read the programs that they start")]

mod brokers;
mod engine;
#[path = "../fixture/mod.rs"]
mod fixture;
mod grants;
mod honest;
mod host;
mod leases;
mod order;
mod worker;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

/// A named test.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    if std::env::args().next().as_deref() == Some(engine::NAME) {
        return engine::run();
    }
    let tests =
        [honest::tests(), order::tests(), grants::tests(), leases::tests(), worker::tests()];
    let trials = tests.into_iter().flatten().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
