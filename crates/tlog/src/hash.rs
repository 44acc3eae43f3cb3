use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cordon_crypto::sha256;

/// A hash in the tree: of a leaf, of a node, or of a whole tree (RFC 6962 §2.1, SHA-256).
///
/// Written as padded base64, which is how checkpoints and proofs carry it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeHash([u8; TreeHash::BYTES]);

impl TreeHash {
    /// The size of a hash.
    pub const BYTES: usize = 32;

    /// Wraps the raw bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The hash of an entry: `H(0x00 || entry)`.
    pub fn of_entry(entry: &[u8]) -> Self {
        Self(*sha256(&[&[LEAF_PREFIX], entry]).as_bytes())
    }

    /// The hash of a node: `H(0x01 || left || right)`.
    pub fn of_children(left: &Self, right: &Self) -> Self {
        Self(*sha256(&[&[NODE_PREFIX], &left.0, &right.0]).as_bytes())
    }

    /// The root of the tree without leaves: `H("")`.
    pub fn of_empty_tree() -> Self {
        Self(*sha256(&[]).as_bytes())
    }

    /// The root of a complete subtree over `hashes`; `None` unless their number is a power of two.
    pub fn of_complete(hashes: &[Self]) -> Option<Self> {
        if !hashes.len().is_power_of_two() {
            return None;
        }
        let mut layer = hashes.to_vec();
        while layer.len() > 1 {
            layer = Self::parents(&layer);
        }
        layer.first().copied()
    }

    /// The hashes of every complete pair, left to right.
    pub(crate) fn parents(layer: &[Self]) -> Vec<Self> {
        layer
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[left, right]| Self::of_children(left, right))
            .collect()
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TreeHash {
    type Err = TreeHashError;

    /// Reads padded base64 (RFC 4648 §4) of exactly 32 bytes, in its one canonical spelling.
    fn from_str(text: &str) -> Result<Self, TreeHashError> {
        // Checked first, so that nothing longer is ever decoded.
        if text.len() != ENCODED_LEN {
            return Err(TreeHashError);
        }
        let bytes = STANDARD.decode(text).map_err(|_| TreeHashError)?;
        bytes.try_into().map(Self).map_err(|_| TreeHashError)
    }
}

/// The text is not a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected padded base64 of a 32-byte hash")]
pub struct TreeHashError;

const LEAF_PREFIX: u8 = 0x00;
const NODE_PREFIX: u8 = 0x01;

/// Characters of 32 bytes in padded base64.
const ENCODED_LEN: usize = 44;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_has_one_spelling() {
        let hash = TreeHash::of_entry(b"entry");
        let text = hash.to_string();
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(text[..43].parse::<TreeHash>(), Err(TreeHashError));
        assert_eq!(text.replace('=', "").parse::<TreeHash>(), Err(TreeHashError));
        // 43 significant characters carry 258 bits: the last two must be zero.
        let mut loose = text.into_bytes();
        loose[42] += 1;
        let loose = String::from_utf8(loose).expect("ascii");
        assert_eq!(loose.parse::<TreeHash>(), Err(TreeHashError));
    }

    #[test]
    fn leaf_node_and_empty_tree_are_separate_domains() {
        let (left, right) = (TreeHash::of_entry(b"l"), TreeHash::of_entry(b"r"));
        let node = TreeHash::of_children(&left, &right);
        let concatenated = [left.as_bytes().as_slice(), right.as_bytes()].concat();
        assert_ne!(node, TreeHash::of_entry(&concatenated));
        assert_ne!(TreeHash::of_entry(b""), TreeHash::of_empty_tree());
        assert_ne!(node, TreeHash::of_children(&right, &left));
    }

    #[test]
    fn only_complete_subtrees_have_a_complete_root() {
        let hashes: Vec<_> = (0..4u8).map(|i| TreeHash::of_entry(&[i])).collect();
        let left = TreeHash::of_children(&hashes[0], &hashes[1]);
        let right = TreeHash::of_children(&hashes[2], &hashes[3]);
        assert_eq!(TreeHash::of_complete(&hashes), Some(TreeHash::of_children(&left, &right)));
        assert_eq!(TreeHash::of_complete(&hashes[..1]), Some(hashes[0]));
        assert_eq!(TreeHash::of_complete(&hashes[..3]), None);
        assert_eq!(TreeHash::of_complete(&[]), None);
    }
}
