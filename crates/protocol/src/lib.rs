//! Every document, log entry and frame that crosses a trust boundary in Cordon.
//!
//! A type here is a wire format: its JSON is canonical (RFC 8785), unknown members are refused,
//! numbers are integers below 2^53, bytes are base64, and golden files fix all of it. A type
//! that is signed implements [`cordon_crypto::dsse::Document`]; `docs/protocol.md` says who signs
//! it and what it binds. This crate only describes and checks *form*: who may do what is decided
//! in `cordon-govern`, and it must never see a clock, a file or a network.
//!
//! The documents in the order in which a study meets them:
//!
//! | document | signed by | module |
//! |---|---|---|
//! | [`PartyCard`], [`PersonCard`] | the party's broker, the person | [`party`] |
//! | [`Manifest`], [`Deposit`] | the holder's manifest key | [`dataset`] |
//! | [`Agreement`] | the requester | [`agreement`] |
//! | [`Approval`], [`Stop`], [`ReviewDecision`] | a person of one holder | [`decision`] |
//! | [`RunRequest`] | the requester | [`run`] |
//! | [`RuntimeData`], [`Evidence`] | the TEE, by its report | [`evidence`] |
//! | [`Grant`], [`Lease`] | a holder's broker | [`grant`] |
//! | [`Heartbeat`], [`Receipt`] | the guard's key, bound in the evidence | [`grant`], [`release`] |
//! | [`Release`] | a holder's broker | [`release`] |
//! | [`LogEntry`] | the log's checkpoint | [`entry`] |
#![forbid(unsafe_code)]

pub mod agreement;
pub mod dataset;
pub mod decision;
pub mod entry;
pub mod evidence;
pub mod frame;
pub mod grant;
pub mod message;
pub mod party;
pub mod platform;
pub mod refusal;
pub mod release;
pub mod run;
pub mod table;
pub mod worker;

pub use agreement::Agreement;
pub use dataset::{Deposit, Manifest};
pub use decision::{Approval, ReviewDecision, Stop};
pub use entry::LogEntry;
pub use evidence::{Evidence, RuntimeData};
pub use grant::{Grant, GrantContext, Heartbeat, Lease};
pub use party::{PartyCard, PersonCard};
pub use platform::PlatformPolicy;
pub use refusal::Refusal;
pub use release::{ClearanceContext, Receipt, Release};
pub use run::{RunId, RunRequest};

/// Version 1 of a document; any other number is refused when parsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct V1;

impl serde::Serialize for V1 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> serde::Deserialize<'de> for V1 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            _ => Err(serde::de::Error::custom("unknown version, expected 1")),
        }
    }
}
