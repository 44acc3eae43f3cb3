//! The Merkle tree: its root, and proofs of inclusion and consistency.
//!
//! [`Frontier`] grows a tree leaf by leaf in logarithmic space. [`InclusionProof`] and
//! [`ConsistencyProof`] are made from a [`HashReader`] with O(log n) reads and verified without
//! one.

mod frontier;
mod verify;

pub use frontier::Frontier;
pub use verify::TreeProofError;

use crate::hash::TreeHash;

/// Most leaves that a tree may have: 2^62, so that each consistency proof fits the 63 lines that
/// tlog-witness allows, and sizes fit signed 64-bit integers (SQLite, Go).
pub const MAX_TREE_SIZE: u64 = 1 << 62;

/// Most hashes in a proof for a tree of up to [`MAX_TREE_SIZE`] leaves.
pub const MAX_PROOF_HASHES: usize = 63;

/// Reads hashes of complete subtrees, wherever they are stored.
///
/// What it gives is not trusted: a wrong hash makes a proof that does not verify.
pub trait HashReader {
    /// Why a hash could not be read.
    type Error;

    /// The root of the subtree over leaves `index << level .. (index + 1) << level`.
    ///
    /// # Errors
    /// If the storage fails or the subtree is not complete in the stored tree.
    fn read_hash(&mut self, level: u32, index: u64) -> Result<TreeHash, Self::Error>;
}

/// Shows that a leaf stands at `index` of the tree with `size` leaves (RFC 6962 §2.1.1).
///
/// `size` is no proven fact: take it, with the root, from a verified checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Where the leaf stands, from 0.
    pub index: u64,
    /// Leaves of the tree whose root the proof leads to.
    pub size: u64,
    /// The sibling hashes, the leaf's own sibling first.
    pub hashes: Vec<TreeHash>,
}

/// Shows that the tree of `old_size` leaves is the beginning of the tree of `new_size` leaves
/// (RFC 6962 §2.1.2).
///
/// The sizes are no proven facts: take them, with the roots, from verified checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// Leaves of the older tree; not 0, for the empty tree is the beginning of every tree.
    pub old_size: u64,
    /// Leaves of the newer tree.
    pub new_size: u64,
    /// The hashes in the order of the RFC.
    pub hashes: Vec<TreeHash>,
}

/// Why a proof could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MakeProofError<E> {
    /// No such proof exists.
    #[error("no such proof exists")]
    Impossible(#[source] TreeProofError),
    /// A hash could not be read.
    #[error("a stored hash cannot be read")]
    Read(#[source] E),
}

impl InclusionProof {
    /// Collects the proof for the leaf at `index` of the first `size` leaves.
    ///
    /// # Errors
    /// If `index` is not below `size`, or a hash cannot be read.
    pub fn make<R: HashReader>(
        reader: &mut R,
        index: u64,
        size: u64,
    ) -> Result<Self, MakeProofError<R::Error>> {
        verify::check_index(index, size).map_err(MakeProofError::Impossible)?;
        let mut hashes = Vec::new();
        // PATH(m, D[n]) of RFC 6962 §2.1.1 from the root down; reversed at the end.
        let mut span = Span { start: 0, end: size };
        while span.len() > 1 {
            let (left, right) = span.split();
            let (sibling, next) = if index < left.end { (right, left) } else { (left, right) };
            hashes.push(sibling.root(reader)?);
            span = next;
        }
        hashes.reverse();
        Ok(Self { index, size, hashes })
    }
}

impl ConsistencyProof {
    /// Collects the proof from the first `old_size` to the first `new_size` leaves.
    ///
    /// # Errors
    /// If `old_size` is 0 or above `new_size`, or a hash cannot be read.
    pub fn make<R: HashReader>(
        reader: &mut R,
        old_size: u64,
        new_size: u64,
    ) -> Result<Self, MakeProofError<R::Error>> {
        verify::check_sizes(old_size, new_size).map_err(MakeProofError::Impossible)?;
        let mut hashes = Vec::new();
        // SUBPROOF(m, D[n], b) of RFC 6962 §2.1.2 from the root down; b is `span.start == 0`.
        let mut span = Span { start: 0, end: new_size };
        while span.end != old_size {
            let (left, right) = span.split();
            let (sibling, next) = if old_size <= left.end { (right, left) } else { (left, right) };
            hashes.push(sibling.root(reader)?);
            span = next;
        }
        if span.start != 0 {
            hashes.push(span.root(reader)?);
        }
        hashes.reverse();
        Ok(Self { old_size, new_size, hashes })
    }
}

/// The leaves `start .. end`, of which there is always at least one.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
}

impl Span {
    fn len(self) -> u64 {
        self.end - self.start
    }

    /// Splits two or more leaves at the largest power of two below their number (RFC 6962 §2.1).
    fn split(self) -> (Self, Self) {
        let middle = self.start + (1 << (self.len() - 1).ilog2());
        (Self { start: self.start, end: middle }, Self { start: middle, end: self.end })
    }

    /// The root of these leaves, from one read per set bit of their number.
    fn root<R: HashReader>(self, reader: &mut R) -> Result<TreeHash, MakeProofError<R::Error>> {
        let level = self.len().ilog2();
        let read = |reader: &mut R, start: u64, level: u32| {
            // INVARIANT: spans come from `split`, so `start` is a multiple of their size's top bit.
            reader.read_hash(level, start >> level).map_err(MakeProofError::Read)
        };
        let mut complete = vec![read(reader, self.start, level)?];
        let mut start = self.start + (1 << level);
        while start < self.end {
            let level = (self.end - start).ilog2();
            complete.push(read(reader, start, level)?);
            start += 1 << level;
        }
        Ok(frontier::fold(&complete))
    }
}

#[cfg(test)]
mod tests;
