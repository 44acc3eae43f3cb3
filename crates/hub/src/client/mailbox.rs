use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cordon_crypto::{Random, SigningKey};
use cordon_protocol::message::Mail;
use cordon_types::Nonce;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Client, ClientError};
use crate::api::{MailboxName, Message};

/// One long poll of a mailbox.
const POLL_WAIT: Duration = Duration::from_secs(25);
/// After a failed poll, on top of the call's own retries.
const POLL_PAUSE: Duration = Duration::from_millis(500);
/// Read answers are acknowledged in batches: each costs the hub a write.
const ACKNOWLEDGE_EVERY: usize = 32;

/// A reply mailbox of this process: send a message, await its answer.
///
/// It has a key of its own, so that nobody else can read it and nobody sees whose it is. One
/// task polls and hands each answer to whoever awaits its id. Answers with other ids, and second
/// answers, are dropped: a hub that makes them up achieves nothing. What an answer says is
/// signed or sealed and for the caller to check.
pub struct Mailbox {
    client: Client,
    name: MailboxName,
    key: Arc<SigningKey>,
    random: Mutex<Box<dyn Random + Send>>,
    waiters: Arc<Waiters>,
    poller: JoinHandle<()>,
}

#[derive(Default)]
struct Waiters(Mutex<HashMap<Nonce, oneshot::Sender<Mail<serde_json::Value>>>>);

impl Mailbox {
    /// Opens a mailbox under a fresh key. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the hub does not open it.
    pub async fn open(
        client: Client,
        mut random: Box<dyn Random + Send>,
    ) -> Result<Self, ClientError> {
        let key = Arc::new(SigningKey::generate(&mut *random));
        let name = client.open_reply(&key).await?;
        let waiters = Arc::new(Waiters::default());
        let poller = tokio::spawn(poll(client.clone(), name.clone(), key.clone(), waiters.clone()));
        Ok(Self { client, name, key, random: Mutex::new(random), waiters, poller })
    }

    /// Its name, which messages carry as `reply_to`.
    pub fn name(&self) -> &MailboxName {
        &self.name
    }

    /// Sends a message and awaits its answer.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::NoAnswer`] after `within`.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        to: &MailboxName,
        body: &Q,
        within: Duration,
    ) -> Result<A, ClientError> {
        let id = {
            let mut random = lock(&self.random);
            (&mut **random as &mut dyn Random).nonce()
        };
        self.ask_with_id(to, id, body, within).await
    }

    /// Sends a message under an id that somebody else has chosen, and awaits its answer.
    ///
    /// # Errors
    /// As [`Mailbox::ask`].
    pub async fn ask_with_id<Q: Serialize, A: DeserializeOwned>(
        &self,
        to: &MailboxName,
        id: Nonce,
        body: &Q,
        within: Duration,
    ) -> Result<A, ClientError> {
        let deadline = Instant::now() + within;
        let posted = tokio::time::timeout_at(deadline, self.post_with_id(to, id, body)).await;
        let posted = posted.map_err(|_| ClientError::NoAnswer { to: to.clone(), within })??;
        posted.answer(deadline.saturating_duration_since(Instant::now())).await
    }

    /// Sends a message; its answer is awaited by itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post_with_id<Q: Serialize>(
        &self,
        to: &MailboxName,
        id: Nonce,
        body: &Q,
    ) -> Result<Posted<'_>, ClientError> {
        let (sender, receiver) = oneshot::channel();
        // Before the message is sent: its answer may be quicker than this task.
        lock(&self.waiters.0).insert(id, sender);
        let waiting = Waiting { waiters: &self.waiters, id };
        let mail = Mail { id, reply_to: Some(self.name.to_string()), body };
        self.client.post(to, &mail).await?;
        Ok(Posted { to: to.clone(), receiver, _waiting: waiting })
    }

    /// Removes the mailbox from the hub. A mailbox that is merely dropped is removed by the hub
    /// when nobody has read it for an hour.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn close(self) -> Result<(), ClientError> {
        self.poller.abort();
        self.client.close_reply(&self.key).await
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

/// A message that the hub has taken.
pub struct Posted<'a> {
    to: MailboxName,
    receiver: oneshot::Receiver<Mail<serde_json::Value>>,
    _waiting: Waiting<'a>,
}

impl Posted<'_> {
    /// Awaits the answer.
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`] after `within`, [`ClientError::MalformedAnswer`].
    pub async fn answer<A: DeserializeOwned>(self, within: Duration) -> Result<A, ClientError> {
        let Self { to, receiver, .. } = self;
        let answer = tokio::time::timeout(within, receiver).await;
        let Some(answer) = answer.ok().and_then(Result::ok) else {
            return Err(ClientError::NoAnswer { to, within });
        };
        serde_json::from_value(answer.body)
            .map_err(|source| ClientError::MalformedAnswer { to, source })
    }
}

/// Takes a waiter off the list when its asker has been answered or has given up.
struct Waiting<'a> {
    waiters: &'a Waiters,
    id: Nonce,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.waiters.0).remove(&self.id);
    }
}

impl Waiters {
    fn deliver(&self, message: &Message) {
        // What is no message of ours, or answers nothing, is dropped.
        let Ok(mail) = serde_json::from_slice::<Mail<serde_json::Value>>(message.body.as_slice())
        else {
            return;
        };
        let waiter = lock(&self.0).remove(&mail.id);
        if let Some(waiter) = waiter {
            // An error means that the asker has just given up.
            drop(waiter.send(mail));
        }
    }
}

async fn poll(client: Client, name: MailboxName, key: Arc<SigningKey>, waiters: Arc<Waiters>) {
    let (mut after, mut unacknowledged) = (0, 0);
    loop {
        let messages = match client.poll(&name, &key, after, POLL_WAIT).await {
            Ok(batch) => batch.messages,
            Err(error) => {
                tracing::debug!(mailbox = %name, code = error.code(), "cannot read mailbox");
                // The hub may have lost the mailbox, or removed it while this machine slept.
                if error.is_not_found() {
                    drop(client.open_reply(&key).await);
                }
                tokio::time::sleep(POLL_PAUSE).await;
                continue;
            }
        };
        for message in &messages {
            waiters.deliver(message);
            after = message.cursor;
            unacknowledged += 1;
        }
        if unacknowledged >= ACKNOWLEDGE_EVERY {
            // If it fails, the next one covers it.
            drop(client.acknowledge(&name, &key, after).await);
            unacknowledged = 0;
        }
    }
}

/// The mailbox of a party or person, to be served in order.
///
/// Delivery is at least once: what has not been acknowledged comes again after a restart.
pub struct Inbox<T> {
    client: Client,
    name: MailboxName,
    key: Arc<SigningKey>,
    after: u64,
    messages: PhantomData<fn() -> T>,
}

/// One message of an [`Inbox`].
#[derive(Debug)]
pub struct Delivery<T> {
    /// Its place: acknowledge it when it has been dealt with.
    pub cursor: u64,
    /// The message. One that does not parse should be acknowledged too, or it comes again.
    pub mail: Result<Mail<T>, MalformedMail>,
}

/// A message that is none of ours. Its content is not repeated.
#[derive(Debug, thiserror::Error)]
#[error("a message is malformed")]
pub struct MalformedMail(#[source] serde_json::Error);

impl<T: DeserializeOwned> Inbox<T> {
    /// The mailbox `name`, which `key` may read.
    pub fn new(client: Client, name: MailboxName, key: Arc<SigningKey>) -> Self {
        Self { client, name, key, after: 0, messages: PhantomData }
    }

    /// The messages that this inbox has not yet given, oldest first; waits for one, at most 30
    /// seconds.
    ///
    /// # Errors
    /// [`ClientError`]. Trying again is safe.
    pub async fn receive(&mut self, wait: Duration) -> Result<Vec<Delivery<T>>, ClientError> {
        let batch = self.client.poll(&self.name, &self.key, self.after, wait).await?;
        if let Some(last) = batch.messages.last() {
            self.after = last.cursor;
        }
        let deliveries = batch.messages.into_iter().map(|message| Delivery {
            cursor: message.cursor,
            mail: serde_json::from_slice(message.body.as_slice()).map_err(MalformedMail),
        });
        Ok(deliveries.collect())
    }

    /// Tells the hub that all messages up to this one have been dealt with.
    ///
    /// # Errors
    /// [`ClientError`]. The messages then come again after a restart.
    pub async fn acknowledge(&self, upto: u64) -> Result<(), ClientError> {
        self.client.acknowledge(&self.name, &self.key, upto).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
