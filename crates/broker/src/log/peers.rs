//! The other holders' brokers as witnesses of this log: one task for each collects cosignatures.

use std::sync::Arc;
use std::time::Duration;

use cordon_crypto::SystemRandom;
use cordon_hub::MailboxName;
use cordon_hub::client::{Client, Mailbox};
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_tlog::tile::TileHashReader;
use cordon_tlog::tree::ConsistencyProof;
use cordon_tlog::witness::{AddCheckpoint, parse_stored_size};
use cordon_tlog::{LogKey, SignedCheckpoint, VerifiedCheckpoint, WitnessKey};
use cordon_types::PartyId;
use futures_util::future::BoxFuture;

use super::{Fatal, LogError, Shared};

/// A witness answers within this, or it is not waited for.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// After a witness did not answer; doubles up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A witness that names another size is asked again with a proof from there.
const MAX_ATTEMPTS: u32 = 3;

/// How other brokers are asked.
pub trait Peers: Send + Sync {
    /// Asks the broker of `party`.
    fn ask<'a>(
        &'a self,
        party: &'a PartyId,
        message: ToBroker,
    ) -> BoxFuture<'a, Result<FromBroker, PeerError>>;
}

/// A broker did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the other broker did not answer: {0}")]
pub struct PeerError(pub String);

/// Another broker in its part as a witness.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) party: PartyId,
    pub(super) key: WitnessKey,
}

/// Through the mailboxes of a hub.
pub struct HubPeers {
    hub: Client,
    mailbox: tokio::sync::Mutex<Option<Arc<Mailbox>>>,
}

impl HubPeers {
    /// Asks through this hub; its mailbox for answers is opened when first needed.
    pub fn new(hub: Client) -> Self {
        Self { hub, mailbox: tokio::sync::Mutex::default() }
    }

    async fn mailbox(&self) -> Result<Arc<Mailbox>, PeerError> {
        let mut place = self.mailbox.lock().await;
        if let Some(mailbox) = &*place {
            return Ok(mailbox.clone());
        }
        let opened = Mailbox::open(self.hub.clone(), Box::new(SystemRandom::new())).await;
        let mailbox = Arc::new(opened.map_err(|error| PeerError(error.to_string()))?);
        *place = Some(mailbox.clone());
        Ok(mailbox)
    }
}

impl Peers for HubPeers {
    fn ask<'a>(
        &'a self,
        party: &'a PartyId,
        message: ToBroker,
    ) -> BoxFuture<'a, Result<FromBroker, PeerError>> {
        Box::pin(async move {
            let mailbox = self.mailbox().await?;
            let to = MailboxName::Party(party.clone());
            let answer = mailbox.ask(&to, &message, ANSWER_DEADLINE).await;
            answer.map_err(|error| PeerError(error.to_string()))
        })
    }
}

/// Nobody: for a broker without a hub.
pub struct NoPeers;

impl Peers for NoPeers {
    fn ask<'a>(
        &'a self,
        _party: &'a PartyId,
        _message: ToBroker,
    ) -> BoxFuture<'a, Result<FromBroker, PeerError>> {
        Box::pin(async { Err(PeerError("this broker has no hub".to_owned())) })
    }
}

/// Has every new head cosigned by one witness, as long as the log lives.
pub(super) async fn collect(shared: Arc<Shared>, peer: Peer) {
    if !shared.ready().await {
        return;
    }
    let mut heads = shared.heads.subscribe();
    let (mut cosigned_size, mut pause) = (0, SHORTEST_PAUSE);
    loop {
        let head = match heads.wait_for(|heads| heads.lacks(&peer.key)).await {
            Ok(heads) => heads.newest().cloned(),
            Err(_) => return,
        };
        let Some(head) = head else { continue };
        match have_cosigned(&shared, &peer, &mut cosigned_size, &head).await {
            Ok(answer) => {
                let mut taken = false;
                shared.heads.send_modify(|heads| {
                    taken = heads.cosigned(&peer.party, &peer.key, head.size(), &answer);
                });
                if taken {
                    pause = SHORTEST_PAUSE;
                    continue;
                }
                tracing::warn!(party = %peer.party, "a cosignature does not verify");
            }
            Err(Refused::Fatal(fatal)) => return shared.fail(fatal),
            Err(Refused::NoAnswer(why)) => {
                tracing::debug!(party = %peer.party, why, "a witness does not cosign");
            }
        }
        shared.heads.send_modify(|heads| heads.silent(&peer.party));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Why there is no cosignature.
enum Refused {
    NoAnswer(String),
    Fatal(Fatal),
}

impl From<PeerError> for Refused {
    fn from(error: PeerError) -> Self {
        Self::NoAnswer(error.to_string())
    }
}

async fn have_cosigned(
    shared: &Shared,
    peer: &Peer,
    cosigned_size: &mut u64,
    head: &VerifiedCheckpoint,
) -> Result<String, Refused> {
    for _ in 0..MAX_ATTEMPTS {
        let body = request(shared, *cosigned_size, head)
            .map_err(|error| Refused::NoAnswer(error.to_string()))?;
        match shared.peers.ask(&peer.party, ToBroker::AddCheckpoint { body }).await? {
            FromBroker::Cosigned { status: 200, body } => {
                *cosigned_size = head.size();
                return Ok(body);
            }
            FromBroker::Cosigned { status: 409, body } => {
                let size = parse_stored_size(body.as_bytes());
                let size = size.ok_or_else(|| Refused::NoAnswer("a malformed size".into()))?;
                if size > head.size() {
                    // Believed only if our own signature is on what it says it has.
                    check_last(shared, peer).await?;
                    return Err(Refused::NoAnswer("it claims a newer head".into()));
                }
                *cosigned_size = size;
            }
            FromBroker::Cosigned { status, .. } => {
                check_last(shared, peer).await?;
                return Err(Refused::NoAnswer(format!("status {status}")));
            }
            _ => return Err(Refused::NoAnswer("another kind of answer".into())),
        }
    }
    Err(Refused::NoAnswer("it names one size after the other".into()))
}

fn request(shared: &Shared, old_size: u64, head: &VerifiedCheckpoint) -> Result<String, LogError> {
    let hashes = if old_size == 0 || old_size == head.size() {
        Vec::new()
    } else {
        let mut reader = TileHashReader::new(shared.folder.clone(), head.size());
        ConsistencyProof::make(&mut reader, old_size, head.size())
            .map_err(|error| LogError::damaged(&error))?
            .hashes
    };
    Ok(AddCheckpoint::new(old_size, hashes, head.signed().clone()).to_string())
}

async fn check_last(shared: &Shared, peer: &Peer) -> Result<(), Refused> {
    match last_cosigned(shared, peer).await? {
        Some(theirs) => compare(shared, peer, &theirs).map_err(Refused::Fatal),
        None => Ok(()),
    }
}

/// The head of this log that a witness cosigned last, if this log's own signature is on it.
pub(super) async fn last_cosigned(
    shared: &Shared,
    peer: &Peer,
) -> Result<Option<VerifiedCheckpoint>, PeerError> {
    let message = ToBroker::LastCheckpoint { origin: shared.origin.to_string() };
    let answer = shared.peers.ask(&peer.party, message).await?;
    let FromBroker::LastCheckpoint { checkpoint } = answer else {
        return Err(PeerError("another kind of answer".into()));
    };
    let Some(text) = checkpoint else { return Ok(None) };
    let own = LogKey::new(shared.origin.clone(), shared.log_key.verifying_key());
    SignedCheckpoint::parse(text.as_bytes())
        .and_then(|theirs| theirs.verify(&own))
        .map(Some)
        .map_err(|error| PeerError(error.to_string()))
}

/// Whether what a witness has of this log fits what is here.
pub(super) fn compare(
    shared: &Shared,
    peer: &Peer,
    theirs: &VerifiedCheckpoint,
) -> Result<(), Fatal> {
    let newest = shared.heads.borrow().newest().cloned();
    let own = newest.as_ref().map_or(0, VerifiedCheckpoint::size);
    let (cosigned, witness) = (theirs.size(), peer.party.clone());
    if cosigned > own {
        return Err(Fatal::BehindWitness { witness, own, cosigned });
    }
    match newest {
        Some(newest) if !grew_from(shared, theirs, &newest) => {
            Err(Fatal::Forked { witness, size: cosigned })
        }
        _ => Ok(()),
    }
}

/// Whether the log here has what a witness saw as its beginning: two histories differ for ever,
/// whichever of them is longer by now.
fn grew_from(shared: &Shared, theirs: &VerifiedCheckpoint, newest: &VerifiedCheckpoint) -> bool {
    if theirs.size() == newest.size() {
        return theirs.root() == newest.root();
    }
    let mut reader = TileHashReader::new(shared.folder.clone(), newest.size());
    match ConsistencyProof::make(&mut reader, theirs.size(), newest.size()) {
        Ok(proof) => proof.verify(theirs.root(), newest.root()).is_ok(),
        // Tiles that cannot be read say nothing of what was signed: that is noticed elsewhere.
        Err(error) => {
            tracing::error!(error = crate::why(&error), "cannot compare with a witness");
            true
        }
    }
}
