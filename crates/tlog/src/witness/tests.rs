use proptest::prelude::*;

use super::*;
use crate::checkpoint::VerifiedCheckpoint;
use crate::hash::TreeHash;
use crate::key::LogSigner;
use crate::note::{Note, NoteKeyId, SignatureLine, parse_signature_lines};
use crate::policy::Quorum;
use crate::testing::{
    Model, NOW, flipped, leaf_hashes, log_signer, model_root, name, signing_key, witness_signer,
};
use crate::text::HashLinesError as HashLines;
use crate::tree::ConsistencyProof;

const SIZES: u64 = 40;

fn head(size: u64) -> VerifiedCheckpoint {
    let root = model_root(&leaf_hashes(size));
    log_signer(&signing_key(1)).sign(size, root).expect("a head")
}

fn forked(size: u64) -> VerifiedCheckpoint {
    let root = flipped(&model_root(&leaf_hashes(size)));
    log_signer(&signing_key(1)).sign(size, root).expect("a head")
}

fn hashes(old_size: u64, new_size: u64) -> Vec<TreeHash> {
    let proof = ConsistencyProof::make(&mut Model(leaf_hashes(SIZES)), old_size, new_size);
    proof.map(|proof| proof.hashes).unwrap_or_default()
}

fn request(old_size: u64, new: &VerifiedCheckpoint) -> AddCheckpoint {
    AddCheckpoint::new(old_size, hashes(old_size, new.size()), new.signed().clone())
}

fn decide(stored: Option<&VerifiedCheckpoint>, request: &AddCheckpoint) -> Decision {
    let (log, key) = (signing_key(1), signing_key(11));
    let logs = [log_signer(&log).key().clone()];
    let witness = Witness::new(witness_signer("w1", &key), logs).expect("a witness");
    witness.decide(stored.map(VerifiedCheckpoint::signed), request, NOW)
}

fn refused(stored: Option<&VerifiedCheckpoint>, request: &AddCheckpoint) -> (Refusal, bool) {
    match decide(stored, request) {
        Decision::Refuse { refusal, fork } => (refusal, fork.is_some()),
        Decision::Cosign(cosigned) => panic!("cosigned {cosigned:?}"),
    }
}

fn cosigned(decision: Decision) -> Cosigned {
    match decision {
        Decision::Cosign(cosigned) => cosigned,
        Decision::Refuse { refusal, .. } => panic!("refused: {refusal}"),
    }
}

/// A note with the text of a checkpoint, signed as if by the log.
fn signed_text(text: &str) -> SignedCheckpoint {
    let key = signing_key(1);
    let mut note = Note::new(text.to_owned()).expect("a text");
    note.push(log_signer(&key).sign_text(text)).expect("room");
    SignedCheckpoint::parse(note.to_string().as_bytes()).expect("a checkpoint")
}

#[test]
fn every_honest_step_is_cosigned() {
    for new_size in 0..=SIZES {
        let new = head(new_size);
        assert!(matches!(decide(None, &request(0, &new)), Decision::Cosign(_)));
        for old_size in 0..=new_size {
            let step = decide(Some(&head(old_size)), &request(old_size, &new));
            assert!(matches!(step, Decision::Cosign(_)), "{old_size} to {new_size}");
        }
    }
}

#[test]
fn the_answer_is_a_cosignature_that_meets_a_quorum_of_this_witness() {
    let mut new = head(7);
    let cosigned = cosigned(decide(None, &request(0, &new)));
    let stored = cosigned.head().clone();
    let answer = cosigned.into_answer_once_stored();
    assert_eq!((answer.status, answer.content_type), (200, "text/plain; charset=utf-8"));
    let key = signing_key(11);
    let quorum = Quorum::all([witness_signer("w1", &key).key().clone()]).expect("a quorum");
    let added = new.add_cosignatures(answer.body.as_bytes(), &quorum).expect("cosignatures");
    assert_eq!(added[0].time(), NOW);
    assert_eq!(&stored, new.signed());
    assert!(new.require(&quorum).is_ok());
}

#[test]
fn an_unset_clock_does_not_make_a_cosignature_without_time() {
    let (log, key) = (signing_key(1), signing_key(11));
    let logs = [log_signer(&log).key().clone()];
    let witness = Witness::new(witness_signer("w1", &key), logs).expect("a witness");
    let cosigned = cosigned(witness.decide(None, &request(0, &head(3)), UnixSeconds::new(0)));
    let lines =
        parse_signature_lines(cosigned.into_answer_once_stored().body.as_bytes()).expect("lines");
    assert_eq!(lines[0].signature()[..8], 1_u64.to_be_bytes());
}

#[test]
fn the_record_keeps_no_signatures_of_strangers() {
    let mut offered = head(7).signed().to_string();
    for _ in 0..60 {
        let id = NoteKeyId::from_bytes([1; 4]);
        offered += &SignatureLine::new(name("stranger"), id, vec![1; 64]).to_string();
    }
    let checkpoint = SignedCheckpoint::parse(offered.as_bytes()).expect("a checkpoint");
    let request = AddCheckpoint::new(0, Vec::new(), checkpoint);
    let cosigned = cosigned(decide(None, &request));
    let names: Vec<_> =
        cosigned.head().note().signatures().iter().map(|line| line.name().to_string()).collect();
    assert_eq!(names, ["a.example/log", "w1"]);
}

#[test]
fn a_head_without_changes_is_cosigned_again() {
    let again = decide(Some(&head(5)), &request(5, &head(5)));
    assert_eq!(cosigned(again).into_answer_once_stored().status, 200);
}

#[test]
fn an_unknown_origin_is_404() {
    let key = signing_key(1);
    let root = model_root(&leaf_hashes(5));
    let foreign = LogSigner::new(name("b.example/log"), &key).sign(5, root).expect("a head");
    let (refusal, fork) = refused(None, &request(0, &foreign));
    assert_eq!(refusal, Refusal::UnknownOrigin { origin: name("b.example/log") });
    assert_eq!((refusal.status(), fork), (404, false));
}

#[test]
fn a_head_that_the_log_did_not_sign_is_403() {
    let stranger = signing_key(2);
    let root = model_root(&leaf_hashes(5));
    let forged = LogSigner::new(name("a.example/log"), &stranger).sign(5, root).expect("a head");
    let (refusal, fork) = refused(None, &request(0, &forged));
    assert_eq!(refusal, Refusal::NotSigned { origin: name("a.example/log") });
    assert_eq!((refusal.status(), fork), (403, false));
}

#[test]
fn one_bad_signature_of_a_trusted_key_is_403() {
    let new = head(5);
    let line = head(6).signed().note().signatures()[0].to_string();
    let note = format!("{}{line}", new.signed());
    let checkpoint = SignedCheckpoint::parse(note.as_bytes()).expect("a checkpoint");
    let (refusal, fork) = refused(None, &AddCheckpoint::new(0, Vec::new(), checkpoint));
    assert_eq!(refusal, Refusal::BadSignature { origin: name("a.example/log") });
    assert_eq!((refusal.status(), fork), (403, false));
}

#[test]
fn any_trusted_key_of_the_log_suffices() {
    let (old, new, key) = (signing_key(1), signing_key(3), signing_key(11));
    let root = model_root(&leaf_hashes(5));
    let rotated = LogSigner::new(name("a.example/log"), &new);
    let logs = [log_signer(&old).key().clone(), rotated.key().clone()];
    let witness = Witness::new(witness_signer("w1", &key), logs).expect("a witness");
    let head = rotated.sign(5, root).expect("a head");
    let decision = witness.decide(None, &request(0, &head), NOW);
    assert!(matches!(decision, Decision::Cosign(_)));
}

#[test]
fn an_old_size_above_the_new_one_is_400() {
    let (refusal, fork) = refused(Some(&head(9)), &request(9, &head(5)));
    assert_eq!(refusal, Refusal::OldSizeAboveSize { old_size: 9, size: 5 });
    assert_eq!((refusal.status(), fork), (400, false));
}

#[test]
fn an_old_size_that_is_not_the_stored_one_is_409_and_says_the_stored_one() {
    for (stored, old_size, stored_size) in
        [(Some(head(9)), 5, 9), (Some(head(9)), 0, 9), (None, 5, 0)]
    {
        let (refusal, fork) = refused(stored.as_ref(), &request(old_size, &head(12)));
        assert_eq!(refusal, Refusal::OldSizeNotStored { old_size, stored_size });
        assert!(!fork);
        let answer = refusal.answer();
        assert_eq!((answer.status, answer.content_type), (409, "text/x.tlog.size"));
        assert_eq!(answer.body, format!("{stored_size}\n"));
        assert_eq!(parse_stored_size(answer.body.as_bytes()), Some(stored_size));
    }
}

#[test]
fn a_stored_size_has_one_spelling() {
    for body in ["", "\n", "5", "05\n", "5\n\n", "5 \n", "-5\n", "4611686018427387905\n"] {
        assert_eq!(parse_stored_size(body.as_bytes()), None, "{body:?}");
    }
    assert_eq!(parse_stored_size(b"\xff\n"), None);
    assert_eq!(parse_stored_size(b"0\n"), Some(0));
}

#[test]
fn monitors_find_heads_by_the_digest_of_the_origin() {
    let path = monitoring_path(&name("abc"));
    // FIPS 180-4's example: SHA-256 of `abc`.
    assert_eq!(path, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad/checkpoint");
}

#[test]
fn size_0_with_a_root_is_422_and_evidence() {
    let text = format!("a.example/log\n0\n{}\n", TreeHash::of_entry(b"x"));
    let (refusal, fork) = refused(None, &AddCheckpoint::new(0, Vec::new(), signed_text(&text)));
    assert_eq!(refusal, Refusal::EmptyTreeRoot);
    assert_eq!((refusal.status(), fork), (422, true));
}

#[test]
fn a_proof_from_size_0_is_422() {
    let request = AddCheckpoint::new(0, hashes(1, 5), head(5).signed().clone());
    for stored in [None, Some(head(0))] {
        let (refusal, fork) = refused(stored.as_ref(), &request);
        assert_eq!(refusal, Refusal::ProofFromEmptyTree { found: 3 });
        assert_eq!((refusal.status(), fork), (422, false));
    }
}

#[test]
fn a_proof_that_fails_is_422_and_shows_nothing() {
    let stored = head(5);
    for (new, hashes) in [
        (head(9), hashes(4, 9)),
        (head(9), Vec::new()),
        (forked(9), hashes(5, 9)),
        (head(5), hashes(5, 9)),
    ] {
        let request = AddCheckpoint::new(5, hashes, new.signed().clone());
        let (refusal, fork) = refused(Some(&stored), &request);
        assert!(matches!(refusal, Refusal::Inconsistent(_)), "{refusal:?}");
        assert_eq!((refusal.status(), fork), (422, false), "anybody can send that");
    }
}

#[test]
fn equal_sizes_with_unequal_roots_are_422_and_evidence() {
    let request = AddCheckpoint::new(5, Vec::new(), forked(5).signed().clone());
    let (refusal, fork) = refused(Some(&head(5)), &request);
    assert_eq!(refusal, Refusal::EqualSizesUnequalRoots { size: 5 });
    assert_eq!((refusal.status(), fork), (422, true));
}

#[test]
fn a_fork_is_kept_without_what_a_stranger_attached() {
    let forked_head = forked(5);
    let text = forked_head.signed().to_string();
    let stranger_key = signing_key(77);
    let stranger = witness_signer("stranger", &stranger_key);
    let line = stranger.cosign_text(forked_head.signed().note().text(), UnixSeconds::new(7));
    let offered = format!("{text}{}\n", line.to_string().trim_end());
    let offered = SignedCheckpoint::parse(offered.as_bytes()).unwrap();
    let request = AddCheckpoint::new(5, Vec::new(), offered);
    let Decision::Refuse { fork: Some(fork), .. } = decide(Some(&head(5)), &request) else {
        panic!("no fork");
    };
    assert_eq!(&fork.offered, forked_head.signed());
    assert_eq!(fork.stored.as_ref(), Some(head(5).signed()));
}

#[test]
fn a_fork_is_kept_even_if_the_request_fails_earlier() {
    // The log says a wrong old size, but shows another root for the size cosigned last.
    let request = AddCheckpoint::new(3, hashes(3, 5), forked(5).signed().clone());
    let (refusal, fork) = refused(Some(&head(5)), &request);
    assert_eq!(refusal, Refusal::OldSizeNotStored { old_size: 3, stored_size: 5 });
    assert!(fork);
}

#[test]
fn a_witness_does_not_witness_its_own_log() {
    let key = signing_key(1);
    let own = Witness::new(witness_signer("w1", &key), [log_signer(&key).key().clone()]);
    assert_eq!(own.map(|_| ()), Err(WitnessError::OwnLog { log: name("a.example/log") }));
}

#[test]
fn malformed_requests_are_400_with_the_place() {
    let good = request(5, &head(9)).to_string();
    let parse = |body: &str| AddCheckpoint::parse(body.as_bytes()).map(|_| ());
    assert_eq!(parse(&good), Ok(()));
    for line in [
        "old 05\n",
        "old -5\n",
        "old  5\n",
        "Old 5\n",
        "old 5 \n",
        "old\n",
        "old 4611686018427387905\n",
    ] {
        assert_eq!(
            parse(&good.replacen("old 5\n", line, 1)),
            Err(RequestError::OldSize),
            "{line:?}"
        );
    }
    assert_eq!(parse(""), Err(RequestError::OldSize));
    let not_a_hash = HashLines::NotAHash { position: 0 };
    assert_eq!(parse(&good.replacen('\n', "\nx\n", 1)), Err(RequestError::Proof(not_a_hash)));
    assert_eq!(parse("old 5\n"), Err(RequestError::Proof(HashLines::NoBlankLine)));
    let hash = TreeHash::of_entry(b"x");
    let many = format!("old 5\n{}\n{}", format!("{hash}\n").repeat(64), head(9).signed());
    assert_eq!(parse(&many), Err(RequestError::Proof(HashLines::TooMany { limit: 63 })));
    let most = format!("old 5\n{}\n{}", format!("{hash}\n").repeat(63), head(9).signed());
    assert_eq!(parse(&most), Ok(()));
    let refused = parse(good.trim_end()).expect_err("refused");
    let expected = CheckpointError::Note(NoteError::UnfinishedSignature);
    assert_eq!(refused, RequestError::Checkpoint(expected));
    assert_eq!(AddCheckpoint::parse(b"old 5\n\xff"), Err(RequestError::NotUtf8 { position: 6 }));
    let found = MAX_REQUEST_BYTES + 1;
    assert_eq!(AddCheckpoint::parse(&vec![b'\n'; found]), Err(RequestError::TooLarge { found }));

    let answer = Refusal::from(RequestError::OldSize).answer();
    assert_eq!((answer.status, answer.body.as_str()), (400, "the request is malformed\n"));
}

proptest! {
    #![proptest_config(crate::testing::seeded())]

    #[test]
    fn requests_round_trip(old_size in 0..=SIZES, new_size in 0..=SIZES) {
        let request = request(old_size.min(new_size), &head(new_size));
        prop_assert_eq!(AddCheckpoint::parse(request.to_string().as_bytes()), Ok(request));
    }

    #[test]
    fn no_body_makes_the_parser_panic(body in "(old |[0-9]|\n|[A-Za-z/+=]{1,44}|\u{2014} ){0,60}") {
        let _ = AddCheckpoint::parse(body.as_bytes());
    }

    /// Whatever is asked for in whatever order, the record only ever grows along one history.
    #[test]
    fn the_record_never_rolls_back_nor_forks(
        steps in prop::collection::vec((0..=SIZES, 0..=SIZES, any::<bool>()), 1..12),
    ) {
        let mut stored: Option<SignedCheckpoint> = None;
        let (log, key) = (signing_key(1), signing_key(11));
        let logs = [log_signer(&log).key().clone()];
        let witness = Witness::new(witness_signer("w1", &key), logs).expect("a witness");
        for (old_size, new_size, honest) in steps {
            let new = if honest || new_size == 0 { head(new_size) } else { forked(new_size) };
            let asked = request(old_size, &new);
            let known = stored.as_ref().map_or(0, |stored| stored.unverified().size());
            // The first head is taken on trust; after that only the honest history goes on.
            if let Decision::Cosign(cosigned) = witness.decide(stored.as_ref(), &asked, NOW) {
                prop_assert!(new_size >= known);
                if let Some(stored) = stored.filter(|stored| stored.unverified().size() > 0) {
                    let was_honest = *stored.unverified().root() == *head(known).root();
                    prop_assert!(was_honest == honest || new_size == 0);
                }
                stored = Some(cosigned.head().clone());
            }
        }
    }
}
