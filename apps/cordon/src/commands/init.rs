//! `cordon init`: keys of a person; keys, broker and first people of a data holder.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use cordon_broker::setup::{NewBroker, initialise};
use cordon_crypto::SystemRandom;
use cordon_crypto::dsse::Signed;
use cordon_protocol::party::{PartyCard, Profile, Role};
use cordon_types::{PartyId, PersonId};
use serde_json::json;

use super::people::person_card;
use super::service::CredentialArguments;
use super::wait_for;
use crate::clock::now;
use crate::failure::Outcome;
use crate::files;
use crate::keyfile::{self, Purpose};
use crate::output::Output;
use crate::person::PersonKeys;

pub const EXAMPLE: &str = "Example:\n  \
    cordon init person --party hospital-a --person alice --out alice.key --card alice.json";

/// What is made.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a person's keys and card.
    #[command(after_help = EXAMPLE)]
    Person(PersonArguments),
    /// Make a data holder's broker, with its first administrators.
    #[command(after_help = "Example:\n  \
        cordon init party --party hospital-a --profile development \\\n    \
        --log-origin broker.hospital-a.example/log --folder broker \\\n    \
        --key-file /media/key/root.key --administrator admin.json")]
    Party(PartyArguments),
}

/// A person.
#[derive(Args, Debug)]
pub struct PersonArguments {
    /// The organisation that the person acts for.
    #[arg(long)]
    party: PartyId,
    /// The person, unique within the organisation.
    #[arg(long, value_name = "NAME")]
    person: PersonId,
    /// Where the private keys go; readable by you only.
    #[arg(long, value_name = "PERSON.KEY")]
    out: PathBuf,
    /// Where the public card goes.
    #[arg(long, value_name = "CARD.JSON")]
    card: Option<PathBuf>,
}

/// A data holder.
#[derive(Args, Debug)]
pub struct PartyArguments {
    /// The organisation.
    #[arg(long)]
    party: PartyId,
    /// Whether the software TEE may ever be accepted. Fixed for good.
    #[arg(long, value_enum)]
    profile: ProfileArgument,
    /// Name of its log, under a host name of its own.
    #[arg(long, value_name = "ORIGIN")]
    log_origin: String,
    /// The broker's folder; made here.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    credential: CredentialArguments,
    /// Who may enrol others: a card, or a file of keys.
    #[arg(long = "administrator", value_name = "CARD", required = true)]
    administrators: Vec<PathBuf>,
    /// Signs manifests; made if it is not there [default: beside the folder].
    #[arg(long, value_name = "FILE")]
    manifest_key: Option<PathBuf>,
    /// Makes pseudonyms of patients; made if it is not there [default: beside the folder].
    #[arg(long, value_name = "FILE")]
    subject_key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileArgument {
    /// For laptops and tests.
    Development,
    /// For patient data.
    Production,
}

/// Makes what is asked for.
pub fn run(command: Command, output: Output) -> Outcome {
    match command {
        Command::Person(arguments) => person(arguments, output),
        Command::Party(arguments) => wait_for(party(arguments, output)),
    }
}

fn person(arguments: PersonArguments, output: Output) -> Outcome {
    let PersonArguments { party, person, out, card: card_path } = arguments;
    let keys = PersonKeys::generate(party, person, &mut SystemRandom::new());
    let card = keys.card(now())?;
    keys.save(&out)?;
    if let Some(path) = &card_path {
        files::write_json(path, card.envelope())?;
    }
    let fingerprint = card.value().signing_key.fingerprint();
    let answer = json!({
        "party": keys.party, "person": keys.person, "card": card.digest(),
        "fingerprint": fingerprint, "keys": out, "card_file": card_path,
    });
    output.show(&answer, || {
        let name = format!("{}/{}", keys.party, keys.person);
        format!("{name} has keys in `{}`\nfingerprint  {fingerprint}", out.display())
    })
}

async fn party(arguments: PartyArguments, output: Output) -> Outcome {
    let PartyArguments { party, profile, log_origin, folder, administrators, .. } = arguments;
    let mut random = SystemRandom::new();
    // Before any key is made that nobody would use.
    if folder.join("card.json").exists() {
        return Err(anyhow::anyhow!("`{}` holds a broker already", folder.display()).into());
    }
    let mut people = Vec::new();
    for path in &administrators {
        people.push((person_card(path)?, vec![Role::Administrator]));
    }
    let manifest_path = arguments.manifest_key.unwrap_or(beside(&folder, "manifest.key")?);
    let subject_path = arguments.subject_key.unwrap_or(beside(&folder, "subject.key")?);
    let manifest_key = keyfile::signing_key(&manifest_path, Purpose::Manifest, &mut random)?;
    keyfile::read_or_make(&subject_path, Purpose::Subject, &mut random)?;
    let credential = arguments.credential.read_or_make(&mut random)?;
    let new = NewBroker {
        party,
        profile: match profile {
            ProfileArgument::Development => Profile::Development,
            ProfileArgument::Production => Profile::Production,
        },
        log_origin,
        manifest_keys: vec![manifest_key.verifying_key()],
        people,
        credential: &credential,
    };
    let card = initialise(&folder, new, now(), &mut random).await?;
    show_broker(&card, &folder, &manifest_path, &subject_path, output)
}

fn show_broker(
    card: &Signed<PartyCard>,
    folder: &Path,
    manifest_key: &Path,
    subject_key: &Path,
    output: Output,
) -> Outcome {
    let fingerprint = card.value().broker_key.fingerprint();
    let card_path = folder.join("card.json");
    let answer = json!({
        "party": card.value().party, "profile": card.value().profile, "card": card.digest(),
        "fingerprint": fingerprint, "card_file": card_path, "manifest_key": manifest_key,
        "subject_key": subject_key,
    });
    output.show(&answer, || {
        let (party, profile) = (&card.value().party, card.value().profile);
        format!(
            "broker of {party}, profile {profile}\nfingerprint   {fingerprint}\n\
             card          {}\nmanifest key  {}  keep it: it signs what you publish\n\
             subject key   {}  keep it: with another one, versions do not join",
            card_path.display(),
            manifest_key.display(),
            subject_key.display()
        )
    })
}

/// `<folder>.<suffix>`, in the same place as the folder.
fn beside(folder: &Path, suffix: &str) -> anyhow::Result<PathBuf> {
    let name = folder.file_name().context("expected a folder with a name of its own")?;
    Ok(folder.with_file_name(format!("{}.{suffix}", name.to_string_lossy())))
}
