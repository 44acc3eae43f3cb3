//! `cordon audit`: logs and proofs, believed for their keys alone.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use cordon_crypto::dsse::Signed;
use cordon_protocol::entry::{Action, Actor, Decision};
use cordon_protocol::party::PartyCard;
use cordon_protocol::{Agreement, LogEntry, RunId};
use cordon_tlog::{LogKey, Quorum, WitnessKey};
use cordon_types::PartyId;
use serde_json::json;

use super::people::AtBroker;
use super::wait_for;
use crate::clock::rfc3339;
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::ops::audit::{self, LogSource, log_keys};
use crate::ops::result;
use crate::output::{Output, table};

pub const EXAMPLE: &str = "Example:\n  cordon audit verify broker/log --card broker/card.json";

/// What is done with a log.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Verify a whole log: signatures, cosignatures, every entry, every tile.
    #[command(after_help = EXAMPLE)]
    Verify(LogArguments),
    /// Verify a log and show its entries.
    #[command(after_help = "Example:\n  cordon audit show broker/log --card broker/card.json")]
    Show(LogArguments),
    /// Take one entry out of a log, with a proof that holds anywhere.
    #[command(after_help = "Example:\n  \
        cordon audit proof broker/log --card broker/card.json --index 7 --out entry-7")]
    Proof(ProofArguments),
    /// Check an entry and its proof, without the log.
    #[command(after_help = "Example:\n  \
        cordon audit check --entry entry-7.json --proof entry-7.tlog-proof --card broker/card.json")]
    Check(CheckArguments),
    /// Show the newest refusals of your broker with their full reasons.
    #[command(after_help = "Example:\n  \
        cordon audit refusals --broker http://127.0.0.1:8701 --as auditor.key")]
    Refusals(AtBroker),
}

/// Whose log it is, and who must have cosigned.
#[derive(Args, Debug)]
pub struct Keys {
    /// The log's key, as `cordon party show` prints it.
    #[arg(long, value_name = "VKEY", required_unless_present_any = ["card", "agreement"])]
    log_key: Option<LogKey>,
    /// Take the log's key from its party's card.
    #[arg(long, value_name = "CARD", conflicts_with_all = ["log_key", "agreement"])]
    card: Option<PathBuf>,
    /// Take log key and witnesses from an agreement; `--holder` says whose log it is.
    #[arg(long, value_name = "FILE", requires = "holder", conflicts_with = "log_key")]
    agreement: Option<PathBuf>,
    /// The holder whose log it is.
    #[arg(long, value_name = "PARTY")]
    holder: Option<PartyId>,
    /// A witness's key.
    #[arg(long = "witness", value_name = "VKEY")]
    witnesses: Vec<WitnessKey>,
    /// How many of the witnesses must have cosigned [default: all].
    #[arg(long, value_name = "N")]
    quorum: Option<usize>,
}

/// Which log.
#[derive(Args, Debug)]
pub struct LogArguments {
    /// The log's folder, or the URL above `/checkpoint`.
    #[arg(value_name = "FOLDER|URL")]
    source: LogSource,
    #[command(flatten)]
    keys: Keys,
}

/// Which entry.
#[derive(Args, Debug)]
pub struct ProofArguments {
    #[command(flatten)]
    log: LogArguments,
    /// The entry, counted from 0.
    #[arg(long, value_name = "N")]
    index: u64,
    /// Writes `<OUT>.json` and `<OUT>.tlog-proof`.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
}

/// An entry and its proof.
#[derive(Args, Debug)]
pub struct CheckArguments {
    /// The entry, exactly as the log has it.
    #[arg(long, value_name = "FILE")]
    entry: PathBuf,
    /// Its `.tlog-proof`.
    #[arg(long, value_name = "FILE")]
    proof: PathBuf,
    #[command(flatten)]
    keys: Keys,
}

/// Does it.
pub fn run(command: Command, output: Output) -> Outcome {
    match command {
        Command::Verify(arguments) => verify(&arguments, output, false),
        Command::Show(arguments) => verify(&arguments, output, true),
        Command::Proof(arguments) => proof(&arguments, output),
        Command::Check(arguments) => check(&arguments, output),
        Command::Refusals(at) => wait_for(refusals(at, output)),
    }
}

impl Keys {
    fn read(&self) -> Result<(LogKey, Quorum)> {
        if let (Some(path), Some(holder)) = (&self.agreement, &self.holder) {
            let agreement: Signed<Agreement> = files::read_signed(path)?;
            let terms = agreement.value().holder(holder).context("no such holder in it")?;
            let log = LogKey::new(terms.log_origin.parse()?, terms.log_key);
            return Ok((log, result::quorum(agreement.value(), holder)?));
        }
        let log = match (&self.log_key, &self.card) {
            (Some(key), _) => key.clone(),
            (None, Some(path)) => {
                let card: Signed<PartyCard> = files::read_signed(path)?;
                log_keys(card.value())?.0
            }
            (None, None) => anyhow::bail!("expected `--log-key`, `--card` or `--agreement`"),
        };
        let quorum = match (self.witnesses.as_slice(), self.quorum) {
            ([], None | Some(0)) => Quorum::dangerous_development_none(),
            (witnesses, None) => Quorum::all(witnesses.iter().cloned())?,
            (witnesses, Some(count)) => Quorum::at_least(count, witnesses.iter().cloned())?,
        };
        Ok((log, quorum))
    }
}

const UNWITNESSED: &str = "no witness was asked for: the log may show others another history; \
     `--agreement` with `--holder`, or `--witness`, asks for the other holders' cosignatures";

fn verify(arguments: &LogArguments, output: Output, entries: bool) -> Outcome {
    let (key, quorum) = arguments.keys.read()?;
    let audited = audit::verify(&arguments.source, &key, &quorum).map_err(Failure::of_audit)?;
    if quorum.is_none() {
        output.note(UNWITNESSED);
    }
    let cosigners: Vec<String> =
        audited.cosigners.iter().map(|cosigner| cosigner.name().to_string()).collect();
    let count = audited.entries.len();
    let shown = if entries { Some(&audited.entries) } else { None };
    let answer = json!({
        "log": key.name().as_str(), "entries": count, "root": audited.root.to_string(),
        "cosigned_by": cosigners, "files": audited.files, "shown": shown,
    });
    output.show(&answer, || {
        let head = format!(
            "log {} verifies: {count} entries, root {}, cosigned by {}",
            key.name(),
            audited.root,
            if cosigners.is_empty() { "nobody asked for".to_owned() } else { cosigners.join(", ") }
        );
        match entries {
            true => format!("{head}\n{}", listed(&audited.entries)),
            false => head,
        }
    })
}

fn listed(entries: &[LogEntry]) -> String {
    let mut rows = table(["#", "time", "actor", "action", "code", "run"]);
    for (index, entry) in entries.iter().enumerate() {
        let action = word(entry.action);
        rows.add_row([
            index.to_string(),
            rfc3339(entry.time),
            actor(&entry.actor),
            match entry.decision {
                Decision::Permit => action,
                Decision::Deny => format!("{action} (no)"),
            },
            entry.code.clone(),
            entry.run.map(short).unwrap_or_default(),
        ]);
    }
    rows.to_string()
}

/// An action as the log spells it.
fn word(action: Action) -> String {
    let action = serde_json::to_value(action).unwrap_or_default();
    action.as_str().unwrap_or_default().to_owned()
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Broker => "broker".to_owned(),
        Actor::Guard => "guard".to_owned(),
        Actor::Person { party, person, .. } => format!("{party}/{person}"),
        Actor::Party(party) => party.to_string(),
        Actor::Unknown => "unknown".to_owned(),
    }
}

fn proof(arguments: &ProofArguments, output: Output) -> Outcome {
    let (key, quorum) = arguments.log.keys.read()?;
    let proven = audit::prove(&arguments.log.source, &key, &quorum, arguments.index)
        .map_err(Failure::of_audit)?;
    let entry = arguments.out.with_added_extension("json");
    let proof = arguments.out.with_added_extension("tlog-proof");
    files::write(&entry, &proven.entry)?;
    files::write(&proof, proven.proof.as_bytes())?;
    let answer = json!({ "entry": entry, "proof": proof });
    output.show(&answer, || format!("wrote `{}` and `{}`", entry.display(), proof.display()))
}

fn check(arguments: &CheckArguments, output: Output) -> Outcome {
    let (key, quorum) = arguments.keys.read()?;
    let (entry, proof) = (files::read(&arguments.entry)?, files::read(&arguments.proof)?);
    let proven =
        audit::check_proof(&proof, &entry, &key, &quorum).map_err(Failure::verification)?;
    if quorum.is_none() {
        output.note(UNWITNESSED);
    }
    let answer =
        json!({ "log": proven.origin().as_str(), "index": proven.index(), "size": proven.size() });
    output.show(&answer, || {
        format!("entry {} of log {} at size {}", proven.index(), proven.origin(), proven.size())
    })
}

async fn refusals(at: AtBroker, output: Output) -> Outcome {
    let (_, staff) = at.connect()?;
    let refusals = staff.refusals().await?;
    output.show(&refusals, || {
        let mut rows = table(["#", "time", "action", "by", "run", "code", "reasons"]);
        for refusal in &refusals {
            rows.add_row([
                refusal.entry.to_string(),
                rfc3339(refusal.time),
                word(refusal.action),
                actor(&refusal.actor),
                refusal.run.map(short).unwrap_or_default(),
                refusal.code.clone(),
                refusal.reasons.join("\n"),
            ]);
        }
        rows.to_string()
    })
}

fn short(run: RunId) -> String {
    run.0.to_hex().chars().take(12).collect()
}
