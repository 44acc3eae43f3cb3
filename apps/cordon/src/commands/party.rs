//! `cordon party`: cards of organisations and persons, and enrolling them.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use cordon_broker::api::Enrol;
use cordon_crypto::dsse::{Document as _, Signed};
use cordon_crypto::{SystemRandom, sha256};
use cordon_protocol::party::{PartyCard, PersonCard, Role};
use serde_json::{Value, json};

use super::people::AtBroker;
use super::{values, wait_for};
use crate::clock::{now, rfc3339};
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::ops::audit::log_keys;
use crate::ops::holder;
use crate::output::Output;

pub const EXAMPLE: &str = "Example:\n  cordon party show card.json";

/// What is done with a card.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show a card and the fingerprint to compare by telephone.
    #[command(after_help = EXAMPLE)]
    Show(ShowArguments),
    /// Enrol a card's owner at your broker. Compare the fingerprint first.
    #[command(after_help = "Example:\n  \
        cordon party enrol --broker http://127.0.0.1:8701 --as admin.key alice.json \\\n    \
        --role steward --fingerprint 1a2b-3c4d-5e6f-7a8b")]
    Enrol(EnrolArguments),
}

/// A card.
#[derive(Args, Debug)]
pub struct ShowArguments {
    /// The card of an organisation or a person.
    #[arg(value_name = "CARD")]
    card: PathBuf,
}

/// Whom to enrol.
#[derive(Args, Debug)]
pub struct EnrolArguments {
    #[command(flatten)]
    at: AtBroker,
    /// The card of an organisation or a person.
    #[arg(value_name = "CARD")]
    card: PathBuf,
    /// A role of the person at this broker; none for an organisation, a foreign reviewer or
    /// recipient.
    #[arg(long = "role", value_name = "ROLE", value_parser = values::role)]
    roles: Vec<Role>,
    /// What the owner read out; another card is refused.
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<String>,
}

/// A card of either kind; its signature is by the key that it names itself.
enum Card {
    Party(Signed<PartyCard>),
    Person(Signed<PersonCard>),
}

/// Does it.
pub fn run(command: Command, output: Output) -> Outcome {
    match command {
        Command::Show(arguments) => show(&arguments, output),
        Command::Enrol(arguments) => wait_for(enrol(arguments, output)),
    }
}

fn show(arguments: &ShowArguments, output: Output) -> Outcome {
    let card = Card::read(&arguments.card)?;
    output.show(&card.json()?, || card.text())
}

async fn enrol(arguments: EnrolArguments, output: Output) -> Outcome {
    let EnrolArguments { at, card, roles, fingerprint } = arguments;
    let card = Card::read(&card)?;
    let shown = card.fingerprint();
    if let Some(expected) = fingerprint.filter(|expected| *expected != shown) {
        return Err(Failure::verification(anyhow!(
            "the card has fingerprint {shown}, expected {expected}: it is another's card"
        )));
    }
    let (administrator, staff) = at.connect()?;
    let digest = match &card {
        Card::Party(card) => card.digest(),
        Card::Person(card) => card.digest(),
    };
    let audience = &administrator.party;
    let random = &mut SystemRandom::new();
    let enrolment = holder::enrolment(digest, &roles, audience, &administrator, now(), random)?;
    let recorded = match card {
        Card::Party(_) if !roles.is_empty() => {
            return Err(anyhow!("an organisation has no roles: leave `--role` out").into());
        }
        Card::Party(ref card) => {
            staff.enrol_party(&Enrol { card: card.envelope().clone(), enrolment }).await?
        }
        Card::Person(ref card) => {
            staff.enrol_person(&Enrol { card: card.envelope().clone(), enrolment }).await?
        }
    };
    let answer = json!({
        "name": card.name(), "fingerprint": shown, "roles": roles, "card": digest,
        "entry": recorded.entry,
    });
    output.show(&answer, || {
        format!("enrolled {}\nfingerprint  {shown}  as its owner read it out?", card.name())
    })
}

impl Card {
    fn read(path: &Path) -> Result<Self> {
        let kind = files::read_envelope(path)?;
        match kind.payload_type() {
            PartyCard::PAYLOAD_TYPE => {
                let card: Signed<PartyCard> = files::read_signed(path)?;
                if card.signer() != card.value().broker_key {
                    bail!("`{}` is not signed by its own broker key", path.display());
                }
                Ok(Self::Party(card))
            }
            PersonCard::PAYLOAD_TYPE => {
                let card: Signed<PersonCard> = files::read_signed(path)?;
                if card.signer() != card.value().signing_key {
                    bail!("`{}` is not signed by its own key", path.display());
                }
                Ok(Self::Person(card))
            }
            _ => bail!("`{}` is no card of an organisation or a person", path.display()),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Party(card) => card.value().party.to_string(),
            Self::Person(card) => format!("{}/{}", card.value().party, card.value().person),
        }
    }

    fn fingerprint(&self) -> String {
        match self {
            Self::Party(card) => card.signer().fingerprint(),
            Self::Person(card) => card.signer().fingerprint(),
        }
    }

    fn json(&self) -> Result<Value> {
        let fingerprint = self.fingerprint();
        Ok(match self {
            Self::Party(card) => {
                let (log, witness) = log_keys(card.value())?;
                json!({
                    "kind": "party", "digest": card.digest(), "fingerprint": fingerprint,
                    "card": card.value(), "log_key": log.to_string(),
                    "witness_key": witness.to_string(),
                })
            }
            Self::Person(card) => json!({
                "kind": "person", "digest": card.digest(), "fingerprint": fingerprint,
                "card": card.value(),
            }),
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![self.name(), format!("fingerprint   {}", self.fingerprint())];
        match self {
            Self::Party(card) => {
                let value = card.value();
                lines.push(format!("profile       {}", value.profile));
                lines.push(format!("broker key    {}", value.broker_key));
                for key in &value.manifest_keys {
                    lines.push(format!("manifest key  {}", key.fingerprint()));
                }
                lines.push(format!("box key       {}", sha256(&[value.box_key.as_bytes()])));
                if let Ok((log, witness)) = log_keys(value) {
                    lines.push(format!("log key       {log}"));
                    lines.push(format!("witness key   {witness}"));
                }
                lines.push(format!("issued        {}", rfc3339(value.issued)));
                lines.push(format!("card          {}", card.digest()));
            }
            Self::Person(card) => {
                let value = card.value();
                lines.push(format!("box key       {}", sha256(&[value.box_key.as_bytes()])));
                lines.push(format!("issued        {}", rfc3339(value.issued)));
                lines.push(format!("card          {}", card.digest()));
            }
        }
        lines.join("\n")
    }
}
