//! The hub, the host relay, and the HTTP client that every program uses.
//!
//! The hub is trusted with nothing: it stores ciphertext and signed documents, queues runs and
//! relays messages. Whoever runs it can read, drop, reorder and repeat all of that; what matters
//! is sealed or signed by others, and [`client`] believes nothing that it can check. The hub and
//! the host must never see a key or a clear record, and nobody may need them for confidentiality
//! or integrity. Brokers and hosts only connect outwards, to the hub's mailboxes.
//!
//! - [`server`]: objects, documents, mailboxes and the run queue over HTTP, durable in one folder.
//! - [`client`]: typed calls with deadlines and retries, [`client::Mailbox`] to ask and await an
//!   answer, [`client::Inbox`] to serve.
//! - [`host`]: claims runs, starts a guard for each and relays between guard and hub.
//! - [`api`]: the JSON bodies that server and client share.
//! - [`signature`]: signed requests, of the hub's clients and of a broker's.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use cordon_crypto::{SigningKey, SystemRandom};
//! use cordon_hub::client::{Client, ClientConfig, Mailbox};
//! use cordon_protocol::message::{FromBroker, ToBroker};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut random = SystemRandom::new();
//! let identity = Arc::new(SigningKey::generate(&mut random));
//! let hub = Client::new("https://hub.example", ClientConfig::signing_as(identity))?;
//!
//! // Ask a broker and await its answer in a mailbox that only this process can read.
//! let mailbox = Mailbox::open(hub.clone(), Box::new(random)).await?;
//! let broker = "hospital-a".parse()?;
//! let body = ToBroker::LastCheckpoint { origin: "hospital-a.example/log".into() };
//! let answer: FromBroker = mailbox.ask(&broker, &body, Duration::from_secs(10)).await?;
//! # drop(answer);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "the hub and its client do I/O: DESIGN §5")]

pub mod api;
pub mod client;
pub mod host;
pub mod server;
pub mod signature;

mod clock;

pub use api::MailboxName;
pub use clock::{Clock, SystemClock};
