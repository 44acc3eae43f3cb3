//! Work that can be asked to end: what it made so far is then removed.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody asked.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

/// Somebody did.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: nothing was left behind")]
pub struct Interrupted;

impl Stop {
    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// For the work to look at, often.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.0.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
    }

    /// A reader that fails once somebody asked.
    pub fn reads<R: Read>(&self, inner: R) -> impl Read + use<R> {
        Stopping { inner, stop: self.clone() }
    }
}

struct Stopping<R> {
    inner: R,
    stop: Stop,
}

impl<R: Read> Read for Stopping<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check().map_err(io::Error::other)?;
        self.inner.read(buffer)
    }
}
