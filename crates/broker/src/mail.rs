//! The broker's mailbox at the hub: guards, requesters and other brokers write, the broker
//! answers. It connects outwards only.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cordon_crypto::SigningKey;
use cordon_hub::MailboxName;
use cordon_hub::client::{Client, Inbox};
use cordon_protocol::RunId;
use cordon_protocol::entry::{Action, Actor};
use cordon_protocol::message::{FromBroker, Mail, ToBroker};
use tokio::sync::{Semaphore, watch};

use crate::service::{Broker, ServiceError};

/// One long poll.
const POLL: Duration = Duration::from_secs(20);
/// Pause after the hub failed to answer.
const PAUSE: Duration = Duration::from_millis(500);
/// How long messages may be worked on after the broker was asked to end.
const DRAIN: Duration = Duration::from_secs(5);
/// Messages that are worked on at once, of each of two kinds. What waits for others must not keep
/// heartbeats and cosignatures waiting: runs would end, and two brokers wait for each other.
const MAX_AT_ONCE: usize = 256;

/// Serves the mailbox until `stop` changes.
pub async fn serve(
    broker: Arc<Broker>,
    hub: Client,
    key: Arc<SigningKey>,
    mut stop: watch::Receiver<bool>,
) {
    let name = MailboxName::Party(broker.card().value().party.clone());
    let mut inbox = Inbox::<ToBroker>::new(hub.clone(), name.clone(), key.clone());
    let answered = Arc::new(Answered::new(Inbox::new(hub.clone(), name, key)));
    let slow = Arc::new(Semaphore::new(MAX_AT_ONCE));
    let quick = Arc::new(Semaphore::new(MAX_AT_ONCE));
    loop {
        let received = tokio::select! {
            _ = stop.changed() => break,
            received = inbox.receive(POLL) => received,
        };
        let deliveries = match received {
            Ok(deliveries) => deliveries,
            Err(error) => {
                tracing::debug!(error = crate::why(&error), "the hub did not answer");
                tokio::select! {
                    _ = stop.changed() => break,
                    () = tokio::time::sleep(PAUSE) => continue,
                }
            }
        };
        for delivery in deliveries {
            let open = answered.begin(delivery.cursor);
            let is_slow = delivery.mail.as_ref().is_ok_and(|mail| waits_for_others(&mail.body));
            let place = if is_slow { slow.clone().try_acquire_owned().ok() } else { None };
            let is_full = is_slow && place.is_none();
            let permit = match place {
                Some(permit) => permit,
                None => match quick.clone().acquire_owned().await {
                    Ok(permit) => permit,
                    Err(_) => return,
                },
            };
            let (broker, hub) = (broker.clone(), hub.clone());
            tokio::spawn(async move {
                match delivery.mail {
                    Ok(mail) if is_full => turn_away(&broker, &hub, mail).await,
                    Ok(mail) => answer(&broker, &hub, mail).await,
                    Err(_) => {
                        tracing::info!(cursor = delivery.cursor, "a malformed message was dropped");
                    }
                }
                open.end().await;
                drop(permit);
            });
        }
    }
    // What is under way may finish; what does not is delivered again after the next start.
    let all = u32::try_from(MAX_AT_ONCE).unwrap_or(u32::MAX);
    let done =
        async { (slow.acquire_many(all).await.is_ok(), quick.acquire_many(all).await.is_ok()) };
    let _ = tokio::time::timeout(DRAIN, done).await;
}

/// Whether a message may wait for witnesses.
fn waits_for_others(message: &ToBroker) -> bool {
    match message {
        ToBroker::Challenge { .. } | ToBroker::Grant { .. } => true,
        ToBroker::Propose { .. }
        | ToBroker::Heartbeat { .. }
        | ToBroker::Deliver { .. }
        | ToBroker::AddCheckpoint { .. }
        | ToBroker::LastCheckpoint { .. } => false,
    }
}

/// Which messages are answered. The hub is told to forget a message only when it and all before
/// it are: a broker that is killed gets what it had not answered again.
struct Answered {
    inbox: Inbox<ToBroker>,
    cursors: Mutex<Cursors>,
}

#[derive(Default)]
struct Cursors {
    open: BTreeSet<u64>,
    last: u64,
    acknowledged: u64,
}

impl Cursors {
    fn begin(&mut self, cursor: u64) {
        self.open.insert(cursor);
        self.last = self.last.max(cursor);
    }

    /// What may be acknowledged after this one, if that is more than before.
    fn end(&mut self, cursor: u64) -> Option<u64> {
        self.open.remove(&cursor);
        let upto = self.open.first().map_or(self.last, |first| first.saturating_sub(1));
        if upto <= self.acknowledged {
            return None;
        }
        self.acknowledged = upto;
        Some(upto)
    }
}

impl Answered {
    fn new(inbox: Inbox<ToBroker>) -> Self {
        Self { inbox, cursors: Mutex::default() }
    }

    fn begin(self: &Arc<Self>, cursor: u64) -> OpenMessage {
        self.lock().begin(cursor);
        OpenMessage { answered: self.clone(), cursor }
    }

    // A panic cannot leave the numbers half changed.
    fn lock(&self) -> MutexGuard<'_, Cursors> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that is not answered yet.
struct OpenMessage {
    answered: Arc<Answered>,
    cursor: u64,
}

impl OpenMessage {
    async fn end(self) {
        let upto = self.answered.lock().end(self.cursor);
        let Some(upto) = upto else { return };
        if let Err(error) = self.answered.inbox.acknowledge(upto).await {
            tracing::debug!(error = crate::why(&error), "the hub did not take the acknowledgement");
        }
    }
}

impl Drop for OpenMessage {
    /// A message that makes its task panic is not kept for ever.
    fn drop(&mut self) {
        self.answered.lock().open.remove(&self.cursor);
    }
}

async fn answer(broker: &Broker, hub: &Client, mail: Mail<ToBroker>) {
    let Some(body) = respond(broker, mail.body).await else { return };
    let Some(reply_to) = mail.reply_to else { return };
    if let Err(error) = hub.answer(&reply_to, mail.id, &body).await {
        tracing::info!(error = crate::why(&error), "an answer could not be delivered");
    }
}

async fn turn_away(broker: &Broker, hub: &Client, mail: Mail<ToBroker>) {
    let Some(reply_to) = mail.reply_to else { return };
    let busy = ServiceError::Unavailable("too much is waiting for other brokers".into());
    let Some(body) = refused(broker, &busy, None) else { return };
    if let Err(error) = hub.answer(&reply_to, mail.id, &body).await {
        tracing::info!(error = crate::why(&error), "an answer could not be delivered");
    }
}

/// What a message comes to: an answer, or a signed refusal. `None` only if not even that can be
/// signed.
pub async fn respond(broker: &Broker, message: ToBroker) -> Option<FromBroker> {
    let action = refused_action(&message);
    let (error, run) = match act(broker, message).await {
        Ok(body) => return Some(body),
        Err(refused) => refused,
    };
    let error = broker.note(error, Actor::Unknown, action, run).await;
    if let ServiceError::Internal(error) = &error {
        tracing::error!(error = format!("{error:#}"), "a message failed");
    }
    refused(broker, &error, run)
}

/// What the log says of a message that is refused before anything is decided.
fn refused_action(message: &ToBroker) -> Action {
    match message {
        ToBroker::Propose { .. } => Action::AgreementProposed,
        ToBroker::Challenge { .. } | ToBroker::Grant { .. } => Action::GrantRefused,
        ToBroker::Heartbeat { .. }
        | ToBroker::Deliver { .. }
        | ToBroker::AddCheckpoint { .. }
        | ToBroker::LastCheckpoint { .. } => Action::MessageRefused,
    }
}

fn refused(broker: &Broker, error: &ServiceError, run: Option<RunId>) -> Option<FromBroker> {
    match broker.sign_refusal(error, run) {
        Ok(refusal) => Some(FromBroker::Refused { refusal: refusal.envelope().clone() }),
        Err(error) => {
            tracing::error!(error = crate::why(&error), "cannot sign a refusal");
            None
        }
    }
}

/// One function of the service per message. An error comes with the run that it is about.
async fn act(
    broker: &Broker,
    message: ToBroker,
) -> Result<FromBroker, (ServiceError, Option<RunId>)> {
    let without_run = |error| (error, None);
    match message {
        ToBroker::Propose { agreement } => {
            let recorded = broker.propose(&agreement).await.map_err(without_run)?;
            Ok(FromBroker::Proposed { agreement: recorded.digest })
        }
        ToBroker::Challenge { request } => {
            let run = RunId(request.payload_digest());
            broker.challenge(&request).await.map_err(|error| (error, Some(run)))
        }
        ToBroker::Grant { run, evidence } => {
            let grant = broker.grant(run, &evidence).await.map_err(|error| (error, Some(run)))?;
            Ok(FromBroker::Granted { grant: Box::new(grant) })
        }
        ToBroker::Heartbeat { heartbeat } => {
            let lease = broker.heartbeat(&heartbeat).await.map_err(without_run)?;
            Ok(FromBroker::Leased { lease })
        }
        ToBroker::Deliver { run, receipt, share, reviews } => {
            let held = broker.deliver(run, &receipt, share, reviews).await;
            let receipt = held.map_err(|error| (error, Some(run)))?;
            Ok(FromBroker::Received { holder: broker.card().value().party.clone(), receipt })
        }
        ToBroker::AddCheckpoint { body } => {
            let answer = broker.log().cosign(&body, broker.now()).await;
            let (status, body) = answer.map_err(|error| (error.into(), None))?;
            Ok(FromBroker::Cosigned { status, body })
        }
        ToBroker::LastCheckpoint { origin } => {
            let checkpoint = broker.log().last_cosigned(&origin).await;
            let checkpoint = checkpoint.map_err(|error| (error.into(), None))?;
            Ok(FromBroker::LastCheckpoint { checkpoint })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_acknowledged_when_it_and_all_before_it_are_answered() {
        let mut cursors = Cursors::default();
        for cursor in [5, 6, 7] {
            cursors.begin(cursor);
        }
        assert_eq!(cursors.end(6), Some(4));
        assert_eq!(cursors.end(5), Some(6));
        cursors.begin(9);
        assert_eq!(cursors.end(7), Some(8));
        assert_eq!(cursors.end(9), Some(9));
        assert_eq!(cursors.end(9), None);
    }
}
