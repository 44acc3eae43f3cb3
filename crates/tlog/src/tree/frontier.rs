use crate::hash::TreeHash;
use crate::tree::{HashReader, MAX_TREE_SIZE};

/// The right edge of a tree: enough to append leaves and to know the root.
///
/// It holds one hash per set bit of the size, so it is small however long the log is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    // INVARIANT: roots of complete subtrees, largest first, one per set bit of `size`.
    complete: Vec<TreeHash>,
}

impl Frontier {
    /// The tree without leaves.
    pub const fn new() -> Self {
        Self { size: 0, complete: Vec::new() }
    }

    /// Reads the edge of a stored tree; `None` if `size` is above [`MAX_TREE_SIZE`].
    ///
    /// # Errors
    /// If a hash cannot be read.
    pub fn read<R: HashReader>(reader: &mut R, size: u64) -> Result<Option<Self>, R::Error> {
        if size > MAX_TREE_SIZE {
            return Ok(None);
        }
        let mut complete = Vec::new();
        let mut start = 0;
        while start < size {
            let level = (size - start).ilog2();
            complete.push(reader.read_hash(level, start >> level)?);
            start += 1 << level;
        }
        Ok(Some(Self { size, complete }))
    }

    /// Takes the roots of complete subtrees; `None` unless there is one per set bit of `size`.
    pub(crate) fn from_complete(size: u64, complete: Vec<TreeHash>) -> Option<Self> {
        let fits = size <= MAX_TREE_SIZE && complete.len() == size.count_ones() as usize;
        fits.then_some(Self { size, complete })
    }

    /// Appends one leaf hash.
    pub fn append(&mut self, leaf: TreeHash) {
        let mut node = leaf;
        let mut bits = self.size;
        while bits & 1 == 1
            && let Some(left) = self.complete.pop()
        {
            node = TreeHash::of_children(&left, &node);
            bits >>= 1;
        }
        self.complete.push(node);
        self.size += 1;
    }

    /// Leaves so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    pub fn root(&self) -> TreeHash {
        fold(&self.complete)
    }
}

/// Joins roots of complete subtrees, largest first, into the root of their tree.
pub(super) fn fold(complete: &[TreeHash]) -> TreeHash {
    complete
        .iter()
        .rev()
        .copied()
        .reduce(|right, left| TreeHash::of_children(&left, &right))
        .unwrap_or_else(TreeHash::of_empty_tree)
}
