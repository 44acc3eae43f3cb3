use std::time::Duration;

use bytes::Bytes;
use cordon_crypto::dsse::{Document, Envelope, Signed};
use cordon_crypto::{SigningKey, VerifyingKey};
use cordon_protocol::message::{MAX_MESSAGE_BYTES, Mail};
use cordon_protocol::party::{PartyCard, PersonCard};
use cordon_protocol::run::{RunId, RunRequest};
use cordon_types::{Nonce, PartyId, PersonId, Sha256Digest, StudyId};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use tokio::time::Instant;

use super::call::Call;
use super::{Client, ClientError};
use crate::api::{
    Claim, DocumentKind, DocumentList, DocumentQuery, Finish, MAX_ENVELOPE_BYTES, MailboxName,
    Messages, Posted, Progress, RunStatus,
};

/// Answers that hold ids and counts.
const SMALL_ANSWER_BYTES: u64 = 64 * 1024;
/// 1,000 entries of well under a KiB.
const LISTING_BYTES: u64 = 2 * 1024 * 1024;
/// The hub ends a batch with the message that passes 8 MiB; base64 on top.
const BATCH_ANSWER_BYTES: u64 = 20 * 1024 * 1024;
/// An empty long poll takes at least this long.
const SHORTEST_POLL: Duration = Duration::from_millis(500);
const ENVELOPE_BYTES: u64 = MAX_ENVELOPE_BYTES as u64;

/// Signed documents.
impl Client {
    /// Stores a signed document; gives its name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_document(&self, document: &Envelope) -> Result<Sha256Digest, ClientError> {
        let digest = document.payload_digest();
        let call = Call::new("store a document", Method::PUT, document_path(&digest))
            .bytes(document.to_json().into(), "application/json")
            .signed();
        self.done(call).await?;
        Ok(digest)
    }

    /// The envelope of a document: of this signer, or else whoever's came first. It has the
    /// digest that was asked for; its signature is for the caller to check.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn document(
        &self,
        digest: &Sha256Digest,
        signer: Option<&VerifyingKey>,
    ) -> Result<Envelope, ClientError> {
        let operation = "read a document";
        let mut call = Call::new(operation, Method::GET, document_path(digest));
        if let Some(signer) = signer {
            call = call.query("signer", signer);
        }
        let envelope: Envelope = self.json(call, ENVELOPE_BYTES).await?;
        let as_asked = envelope.payload_digest() == *digest
            && signer.is_none_or(|signer| envelope.claimed_signer() == *signer);
        if !as_asked {
            let expected = "the document that was asked for";
            return Err(ClientError::Unexpected { operation, expected });
        }
        Ok(envelope)
    }

    /// A document, opened: its signature by `signer` holds.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open_document<T: Document>(
        &self,
        digest: &Sha256Digest,
        signer: &VerifyingKey,
    ) -> Result<Signed<T>, ClientError> {
        let envelope = self.document(digest, Some(signer)).await?;
        envelope.open(signer).map_err(ClientError::Document)
    }

    /// What documents there are, as the hub says.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn documents(&self, query: &DocumentQuery) -> Result<DocumentList, ClientError> {
        let mut call = Call::new("list documents", Method::GET, "/v1/documents");
        let DocumentQuery { kind, study, agreement, run, holder, dataset, signer } = query;
        let pairs = [
            ("kind", kind.map(|kind| kind.as_str().to_owned())),
            ("study", study.as_ref().map(ToString::to_string)),
            ("agreement", agreement.as_ref().map(ToString::to_string)),
            ("run", run.as_ref().map(ToString::to_string)),
            ("holder", holder.as_ref().map(ToString::to_string)),
            ("dataset", dataset.as_ref().map(ToString::to_string)),
            ("signer", signer.as_ref().map(ToString::to_string)),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        self.json(call, LISTING_BYTES).await
    }

    /// The agreements of a study.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agreements(&self, study: &StudyId) -> Result<DocumentList, ClientError> {
        let kind = Some(DocumentKind::Agreement);
        let study = Some(study.clone());
        self.documents(&DocumentQuery { kind, study, ..DocumentQuery::default() }).await
    }

    /// The documents of one kind about a run: its receipt, releases, refusals.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn run_documents(
        &self,
        run: &RunId,
        kind: DocumentKind,
    ) -> Result<DocumentList, ClientError> {
        let query = DocumentQuery { kind: Some(kind), run: Some(*run), ..DocumentQuery::default() };
        self.documents(&query).await
    }
}

/// Cards.
impl Client {
    /// Registers a party: its mailbox is then read with the card's broker key.
    ///
    /// # Errors
    /// [`ClientError`]; `already_registered` if another key has the name.
    pub async fn register_party(&self, card: &Signed<PartyCard>) -> Result<(), ClientError> {
        let path = format!("/v1/parties/{}", card.value().party);
        let call = Call::new("register a party", Method::PUT, path)
            .bytes(card.envelope().to_json().into(), "application/json")
            .signed_if_possible();
        self.done(call).await
    }

    /// Registers a person: the mailbox is then read with the card's signing key.
    ///
    /// # Errors
    /// As [`Client::register_party`].
    pub async fn register_person(&self, card: &Signed<PersonCard>) -> Result<(), ClientError> {
        let path = format!("/v1/persons/{}/{}", card.value().party, card.value().person);
        let call = Call::new("register a person", Method::PUT, path)
            .bytes(card.envelope().to_json().into(), "application/json")
            .signed_if_possible();
        self.done(call).await
    }

    /// A party's card as the hub has it: compare its fingerprint before you trust it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn party(&self, party: &PartyId) -> Result<Envelope, ClientError> {
        let path = format!("/v1/parties/{party}");
        self.json(Call::new("read a party's card", Method::GET, path), ENVELOPE_BYTES).await
    }

    /// A person's card as the hub has it: compare its fingerprint before you trust it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn person(
        &self,
        party: &PartyId,
        person: &PersonId,
    ) -> Result<Envelope, ClientError> {
        let path = format!("/v1/persons/{party}/{person}");
        self.json(Call::new("read a person's card", Method::GET, path), ENVELOPE_BYTES).await
    }
}

/// Mailboxes. [`super::Mailbox`] and [`super::Inbox`] are easier to use.
impl Client {
    /// Posts a message. Sent again where an attempt may have failed; the hub keeps one of equal
    /// messages that wait.
    ///
    /// # Errors
    /// [`ClientError`]; `mailbox_full` if its owner does not keep up.
    pub async fn post<T: Serialize>(
        &self,
        to: &MailboxName,
        mail: &Mail<T>,
    ) -> Result<(), ClientError> {
        let body = Bytes::from(serde_json::to_vec(mail).unwrap_or_default());
        let (size, limit) = (body.len(), MAX_MESSAGE_BYTES);
        if size > limit || size == 0 {
            return Err(ClientError::MessageTooLarge { size, limit });
        }
        let call = Call::new("post a message", Method::POST, mailbox_path(to))
            .bytes(body, "application/json")
            .signed_if_possible();
        self.json::<Posted>(call, SMALL_ANSWER_BYTES).await.map(drop)
    }

    /// Answers a message, into the mailbox that it named.
    ///
    /// # Errors
    /// As [`Client::post`]; [`ClientError::MailboxName`] if that is no mailbox.
    pub async fn answer<T: Serialize>(
        &self,
        reply_to: &str,
        id: Nonce,
        body: &T,
    ) -> Result<(), ClientError> {
        let to = reply_to.parse()?;
        self.post(&to, &Mail { id, reply_to: None, body }).await
    }

    /// Messages after a cursor, oldest first; waits for one if there is none.
    pub(super) async fn poll(
        &self,
        name: &MailboxName,
        key: &SigningKey,
        after: u64,
        wait: Duration,
    ) -> Result<Messages, ClientError> {
        let operation = "read a mailbox";
        let call = Call::new(operation, Method::GET, mailbox_path(name))
            .query("after", after)
            .query("wait_ms", wait.as_millis())
            .signed_with(key)
            .with_extra_time(wait);
        let asked = Instant::now();
        let messages: Messages = self.json(call, BATCH_ANSWER_BYTES).await?;
        if messages.messages.is_empty() {
            rest_after(asked, wait).await;
        }
        let mut last = after;
        for message in &messages.messages {
            if message.cursor <= last {
                let expected = "messages in order, after the cursor";
                return Err(ClientError::Unexpected { operation, expected });
            }
            last = message.cursor;
        }
        Ok(messages)
    }

    /// Forgets messages up to and including a cursor.
    pub(super) async fn acknowledge(
        &self,
        name: &MailboxName,
        key: &SigningKey,
        upto: u64,
    ) -> Result<(), ClientError> {
        let call = Call::new("acknowledge messages", Method::DELETE, mailbox_path(name))
            .query("upto", upto)
            .signed_with(key);
        self.done(call).await
    }

    /// Opens the reply mailbox of a key.
    pub(super) async fn open_reply(&self, key: &SigningKey) -> Result<MailboxName, ClientError> {
        let name = MailboxName::reply(&key.verifying_key());
        let call = Call::new("open a mailbox", Method::PUT, mailbox_path(&name)).signed_with(key);
        self.done(call).await?;
        Ok(name)
    }

    /// Removes the reply mailbox of a key.
    pub(super) async fn close_reply(&self, key: &SigningKey) -> Result<(), ClientError> {
        let name = MailboxName::reply(&key.verifying_key());
        let call =
            Call::new("close a mailbox", Method::DELETE, mailbox_path(&name)).signed_with(key);
        self.done(call).await
    }
}

/// Runs.
impl Client {
    /// Queues a run. The same request twice is one run.
    ///
    /// # Errors
    /// [`ClientError`]; `agreement_unknown` if the agreement has not been stored.
    pub async fn submit_run(&self, request: &Signed<RunRequest>) -> Result<RunStatus, ClientError> {
        let call = Call::new("submit a run", Method::POST, "/v1/runs")
            .bytes(request.envelope().to_json().into(), "application/json");
        let status = self.json(call, SMALL_ANSWER_BYTES).await?;
        status_of(RunId(request.digest()), status)
    }

    /// Where a run is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn run(&self, run: &RunId) -> Result<RunStatus, ClientError> {
        self.watch_run(run, 0, Duration::ZERO).await
    }

    /// Where a run is; waits until its revision is another than `after`, or it has finished.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn watch_run(
        &self,
        run: &RunId,
        after: u64,
        wait: Duration,
    ) -> Result<RunStatus, ClientError> {
        let call = Call::new("look up a run", Method::GET, run_path(run))
            .query("after", after)
            .query("wait_ms", wait.as_millis())
            .with_extra_time(wait);
        let status = self.json(call, SMALL_ANSWER_BYTES).await?;
        status_of(*run, status)
    }

    /// Takes the oldest waiting run; waits for one. For hosts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn claim_run(&self, wait: Duration) -> Result<Option<Claim>, ClientError> {
        let operation = "claim a run";
        // Not repeated: a claim whose answer was lost comes back when its lease has run out.
        let call = Call::new(operation, Method::POST, "/v1/queue/claims")
            .query("wait_ms", wait.as_millis())
            .signed()
            .with_extra_time(wait)
            .once();
        let asked = Instant::now();
        let body = self
            .call(call, |answer| async move {
                match answer.response.status() {
                    StatusCode::NO_CONTENT => Ok(None),
                    _ => answer.read(2 * SMALL_ANSWER_BYTES).await.map(Some),
                }
            })
            .await?;
        let Some(body) = body else {
            rest_after(asked, wait).await;
            return Ok(None);
        };
        let expected = "a run request and its digest";
        let unexpected = || ClientError::Unexpected { operation, expected };
        let claim: Claim = serde_json::from_slice(&body).map_err(|_| unexpected())?;
        if claim.request.payload_digest() != claim.run.0 {
            return Err(unexpected());
        }
        Ok(Some(claim))
    }

    /// Renews the claim of a run. For hosts.
    ///
    /// # Errors
    /// [`ClientError`]; `claim_lost` if another host may have it by now.
    pub async fn report_progress(
        &self,
        run: &RunId,
        progress: Progress,
    ) -> Result<(), ClientError> {
        let path = format!("{}/progress", run_path(run));
        self.done(Call::new("report progress", Method::PUT, path).json(&progress).signed()).await
    }

    /// Ends a run. For hosts.
    ///
    /// # Errors
    /// [`ClientError`]; `claim_lost` if another host may have it by now.
    pub async fn finish_run(&self, run: &RunId, finish: &Finish) -> Result<(), ClientError> {
        let path = format!("{}/finish", run_path(run));
        self.done(Call::new("finish a run", Method::PUT, path).json(finish).signed()).await
    }

    /// Whether the hub answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn health(&self) -> Result<(), ClientError> {
        self.done(Call::new("check the hub's health", Method::GET, "/healthz")).await
    }
}

fn status_of(run: RunId, status: RunStatus) -> Result<RunStatus, ClientError> {
    if status.run == run {
        return Ok(status);
    }
    let expected = "the run that was asked for";
    Err(ClientError::Unexpected { operation: "look up a run", expected })
}

/// A hub that is stopping, or plays tricks, answers a long poll at once with nothing. Callers
/// poll in loops: they must not spin.
async fn rest_after(asked: Instant, wait: Duration) {
    tokio::time::sleep_until(asked + wait.min(SHORTEST_POLL)).await;
}

fn document_path(digest: &Sha256Digest) -> String {
    format!("/v1/documents/{}", digest.to_hex())
}

fn mailbox_path(name: &MailboxName) -> String {
    format!("/v1/mailboxes/{name}")
}

fn run_path(run: &RunId) -> String {
    format!("/v1/runs/{}", run.0.to_hex())
}
