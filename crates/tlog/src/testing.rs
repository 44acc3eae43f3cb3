//! What the tests share: a model of the tree that is too slow to be wrong, keys, a disk.

use std::collections::BTreeMap;
use std::convert::Infallible;

use cordon_crypto::SigningKey;
use cordon_types::{Secret, UnixSeconds};
use proptest::test_runner::{Config as ProptestConfig, RngSeed};

use crate::checkpoint::VerifiedCheckpoint;
use crate::hash::TreeHash;
use crate::key::{LogSigner, WitnessKey, WitnessSigner};
use crate::note::KeyName;
use crate::tile::{LogTree, TilePath, TileSource};
use crate::tree::HashReader;

/// Property tests try the same cases each time and write no files.
pub(crate) fn seeded() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x6962),
        ..ProptestConfig::default()
    }
}

pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_700_000_000);

pub(crate) fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Secret::from_bytes([seed; 32]))
}

pub(crate) fn name(text: &str) -> KeyName {
    text.parse().expect("a key name")
}

pub(crate) fn log_signer(key: &SigningKey) -> LogSigner<'_> {
    LogSigner::new(name("a.example/log"), key)
}

pub(crate) fn witness_signer<'k>(text: &str, key: &'k SigningKey) -> WitnessSigner<'k> {
    WitnessSigner::new(name(text), key)
}

pub(crate) fn witness_key(text: &str, seed: u8) -> WitnessKey {
    WitnessKey::new(name(text), signing_key(seed).verifying_key())
}

pub(crate) fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

pub(crate) fn leaf_hashes(count: u64) -> Vec<TreeHash> {
    (0..count).map(|index| TreeHash::of_entry(&entry(index))).collect()
}

/// MTH of RFC 6962 §2.1, word for word.
pub(crate) fn model_root(leaves: &[TreeHash]) -> TreeHash {
    match leaves {
        [] => TreeHash::of_empty_tree(),
        [leaf] => *leaf,
        _ => {
            let mut middle = 1;
            while middle * 2 < leaves.len() {
                middle *= 2;
            }
            let (left, right) = leaves.split_at(middle);
            TreeHash::of_children(&model_root(left), &model_root(right))
        }
    }
}

/// Reads hashes by computing them from all leaves.
pub(crate) struct Model(pub Vec<TreeHash>);

impl HashReader for Model {
    type Error = Infallible;

    fn read_hash(&mut self, level: u32, index: u64) -> Result<TreeHash, Infallible> {
        let leaves = 1_usize << level;
        let start = usize::try_from(index).expect("small") * leaves;
        Ok(model_root(&self.0[start..start + leaves]))
    }
}

/// A folder of tiles that counts what is read.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub files: BTreeMap<TilePath, Vec<u8>>,
    pub reads: usize,
}

impl TileSource for Disk {
    type Error = Infallible;

    fn read_tile(&mut self, path: &TilePath) -> Result<Option<Vec<u8>>, Infallible> {
        self.reads += 1;
        Ok(self.files.get(path).cloned())
    }
}

/// Appends entries `tree.size()..size` in batches.
pub(crate) fn grow(mut tree: LogTree, disk: &mut Disk, size: u64, batch: u64) -> LogTree {
    while tree.size() < size {
        let end = size.min(tree.size() + batch);
        let entries: Vec<Vec<u8>> = (tree.size()..end).map(entry).collect();
        let growth = tree.append(&entries).expect("entries fit");
        disk.files.extend(growth.files.into_iter().map(|file| (file.path, file.bytes)));
        tree = growth.tree;
    }
    tree
}

/// A stored log of `size` entries, its growing end, and its signed head.
pub(crate) fn stored_log(size: u64) -> (LogTree, Disk, VerifiedCheckpoint) {
    let mut disk = Disk::default();
    let tree = grow(LogTree::new(), &mut disk, size, 256);
    let key = signing_key(1);
    let head = log_signer(&key).sign(tree.size(), tree.root()).expect("a head");
    (tree, disk, head)
}

/// Flips one bit of a hash.
pub(crate) fn flipped(hash: &TreeHash) -> TreeHash {
    let mut bytes = *hash.as_bytes();
    bytes[7] ^= 0x10;
    TreeHash::from_bytes(bytes)
}
