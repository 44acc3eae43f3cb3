use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::thread;

use bytes::Bytes;
use cordon_protocol::frame::{self, FrameError, MAX_FRAME_BYTES};
use cordon_protocol::message::{FromGuard, ToGuard};
use tokio::sync::mpsc;

use super::relay::GuardFrame;

/// Raw frames in which an engine travels.
const ENGINE_FRAME_BYTES: usize = 1024 * 1024;
/// Messages of a guard that may wait for the host.
const FROM_GUARD_QUEUE: usize = 64;
/// Frames that may wait for a guard; each may hold a range of ciphertext.
const TO_GUARD_QUEUE: usize = 4;

/// Starts guards: in the development TEE, or in a confidential machine.
pub trait GuardLauncher: Send + Sync {
    /// Starts one guard. May block.
    ///
    /// # Errors
    /// If it cannot be started.
    fn launch(&self) -> io::Result<Guard>;
}

/// A guard that has just been started.
pub struct Guard {
    /// Speaks the frames of [`cordon_protocol::frame`].
    pub socket: UnixStream,
    /// Ends it.
    pub process: Box<dyn GuardProcess>,
}

/// A handle on a guard's process.
pub trait GuardProcess: Send {
    /// Ends it at once, if it still runs.
    fn kill(&mut self);
    /// Waits until it has ended.
    fn wait(&mut self);
}

impl GuardProcess for Child {
    fn kill(&mut self) {
        // It has ended already if this fails.
        let _ = Self::kill(self);
    }

    fn wait(&mut self) {
        let _ = Self::wait(self);
    }
}

impl From<(UnixStream, Child)> for Guard {
    fn from((socket, child): (UnixStream, Child)) -> Self {
        Self { socket, process: Box::new(child) }
    }
}

/// The host's end of a guard. Dropping it kills the guard.
pub(super) struct GuardLink {
    pub(super) to_guard: mpsc::Sender<GuardFrame>,
    pub(super) from_guard: mpsc::Receiver<Result<FromGuard, FrameError>>,
    socket: UnixStream,
    process: Option<Box<dyn GuardProcess>>,
}

impl GuardLink {
    /// Two threads move frames, since sockets of a guard may be of a kind that no reactor knows.
    pub(super) fn new(guard: Guard) -> io::Result<Self> {
        let Guard { socket, process } = guard;
        let (to_guard, mut frames) = mpsc::channel(TO_GUARD_QUEUE);
        let (messages, from_guard) = mpsc::channel(FROM_GUARD_QUEUE);
        let link = Self { to_guard, from_guard, socket, process: Some(process) };
        let mut writer = link.socket.try_clone()?;
        let mut reader = link.socket.try_clone()?;
        thread::Builder::new().name("to-guard".to_owned()).spawn(move || {
            while let Some(frame) = frames.blocking_recv() {
                if write(&mut writer, frame).is_err() {
                    // The reader notices as well, and tells why.
                    return;
                }
            }
        })?;
        thread::Builder::new().name("from-guard".to_owned()).spawn(move || {
            loop {
                let message = frame::read_message::<FromGuard>(&mut reader, MAX_FRAME_BYTES);
                let ended = message.is_err();
                if messages.blocking_send(message).is_err() || ended {
                    return;
                }
            }
        })?;
        Ok(link)
    }
}

impl Drop for GuardLink {
    fn drop(&mut self) {
        // Both threads end with the socket; an error means that it has ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
        let Some(mut process) = self.process.take() else { return };
        process.kill();
        // Reaping may take a moment, and this may be an async task.
        thread::spawn(move || process.wait());
    }
}

fn write(out: &mut UnixStream, frame: GuardFrame) -> Result<(), FrameError> {
    match frame {
        GuardFrame::Start { agreement, request, engine } => {
            let engine_size = engine.len() as u64;
            frame::write_message(out, &ToGuard::Start { agreement, request, engine_size })?;
            engine.chunks(ENGINE_FRAME_BYTES).try_for_each(|part| frame::write_bytes(out, part))
        }
        GuardFrame::FromBroker { party, id, body } => {
            frame::write_message(out, &ToGuard::FromBroker { party, id, body })
        }
        GuardFrame::Range(bytes) => write_range(out, &bytes),
        GuardFrame::RangeFailed => frame::write_message(out, &ToGuard::RangeFailed),
    }
}

fn write_range(out: &mut UnixStream, bytes: &Bytes) -> Result<(), FrameError> {
    frame::write_message(out, &ToGuard::Range)?;
    frame::write_bytes(out, bytes)
}
