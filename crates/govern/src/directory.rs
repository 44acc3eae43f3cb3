//! The parties and people that a broker enrolled: the keys that it knows by itself.

use std::collections::{BTreeMap, BTreeSet};

use cordon_crypto::VerifyingKey;
use cordon_crypto::dsse::Signed;
use cordon_protocol::party::{PartyCard, PersonCard, Role};
use cordon_types::{PartyId, PersonId};

/// Why cards do not make a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// A card is not signed by its own key.
    #[error("the card of `{0}` is not signed by the key that it names")]
    NotSelfSigned(String),
    /// Two cards for one name.
    #[error("`{0}` is enrolled twice")]
    Twice(String),
    /// One signing key stands for two.
    #[error("the signing key of `{0}` is also somebody else's")]
    KeyReused(String),
}

/// An enrolled person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolledPerson {
    /// The person's own card.
    pub card: PersonCard,
    /// What an administrator says that the person may do here.
    pub roles: BTreeSet<Role>,
}

/// Everybody whom one broker knows.
#[derive(Clone, Debug)]
pub struct Directory {
    own: PartyCard,
    parties: BTreeMap<PartyId, PartyCard>,
    people: BTreeMap<(PartyId, PersonId), EnrolledPerson>,
    by_key: BTreeMap<VerifyingKey, (PartyId, PersonId)>,
}

impl Directory {
    /// Collects cards, each signed by its own key. The own card may be among `parties`.
    ///
    /// # Errors
    /// If a card is not self-signed, a name comes twice, or two share a signing key.
    pub fn new(
        own: &Signed<PartyCard>,
        parties: impl IntoIterator<Item = Signed<PartyCard>>,
        people: impl IntoIterator<Item = (Signed<PersonCard>, Vec<Role>)>,
    ) -> Result<Self, DirectoryError> {
        let mut directory = Self {
            own: own.value().clone(),
            parties: BTreeMap::new(),
            people: BTreeMap::new(),
            by_key: BTreeMap::new(),
        };
        let mut broker_keys = BTreeSet::from([own.value().broker_key]);
        check_self_signed(own, |card| (card.broker_key, card.party.to_string()))?;
        for card in parties {
            check_self_signed(&card, |card| (card.broker_key, card.party.to_string()))?;
            let card = card.into_value();
            if card == directory.own {
                continue;
            }
            let name = card.party.to_string();
            if card.party == directory.own.party || directory.parties.contains_key(&card.party) {
                return Err(DirectoryError::Twice(name));
            }
            if !broker_keys.insert(card.broker_key) {
                return Err(DirectoryError::KeyReused(name));
            }
            directory.parties.insert(card.party.clone(), card);
        }
        for (card, roles) in people {
            let name = |card: &PersonCard| format!("{}/{}", card.party, card.person);
            check_self_signed(&card, |card| (card.signing_key, name(card)))?;
            let card = card.into_value();
            let id = (card.party.clone(), card.person.clone());
            if directory.people.contains_key(&id) {
                return Err(DirectoryError::Twice(name(&card)));
            }
            let known = directory.by_key.insert(card.signing_key, id.clone()).is_some();
            if known || broker_keys.contains(&card.signing_key) {
                return Err(DirectoryError::KeyReused(name(&card)));
            }
            let roles = roles.into_iter().collect();
            directory.people.insert(id, EnrolledPerson { card, roles });
        }
        Ok(directory)
    }

    /// This broker's own card.
    pub const fn own(&self) -> &PartyCard {
        &self.own
    }

    /// The card of a party, this broker's own included.
    pub fn party(&self, party: &PartyId) -> Option<&PartyCard> {
        if *party == self.own.party { Some(&self.own) } else { self.parties.get(party) }
    }

    /// An enrolled person.
    pub fn person(&self, party: &PartyId, person: &PersonId) -> Option<&EnrolledPerson> {
        self.people.get(&(party.clone(), person.clone()))
    }

    /// The person who signs with this key.
    pub fn signer(&self, key: &VerifyingKey) -> Option<&EnrolledPerson> {
        self.by_key.get(key).and_then(|id| self.people.get(id))
    }
}

fn check_self_signed<T: cordon_crypto::dsse::Document>(
    card: &Signed<T>,
    key_and_name: impl Fn(&T) -> (VerifyingKey, String),
) -> Result<(), DirectoryError> {
    let (key, name) = key_and_name(card.value());
    if card.signer() == key { Ok(()) } else { Err(DirectoryError::NotSelfSigned(name)) }
}
