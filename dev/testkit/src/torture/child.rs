//! The broker's side: one broker that lives until it is killed or its input ends.

use std::collections::HashMap;
use std::io::{BufReader, Stdout, stdin, stdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cordon_broker::api::RunState;
use cordon_broker::log::{PeerError, Peers};
use cordon_broker::mail;
use cordon_broker::service::{Broker, ServiceError};
use cordon_protocol::RunId;
use cordon_protocol::frame::{MAX_FRAME_BYTES, read_message, write_message};
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_types::PartyId;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::tracer::mark_durable_steps;
use super::wire::{Answer, Ask, FromChild, ToChild};
use crate::holder::start_broker;

/// Between two looks at something that comes by itself.
const GLANCE: Duration = Duration::from_millis(2);

/// Serves one broker on standard input and output: the child of a campaign.
///
/// # Errors
/// If the broker does not start, or a message is malformed.
pub fn serve() -> Result<()> {
    let mut input = BufReader::new(stdin());
    let ToChild::Start(start) = read_message(&mut input, MAX_FRAME_BYTES)? else {
        bail!("expected the start");
    };
    if start.traced {
        // While there is one thread: the others inherit it.
        mark_durable_steps()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let line = Arc::new(Line::default());
    let peers: Arc<dyn Peers> = line.clone();
    let running = runtime.block_on(start_broker(
        &start.folder,
        &start.key_file,
        Some(peers),
        None,
        start.software_root,
    ));
    let running = running.context("the broker does not start")?;
    line.write(&FromChild::Started)?;
    loop {
        match read_message(&mut input, MAX_FRAME_BYTES) {
            Ok(ToChild::Ask { id, ask }) => {
                let (broker, line) = (running.broker().clone(), line.clone());
                runtime.spawn(async move {
                    let answer = answer(&broker, ask).await;
                    // If nobody reads any more, the input ends, too.
                    let _ = line.write(&FromChild::Answer { id, answer });
                });
            }
            Ok(ToChild::PeerAnswer { id, answer }) => line.complete(id, answer),
            Ok(ToChild::Start(_)) => bail!("started already"),
            Err(_) => return Ok(()),
        }
    }
}

async fn answer(broker: &Broker, ask: Ask) -> Answer {
    let answered = match ask {
        Ask::Message(message) => {
            Ok(Answer::Message(mail::respond(broker, *message).await.map(Box::new)))
        }
        Ask::Approve(approval) => broker.approve(&approval).await.map(|_| Answer::Done),
        Ask::Review(decision) => broker.decide_review(&decision).await.map(|_| Answer::Done),
        Ask::Stop(stop) => broker.stop(&stop).await.map(|_| Answer::Done),
        Ask::Share(run) => share(broker, run).await,
        Ask::IsRecorded(run) => match broker.run(run).await {
            Ok(_) => Ok(Answer::Recorded(true)),
            Err(ServiceError::NotFound(_)) => Ok(Answer::Recorded(false)),
            Err(error) => Err(error),
        },
    };
    answered.unwrap_or_else(|error| Answer::Failed(format!("{:#}", anyhow::Error::new(error))))
}

async fn share(broker: &Broker, run: RunId) -> Result<Answer, ServiceError> {
    loop {
        // The state first: what is out by then is found by the second look.
        let state = broker.run(run).await?.state;
        let release = broker.release(run).await?;
        if release.is_some() || matches!(state, RunState::Granted | RunState::Withheld) {
            return Ok(Answer::Share(release.map(Box::new)));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// The way to the campaign, and through it to the other brokers.
#[derive(Default)]
struct Line {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Option<Box<FromBroker>>>>>,
    output: Mutex<Option<Stdout>>,
}

impl Line {
    fn write(&self, message: &FromChild) -> Result<()> {
        // One frame after the other: the lock is the order.
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(write_message(output.get_or_insert_with(stdout), message)?)
    }

    fn complete(&self, id: u64, answer: Option<Box<FromBroker>>) {
        if let Some(waiting) = self.waiting().remove(&id) {
            // Whoever asked may have given up.
            let _ = waiting.send(answer);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Option<Box<FromBroker>>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers for Line {
    fn ask<'a>(
        &'a self,
        party: &'a PartyId,
        message: ToBroker,
    ) -> BoxFuture<'a, Result<FromBroker, PeerError>> {
        Box::pin(async move {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let (sender, answer) = oneshot::channel();
            self.waiting().insert(id, sender);
            let message = Box::new(message);
            self.write(&FromChild::Peer { id, party: party.clone(), message })
                .map_err(|error| PeerError(error.to_string()))?;
            match answer.await {
                Ok(Some(answer)) => Ok(*answer),
                Ok(None) | Err(_) => Err(PeerError("silent".to_owned())),
            }
        })
    }
}
