use crate::hash::TreeHash;
use crate::testing::*;
use crate::tile::tests::{SIZES, path};
use crate::tile::*;
use crate::tree::{ConsistencyProof, HashReader, InclusionProof};

#[test]
fn appending_writes_exactly_the_changed_tiles_in_order() {
    for batch in [1, 3, 256, 700] {
        let mut tree = LogTree::new();
        while tree.size() < 1100 {
            let entries: Vec<_> = (tree.size()..tree.size() + batch).map(entry).collect();
            let growth = tree.append(&entries).expect("fits");
            let written: Vec<_> = growth.files.iter().map(|file| file.path).collect();
            let expected: Vec<_> = changed_tiles(tree.size(), tree.size() + batch).collect();
            assert_eq!(written, expected, "from {} by {batch}", tree.size());
            assert_eq!(growth.first_index, tree.size());
            tree = growth.tree;
        }
    }
    let growth = LogTree::new().append::<&[u8]>(&[]).expect("nothing fits");
    assert_eq!((growth.files, growth.tree), (vec![], LogTree::new()));
}

#[test]
fn tiles_hold_the_subtrees_that_the_specification_names() {
    let (_, mut disk, head) = stored_log(66_000);
    let leaves = leaf_hashes(66_000);
    let expected = |level: u32, index: u64| {
        let span = 256_usize.pow(level);
        let start = index as usize * span;
        model_root(&leaves[start..start + span])
    };
    assert_eq!(*head.root(), model_root(&leaves));
    for (text, level, first, width) in [
        ("tile/0/000", 0, 0, 256),
        ("tile/0/257.p/208", 0, 257 * 256, 208),
        ("tile/1/000", 1, 0, 256),
        ("tile/1/001.p/1", 1, 256, 1),
        ("tile/2/000.p/1", 2, 0, 1),
    ] {
        let bytes = disk.read_tile(&path(text)).expect("readable").expect("written");
        assert_eq!(bytes.len(), width * 32, "{text}");
        for (index, hash) in (first..).zip(bytes.as_chunks::<32>().0) {
            assert_eq!(TreeHash::from_bytes(*hash), expected(level, index), "{text}");
        }
    }
}

#[test]
fn roots_do_not_depend_on_batches_and_resuming_changes_nothing() {
    for size in SIZES {
        let (tree, mut disk, head) = stored_log(size);
        assert_eq!(tree.root(), model_root(&leaf_hashes(size)), "size {size}");
        let resumed = LogTree::resume(size, head.root(), &mut disk).expect("stored");
        assert_eq!(resumed, tree, "size {size}");
        let grown = grow(resumed, &mut disk, size + 300, 7);
        let again = grow(tree, &mut Disk::default(), size + 300, 300);
        assert_eq!(grown, again, "size {size}");
    }
}

#[test]
fn a_log_whose_end_was_changed_is_not_resumed() {
    let (tree, disk, _) = stored_log(700);
    let resume = |change: &dyn Fn(&mut Disk)| {
        let mut disk = disk.clone();
        change(&mut disk);
        LogTree::resume(700, &tree.root(), &mut disk)
    };
    assert_eq!(resume(&|_| ()), Ok(tree.clone()));
    let bundle = path("tile/entries/002.p/188");
    let edited = resume(&|disk| {
        *disk.files.get_mut(&bundle).expect("stored").last_mut().expect("byte") ^= 1
    });
    assert_eq!(edited, Err(ResumeError::Entry { index: 699, path: bundle }));
    let leaves = path("tile/0/002.p/188");
    let edited = resume(&|disk| disk.files.get_mut(&leaves).expect("stored")[0] ^= 1);
    assert!(matches!(edited, Err(ResumeError::WrongRoot { size: 700, .. })), "{edited:?}");
    let missing = resume(&|disk| drop(disk.files.remove(&leaves)));
    assert_eq!(missing, Err(ResumeError::Read(ReadTileError::Missing { path: leaves })));
    let missing = resume(&|disk| drop(disk.files.remove(&bundle)));
    assert_eq!(missing, Err(ResumeError::Read(ReadTileError::Missing { path: bundle })));
    let short = resume(&|disk| disk.files.get_mut(&leaves).expect("stored").truncate(32));
    let expected = ReadTileError::Length { path: leaves, found: 32, expected: 188 * 32 };
    assert_eq!(short, Err(ResumeError::Read(expected)));
    let size = u64::MAX;
    let endless = LogTree::resume(size, &tree.root(), &mut |path: &TilePath| {
        Ok::<_, std::convert::Infallible>(Some(vec![0; usize::from(path.width()) * 32]))
    });
    assert_eq!(endless, Err(ResumeError::TooLarge { size }));
}

#[test]
fn proofs_from_tiles_are_those_of_the_model() {
    for size in SIZES.into_iter().filter(|size| (1..=700).contains(size)) {
        let (_, disk, _) = stored_log(size);
        let mut reader = TileHashReader::new(disk, size);
        let mut model = Model(leaf_hashes(size));
        for number in [0, size / 3, size / 2, size - 1] {
            assert_eq!(
                InclusionProof::make(&mut reader, number, size).expect("a proof"),
                InclusionProof::make(&mut model, number, size).expect("a proof")
            );
            assert_eq!(
                ConsistencyProof::make(&mut reader, number + 1, size).expect("a proof"),
                ConsistencyProof::make(&mut model, number + 1, size).expect("a proof")
            );
        }
    }
}

#[test]
fn proofs_in_a_deep_log_verify_and_read_few_tiles() {
    let size = 65_800;
    let (tree, disk, head) = stored_log(size);
    let leaves = leaf_hashes(size);
    for index in [0, 255, 256, 40_000, 65_535, 65_536, size - 1] {
        let mut disk = disk.clone();
        let mut reader = TileHashReader::new(|path: &TilePath| disk.read_tile(path), size);
        let proof = InclusionProof::make(&mut reader, index, size).expect("a proof");
        assert_eq!(proof.verify(&leaves[index as usize], head.root()), Ok(()));
        let proof = ConsistencyProof::make(&mut reader, index + 1, size).expect("a proof");
        let old_root = model_root(&leaves[..=index as usize]);
        assert_eq!(proof.verify(&old_root, &tree.root()), Ok(()));
        drop(reader);
        // Two tiles at each of three levels, at most.
        assert!(disk.reads <= 6, "{} reads for {index}", disk.reads);
    }
}

#[test]
fn a_full_tile_stands_in_for_a_partial_one() {
    let (_, mut disk, head) = stored_log(300);
    let tree = LogTree::resume(300, head.root(), &mut disk).expect("stored");
    grow(tree, &mut disk, 600, 300);
    disk.files.retain(|path, _| path.is_full() || path.kind() == TileKind::Hashes { level: 1 });
    let mut reader = TileHashReader::new(disk.clone(), 300);
    let proof = InclusionProof::make(&mut reader, 299, 300).expect("a proof");
    assert_eq!(proof.verify(&TreeHash::of_entry(&entry(299)), head.root()), Ok(()));
    assert!(LogTree::resume(300, head.root(), &mut disk).is_ok());
    let mut seen = 0;
    audit(&head, &mut disk, |_, _| seen += 1).expect("complete");
    assert_eq!(seen, 300);
}

#[test]
fn subtrees_outside_the_tree_are_not_read() {
    let (_, disk, _) = stored_log(300);
    let mut reader = TileHashReader::new(disk, 300);
    for (level, index) in [(0, 300), (8, 1), (9, 0), (63, 0), (64, 0), (u32::MAX, 0), (1, u64::MAX)]
    {
        let refused = reader.read_hash(level, index);
        assert_eq!(refused, Err(ReadTileError::BeyondTree { level, index, size: 300 }));
    }
    assert!(reader.read_hash(8, 0).is_ok());
}

#[test]
fn the_cache_of_tiles_is_bounded_and_transparent() {
    let size = 100 * 256;
    let (_, disk, head) = stored_log(size);
    let mut reader = TileHashReader::new(disk, size);
    for index in (0..size).step_by(256) {
        let proof = InclusionProof::make(&mut reader, index, size).expect("a proof");
        assert_eq!(proof.verify(&TreeHash::of_entry(&entry(index)), head.root()), Ok(()));
        assert!(reader.cached_tiles() <= 64);
    }
}

#[test]
fn a_wrong_hash_in_a_tile_makes_a_proof_that_does_not_verify() {
    let (_, mut disk, head) = stored_log(300);
    let tile = disk.files.get_mut(&path("tile/0/000")).expect("stored");
    let hash = TreeHash::from_bytes(tile[32..64].try_into().expect("32 bytes"));
    tile[32..64].copy_from_slice(flipped(&hash).as_bytes());
    let proof = InclusionProof::make(&mut TileHashReader::new(disk, 300), 0, 300).expect("a proof");
    assert!(proof.verify(&TreeHash::of_entry(&entry(0)), head.root()).is_err());
}
