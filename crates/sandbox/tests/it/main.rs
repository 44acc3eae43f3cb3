//! Real workers in real sandboxes. This program is its own guard, its own launcher and, where
//! an honest engine is wanted, the engine; the attacker is `cordon-hostile-engine`.
#![expect(clippy::disallowed_methods, reason = "tests read engines and clocks")]

mod honest;
mod layers;
mod limits;
mod refusals;
mod support;
mod tightened;
mod user;

use libtest_mimic::{Arguments, Trial};
use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    cordon_sandbox::launcher::run_if_asked();
    if env::args().next().as_deref() == Some(honest::NAME) {
        return honest::run();
    }
    match env::args().nth(1).as_deref() {
        Some(user::GUARD) => return user::guard(),
        Some(limits::DOOMED_GUARD) => return limits::doomed_guard(),
        _ => {}
    }
    let arguments = Arguments::from_args();
    let tests = [
        refusals::tests(),
        tightened::tests(),
        layers::tests(),
        limits::tests(),
        honest::tests(),
        user::tests(),
    ];
    let trials = tests.into_iter().flatten().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
