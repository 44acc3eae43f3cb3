//! The guard's two lines, to its host and to its worker: frames in, frames out, never waiting.
//!
//! One thread reads each line and one writes it; the guard itself waits in one place only,
//! [`Lines::next`], and always with a deadline. So neither a host that does not read nor a
//! worker that does not answer can keep it from counting leases. Everything is bounded: frames,
//! the events that wait, and the frames that wait to be written.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cordon_protocol::frame::{self, MAX_FRAME_BYTES};
use cordon_protocol::message::{FromBroker, FromGuard, MAX_MESSAGE_BYTES, ToGuard};
use cordon_protocol::worker::{FromWorker, MAX_RANGE_BYTES};
use cordon_types::{Nonce, PartyId};
use zeroize::Zeroizing;

use crate::failure::Code;

/// Something that arrived.
pub(crate) enum Event {
    /// A broker's answer, as the host says.
    Answer { party: PartyId, id: Nonce, body: Box<FromBroker> },
    /// Ciphertext for the oldest open read; `None` if it cannot be had.
    Range(Option<Vec<u8>>),
    /// The host is gone, or does not speak the protocol.
    HostGone,
    /// The worker of this number says something.
    Worker(u32, FromWorker),
    /// The worker of this number took so many bytes of ciphertext.
    WorkerTook(u32, usize),
    /// The worker of this number is gone, or does not speak the protocol.
    WorkerGone(u32, Gone),
}

/// Why nothing more comes from a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It closed its socket.
    Closed,
    /// It sent what is no message, or too large a one.
    Babble,
}

/// The line to the host, and whatever arrives on any line.
pub(crate) struct Lines {
    events: Receiver<Event>,
    arrivals: SyncSender<Event>,
    host: Writer,
    workers: u32,
}

/// The line to one worker.
pub(crate) struct WorkerLine {
    /// Its number: events of other workers are stale.
    pub number: u32,
    writer: Writer,
}

impl Lines {
    /// Takes the connection to the host, from behind the engine's bytes on.
    pub fn open(host: UnixStream) -> io::Result<Self> {
        let (arrivals, events) = sync_channel(MAX_WAITING_EVENTS);
        host.set_read_timeout(None)?;
        host.set_write_timeout(Some(HOST_PATIENCE))?;
        let writer = Writer::start(host.try_clone()?, |_| {})?;
        let to = arrivals.clone();
        spawn("host-reader", move || read_host(host, &to))?;
        Ok(Self { events, arrivals, host: writer, workers: 0 })
    }

    /// Sends a message to the host.
    pub fn tell_host(&self, message: &FromGuard) -> Result<(), Code> {
        let body = serde_json::to_vec(message).map_err(|_| Code::CannotSeal)?;
        if body.len() > MAX_FRAME_BYTES {
            return Err(Code::CannotSeal);
        }
        self.host.send(Body::Open(body), 0).map_err(|_: Unsent| Code::HostGone)
    }

    /// The next event, if one arrives in time.
    pub fn next(&self, patience: Duration) -> Option<Event> {
        match self.events.recv_timeout(patience) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            // We hold a sender ourselves; still, it would be an end.
            Err(RecvTimeoutError::Disconnected) => Some(Event::HostGone),
        }
    }

    /// Takes the socket of a new worker, whose frames have at most `limit` bytes.
    pub fn open_worker(&mut self, socket: &UnixStream, limit: usize) -> io::Result<WorkerLine> {
        self.workers += 1;
        let number = self.workers;
        let took = self.arrivals.clone();
        let writer = Writer::start(socket.try_clone()?, move |bytes| {
            // The guard ends first: then nobody counts any more.
            let _ = took.send(Event::WorkerTook(number, bytes));
        })?;
        let (reader, to) = (socket.try_clone()?, self.arrivals.clone());
        spawn("worker-reader", move || read_worker(reader, number, limit, &to))?;
        Ok(WorkerLine { number, writer })
    }

    /// Waits until the host has taken everything, or takes nothing any more.
    pub fn close(self) {
        self.host.close();
    }
}

impl WorkerLine {
    /// Sends a frame; once written, `counted` bytes are reported as taken. A worker that is gone
    /// takes nothing, and its reader tells why.
    pub fn send(&self, body: Body, counted: usize) -> Result<(), Stalled> {
        match self.writer.send(body, counted) {
            Ok(()) | Err(Unsent::Gone) => Ok(()),
            Err(Unsent::Full) => Err(Stalled),
        }
    }
}

/// The content of a frame that waits to be written.
pub(crate) enum Body {
    /// Ciphertext, or words without data.
    Open(Vec<u8>),
    /// Keys: wiped when written.
    Secret(Zeroizing<Vec<u8>>),
}

impl Body {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Open(bytes) => bytes,
            Self::Secret(bytes) => bytes,
        }
    }
}

/// The worker takes nothing any more.
#[derive(Debug)]
pub(crate) struct Stalled;

/// Why a frame does not wait to be written.
enum Unsent {
    /// Too many wait already.
    Full,
    /// The line is closed.
    Gone,
}

/// Writes frames in a thread of its own.
struct Writer {
    queue: SyncSender<(Body, usize)>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(mut socket: UnixStream, took: impl Fn(usize) + Send + 'static) -> io::Result<Self> {
        let (queue, frames) = sync_channel::<(Body, usize)>(MAX_WAITING_FRAMES);
        let thread = spawn("writer", move || {
            for (body, counted) in frames {
                if frame::write_bytes(&mut socket, body.as_slice()).is_err() {
                    // A frame may be cut in the middle: nothing can follow it.
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                    return;
                }
                if counted > 0 {
                    took(counted);
                }
            }
        })?;
        Ok(Self { queue, thread })
    }

    fn send(&self, body: Body, counted: usize) -> Result<(), Unsent> {
        self.queue.try_send((body, counted)).map_err(|error| match error {
            TrySendError::Full(_) => Unsent::Full,
            TrySendError::Disconnected(_) => Unsent::Gone,
        })
    }

    fn close(self) {
        drop(self.queue);
        // It ends with its last frame, or after `HOST_PATIENCE`.
        let _ = self.thread.join();
    }
}

fn read_host(mut host: UnixStream, to: &SyncSender<Event>) {
    loop {
        let event = match frame::read_message(&mut host, MAX_HOST_FRAME_BYTES) {
            Ok(ToGuard::FromBroker { party, id, body }) => Event::Answer { party, id, body },
            Ok(ToGuard::Range) => match frame::read_bytes(&mut host, MAX_RANGE) {
                Ok(bytes) => Event::Range(Some(bytes)),
                Err(_) => Event::HostGone,
            },
            Ok(ToGuard::RangeFailed) => Event::Range(None),
            Ok(ToGuard::Start { .. }) | Err(_) => Event::HostGone,
        };
        let over = matches!(event, Event::HostGone);
        if to.send(event).is_err() || over {
            return;
        }
    }
}

fn read_worker(mut worker: UnixStream, number: u32, limit: usize, to: &SyncSender<Event>) {
    loop {
        // What a worker says may be plaintext: the frame is wiped once it is parsed.
        let event = match frame::read_bytes(&mut worker, limit).map(Zeroizing::new) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(message) => Event::Worker(number, message),
                Err(_) => Event::WorkerGone(number, Gone::Babble),
            },
            Err(frame::FrameError::TooLarge { .. }) => Event::WorkerGone(number, Gone::Babble),
            Err(_) => Event::WorkerGone(number, Gone::Closed),
        };
        let over = matches!(event, Event::WorkerGone(..));
        if to.send(event).is_err() || over {
            return;
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(work)
}

/// Parsing a message of limited depth needs a fraction; all of it is locked in memory.
const STACK_BYTES: usize = 512 * 1024;
/// A broker's largest message, with what the host adds.
const MAX_HOST_FRAME_BYTES: usize = MAX_MESSAGE_BYTES + 1024;
const MAX_RANGE: usize = MAX_RANGE_BYTES as usize;
/// Enough that readers need not wait for one another; each is at most a range.
const MAX_WAITING_EVENTS: usize = 16;
/// More than reads and messages of any run that wait at once.
const MAX_WAITING_FRAMES: usize = 1024;
/// A host that takes nothing for so long is gone.
const HOST_PATIENCE: Duration = Duration::from_secs(20);
