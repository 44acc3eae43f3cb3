//! How a log is stored: tiles of hashes and bundles of entries (C2SP tlog-tiles).
//!
//! This module names the files, makes their bytes and reads them back; whoever calls it moves
//! them. [`LogTree`] appends, [`TileHashReader`] makes proofs from stored tiles, [`audit`] checks
//! a whole folder.

mod audit;
mod bundle;
mod log_tree;
mod path;
mod reader;

pub use audit::{AuditError, AuditedLog, audit};
pub use bundle::{BundleError, EntryTooLarge, MAX_ENTRY_BYTES, decode_bundle, encode_entry};
pub use log_tree::{AppendError, Growth, LogFile, LogTree, ResumeError};
pub use path::{TileKind, TilePath, TilePathError, changed_tiles};
pub use reader::{ReadTileError, TileHashReader, TileSource};

/// Hashes in a full tile, entries in a full bundle.
pub const FULL_WIDTH: u16 = 256;

/// Logarithm of [`FULL_WIDTH`]: one level of tiles spans this many levels of the tree.
const LEVEL_BITS: u32 = 8;

/// Tile levels that a tree of up to 2^62 leaves can have.
const LEVELS: u8 = 8;

/// Subtrees of `256^level` leaves that are complete in a tree of `size` leaves.
const fn complete_at(level: u8, size: u64) -> u64 {
    match size.checked_shr(LEVEL_BITS * level as u32) {
        Some(complete) => complete,
        None => 0,
    }
}

#[cfg(test)]
mod tests;
