use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cordon_crypto::dsse::Envelope;
use cordon_protocol::evidence::Evidence;
use cordon_protocol::message::{FromGuard, ToBroker};
use cordon_types::PartyId;

use super::relay::{GuardFrame, Relay};

/// What a hostile host does with the traffic of a run. For tests and the demo, which show that
/// each is noticed; none needs anything that a real operator does not have.
#[derive(Clone, Debug)]
pub enum Mischief {
    /// Gives the guard other engine bytes than the agreement's.
    SwapEngine(Bytes),
    /// Gives the guard another run request.
    SwapRequest(Box<Envelope>),
    /// Gives the guard another agreement.
    SwapAgreement(Box<Envelope>),
    /// Sends the brokers this evidence instead of the guard's: replayed, or of another run.
    ReplayEvidence(Box<Evidence>),
    /// Changes one byte in the middle of every range of ciphertext.
    FlipCiphertextByte,
    /// Gives each read of ciphertext the bytes of the read before.
    ShiftRanges {
        /// What the last read had; start with nothing.
        last: Option<Bytes>,
    },
    /// Never delivers the receipt, to nobody.
    DropReceipt,
    /// Never delivers this broker's message about the end of the run.
    DropDelivery(PartyId),
    /// Gives the broker `to` the share of the result key that is meant for `from`.
    SwapShares {
        /// Whose share is taken.
        from: PartyId,
        /// Who gets it.
        to: PartyId,
        /// The share, once seen; start with nothing.
        seen: Option<cordon_crypto::SealedBox>,
    },
    /// Keeps heartbeats from the brokers: leases run out.
    DropHeartbeats,
    /// Hands each broker's answer to the guard twice.
    RepeatAnswers,
    /// Stores a sealed result with one byte changed.
    FlipResultByte,
}

impl Relay for Mischief {
    fn to_guard(&mut self, mut frame: GuardFrame) -> Vec<GuardFrame> {
        match (self, &mut frame) {
            (Self::SwapEngine(other), GuardFrame::Start { engine, .. }) => *engine = other.clone(),
            (Self::SwapRequest(other), GuardFrame::Start { request, .. }) => {
                *request = other.clone();
            }
            (Self::SwapAgreement(other), GuardFrame::Start { agreement, .. }) => {
                *agreement = other.clone();
            }
            (Self::FlipCiphertextByte, GuardFrame::Range(bytes)) => *bytes = flip_middle(bytes),
            (Self::ShiftRanges { last }, GuardFrame::Range(bytes)) => {
                let before = last.replace(bytes.clone());
                if let Some(before) = before {
                    *bytes = before;
                }
            }
            (Self::RepeatAnswers, GuardFrame::FromBroker { .. }) => {
                return vec![frame.clone(), frame];
            }
            _ => {}
        }
        vec![frame]
    }

    fn out_of_guard(&mut self, mut message: FromGuard) -> Vec<FromGuard> {
        match (self, &mut message) {
            (Self::ReplayEvidence(other), FromGuard::ToBroker { body, .. }) => {
                if let ToBroker::Grant { evidence, .. } = &mut **body {
                    *evidence = (**other).clone();
                }
            }
            (Self::DropReceipt, FromGuard::ToBroker { body, .. }) => {
                if matches!(**body, ToBroker::Deliver { .. }) {
                    return Vec::new();
                }
            }
            (Self::DropReceipt, FromGuard::Finished { receipt, .. }) => *receipt = None,
            (Self::DropDelivery(broker), FromGuard::ToBroker { party, body, .. })
                if party == broker && matches!(**body, ToBroker::Deliver { .. }) =>
            {
                return Vec::new();
            }
            (Self::SwapShares { from, to, seen }, FromGuard::ToBroker { party, body, .. }) => {
                if let ToBroker::Deliver { share, .. } = &mut **body {
                    if party == from {
                        *seen = share.clone();
                    } else if party == to && seen.is_some() {
                        share.clone_from(seen);
                    }
                }
            }
            (Self::DropHeartbeats, FromGuard::ToBroker { body, .. }) => {
                if matches!(**body, ToBroker::Heartbeat { .. }) {
                    return Vec::new();
                }
            }
            (Self::FlipResultByte, FromGuard::Store { sealed }) => {
                let flipped = flip_middle(&Bytes::copy_from_slice(sealed.as_slice()));
                *sealed = flipped.to_vec().into();
            }
            _ => {}
        }
        vec![message]
    }
}

fn flip_middle(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.into()
}

/// All that a host has seen of a run: what it could replay or study.
#[derive(Clone, Debug, Default)]
pub struct Recording(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    from_guard: Vec<FromGuard>,
    to_guard: Vec<GuardFrame>,
}

impl Recording {
    /// What came out of the guard.
    pub fn from_guard(&self) -> Vec<FromGuard> {
        self.with(|seen| seen.from_guard.clone())
    }

    /// What went into the guard; engine and ranges are left out.
    pub fn to_guard(&self) -> Vec<GuardFrame> {
        self.with(|seen| seen.to_guard.clone())
    }

    /// The evidence that the guard sent, if it got that far.
    pub fn evidence(&self) -> Option<Evidence> {
        self.with(|seen| {
            seen.from_guard.iter().find_map(|message| match message {
                FromGuard::ToBroker { body, .. } => match &**body {
                    ToBroker::Grant { evidence, .. } => Some(evidence.clone()),
                    _ => None,
                },
                _ => None,
            })
        })
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Seen) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Records the traffic on the guard's side of another relay.
pub struct Recorder<R> {
    recording: Recording,
    inner: R,
}

impl<R: Relay> Recorder<R> {
    /// Records into `recording` what `inner` gets to see.
    pub fn new(recording: Recording, inner: R) -> Self {
        Self { recording, inner }
    }
}

impl<R: Relay> Relay for Recorder<R> {
    fn to_guard(&mut self, frame: GuardFrame) -> Vec<GuardFrame> {
        let frames = self.inner.to_guard(frame);
        for frame in &frames {
            let kept = match frame {
                GuardFrame::Range(_) => continue,
                GuardFrame::Start { agreement, request, .. } => GuardFrame::Start {
                    agreement: agreement.clone(),
                    request: request.clone(),
                    engine: Bytes::new(),
                },
                GuardFrame::FromBroker { .. } | GuardFrame::RangeFailed => frame.clone(),
            };
            self.recording.with(|seen| seen.to_guard.push(kept));
        }
        frames
    }

    fn out_of_guard(&mut self, message: FromGuard) -> Vec<FromGuard> {
        self.recording.with(|seen| seen.from_guard.push(message.clone()));
        self.inner.out_of_guard(message)
    }
}
