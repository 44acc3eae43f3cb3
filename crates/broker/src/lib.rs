//! The broker's service: one data holder's own gate.
//!
//! It keeps what people decided, appraises guards, and lets keys in and results out, each only
//! after a log entry that the other holders' brokers cosigned. It must never see a record, a
//! dataset key or a share of a result key: those stay in the key process (`cordon-keystore`).
//! Decisions are made by `cordon-govern`, which is pure; this crate reads, writes and waits.
//!
//! ```text
//! http (staff)   mail (hub)          one function per document or message
//!        \        /
//!         service ── govern: may it? ── store: record + log entry, one transaction
//!                                         └─ log: head, cosignatures, proof ── keys: seal
//! ```
//! - [`service`]: what the broker does; [`http`] and [`mail`] only translate.
//! - [`store`], [`records`]: the database. [`log`]: the transparency log on disk.
//! - [`setup`]: making a broker's folder, and running it.
//! - [`client`], [`api`]: the staff interface from the caller's side.
#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    reason = "an I/O crate: it reads files, and its programs hand it the clock"
)]

pub mod api;
pub mod challenge;
pub mod client;
mod files;
pub mod http;
pub mod log;
pub mod mail;
pub mod records;
pub mod service;
pub mod setup;
pub mod store;

/// A failure as the field of an event: its causes are shown, too.
fn why<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    error
}
