use std::sync::Arc;

use bytes::Bytes;
use cordon_crypto::dsse::Envelope;
use cordon_protocol::message::{FromBroker, FromGuard};
use cordon_protocol::run::RunId;
use cordon_types::{Nonce, PartyId};

/// What the host hands to a guard: a [`cordon_protocol::message::ToGuard`] together with the raw
/// frames that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardFrame {
    /// What to run, and the engine's bytes.
    Start {
        /// The signed agreement.
        agreement: Box<Envelope>,
        /// The signed run request.
        request: Box<Envelope>,
        /// The engine.
        engine: Bytes,
    },
    /// An answer of a broker.
    FromBroker {
        /// Which broker.
        party: PartyId,
        /// Which of the guard's messages it answers.
        id: Nonce,
        /// The answer.
        body: Box<FromBroker>,
    },
    /// The bytes of the oldest open read.
    Range(Bytes),
    /// The oldest open read fails.
    RangeFailed,
}

/// Everything between one guard and the world passes here, in order: what goes in before it is
/// written, what comes out before the host acts on it. The answer takes its place: drop it,
/// change it, repeat it, add to it.
///
/// From the guard come also the sealed result (`Store`), the receipt (`Finished`) and progress;
/// to it go also engine, agreement and request (`Start`) and ciphertext (`Range`).
pub trait Relay: Send {
    /// On the way into the guard.
    fn to_guard(&mut self, frame: GuardFrame) -> Vec<GuardFrame> {
        vec![frame]
    }

    /// On the way out of the guard.
    fn out_of_guard(&mut self, message: FromGuard) -> Vec<FromGuard> {
        vec![message]
    }
}

/// Passes everything on as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Honest;

impl Relay for Honest {}

/// Makes the relay of each run.
pub type RelayMaker = Arc<dyn Fn(RunId) -> Box<dyn Relay> + Send + Sync>;
