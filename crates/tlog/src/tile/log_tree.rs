use crate::hash::TreeHash;
use crate::tile::bundle::{EntryTooLarge, decode_bundle, encode_entry};
use crate::tile::reader::{read_file, read_hashes};
use crate::tile::{FULL_WIDTH, LEVELS, ReadTileError, TileKind, TilePath, TileSource, complete_at};
use crate::tree::{Frontier, MAX_TREE_SIZE};

/// The growing end of a log: what is needed to append entries without reading anything back.
///
/// It holds the right edge of the tree and the last, partial bundle: at most 64 KiB of hashes,
/// and the bytes of up to 255 entries. [`append`](Self::append) changes nothing but gives the
/// next state, so that a failed write leaves the present one as it was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogTree {
    frontier: Frontier,
    // INVARIANT: edge[l] holds the hashes of the partial tile at level l, 0 to 255 of them.
    edge: [Vec<TreeHash>; LEVELS as usize],
    // INVARIANT: as many encoded entries as edge[0] has hashes.
    bundle: Vec<u8>,
}

/// One file to write, whole. Partial files of one path never change once they are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Its name below the log's prefix.
    pub path: TilePath,
    /// All of its bytes.
    pub bytes: Vec<u8>,
}

/// What appending a batch of entries leads to.
///
/// Make `files` durable in their order, then sign and store the head of `tree`, then keep `tree`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// The log after the batch.
    pub tree: LogTree,
    /// Index of the batch's first entry.
    pub first_index: u64,
    /// Bundles, then tiles from the leaves upwards.
    pub files: Vec<LogFile>,
}

/// Why entries cannot be appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// An entry is too large.
    #[error("entry {position} of the batch cannot be stored")]
    Entry {
        /// Which entry of the batch, from 0.
        position: usize,
        /// Its size.
        #[source]
        source: EntryTooLarge,
    },
    /// The log would have too many entries.
    #[error("the log would have more than {MAX_TREE_SIZE} entries")]
    Full,
}

/// Why a stored log cannot be continued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError<E: std::error::Error + 'static> {
    /// A file of the right edge cannot be used.
    #[error("the end of the log cannot be read")]
    Read(#[from] ReadTileError<E>),
    /// More entries than are supported.
    #[error("log size {size} is above the limit of 2^62")]
    TooLarge {
        /// The size that was given.
        size: u64,
    },
    /// The last bundle does not belong to the last leaf tile.
    #[error("entry {index} in `{path}` does not hash to its leaf")]
    Entry {
        /// The entry's index in the log.
        index: u64,
        /// The bundle that holds it.
        path: TilePath,
    },
    /// The tiles do not belong to the head.
    #[error("the tiles at size {size} have root {found}, expected {expected}")]
    WrongRoot {
        /// Entries of the log.
        size: u64,
        /// The root that the tiles lead to.
        found: TreeHash,
        /// The root that was given.
        expected: TreeHash,
    },
}

impl LogTree {
    /// The log without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the end of a stored log and checks that it leads to `root`.
    ///
    /// Full tiles are not read again; [`audit`](crate::tile::audit) does that.
    ///
    /// # Errors
    /// If a file is missing or malformed, the last bundle does not hash to the last leaves, or
    /// the tiles lead to another root.
    pub fn resume<S>(
        size: u64,
        root: &TreeHash,
        source: &mut S,
    ) -> Result<Self, ResumeError<S::Error>>
    where
        S: TileSource,
        S::Error: std::error::Error + 'static,
    {
        let mut tree = Self::default();
        for (level, edge) in (0..LEVELS).zip(&mut tree.edge) {
            if let Some(path) = partial(TileKind::Hashes { level }, size) {
                *edge = read_hashes(source, path)?;
            }
        }
        let frontier = Frontier::from_complete(size, complete_subtrees(&tree.edge));
        tree.frontier = frontier.ok_or(ResumeError::TooLarge { size })?;
        let found = tree.root();
        if found != *root {
            return Err(ResumeError::WrongRoot { size, found, expected: *root });
        }
        if let Some(path) = partial(TileKind::Entries, size) {
            let (found_path, bytes) = read_file(source, path)?;
            let entries = decode_bundle(&bytes, found_path.width())
                .map_err(|source| ReadTileError::Bundle { path: found_path, source })?;
            let first = path.index() * u64::from(FULL_WIDTH);
            for (index, (entry, leaf)) in (first..).zip(entries.into_iter().zip(&tree.edge[0])) {
                if TreeHash::of_entry(entry) != *leaf {
                    return Err(ResumeError::Entry { index, path: found_path });
                }
                // Entries of a bundle fit a bundle; the error cannot happen.
                let _ = encode_entry(&mut tree.bundle, entry);
            }
        }
        Ok(tree)
    }

    /// Entries so far.
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root of the tree.
    pub fn root(&self) -> TreeHash {
        self.frontier.root()
    }

    /// Appends a batch: the next state of the log and the files that it adds.
    ///
    /// # Errors
    /// If an entry has more than 65,535 bytes or the log would have more than 2^62 entries.
    pub fn append<T: AsRef<[u8]>>(&self, entries: &[T]) -> Result<Growth, AppendError> {
        let old_size = self.size();
        let grown = u64::try_from(entries.len()).ok().and_then(|count| old_size.checked_add(count));
        if grown.is_none_or(|size| size > MAX_TREE_SIZE) {
            return Err(AppendError::Full);
        }
        let mut tree = self.clone();
        let mut bundles = Vec::new();
        let mut tiles: [Vec<LogFile>; LEVELS as usize] = Default::default();
        for (position, entry) in entries.iter().enumerate() {
            let entry = entry.as_ref();
            encode_entry(&mut tree.bundle, entry)
                .map_err(|source| AppendError::Entry { position, source })?;
            let mut hash = TreeHash::of_entry(entry);
            tree.frontier.append(hash);
            let size = tree.size();
            for (level, (edge, files)) in (0..LEVELS).zip(tree.edge.iter_mut().zip(&mut tiles)) {
                edge.push(hash);
                if edge.len() < usize::from(FULL_WIDTH) {
                    break;
                }
                if level == 0 {
                    let bytes = std::mem::take(&mut tree.bundle);
                    bundles.extend(last_file(TileKind::Entries, size, bytes));
                }
                let full = std::mem::take(edge);
                files.extend(last_file(TileKind::Hashes { level }, size, concat(&full)));
                match TreeHash::of_complete(&full) {
                    Some(root) => hash = root,
                    None => break,
                }
            }
        }
        let size = tree.size();
        let mut files = bundles;
        if old_size < size && partial(TileKind::Entries, size).is_some() {
            files.extend(last_file(TileKind::Entries, size, tree.bundle.clone()));
        }
        for (level, (edge, full)) in (0..LEVELS).zip(tree.edge.iter().zip(tiles)) {
            files.extend(full);
            if !edge.is_empty() && complete_at(level, old_size) < complete_at(level, size) {
                files.extend(last_file(TileKind::Hashes { level }, size, concat(edge)));
            }
        }
        Ok(Growth { tree, first_index: old_size, files })
    }
}

/// The last file of its kind in a log of `size` entries, full or partial.
fn last_file(kind: TileKind, size: u64, bytes: Vec<u8>) -> Option<LogFile> {
    let level = match kind {
        TileKind::Entries => 0,
        TileKind::Hashes { level } => level,
    };
    let index = complete_at(level, size).checked_sub(1)? / u64::from(FULL_WIDTH);
    Some(LogFile { path: TilePath::in_log(kind, index, size)?, bytes })
}

/// The partial file at the end of a log of `size` entries, if its last one is not full.
fn partial(kind: TileKind, size: u64) -> Option<TilePath> {
    let level = match kind {
        TileKind::Entries => 0,
        TileKind::Hashes { level } => level,
    };
    TilePath::in_log(kind, complete_at(level, size) / u64::from(FULL_WIDTH), size)
}

/// Roots of the complete subtrees that make up the tree, largest first.
fn complete_subtrees(edge: &[Vec<TreeHash>]) -> Vec<TreeHash> {
    let mut roots = Vec::new();
    for hashes in edge.iter().rev() {
        let mut rest = hashes.as_slice();
        while !rest.is_empty() {
            let (complete, after) = rest.split_at(1 << rest.len().ilog2());
            roots.extend(TreeHash::of_complete(complete));
            rest = after;
        }
    }
    roots
}

fn concat(hashes: &[TreeHash]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(hashes.len() * TreeHash::BYTES);
    for hash in hashes {
        bytes.extend_from_slice(hash.as_bytes());
    }
    bytes
}
