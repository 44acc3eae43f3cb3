//! People with keys.

use anyhow::Result;
use cordon_crypto::dsse::{Document, Envelope, Signed};
use cordon_crypto::{RecipientSecret, SigningKey, SystemRandom};
use cordon_protocol::V1;
use cordon_protocol::agreement;
use cordon_protocol::party::{PersonCard, Role};
use cordon_types::{PartyId, PersonId};

use crate::now;

/// A person, able to sign and to open.
pub struct Person {
    /// The organisation.
    pub party: PartyId,
    /// The person.
    pub person: PersonId,
    /// Roles at the brokers that enrol the person.
    pub roles: Vec<Role>,
    /// Signs.
    pub signing: SigningKey,
    /// Opens results and review copies.
    pub boxes: RecipientSecret,
}

impl Person {
    /// Makes a person with fresh keys.
    pub fn new(party: &PartyId, person: &str, roles: &[Role]) -> Result<Self> {
        let mut random = SystemRandom::new();
        Ok(Self {
            party: party.clone(),
            person: person.parse()?,
            roles: roles.to_vec(),
            signing: SigningKey::generate(&mut random),
            boxes: RecipientSecret::generate(&mut random),
        })
    }

    /// The public half.
    pub fn card(&self) -> Result<Signed<PersonCard>> {
        let card = PersonCard {
            v: V1,
            person: self.person.clone(),
            party: self.party.clone(),
            signing_key: self.signing.verifying_key(),
            box_key: self.boxes.public_key(),
            issued: now(),
        };
        Ok(Signed::sign(card, &self.signing)?)
    }

    /// As agreements name the person.
    pub fn named(&self) -> agreement::Person {
        agreement::Person {
            party: self.party.clone(),
            person: self.person.clone(),
            signing_key: self.signing.verifying_key(),
            box_key: self.boxes.public_key(),
        }
    }

    /// Signs a document.
    pub fn sign<T: Document>(&self, document: T) -> Result<Envelope> {
        Ok(Signed::sign(document, &self.signing)?.envelope().clone())
    }
}
