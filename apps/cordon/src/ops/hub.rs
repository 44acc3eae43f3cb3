//! Reaching the hub, as nobody or as a person.

use std::path::Path;

use anyhow::{Context as _, Result};
use cordon_hub::client::{Client, ClientConfig};
use cordon_types::UnixSeconds;

use crate::files;
use crate::person::PersonKeys;

/// A client that signs nothing: it reads what anybody may read.
///
/// # Errors
/// If the address or the certificates cannot be used.
pub fn anonymous(url: &str, roots: Option<&Path>) -> Result<Client> {
    connect(url, roots, ClientConfig::anonymous())
}

/// A client that signs as this person.
///
/// # Errors
/// As [`anonymous`].
pub fn signing_as(url: &str, roots: Option<&Path>, person: &PersonKeys) -> Result<Client> {
    connect(url, roots, ClientConfig::signing_as(person.signing.clone()))
}

/// Shows the person's card to the hub unless it has it: then the person has a mailbox there and
/// may store things.
///
/// # Errors
/// If the hub does not take the card, for example because another key has the name.
pub async fn register(hub: &Client, person: &PersonKeys, now: UnixSeconds) -> Result<()> {
    match hub.person(&person.party, &person.person).await {
        Ok(card) if card.claimed_signer() == person.signing.verifying_key() => return Ok(()),
        Ok(_) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let name = format!("{}/{}", person.party, person.person);
    hub.register_person(&person.card(now)?)
        .await
        .with_context(|| format!("the hub does not register the card of `{name}`"))
}

pub(crate) fn connect(url: &str, roots: Option<&Path>, config: ClientConfig) -> Result<Client> {
    let config = match roots {
        Some(path) => config.trusting(files::read(path)?),
        None => config,
    };
    Client::new(url, config).with_context(|| format!("`{url}`"))
}
