//! An answer that is on its way: for threads to wait for, and for tasks to await.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use zeroize::Zeroizing;

use crate::process::{ClientError, Response};

/// What came back for one request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub response: Response,
    /// The raw frame after [`Response::Unlocked`].
    pub secret: Option<Zeroizing<Vec<u8>>>,
}

type Outcome = Result<Reply, ClientError>;

/// The answer to a request that was sent. Await it, or [`wait`](Pending::wait) for it; the key
/// process answers in order, so a deadline belongs to the caller.
#[must_use = "the answer to the request is lost"]
pub struct Pending<T> {
    slot: Arc<Slot>,
    read: fn(Reply) -> Result<T, ClientError>,
}

/// The other end: dropped without an answer, it answers that the process is gone.
pub(crate) struct Completer(Arc<Slot>);

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    Awaited(Waker),
    Done(Box<Outcome>),
    Taken,
}

/// Makes both ends.
pub(crate) fn pair<T>(read: fn(Reply) -> Result<T, ClientError>) -> (Completer, Pending<T>) {
    let slot = Arc::new(Slot::default());
    (Completer(slot.clone()), Pending { slot, read })
}

impl Completer {
    /// Hands the answer over.
    pub fn complete(self, outcome: Outcome) {
        self.0.finish(outcome);
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        self.0.finish(Err(ClientError::Gone));
    }
}

impl Slot {
    /// The first outcome counts.
    fn finish(&self, outcome: Outcome) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut *state) {
            done @ (State::Done(_) | State::Taken) => *state = done,
            State::Waiting => *state = State::Done(Box::new(outcome)),
            State::Awaited(waker) => {
                *state = State::Done(Box::new(outcome));
                waker.wake();
            }
        }
        self.ready.notify_all();
    }
}

impl<T> Pending<T> {
    /// Blocks until the answer is there.
    ///
    /// # Errors
    /// What the key process refused or failed at, or that it is gone.
    pub fn wait(self) -> Result<T, ClientError> {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match std::mem::take(&mut *state) {
                State::Done(outcome) => return (*outcome).and_then(self.read),
                State::Taken => return Err(ClientError::Gone),
                State::Waiting | State::Awaited(_) => {}
            }
            state = self.slot.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, ClientError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut *state) {
            State::Done(outcome) => {
                *state = State::Taken;
                Poll::Ready((*outcome).and_then(self.read))
            }
            State::Taken => Poll::Ready(Err(ClientError::Gone)),
            State::Waiting | State::Awaited(_) => {
                *state = State::Awaited(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
