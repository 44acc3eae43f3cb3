//! Length-prefixed frames on local sockets: u32 big-endian length, then the bytes.
//!
//! The guard speaks them with the host, and (in [`crate::worker`]) with the worker. The length
//! is checked against the reader's limit before anything is allocated.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest frame that anybody here sends: a range of ciphertext and its header.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Why a frame is refused.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed the connection between two frames.
    #[error("the other side closed the connection")]
    Closed,
    /// Longer than the limit.
    #[error("frame of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Announced bytes.
        size: usize,
        /// Allowed bytes.
        limit: usize,
    },
    /// Not the expected message. The content is not repeated.
    #[error("frame does not hold the expected message")]
    Malformed(#[source] serde_json::Error),
    /// Reading or writing failed.
    #[error("cannot read or write a frame")]
    Io(#[source] io::Error),
}

/// Writes one frame of raw bytes.
///
/// # Errors
/// If it is over [`MAX_FRAME_BYTES`] or writing fails.
pub fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> Result<(), FrameError> {
    let too_large = FrameError::TooLarge { size: bytes.len(), limit: MAX_FRAME_BYTES };
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(too_large);
    }
    let length = u32::try_from(bytes.len()).map_err(|_| too_large)?;
    out.write_all(&length.to_be_bytes()).map_err(FrameError::Io)?;
    out.write_all(bytes).map_err(FrameError::Io)?;
    out.flush().map_err(FrameError::Io)
}

/// Reads one frame of raw bytes.
///
/// # Errors
/// [`FrameError::Closed`] at a clean end; otherwise if it is over `limit` or reading fails.
pub fn read_bytes(input: &mut impl Read, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut length = [0; 4];
    let read = loop {
        match input.read(&mut length) {
            // A signal came first; `read_exact` below goes on by itself.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read.map_err(FrameError::Io)?,
        }
    };
    if read == 0 {
        return Err(FrameError::Closed);
    }
    input.read_exact(&mut length[read..]).map_err(FrameError::Io)?;
    let size = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let limit = limit.min(MAX_FRAME_BYTES);
    if size > limit {
        return Err(FrameError::TooLarge { size, limit });
    }
    let mut bytes = vec![0; size];
    input.read_exact(&mut bytes).map_err(FrameError::Io)?;
    Ok(bytes)
}

/// Writes a message as JSON in one frame.
///
/// # Errors
/// As [`write_bytes`].
pub fn write_message<T: Serialize>(out: &mut impl Write, message: &T) -> Result<(), FrameError> {
    let bytes = serde_json::to_vec(message).map_err(FrameError::Malformed)?;
    write_bytes(out, &bytes)
}

/// Reads a message from one frame of JSON.
///
/// # Errors
/// As [`read_bytes`], or [`FrameError::Malformed`].
pub fn read_message<T: DeserializeOwned>(
    input: &mut impl Read,
    limit: usize,
) -> Result<T, FrameError> {
    serde_json::from_slice(&read_bytes(input, limit)?).map_err(FrameError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_round_trips_and_the_limit_is_checked_before_reading() {
        let mut wire = Vec::new();
        write_bytes(&mut wire, b"hello").unwrap();
        assert_eq!(read_bytes(&mut wire.as_slice(), 5).unwrap(), b"hello");
        assert!(matches!(
            read_bytes(&mut wire.as_slice(), 4),
            Err(FrameError::TooLarge { size: 5, limit: 4 })
        ));
        let announced = [0xff; 4];
        assert!(matches!(
            read_bytes(&mut announced.as_slice(), usize::MAX),
            Err(FrameError::TooLarge { .. })
        ));
    }

    #[test]
    fn an_end_between_frames_is_closed_and_inside_is_an_error() {
        assert!(matches!(read_bytes(&mut [].as_slice(), 9), Err(FrameError::Closed)));
        assert!(matches!(read_bytes(&mut [0, 0].as_slice(), 9), Err(FrameError::Io(_))));
        assert!(matches!(read_bytes(&mut [0, 0, 0, 2, 1].as_slice(), 9), Err(FrameError::Io(_))));
    }

    /// `read_exact` tries again by itself, but the first read of a frame did not: a signal between
    /// two frames ended a run.
    #[test]
    fn an_interrupted_read_is_tried_again() {
        /// Gives one byte at a time, and before each an interruption.
        struct Interrupted<'a>(bool, &'a [u8]);

        impl Read for Interrupted<'_> {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                self.0 = !self.0;
                if self.0 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                let one = out.len().min(1);
                self.1.read(&mut out[..one])
            }
        }

        let mut wire = Vec::new();
        write_bytes(&mut wire, b"one").unwrap();
        write_bytes(&mut wire, b"two").unwrap();
        let mut peer = Interrupted(false, &wire);
        assert_eq!(read_bytes(&mut peer, 9).unwrap(), b"one");
        assert_eq!(read_bytes(&mut peer, 9).unwrap(), b"two");
        assert!(matches!(read_bytes(&mut peer, 9), Err(FrameError::Closed)));
    }
}
