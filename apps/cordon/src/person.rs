//! A person's keys: one file, readable by its owner only.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use cordon_crypto::dsse::Signed;
use cordon_crypto::{Random, RecipientSecret, SigningKey};
use cordon_protocol::V1;
use cordon_protocol::agreement::Person;
use cordon_protocol::party::PersonCard;
use cordon_types::{Base64Bytes, PartyId, PersonId, Secret, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::files;

/// A person, able to sign and to open.
pub struct PersonKeys {
    /// The organisation.
    pub party: PartyId,
    /// The person.
    pub person: PersonId,
    /// Signs.
    pub signing: Arc<SigningKey>,
    /// Opens results and review copies.
    pub boxes: Arc<RecipientSecret>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: V1,
    party: PartyId,
    person: PersonId,
    signing_seed: Base64Bytes,
    box_seed: Base64Bytes,
}

impl PersonKeys {
    /// Makes new keys.
    pub fn generate(party: PartyId, person: PersonId, random: &mut dyn Random) -> Self {
        Self {
            party,
            person,
            signing: Arc::new(SigningKey::generate(random)),
            boxes: Arc::new(RecipientSecret::generate(random)),
        }
    }

    /// Writes the keys to a new file that only its owner may read.
    pub fn save(&self, path: &Path) -> Result<()> {
        if path.exists() {
            bail!("`{}` is there already: keys are never overwritten", path.display());
        }
        let stored = Stored {
            v: V1,
            party: self.party.clone(),
            person: self.person.clone(),
            signing_seed: self.signing.seed().expose().as_slice().into(),
            box_seed: self.boxes.seed().expose().as_slice().into(),
        };
        let bytes = zeroize_after(serde_json::to_vec_pretty(&stored)?);
        files::write_private(path, &bytes)
    }

    /// Reads the keys.
    pub fn load(path: &Path) -> Result<Self> {
        files::check_private(path)?;
        let bytes = zeroize_after(files::read(path)?);
        let stored: Stored = serde_json::from_slice(&bytes)
            .with_context(|| format!("`{}` holds no person's keys", path.display()))?;
        let seed = |bytes: &Base64Bytes| {
            Secret::from_slice(bytes.as_slice())
                .with_context(|| format!("`{}` holds a key of another length", path.display()))
        };
        Ok(Self {
            signing: Arc::new(SigningKey::from_seed(seed(&stored.signing_seed)?)),
            boxes: Arc::new(RecipientSecret::from_seed(seed(&stored.box_seed)?)),
            party: stored.party,
            person: stored.person,
        })
    }

    /// The public half, signed by the person.
    pub fn card(&self, issued: UnixSeconds) -> Result<Signed<PersonCard>> {
        let card = PersonCard {
            v: V1,
            person: self.person.clone(),
            party: self.party.clone(),
            signing_key: self.signing.verifying_key(),
            box_key: self.boxes.public_key(),
            issued,
        };
        Ok(Signed::sign(card, &self.signing)?)
    }

    /// As agreements name the person.
    pub fn in_agreement(&self) -> Person {
        Person {
            party: self.party.clone(),
            person: self.person.clone(),
            signing_key: self.signing.verifying_key(),
            box_key: self.boxes.public_key(),
        }
    }
}

/// As agreements name the owner of a card.
pub fn named(card: &PersonCard) -> Person {
    Person {
        party: card.party.clone(),
        person: card.person.clone(),
        signing_key: card.signing_key,
        box_key: card.box_key.clone(),
    }
}

fn zeroize_after(bytes: Vec<u8>) -> zeroize::Zeroizing<Vec<u8>> {
    zeroize::Zeroizing::new(bytes)
}
