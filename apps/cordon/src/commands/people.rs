//! Who acts, and where: arguments that several commands share.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use cordon_broker::client::StaffClient;
use cordon_crypto::dsse::Signed;
use cordon_hub::client::Client;
use cordon_protocol::PersonCard;

use crate::clock::now;
use crate::files;
use crate::ops::hub;
use crate::person::PersonKeys;

/// A person at the own broker.
#[derive(Args, Debug)]
pub struct AtBroker {
    /// The broker's staff interface.
    #[arg(long, value_name = "URL")]
    pub broker: String,
    /// Whose keys sign: a file of `cordon init person`.
    #[arg(long = "as", value_name = "PERSON.KEY")]
    pub person: PathBuf,
}

/// The hub.
#[derive(Args, Debug)]
pub struct Hub {
    /// The hub.
    #[arg(long, value_name = "URL")]
    pub hub: String,
    /// Certificates to trust for it instead of the system's.
    #[arg(long, value_name = "PEM")]
    pub hub_roots: Option<PathBuf>,
}

impl AtBroker {
    /// The person, and a client that signs as the person.
    pub fn connect(&self) -> Result<(PersonKeys, StaffClient)> {
        let person = PersonKeys::load(&self.person)?;
        let staff = StaffClient::new(&self.broker, person.signing.clone())?;
        Ok((person, staff))
    }
}

impl Hub {
    /// A client that reads what anybody may read.
    pub fn anonymous(&self) -> Result<Client> {
        hub::anonymous(&self.hub, self.hub_roots.as_deref())
    }

    /// A client that signs as this person, whose card the hub has from now on.
    pub async fn connect(&self, person: &PersonKeys) -> Result<Client> {
        let client = hub::signing_as(&self.hub, self.hub_roots.as_deref(), person)?;
        hub::register(&client, person, now()).await?;
        Ok(client)
    }
}

/// A person's card from its file, or from the file of the person's keys.
pub fn person_card(path: &Path) -> Result<Signed<PersonCard>> {
    match PersonKeys::load(path) {
        Ok(person) => person.card(now()),
        Err(_) => files::read_signed(path),
    }
}
