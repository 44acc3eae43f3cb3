//! The broker's mailbox at the hub: guards, requesters and other brokers write, the broker
//! answers. It connects outwards only.

use std::sync::Arc;
use std::time::Duration;

use cordon_crypto::SigningKey;
use cordon_hub::MailboxName;
use cordon_hub::client::{Client, Inbox};
use cordon_protocol::RunId;
use cordon_protocol::message::{FromBroker, Mail, ToBroker};
use tokio::sync::{Semaphore, watch};

use crate::service::{Broker, ServiceError};

/// One long poll.
const POLL: Duration = Duration::from_secs(20);
/// Pause after the hub failed to answer.
const PAUSE: Duration = Duration::from_millis(500);
/// Messages that are worked on at once.
const MAX_AT_ONCE: usize = 256;

/// Serves the mailbox until `stop` changes.
pub async fn serve(
    broker: Arc<Broker>,
    hub: Client,
    key: Arc<SigningKey>,
    mut stop: watch::Receiver<bool>,
) {
    let name = MailboxName::Party(broker.card().value().party.clone());
    let mut inbox = Inbox::<ToBroker>::new(hub.clone(), name, key);
    let permits = Arc::new(Semaphore::new(MAX_AT_ONCE));
    loop {
        let received = tokio::select! {
            _ = stop.changed() => return,
            received = inbox.receive(POLL) => received,
        };
        let deliveries = match received {
            Ok(deliveries) => deliveries,
            Err(error) => {
                tracing::debug!(error = %error, "the hub did not answer");
                tokio::select! {
                    _ = stop.changed() => return,
                    () = tokio::time::sleep(PAUSE) => continue,
                }
            }
        };
        let Some(last) = deliveries.last().map(|delivery| delivery.cursor) else { continue };
        for delivery in deliveries {
            let Ok(mail) = delivery.mail else {
                tracing::info!(cursor = delivery.cursor, "a malformed message was dropped");
                continue;
            };
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let (broker, hub) = (broker.clone(), hub.clone());
            tokio::spawn(async move {
                answer(&broker, &hub, mail).await;
                drop(permit);
            });
        }
        // At least once: a message that is lost between here and its answer is asked again by
        // whoever waits for the answer.
        if let Err(error) = inbox.acknowledge(last).await {
            tracing::debug!(error = %error, "the hub did not take the acknowledgement");
        }
    }
}

async fn answer(broker: &Broker, hub: &Client, mail: Mail<ToBroker>) {
    let Some(body) = respond(broker, mail.body).await else { return };
    let Some(reply_to) = mail.reply_to else { return };
    if let Err(error) = hub.answer(&reply_to, mail.id, &body).await {
        tracing::info!(error = %error, "an answer could not be delivered");
    }
}

/// What a message comes to: an answer, or a signed refusal. `None` only if not even that can be
/// signed.
pub async fn respond(broker: &Broker, message: ToBroker) -> Option<FromBroker> {
    let (error, run) = match act(broker, message).await {
        Ok(body) => return Some(body),
        Err(refused) => refused,
    };
    if let ServiceError::Internal(error) = &error {
        tracing::error!(error = format!("{error:#}"), "a message failed");
    }
    match broker.sign_refusal(&error, run) {
        Ok(refusal) => Some(FromBroker::Refused { refusal: refusal.envelope().clone() }),
        Err(error) => {
            tracing::error!(error = %error, "cannot sign a refusal");
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
