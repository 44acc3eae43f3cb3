//! The TPM's encoding: big-endian, no alignment, lengths before what they count.

use std::fmt::Display;

use crate::rejection::{Rejection, RejectionCode};

/// What is left to read. Every read names its field, for the reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(
        &mut self,
        field: &'static str,
        size: usize,
    ) -> Result<&'a [u8], Rejection> {
        let Some((taken, rest)) = self.0.split_at_checked(size) else {
            let found = format_args!("{} bytes", self.0.len());
            return Err(malformed(field, found, format_args!("{size} bytes")));
        };
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<&'a [u8; N], Rejection> {
        let Some((taken, rest)) = self.0.split_first_chunk() else {
            let found = format_args!("{} bytes", self.0.len());
            return Err(malformed(field, found, format_args!("{N} bytes")));
        };
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, Rejection> {
        self.array(field).map(|bytes| u8::from_be_bytes(*bytes))
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, Rejection> {
        self.array(field).map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, Rejection> {
        self.array(field).map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, Rejection> {
        self.array(field).map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// A TPM2B of at most `most` bytes.
    pub(super) fn sized(
        &mut self,
        field: &'static str,
        most: usize,
    ) -> Result<&'a [u8], Rejection> {
        let size = usize::from(self.u16(field)?);
        if size > most {
            let found = format_args!("{size} bytes");
            return Err(malformed(field, found, format_args!("at most {most} bytes")));
        }
        self.bytes(field, size)
    }

    /// A value of which only one is known.
    pub(super) fn exactly(
        &mut self,
        field: &'static str,
        wanted: u16,
        name: &'static str,
    ) -> Result<(), Rejection> {
        match self.u16(field)? {
            found if found == wanted => Ok(()),
            found => {
                let wanted = format_args!("{wanted:#06x}, {name}");
                Err(malformed(field, format_args!("{found:#06x}"), wanted))
            }
        }
    }

    /// Nothing may be left.
    pub(super) fn end(self, field: &'static str) -> Result<(), Rejection> {
        match self.0.len() {
            0 => Ok(()),
            more => Err(malformed(field, format_args!("{more} more bytes"), "nothing after it")),
        }
    }
}

pub(super) fn malformed(
    field: &'static str,
    found: impl Display,
    wanted: impl Display,
) -> Rejection {
    Rejection::new(RejectionCode::Malformed, field, found, wanted)
}

/// Algorithms (TCG Algorithm Registry).
pub(super) const RSA: u16 = 0x0001;
pub(super) const AES: u16 = 0x0006;
pub(super) const SHA256: u16 = 0x000b;
pub(super) const SHA384: u16 = 0x000c;
pub(super) const NULL: u16 = 0x0010;
pub(super) const RSASSA: u16 = 0x0014;
pub(super) const ECDSA: u16 = 0x0018;
pub(super) const ECC: u16 = 0x0023;
pub(super) const CFB: u16 = 0x0043;
pub(super) const NIST_P256: u16 = 0x0003;
