use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cordon_protocol::worker::MAX_RANGE_BYTES;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use crate::failure::Failure;
use crate::link::{Coming, Link};

/// Ranges of one file that have been asked for.
pub(crate) struct Asked {
    size_bytes: u64,
    pieces: VecDeque<(u64, Coming)>,
}

/// Ranges of one file, in memory, as the Parquet reader wants them.
#[derive(Clone)]
pub(crate) struct Fetched {
    size_bytes: u64,
    /// Sorted by offset, no two overlap.
    pieces: Arc<Vec<(u64, Bytes)>>,
}

impl Asked {
    /// Asks for ranges of a file, sorted and without overlap, in pieces as large as allowed.
    pub(crate) fn ask(link: &Link, file: u32, size_bytes: u64, ranges: &[Range<u64>]) -> Self {
        let mut pieces = VecDeque::new();
        for range in ranges {
            let mut offset = range.start;
            while offset < range.end {
                let length = (range.end - offset).min(u64::from(MAX_RANGE_BYTES));
                let Ok(asked) = u32::try_from(length) else { break };
                pieces.push_back((offset, link.ask(file, offset, asked)));
                offset += length;
            }
        }
        Self { size_bytes, pieces }
    }

    /// Waits for all of them.
    pub(crate) async fn fetched(self) -> Result<Fetched, Failure> {
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for (offset, coming) in self.pieces {
            pieces.push((offset, coming.bytes().await?));
        }
        Ok(Fetched { size_bytes: self.size_bytes, pieces: Arc::new(pieces) })
    }
}

impl Fetched {
    /// The bytes from `start` to the end of the piece that holds them.
    fn rest_of_piece(&self, start: u64) -> Option<Bytes> {
        let behind = self.pieces.partition_point(|(offset, _)| *offset <= start);
        let (offset, bytes) = self.pieces.get(behind.checked_sub(1)?)?;
        let within = usize::try_from(start - offset).ok()?;
        (within < bytes.len()).then(|| bytes.slice(within..))
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.size_bytes
    }
}

impl ChunkReader for Fetched {
    type T = FetchedRead;

    fn get_read(&self, start: u64) -> ParquetResult<FetchedRead> {
        Ok(FetchedRead { fetched: self.clone(), next: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        match self.rest_of_piece(start) {
            Some(rest) if rest.len() >= length => Ok(rest.slice(..length)),
            // Across pieces. INVARIANT: no more is allocated than has been fetched.
            Some(_) | None => {
                let mut bytes = Vec::new();
                let wanted = u64::try_from(length).unwrap_or(u64::MAX);
                self.get_read(start)?.take(wanted).read_to_end(&mut bytes)?;
                if bytes.len() < length {
                    return Err(ParquetError::EOF("range that was not fetched".to_owned()));
                }
                Ok(bytes.into())
            }
        }
    }
}

/// Reads on from one place, as far as pieces lie side by side.
pub(crate) struct FetchedRead {
    fetched: Fetched,
    next: u64,
}

impl Read for FetchedRead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(rest) = self.fetched.rest_of_piece(self.next) else { return Ok(0) };
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.next += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched() -> Fetched {
        let pieces = [(2, "cd"), (4, "ef"), (8, "ij")];
        let pieces = pieces.map(|(offset, bytes)| (offset, Bytes::from(bytes)));
        Fetched { size_bytes: 10, pieces: Arc::new(pieces.into()) }
    }

    #[test]
    fn what_was_fetched_can_be_read_across_pieces() {
        for (start, length, bytes) in
            [(2, 2, "cd"), (3, 1, "d"), (3, 2, "de"), (2, 4, "cdef"), (8, 2, "ij")]
        {
            assert_eq!(fetched().get_bytes(start, length).unwrap(), bytes);
        }
        let mut text = String::new();
        fetched().get_read(3).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "def");
    }

    #[test]
    fn what_was_not_fetched_is_not_there() {
        for (start, length) in [(0, 1), (1, 2), (5, 2), (6, 1), (9, 2), (10, 1), (2, usize::MAX)] {
            assert!(fetched().get_bytes(start, length).is_err(), "{start} {length}");
        }
    }
}
