//! Repository tasks. `cargo xtask test` and `cargo xtask demo` are all that a newcomer needs.
#![expect(clippy::disallowed_methods, reason = "a program of the repository")]

mod bench;
mod demo;
mod install;
mod test;
mod tools;
mod torture;

use clap::{Parser, Subcommand};

/// Repository tasks of Cordon.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, lints, and every test with the real components; installs what is missing.
    Test(test::TestArguments),
    /// Builds what the demo needs and runs it: three hospitals, one study, and the attacks.
    Demo(demo::DemoArguments),
    /// Measures, against a peer in the same run, and says whether the target is met.
    Bench(bench::BenchArguments),
    /// Long campaigns of which the test suite runs a short form.
    Torture(torture::TortureArguments),
    /// Writes the guard's dependency list, which a test compares (`apps/enclave/TCB.lock`).
    Tcb,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Test(arguments) => test::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Torture(arguments) => torture::run(&arguments),
        Task::Tcb => {
            let list = tools::guard_dependencies()?;
            std::fs::write(tools::root().join("apps/enclave/TCB.lock"), list)?;
            Ok(())
        }
    }
}
