//! Registered cards: whose key reads which mailbox, and which keys may store things.
//!
//! Registering proves possession of the key and nothing else. The first card under a name stays;
//! only the same key can replace it. People compare fingerprints over another channel, so a
//! squatter can annoy but not deceive; an operator who minds lists the parties' keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use cordon_crypto::VerifyingKey;
use cordon_crypto::dsse::{Document, Envelope};
use cordon_protocol::party::{PartyCard, PersonCard};
use cordon_types::{PartyId, PersonId, UnixSeconds};

use super::problem::{Code, Problem};
use super::{Hub, Registration, blocking, durable, json_bytes, lock, read, read_body, write};

/// Cards are at most 16 KiB; base64 and signature on top.
const MAX_CARD_ENVELOPE_BYTES: usize = 32 * 1024;

/// All registered cards.
pub(crate) struct Directory {
    folder: PathBuf,
    max_cards: usize,
    /// Held while a card is written, so that checks and writes are one.
    writing: Mutex<()>,
    cards: RwLock<Cards>,
}

#[derive(Default)]
struct Cards {
    parties: BTreeMap<PartyId, Card>,
    persons: BTreeMap<(PartyId, PersonId), Card>,
    keys: BTreeSet<VerifyingKey>,
}

#[derive(Clone)]
struct Card {
    /// Reads the mailbox, replaces the card.
    owner: VerifyingKey,
    /// May store objects and documents too: manifest keys.
    others: Vec<VerifyingKey>,
    issued: UnixSeconds,
    envelope: Envelope,
}

impl Directory {
    pub(crate) fn open(folder: PathBuf, max_cards: usize) -> std::io::Result<Self> {
        let mut cards = Cards::default();
        let (parties, persons) = (folder.join("parties"), folder.join("persons"));
        durable::create_folder(&folder)?;
        durable::create_folder(&parties)?;
        durable::create_folder(&persons)?;
        for name in durable::list(&parties)? {
            match stored(&parties, &name)?.and_then(|e| party_card(&e)) {
                Some((party, card)) => drop(cards.parties.insert(party, card)),
                None => tracing::error!("a stored party card is damaged and ignored"),
            }
        }
        for party in durable::list(&persons)? {
            let folder = persons.join(&party);
            for name in durable::list(&folder)? {
                match stored(&folder, &name)?.and_then(|e| person_card(&e)) {
                    Some((name, card)) => drop(cards.persons.insert(name, card)),
                    None => tracing::error!("a stored person card is damaged and ignored"),
                }
            }
        }
        cards.index_keys();
        Ok(Self { folder, max_cards, writing: Mutex::new(()), cards: RwLock::new(cards) })
    }

    /// The key that reads a party's mailbox.
    pub(crate) fn party_key(&self, party: &PartyId) -> Option<VerifyingKey> {
        read(&self.cards).parties.get(party).map(|card| card.owner)
    }

    /// Whether a party is registered with this key.
    fn is_broker(&self, key: &VerifyingKey) -> bool {
        read(&self.cards).parties.values().any(|card| card.owner == *key)
    }

    /// The key that reads a person's mailbox.
    pub(crate) fn person_key(&self, party: &PartyId, person: &PersonId) -> Option<VerifyingKey> {
        let name = (party.clone(), person.clone());
        read(&self.cards).persons.get(&name).map(|card| card.owner)
    }

    /// Whether the key stands in any card.
    pub(crate) fn knows(&self, key: &VerifyingKey) -> bool {
        read(&self.cards).keys.contains(key)
    }

    fn register_party(&self, party: &PartyId, envelope: &Envelope) -> Result<(), Problem> {
        let (name, card) =
            party_card(envelope).ok_or_else(|| Problem::new(Code::DocumentRefused))?;
        if name != *party {
            return Err(Problem::with(Code::DocumentRefused, "the card is another party's"));
        }
        let _writing = lock(&self.writing);
        let old = read(&self.cards).parties.get(party).cloned();
        if !self.may_register(old.as_ref(), &card)? {
            return Ok(());
        }
        let path = self.folder.join("parties").join(format!("{party}.json"));
        durable::replace(&path, &envelope.to_json())
            .map_err(|e| Problem::from_io("write party card", &e))?;
        let mut cards = write(&self.cards);
        cards.parties.insert(name, card);
        cards.index_keys();
        Ok(())
    }

    fn register_person(
        &self,
        party: &PartyId,
        person: &PersonId,
        envelope: &Envelope,
    ) -> Result<(), Problem> {
        let (name, card) =
            person_card(envelope).ok_or_else(|| Problem::new(Code::DocumentRefused))?;
        if (&name.0, &name.1) != (party, person) {
            return Err(Problem::with(Code::DocumentRefused, "the card is another person's"));
        }
        let _writing = lock(&self.writing);
        let old = read(&self.cards).persons.get(&name).cloned();
        if !self.may_register(old.as_ref(), &card)? {
            return Ok(());
        }
        let folder = self.folder.join("persons").join(party.as_str());
        let written = durable::create_folder(&folder).and_then(|()| {
            durable::replace(&folder.join(format!("{person}.json")), &envelope.to_json())
        });
        written.map_err(|e| Problem::from_io("write person card", &e))?;
        let mut cards = write(&self.cards);
        cards.persons.insert(name, card);
        cards.index_keys();
        Ok(())
    }

    /// Whether there is anything to write. An older card of the same key is refused, so that
    /// nobody can bring back a manifest key that its owner has withdrawn.
    fn may_register(&self, old: Option<&Card>, new: &Card) -> Result<bool, Problem> {
        match old {
            None => {
                let cards = read(&self.cards);
                if cards.parties.len() + cards.persons.len() >= self.max_cards {
                    return Err(Problem::new(Code::TooMany));
                }
                Ok(true)
            }
            Some(old) if old.owner != new.owner => Err(Problem::new(Code::AlreadyRegistered)),
            Some(old) if old.envelope == new.envelope => Ok(false),
            Some(old) if old.issued >= new.issued => {
                Err(Problem::with(Code::AlreadyRegistered, "a newer card is registered"))
            }
            Some(_) => Ok(true),
        }
    }
}

impl Cards {
    fn index_keys(&mut self) {
        let all = self.parties.values().chain(self.persons.values());
        self.keys = all.flat_map(|c| c.others.iter().copied().chain([c.owner])).collect();
    }
}

fn stored(folder: &std::path::Path, name: &str) -> std::io::Result<Option<Envelope>> {
    let bytes = std::fs::read(folder.join(name))?;
    Ok(Envelope::from_json(&bytes, MAX_CARD_ENVELOPE_BYTES).ok())
}

fn party_card(envelope: &Envelope) -> Option<(PartyId, Card)> {
    let signed = envelope.open::<PartyCard>(&envelope.claimed_signer()).ok()?;
    let card = signed.into_value();
    let owner = envelope.claimed_signer();
    // A card speaks for the broker key in it: whoever holds that key must have signed it.
    (card.broker_key == owner).then(|| {
        let others = card.manifest_keys;
        (card.party, Card { owner, others, issued: card.issued, envelope: envelope.clone() })
    })
}

fn person_card(envelope: &Envelope) -> Option<((PartyId, PersonId), Card)> {
    let signed = envelope.open::<PersonCard>(&envelope.claimed_signer()).ok()?;
    let card = signed.into_value();
    let owner = envelope.claimed_signer();
    (card.signing_key == owner).then(|| {
        let name = (card.party, card.person);
        (name, Card { owner, others: Vec::new(), issued: card.issued, envelope: envelope.clone() })
    })
}

async fn envelope_of(request: Request) -> Result<Envelope, Problem> {
    let body = read_body(request.into_body(), MAX_CARD_ENVELOPE_BYTES).await?;
    Envelope::from_json(&body, MAX_CARD_ENVELOPE_BYTES)
        .map_err(|error| Problem::with(Code::DocumentRefused, error.to_string()))
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::with(Code::BadRequest, "not a valid identifier"))
}

/// `PUT /v1/parties/{party}`: a [`PartyCard`], signed by its own broker key.
pub(super) async fn put_party(
    State(hub): State<Arc<Hub>>,
    Path(party): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let party: PartyId = parse(&party)?;
    let envelope = envelope_of(request).await?;
    if let Registration::Listed(keys) = &hub.registration
        && !keys.contains(&envelope.claimed_signer())
    {
        return Err(Problem::new(Code::RegistrationClosed));
    }
    blocking(move || hub.directory.register_party(&party, &envelope)).await?;
    Ok(StatusCode::CREATED)
}

/// `PUT /v1/persons/{party}/{person}`: a [`PersonCard`], signed by its own key. Where
/// registration is closed, the party's broker signs the request, or any listed broker if the party
/// has none.
pub(super) async fn put_person(
    State(hub): State<Arc<Hub>>,
    Path((party, person)): Path<(String, String)>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (party, person): (PartyId, PersonId) = (parse(&party)?, parse(&person)?);
    let (parts, body) = request.into_parts();
    let body = read_body(body, MAX_CARD_ENVELOPE_BYTES).await?;
    if let Registration::Listed(brokers) = &hub.registration {
        let signer = hub.signer(&parts, cordon_crypto::sha256(&[&body]))?;
        // A party without a broker, such as a university, has nobody else to speak for it.
        let speaks = hub.directory.party_key(&party).is_none_or(|own| own == signer);
        let is_broker = brokers.contains(&signer) && hub.directory.is_broker(&signer);
        if !(is_broker && speaks) {
            return Err(Problem::new(Code::RegistrationClosed));
        }
    }
    let envelope = Envelope::from_json(&body, MAX_CARD_ENVELOPE_BYTES)
        .map_err(|error| Problem::with(Code::DocumentRefused, error.to_string()))?;
    blocking(move || hub.directory.register_person(&party, &person, &envelope)).await?;
    Ok(StatusCode::CREATED)
}

/// `GET /v1/parties/{party}`: the registered card's envelope.
pub(super) async fn get_party(
    State(hub): State<Arc<Hub>>,
    Path(party): Path<String>,
) -> Result<Response, Problem> {
    let party: PartyId = parse(&party)?;
    let card = read(&hub.directory.cards).parties.get(&party).map(|c| c.envelope.to_json());
    card.map(json_bytes).ok_or_else(|| Problem::new(Code::NotFound))
}

/// `GET /v1/persons/{party}/{person}`: the registered card's envelope.
pub(super) async fn get_person(
    State(hub): State<Arc<Hub>>,
    Path((party, person)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let name: (PartyId, PersonId) = (parse(&party)?, parse(&person)?);
    let card = read(&hub.directory.cards).persons.get(&name).map(|c| c.envelope.to_json());
    card.map(json_bytes).ok_or_else(|| Problem::new(Code::NotFound))
}

const _: () = assert!(PartyCard::MAX_BYTES * 4 / 3 + 1024 <= MAX_CARD_ENVELOPE_BYTES);
const _: () = assert!(PersonCard::MAX_BYTES <= PartyCard::MAX_BYTES);
