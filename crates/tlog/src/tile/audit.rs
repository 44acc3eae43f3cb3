use crate::checkpoint::VerifiedCheckpoint;
use crate::hash::TreeHash;
use crate::tile::bundle::decode_bundle;
use crate::tile::reader::{read_file, read_hashes};
use crate::tile::{FULL_WIDTH, LEVELS, ReadTileError, TileKind, TilePath, TileSource};
use crate::tree::Frontier;

/// A log whose every file was read and found to be what its checkpoint commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedLog {
    checkpoint: VerifiedCheckpoint,
    files: u64,
}

/// The first thing found wrong in a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError<E: std::error::Error + 'static> {
    /// A file cannot be used.
    #[error("the log is not complete")]
    Read(#[from] ReadTileError<E>),
    /// An entry was changed, or its leaf hash was.
    #[error("entry {index} in `{path}` does not hash to its leaf")]
    Entry {
        /// The entry's index in the log.
        index: u64,
        /// The bundle that holds it.
        path: TilePath,
    },
    /// A hash above the leaves was changed, or something below it was.
    #[error("hash {position} in `{path}` is not the root of the tile below it")]
    Node {
        /// Which hash of the tile, from 0.
        position: usize,
        /// The tile that holds it.
        path: TilePath,
    },
    /// The files agree with each other, but not with the checkpoint.
    #[error("the entries have root {found}, the checkpoint commits to {expected}")]
    WrongRoot {
        /// The root that the entries lead to.
        found: TreeHash,
        /// The root in the checkpoint.
        expected: TreeHash,
    },
}

impl AuditedLog {
    /// The checkpoint that all files lead to.
    pub const fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }

    /// Bundles and tiles that were read.
    pub const fn files(&self) -> u64 {
        self.files
    }
}

/// Reads every entry and every tile that `checkpoint` implies, and checks them all.
///
/// `visit` sees each entry with its index, in order, after its leaf was checked but before the
/// root is known to be right: act on what it saw only if the audit succeeds. Memory does not grow
/// with the log.
///
/// # Errors
/// The first file, entry or hash that is not what the others or the checkpoint demand.
pub fn audit<S>(
    checkpoint: &VerifiedCheckpoint,
    source: &mut S,
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<AuditedLog, AuditError<S::Error>>
where
    S: TileSource,
    S::Error: std::error::Error + 'static,
{
    let size = checkpoint.size();
    let mut auditor = Auditor {
        source,
        size,
        files: 0,
        frontier: Frontier::new(),
        pending: Default::default(),
        checked: [0; LEVELS as usize],
    };
    for number in 0..size.div_ceil(u64::from(FULL_WIDTH)) {
        auditor.check_bundle(number, &mut visit)?;
    }
    auditor.check_partial_tiles()?;
    let (found, expected) = (auditor.frontier.root(), *checkpoint.root());
    if found != expected {
        return Err(AuditError::WrongRoot { found, expected });
    }
    Ok(AuditedLog { checkpoint: checkpoint.clone(), files: auditor.files })
}

struct Auditor<'s, S> {
    source: &'s mut S,
    size: u64,
    files: u64,
    frontier: Frontier,
    /// Per level, the hashes that the next tile must have, from the tiles below.
    pending: [Vec<TreeHash>; LEVELS as usize],
    /// Per level, how many tiles were checked.
    checked: [u64; LEVELS as usize],
}

impl<S> Auditor<'_, S>
where
    S: TileSource,
    S::Error: std::error::Error + 'static,
{
    /// Checks a bundle against its leaf tile, and every tile above that this one completes.
    fn check_bundle(
        &mut self,
        number: u64,
        visit: &mut impl FnMut(u64, &[u8]),
    ) -> Result<(), AuditError<S::Error>> {
        let bundle = TilePath::in_log(TileKind::Entries, number, self.size);
        let leaf_tile = TilePath::in_log(TileKind::Hashes { level: 0 }, number, self.size);
        let (Some(bundle), Some(leaf_tile)) = (bundle, leaf_tile) else {
            return Ok(());
        };
        let (path, bytes) = read_file(self.source, bundle)?;
        let entries = decode_bundle(&bytes, path.width())
            .map_err(|source| ReadTileError::Bundle { path, source })?;
        let leaves = read_hashes(self.source, leaf_tile)?;
        self.files += 2;
        let first = number * u64::from(FULL_WIDTH);
        for (index, (entry, leaf)) in (first..).zip(entries.into_iter().zip(&leaves)) {
            if TreeHash::of_entry(entry) != *leaf {
                return Err(AuditError::Entry { index, path });
            }
            self.frontier.append(*leaf);
            visit(index, entry);
        }
        self.carry(leaves)
    }

    /// Notes the root of a full tile for the tile above, and checks that one once it is full.
    fn carry(&mut self, leaves: Vec<TreeHash>) -> Result<(), AuditError<S::Error>> {
        let mut tile = leaves;
        for level in 1..LEVELS {
            let full = tile.len() == usize::from(FULL_WIDTH);
            let Some(root) = TreeHash::of_complete(&tile).filter(|_| full) else {
                break;
            };
            let pending = &mut self.pending[usize::from(level)];
            pending.push(root);
            if pending.len() < usize::from(FULL_WIDTH) {
                break;
            }
            tile = std::mem::take(pending);
            self.check_tile(level, &tile)?;
        }
        Ok(())
    }

    fn check_partial_tiles(&mut self) -> Result<(), AuditError<S::Error>> {
        for level in 1..LEVELS {
            let expected = std::mem::take(&mut self.pending[usize::from(level)]);
            if !expected.is_empty() {
                self.check_tile(level, &expected)?;
            }
        }
        Ok(())
    }

    /// Compares the next tile of a level with what the tiles below demand.
    fn check_tile(&mut self, level: u8, expected: &[TreeHash]) -> Result<(), AuditError<S::Error>> {
        let number = &mut self.checked[usize::from(level)];
        let path = TilePath::in_log(TileKind::Hashes { level }, *number, self.size);
        *number += 1;
        let Some(path) = path else { return Ok(()) };
        let found = read_hashes(self.source, path)?;
        self.files += 1;
        match found.iter().zip(expected).position(|(found, expected)| found != expected) {
            Some(position) => Err(AuditError::Node { position, path }),
            None => Ok(()),
        }
    }
}
