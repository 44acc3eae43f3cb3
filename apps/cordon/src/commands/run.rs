//! `cordon run`: start, watch, review, open.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use cordon_crypto::SystemRandom;
use cordon_crypto::dsse::Signed;
use cordon_hub::api::RunStatus;
use cordon_hub::client::Client;
use cordon_protocol::decision::Verdict;
use cordon_protocol::release::{Outcome as RunOutcome, ResultDocument};
use cordon_protocol::run::ParameterValue;
use cordon_protocol::{Agreement, Refusal, RunId};
use cordon_types::{ParameterName, Sha256Digest};
use serde_json::json;

use super::people::{AtBroker, Hub};
use super::{results, values, wait_for};
use crate::clock::now;
use crate::failure::{Failure, Outcome};
use crate::ops::review::NothingToReview;
use crate::ops::{result, review, run, words};
use crate::output::{Output, table};
use crate::person::PersonKeys;

pub const EXAMPLE: &str = "Example:\n  cordon run watch sha256:3d… --hub https://hub.example";

/// Sealed results are small; DESIGN §10 bounds what an agreement may allow.
const MAX_SEALED_BYTES: u64 = 32 * 1024 * 1024;

/// What is done with a run.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Sign a run request and queue it.
    #[command(after_help = "Example:\n  \
        cordon run start --agreement sha256:1f… --hub https://hub.example --as researcher.key --wait")]
    Start(StartArguments),
    /// List the runs at your broker.
    #[command(after_help = "Example:\n  \
        cordon run list --broker http://127.0.0.1:8701 --as reviewer.key")]
    List(AtBroker),
    /// Watch a run until it ends.
    #[command(after_help = EXAMPLE)]
    Watch(WatchArguments),
    /// Look at outputs.
    #[command(
        subcommand,
        after_help = "Example:\n  \
        cordon run output open sha256:3d… --hub https://hub.example --as researcher.key"
    )]
    Output(OutputCommand),
}

/// What is done with an output.
#[derive(Subcommand, Debug)]
pub enum OutputCommand {
    /// Show where the output of a run stands at your broker.
    #[command(after_help = "Example:\n  \
        cordon run output show sha256:3d… --broker http://127.0.0.1:8701 --as dpo.key")]
    Show(ShowArguments),
    /// Read your review copy and decide.
    #[command(after_help = "Example:\n  \
        cordon run output review sha256:3d… --broker http://127.0.0.1:8701 --as reviewer.key \\\n    \
        --verdict approve")]
    Review(ReviewArguments),
    /// Join the shares of all holders and open the result.
    #[command(after_help = "Example:\n  \
        cordon run output open sha256:3d… --hub https://hub.example --as researcher.key")]
    Open(OpenArguments),
}

/// What is to run.
#[derive(Args, Debug)]
pub struct StartArguments {
    /// The agreement's digest.
    #[arg(long, value_name = "DIGEST")]
    agreement: Sha256Digest,
    #[command(flatten)]
    hub: Hub,
    /// Whose keys sign: the agreement's requester.
    #[arg(long = "as", value_name = "PERSON.KEY")]
    person: PathBuf,
    /// A parameter's value; one that has just one agreed value may be left out.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = values::pair)]
    parameters: Vec<(String, String)>,
    /// Wait until it has ended.
    #[arg(long)]
    wait: bool,
}

/// Which run.
#[derive(Args, Debug)]
pub struct WatchArguments {
    /// The run.
    #[arg(value_name = "RUN", value_parser = values::run_id)]
    run: RunId,
    #[command(flatten)]
    hub: Hub,
}

/// Which run, at which broker.
#[derive(Args, Debug)]
pub struct ShowArguments {
    /// The run.
    #[arg(value_name = "RUN", value_parser = values::run_id)]
    run: RunId,
    #[command(flatten)]
    at: AtBroker,
}

/// A review.
#[derive(Args, Debug)]
pub struct ReviewArguments {
    /// The run.
    #[arg(value_name = "RUN", value_parser = values::run_id)]
    run: RunId,
    #[command(flatten)]
    at: AtBroker,
    /// The decision; without one the output is only shown.
    #[arg(long, value_enum)]
    verdict: Option<VerdictArgument>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VerdictArgument {
    /// It may be cleared.
    Approve,
    /// It is withheld for good.
    Reject,
}

/// Which result.
#[derive(Args, Debug)]
pub struct OpenArguments {
    /// The run.
    #[arg(value_name = "RUN", value_parser = values::run_id)]
    run: RunId,
    #[command(flatten)]
    hub: Hub,
    /// Whose keys open: a recipient of the agreement.
    #[arg(long = "as", value_name = "PERSON.KEY")]
    person: PathBuf,
    /// Seconds to wait for the releases of all holders.
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    within: u64,
    /// Print CSV.
    #[arg(long)]
    csv: bool,
}

/// Does it.
pub fn run(command: Command, output: Output) -> Outcome {
    wait_for(async move {
        match command {
            Command::Start(arguments) => start(arguments, output).await,
            Command::List(at) => list(&at, output).await,
            Command::Watch(arguments) => watch(arguments, output).await,
            Command::Output(OutputCommand::Show(arguments)) => show(arguments, output).await,
            Command::Output(OutputCommand::Review(arguments)) => decide(arguments, output).await,
            Command::Output(OutputCommand::Open(arguments)) => open(arguments, output).await,
        }
    })
}

async fn start(arguments: StartArguments, output: Output) -> Outcome {
    let person = PersonKeys::load(&arguments.person)?;
    let hub = arguments.hub.connect(&person).await?;
    let agreement = run::agreement(&hub, arguments.agreement).await?;
    let given = parameters(agreement.value(), &arguments.parameters)?;
    let request = run::request(&agreement, &given, &person, now(), &mut SystemRandom::new())
        .map_err(Failure::refused)?;
    hub.put_document(request.envelope()).await?;
    hub.submit_run(&request).await?;
    let run = RunId(request.digest());
    if arguments.wait {
        output.note(&format!("run {run}"));
        return follow(&hub, run, output).await;
    }
    output.show(&json!({ "run": run }), || run.to_string())
}

/// Values as people type them, each the one of its bound that reads the same.
fn parameters(
    agreement: &Agreement,
    given: &[(String, String)],
) -> Outcome<BTreeMap<ParameterName, ParameterValue>> {
    let mut values = BTreeMap::new();
    for (name, text) in given {
        let bound = agreement.program.parameters.iter().find(|(known, _)| known.as_str() == name);
        let (name, bound) = bound
            .ok_or_else(|| Failure::refused(anyhow!("the program has no parameter `{name}`")))?;
        let value = bound.one_of.iter().find(|value| words::value(value) == *text);
        let value = value.ok_or_else(|| {
            let agreed: Vec<_> = bound.one_of.iter().map(words::value).collect();
            let agreed = agreed.join("`, `");
            Failure::refused(anyhow!(
                "`{name}` is not agreed to be that; expected one of `{agreed}`"
            ))
        })?;
        values.insert(name.clone(), value.clone());
    }
    Ok(values)
}

async fn watch(arguments: WatchArguments, output: Output) -> Outcome {
    follow(&arguments.hub.anonymous()?, arguments.run, output).await
}

async fn follow(hub: &Client, run: RunId, output: Output) -> Outcome {
    /// No agreement allows a longer run.
    const LONGEST: Duration = Duration::from_secs(7 * 86_400);
    let line = output.status();
    line.enable_steady_tick(Duration::from_millis(200));
    let tell = |status: &RunStatus| line.set_message(said(status));
    let status = run::wait(hub, run, LONGEST, tell).await?;
    line.finish_and_clear();
    output.show(&status, || format!("run {run}: {}", said(&status)))?;
    let code = match status.code.as_deref() {
        Some("ok") => return Ok(()),
        code => code.unwrap_or("the host gave no code"),
    };
    let agreement = run::agreement_of(hub, run).await?;
    let refusals = run::refusals(hub, agreement.value(), run).await?;
    Err(Failure::refused(match refusals.first() {
        Some(Refusal { holder, code, sentence, .. }) => {
            anyhow!("refused by the broker of `{holder}`: {sentence} ({code})")
        }
        None => anyhow!(
            "nothing left the enclave: {code}{}",
            status.detail.map(|detail| format!(": {detail}")).unwrap_or_default()
        ),
    }))
}

fn said(status: &RunStatus) -> String {
    let stage = status.stage.map(|stage| format!("{stage:?}").to_lowercase());
    match (&status.code, stage) {
        (Some(code), _) => code.clone(),
        (None, Some(stage)) => format!("{stage}, {} bytes of ciphertext read", status.bytes_read),
        (None, None) => "waits for a host".to_owned(),
    }
}

async fn list(at: &AtBroker, output: Output) -> Outcome {
    let (_, staff) = at.connect()?;
    let runs = staff.runs().await?;
    output.show(&runs, || {
        let mut rows = table(["state", "code", "run", "agreement"]);
        for view in &runs {
            let (state, code) = (view.state.to_string(), view.code.clone());
            rows.add_row([state, code, view.run.to_string(), view.agreement.to_string()]);
        }
        rows.to_string()
    })
}

async fn show(arguments: ShowArguments, output: Output) -> Outcome {
    let (_, staff) = arguments.at.connect()?;
    let view = staff.run(arguments.run).await?;
    output.show(&view, || format!("{} ({})", view.state, view.code))
}

async fn decide(arguments: ReviewArguments, output: Output) -> Outcome {
    let (person, staff) = arguments.at.connect()?;
    let view = staff.review(arguments.run).await?;
    let opened = review::open(&view, arguments.run, &person);
    let document = opened.map_err(|error| match error.is::<NothingToReview>() {
        true => Failure::refused(error),
        false => Failure::verification(error),
    })?;
    let Some(verdict) = arguments.verdict else {
        return output.show(&results::json(&document)?, || results::text(&document));
    };
    output.note(&results::text(&document));
    let verdict = match verdict {
        VerdictArgument::Approve => Verdict::Approve,
        VerdictArgument::Reject => Verdict::Reject,
    };
    let random = &mut SystemRandom::new();
    let decision = review::decide(&view.receipt, arguments.run, verdict, &person, now(), random)?;
    let recorded = staff.decide_review(&decision).await?;
    output.show(&recorded, || format!("recorded {}", recorded.digest))
}

async fn open(arguments: OpenArguments, output: Output) -> Outcome {
    let person = PersonKeys::load(&arguments.person)?;
    let hub = arguments.hub.connect(&person).await?;
    let agreement = run::agreement_of(&hub, arguments.run).await?;
    let mut recipients = agreement.value().recipients.iter();
    if !recipients.any(|r| r.party == person.party && r.person == person.person) {
        let name = format!("{}/{}", person.party, person.person);
        return Err(Failure::refused(anyhow!("`{name}` is not among the agreement's recipients")));
    }
    let within = Duration::from_secs(arguments.within);
    let document = result_of(&hub, &agreement, arguments.run, &person, within).await?;
    if arguments.csv {
        let text = results::csv(&document)?;
        return output.show(&results::json(&document)?, || text);
    }
    output.show(&results::json(&document)?, || results::text(&document))
}

/// Everything between a run's name and its opened result.
async fn result_of(
    hub: &Client,
    agreement: &Signed<Agreement>,
    run: RunId,
    person: &PersonKeys,
    within: Duration,
) -> Outcome<ResultDocument> {
    let (receipt, evidence) = run::receipt(hub, person, run, within).await?;
    let receipt = result::check_receipt(agreement, run, &receipt, &evidence)
        .map_err(Failure::verification)?;
    let sealed = match &receipt.receipt.value().outcome {
        RunOutcome::Sealed(outcome) => outcome.sealed,
        RunOutcome::Failed { code } => {
            return Err(Failure::refused(anyhow!("nothing left the enclave: {code}")));
        }
    };
    let releases = run::all_releases(hub, agreement.value(), run, within).await?;
    let sealed: Bytes =
        hub.object(&sealed, MAX_SEALED_BYTES).await.context("the hub has no such result")?;
    let document = result::open(agreement, &receipt, &releases, &sealed, person)
        .map_err(Failure::verification)?;
    Ok(document.into_value())
}
