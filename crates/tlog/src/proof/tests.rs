use proptest::prelude::*;

use super::*;
use crate::cosignature::CosignatureError;
use crate::note::NoteError;
use crate::testing::{
    NOW, entry, flipped, log_signer, name, signing_key, stored_log, witness_key, witness_signer,
};
use crate::tile::TileHashReader;

const SIZE: u64 = 300;
const INDEX: u64 = 260;

/// A head of `size` entries, cosigned by w1 and w2.
fn cosigned_log(size: u64) -> (TileHashReader<crate::testing::Disk>, VerifiedCheckpoint) {
    let (_, disk, mut head) = stored_log(size);
    for (text, seed) in [("w1", 11), ("w2", 12)] {
        let key = signing_key(seed);
        let line =
            witness_signer(text, &key).cosign_text(head.signed().note().text(), NOW).to_string();
        head.add_cosignatures(line.as_bytes(), &quorum(1)).expect("a cosignature");
    }
    (TileHashReader::new(disk, size), head)
}

fn bundle() -> ProofBundle {
    let (mut reader, head) = cosigned_log(SIZE);
    let leaf = TreeHash::of_entry(&entry(INDEX));
    ProofBundle::make(&mut reader, INDEX, &leaf, &head).expect("a proof")
}

fn log_key() -> LogKey {
    log_signer(&signing_key(1)).key().clone()
}

fn quorum(threshold: usize) -> Quorum {
    Quorum::at_least(threshold, [witness_key("w1", 11), witness_key("w2", 12)]).expect("a quorum")
}

fn verify(bundle: &ProofBundle) -> Result<Proven, ProofError> {
    verify_proof(bundle.to_string().as_bytes(), &entry(INDEX), &log_key(), &quorum(2))
}

#[test]
fn a_proof_shows_index_size_origin_and_witnesses() {
    let proven = verify(&bundle()).expect("proven");
    assert_eq!((proven.index(), proven.size()), (INDEX, SIZE));
    assert_eq!(proven.origin(), &name("a.example/log"));
    assert_eq!(proven.leaf(), &TreeHash::of_entry(&entry(INDEX)));
    let names: Vec<_> =
        proven.cosigned_by().iter().map(|cosigner| cosigner.name().to_string()).collect();
    assert_eq!(names, ["w1", "w2"]);
    assert!(proven.cosigned_by().iter().all(|cosigner| cosigner.time() == NOW));
    assert_eq!(proven.head().verified().size(), SIZE);
}

#[test]
fn every_entry_of_a_log_has_a_proof() {
    for size in [1, 2, 5, 256, 257] {
        let (mut reader, head) = cosigned_log(size);
        for index in 0..size {
            let leaf = TreeHash::of_entry(&entry(index));
            let bundle =
                ProofBundle::make(&mut reader, index, &leaf, &head).expect("a proof").to_string();
            let proven = verify_proof(bundle.as_bytes(), &entry(index), &log_key(), &quorum(2));
            assert_eq!(proven.map(|proven| proven.index()), Ok(index));
        }
    }
}

#[test]
fn another_entry_is_not_proven() {
    let refused = bundle().verify(&entry(INDEX + 1), &log_key(), &quorum(2));
    let source = TreeProofError::WrongRoot;
    assert_eq!(refused, Err(ProofError::Inclusion { index: INDEX, size: SIZE, source }));
}

#[test]
fn another_index_is_not_proven() {
    let mut bundle = bundle();
    bundle.inclusion.index = INDEX - 1;
    let source = TreeProofError::WrongRoot;
    assert_eq!(
        verify(&bundle),
        Err(ProofError::Inclusion { index: INDEX - 1, size: SIZE, source })
    );
    bundle.inclusion.index = SIZE;
    let source = TreeProofError::IndexBeyondSize { index: SIZE, size: SIZE };
    assert_eq!(verify(&bundle), Err(ProofError::Inclusion { index: SIZE, size: SIZE, source }));
}

#[test]
fn a_changed_missing_or_surplus_hash_proves_nothing() {
    let good = bundle();
    for at in 0..good.inclusion.hashes.len() {
        let mut changed = good.clone();
        changed.inclusion.hashes[at] = flipped(&changed.inclusion.hashes[at]);
        assert!(matches!(verify(&changed), Err(ProofError::Inclusion { .. })), "{at}");
        let mut shorter = good.clone();
        shorter.inclusion.hashes.remove(at);
        assert!(matches!(verify(&shorter), Err(ProofError::Inclusion { .. })), "{at}");
        let mut longer = good.clone();
        longer.inclusion.hashes.insert(at, good.inclusion.hashes[0]);
        assert!(matches!(verify(&longer), Err(ProofError::Inclusion { .. })), "{at}");
    }
}

#[test]
fn a_proof_of_another_log_or_by_another_key_is_refused() {
    let other_origin = LogKey::new(name("b.example/log"), *log_key().public());
    let refused = bundle().verify(&entry(INDEX), &other_origin, &quorum(2));
    assert!(matches!(refused, Err(ProofError::Checkpoint(CheckpointError::OtherOrigin { .. }))));
    let other_key = LogKey::new(name("a.example/log"), signing_key(9).verifying_key());
    let refused = bundle().verify(&entry(INDEX), &other_key, &quorum(2));
    let expected = CheckpointError::Note(NoteError::NotSigned { name: name("a.example/log") });
    assert_eq!(refused, Err(ProofError::Checkpoint(expected)));
}

#[test]
fn a_proof_without_its_quorum_is_refused() {
    let text = bundle().to_string();
    let w2 = text.find("\u{2014} w2 ").expect("cosigned");
    let refused = verify_proof(&text.as_bytes()[..w2], &entry(INDEX), &log_key(), &quorum(2));
    let source = QuorumError::NotMet { found: 1, needed: 2 };
    assert_eq!(refused, Err(ProofError::Quorum { size: SIZE, source }));
    let enough = verify_proof(&text.as_bytes()[..w2], &entry(INDEX), &log_key(), &quorum(1));
    assert_eq!(enough.map(|proven| proven.cosigned_by().len()), Ok(1));
}

#[test]
fn cosignatures_of_an_older_head_do_not_count() {
    let (_, older) = cosigned_log(SIZE - 1);
    let (mut reader, newer) = cosigned_log(SIZE);
    let lines = |head: &VerifiedCheckpoint| {
        head.signed().note().signatures()[1..].iter().map(ToString::to_string).collect::<String>()
    };
    let leaf = TreeHash::of_entry(&entry(INDEX));
    let text = ProofBundle::make(&mut reader, INDEX, &leaf, &newer).expect("a proof").to_string();
    let swapped = text.replace(&lines(&newer), &lines(&older));
    assert_ne!(swapped, text);
    let refused = verify_proof(swapped.as_bytes(), &entry(INDEX), &log_key(), &quorum(1));
    let source = QuorumError::Cosignature(CosignatureError::Mismatch { name: name("w1") });
    assert_eq!(refused, Err(ProofError::Quorum { size: SIZE, source }));
}

#[test]
fn no_single_changed_bit_goes_unnoticed() {
    let good = bundle().to_string().into_bytes();
    for at in 0..good.len() {
        for bit in [0x01, 0x20, 0x80] {
            let mut changed = good.clone();
            changed[at] ^= bit;
            let verdict = verify_proof(&changed, &entry(INDEX), &log_key(), &quorum(2));
            assert!(verdict.is_err(), "bit {bit:#x} of byte {at}");
        }
    }
    for length in 0..good.len() {
        let verdict = verify_proof(&good[..length], &entry(INDEX), &log_key(), &quorum(2));
        assert!(verdict.is_err(), "cut to {length} bytes");
    }
}

#[test]
fn a_proof_that_would_not_verify_is_not_given_away() {
    let (mut reader, head) = cosigned_log(SIZE);
    let leaf = TreeHash::of_entry(b"never appended");
    let made = ProofBundle::make(&mut reader, INDEX, &leaf, &head);
    let source = TreeProofError::WrongRoot;
    assert_eq!(made, Err(MakeBundleError::Wrong { index: INDEX, size: SIZE, source }));
    let made = ProofBundle::make(&mut reader, SIZE, &leaf, &head);
    assert!(matches!(made, Err(MakeBundleError::Make { index: SIZE, size: SIZE, .. })), "{made:?}");
}

#[test]
fn extra_data_travels_and_is_not_authenticated() {
    let bundle = bundle().with_unauthenticated_extra(b"anything".to_vec()).expect("fits");
    let parsed = ProofBundle::parse(bundle.to_string().as_bytes()).expect("parses");
    assert_eq!(parsed.unauthenticated_extra(), Some(b"anything".as_slice()));
    assert_eq!(parsed, bundle);
    assert!(verify(&parsed).is_ok());
    assert!(verify(&parsed.with_unauthenticated_extra(b"else".to_vec()).expect("fits")).is_ok());
    assert_eq!(bundle.clone().with_unauthenticated_extra(Vec::new()), None);
    assert_eq!(bundle.clone().with_unauthenticated_extra(vec![0; MAX_EXTRA_BYTES + 1]), None);
    let largest = bundle.with_unauthenticated_extra(vec![0; MAX_EXTRA_BYTES]).expect("fits");
    assert_eq!(ProofBundle::parse(largest.to_string().as_bytes()), Ok(largest));
}

#[test]
fn malformed_proofs_are_refused_with_the_place() {
    let good = bundle().to_string();
    let parse = |text: &str| ProofBundle::parse(text.as_bytes()).map(|_| ()).expect_err("refused");
    assert_eq!(parse(""), ProofError::Header);
    assert_eq!(parse(&good.replace("@v1\n", "@v2\n")), ProofError::Header);
    assert_eq!(parse(&good.replace("@v1\n", "@v1 \n")), ProofError::Header);
    assert_eq!(parse("c2sp.org/tlog-proof@v1"), ProofError::Header);
    for extra in ["", "x", "AA", "AA= ", "AB=="] {
        let text = good.replace("@v1\n", &format!("@v1\nextra {extra}\n"));
        assert_eq!(parse(&text), ProofError::Extra, "{extra:?}");
    }
    let long = "AAAA".repeat(MAX_EXTRA_BYTES);
    assert_eq!(parse(&good.replace("@v1\n", &format!("@v1\nextra {long}\n"))), ProofError::Extra);
    for line in
        ["index 0260", "index -1", "index  260", "Index 260", "index", "index 4611686018427387904"]
    {
        let text = good.replace("index 260", line);
        assert_eq!(parse(&text), ProofError::Index { line: 2 }, "{line}");
        let text = text.replace("@v1\n", "@v1\nextra AA==\n");
        assert_eq!(parse(&text), ProofError::Index { line: 3 }, "{line}");
    }
    let not_a_hash = HashLinesError::NotAHash { position: 0 };
    assert_eq!(
        parse(&good.replace("index 260\n", "index 260\n-\n")),
        ProofError::Hashes(not_a_hash)
    );
    let (head, _) = good.split_once("\n\n").expect("a blank line");
    assert_eq!(parse(head), ProofError::Hashes(HashLinesError::NoBlankLine));
    let hash = bundle().inclusion.hashes[0].to_string();
    let many = good.replacen("\n\n", &format!("\n{}\n", format!("{hash}\n").repeat(60)), 1);
    assert_eq!(parse(&many), ProofError::Hashes(HashLinesError::TooMany { limit: 63 }));
    let unsigned = parse(&format!("{head}\n\n"));
    assert_eq!(unsigned, ProofError::Checkpoint(CheckpointError::Note(NoteError::NoBlankLine)));
    assert_eq!(ProofBundle::parse(b"c2\xff"), Err(ProofError::NotUtf8 { position: 2 }));
    let found = MAX_BUNDLE_BYTES + 1;
    assert_eq!(ProofBundle::parse(&vec![b'\n'; found]), Err(ProofError::TooLarge { found }));
}

proptest! {
    #![proptest_config(crate::testing::seeded())]

    #[test]
    fn only_canonical_proofs_parse(at in 0_usize..500, insert in "(\n|[A-Za-z0-9= ]|\u{2014} ){0,50}") {
        let good = bundle().to_string();
        let at = (at..).find(|at| good.is_char_boundary(*at)).unwrap_or(good.len()).min(good.len());
        let text = format!("{}{insert}{}", &good[..at], &good[at..]);
        if let Ok(parsed) = ProofBundle::parse(text.as_bytes()) {
            prop_assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ProofBundle::parse(&bytes);
        let _ = ProofBundle::parse(&[b"c2sp.org/tlog-proof@v1\n", bytes.as_slice()].concat());
    }
}
