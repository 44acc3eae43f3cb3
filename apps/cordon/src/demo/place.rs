//! Where the demo happens: a hub, a broker per hospital, a host, and the people.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use cordon_broker::api::Enrol;
use cordon_broker::client::StaffClient;
use cordon_broker::setup::{NewBroker, initialise};
use cordon_crypto::dsse::Signed;
use cordon_crypto::{Random, SigningKey, SystemRandom};
use cordon_hub::client::{Client, ClientConfig};
use cordon_hub::host::{Honest, HostConfig, Recorder, Recording, Relay, run_host};
use cordon_keystore::Credential;
use cordon_protocol::RunId;
use cordon_protocol::party::{PartyCard, Profile, Role};
use cordon_types::{PartyId, Secret};
use tokio::task::JoinHandle;

use super::guards::Guards;
use super::process::Service;
use crate::clock::now;
use crate::ops::{holder, hub};
use crate::person::PersonKeys;

/// The organisation that asks.
pub const UNIVERSITY: &str = "university";
/// Witnesses answer within this, once they run.
const WITNESSES: Duration = Duration::from_secs(30);

/// A hospital: its folder, its people, its broker.
pub struct Hospital {
    /// Its name.
    pub party: PartyId,
    /// All that is its own.
    pub folder: PathBuf,
    /// Its broker's card.
    pub card: Signed<PartyCard>,
    /// Signs manifests.
    pub manifest_key: SigningKey,
    /// Makes pseudonyms.
    pub subject_key: Secret<32>,
    /// Enrols others.
    pub administrator: PersonKeys,
    /// Publishes, approves.
    pub steward: PersonKeys,
    /// Approves, stops.
    pub officer: PersonKeys,
    /// Looks at outputs.
    pub reviewer: PersonKeys,
    broker: Option<Service>,
}

impl Hospital {
    /// Makes keys, people and broker folder.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn make(root: &Path, party: &str, profile: Profile) -> Result<Self> {
        let party: PartyId = party.parse()?;
        let folder = root.join(party.as_str());
        std::fs::create_dir_all(&folder)?;
        let random: &mut dyn Random = &mut SystemRandom::new();
        let mut person = |name: &str| -> Result<PersonKeys> {
            let keys = PersonKeys::generate(party.clone(), name.parse()?, random);
            keys.save(&folder.join(format!("{name}.key")))?;
            Ok(keys)
        };
        let administrator = person("administrator")?;
        let (steward, officer) = (person("steward")?, person("officer")?);
        let reviewer = person("reviewer")?;
        let manifest_key = SigningKey::generate(random);
        let subject_key = random.secret();
        let credential = Credential::create_key_file(&folder.join("root.key"), random)?;
        let new = NewBroker {
            profile,
            log_origin: format!("broker.{party}.example/log"),
            party: party.clone(),
            manifest_keys: vec![manifest_key.verifying_key()],
            people: vec![(administrator.card(now())?, vec![Role::Administrator])],
            credential: &credential,
        };
        let card = initialise(&folder.join("broker"), new, now(), random).await?;
        let people = (administrator, steward, officer, reviewer);
        let (administrator, steward, officer, reviewer) = people;
        Ok(Self {
            party,
            folder,
            card,
            manifest_key,
            subject_key,
            administrator,
            steward,
            officer,
            reviewer,
            broker: None,
        })
    }

    /// The broker's folder.
    pub fn broker_folder(&self) -> PathBuf {
        self.folder.join("broker")
    }

    /// Starts the broker.
    ///
    /// # Errors
    /// What the broker ended with.
    pub async fn start(&mut self, hub: &str, software_root: Option<&str>) -> Result<()> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let (folder, key) = (path(self.broker_folder()), path(self.folder.join("root.key")));
        let mut arguments = vec!["broker", "--listen", "127.0.0.1:0", "--hub", hub];
        arguments.extend(["--folder", &folder, "--key-file", &key]);
        if let Some(root) = software_root {
            arguments.extend(["--software-root", root]);
        }
        self.broker = Some(Service::start(&arguments, &self.folder.join("broker.log")).await?);
        Ok(())
    }

    /// Takes the running broker away.
    ///
    /// # Errors
    /// If it does not run.
    pub fn take_broker(&mut self) -> Result<Service> {
        self.broker.take().context("the broker does not run")
    }

    /// Where the broker listens.
    pub fn url(&self) -> &str {
        self.broker.as_ref().map_or("", |broker| broker.url.as_str())
    }

    /// The staff interface, for one person.
    ///
    /// # Errors
    /// If the broker does not run.
    pub fn staff(&self, person: &PersonKeys) -> Result<StaffClient> {
        Ok(StaffClient::new(self.url(), person.signing.clone())?)
    }
}

type Relays = Arc<Mutex<BTreeMap<RunId, Box<dyn Relay>>>>;

/// Everything that runs.
pub struct Place {
    /// Where all of it is kept.
    pub folder: PathBuf,
    /// The hub's address.
    pub hub_url: String,
    /// The researcher at the hub.
    pub client: Client,
    /// The hospitals.
    pub hospitals: Vec<Hospital>,
    /// Who asks.
    pub researcher: PersonKeys,
    /// Guard and engine.
    pub guards: Arc<Guards>,
    /// Root of the software TEE, as brokers know it.
    pub tee_root: String,
    relays: Relays,
    host: JoinHandle<()>,
    _hub: Service,
}

impl Place {
    /// Starts hub, brokers and host, and lets everybody know everybody.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn open(folder: &Path, parties: &[&str]) -> Result<Self> {
        let hub_folder = folder.join("hub");
        let arguments =
            ["hub", "--listen", "127.0.0.1:0", "--folder", &hub_folder.to_string_lossy()];
        let service = Service::start(&arguments, &folder.join("hub.log")).await?;
        let hub_url = service.url.clone();
        let root = SigningKey::generate(&mut SystemRandom::new());
        let tee_root = root.verifying_key().to_string();
        let mut hospitals = Vec::new();
        for party in parties {
            let mut hospital = Hospital::make(folder, party, Profile::Development).await?;
            hospital.start(&hub_url, Some(&tee_root)).await?;
            hospitals.push(hospital);
        }
        let researcher = PersonKeys::generate(
            UNIVERSITY.parse()?,
            "researcher".parse()?,
            &mut SystemRandom::new(),
        );
        researcher.save(&folder.join("researcher.key"))?;
        let client = hub::signing_as(&hub_url, None, &researcher)?;
        hub::register(&client, &researcher, now()).await?;

        let guards = Arc::new(Guards::find(&root)?);
        let relays = Relays::default();
        let host = start_host(&hub_url, guards.clone(), relays.clone())?;
        let place = Self {
            folder: folder.to_owned(),
            hub_url,
            client,
            hospitals,
            researcher,
            guards,
            tee_root,
            relays,
            host,
            _hub: service,
        };
        place.enrol().await?;
        Ok(place)
    }

    /// A hospital by its place in the list.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn hospital(&self, index: usize) -> Result<&Hospital> {
        self.hospitals.get(index).context("there is no such hospital")
    }

    /// Lets the traffic of a run, which has not begun, pass through `relay`; what the guard
    /// really said is recorded.
    pub fn intercept(&self, run: RunId, relay: impl Relay + 'static) -> Recording {
        let recording = Recording::default();
        let relay = Box::new(Recorder::new(recording.clone(), relay));
        self.relays.lock().unwrap_or_else(PoisonError::into_inner).insert(run, relay);
        recording
    }

    /// Waits until every broker's log is cosigned by the others.
    ///
    /// # Errors
    /// If one is not in time.
    pub async fn ready(&self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + WITNESSES;
        for hospital in &self.hospitals {
            let staff = hospital.staff(&hospital.steward)?;
            while !staff.health().await?.ready {
                let in_time = tokio::time::Instant::now() < deadline;
                ensure!(in_time, "the log of {} is not cosigned", hospital.party);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Each administrator enrols own staff, the other hospitals with their reviewers, and the
    /// researcher. People would compare fingerprints here.
    async fn enrol(&self) -> Result<()> {
        for own in &self.hospitals {
            let staff = own.staff(&own.administrator)?;
            let mut people = vec![
                (&own.steward, vec![Role::Steward]),
                (&own.officer, vec![Role::DataProtectionOfficer]),
                (&own.reviewer, vec![Role::Reviewer]),
                (&self.researcher, vec![Role::Researcher]),
            ];
            for other in self.hospitals.iter().filter(|other| other.party != own.party) {
                let enrolment = own.enrolment(other.card.digest(), &[])?;
                let card = other.card.envelope().clone();
                staff.enrol_party(&Enrol { card, enrolment }).await?;
                people.push((&other.reviewer, vec![]));
            }
            for (person, roles) in people {
                let card = person.card(now())?;
                let enrolment = own.enrolment(card.digest(), &roles)?;
                let enrol = Enrol { card: card.envelope().clone(), enrolment };
                staff.enrol_person(&enrol).await?;
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.host.abort();
    }
}

impl Hospital {
    fn enrolment(
        &self,
        card: cordon_types::Sha256Digest,
        roles: &[Role],
    ) -> Result<cordon_crypto::dsse::Envelope> {
        let random = &mut SystemRandom::new();
        holder::enrolment(card, roles, &self.party, &self.administrator, now(), random)
    }
}

fn start_host(url: &str, guards: Arc<Guards>, relays: Relays) -> Result<JoinHandle<()>> {
    let key = Arc::new(SigningKey::generate(&mut SystemRandom::new()));
    let client = hub::connect(url, None, ClientConfig::signing_as(key))?;
    let engine = guards.engine_path.clone();
    let config =
        HostConfig::new(guards).with_engines([engine]).relaying_through(Arc::new(move |run| {
            let relay = relays.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
            relay.unwrap_or_else(|| Box::new(Honest))
        }));
    Ok(tokio::spawn(async move {
        if let Err(error) = run_host(client, config, std::future::pending()).await {
            tracing::error!(%error, "the host ended");
        }
    }))
}

/// An engine's or guard's bytes.
///
/// # Errors
/// If the file cannot be read.
pub fn program(path: &Path) -> Result<Bytes> {
    let bytes = std::fs::read(path).with_context(|| {
        format!("`{}` is not there: `cargo xtask demo` builds it", path.display())
    })?;
    Ok(bytes.into())
}
