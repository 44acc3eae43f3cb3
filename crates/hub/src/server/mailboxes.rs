//! Mailboxes over HTTP: posting is open and bounded, reading is for the owner.

use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use cordon_crypto::sha256;
use cordon_protocol::message::MAX_MESSAGE_BYTES;

use tokio::time::Instant;

use super::mail::Mailbox;
use super::problem::{Code, Problem};
use super::{Hub, blocking, json, query, read_body};
use crate::api::{MAX_WAIT_MS, MailboxName, Messages, Posted};

/// `POST /v1/mailboxes/{name}`: anybody may. A signature is optional and raises the quota.
pub(super) async fn post(
    State(hub): State<Arc<Hub>>,
    name: Name,
    request: Request,
) -> Result<(StatusCode, Response), Problem> {
    let name = name.parse()?;
    let (parts, body) = request.into_parts();
    let body = hub.receive(body, MAX_MESSAGE_BYTES).await?;
    let known = match hub.optional_signer(&parts, sha256(&[&body]))? {
        Some(signer) => hub.is_known(&signer),
        None => false,
    };
    let cursor = blocking(move || {
        let mailbox = match &name {
            // Nobody can fill the disk with reply mailboxes that nobody opened.
            MailboxName::Reply(_) => hub.mail.find(&name),
            MailboxName::Party(party) => match hub.directory.party_key(party) {
                Some(_) => Some(hub.mail.open_mailbox(&name, hub.clock.now())?),
                None => None,
            },
            MailboxName::Person(party, person) => match hub.directory.person_key(party, person) {
                Some(_) => Some(hub.mail.open_mailbox(&name, hub.clock.now())?),
                None => None,
            },
        };
        let mailbox = mailbox.ok_or_else(|| Problem::new(Code::NotFound))?;
        hub.mail.post(&mailbox, &body, known)
    })
    .await?;
    Ok((StatusCode::CREATED, json(&Posted { cursor })?))
}

/// `PUT /v1/mailboxes/reply-{hex}`: its owner opens it, so that answers can be posted.
pub(super) async fn open(
    State(hub): State<Arc<Hub>>,
    name: Name,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (name, _) = owned(&hub, name, request).await?;
    blocking(move || hub.mail.open_mailbox(&name, hub.clock.now()).map(drop)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Poll {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait_ms: u64,
}

/// `GET /v1/mailboxes/{name}?after=&wait_ms=`: messages after a cursor, oldest first; waits if
/// there are none.
pub(super) async fn read(
    State(hub): State<Arc<Hub>>,
    name: Name,
    request: Request,
) -> Result<Response, Problem> {
    let (name, uri) = owned(&hub, name, request).await?;
    let poll: Poll = query(&uri)?;
    let deadline = Instant::now() + Duration::from_millis(poll.wait_ms.min(MAX_WAIT_MS));
    let mailbox = {
        let hub = hub.clone();
        blocking(move || match name {
            MailboxName::Reply(_) => {
                hub.mail.find(&name).ok_or_else(|| Problem::new(Code::NotFound))
            }
            MailboxName::Party(_) | MailboxName::Person(..) => {
                hub.mail.open_mailbox(&name, hub.clock.now())
            }
        })
        .await?
    };
    wait_for_mail(&hub, &mailbox, poll.after, deadline).await;
    let now = hub.clock.now();
    let messages = blocking(move || mailbox.messages(poll.after, now)).await?;
    json(&Messages { messages })
}

async fn wait_for_mail(hub: &Hub, mailbox: &Mailbox, after: u64, deadline: Instant) {
    loop {
        // Registered before looking, so that nothing can arrive in between unnoticed.
        let mut arrived = std::pin::pin!(mailbox.arrived.notified());
        arrived.as_mut().enable();
        if mailbox.has_after(after) {
            return;
        }
        tokio::select! {
            () = arrived => {}
            () = tokio::time::sleep_until(deadline) => return,
            () = hub.stopping() => return,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    upto: u64,
}

/// `DELETE /v1/mailboxes/{name}?upto=`: the owner has taken these. Without a query a reply
/// mailbox is removed.
pub(super) async fn acknowledge(
    State(hub): State<Arc<Hub>>,
    name: Name,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (name, uri) = owned(&hub, name, request).await?;
    if uri.query().is_none() && matches!(name, MailboxName::Reply(_)) {
        blocking(move || hub.mail.remove(&name)).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let Acknowledge { upto } = query(&uri)?;
    blocking(move || match hub.mail.find(&name) {
        Some(mailbox) => hub.mail.acknowledge(&mailbox, upto),
        None => Ok(()),
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The mailbox of a request that its owner has signed.
async fn owned(hub: &Hub, name: Name, request: Request) -> Result<(MailboxName, Uri), Problem> {
    let name = name.parse()?;
    let (parts, body) = request.into_parts();
    let body = read_body(body, 0).await?;
    authorise(hub, &name, &parts, &body)?;
    Ok((name, parts.uri))
}

fn authorise(hub: &Hub, name: &MailboxName, parts: &Parts, body: &[u8]) -> Result<(), Problem> {
    let signer = hub.signer(parts, sha256(&[body]))?;
    let owner = match name {
        MailboxName::Party(party) => hub.directory.party_key(party),
        MailboxName::Person(party, person) => hub.directory.person_key(party, person),
        MailboxName::Reply(_) if MailboxName::reply(&signer) == *name => Some(signer),
        MailboxName::Reply(_) => return Err(Problem::new(Code::NotYours)),
    };
    match owner {
        Some(owner) if owner == signer => Ok(()),
        Some(_) => Err(Problem::new(Code::NotYours)),
        None => Err(Problem::with(Code::NotFound, "no card is registered under this name")),
    }
}

/// `{name}` or `{party}/{person}` of the path.
pub(super) type Name = Path<Vec<String>>;

trait ParseName {
    fn parse(self) -> Result<MailboxName, Problem>;
}

impl ParseName for Name {
    fn parse(self) -> Result<MailboxName, Problem> {
        self.0.join("/").parse().map_err(|error: crate::api::MailboxNameError| {
            Problem::with(Code::BadRequest, error.to_string())
        })
    }
}
