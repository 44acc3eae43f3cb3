//! What a proposal needs from the hub, and handing it to the brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cordon_crypto::SystemRandom;
use cordon_crypto::dsse::{Envelope, Signed};
use cordon_hub::MailboxName;
use cordon_hub::api::{DocumentKind, DocumentQuery};
use cordon_hub::client::{Client, Mailbox};
use cordon_protocol::agreement::{Holder, Review, TableSource};
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_protocol::party::{PartyCard, PersonCard};
use cordon_protocol::{Agreement, Manifest, Refusal};
use cordon_types::{DatasetId, PartyId};

use super::propose::{Draft, NamedPerson};
use crate::failure::Failure;

/// How long a broker may take: it answers after its log has the entry.
pub const ANSWER: Duration = Duration::from_secs(20);

/// Cards that are known already, and fingerprints that people compared.
#[derive(Default)]
pub struct Trusted {
    /// Cards of holders, from files.
    pub parties: Vec<Signed<PartyCard>>,
    /// Cards of persons, from files.
    pub people: Vec<Signed<PersonCard>>,
    /// By `<party>` or `<party>/<person>`.
    pub fingerprints: BTreeMap<String, String>,
}

/// All that a draft names.
pub struct Gathered {
    /// Cards of the holders.
    pub parties: Vec<Signed<PartyCard>>,
    /// Cards of recipients and reviewers.
    pub people: Vec<Signed<PersonCard>>,
    /// Manifests of the datasets, signed by a key on the holder's card.
    pub manifests: Vec<Signed<Manifest>>,
    /// Whose card is the hub's word only, with the fingerprint that it shows.
    pub on_trust: Vec<(String, String)>,
}

/// Looks up what a draft names. Cards from files win over the hub's.
///
/// # Errors
/// If the hub has no such card or manifest, or shows a card with another fingerprint.
pub async fn gather(hub: &Client, draft: &Draft, trusted: Trusted) -> Result<Gathered, Failure> {
    let Trusted { mut parties, mut people, fingerprints } = trusted;
    let mut on_trust = Vec::new();
    for party in holders(draft) {
        if parties.iter().any(|card| card.value().party == party) {
            continue;
        }
        let envelope = hub.party(&party).await;
        let envelope = envelope.with_context(|| format!("the hub has no card of `{party}`"))?;
        let card: Signed<PartyCard> = self_signed(&envelope)?;
        if card.value().party != party || card.value().broker_key != card.signer() {
            return Err(not_their_card(party.as_str()));
        }
        compare(party.as_str(), &card.signer().fingerprint(), &fingerprints, &mut on_trust)?;
        parties.push(card);
    }
    for NamedPerson { party, person } in persons(draft) {
        let is_known = |card: &Signed<PersonCard>| {
            card.value().party == *party && card.value().person == *person
        };
        if people.iter().any(is_known) {
            continue;
        }
        let name = format!("{party}/{person}");
        let envelope = hub.person(party, person).await;
        let envelope = envelope.with_context(|| format!("the hub has no card of `{name}`"))?;
        let card: Signed<PersonCard> = self_signed(&envelope)?;
        if !is_known(&card) || card.value().signing_key != card.signer() {
            return Err(not_their_card(&name));
        }
        compare(&name, &card.signer().fingerprint(), &fingerprints, &mut on_trust)?;
        people.push(card);
    }
    let mut manifests = Vec::new();
    for (party, dataset) in datasets(draft) {
        let card = parties.iter().find(|card| card.value().party == party);
        let card = card.with_context(|| format!("the card of `{party}` is not known"))?;
        manifests.extend(manifests_of(hub, card.value(), &dataset).await?);
    }
    Ok(Gathered { parties, people, manifests, on_trust })
}

/// What a broker said to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It waits for approvals.
    Recorded,
    /// It does not take it.
    Refused {
        /// Stable code.
        code: String,
        /// Its public sentence.
        sentence: String,
    },
    /// No answer; the message waits in its mailbox.
    Silent,
}

/// Stores an agreement at the hub and proposes it to the broker of every holder.
///
/// # Errors
/// If the hub does not take it.
pub async fn send(hub: &Client, agreement: &Signed<Agreement>) -> Result<Vec<(PartyId, Answer)>> {
    hub.put_document(agreement.envelope()).await.context("the hub does not take the agreement")?;
    let mailbox = Mailbox::open(hub.clone(), Box::new(SystemRandom::new())).await?;
    let mut answers = Vec::new();
    for holder in &agreement.value().holders {
        let answer = ask(&mailbox, agreement, holder).await;
        let answer = answer.with_context(|| format!("the broker of `{}`", holder.party))?;
        answers.push((holder.party.clone(), answer));
    }
    // The hub forgets a mailbox that nobody reads.
    let _ = mailbox.close().await;
    Ok(answers)
}

async fn ask(mailbox: &Mailbox, agreement: &Signed<Agreement>, holder: &Holder) -> Result<Answer> {
    let to = MailboxName::Party(holder.party.clone());
    let body = ToBroker::Propose { agreement: agreement.envelope().clone() };
    let answer = match mailbox.ask(&to, &body, ANSWER).await {
        Ok(answer) => answer,
        Err(cordon_hub::client::ClientError::NoAnswer { .. }) => return Ok(Answer::Silent),
        Err(error) => return Err(error.into()),
    };
    match answer {
        FromBroker::Proposed { agreement: digest } if digest == agreement.digest() => {
            Ok(Answer::Recorded)
        }
        FromBroker::Refused { refusal } => {
            let refusal = refusal.open::<Refusal>(&holder.broker_key)?.into_value();
            Ok(Answer::Refused { code: refusal.code, sentence: refusal.sentence })
        }
        FromBroker::Proposed { .. }
        | FromBroker::Challenged { .. }
        | FromBroker::Granted { .. }
        | FromBroker::Leased { .. }
        | FromBroker::Received { .. }
        | FromBroker::Cosigned { .. }
        | FromBroker::LastCheckpoint { .. } => bail!("the answer is to something else"),
    }
}

/// The manifests that the hub has of a dataset and that the holder signed.
async fn manifests_of(
    hub: &Client,
    card: &PartyCard,
    dataset: &DatasetId,
) -> Result<Vec<Signed<Manifest>>> {
    let query = DocumentQuery {
        kind: Some(DocumentKind::Manifest),
        holder: Some(card.party.clone()),
        dataset: Some(dataset.clone()),
        ..DocumentQuery::default()
    };
    let mut manifests = Vec::new();
    for entry in hub.documents(&query).await?.documents {
        // Anybody may store a manifest that names this holder; its key makes it the holder's.
        if card.manifest_keys.contains(&entry.signer) {
            manifests.push(hub.open_document(&entry.digest, &entry.signer).await?);
        }
    }
    Ok(manifests)
}

fn self_signed<T: cordon_crypto::dsse::Document>(envelope: &Envelope) -> Result<Signed<T>> {
    envelope.open(&envelope.claimed_signer()).context("the hub's card is refused")
}

fn compare(
    name: &str,
    shown: &str,
    expected: &BTreeMap<String, String>,
    on_trust: &mut Vec<(String, String)>,
) -> Result<(), Failure> {
    match expected.get(name) {
        Some(expected) if expected == shown => {}
        Some(expected) => {
            return Err(Failure::verification(anyhow::anyhow!(
                "the hub's card of `{name}` has fingerprint {shown}, expected {expected}: \
                 take the card from a file, and ask who runs the hub"
            )));
        }
        None => on_trust.push((name.to_owned(), shown.to_owned())),
    }
    Ok(())
}

fn not_their_card(name: &str) -> Failure {
    Failure::verification(anyhow::anyhow!("the hub gives another card than that of `{name}`"))
}

fn sources(draft: &Draft) -> impl Iterator<Item = &TableSource> {
    draft.tables.values().flatten()
}

fn holders(draft: &Draft) -> BTreeSet<PartyId> {
    sources(draft).map(|source| source.holder.clone()).collect()
}

fn datasets(draft: &Draft) -> BTreeSet<(PartyId, DatasetId)> {
    sources(draft).map(|source| (source.holder.clone(), source.dataset.clone())).collect()
}

fn persons(draft: &Draft) -> impl Iterator<Item = &NamedPerson> {
    let reviewers = draft.reviewers.iter().filter(|_| draft.review == Review::EachHolder);
    draft.recipients.iter().chain(reviewers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_that_differs_is_no_matter_of_trust() {
        let expected = BTreeMap::from([("hospital-a".to_owned(), "1111-2222".to_owned())]);
        let mut on_trust = Vec::new();
        let refused = compare("hospital-a", "3333-4444", &expected, &mut on_trust).unwrap_err();
        assert_eq!(refused.exit_code(), 4);
        compare("hospital-a", "1111-2222", &expected, &mut on_trust).unwrap();
        assert_eq!(on_trust, []);
        compare("hospital-b", "3333-4444", &expected, &mut on_trust).unwrap();
        assert_eq!(on_trust, [("hospital-b".to_owned(), "3333-4444".to_owned())]);
    }
}
