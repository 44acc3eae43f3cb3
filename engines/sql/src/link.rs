use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use cordon_protocol::frame;
use cordon_protocol::worker::{FailureCode, FromWorker, MAX_RANGE_BYTES, ToWorker};
use tokio::sync::oneshot;

use crate::failure::Failure;

/// The line to the guard while a query runs: ranges are asked for from any thread, and answered
/// in the order in which they were asked for.
pub(crate) struct Link {
    socket: Arc<UnixStream>,
    asked: Arc<Mutex<Asked>>,
}

/// A range that is on its way.
pub(crate) struct Coming(oneshot::Receiver<Result<Bytes, Failure>>);

/// What the guard has not answered yet, oldest first.
#[derive(Default)]
struct Asked {
    ranges: VecDeque<AskedRange>,
    /// The guard is gone, or said something that it must not.
    closed: bool,
}

struct AskedRange {
    length: u32,
    answer: oneshot::Sender<Result<Bytes, Failure>>,
}

impl Link {
    /// Starts the thread that takes the answers. It ends with the process, or when the guard
    /// closes its end.
    pub(crate) fn start(socket: Arc<UnixStream>) -> Result<Self, Failure> {
        let asked = Arc::new(Mutex::new(Asked::default()));
        let link = Self { socket: Arc::clone(&socket), asked: Arc::clone(&asked) };
        thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || {
                while take_answer(&socket, &asked).is_some() {}
                close(&asked);
            })
            .map_err(|_| Failure::bare(FailureCode::Internal))?;
        Ok(link)
    }

    /// Asks for a range of 1 to [`MAX_RANGE_BYTES`] bytes.
    pub(crate) fn ask(&self, file: u32, offset: u64, length: u32) -> Coming {
        let (answer, coming) = oneshot::channel();
        // INVARIANT: the lock is held until the request is written, so that requests are in the
        // same order here and on the wire. Writing never waits for long: the guard reads at all
        // times, and answers are taken by a thread that needs this lock only between frames.
        let mut asked = lock(&self.asked);
        let read = FromWorker::Read { file, offset, length };
        if !asked.closed && frame::write_message(&mut self.socket.as_ref(), &read).is_ok() {
            asked.ranges.push_back(AskedRange { length, answer });
        }
        // Not asked: the sender is dropped, which `bytes` takes for a failed read.
        Coming(coming)
    }
}

impl Coming {
    /// Waits for the bytes: exactly as many as were asked for.
    pub(crate) async fn bytes(self) -> Result<Bytes, Failure> {
        self.0.await.unwrap_or_else(|_| Err(Failure::bare(FailureCode::ReadFailed)))
    }
}

/// Takes one answer; `None` at the end of the line.
fn take_answer(socket: &UnixStream, asked: &Mutex<Asked>) -> Option<()> {
    let mut input = socket;
    let message: ToWorker = frame::read_message(&mut input, MAX_MESSAGE_BYTES).ok()?;
    let bytes = match message {
        ToWorker::Range => {
            let limit = usize::try_from(MAX_RANGE_BYTES).ok()?;
            Some(frame::read_bytes(&mut input, limit).ok()?)
        }
        ToWorker::RangeFailed => None,
        ToWorker::Job(_) => return None,
    };
    let oldest = lock(asked).ranges.pop_front()?;
    let expected = usize::try_from(oldest.length).ok()?;
    let answer = match bytes {
        Some(bytes) if bytes.len() == expected => Ok(Bytes::from(bytes)),
        Some(_) | None => Err(Failure::bare(FailureCode::ReadFailed)),
    };
    // Whoever asked may have failed meanwhile and not wait any more.
    let _ = oldest.answer.send(answer);
    Some(())
}

fn close(asked: &Mutex<Asked>) {
    let mut asked = lock(asked);
    asked.closed = true;
    asked.ranges.clear();
}

fn lock(asked: &Mutex<Asked>) -> std::sync::MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `ToWorker` without a job is a word.
const MAX_MESSAGE_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn link() -> (Link, UnixStream) {
        let (guard, worker) = UnixStream::pair().unwrap();
        (Link::start(Arc::new(worker)).unwrap(), guard)
    }

    fn wait(coming: Coming) -> Result<Bytes, Failure> {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(coming.bytes())
    }

    fn answer(mut guard: &UnixStream, bytes: &[u8]) {
        frame::write_message(&mut guard, &ToWorker::Range).unwrap();
        frame::write_bytes(&mut guard, bytes).unwrap();
    }

    #[test]
    fn ranges_are_answered_in_the_order_of_the_requests() {
        let (link, mut guard) = link();
        let (first, second) = (link.ask(1, 0, 2), link.ask(2, 7, 3));
        for (file, offset, length) in [(1, 0, 2), (2, 7, 3)] {
            let read: FromWorker = frame::read_message(&mut guard, 999).unwrap();
            assert_eq!(read, FromWorker::Read { file, offset, length });
        }
        answer(&guard, b"ab");
        answer(&guard, b"xyz");
        assert_eq!(wait(second).unwrap(), "xyz");
        assert_eq!(wait(first).unwrap(), "ab");
    }

    #[test]
    fn a_failed_or_short_range_fails_alone() {
        let (link, mut guard) = link();
        let ranges = [link.ask(1, 0, 2), link.ask(1, 0, 2), link.ask(1, 0, 2)];
        frame::write_message(&mut guard, &ToWorker::RangeFailed).unwrap();
        answer(&guard, b"a");
        answer(&guard, b"ab");
        let answers = ranges.map(|range| wait(range).map_err(|failure| failure.code()));
        let failed = Err(FailureCode::ReadFailed);
        assert_eq!(answers, [failed.clone(), failed, Ok(Bytes::from("ab"))]);
    }

    #[test]
    fn a_guard_that_is_gone_or_talks_nonsense_fails_all_reads() {
        for nonsense in [b"\0\0\0\x02{}".as_slice(), b"\xff\xff\xff\xff", b""] {
            let (link, mut guard) = link();
            let coming = link.ask(1, 0, 2);
            std::io::Write::write_all(&mut guard, nonsense).unwrap();
            if nonsense.is_empty() {
                drop(guard);
            }
            assert_eq!(wait(coming).unwrap_err().code(), FailureCode::ReadFailed);
            let later = link.ask(1, 0, 2).bytes().now_or_never();
            assert_eq!(later.unwrap().unwrap_err().code(), FailureCode::ReadFailed);
        }
    }
}
