//! The command line: what can be typed, and which command does it.
//!
//! Commands read files and arguments, call `ops`, and print. Exit codes are in `failure`.

mod audit;
mod broker;
mod dataset;
mod evidence;
mod host;
mod hub;
mod init;
mod key_process;

mod party;
mod people;
mod results;
mod run;
mod service;
mod study;
mod synth;
mod values;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use service::shutdown;

use crate::demo;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// Confidential computing for clinical data: analyse what you may never see.
#[derive(Parser, Debug)]
#[command(
    name = "cordon",
    version,
    disable_help_subcommand = true,
    after_help = "Example:\n  cordon demo --out demo-out\n\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 verification failed."
)]
struct CommandLine {
    /// Answer in JSON on standard output.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The whole of a study on this machine, and the attacks that are refused.
    #[command(after_help = "Example:\n  cordon demo --out demo-out --patients 3000")]
    Demo(demo::DemoArguments),
    /// Make keys: a person's, or a data holder's with its broker.
    #[command(subcommand, after_help = init::EXAMPLE)]
    Init(init::Command),
    /// Show and enrol cards of organisations and persons.
    #[command(subcommand, after_help = party::EXAMPLE)]
    Party(party::Command),
    /// Run a data holder's broker.
    #[command(after_help = broker::EXAMPLE)]
    Broker(broker::Arguments),
    /// Hold a broker's keys; started by the broker.
    #[command(hide = true, after_help = key_process::EXAMPLE)]
    KeyProcess(key_process::Arguments),
    /// Run a hub: ciphertext, signed documents, mailboxes, the run queue.
    #[command(after_help = hub::EXAMPLE)]
    Hub(hub::Arguments),
    /// Run a host: claims runs and starts a guard for each.
    #[command(after_help = host::EXAMPLE)]
    Host(host::Arguments),
    /// Make synthetic patients with known truths to find.
    #[command(after_help = synth::EXAMPLE)]
    Synth(synth::Arguments),
    /// Run a SQL on FHIR view over your own clear records.
    #[command(subcommand, after_help = view::EXAMPLE)]
    View(view::Command),
    /// Seal, publish and inspect datasets.
    #[command(subcommand, after_help = dataset::EXAMPLE)]
    Dataset(dataset::Command),
    /// Propose studies, and decide about them.
    #[command(subcommand, after_help = study::EXAMPLE)]
    Study(study::Command),
    /// Start and watch runs, review and open their outputs.
    #[command(subcommand, after_help = run::EXAMPLE)]
    Run(run::Command),
    /// Look at the evidence of a TEE.
    #[command(subcommand, after_help = evidence::EXAMPLE)]
    Evidence(evidence::Command),
    /// Verify logs and proofs without trusting anybody.
    #[command(subcommand, after_help = audit::EXAMPLE)]
    Audit(audit::Command),
}

/// Parses the command line, does what it says, and tells how that ended.
pub fn run() -> ExitCode {
    // The parser ends the process with code 2 where the usage is wrong.
    let CommandLine { json, command } = CommandLine::parse();
    let output = Output::new(json);
    match dispatch(command, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(command: Command, output: Output) -> Outcome {
    match command {
        Command::Demo(arguments) => demo::run(&arguments, output),
        Command::Init(command) => init::run(command, output),
        Command::Party(command) => party::run(command, output),
        Command::Broker(arguments) => broker::run(arguments, output),
        Command::KeyProcess(arguments) => key_process::run(&arguments),
        Command::Hub(arguments) => hub::run(arguments, output),
        Command::Host(arguments) => host::run(arguments, output),
        Command::Synth(arguments) => synth::run(&arguments, output),
        Command::View(command) => view::run(command, output),
        Command::Dataset(command) => dataset::run(command, output),
        Command::Evidence(command) => evidence::run(command, output),
        Command::Study(command) => study::run(command, output),
        Command::Run(command) => run::run(command, output),
        Command::Audit(command) => audit::run(command, output),
    }
}

/// Runs the part of a command that waits for others.
pub fn wait_for<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::from(anyhow::Error::new(error).context("cannot start the asynchronous runtime"))
    })?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_page_of_help_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("cordon "), "{path}: no example");
            assert!(command.get_about().is_some(), "{path}: says not what it does");
            command.get_subcommands().for_each(|sub| check(sub, &path));
        }
        check(&CommandLine::command(), "");
    }
}
