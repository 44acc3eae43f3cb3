//! A reader that stops when one record eats too much.

use std::cell::Cell;
use std::io::{self, Read};

use super::MAX_CSV_RECORD_BYTES;
use super::quotes::Quotes;

/// The parser reads ahead by its buffer, which is far smaller than this.
const READ_AHEAD: u64 = 64 * 1024;

/// Fails once more than the limit was read since the last [`Bounded::refill`].
pub(super) struct Bounded<R> {
    inner: R,
    left: Cell<u64>,
    quotes: Quotes,
}

impl<R> Bounded<R> {
    pub fn new(inner: R, delimiter: u8) -> Bounded<R> {
        Bounded { inner, left: Cell::new(0), quotes: Quotes::new(delimiter) }
    }

    /// Allows one more record.
    pub fn refill(&self) {
        self.left.set(MAX_CSV_RECORD_BYTES + READ_AHEAD);
    }

    /// Whether what was read so far ends within quotes.
    pub fn is_in_quotes(&self) -> bool {
        self.quotes.is_open()
    }

    pub fn is_exhausted(&self) -> bool {
        self.left.get() == 0
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left.get()).unwrap_or(usize::MAX);
        if left == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let length = buffer.len().min(left);
        let read = self.inner.read(&mut buffer[..length])?;
        self.quotes.follow(&buffer[..read]);
        self.left.set((left - read) as u64);
        Ok(read)
    }
}
