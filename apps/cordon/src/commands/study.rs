//! `cordon study`: propose, read, decide, stop.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, Subcommand};
use cordon_broker::api::AgreementView;
use cordon_crypto::SystemRandom;
use cordon_crypto::dsse::Signed;
use cordon_govern::{Change, diff};
use cordon_protocol::Agreement;
use cordon_protocol::decision::Verdict;
use cordon_types::{PartyId, Sha256Digest, StudyId, UnixSeconds};
use serde_json::json;

use super::people::{AtBroker, Hub, person_card};
use super::{values, wait_for};
use crate::clock::{now, rfc3339};
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::ops::propose::{Draft, Known, propose};
use crate::ops::submit::{Answer, Trusted, gather, send};
use crate::ops::{holder, run, words};
use crate::output::{Output, table};
use crate::person::PersonKeys;

pub const EXAMPLE: &str =
    "Example:\n  cordon study list --broker http://127.0.0.1:8701 --as dpo.key";

/// How long an approval counts unless somebody says otherwise.
const APPROVAL_DAYS: u32 = 365;
/// Characters of the digest that a person types to say that this is meant.
const CONFIRMED_CHARS: usize = 8;

/// What is done with a study.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Complete a draft, plan its query without data, and propose it to every holder.
    #[command(after_help = "Example:\n  \
        cordon study propose --draft study.json --hub https://hub.example --as researcher.key \\\n    \
        --engine cordon-engine-sql --guard cordon-enclave")]
    Propose(ProposeArguments),
    /// Show an agreement in plain words.
    #[command(after_help = "Example:\n  \
        cordon study show sha256:1f… --hub https://hub.example --out agreement.json")]
    Show(ShowArguments),
    /// Show every difference between two agreements.
    #[command(
        after_help = "Example:\n  cordon study diff sha256:1f… sha256:2e… --hub https://hub.example"
    )]
    Diff(DiffArguments),
    /// List the agreements at your broker.
    #[command(after_help = EXAMPLE)]
    List(AtBroker),
    /// Approve an agreement at your broker.
    #[command(after_help = "Example:\n  \
        cordon study approve sha256:1f… --broker http://127.0.0.1:8701 --as dpo.key")]
    Approve(DecideArguments),
    /// Reject an agreement at your broker, for good.
    #[command(after_help = "Example:\n  \
        cordon study reject sha256:1f… --broker http://127.0.0.1:8701 --as dpo.key")]
    Reject(DecideArguments),
    /// Stop a study at your broker, at once and for good.
    #[command(after_help = "Example:\n  \
        cordon study stop readmissions --broker http://127.0.0.1:8701 --as dpo.key")]
    Stop(StopArguments),
}

/// What is proposed.
#[derive(Args, Debug)]
pub struct ProposeArguments {
    /// The draft: docs/quickstart.md shows one.
    #[arg(long, value_name = "STUDY.JSON")]
    draft: PathBuf,
    #[command(flatten)]
    hub: Hub,
    /// Whose keys sign: a file of `cordon init person`.
    #[arg(long = "as", value_name = "PERSON.KEY")]
    person: PathBuf,
    /// The engine that shall run; a bare name is looked up beside `cordon` and in PATH, too.
    #[arg(long, value_name = "FILE")]
    engine: PathBuf,
    /// A guard that may run it, looked up likewise: its measurement goes into the agreement.
    #[arg(long = "guard", value_name = "FILE", required = true)]
    guards: Vec<PathBuf>,
    /// A holder's card from a file, which wins over the hub's.
    #[arg(long = "party-card", value_name = "CARD")]
    party_cards: Vec<PathBuf>,
    /// A reviewer's or recipient's card from a file, which wins over the hub's.
    #[arg(long = "person-card", value_name = "CARD")]
    person_cards: Vec<PathBuf>,
    /// What an owner read out: `hospital-a=1a2b-…` or `hospital-a/alice=1a2b-…`.
    #[arg(long = "fingerprint", value_name = "NAME=FINGERPRINT", value_parser = values::pair)]
    fingerprints: Vec<(String, String)>,
}

/// An agreement at the hub.
#[derive(Args, Debug)]
pub struct ShowArguments {
    /// Its whole digest.
    #[arg(value_name = "DIGEST")]
    agreement: Sha256Digest,
    #[command(flatten)]
    hub: Hub,
    /// Write the signed agreement, too: `cordon audit` takes the keys of all logs from it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Two agreements.
#[derive(Args, Debug)]
pub struct DiffArguments {
    /// The older one, by its whole digest.
    #[arg(value_name = "BEFORE")]
    before: Sha256Digest,
    /// The newer one, likewise.
    #[arg(value_name = "AFTER")]
    after: Sha256Digest,
    #[command(flatten)]
    hub: Hub,
}

/// A decision.
#[derive(Args, Debug)]
pub struct DecideArguments {
    /// The agreement's digest, or its first characters.
    #[arg(value_name = "DIGEST")]
    agreement: String,
    #[command(flatten)]
    at: AtBroker,
    /// Confirms without asking: the whole digest again.
    #[arg(long = "digest", value_name = "DIGEST")]
    confirmed: Option<Sha256Digest>,
    /// For how many days the decision counts.
    #[arg(long, value_name = "N", default_value_t = APPROVAL_DAYS)]
    days: u32,
}

/// A study.
#[derive(Args, Debug)]
pub struct StopArguments {
    /// The study.
    #[arg(value_name = "STUDY")]
    study: StudyId,
    #[command(flatten)]
    at: AtBroker,
    /// Stop a study that your broker knows no agreement of yet: none will ever be granted.
    #[arg(long)]
    ahead: bool,
}

/// Does it.
pub fn run(command: Command, output: Output) -> Outcome {
    wait_for(async move {
        match command {
            Command::Propose(arguments) => propose_study(arguments, output).await,
            Command::Show(arguments) => show(arguments, output).await,
            Command::Diff(arguments) => difference(arguments, output).await,
            Command::List(at) => list(&at, output).await,
            Command::Approve(arguments) => decide(arguments, Verdict::Approve, output).await,
            Command::Reject(arguments) => decide(arguments, Verdict::Reject, output).await,
            Command::Stop(arguments) => stop(arguments, output).await,
        }
    })
}

async fn propose_study(arguments: ProposeArguments, output: Output) -> Outcome {
    let draft: Draft = files::read_json(&arguments.draft)?;
    let person = PersonKeys::load(&arguments.person)?;
    let hub = arguments.hub.connect(&person).await?;
    let parties = arguments.party_cards.iter().map(|path| files::read_signed(path));
    let people = arguments.person_cards.iter().map(|path| person_card(path));
    let trusted = Trusted {
        parties: parties.collect::<Result<_>>()?,
        people: people.collect::<Result<_>>()?,
        fingerprints: arguments.fingerprints.into_iter().collect::<BTreeMap<_, _>>(),
    };
    let gathered = gather(&hub, &draft, trusted).await?;
    for (name, fingerprint) in &gathered.on_trust {
        output.note(&format!(
            "the card of {name} is the hub's word: fingerprint {fingerprint}; every broker \
             compares it with its own directory"
        ));
    }
    let engine = files::read_program(&arguments.engine)?;
    let mut measurements = Vec::new();
    for guard in &arguments.guards {
        measurements.push(cordon_softtee::measurement_of(&files::read_program(guard)?));
    }
    let known = Known {
        parties: &gathered.parties,
        people: &gathered.people,
        manifests: &gathered.manifests,
        engine: &engine,
        measurements: &measurements,
    };
    let agreement = propose(&draft, &known, &person, now()).map_err(Failure::refused)?;
    let answers = send(&hub, &agreement).await?;
    let all_took = answers.iter().all(|(_, answer)| *answer == Answer::Recorded);
    let holders: Vec<_> = answers.iter().map(|(party, answer)| json_of(party, answer)).collect();
    let answer = json!({ "agreement": agreement.digest(), "holders": holders });
    output.show(&answer, || {
        let lines = answers.iter().map(|(party, answer)| format!("\n{party}: {}", said(answer)));
        format!("{}{}", agreement.digest(), lines.collect::<String>())
    })?;
    if all_took {
        return Ok(());
    }
    Err(Failure::refused(anyhow!("not every holder's broker took the proposal")))
}

fn json_of(party: &PartyId, answer: &Answer) -> serde_json::Value {
    match answer {
        Answer::Recorded => json!({ "party": party, "answer": "recorded" }),
        Answer::Refused { code, sentence } => {
            json!({ "party": party, "answer": "refused", "code": code, "sentence": sentence })
        }
        Answer::Silent => json!({ "party": party, "answer": "silent" }),
    }
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Recorded => "waits for approvals".to_owned(),
        Answer::Refused { code, sentence } => format!("refused: {sentence} ({code})"),
        Answer::Silent => "does not answer; the proposal waits in its mailbox".to_owned(),
    }
}

async fn show(arguments: ShowArguments, output: Output) -> Outcome {
    let agreement = run::agreement(&arguments.hub.anonymous()?, arguments.agreement).await?;
    if let Some(out) = arguments.out {
        files::write(&out, &agreement.envelope().to_json())?;
    }
    output.show(agreement.value(), || words::plain(&agreement))
}

async fn difference(arguments: DiffArguments, output: Output) -> Outcome {
    let hub = arguments.hub.anonymous()?;
    let before = run::agreement(&hub, arguments.before).await?;
    let after = run::agreement(&hub, arguments.after).await?;
    let changes = diff(before.value(), after.value());
    let lines: Vec<String> = changes.into_iter().map(readable).collect();
    output.show(&lines, || match lines.is_empty() {
        true => "no difference".to_owned(),
        false => lines.join("\n"),
    })
}

/// A difference, with times as people read them.
fn readable(change: Change) -> String {
    let is_time = ["not_before", "not_after"].contains(&change.field.as_str());
    let time = |text: String| match text.parse() {
        Ok(seconds) if is_time => rfc3339(UnixSeconds::new(seconds)),
        _ => text,
    };
    let Change { field, before, after } = change;
    Change { field, before: before.map(time), after: after.map(time) }.to_string()
}

async fn list(at: &AtBroker, output: Output) -> Outcome {
    let (_, staff) = at.connect()?;
    let agreements = staff.agreements().await?;
    output.show(&agreements, || {
        let mut rows = table(["study", "agreement", "state", "runs", "digest", "missing"]);
        for view in &agreements {
            rows.add_row([
                view.study.to_string(),
                view.name.to_string(),
                view.state.to_string(),
                format!("{} of {}", view.runs, view.max_runs),
                view.digest.to_string(),
                view.missing.join("; "),
            ]);
        }
        rows.to_string()
    })
}

async fn decide(arguments: DecideArguments, verdict: Verdict, output: Output) -> Outcome {
    let (person, staff) = arguments.at.connect()?;
    let digest = find(&staff.agreements().await?, &arguments.agreement)?;
    let view = staff.agreement(digest).await?;
    let envelope = view.envelope.context("the broker shows no agreement")?;
    let agreement: Signed<Agreement> = envelope.open(&envelope.claimed_signer())?;
    if agreement.digest() != digest {
        return Err(Failure::verification(anyhow!("the broker shows another agreement")));
    }
    match arguments.confirmed {
        Some(confirmed) if confirmed == digest => {}
        Some(_) => return Err(Failure::usage(anyhow!("`--digest` is of another agreement"))),
        None => confirm(&agreement, verdict, output)?,
    }
    let expires = now().plus_seconds(u64::from(arguments.days) * 86_400);
    let random = &mut SystemRandom::new();
    let approval = holder::approval(digest, verdict, expires, &person, now(), random)?;
    let recorded = staff.approve(&approval).await?;
    output.show(&recorded, || match verdict {
        Verdict::Approve => format!("approved {digest}"),
        Verdict::Reject => format!("rejected {digest}"),
    })
}

/// The agreement whose digest begins with these characters.
fn find(agreements: &[AgreementView], wanted: &str) -> Outcome<Sha256Digest> {
    let hex = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    let mut found =
        agreements.iter().map(|view| view.digest).filter(|digest| digest.to_hex().starts_with(hex));
    match (found.next(), found.next()) {
        (Some(digest), None) if hex.len() >= CONFIRMED_CHARS => Ok(digest),
        (Some(_), _) => Err(Failure::usage(anyhow!(
            "`{wanted}` does not name one agreement: give at least {CONFIRMED_CHARS} characters"
        ))),
        (None, _) => Err(Failure::from(anyhow!("the broker has no agreement `{wanted}`"))),
    }
}

/// Shows what is decided about, and asks for the beginning of its digest.
fn confirm(agreement: &Signed<Agreement>, verdict: Verdict, output: Output) -> Outcome {
    let hex = agreement.digest().to_hex();
    let start: String = hex.chars().take(CONFIRMED_CHARS).collect();
    output.note(&words::plain(agreement));
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(anyhow!(
            "nobody is there to confirm: repeat the whole digest with `--digest`"
        )));
    }
    let word = match verdict {
        Verdict::Approve => "approve",
        Verdict::Reject => "reject",
    };
    output
        .note(&format!("To {word} this, type the first {CONFIRMED_CHARS} characters, `{start}`:"));
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).context("cannot read the confirmation")?;
    if typed.trim() == start {
        return Ok(());
    }
    Err(Failure::refused(anyhow!("not confirmed; nothing was sent")))
}

async fn stop(arguments: StopArguments, output: Output) -> Outcome {
    let StopArguments { study, at, ahead } = arguments;
    let (person, staff) = at.connect()?;
    // A broker that cannot list can still stop.
    if let (false, Ok(agreements)) = (ahead, staff.agreements().await)
        && agreements.iter().all(|view| view.study != study)
    {
        return Err(unknown_study(&study, &agreements));
    }
    let stop = holder::stop(&study, &person, now(), &mut SystemRandom::new())?;
    let recorded = staff.stop(&stop).await?;
    output.show(&recorded, || {
        format!("stopped `{study}` here: no new grants, leases end within seconds")
    })
}

/// A misspelt stop would stop nothing now, and another study for good.
fn unknown_study(study: &StudyId, agreements: &[AgreementView]) -> Failure {
    let known: BTreeSet<&str> = agreements.iter().map(|view| view.study.as_str()).collect();
    let known = match known.is_empty() {
        true => "none".to_owned(),
        false => format!("`{}`", known.into_iter().collect::<Vec<_>>().join("`, `")),
    };
    Failure::refused(anyhow!(
        "nothing was stopped: your broker has no agreement of a study `{study}` (it has: {known}); \
         to stop it before it is proposed, add `--ahead`"
    ))
}
