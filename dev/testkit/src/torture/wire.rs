//! What is said between the campaign and the broker that it tortures, over the pipes of the
//! child.

use std::path::PathBuf;

use cordon_crypto::VerifyingKey;
use cordon_crypto::dsse::Envelope;
use cordon_protocol::RunId;
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_types::PartyId;
use serde::{Deserialize, Serialize};

/// To the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToChild {
    /// First, and once.
    Start(Start),
    /// Something for the broker.
    Ask { id: u64, ask: Ask },
    /// What another broker answered; nothing if it was silent.
    PeerAnswer { id: u64, answer: Option<Box<FromBroker>> },
}

/// Which broker, and how it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub folder: PathBuf,
    pub key_file: PathBuf,
    pub software_root: VerifyingKey,
    /// Whether a tracer counts the durable steps.
    pub traced: bool,
}

/// What a broker is asked: messages of its mailbox, and what its staff do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    Message(Box<ToBroker>),
    Approve(Envelope),
    Review(Envelope),
    Stop(Envelope),
    /// Whether a grant is recorded.
    IsRecorded(RunId),
    /// The release of this broker's share, as soon as it is there; nothing if there is no
    /// output, or it is withheld.
    Share(RunId),
}

/// From the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromChild {
    /// The broker runs.
    Started,
    Answer {
        id: u64,
        answer: Answer,
    },
    /// The broker has a question to another one.
    Peer {
        id: u64,
        party: PartyId,
        message: Box<ToBroker>,
    },
}

/// What came of an [`Ask`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Message(Option<Box<FromBroker>>),
    Done,
    Recorded(bool),
    Share(Option<Box<Envelope>>),
    Failed(String),
}
