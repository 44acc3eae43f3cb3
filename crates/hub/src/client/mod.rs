//! The HTTP client of the hub: typed calls, each with a deadline, retried where that is safe.
//!
//! Nothing that a hub answers is believed where it can be checked: objects and documents must
//! have the digest that was asked for, ranges the length, documents the signer. Plain HTTP is
//! for loopback only.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use cordon_crypto::SigningKey;
//! use cordon_hub::client::{Client, ClientConfig, Inbox};
//! use cordon_protocol::message::{FromBroker, ToBroker};
//!
//! # async fn example(broker_key: Arc<SigningKey>) -> Result<(), Box<dyn std::error::Error>> {
//! let hub = Client::new("https://hub.example", ClientConfig::signing_as(broker_key.clone()))?;
//!
//! // A broker serves its party's mailbox: answer first, then acknowledge.
//! let mut inbox = Inbox::<ToBroker>::new(hub.clone(), "hospital-a".parse()?, broker_key);
//! loop {
//!     for delivery in inbox.receive(Duration::from_secs(25)).await? {
//!         if let Ok(mail) = delivery.mail
//!             && let Some(reply_to) = &mail.reply_to
//!         {
//!             let answer = FromBroker::LastCheckpoint { checkpoint: None };
//!             hub.answer(reply_to, mail.id, &answer).await?;
//!         }
//!         inbox.acknowledge(delivery.cursor).await?;
//!     }
//! }
//! # }
//! ```

mod call;
mod error;
mod mailbox;
mod objects;
mod resources;

use std::sync::Arc;
use std::time::Duration;

use cordon_crypto::SigningKey;
use reqwest::Url;

use crate::clock::{Clock, SystemClock};

pub use self::error::ClientError;
pub use self::mailbox::{Delivery, Inbox, Mailbox, MalformedMail, Posted};

/// How a client is made.
#[derive(Clone)]
pub struct ClientConfig {
    identity: Option<Arc<SigningKey>>,
    roots: Option<Vec<u8>>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
}

/// A call that moves little data ends after this, retries included.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
/// One attempt to connect; a deadline leaves room for several.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Shorter than the hub's limit for idle connections, so that the client closes first.
const POOL_IDLE: Duration = Duration::from_secs(10);

impl ClientConfig {
    /// Signs requests with this key: of a broker, a person, a host.
    pub fn signing_as(identity: Arc<SigningKey>) -> Self {
        Self { identity: Some(identity), ..Self::anonymous() }
    }

    /// Signs nothing: enough to read objects, documents and the state of runs.
    pub fn anonymous() -> Self {
        Self {
            identity: None,
            roots: None,
            deadline: DEFAULT_DEADLINE,
            clock: Arc::new(SystemClock),
        }
    }

    /// Trusts the certificates of this PEM bundle instead of the system's.
    #[must_use]
    pub fn trusting(mut self, pem: Vec<u8>) -> Self {
        self.roots = Some(pem);
        self
    }

    /// Ends every call after this long, retries included; uploads, downloads and long polls get
    /// what they need on top.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Signs with the time of this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

/// A hub. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    base: Url,
    identity: Option<Arc<SigningKey>>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// A client of the hub at `url`: `https://hub.example` or `http://127.0.0.1:7700`.
    ///
    /// # Errors
    /// If the URL is not HTTPS (or HTTP on loopback), has a path, or the certificates are unusable.
    pub fn new(url: &str, config: ClientConfig) -> Result<Self, ClientError> {
        let base = parse_base(url)?;
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_DEADLINE)
            .pool_idle_timeout(POOL_IDLE)
            .tcp_nodelay(true)
            .https_only(base.scheme() == "https");
        let builder = match &config.roots {
            // No certificates are needed on loopback: a machine may have none. No proxy either.
            _ if base.scheme() == "http" => builder.no_proxy().tls_certs_only([]),
            None => builder,
            Some(pem) => {
                let roots =
                    reqwest::Certificate::from_pem_bundle(pem).map_err(ClientError::Setup)?;
                builder.tls_certs_only(roots)
            }
        };
        let http = builder.build().map_err(ClientError::Setup)?;
        let ClientConfig { identity, deadline, clock, .. } = config;
        Ok(Self { inner: Arc::new(Inner { http, base, identity, deadline, clock }) })
    }

    /// The hub's address.
    pub fn url(&self) -> &str {
        self.inner.base.as_str()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.inner.base)
    }
}

fn parse_base(url: &str) -> Result<Url, ClientError> {
    let bad = |expected| ClientError::Url { expected };
    let base = Url::parse(url).map_err(|_| bad("a URL like `https://hub.example`"))?;
    // Signatures cover the path, so a hub lives at the root of its host.
    if base.path() != "/" || base.query().is_some() || base.fragment().is_some() {
        return Err(bad("a URL without path, query and fragment"));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(bad("a URL without user name and password"));
    }
    match base.scheme() {
        "https" => Ok(base),
        "http" if is_loopback(&base) => Ok(base),
        _ => Err(bad("`https`, or `http` on loopback")),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    // `localhost` is loopback by RFC 6761 §6.3, but resolvers have been told otherwise: numbers only.
    address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for good in ["https://hub.example", "http://127.0.0.1:1/", "http://[::1]:7700"] {
            assert!(Client::new(good, ClientConfig::anonymous()).is_ok(), "{good}");
        }
        for bad in [
            "http://hub.example",
            "http://localhost:1",
            "http://127.0.0.1.example",
            "http://10.0.0.1",
            "https://hub.example/path",
            "https://hub.example/?q",
            "https://user@hub.example",
            "ftp://127.0.0.1",
            "hub.example",
            "",
        ] {
            let refused = Client::new(bad, ClientConfig::anonymous());
            assert!(matches!(refused, Err(ClientError::Url { .. })), "{bad}");
        }
    }
}
