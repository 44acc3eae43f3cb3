//! A hospital: its people, its broker, its sealed dataset.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{Int64Array, RecordBatch, StringArray};
use cordon_broker::api::{Enrol, Publish};
use cordon_broker::log::Peers;
use cordon_broker::service::Broker;
use cordon_broker::setup::{
    self, HubSettings, KeyProcess, NewBroker, Running, Settings, initialise, keys_folder,
};
use cordon_crypto::dsse::{Envelope, Signed};
use cordon_crypto::{Random, SigningKey, SystemRandom, VerifyingKey};
use cordon_dataset::{DatasetSealer, DatasetVersion, Layout, MemoryFolder, deposit};
use cordon_keystore::Credential;
use cordon_keystore::process::{Client as KeyClient, serve};
use cordon_protocol::dataset::{ColumnSchema, ColumnType, TableSchema};
use cordon_protocol::decision::Verdict;
use cordon_protocol::party::{Enrolment, PartyCard, PersonCard, Profile, Role};
use cordon_protocol::{Approval, Manifest, V1};
use cordon_types::{PartyId, Secret, Sha256Digest};
use tokio::net::TcpListener;

use crate::now;
use crate::person::Person;

/// A hospital.
pub struct Holder {
    /// Its name.
    pub party: PartyId,
    /// The broker's folder.
    pub folder: PathBuf,
    /// Where its root key is.
    pub key_file: PathBuf,
    /// Enrols others.
    pub administrator: Person,
    /// Approve.
    pub steward: Person,
    /// Approves, stops.
    pub officer: Person,
    /// Reviews outputs.
    pub reviewer: Person,
    /// Signs manifests.
    pub manifest_key: SigningKey,
    /// The broker's card.
    pub card: Signed<PartyCard>,
    /// The version key of its dataset: tests may look into what they sealed.
    pub version_key: Secret<32>,
    /// The dataset, still sealed.
    pub sealed: MemoryFolder,
    /// Its manifest.
    pub manifest: Signed<Manifest>,
}

impl Holder {
    /// Makes a broker's folder below `root` and seals a small dataset.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn make(root: &Path, party: &str) -> Result<Self> {
        let party: PartyId = party.parse()?;
        let mut random = SystemRandom::new();
        let home = root.join(party.as_str());
        std::fs::create_dir_all(&home)?;
        let person = |name: &str, roles: &[Role]| Person::new(&party, name, roles);
        let administrator = person("administrator", &[Role::Administrator])?;
        let steward = person("steward", &[Role::Steward])?;
        let officer = person("officer", &[Role::DataProtectionOfficer])?;
        let reviewer = person("reviewer", &[Role::Reviewer])?;
        let manifest_key = SigningKey::generate(&mut random);
        let key_file = home.join("root.key");
        let credential = Credential::create_key_file(&key_file, &mut random)?;
        let folder = home.join("broker");
        let mut people = Vec::new();
        for person in [&administrator, &steward, &officer, &reviewer] {
            people.push((person.card()?, person.roles.clone()));
        }
        let new = NewBroker {
            party: party.clone(),
            profile: Profile::Development,
            log_origin: format!("{party}.example/log"),
            manifest_keys: vec![manifest_key.verifying_key()],
            people,
            credential: &credential,
        };
        let card = initialise(&folder, new, now(), &mut random).await?;
        let version_key = (&mut random as &mut dyn Random).secret();
        let (sealed, manifest) = seal(&party, &version_key, &manifest_key)?;
        Ok(Self {
            party,
            folder,
            key_file,
            administrator,
            steward,
            officer,
            reviewer,
            manifest_key,
            card,
            version_key,
            sealed,
            manifest,
        })
    }

    /// Starts the broker.
    ///
    /// # Errors
    /// As [`start_broker`].
    pub async fn start(
        &self,
        peers: Option<Arc<dyn Peers>>,
        hub: Option<&str>,
        software_root: VerifyingKey,
    ) -> Result<Running> {
        start_broker(&self.folder, &self.key_file, peers, hub, software_root).await
    }

    /// The broker's signing key, as somebody has it who took the broker over. The broker must not
    /// run.
    ///
    /// # Errors
    /// If the key store cannot be opened.
    pub async fn broker_key(&self) -> Result<SigningKey> {
        let keys = key_thread(&self.folder)?;
        let (_, service) = keys.unlock(Credential::KeyFile(self.key_file.clone())).await?;
        Ok(service.broker)
    }

    /// What steward and officer sign to approve an agreement.
    ///
    /// # Errors
    /// Never in practice.
    pub fn approvals(&self, agreement: Sha256Digest) -> Result<Vec<Envelope>> {
        let approve = |person: &Person| {
            person.sign(Approval {
                v: V1,
                agreement,
                audience: self.party.clone(),
                person: person.person.clone(),
                verdict: Verdict::Approve,
                nonce: nonce(),
                issued: now(),
                expires: now().plus_seconds(86_400),
            })
        };
        [&self.steward, &self.officer].into_iter().map(approve).collect()
    }

    /// An administrator's enrolment of a party.
    ///
    /// # Errors
    /// Never in practice.
    pub fn enrol_party(&self, card: &Signed<PartyCard>) -> Result<Enrol> {
        self.enrol_party_by(&self.administrator, card)
    }

    /// The same by somebody else.
    ///
    /// # Errors
    /// Never in practice.
    pub fn enrol_party_by(&self, person: &Person, card: &Signed<PartyCard>) -> Result<Enrol> {
        self.enrol(person, card.envelope(), card.digest(), &[])
    }

    /// Likewise of a person.
    ///
    /// # Errors
    /// Never in practice.
    pub fn enrol_person(&self, card: &Signed<PersonCard>, roles: &[Role]) -> Result<Enrol> {
        self.enrol(&self.administrator, card.envelope(), card.digest(), roles)
    }

    fn enrol(
        &self,
        by: &Person,
        card: &Envelope,
        digest: Sha256Digest,
        roles: &[Role],
    ) -> Result<Enrol> {
        let enrolment = Enrolment {
            v: V1,
            audience: self.party.clone(),
            card: digest,
            roles: roles.to_vec(),
            administrator: by.person.clone(),
            nonce: nonce(),
            issued: now(),
        };
        Ok(Enrol { card: card.clone(), enrolment: by.sign(enrolment)? })
    }

    /// The dataset on its way to the broker.
    ///
    /// # Errors
    /// Never in practice.
    pub fn publication(&self) -> Result<Publish> {
        let key = &self.card.value().box_key;
        let deposit = deposit(
            &self.manifest,
            &self.version_key,
            &self.party,
            key,
            now(),
            &mut SystemRandom::new(),
        )?;
        let deposit = Signed::sign(deposit, &self.manifest_key)?.envelope().clone();
        Ok(Publish { manifest: self.manifest.envelope().clone(), deposit })
    }

    /// Publishes the dataset at its broker.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn publish(&self, broker: &Broker) -> Result<()> {
        broker.publish(&self.publication()?).await.context("publishing")?;
        Ok(())
    }
}

/// Starts the broker of a folder. Its key process is a thread: what it does is the same.
///
/// # Errors
/// As [`setup::start`].
pub async fn start_broker(
    folder: &Path,
    key_file: &Path,
    peers: Option<Arc<dyn Peers>>,
    hub: Option<&str>,
    software_root: VerifyingKey,
) -> Result<Running> {
    Ok(setup::start(Settings {
        folder: folder.to_owned(),
        credential: Credential::KeyFile(key_file.to_owned()),
        key_process: KeyProcess::Connected(key_thread(folder)?),
        hub: hub.map(|url| HubSettings { url: url.to_owned(), roots: None }),
        listener: TcpListener::bind("127.0.0.1:0").await?,
        tls: None,
        software_root: Some(software_root),
        peers,
    })
    .await?)
}

fn key_thread(folder: &Path) -> Result<KeyClient> {
    let (requests, to_keys) = std::io::pipe()?;
    let (from_keys, responses) = std::io::pipe()?;
    let folder = keys_folder(folder);
    std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        // Ends when the broker drops its end.
        let _ = serve(&folder, requests, responses, &mut SystemRandom::new());
    })?;
    Ok(KeyClient::connect(from_keys, to_keys)?)
}

/// A fresh nonce.
pub fn nonce() -> cordon_types::Nonce {
    (&mut SystemRandom::new() as &mut dyn Random).nonce()
}

/// Thirty visits of fifteen patients.
fn seal(
    party: &PartyId,
    version_key: &Secret<32>,
    manifest_key: &SigningKey,
) -> Result<(MemoryFolder, Signed<Manifest>)> {
    let column = |name: &str, kind, nullable| {
        anyhow::Ok(ColumnSchema { name: name.parse()?, kind, nullable })
    };
    let schema = TableSchema {
        name: "visit".parse()?,
        source: cordon_crypto::sha256(&[b"a view"]),
        subject: "patient".parse()?,
        columns: vec![
            column("patient", ColumnType::Text, false)?,
            column("sex", ColumnType::Text, false)?,
            column("days", ColumnType::Int64, true)?,
        ],
    };
    let patient = |visit: i64| format!("{party}-{}", visit % 15);
    let sex = |visit: i64| if visit % 15 < 7 { "female" } else { "male" };
    let visits = 0..30_i64;
    let rows = RecordBatch::try_from_iter([
        ("patient", Arc::new(StringArray::from_iter_values(visits.clone().map(patient))) as _),
        ("sex", Arc::new(StringArray::from_iter_values(visits.clone().map(sex))) as _),
        ("days", Arc::new(Int64Array::from_iter_values(visits)) as _),
    ])?;
    let id = DatasetVersion { holder: party.clone(), dataset: "visits".parse()?, version: 1 };
    let mut folder = MemoryFolder::default();
    let sealer = DatasetSealer::new(id, version_key.duplicate(), Layout::default())?;
    let mut writer = sealer.table(schema)?;
    let rows = rows.with_schema(writer.arrow_schema().clone())?;
    writer.write(&rows, &mut folder)?;
    let table = writer.finish(0, &mut folder)?.prove(&folder, &[])?;
    let manifest = Signed::sign(sealer.manifest(vec![table], now())?, manifest_key)?;
    Ok((folder, manifest))
}
