use std::io::{BufReader, BufWriter, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use cordon_crypto::dsse::Envelope;
use cordon_crypto::{SealedBox, SigningKey};
use cordon_protocol::frame::{FrameError, MAX_FRAME_BYTES, read_bytes, read_message, write_bytes};
use cordon_types::{DatasetId, Secret, UnixSeconds};
use zeroize::Zeroizing;

use crate::deposit::DepositRequest;
use crate::process::pending::{Completer, Reply, pair};
use crate::process::{Pending, Request, Response, SERVICE_SEED_BYTES, Status, Unlock};
use crate::record::VersionStatus;
use crate::refusal::Refusal;
use crate::release::{GrantRequest, ReleaseRequest};
use crate::root::Credential;
use crate::state::Transition;
use crate::store::{PublicParts, ServiceKeys};

/// Talks to the key process. Share it by reference or `Arc`: requests of many callers are sent
/// without waiting for each other's answers, and answered in the order in which they were sent.
///
/// Dropping it ends the process.
pub struct Client {
    requests: Option<SyncSender<Sent>>,
    end: Mutex<Option<Pending<()>>>,
    threads: Vec<JoinHandle<()>>,
    child: Option<Child>,
}

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The key process says no.
    #[error("the key process refuses")]
    Refused(#[source] Refusal),
    /// The key store cannot be used.
    #[error("the key process cannot do it: {reason}")]
    Failed {
        /// What the key process says.
        reason: String,
    },
    /// The process ended, or never was.
    #[error("the key process is gone")]
    Gone,
    /// Too many requests wait already.
    #[error("{MAX_WAITING} requests wait for the key process already")]
    Busy,
    /// The answer is not one to the request: the process is of another version.
    #[error("the key process gave an answer that does not fit the request")]
    Mismatch,
    /// The request has no JSON form, or is too large.
    #[error("the request cannot be sent")]
    Unsendable(#[source] FrameError),
    /// The process cannot be started.
    #[error("the key process cannot be started")]
    Spawn(#[source] std::io::Error),
}

/// A request on its way out.
struct Sent {
    frames: Vec<Zeroizing<Vec<u8>>>,
    completer: Completer,
}

impl Client {
    /// Starts `command` as the key process: with pipes, without environment.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self, ClientError> {
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(ClientError::Spawn)?;
        let (Some(input), Some(output)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(ClientError::Gone);
        };
        let mut client = Self::connect(input, output)?;
        client.child = Some(child);
        Ok(client)
    }

    /// Talks to a key process over any two streams.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn connect(
        input: impl Read + Send + 'static,
        output: impl Write + Send + 'static,
    ) -> Result<Self, ClientError> {
        let (requests, to_write) = sync_channel(MAX_WAITING);
        let (written, to_read) = channel();
        let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let builder = std::thread::Builder::new().name(name.to_owned());
            builder.spawn(work).map_err(ClientError::Spawn)
        };
        let writer = start("keys-out", Box::new(|| write_requests(output, to_write, written)))?;
        // Nobody completes it: it is dropped where the process's output ends.
        let (at_end, end) = pair(|_| Err(ClientError::Gone));
        let read = Box::new(|| {
            read_responses(input, to_read);
            drop(at_end);
        });
        let reader = start("keys-in", read)?;
        let threads = vec![writer, reader];
        Ok(Self { requests: Some(requests), end: Mutex::new(Some(end)), threads, child: None })
    }

    /// Resolves when the process is gone. For one caller; for others, never.
    pub async fn ended(&self) {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        match end {
            Some(end) => drop(end.await),
            None => std::future::pending().await,
        }
    }

    /// Opens the key store; once per process.
    pub fn unlock(&self, credential: Credential) -> Pending<(PublicParts, ServiceKeys)> {
        let (how, secret) = match credential {
            Credential::Passphrase(text) => (Unlock::Passphrase, Some(text)),
            Credential::KeyFile(path) => (Unlock::KeyFile(path), None),
        };
        self.send(&Request::Unlock(how), secret, |reply| match (reply.response, reply.secret) {
            (Response::Unlocked(public), Some(seeds)) => Ok((*public, service_keys(&seeds)?)),
            (other, _) => Err(unexpected(other)),
        })
    }

    /// Enrols a party; see [`crate::Keystore::enrol`].
    pub fn enrol(&self, card: Envelope, enrolment: Envelope) -> Pending<()> {
        let request = Request::Enrol { card: Box::new(card), enrolment: Box::new(enrolment) };
        self.send(&request, None, |reply| match reply.response {
            Response::Enrolled => Ok(()),
            other => Err(unexpected(other)),
        })
    }

    /// Takes a dataset version's key in; see [`crate::Keystore::deposit`].
    pub fn deposit(&self, request: DepositRequest) -> Pending<VersionStatus> {
        self.send(&Request::Deposit(Box::new(request)), None, version_status)
    }

    /// Seals keys to a guard; see [`crate::Keystore::grant`].
    pub fn grant(&self, request: GrantRequest) -> Pending<SealedBox> {
        self.send(&Request::Grant(Box::new(request)), None, |reply| match reply.response {
            Response::Granted(sealed) => Ok(*sealed),
            other => Err(unexpected(other)),
        })
    }

    /// Seals a share to the recipients; see [`crate::Keystore::release`].
    pub fn release(&self, request: ReleaseRequest) -> Pending<Vec<SealedBox>> {
        self.send(&Request::Release(Box::new(request)), None, |reply| match reply.response {
            Response::Released(sealed) => Ok(sealed),
            other => Err(unexpected(other)),
        })
    }

    /// Changes the state of a version's key; see [`crate::Keystore::change`].
    pub fn change(
        &self,
        dataset: DatasetId,
        version: u32,
        transition: Transition,
        time: UnixSeconds,
    ) -> Pending<VersionStatus> {
        self.send(&Request::Change { dataset, version, transition, time }, None, version_status)
    }

    /// Wraps a version's key anew; see [`crate::Keystore::rewrap`].
    pub fn rewrap(&self, dataset: DatasetId, version: u32) -> Pending<VersionStatus> {
        self.send(&Request::Rewrap { dataset, version }, None, version_status)
    }

    /// Destroys a version's key; see [`crate::Keystore::destroy`].
    pub fn destroy(
        &self,
        dataset: DatasetId,
        version: u32,
        time: UnixSeconds,
    ) -> Pending<VersionStatus> {
        self.send(&Request::Destroy { dataset, version, time }, None, version_status)
    }

    /// Says what is in the store.
    pub fn status(&self) -> Pending<Status> {
        self.send(&Request::Status, None, |reply| match reply.response {
            Response::Status(status) => Ok(status),
            other => Err(unexpected(other)),
        })
    }

    fn send<T>(
        &self,
        request: &Request,
        secret: Option<Zeroizing<Vec<u8>>>,
        read: fn(Reply) -> Result<T, ClientError>,
    ) -> Pending<T> {
        let (completer, pending) = pair(read);
        let bytes = match serde_json::to_vec(request).map_err(FrameError::Malformed) {
            Ok(bytes) if bytes.len() <= MAX_FRAME_BYTES => bytes,
            Ok(bytes) => {
                let error = FrameError::TooLarge { size: bytes.len(), limit: MAX_FRAME_BYTES };
                completer.complete(Err(ClientError::Unsendable(error)));
                return pending;
            }
            Err(error) => {
                completer.complete(Err(ClientError::Unsendable(error)));
                return pending;
            }
        };
        let frames = std::iter::once(Zeroizing::new(bytes)).chain(secret).collect();
        let Some(requests) = &self.requests else { return pending };
        match requests.try_send(Sent { frames, completer }) {
            // A completer that is dropped says `Gone`.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(sent)) => sent.completer.complete(Err(ClientError::Busy)),
        }
        pending
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The writer ends, its stream closes, the process ends, its output closes, the reader
        // ends.
        self.requests = None;
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
        if let Some(mut child) = self.child.take() {
            let _status = child.wait();
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

fn write_requests(output: impl Write, requests: Receiver<Sent>, written: Sender<Completer>) {
    let mut output = BufWriter::with_capacity(64 * 1024, output);
    for Sent { frames, completer } in requests {
        // In the reader's hands before the first byte is out: an answer finds its request.
        if written.send(completer).is_err() {
            return;
        }
        for frame in frames {
            if write_bytes(&mut output, &frame).is_err() {
                return;
            }
        }
    }
}

fn read_responses(input: impl Read, requests: Receiver<Completer>) {
    let mut input = BufReader::with_capacity(64 * 1024, input);
    loop {
        // Whatever goes wrong: all waiting completers are dropped and say `Gone`.
        let Ok(response) = read_message(&mut input, MAX_FRAME_BYTES) else { return };
        let secret = match response {
            Response::Unlocked(_) => match read_bytes(&mut input, SERVICE_SEED_BYTES) {
                Ok(seeds) => Some(Zeroizing::new(seeds)),
                Err(_) => return,
            },
            _ => None,
        };
        // The request was announced before it was written.
        let Ok(completer) = requests.try_recv() else { return };
        completer.complete(Ok(Reply { response, secret }));
    }
}

fn version_status(reply: Reply) -> Result<VersionStatus, ClientError> {
    match reply.response {
        Response::Version(status) => Ok(status),
        other => Err(unexpected(other)),
    }
}

fn unexpected(response: Response) -> ClientError {
    match response {
        Response::Refused(refusal) => ClientError::Refused(refusal),
        Response::Failed { reason } => ClientError::Failed { reason },
        _ => ClientError::Mismatch,
    }
}

fn service_keys(seeds: &[u8]) -> Result<ServiceKeys, ClientError> {
    let key = |seed: &[u8; 32]| Secret::from_slice(seed).map(SigningKey::from_seed);
    match seeds.as_chunks::<32>() {
        ([broker, log, witness], []) => Some((broker, log, witness)),
        _ => None,
    }
    .and_then(|(broker, log, witness)| {
        Some(ServiceKeys { broker: key(broker)?, log: key(log)?, witness: key(witness)? })
    })
    .ok_or(ClientError::Mismatch)
}

/// Requests that may wait: 64 MiB of grants at worst, a second's work.
const MAX_WAITING: usize = 1024;
