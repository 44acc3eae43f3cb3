use cordon_types::hex;
use proptest::prelude::*;

use super::*;
use crate::testing::{Model, flipped, leaf_hashes, model_root};

/// Sizes up to here are tried exhaustively: every shape of the upper levels of a proof occurs.
const SIZES: u64 = 70;

fn hash(text: &str) -> TreeHash {
    TreeHash::from_bytes(hex::decode_array(text).expect("64 hex digits"))
}

/// The leaves that Certificate Transparency implementations test with.
fn known_leaves() -> Vec<TreeHash> {
    let entries = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    entries.iter().map(|entry| TreeHash::of_entry(&hex::decode(entry).expect("hex"))).collect()
}

/// Their roots, by number of leaves.
const KNOWN_ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn the_known_trees_have_the_known_roots() {
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root(), hash(KNOWN_ROOTS[0]));
    for (leaf, root) in known_leaves().into_iter().zip(&KNOWN_ROOTS[1..]) {
        frontier.append(leaf);
        assert_eq!(frontier.root(), hash(root), "size {}", frontier.size());
    }
}

#[test]
fn the_known_inclusion_proof_is_made_and_verifies() {
    let known = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    let proof = InclusionProof::make(&mut Model(known_leaves()), 5, 8).expect("a proof");
    assert_eq!(proof.hashes, known.map(hash));
    assert_eq!(proof.verify(&known_leaves()[5], &hash(KNOWN_ROOTS[8])), Ok(()));
}

#[test]
fn the_known_consistency_proofs_are_made_and_verify() {
    let known: [(u64, u64, &[&str]); 3] = [
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];
    for (old_size, new_size, hashes) in known {
        let proof = ConsistencyProof::make(&mut Model(known_leaves()), old_size, new_size)
            .expect("a proof");
        assert_eq!(proof.hashes, hashes.iter().map(|text| hash(text)).collect::<Vec<_>>());
        let [old_root, new_root] =
            [old_size, new_size].map(|size| hash(KNOWN_ROOTS[size as usize]));
        assert_eq!(proof.verify(&old_root, &new_root), Ok(()));
    }
}

#[test]
fn growing_and_reading_a_frontier_agree_with_the_model() {
    let leaves = leaf_hashes(SIZES);
    let mut grown = Frontier::new();
    for size in 0..=SIZES {
        let root = model_root(&leaves[..size as usize]);
        assert_eq!(grown.root(), root, "size {size}");
        let read = Frontier::read(&mut Model(leaves.clone()), size).expect("readable");
        assert_eq!(read.as_ref(), Some(&grown));
        if size < SIZES {
            grown.append(leaves[size as usize]);
        }
    }
    assert_eq!(Frontier::read(&mut Model(leaves), MAX_TREE_SIZE + 1), Ok(None));
}

#[test]
fn every_inclusion_proof_verifies_and_no_changed_one_does() {
    let leaves = leaf_hashes(SIZES);
    let roots: Vec<_> = (0..=SIZES).map(|size| model_root(&leaves[..size as usize])).collect();
    let mut model = Model(leaves.clone());
    for size in 1..=SIZES {
        let root = &roots[size as usize];
        for index in 0..size {
            let proof = InclusionProof::make(&mut model, index, size).expect("a proof");
            let leaf = &leaves[index as usize];
            assert_eq!(proof.verify(leaf, root), Ok(()), "{index} of {size}");
            assert_eq!(proof.verify(leaf, &flipped(root)), Err(TreeProofError::WrongRoot));
            assert_eq!(proof.verify(&flipped(leaf), root), Err(TreeProofError::WrongRoot));

            let refused = |changed: InclusionProof, root: &TreeHash| {
                assert!(changed.verify(leaf, root).is_err(), "{index} of {size}: {changed:?}");
            };
            for at in 0..proof.hashes.len() {
                let mut changed = proof.clone();
                changed.hashes[at] = flipped(&changed.hashes[at]);
                refused(changed, root);
                let mut changed = proof.clone();
                changed.hashes.remove(at);
                refused(changed, root);
            }
            for at in 0..=proof.hashes.len() {
                let mut changed = proof.clone();
                changed.hashes.insert(at, *root);
                assert_eq!(
                    changed.verify(leaf, root),
                    Err(TreeProofError::TooLong { found: proof.hashes.len() + 1 })
                );
            }
            for other in (0..=SIZES).filter(|other| *other != index) {
                refused(InclusionProof { index: other, ..proof.clone() }, root);
            }
            for other in (0..=SIZES).filter(|other| *other != size) {
                refused(InclusionProof { size: other, ..proof.clone() }, &roots[other as usize]);
            }
        }
    }
}

#[test]
fn every_consistency_proof_verifies_and_no_changed_one_does() {
    let leaves = leaf_hashes(SIZES);
    let roots: Vec<_> = (0..=SIZES).map(|size| model_root(&leaves[..size as usize])).collect();
    let root = |size: u64| &roots[size as usize];
    let mut model = Model(leaves);
    for new_size in 1..=SIZES {
        for old_size in 1..=new_size {
            let proof = ConsistencyProof::make(&mut model, old_size, new_size).expect("a proof");
            let (old_root, new_root) = (root(old_size), root(new_size));
            assert_eq!(proof.verify(old_root, new_root), Ok(()), "{old_size} to {new_size}");
            assert!(proof.verify(&flipped(old_root), new_root).is_err());
            assert!(proof.verify(old_root, &flipped(new_root)).is_err());

            let refused = |changed: ConsistencyProof, old_root: &TreeHash, new_root: &TreeHash| {
                let verdict = changed.verify(old_root, new_root);
                assert!(verdict.is_err(), "{old_size} to {new_size}: {changed:?}");
            };
            for at in 0..proof.hashes.len() {
                let mut changed = proof.clone();
                changed.hashes[at] = flipped(&changed.hashes[at]);
                refused(changed, old_root, new_root);
                let mut changed = proof.clone();
                changed.hashes.remove(at);
                refused(changed, old_root, new_root);
            }
            for at in 0..=proof.hashes.len() {
                let mut changed = proof.clone();
                changed.hashes.insert(at, *old_root);
                refused(changed, old_root, new_root);
            }
            for other in (0..=SIZES).filter(|other| *other != old_size) {
                let changed = ConsistencyProof { old_size: other, ..proof.clone() };
                refused(changed, root(other), new_root);
            }
            for other in (0..=SIZES).filter(|other| *other != new_size) {
                let changed = ConsistencyProof { new_size: other, ..proof.clone() };
                refused(changed, old_root, root(other));
            }
        }
    }
}

#[test]
fn a_rewritten_leaf_has_no_consistency_proof() {
    let (honest, mut forged) = (leaf_hashes(8), leaf_hashes(13));
    forged[3] = flipped(&forged[3]);
    let proof = ConsistencyProof::make(&mut Model(forged.clone()), 8, 13).expect("a proof");
    let verdict = proof.verify(&model_root(&honest), &model_root(&forged));
    assert_eq!(verdict, Err(TreeProofError::WrongNewRoot));
}

#[test]
fn impossible_proofs_are_refused_before_anything_is_read() {
    let root = TreeHash::of_empty_tree();
    let inclusion = |index, size| {
        let made = InclusionProof::make(&mut Model(Vec::new()), index, size);
        let refused = InclusionProof { index, size, hashes: Vec::new() }.verify(&root, &root);
        assert_eq!(made, Err(MakeProofError::Impossible(refused.clone().expect_err("refused"))));
        refused
    };
    assert_eq!(inclusion(0, 0), Err(TreeProofError::EmptyTree));
    assert_eq!(inclusion(1, 1), Err(TreeProofError::IndexBeyondSize { index: 1, size: 1 }));
    assert_eq!(inclusion(0, u64::MAX), Err(TreeProofError::TooLarge { size: u64::MAX }));

    let consistency = |old_size, new_size| {
        let made = ConsistencyProof::make(&mut Model(Vec::new()), old_size, new_size);
        let refused =
            ConsistencyProof { old_size, new_size, hashes: Vec::new() }.verify(&root, &root);
        assert_eq!(made, Err(MakeProofError::Impossible(refused.clone().expect_err("refused"))));
        refused
    };
    assert_eq!(consistency(0, 0), Err(TreeProofError::EmptyTree));
    assert_eq!(consistency(0, 5), Err(TreeProofError::EmptyTree));
    assert_eq!(consistency(3, 2), Err(TreeProofError::SizesReversed { old_size: 3, new_size: 2 }));
    assert_eq!(consistency(1, u64::MAX), Err(TreeProofError::TooLarge { size: u64::MAX }));
}

#[test]
fn equal_sizes_need_an_empty_proof_and_equal_roots() {
    let (root, other) = (TreeHash::of_entry(b"a"), TreeHash::of_entry(b"b"));
    let empty = ConsistencyProof { old_size: 5, new_size: 5, hashes: Vec::new() };
    assert_eq!(empty.verify(&root, &root), Ok(()));
    assert_eq!(
        empty.verify(&root, &other),
        Err(TreeProofError::EqualSizesUnequalRoots { size: 5 })
    );
    let longer = ConsistencyProof { hashes: vec![root], ..empty };
    assert_eq!(longer.verify(&root, &root), Err(TreeProofError::TooLong { found: 1 }));
}

proptest! {
    #![proptest_config(crate::testing::seeded())]

    #[test]
    fn no_numbers_make_verification_panic(
        index in any::<u64>(),
        size in any::<u64>(),
        count in 0_usize..70,
    ) {
        let root = TreeHash::of_empty_tree();
        let hashes = vec![root; count];
        let inclusion = InclusionProof { index, size, hashes: hashes.clone() };
        prop_assert!(inclusion.verify(&root, &root).is_err());
        let consistency = ConsistencyProof { old_size: index, new_size: size, hashes };
        prop_assert!(consistency.verify(&root, &flipped(&root)).is_err());
    }

    #[test]
    fn proofs_of_the_largest_trees_have_at_most_63_hashes(
        sizes in (1..=MAX_TREE_SIZE, prop_oneof![Just(MAX_TREE_SIZE), 1..=MAX_TREE_SIZE]),
    ) {
        let (old_size, size) = (sizes.0.min(sizes.1), sizes.0.max(sizes.1));
        // Any hash will do: the shape is what counts.
        struct Constant;
        impl HashReader for Constant {
            type Error = std::convert::Infallible;
            fn read_hash(&mut self, level: u32, index: u64) -> Result<TreeHash, Self::Error> {
                assert!((index + 1) << level <= MAX_TREE_SIZE);
                Ok(TreeHash::of_empty_tree())
            }
        }
        let inclusion = InclusionProof::make(&mut Constant, old_size - 1, size).expect("a proof");
        prop_assert!(inclusion.hashes.len() <= MAX_PROOF_HASHES);
        let consistency = ConsistencyProof::make(&mut Constant, old_size, size).expect("a proof");
        prop_assert!(consistency.hashes.len() <= MAX_PROOF_HASHES);
    }
}
