//! The hub: objects, documents, mailboxes and the run queue over HTTP, durable in one folder.
//!
//! | resource | methods | who |
//! |---|---|---|
//! | `/v1/objects/{sha256}` | PUT; GET with a byte range, HEAD | known keys; anybody |
//! | `/v1/documents/{sha256}` | PUT; GET | known keys; anybody |
//! | `/v1/documents?kind=…` | GET | anybody |
//! | `/v1/parties/{party}`, `/v1/persons/{party}/{person}` | PUT, GET | the key in the card; anybody |
//! | `/v1/mailboxes/{name}` | POST; PUT, GET, DELETE | anybody; the owner |
//! | `/v1/runs` | POST | the agreement's requester |
//! | `/v1/runs/{run}` | GET; PUT `/progress`, `/finish` | anybody; the host that claimed it |
//! | `/v1/queue/claims` | POST | hosts |
//! | `/healthz` | GET | anybody |
//!
//! "Known" are the keys in registered cards, the listed hosts, and hosts that hold a claim. All
//! of this protects the hub's disk and its users' patience, never their data: that is sealed.

mod directory;
mod documents;
mod durable;
mod listen;
mod mail;
mod mailboxes;
mod objects;
mod problem;
mod queue;
mod range;
mod runs;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use cordon_crypto::VerifyingKey;
use cordon_types::Sha256Digest;
use object_store::ObjectStore;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::directory::Directory;
use self::documents::Documents;
use self::mail::{Mail, MailLimits};
use self::objects::Objects;
use self::problem::{Code, Problem};
use self::runs::Runs;
use crate::clock::{Clock, SystemClock};
use crate::signature::{
    KEY_HEADER, SIGNATURE_HEADER, SIGNED_HEADERS, Service, SignatureHeaders, SignedParts,
    TIME_HEADER,
};

pub use self::listen::{ServeError, TlsIdentity, TlsIdentityError, check_address};

/// How a hub is run.
#[non_exhaustive]
pub struct ServerConfig {
    /// Where everything is kept. Made if missing; one hub at a time.
    pub folder: PathBuf,
    /// Where objects are kept, if not in the folder.
    pub objects: Option<Arc<dyn ObjectStore>>,
    /// How much of everything.
    pub limits: Limits,
    /// Who may claim runs.
    pub hosts: Hosts,
    /// Who may register a party.
    pub registration: Registration,
    /// Certificate and key; needed to listen anywhere but on loopback.
    pub tls: Option<TlsIdentity>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl ServerConfig {
    /// A hub in `folder`, on loopback, open to everybody who reaches it.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            objects: None,
            limits: Limits::default(),
            hosts: Hosts::Any,
            registration: Registration::Open,
            tls: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Who may claim runs. A false host can waste a run, not read it.
#[derive(Clone, Debug)]
pub enum Hosts {
    /// Whoever signs its requests.
    Any,
    /// These keys.
    Listed(BTreeSet<VerifyingKey>),
}

/// Who may register a party's card.
#[derive(Clone, Debug)]
pub enum Registration {
    /// Whoever comes first.
    Open,
    /// These broker keys. Persons then need their party's broker to sign the request, or any of
    /// these if their party has no broker.
    Listed(BTreeSet<VerifyingKey>),
}

/// How much a hub takes. Each default is far above what three hospitals need, and far below what
/// would hurt a small server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; each long poll holds one.
    pub connections: usize,
    /// Bytes of one object.
    pub object_bytes: u64,
    /// Bytes of all objects.
    pub stored_bytes: u64,
    /// Documents.
    pub documents: usize,
    /// Bytes of all documents.
    pub document_bytes: u64,
    /// Registered cards.
    pub cards: usize,
    /// Waiting messages in one mailbox; unknown senders may use half.
    pub mailbox_messages: usize,
    /// Bytes of documents and messages that are being received: anybody may send them, and they are
    /// read whole before it is known who did.
    pub received_bytes: u32,
    /// Bytes of waiting messages in one mailbox; unknown senders may use half.
    pub mailbox_bytes: u64,
    /// Bytes of all waiting messages.
    pub mail_bytes: u64,
    /// Reply mailboxes at a time.
    pub reply_mailboxes: usize,
    /// Runs that wait for a host.
    pub waiting_runs: usize,
    /// Runs that are remembered; the oldest finished ones go first.
    pub kept_runs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            object_bytes: 64 << 30,
            stored_bytes: 1 << 40,
            documents: 100_000,
            document_bytes: 16 << 30,
            cards: 10_000,
            received_bytes: 256 << 20,
            mailbox_messages: 4_096,
            mailbox_bytes: 256 << 20,
            mail_bytes: 8 << 30,
            reply_mailboxes: 10_000,
            waiting_runs: 1_000,
            kept_runs: 100_000,
        }
    }
}

/// Serves a hub on `listener` until `shutdown` resolves; then answers what is under way and ends.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use cordon_hub::server::{ServerConfig, serve};
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:7700").await?;
/// let shutdown = async { drop(tokio::signal::ctrl_c().await) };
/// serve(listener, ServerConfig::new("hub-data"), shutdown).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the address is not loopback and there is no TLS, if another hub has the folder, or if the
/// folder cannot be read and written.
pub async fn serve(
    listener: TcpListener,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    open(listener, config).await?.run(shutdown).await;
    Ok(())
}

/// Opens a hub, so that its address can be told before it serves.
///
/// # Errors
/// Those of [`serve`].
pub async fn open(listener: TcpListener, config: ServerConfig) -> Result<OpenHub, ServeError> {
    let tls = listen::acceptor(&listener, config.tls.as_ref())?;
    let connections = config.limits.connections;
    let (stop, stopping) = watch::channel(false);
    let hub = Arc::new(Hub::open(config, stopping.clone()).await.map_err(ServeError::Folder)?);
    Ok(OpenHub { hub, listener, tls, connections, stop, stopping })
}

/// A hub with its folder and address, that does not serve yet.
pub struct OpenHub {
    hub: Arc<Hub>,
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    connections: usize,
    stop: watch::Sender<bool>,
    stopping: watch::Receiver<bool>,
}

impl OpenHub {
    /// Serves until `shutdown`.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { hub, listener, tls, connections, stop, stopping } = self;
        listen::run(listener, tls, connections, hub.router(), shutdown, stop, stopping).await;
    }
}

/// Serves any routes as [`serve`] serves a hub's: TLS 1.3, or plain HTTP on loopback only, with
/// deadlines and a limit of connections. For the staff interface of brokers.
///
/// # Errors
/// If the address is not loopback and there is no TLS.
pub async fn serve_router(
    listener: TcpListener,
    tls: Option<&TlsIdentity>,
    connections: usize,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let tls = listen::acceptor(&listener, tls)?;
    let (stop, stopping) = watch::channel(false);
    listen::run(listener, tls, connections, router, shutdown, stop, stopping).await;
    Ok(())
}

/// Everything that handlers share.
pub(crate) struct Hub {
    objects: Objects,
    documents: Documents,
    directory: Directory,
    mail: Mail,
    runs: Runs,
    hosts: Hosts,
    registration: Registration,
    clock: Arc<dyn Clock>,
    /// A permit for each byte that may be received.
    room: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
    /// Held for as long as the hub lives: two hubs on one folder would lose messages.
    _folder_lock: std::fs::File,
}

impl Hub {
    async fn open(config: ServerConfig, stopping: watch::Receiver<bool>) -> std::io::Result<Self> {
        let ServerConfig { folder, objects, limits, hosts, registration, clock, .. } = config;
        // First of all: opening empties what a running hub is about to publish.
        let folder_lock = {
            let folder = folder.clone();
            let lock = move || {
                durable::create_private_folder(&folder)?;
                lock_folder(&folder)
            };
            tokio::task::spawn_blocking(lock).await??
        };
        let objects = match objects {
            Some(store) => {
                Objects::open(store, None, limits.object_bytes, limits.stored_bytes).await?
            }
            None => {
                let folder = folder.join("objects");
                Objects::open_folder(folder, limits.object_bytes, limits.stored_bytes).await?
            }
        };
        let load = tokio::task::spawn_blocking(move || {
            let mail_limits = MailLimits {
                messages: limits.mailbox_messages,
                bytes: limits.mailbox_bytes,
                all_bytes: limits.mail_bytes,
                replies: limits.reply_mailboxes,
            };
            Ok(Self {
                objects,
                documents: Documents::open(
                    folder.join("documents"),
                    limits.documents,
                    limits.document_bytes,
                )?,
                directory: Directory::open(folder.join("directory"), limits.cards)?,
                mail: Mail::open(folder.join("mail"), mail_limits, clock.now())?,
                runs: Runs::open(folder.join("runs"), limits.waiting_runs, limits.kept_runs)?,
                hosts,
                registration,
                clock,
                room: Arc::new(Semaphore::new(limits.received_bytes as usize)),
                stopping,
                _folder_lock: folder_lock,
            })
        });
        load.await?
    }

    fn router(self: &Arc<Self>) -> Router {
        let mailbox = || {
            post(mailboxes::post)
                .put(mailboxes::open)
                .get(mailboxes::read)
                .delete(mailboxes::acknowledge)
        };
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/v1/objects/{hex}", put(objects::put).get(objects::get))
            .route("/v1/documents", get(documents::list))
            .route("/v1/documents/{hex}", put(documents::put).get(documents::get))
            .route("/v1/parties/{party}", put(directory::put_party).get(directory::get_party))
            .route(
                "/v1/persons/{party}/{person}",
                put(directory::put_person).get(directory::get_person),
            )
            .route("/v1/mailboxes/{party}", mailbox())
            .route("/v1/mailboxes/{party}/{person}", mailbox())
            .route("/v1/runs", post(runs::submit))
            .route("/v1/runs/{hex}", get(runs::status))
            .route("/v1/runs/{hex}/progress", put(runs::progress))
            .route("/v1/runs/{hex}/finish", put(runs::finish))
            .route("/v1/queue/claims", post(runs::claim))
            .fallback(|| async { Problem::new(Code::NotFound) })
            .method_not_allowed_fallback(|| async { Problem::new(Code::MethodNotAllowed) })
            // Every handler has its own limit and streams what is large.
            .layer(DefaultBodyLimit::disable())
            .with_state(self.clone())
    }

    /// Whose signature a request carries. `body` is the digest of its body.
    fn signer(&self, parts: &Parts, body: Sha256Digest) -> Result<VerifyingKey, Problem> {
        self.optional_signer(parts, body)?.ok_or_else(|| Problem::new(Code::SignatureMissing))
    }

    /// Likewise, where none is needed; but one that is there must hold.
    fn optional_signer(
        &self,
        parts: &Parts,
        body: Sha256Digest,
    ) -> Result<Option<VerifyingKey>, Problem> {
        if !SIGNED_HEADERS.iter().any(|name| parts.headers.contains_key(*name)) {
            return Ok(None);
        }
        let headers = SignatureHeaders {
            key: text(&parts.headers, KEY_HEADER),
            time: text(&parts.headers, TIME_HEADER),
            signature: text(&parts.headers, SIGNATURE_HEADER),
        };
        let signed = SignedParts {
            service: Service::Hub,
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            body,
        };
        Ok(Some(signed.verify(headers, self.clock.now().to_seconds())?))
    }

    /// Reads a body of at most `limit` bytes once there is room for it.
    async fn receive(&self, body: Body, limit: usize) -> Result<Received, Problem> {
        let size = http_body_size(&body).unwrap_or(limit as u64);
        if size > limit as u64 {
            return Err(too_large(limit));
        }
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let room = tokio::time::timeout(ROOM_DEADLINE, self.room.clone().acquire_many_owned(size));
        let busy = || Problem::with(Code::StoppingOrBusy, "too much is being received at once");
        let room = room.await.map_err(|_| busy())?.map_err(|_| busy())?;
        Ok(Received { bytes: read_body(body, limit).await?, _room: room })
    }

    fn is_known(&self, key: &VerifyingKey) -> bool {
        let listed = match &self.hosts {
            Hosts::Any => false,
            Hosts::Listed(keys) => keys.contains(key),
        };
        listed || self.directory.knows(key) || self.runs.is_host(key)
    }

    fn require_known(&self, key: &VerifyingKey) -> Result<(), Problem> {
        if self.is_known(key) { Ok(()) } else { Err(Problem::new(Code::SignerUnknown)) }
    }

    fn require_host(&self, key: &VerifyingKey) -> Result<(), Problem> {
        match &self.hosts {
            Hosts::Any => Ok(()),
            Hosts::Listed(keys) if keys.contains(key) => Ok(()),
            Hosts::Listed(_) => Err(Problem::new(Code::SignerUnknown)),
        }
    }

    /// Resolves when the hub is about to end: long polls answer at once.
    async fn stopping(&self) {
        let mut stopping = self.stopping.clone();
        // An error means that the server is gone altogether.
        let _ = stopping.wait_for(|stop| *stop).await;
    }
}

/// A body, with the room that it takes.
struct Received {
    bytes: bytes::Bytes,
    _room: OwnedSemaphorePermit,
}

impl std::ops::Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn lock_folder(folder: &Path) -> std::io::Result<std::fs::File> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))?;
    file.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => {
            std::io::Error::new(std::io::ErrorKind::WouldBlock, "another hub has this folder")
        }
        std::fs::TryLockError::Error(error) => error,
    })?;
    Ok(file)
}

/// A request for which there is no room by then is told to come again.
const ROOM_DEADLINE: Duration = Duration::from_secs(5);

/// A body that does not arrive within this time ends the request.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// Reads a whole body of at most `limit` bytes.
async fn read_body(body: Body, limit: usize) -> Result<bytes::Bytes, Problem> {
    let announced = http_body_size(&body);
    if announced.is_some_and(|size| size > limit as u64) {
        return Err(too_large(limit));
    }
    match tokio::time::timeout(BODY_DEADLINE, axum::body::to_bytes(body, limit)).await {
        Err(_) => Err(Problem::new(Code::TimedOut)),
        Ok(Ok(bytes)) => Ok(bytes),
        // Either over the limit or broken off; in the latter case nobody reads the answer.
        Ok(Err(_)) => Err(too_large(limit)),
    }
}

fn http_body_size(body: &Body) -> Option<u64> {
    use axum::body::HttpBody as _;
    body.size_hint().exact()
}

fn too_large(limit: usize) -> Problem {
    Problem::with(Code::TooLarge, format!("expected at most {limit} bytes"))
}

fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(query)| query)
        .map_err(|_| Problem::with(Code::BadRequest, "unknown or malformed query"))
}

fn json<T: Serialize>(value: &T) -> Result<Response, Problem> {
    serde_json::to_vec(value).map(json_bytes).map_err(|_| Problem::new(Code::Internal))
}

fn json_bytes(bytes: Vec<u8>) -> Response {
    let mut response = bytes.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Runs what blocks (disk, locks held over it) away from the threads that serve sockets.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::new(Code::Internal))?
}

// A handler that panicked has left no half-made change behind: maps are changed last.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
