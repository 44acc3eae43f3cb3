use crate::hash::TreeHash;
use crate::tree::{ConsistencyProof, InclusionProof, MAX_TREE_SIZE};

/// Why a proof is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeProofError {
    /// A tree without leaves includes nothing and needs no consistency proof.
    #[error("expected a tree with at least one leaf")]
    EmptyTree,
    /// The tree is larger than any that is supported.
    #[error("tree size {size} is above the limit of 2^62")]
    TooLarge {
        /// The size that was given.
        size: u64,
    },
    /// The leaf would stand outside the tree.
    #[error("index {index} is not below the tree size {size}")]
    IndexBeyondSize {
        /// The index that was given.
        index: u64,
        /// The size that was given.
        size: u64,
    },
    /// The older tree would be the larger one.
    #[error("old size {old_size} is above the new size {new_size}")]
    SizesReversed {
        /// The older size.
        old_size: u64,
        /// The newer size.
        new_size: u64,
    },
    /// Hashes are missing.
    #[error("the proof has {found} hashes, fewer than the sizes demand")]
    TooShort {
        /// How many there are.
        found: usize,
    },
    /// There are hashes left over.
    #[error("the proof has {found} hashes, more than the sizes demand")]
    TooLong {
        /// How many there are.
        found: usize,
    },
    /// The leaf and the proof lead to another root.
    #[error("the leaf and the proof do not lead to the root")]
    WrongRoot,
    /// The proof does not rebuild the older root.
    #[error("the proof does not lead to the old root")]
    WrongOldRoot,
    /// The proof does not rebuild the newer root.
    #[error("the proof does not lead to the new root")]
    WrongNewRoot,
    /// Two trees of one size have different roots.
    #[error("two trees of size {size} have different roots")]
    EqualSizesUnequalRoots {
        /// The size of both.
        size: u64,
    },
}

impl InclusionProof {
    /// Checks that `leaf` stands at `index` of the tree with this `root` (RFC 9162 §2.1.3.2).
    ///
    /// # Errors
    /// If index and size do not fit each other, the proof is too short or too long, or it leads
    /// elsewhere.
    pub fn verify(&self, leaf: &TreeHash, root: &TreeHash) -> Result<(), TreeProofError> {
        // Steps 1 and 2.
        check_index(self.index, self.size)?;
        let mut walk = Walk { first: self.index, last: self.size - 1 };
        // Steps 3 and 4.
        let mut node = *leaf;
        for sibling in &self.hashes {
            node = match walk.step() {
                Step::Beyond => {
                    return Err(TreeProofError::TooLong { found: self.hashes.len() });
                }
                Step::SiblingLeft => TreeHash::of_children(sibling, &node),
                Step::SiblingRight => TreeHash::of_children(&node, sibling),
            };
        }
        // Step 5.
        if walk.last != 0 {
            return Err(TreeProofError::TooShort { found: self.hashes.len() });
        }
        if node == *root { Ok(()) } else { Err(TreeProofError::WrongRoot) }
    }
}

impl ConsistencyProof {
    /// Checks that the tree of `old_root` is the beginning of that of `new_root`
    /// (RFC 9162 §2.1.4.2).
    ///
    /// Equal sizes need an empty proof and equal roots.
    ///
    /// # Errors
    /// If the old size is 0 (the caller decides what that means) or above the new size, the proof
    /// is too short or too long, or it leads elsewhere.
    pub fn verify(&self, old_root: &TreeHash, new_root: &TreeHash) -> Result<(), TreeProofError> {
        check_sizes(self.old_size, self.new_size)?;
        let found = self.hashes.len();
        if self.old_size == self.new_size {
            return match (found, old_root == new_root) {
                (1.., _) => Err(TreeProofError::TooLong { found }),
                (0, false) => Err(TreeProofError::EqualSizesUnequalRoots { size: self.new_size }),
                (0, true) => Ok(()),
            };
        }
        // Step 1; step 2: an older tree that is complete is itself the first node.
        let (first, rest) = self.hashes.split_first().ok_or(TreeProofError::TooShort { found })?;
        let (seed, rest) = if self.old_size.is_power_of_two() {
            (old_root, self.hashes.as_slice())
        } else {
            (first, rest)
        };
        // Steps 3 and 4.
        let mut walk = Walk { first: self.old_size - 1, last: self.new_size - 1 };
        let skipped = walk.first.trailing_ones();
        walk.first >>= skipped;
        walk.last >>= skipped;
        // Steps 5 and 6.
        let (mut old, mut new) = (*seed, *seed);
        for sibling in rest {
            match walk.step() {
                Step::Beyond => return Err(TreeProofError::TooLong { found }),
                Step::SiblingLeft => {
                    old = TreeHash::of_children(sibling, &old);
                    new = TreeHash::of_children(sibling, &new);
                }
                Step::SiblingRight => new = TreeHash::of_children(&new, sibling),
            }
        }
        // Step 7.
        if walk.last != 0 {
            Err(TreeProofError::TooShort { found })
        } else if old != *old_root {
            Err(TreeProofError::WrongOldRoot)
        } else if new != *new_root {
            Err(TreeProofError::WrongNewRoot)
        } else {
            Ok(())
        }
    }
}

pub(super) fn check_index(index: u64, size: u64) -> Result<(), TreeProofError> {
    match size {
        0 => Err(TreeProofError::EmptyTree),
        _ if size > MAX_TREE_SIZE => Err(TreeProofError::TooLarge { size }),
        _ if index >= size => Err(TreeProofError::IndexBeyondSize { index, size }),
        _ => Ok(()),
    }
}

pub(super) fn check_sizes(old_size: u64, new_size: u64) -> Result<(), TreeProofError> {
    match old_size {
        0 => Err(TreeProofError::EmptyTree),
        _ if new_size > MAX_TREE_SIZE => Err(TreeProofError::TooLarge { size: new_size }),
        _ if old_size > new_size => Err(TreeProofError::SizesReversed { old_size, new_size }),
        _ => Ok(()),
    }
}

/// The pair (fn, sn) of RFC 9162: our node and the last node of the level that we are at.
struct Walk {
    first: u64,
    last: u64,
}

enum Step {
    Beyond,
    SiblingLeft,
    SiblingRight,
}

impl Walk {
    /// One round of the loop in RFC 9162 §2.1.3.2 step 4 and §2.1.4.2 step 6.
    fn step(&mut self) -> Step {
        if self.last == 0 {
            return Step::Beyond;
        }
        let side = if self.first & 1 == 1 || self.first == self.last {
            if self.first & 1 == 0 {
                // A node without right sibling moves up unchanged: skip to where it is a right
                // child. `first` is not 0 here, since it equals `last`.
                let skipped = self.first.trailing_zeros();
                self.first >>= skipped;
                self.last >>= skipped;
            }
            Step::SiblingLeft
        } else {
            Step::SiblingRight
        };
        self.first >>= 1;
        self.last >>= 1;
        side
    }
}
