use crate::tile::FULL_WIDTH;

/// Most bytes in an entry: the length in a bundle is a 16-bit integer.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// An entry does not fit a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry of {found} bytes is above the limit of {MAX_ENTRY_BYTES}")]
pub struct EntryTooLarge {
    /// Bytes in the entry.
    pub found: usize,
}

/// The bytes are not a bundle of the expected entries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// No bundle has so many entries.
    #[error("a bundle has 1 to {FULL_WIDTH} entries, not {width}")]
    Width {
        /// Entries that were asked for.
        width: u16,
    },
    /// The bytes end within an entry or its length, or before it.
    #[error("the bundle ends within entry {position} of {width}")]
    Truncated {
        /// Which entry, from 0.
        position: u16,
        /// Entries expected.
        width: u16,
    },
    /// Bytes follow the last entry.
    #[error("{found} bytes follow the last of {width} entries")]
    Trailing {
        /// Bytes left over.
        found: usize,
        /// Entries expected.
        width: u16,
    },
}

/// Appends one entry to the bytes of a bundle.
///
/// # Errors
/// If the entry has more than [`MAX_ENTRY_BYTES`]; nothing is appended then.
pub fn encode_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLarge> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryTooLarge { found: entry.len() })?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Splits a bundle of exactly `width` entries.
///
/// # Errors
/// If `width` is not 1 to 256, or the bytes hold fewer or more entries.
pub fn decode_bundle(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    if width == 0 || width > FULL_WIDTH {
        return Err(BundleError::Width { width });
    }
    let mut entries = Vec::with_capacity(usize::from(width));
    let mut rest = bytes;
    for position in 0..width {
        let (entry, after) = split_entry(rest).ok_or(BundleError::Truncated { position, width })?;
        entries.push(entry);
        rest = after;
    }
    match rest.len() {
        0 => Ok(entries),
        found => Err(BundleError::Trailing { found, width }),
    }
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
