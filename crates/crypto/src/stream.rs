//! Sealed streams: AES-256-GCM in chunks of 64 KiB, so that any length is sealed and opened in
//! constant memory and nothing unauthenticated is ever handed out.
//!
//! Layout: header ‖ chunk… . The header is `CDST`, version 1, suite 1, two zero bytes, and a
//! random nonce prefix of 7 bytes, then one zero byte. A chunk is its ciphertext and a 16-byte
//! tag; every chunk but the last is 65,536 bytes long. Nonce = prefix ‖ u32 big-endian counter ‖
//! last flag, so that a missing, moved, repeated or cut chunk does not open; the additional data
//! is the header's digest and the caller's context, so that a chunk of another stream does not
//! either (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár).
//!
//! One key seals one stream: derive it with [`crate::Label::StreamKey`].

use std::io::{self, Read, Write};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use cordon_types::Secret;

use crate::aead::{NONCE_BYTES, TAG_BYTES};
use crate::hash::sha256;
use crate::random::Random;

/// Plaintext bytes of every chunk but the last.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;
/// Ciphertext bytes of every chunk but the last.
pub const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

const MAGIC_VERSION_SUITE: [u8; 8] = *b"CDST\x01\x01\x00\x00";
const PREFIX_BYTES: usize = 7;

/// Why a sealed stream does not open.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The header is not one of ours.
    #[error("not a sealed stream: header is missing or of an unknown version")]
    Header,
    /// A chunk does not open at its place.
    #[error("chunk {index} does not open: changed, moved, cut, or of another stream")]
    Chunk {
        /// Position of the chunk, from 0.
        index: u32,
    },
    /// The stream ends without its last chunk, or goes on after it.
    #[error("stream ends before its last chunk")]
    Truncated,
    /// More chunks than the counter can number.
    #[error("stream is longer than 2^32 chunks")]
    TooLong,
    /// Reading the ciphertext failed.
    #[error("cannot read the sealed stream")]
    Io(#[source] io::Error),
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Io(inner) => inner,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}

struct ChunkCipher {
    key: LessSafeKey,
    prefix: [u8; PREFIX_BYTES],
    aad: [u8; 32],
    counter: u32,
}

impl ChunkCipher {
    fn new(key: &Secret<32>, header: &[u8; HEADER_BYTES], context: &[u8]) -> Self {
        let Ok(unbound) = UnboundKey::new(&AES_256_GCM, key.expose()) else {
            // Only a wrong length fails, and the type fixes it.
            std::process::abort()
        };
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(&header[8..8 + PREFIX_BYTES]);
        Self {
            key: LessSafeKey::new(unbound),
            prefix,
            aad: *sha256(&[header, context]).as_bytes(),
            counter: 0,
        }
    }

    fn next_nonce(&mut self, last: bool) -> Result<Nonce, StreamError> {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..PREFIX_BYTES].copy_from_slice(&self.prefix);
        nonce[PREFIX_BYTES..11].copy_from_slice(&self.counter.to_be_bytes());
        nonce[11] = u8::from(last);
        self.counter = self.counter.checked_add(1).ok_or(StreamError::TooLong)?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    fn seal(&mut self, chunk: &mut Vec<u8>, last: bool) -> Result<(), StreamError> {
        let nonce = self.next_nonce(last)?;
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(&self.aad), chunk)
            .map_err(|_| StreamError::TooLong)?;
        chunk.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens in place; how many bytes of plaintext there are.
    fn open(&mut self, chunk: &mut [u8], last: bool) -> Result<usize, StreamError> {
        let index = self.counter;
        let nonce = self.next_nonce(last)?;
        let opened = self.key.open_in_place(nonce, Aad::from(&self.aad), chunk);
        Ok(opened.map_err(|_| StreamError::Chunk { index })?.len())
    }
}

/// Seals what is written to it. [`StreamSealer::finish`] writes the last chunk; a stream
/// dropped before that does not open.
pub struct StreamSealer<W> {
    out: W,
    cipher: ChunkCipher,
    pending: Vec<u8>,
}

impl<W: Write> StreamSealer<W> {
    /// Writes the header and starts a stream under a key of its own.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn new(
        mut out: W,
        key: &Secret<32>,
        context: &[u8],
        random: &mut dyn Random,
    ) -> io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC_VERSION_SUITE);
        random.fill(&mut header[8..8 + PREFIX_BYTES]);
        out.write_all(&header)?;
        let cipher = ChunkCipher::new(key, &header, context);
        Ok(Self { out, cipher, pending: Vec::with_capacity(SEALED_CHUNK_BYTES) })
    }

    /// Seals the last chunk and hands `out` back.
    ///
    /// # Errors
    /// If `out` cannot be written or the stream is too long.
    pub fn finish(mut self) -> io::Result<W> {
        self.cipher.seal(&mut self.pending, true)?;
        self.out.write_all(&self.pending)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for StreamSealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk is sealed only when more follows: the last chunk may be full, too.
        if self.pending.len() == CHUNK_BYTES && !bytes.is_empty() {
            self.cipher.seal(&mut self.pending, false)?;
            self.out.write_all(&self.pending)?;
            self.pending.clear();
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a sealed stream; every byte that it yields has been authenticated at its place.
///
/// A reader that needs the whole must read to the end: only there is it known that nothing was
/// cut off. `read` reports truncation as an error, never as an early end.
pub struct StreamOpener<R> {
    input: R,
    cipher: ChunkCipher,
    /// Room for a sealed chunk and the byte after it; the opened chunk stands at its start.
    chunk: Vec<u8>,
    /// Bytes of it that were authenticated.
    opened: usize,
    /// Of these, how many were handed out.
    position: usize,
    carried: Option<u8>,
    done: bool,
}

impl<R: Read> StreamOpener<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`StreamError::Header`] or [`StreamError::Io`].
    pub fn new(mut input: R, key: &Secret<32>, context: &[u8]) -> Result<Self, StreamError> {
        let mut header = [0; HEADER_BYTES];
        let found = read_up_to(&mut input, &mut header).map_err(StreamError::Io)?;
        if found < HEADER_BYTES || header[..8] != MAGIC_VERSION_SUITE || header[15] != 0 {
            return Err(StreamError::Header);
        }
        Ok(Self {
            input,
            cipher: ChunkCipher::new(key, &header, context),
            chunk: vec![0; SEALED_CHUNK_BYTES + 1],
            opened: 0,
            position: 0,
            carried: None,
            done: false,
        })
    }

    /// Opens the next chunk into `self.chunk`. One byte is read ahead to know which is the last.
    fn next_chunk(&mut self) -> Result<(), StreamError> {
        (self.position, self.opened) = (0, 0);
        let start = match self.carried.take() {
            Some(byte) => {
                self.chunk[0] = byte;
                1
            }
            None => 0,
        };
        let found = start
            + read_up_to(&mut self.input, &mut self.chunk[start..]).map_err(StreamError::Io)?;
        let last = found <= SEALED_CHUNK_BYTES;
        if found < TAG_BYTES {
            return Err(StreamError::Truncated);
        }
        if !last {
            self.carried = self.chunk.last().copied();
        }
        let opened = self.cipher.open(&mut self.chunk[..found.min(SEALED_CHUNK_BYTES)], last)?;
        // One empty chunk is an empty stream; an empty chunk after others is a second spelling.
        if last && opened == 0 && self.cipher.counter > 1 {
            return Err(StreamError::Chunk { index: self.cipher.counter - 1 });
        }
        self.opened = opened;
        self.done = last;
        Ok(())
    }
}

impl<R: Read> Read for StreamOpener<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.position == self.opened {
            if self.done || out.is_empty() {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let available = self.chunk.get(self.position..self.opened).unwrap_or_default();
        let taken = available.len().min(out.len());
        out[..taken].copy_from_slice(&available[..taken]);
        self.position += taken;
        Ok(taken)
    }
}

fn read_up_to(input: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match input.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;
    use proptest::prelude::*;

    fn seal(plaintext: &[u8], key: u8, context: &[u8]) -> Vec<u8> {
        let key = Secret::from_bytes([key; 32]);
        let mut sealer =
            StreamSealer::new(Vec::new(), &key, context, &mut SystemRandom::new()).unwrap();
        sealer.write_all(plaintext).unwrap();
        sealer.finish().unwrap()
    }

    fn open(sealed: &[u8], key: u8, context: &[u8]) -> io::Result<Vec<u8>> {
        let key = Secret::from_bytes([key; 32]);
        let mut out = Vec::new();
        StreamOpener::new(sealed, &key, context)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn every_length_around_a_chunk_round_trips() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let plaintext = text(length);
            let sealed = seal(&plaintext, 1, b"ctx");
            assert_eq!(open(&sealed, 1, b"ctx").unwrap(), plaintext, "{length}");
            let chunks = length.div_ceil(CHUNK_BYTES).max(1);
            assert_eq!(sealed.len(), HEADER_BYTES + length + chunks * TAG_BYTES);
        }
    }

    #[test]
    fn wrong_key_and_wrong_context_are_refused() {
        let sealed = seal(&text(100), 1, b"ctx");
        assert!(open(&sealed, 2, b"ctx").is_err());
        assert!(open(&sealed, 1, b"other").is_err());
    }

    #[test]
    fn truncation_at_every_chunk_border_and_inside_is_refused() {
        let sealed = seal(&text(3 * CHUNK_BYTES), 1, b"");
        for length in [
            0,
            HEADER_BYTES - 1,
            HEADER_BYTES,
            HEADER_BYTES + SEALED_CHUNK_BYTES,
            HEADER_BYTES + 2 * SEALED_CHUNK_BYTES,
            sealed.len() - 1,
        ] {
            assert!(open(&sealed[..length], 1, b"").is_err(), "{length}");
        }
        let mut longer = sealed;
        longer.push(0);
        assert!(open(&longer, 1, b"").is_err());
    }

    #[test]
    fn reordered_repeated_and_spliced_chunks_are_refused() {
        let sealed = seal(&text(3 * CHUNK_BYTES), 1, b"");
        let (header, body) = sealed.split_at(HEADER_BYTES);
        let chunks: Vec<_> = body.chunks(SEALED_CHUNK_BYTES).collect();
        let join = |order: &[&[u8]]| [&[header], order].concat().concat();
        assert!(open(&join(&chunks), 1, b"").is_ok());
        assert!(open(&join(&[chunks[1], chunks[0], chunks[2]]), 1, b"").is_err());
        assert!(open(&join(&[chunks[0], chunks[0], chunks[2]]), 1, b"").is_err());
        assert!(open(&join(&[chunks[0], chunks[2]]), 1, b"").is_err());
        let other = seal(&text(3 * CHUNK_BYTES), 1, b"");
        let foreign = &other[HEADER_BYTES..HEADER_BYTES + SEALED_CHUNK_BYTES];
        assert!(open(&join(&[foreign, chunks[1], chunks[2]]), 1, b"").is_err());
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_refused(length in 0usize..300, position in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let mut sealed = seal(&text(length), 1, b"x");
            let at = position.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&sealed, 1, b"x").is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&bytes, 1, b"x").is_err());
        }
    }
}
