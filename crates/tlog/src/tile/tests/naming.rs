use proptest::prelude::*;

use crate::tile::tests::path;
use crate::tile::*;
use crate::tree::MAX_TREE_SIZE;

#[test]
fn paths_are_written_in_groups_of_three_digits() {
    let full = |kind, index| TilePath::new(kind, index, FULL_WIDTH).expect("a tile").to_string();
    let level = |level| TileKind::Hashes { level };
    assert_eq!(full(level(0), 5), "tile/0/005");
    assert_eq!(full(level(1), 1_234_567), "tile/1/x001/x234/567");
    assert_eq!(full(level(63), 1000), "tile/63/x001/000");
    assert_eq!(full(TileKind::Entries, 999), "tile/entries/999");
    let partial = TilePath::new(TileKind::Entries, 999_999, 7).expect("a tile");
    assert_eq!(partial.to_string(), "tile/entries/x999/999.p/7");
    let last = full(level(0), u64::MAX);
    assert_eq!(last, "tile/0/x018/x446/x744/x073/x709/x551/615");
    assert_eq!(path(&last).index(), u64::MAX);
}

#[test]
fn a_path_has_one_spelling() {
    for (text, error) in [
        ("", TilePathError::Kind),
        ("tile/", TilePathError::Kind),
        ("/tile/0/000", TilePathError::Kind),
        ("tile/64/000", TilePathError::Kind),
        ("tile/00/000", TilePathError::Kind),
        ("tile/-1/000", TilePathError::Kind),
        ("tile/data/000", TilePathError::Kind),
        ("tile/0/", TilePathError::Index),
        ("tile/0/0", TilePathError::Index),
        ("tile/0/0000", TilePathError::Index),
        ("tile/0/x000/005", TilePathError::Index),
        ("tile/0/001/005", TilePathError::Index),
        ("tile/0/x001", TilePathError::Index),
        ("tile/0/x001/x005", TilePathError::Index),
        ("tile/0/x1/005", TilePathError::Index),
        ("tile/0/005/", TilePathError::Index),
        ("tile/0/../005", TilePathError::Index),
        ("tile/0/00٣", TilePathError::Index),
        ("tile/0/x018/x446/x744/x073/x709/x551/616", TilePathError::Index),
        ("tile/0/005.p/", TilePathError::Width),
        ("tile/0/005.p/0", TilePathError::Width),
        ("tile/0/005.p/01", TilePathError::Width),
        ("tile/0/005.p/256", TilePathError::Width),
        ("tile/0/005.p/1/", TilePathError::Width),
    ] {
        assert_eq!(text.parse::<TilePath>(), Err(error), "{text}");
    }
    let long = "x001/".repeat(20);
    assert_eq!(long.parse::<TilePath>(), Err(TilePathError::TooLong { found: 100 }));
    assert_eq!(TilePath::new(TileKind::Entries, 0, 0), None);
    assert_eq!(TilePath::new(TileKind::Entries, 0, 257), None);
    assert_eq!(TilePath::new(TileKind::Hashes { level: 64 }, 0, 1), None);
}

#[test]
fn a_log_of_100_000_entries_has_the_tiles_of_the_specification() {
    let paths: Vec<TilePath> = changed_tiles(0, 100_000).collect();
    let count = |kind| paths.iter().filter(|path| path.kind() == kind).count();
    let last = |kind| paths.iter().rfind(|path| path.kind() == kind).expect("a tile");
    let level = |level| TileKind::Hashes { level };
    assert_eq!((count(level(0)), last(level(0)).to_string()), (391, "tile/0/390.p/160".into()));
    assert_eq!((count(level(1)), last(level(1)).to_string()), (2, "tile/1/001.p/134".into()));
    assert_eq!((count(level(2)), last(level(2)).to_string()), (1, "tile/2/000.p/1".into()));
    assert_eq!(count(level(3)), 0);
    assert_eq!(count(TileKind::Entries), 391);
}

#[test]
fn tiles_exist_only_where_the_log_has_leaves() {
    let level = |level| TileKind::Hashes { level };
    assert_eq!(TilePath::in_log(level(0), 0, 0), None);
    assert_eq!(TilePath::in_log(level(0), 1, 256), None);
    assert_eq!(TilePath::in_log(level(1), 0, 255), None);
    assert_eq!(TilePath::in_log(level(1), 0, 256), Some(path("tile/1/000.p/1")));
    assert_eq!(TilePath::in_log(TileKind::Entries, 0, 256), Some(path("tile/entries/000")));
    assert_eq!(TilePath::in_log(level(0), u64::MAX, MAX_TREE_SIZE), None);
    assert_eq!(TilePath::in_log(level(63), 0, MAX_TREE_SIZE), None);
}

#[test]
fn bundles_hold_exactly_their_entries() {
    let mut bundle = Vec::new();
    encode_entry(&mut bundle, b"one").expect("fits");
    encode_entry(&mut bundle, b"").expect("fits");
    assert_eq!(bundle, b"\x00\x03one\x00\x00");
    assert_eq!(decode_bundle(&bundle, 2), Ok(vec![b"one".as_slice(), b""]));
    assert_eq!(decode_bundle(&bundle, 1), Err(BundleError::Trailing { found: 2, width: 1 }));
    assert_eq!(decode_bundle(&bundle, 3), Err(BundleError::Truncated { position: 2, width: 3 }));
    assert_eq!(
        decode_bundle(&bundle[..4], 1),
        Err(BundleError::Truncated { position: 0, width: 1 })
    );
    assert_eq!(decode_bundle(&bundle, 0), Err(BundleError::Width { width: 0 }));
    assert_eq!(decode_bundle(&bundle, 257), Err(BundleError::Width { width: 257 }));
}

#[test]
fn the_largest_entry_fits_and_no_larger_one() {
    let largest = vec![7; MAX_ENTRY_BYTES];
    let growth = LogTree::new().append(&[&largest]).expect("fits");
    assert_eq!(decode_bundle(&growth.files[0].bytes, 1), Ok(vec![largest.as_slice()]));
    let refused = LogTree::new().append(&[vec![], vec![7; MAX_ENTRY_BYTES + 1]]);
    let source = EntryTooLarge { found: 65_536 };
    assert_eq!(refused, Err(AppendError::Entry { position: 1, source }));
}

fn any_path() -> impl Strategy<Value = TilePath> {
    let kind = prop_oneof![
        Just(TileKind::Entries),
        (0_u8..64).prop_map(|level| TileKind::Hashes { level }),
    ];
    let index = prop_oneof![0_u64..2_000_000, any::<u64>()];
    (kind, index, 1_u16..=256)
        .prop_map(|(kind, index, width)| TilePath::new(kind, index, width).expect("a tile"))
}

proptest! {
    #![proptest_config(crate::testing::seeded())]

    #[test]
    fn paths_round_trip(path in any_path()) {
        prop_assert_eq!(path.to_string().parse::<TilePath>(), Ok(path));
    }

    #[test]
    fn only_canonical_paths_parse(text in "tile/(entries|[0-9]{1,2})(/x?[0-9]{2,4}){1,4}(\\.p/[0-9]{1,3})?") {
        if let Ok(path) = text.parse::<TilePath>() {
            prop_assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn no_text_makes_the_path_parser_panic(text in any::<String>()) {
        let _ = text.parse::<TilePath>();
    }

    #[test]
    fn bundles_round_trip(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..=256)) {
        let mut bundle = Vec::new();
        for entry in &entries {
            encode_entry(&mut bundle, entry).expect("fits");
        }
        let decoded = decode_bundle(&bundle, entries.len() as u16).expect("a bundle");
        prop_assert_eq!(decoded, entries);
    }

    #[test]
    fn only_canonical_bundles_decode(bytes in prop::collection::vec(0_u8..4, 0..40), width in 0_u16..10) {
        if let Ok(entries) = decode_bundle(&bytes, width) {
            let mut bundle = Vec::new();
            for entry in entries {
                encode_entry(&mut bundle, entry).expect("fits");
            }
            prop_assert_eq!(bundle, bytes);
        }
    }
}
