//! A broker's folder: making it once, and running a broker from it.
//!
//! ```text
//! <folder>/keys/            the key store: opened by the key process only
//!          broker.sqlite    records and log entries
//!          log/             tiles, head, checkpoint: what auditors read
//!          card.json        the party's card, for others to enrol
//!          rules.cedar      this holder's own conditions, if there are any
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cordon_crypto::dsse::{Envelope, Signed};
use cordon_crypto::{Random, SigningKey, VerifyingKey};
use cordon_govern::{Policy, PolicyError};
use cordon_hub::client::{Client as HubClient, ClientConfig};
use cordon_hub::server::{ServeError, TlsIdentity, check_address, serve_router};
use cordon_hub::{Clock, SystemClock};
use cordon_keystore::process::{Client as KeyClient, ClientError};
use cordon_keystore::{Credential, Identity, Keystore, PublicParts, StoreError as KeyStoreError};
use cordon_protocol::entry::{Action, Actor, Decision};
use cordon_protocol::party::{PartyCard, PersonCard, Profile, Role};
use cordon_protocol::{LogEntry, V1};
use cordon_types::{PartyId, Sha256Digest, UnixSeconds};
use cordon_verifier::TrustRoots;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::log::{HubPeers, Log, LogError, LogParts, Peers};
use crate::records::directory;
use crate::service::{Broker, Parts, ServiceError};
use crate::store::{Store, StoreError};
use crate::{http, log, mail};

const KEYS: &str = "keys";
const LOG: &str = "log";
const CARD: &str = "card.json";
const RULES: &str = "rules.cedar";
/// Connections of staff at a time.
const MAX_CONNECTIONS: usize = 256;

/// Why a broker is not made or does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// There is a broker in the folder.
    #[error("`{}` holds a broker already", .0.display())]
    Exists(PathBuf),
    /// Something else is in the folder.
    #[error("`{}` is not empty: name a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// There is no broker in the folder.
    #[error("`{}` is not a broker's folder: `cordon init party` makes one", .0.display())]
    NoBroker(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot use `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The card in the folder is not this key store's.
    #[error("`{}` is not the card of this broker's key store", .0.display())]
    Card(PathBuf),
    /// Nobody could enrol anybody.
    #[error("a broker needs at least one administrator of its own party")]
    NoAdministrator,
    /// A root of a software TEE for a production broker.
    #[error("a production broker never accepts a software TEE: start it without a root for one")]
    SoftwareTee,
    /// The key store.
    #[error("cannot make the key store")]
    Keys(#[source] KeyStoreError),
    /// The key process.
    #[error("the key process does not open the key store")]
    KeyProcess(#[source] ClientError),
    /// The database.
    #[error("cannot open the broker's database")]
    Store(#[source] StoreError),
    /// The log.
    #[error("cannot open the broker's log")]
    Log(#[source] LogError),
    /// The holder's own rules.
    #[error("`rules.cedar` cannot be used")]
    Rules(#[source] PolicyError),
    /// The hub's address.
    #[error("cannot use the hub's address")]
    Hub(#[source] cordon_hub::client::ClientError),
    /// The service.
    #[error("cannot start the broker's service")]
    Service(#[source] ServiceError),
    /// The staff interface.
    #[error("cannot serve the staff interface")]
    Serve(#[source] ServeError),
    /// The log found that it is not the newest, or not its own.
    #[error("the log must not go on")]
    Fatal(#[source] LogError),
    /// The key process ended by itself, or somebody ended it.
    #[error("the key process is gone: no key can leave, so the broker ends, too")]
    KeyProcessGone,
    /// A task ended that should not have. A bug.
    #[error("a part of the broker ended unasked")]
    Ended,
    /// Signing or encoding failed. A bug.
    #[error("cannot sign the broker's card")]
    Sign(#[source] anyhow::Error),
}

/// What a new broker is made with.
pub struct NewBroker<'a> {
    /// The organisation.
    pub party: PartyId,
    /// Fixed for good.
    pub profile: Profile,
    /// Origin of its log, for example `hospital-a.example/log`.
    pub log_origin: String,
    /// Keys that may sign manifests of its datasets.
    pub manifest_keys: Vec<VerifyingKey>,
    /// Its first people; at least one administrator, whose key the key process pins.
    pub people: Vec<(Signed<PersonCard>, Vec<Role>)>,
    /// Seals the root key.
    pub credential: &'a Credential,
}

/// Makes a broker's folder. The first log entries say which card it has and who its first people
/// are.
///
/// The folder is for its owner only, and gets its name when all is in it.
///
/// # Errors
/// If there is one already, or the disk fails; then there is none.
pub async fn initialise(
    folder: &Path,
    new: NewBroker<'_>,
    now: UnixSeconds,
    random: &mut dyn Random,
) -> Result<Signed<PartyCard>, SetupError> {
    if folder.join(CARD).exists() || folder.join(KEYS).exists() {
        return Err(SetupError::Exists(folder.to_owned()));
    }
    if std::fs::read_dir(folder).is_ok_and(|mut found| found.next().is_some()) {
        return Err(SetupError::NotEmpty(folder.to_owned()));
    }
    let administrators: Vec<VerifyingKey> = new
        .people
        .iter()
        .filter(|(card, roles)| {
            card.value().party == new.party && roles.contains(&Role::Administrator)
        })
        .map(|(card, _)| card.value().signing_key)
        .collect();
    if administrators.is_empty() {
        return Err(SetupError::NoAdministrator);
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(folder.file_name().unwrap_or_default());
    name.push(format!(".{}.partial", std::process::id()));
    let staging = folder.with_file_name(name);
    make_private(&staging).map_err(at(&staging))?;
    let made = initialise_in(&staging, new, administrators, now, random).await;
    let placed = made.and_then(|card| {
        std::fs::rename(&staging, folder).map_err(at(folder))?;
        crate::files::flush_parent(folder).map_err(at(folder))?;
        Ok(card)
    });
    if placed.is_err() {
        // What was made has told nobody anything.
        let _ = std::fs::remove_dir_all(&staging);
    }
    placed
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(folder)
}

async fn initialise_in(
    folder: &Path,
    new: NewBroker<'_>,
    administrators: Vec<VerifyingKey>,
    now: UnixSeconds,
    random: &mut dyn Random,
) -> Result<Signed<PartyCard>, SetupError> {
    let card_path = folder.join(CARD);
    let identity = Identity {
        party: new.party,
        profile: new.profile,
        log_origin: new.log_origin,
        administrators,
    };
    let keys = folder.join(KEYS);
    let public =
        Keystore::initialise(&keys, identity, new.credential, random).map_err(SetupError::Keys)?;
    // Opened once here, where its administrator is at work; from now on in its own process only.
    let opened = Keystore::open(&keys, new.credential).map_err(SetupError::Keys)?;
    let card = sign_card(&public, new.manifest_keys, now, &opened.services().broker)?;
    drop(opened);
    let store = Store::open(folder).await.map_err(SetupError::Store)?;
    record_start(&store, &card, new.people, now).await?;
    store.close().await;
    crate::files::write_whole(&card_path, &card.envelope().to_json()).map_err(at(&card_path))?;
    Ok(card)
}

fn sign_card(
    public: &PublicParts,
    manifest_keys: Vec<VerifyingKey>,
    now: UnixSeconds,
    key: &SigningKey,
) -> Result<Signed<PartyCard>, SetupError> {
    let card = PartyCard {
        v: V1,
        party: public.party.clone(),
        profile: public.profile,
        broker_key: public.broker_key,
        log_origin: public.log_origin.clone(),
        log_key: public.log_key,
        witness_key: public.witness_key,
        box_key: public.box_key.clone(),
        manifest_keys,
        issued: now,
    };
    Signed::sign(card, key).map_err(|error| SetupError::Sign(error.into()))
}

async fn record_start(
    store: &Store,
    card: &Signed<PartyCard>,
    people: Vec<(Signed<PersonCard>, Vec<Role>)>,
    now: UnixSeconds,
) -> Result<(), SetupError> {
    let entry = |action, object: Sha256Digest| LogEntry {
        v: V1,
        time: now,
        profile: card.value().profile,
        holder: card.value().party.clone(),
        actor: Actor::Broker,
        action,
        decision: Decision::Permit,
        code: "ok".to_owned(),
        study: None,
        agreement: None,
        run: None,
        objects: vec![object],
        evidence: Vec::new(),
    };
    let first = entry(Action::LogStarted, card.digest());
    let enrolled: Vec<_> = people
        .into_iter()
        .map(|(person, roles)| (entry(Action::PersonEnrolled, person.digest()), person, roles))
        .collect();
    let written = store.write(move |c| {
        Box::pin(async move {
            crate::service::append(c, &first).await?;
            for (entry, person, roles) in enrolled {
                let index = crate::service::append(c, &entry).await?;
                directory::insert_person(c, &person, &roles, index).await?;
            }
            Ok(())
        })
    });
    written.await.map_err(SetupError::Store)
}

/// How a broker is run.
pub struct Settings {
    /// Its folder.
    pub folder: PathBuf,
    /// Opens the root key; handed to the key process and wiped.
    pub credential: Credential,
    /// The key process for `<folder>/keys` (see [`keys_folder`]).
    pub key_process: KeyProcess,
    /// How the hub is reached, and with which certificates; without one the broker serves its
    /// own staff only.
    pub hub: Option<HubSettings>,
    /// Where staff connect.
    pub listener: TcpListener,
    /// Certificate and key of the staff interface; needed anywhere but on loopback.
    pub tls: Option<TlsIdentity>,
    /// Root of a software TEE; in development only.
    pub software_root: Option<VerifyingKey>,
    /// How other brokers are reached, if not through the hub.
    pub peers: Option<Arc<dyn Peers>>,
}

/// The process that holds the root key.
pub enum KeyProcess {
    /// Starts it.
    Start(Command),
    /// It is started already: on other pipes, or within a test.
    Connected(KeyClient),
}

/// How a hub is reached.
pub struct HubSettings {
    /// Its URL.
    pub url: String,
    /// Certificates to trust instead of the system's, PEM.
    pub roots: Option<Vec<u8>>,
}

/// The key store's folder of a broker's folder.
pub fn keys_folder(folder: &Path) -> PathBuf {
    folder.join(KEYS)
}

/// The log's folder: what an auditor reads.
pub fn log_folder(folder: &Path) -> PathBuf {
    folder.join(LOG)
}

/// A broker that runs. Dropping it ends it at once; [`Running::stop`] ends it in order.
pub struct Running {
    broker: Arc<Broker>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<(), SetupError>>,
}

/// Opens a broker's folder and serves staff and hub.
///
/// # Errors
/// If the folder, the key process or the addresses cannot be used, or the database is older than
/// the log that it signed.
pub async fn start(settings: Settings) -> Result<Running, SetupError> {
    let Settings { folder, credential, key_process, hub, listener, tls, .. } = settings;
    check_address(&listener, tls.as_ref()).map_err(SetupError::Serve)?;
    if !folder.join(CARD).exists() {
        return Err(SetupError::NoBroker(folder));
    }
    // The database first: its lock keeps a second broker away from everything else.
    let store = Arc::new(Store::open(&folder).await.map_err(SetupError::Store)?);
    let keys = match key_process {
        KeyProcess::Start(command) => KeyClient::spawn(command).map_err(SetupError::KeyProcess)?,
        KeyProcess::Connected(keys) => keys,
    };
    let (public, service_keys) = keys.unlock(credential).await.map_err(SetupError::KeyProcess)?;
    let card = read_card(&folder, &public)?;
    let roots = match (public.profile, settings.software_root) {
        (Profile::Production, Some(_)) => return Err(SetupError::SoftwareTee),
        (Profile::Production, None) | (Profile::Development, None) => TrustRoots::production(),
        (Profile::Development, Some(root)) => TrustRoots::dangerous_development(root),
    };
    let policy = read_policy(&folder)?;
    let key = Arc::new(service_keys.broker);
    let hub = hub.map(|hub| connect(hub, key.clone())).transpose()?;
    let peers: Arc<dyn Peers> = match (settings.peers, &hub) {
        (Some(peers), _) => peers,
        (None, Some(hub)) => Arc::new(HubPeers::new(hub.clone())),
        (None, None) => Arc::new(log::NoPeers),
    };
    let enrolled = directory::parties(store.readers()).await.map_err(SetupError::Store)?;
    let log_folder = log_folder(&folder);
    let log = Log::open(
        &log_folder,
        LogParts {
            card: card.clone(),
            log_key: service_keys.log,
            witness_key: service_keys.witness,
            store: store.clone(),
            peers,
            enrolled: enrolled.into_iter().map(Signed::into_value).collect(),
        },
    );
    let log = Arc::new(log.await.map_err(SetupError::Log)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let parts =
        Parts { card, key: key.clone(), store, log, keys, hub: hub.clone(), policy, roots, clock };
    let broker = Arc::new(Broker::new(parts).await.map_err(SetupError::Service)?);
    let address = listener.local_addr().map_err(at(Path::new("listener")))?;

    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    if let Some(hub) = hub {
        let (broker, stopping) = (broker.clone(), stopping.clone());
        tasks.spawn(async move {
            let introduced = async {
                register(&hub, &broker).await;
                broker.introduce_people().await;
            };
            tokio::select! {
                () = stopped(stopping.clone()) => return Ok(()),
                () = introduced => {}
            }
            mail::serve(broker, hub, key, stopping).await;
            Ok(())
        });
    }
    tasks.spawn(tend(broker.clone(), stopping.clone()));
    let router = http::router(broker.clone());
    tasks.spawn(async move {
        let shutdown = stopped(stopping);
        serve_router(listener, tls.as_ref(), MAX_CONNECTIONS, router, shutdown)
            .await
            .map_err(SetupError::Serve)
    });
    Ok(Running { broker, address, stop, tasks })
}

impl Running {
    /// The broker.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Where staff connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves when the broker cannot go on: it has to be stopped then, and people to look.
    pub async fn failed(&mut self) -> SetupError {
        tokio::select! {
            fatal = self.broker.log().fatal() => SetupError::Fatal(fatal.into()),
            () = self.broker.keys_ended() => SetupError::KeyProcessGone,
            Some(ended) = self.tasks.join_next() => match ended {
                Ok(Err(error)) => error,
                Ok(Ok(())) | Err(_) => SetupError::Ended,
            },
        }
    }

    /// Ends what is under way, then the key process.
    ///
    /// # Errors
    /// What a task failed with.
    pub async fn stop(mut self) -> Result<(), SetupError> {
        let _ = self.stop.send(true);
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok(Err(error)) = ended {
                result = Err(error);
            }
        }
        self.broker.close().await;
        result
    }
}

async fn tend(broker: Arc<Broker>, stopping: watch::Receiver<bool>) -> Result<(), SetupError> {
    broker.tend(stopping).await;
    Ok(())
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the broker was dropped.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Shows the party's card to the hub, so that its mailbox exists.
async fn register(hub: &HubClient, broker: &Broker) {
    const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
    while let Err(error) = hub.register_party(broker.card()).await {
        tracing::warn!(error = crate::why(&error), "the hub does not take the card: trying again");
        tokio::time::sleep(PAUSE).await;
    }
}

fn connect(hub: HubSettings, key: Arc<SigningKey>) -> Result<HubClient, SetupError> {
    let config = ClientConfig::signing_as(key);
    let config = match hub.roots {
        Some(roots) => config.trusting(roots),
        None => config,
    };
    HubClient::new(&hub.url, config).map_err(SetupError::Hub)
}

/// The card in the folder, if it is of this key store.
fn read_card(folder: &Path, public: &PublicParts) -> Result<Signed<PartyCard>, SetupError> {
    let path = folder.join(CARD);
    let bytes = std::fs::read(&path).map_err(at(&path))?;
    let card = Envelope::from_json(&bytes, bytes.len())
        .ok()
        .and_then(|envelope| envelope.open::<PartyCard>(&public.broker_key).ok());
    let own = |card: &PartyCard| {
        card.party == public.party
            && card.profile == public.profile
            && card.log_origin == public.log_origin
            && card.log_key == public.log_key
            && card.witness_key == public.witness_key
            && card.box_key == public.box_key
    };
    card.filter(|card| own(card.value())).ok_or(SetupError::Card(path))
}

fn read_policy(folder: &Path) -> Result<Policy, SetupError> {
    let path = folder.join(RULES);
    match std::fs::read_to_string(&path) {
        Ok(rules) => Policy::with_rules(&rules).map_err(SetupError::Rules),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Policy::built_in().map_err(SetupError::Rules)
        }
        Err(error) => Err(at(&path)(error)),
    }
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> SetupError {
    let path = path.to_owned();
    move |source| SetupError::File { path: path.clone(), source }
}
