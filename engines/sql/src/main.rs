//! The SQL worker: one confined query over sealed tables.

use std::process::ExitCode;

/// For people who start it by hand.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some() {
        eprintln!("cordon-engine-sql is a worker: a guard starts it, without arguments");
        return ExitCode::from(USAGE);
    }
    // First, before any thread: from here on this process opens no file and starts nothing.
    let Ok(_) = cordon_sandbox::worker::tighten() else { return ExitCode::FAILURE };
    // A panic message can hold a value from a record. Nothing is printed; the guard gets a code.
    std::panic::set_hook(Box::new(|_| {}));
    let Ok(guard) = cordon_sandbox::worker::socket() else { return ExitCode::FAILURE };
    match cordon_engine_sql::serve(guard) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
