use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::hash::TreeHash;
use crate::tile::{BundleError, LEVEL_BITS, TileKind, TilePath};
use crate::tree::{HashReader, MAX_TREE_SIZE};

/// Where the files of a log lie: a folder, a server, a map.
///
/// A closure `FnMut(&TilePath) -> Result<Option<Vec<u8>>, E>` is one. Nothing that it gives is
/// trusted.
pub trait TileSource {
    /// Why a file could not be read.
    type Error;

    /// The bytes of the file; `None` if there is no such file.
    ///
    /// # Errors
    /// If it cannot be known whether there is one, or it cannot be read.
    fn read_tile(&mut self, path: &TilePath) -> Result<Option<Vec<u8>>, Self::Error>;
}

impl<F, E> TileSource for F
where
    F: FnMut(&TilePath) -> Result<Option<Vec<u8>>, E>,
{
    type Error = E;

    fn read_tile(&mut self, path: &TilePath) -> Result<Option<Vec<u8>>, E> {
        self(path)
    }
}

/// Why a tile could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadTileError<E> {
    /// The source failed.
    #[error("`{path}` cannot be read")]
    Source {
        /// Which file.
        path: TilePath,
        /// What the source said.
        source: E,
    },
    /// There is neither this file nor, for a partial one, the full one.
    #[error("`{path}` is missing")]
    Missing {
        /// Which file.
        path: TilePath,
    },
    /// The file has another size than its width demands.
    #[error("`{path}` has {found} bytes, expected {expected}")]
    Length {
        /// Which file.
        path: TilePath,
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// The file is not a bundle of its width.
    #[error("`{path}` is not a bundle")]
    Bundle {
        /// Which file.
        path: TilePath,
        /// What is wrong with it.
        #[source]
        source: BundleError,
    },
    /// The tree is too small to have this hash.
    #[error("a tree of size {size} has no complete subtree {index} at level {level}")]
    BeyondTree {
        /// Height of the subtree.
        level: u32,
        /// Its place.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
}

/// Reads the hashes of a tree of a given size from its tiles.
///
/// Tiles are kept, with the nodes between their hashes, so that the proofs of one batch cost a
/// few reads together. Make a new reader for each size.
#[derive(Debug)]
pub struct TileHashReader<S> {
    source: S,
    size: u64,
    cache: HashMap<(u8, u64), Vec<Vec<TreeHash>>>,
}

impl<S: TileSource> TileHashReader<S> {
    /// Reads the tree of the first `size` entries from `source`.
    pub fn new(source: S, size: u64) -> Self {
        Self { source, size, cache: HashMap::new() }
    }

    /// The size of the tree that it reads.
    pub const fn size(&self) -> u64 {
        self.size
    }

    #[cfg(test)]
    pub(super) fn cached_tiles(&self) -> usize {
        self.cache.len()
    }

    /// Layers of one tile: its hashes, their parents, and so on up to complete pairs.
    fn layers(
        &mut self,
        level: u8,
        path: TilePath,
    ) -> Result<&Vec<Vec<TreeHash>>, ReadTileError<S::Error>> {
        if self.cache.len() >= MAX_CACHED_TILES {
            self.cache.clear();
        }
        match self.cache.entry((level, path.index())) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => {
                let mut layers = vec![read_hashes(&mut self.source, path)?];
                while let Some(below) = layers.last().filter(|below| below.len() > 1) {
                    let parents = TreeHash::parents(below);
                    layers.push(parents);
                }
                Ok(place.insert(layers))
            }
        }
    }
}

impl<S: TileSource> HashReader for TileHashReader<S> {
    type Error = ReadTileError<S::Error>;

    fn read_hash(&mut self, level: u32, index: u64) -> Result<TreeHash, Self::Error> {
        let size = self.size;
        let beyond = ReadTileError::BeyondTree { level, index, size };
        let end = 1_u64
            .checked_shl(level)
            .and_then(|leaves| index.checked_add(1)?.checked_mul(leaves))
            .filter(|end| *end <= size && size <= MAX_TREE_SIZE);
        if end.is_none() {
            return Err(beyond);
        }
        // Level 8a + b of the tree is layer b above the hashes of tile level a; a is below 8.
        let (tile_level, layer) = ((level / LEVEL_BITS) as u8, level % LEVEL_BITS);
        let first = index << layer;
        let tile = first >> LEVEL_BITS;
        let kind = TileKind::Hashes { level: tile_level };
        let Some(path) = TilePath::in_log(kind, tile, size) else {
            return Err(beyond);
        };
        let offset = (first - (tile << LEVEL_BITS)) >> layer;
        let layers = self.layers(tile_level, path)?;
        let hash = layers.get(layer as usize).and_then(|hashes| hashes.get(offset as usize));
        hash.copied().ok_or(beyond)
    }
}

/// Reads a tile of hashes; where only the full tile is left, its first hashes.
pub(super) fn read_hashes<S: TileSource>(
    source: &mut S,
    path: TilePath,
) -> Result<Vec<TreeHash>, ReadTileError<S::Error>> {
    let (found_path, bytes) = read_file(source, path)?;
    let expected = usize::from(found_path.width()) * TreeHash::BYTES;
    if bytes.len() != expected {
        let found = bytes.len();
        return Err(ReadTileError::Length { path: found_path, found, expected });
    }
    let (hashes, _) = bytes.as_chunks::<{ TreeHash::BYTES }>();
    let width = usize::from(path.width());
    Ok(hashes.iter().take(width).copied().map(TreeHash::from_bytes).collect())
}

/// Reads a file, or the full one that replaced it; says which.
pub(super) fn read_file<S: TileSource>(
    source: &mut S,
    path: TilePath,
) -> Result<(TilePath, Vec<u8>), ReadTileError<S::Error>> {
    for candidate in [path, path.to_full()] {
        let read = source.read_tile(&candidate);
        match read.map_err(|source| ReadTileError::Source { path: candidate, source })? {
            Some(bytes) => return Ok((candidate, bytes)),
            None if candidate.is_full() => break,
            None => {}
        }
    }
    Err(ReadTileError::Missing { path })
}

/// Tiles kept at once, 16 KiB each with their nodes: 1 MiB. A proof needs two per level.
const MAX_CACHED_TILES: usize = 64;
