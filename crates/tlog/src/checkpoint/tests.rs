use proptest::prelude::*;

use super::*;
use crate::key::WitnessKey;
use crate::note::NoteKeyId;
use crate::testing::{NOW, log_signer, name, signing_key, witness_key, witness_signer};
use cordon_types::UnixSeconds;

/// A head of a public staging log with the cosignatures of four public witnesses. The log's first
/// signature is of type 05, which nobody here knows.
const PUBLIC_HEAD: &str = "arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

\u{2014} arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
\u{2014} arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
\u{2014} transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
\u{2014} witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
\u{2014} remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
\u{2014} witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
";
const PUBLIC_LOG: &str =
    "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f";
const PUBLIC_WITNESSES: [&str; 4] = [
    "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
];

fn root() -> TreeHash {
    TreeHash::of_entry(b"root")
}

fn head(size: u64, root: TreeHash) -> VerifiedCheckpoint {
    log_signer(&signing_key(1)).sign(size, root).expect("a head")
}

fn log_key() -> LogKey {
    log_signer(&signing_key(1)).key().clone()
}

/// The cosignature line of a witness over the head's text.
fn cosignature(head: &VerifiedCheckpoint, witness: &str, seed: u8, time: u64) -> String {
    let key = signing_key(seed);
    let text = head.signed().note().text();
    witness_signer(witness, &key).cosign_text(text, UnixSeconds::new(time)).to_string()
}

fn with_lines(head: &VerifiedCheckpoint, lines: &[String]) -> VerifiedCheckpoint {
    let note = format!("{}{}", head.signed(), lines.concat());
    SignedCheckpoint::parse(note.as_bytes()).expect("a note").verify(&log_key()).expect("signed")
}

fn quorum(threshold: usize) -> Quorum {
    Quorum::at_least(threshold, [witness_key("w1", 11), witness_key("w2", 12)]).expect("a quorum")
}

#[test]
fn a_head_of_a_public_log_is_verified_and_its_public_witnesses_are_counted() {
    let signed = SignedCheckpoint::parse(PUBLIC_HEAD.as_bytes()).expect("a checkpoint");
    assert_eq!(signed.to_string(), PUBLIC_HEAD);
    let verified = signed.verify(&PUBLIC_LOG.parse().expect("a vkey")).expect("signed by its log");
    assert_eq!(verified.size(), 1_432_088_532);
    let keys = PUBLIC_WITNESSES.map(|vkey| vkey.parse::<WitnessKey>().expect("a vkey"));
    let cosigned =
        verified.require(&Quorum::all(keys).expect("a quorum")).expect("cosigned by all");
    let times: Vec<u64> =
        cosigned.cosigned_by().iter().map(|cosigner| cosigner.time().get()).collect();
    assert_eq!(times, [0x6a12_2120; 4]);
}

#[test]
fn signing_writes_a_checkpoint_that_parses_and_verifies() {
    let head = head(5, root());
    assert_eq!(head.signed().unverified().to_string(), format!("a.example/log\n5\n{}\n", root()));
    let parsed =
        SignedCheckpoint::parse(head.signed().to_string().as_bytes()).expect("a checkpoint");
    assert_eq!(parsed.verify(&log_key()), Ok(head));
}

#[test]
fn a_signature_made_elsewhere_is_attached() {
    let key = signing_key(1);
    let checkpoint = Checkpoint::new(name("a.example/log"), 5, root()).expect("a checkpoint");
    let signature = key.sign(checkpoint.to_string().as_bytes());
    let signed = checkpoint.with_signature(log_key().signature_line(&signature)).expect("fits");
    assert_eq!(signed.verify(&log_key()), Ok(head(5, root())));
}

#[test]
fn malformed_checkpoints_are_refused_by_line() {
    let parse = |text: &str| {
        let mut note = Note::new(text.to_owned()).expect("a text");
        note.push(log_signer(&signing_key(1)).sign_text(text)).expect("room");
        SignedCheckpoint::parse(note.to_string().as_bytes())
            .map(|signed| signed.unverified().clone())
    };
    let root = root();
    assert!(parse(&format!("a.example/log\n5\n{root}\n")).is_ok());
    assert_eq!(parse("\n"), Err(CheckpointError::TooFewLines { found: 1 }));
    assert_eq!(parse("a.example/log\n5\n"), Err(CheckpointError::TooFewLines { found: 2 }));
    for origin in ["", "a b", "a+b", "a\u{a0}b"] {
        assert_eq!(parse(&format!("{origin}\n5\n{root}\n")), Err(CheckpointError::Origin));
    }
    for size in ["", "05", "-5", "5 ", "0x5", "4611686018427387905"] {
        assert_eq!(parse(&format!("x\n{size}\n{root}\n")), Err(CheckpointError::Size), "{size}");
    }
    assert!(parse(&format!("x\n4611686018427387904\n{root}\n")).is_ok());
    for bad in ["", "AAAA", &format!("{root} "), &format!("{root}=")] {
        assert_eq!(parse(&format!("x\n5\n{bad}\n")), Err(CheckpointError::Root), "{bad}");
    }
    let extended = parse(&format!("x\n5\n{root}\none\ntwo\n")).expect("extended");
    assert_eq!(extended.extensions(), ["one", "two"]);
    let refused = parse(&format!("x\n5\n{root}\none\n\ntwo\n"));
    assert_eq!(refused, Err(CheckpointError::EmptyExtension { line: 5 }));
}

#[test]
fn extension_lines_are_signed_and_cosigned() {
    let text = format!("a.example/log\n5\n{}\nextension\n", root());
    let (log, witness) = (signing_key(1), signing_key(11));
    let mut note = Note::new(text.clone()).expect("a text");
    note.push(log_signer(&log).sign_text(&text)).expect("room");
    note.push(witness_signer("w1", &witness).cosign_text(&text, NOW)).expect("room");
    let verify = |note: &str| -> Result<_, Box<dyn std::error::Error>> {
        let quorum = Quorum::all([witness_key("w1", 11)])?;
        Ok(SignedCheckpoint::parse(note.as_bytes())?.verify(&log_key())?.require(&quorum)?)
    };
    assert!(verify(&note.to_string()).is_ok());
    assert!(verify(&note.to_string().replace("extension", "extensiom")).is_err());
}

#[test]
fn a_checkpoint_of_another_log_is_refused() {
    let other = LogKey::new(name("b.example/log"), *log_key().public());
    let refused = head(5, root()).signed().verify(&other);
    let (expected, found) = (name("b.example/log"), name("a.example/log"));
    assert_eq!(refused, Err(CheckpointError::OtherOrigin { expected, found }));
}

#[test]
fn a_checkpoint_by_another_key_is_refused() {
    let other = LogKey::new(name("a.example/log"), signing_key(2).verifying_key());
    let refused = head(5, root()).signed().verify(&other);
    assert_eq!(
        refused,
        Err(CheckpointError::Note(NoteError::NotSigned { name: name("a.example/log") }))
    );
}

#[test]
fn the_empty_tree_has_one_root_only() {
    let signer = signing_key(1);
    let signer = log_signer(&signer);
    assert_eq!(signer.sign(0, root()), Err(CheckpointError::EmptyTreeRoot));
    assert_eq!(signer.sign(u64::MAX, root()), Err(CheckpointError::Size));
    let empty = signer.sign(0, TreeHash::of_empty_tree()).expect("an empty log");
    assert_eq!(empty.signed().verify(&log_key()), Ok(empty.clone()));

    let text = format!("a.example/log\n0\n{}\n", root());
    let mut note = Note::new(text.clone()).expect("a text");
    note.push(signer.sign_text(&text)).expect("room");
    let signed = SignedCheckpoint::parse(note.to_string().as_bytes()).expect("parses");
    assert_eq!(signed.verify(&log_key()), Err(CheckpointError::EmptyTreeRoot));
}

#[test]
fn a_quorum_of_cosignatures_is_counted_by_witness() {
    let head = head(5, root());
    let (w1, w2) = (cosignature(&head, "w1", 11, 100), cosignature(&head, "w2", 12, 200));
    let again = cosignature(&head, "w1", 11, 300);
    let stranger = cosignature(&head, "w3", 13, 100);
    let not_met = |found, needed| Err(QuorumError::NotMet { found, needed });
    let require = |lines: &[&String], threshold| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).clone()).collect();
        let cosigned = with_lines(&head, &lines).require(&quorum(threshold))?;
        Ok(cosigned
            .cosigned_by()
            .iter()
            .map(|cosigner| (cosigner.name().to_string(), cosigner.time().get()))
            .collect::<Vec<_>>())
    };
    assert_eq!(require(&[&w1, &w2], 2), Ok(vec![("w1".into(), 100), ("w2".into(), 200)]));
    assert_eq!(require(&[&w2], 1), Ok(vec![("w2".into(), 200)]));
    assert_eq!(require(&[], 1), not_met(0, 1));
    assert_eq!(require(&[&w1], 2), not_met(1, 2));
    assert_eq!(require(&[&w1, &stranger], 2), not_met(1, 2));
    assert_eq!(require(&[&w1, &again], 2), not_met(1, 2));
    assert_eq!(require(&[&again, &w1], 1), Ok(vec![("w1".into(), 300)]));
    assert!(
        head.require(&Quorum::dangerous_development_none()).expect("none").cosigned_by().is_empty()
    );
}

#[test]
fn a_cosignature_of_another_head_spoils_the_note() {
    let (first, second) = (head(5, root()), head(6, root()));
    let foreign = cosignature(&first, "w1", 11, 100);
    let own = cosignature(&second, "w2", 12, 100);
    let refused = with_lines(&second, &[own, foreign]).require(&quorum(1));
    let expected = CosignatureError::Mismatch { name: name("w1") };
    assert_eq!(refused, Err(QuorumError::Cosignature(expected)));
}

#[test]
fn malformed_cosignatures_of_known_witnesses_are_refused() {
    let head = head(5, root());
    let key = witness_key("w1", 11);
    let require = |signature: Vec<u8>| {
        let line = SignatureLine::new(key.name().clone(), key.id(), signature).to_string();
        let refused = with_lines(&head, &[line]).require(&quorum(1)).expect_err("refused");
        let QuorumError::Cosignature(error) = refused else { panic!("{refused:?}") };
        error
    };
    let length = |found| CosignatureError::Length { name: name("w1"), found };
    for found in [1, 8, 64, 71, 73] {
        assert_eq!(require(vec![1; found]), length(found));
    }
    let at = |time: u64| {
        let message = format!("cosignature/v1\ntime {time}\n{}", head.signed().note().text());
        let signature = signing_key(11).sign(message.as_bytes());
        require([time.to_be_bytes().as_slice(), signature.as_bytes()].concat())
    };
    for time in [0, 1 << 53, u64::MAX] {
        assert_eq!(at(time), CosignatureError::Time { name: name("w1"), time });
    }
}

#[test]
fn the_time_is_part_of_what_a_witness_signs() {
    let head = head(5, root());
    let text = head.signed().note().text();
    let key = signing_key(11);
    let honest = witness_signer("w1", &key).cosign_text(text, NOW);
    assert!(cosignature::verify(&honest, &witness_key("w1", 11), text).is_ok());
    let mut later = honest.signature().to_vec();
    later[7] ^= 1;
    let later = SignatureLine::new(honest.name().clone(), honest.key_id(), later);
    let refused = cosignature::verify(&later, &witness_key("w1", 11), text);
    assert_eq!(refused, Err(CosignatureError::Mismatch { name: name("w1") }));
    let other = cosignature::verify(&honest, &witness_key("w2", 12), text);
    let (expected, found) = (name("w2"), name("w1"));
    assert_eq!(other, Err(CosignatureError::OtherKey { expected, found }));
}

#[test]
fn the_signature_of_a_log_is_no_cosignature() {
    // The witness signs the bare text, as a log would, under its cosigner's name and id.
    let head = head(5, root());
    let key = witness_key("w1", 11);
    let signature = signing_key(11).sign(head.signed().note().text().as_bytes());
    let bytes = [1_u64.to_be_bytes().as_slice(), signature.as_bytes()].concat();
    let line = SignatureLine::new(key.name().clone(), key.id(), bytes).to_string();
    let refused = with_lines(&head, &[line]).require(&quorum(1));
    assert!(matches!(refused, Err(QuorumError::Cosignature(CosignatureError::Mismatch { .. }))));
}

#[test]
fn a_log_is_not_its_own_witness() {
    let head = head(5, root());
    let line = cosignature(&head, "w1", 1, 100);
    let refused =
        with_lines(&head, &[line]).require(&Quorum::all([witness_key("w1", 1)]).expect("one"));
    assert_eq!(refused, Err(QuorumError::LogIsWitness { log: name("a.example/log") }));
}

#[test]
fn answers_of_witnesses_are_added_once_verified() {
    let fresh = head(5, root());
    let mut head = fresh.clone();
    let (w1, w2) = (cosignature(&head, "w1", 11, 100), cosignature(&head, "w2", 12, 200));
    let stranger = cosignature(&head, "w3", 13, 100);
    let names = |added: Vec<Cosigner>| -> Vec<_> {
        added.iter().map(|cosigner| cosigner.name().to_string()).collect()
    };
    let added = head.add_cosignatures(format!("{w1}{stranger}").as_bytes(), &quorum(2));
    assert_eq!(added.map(names), Ok(vec!["w1".into()]));
    assert_eq!(head.signed().note().signatures().len(), 2);
    assert_eq!(head.add_cosignatures(w2.as_bytes(), &quorum(2)).map(names), Ok(vec!["w2".into()]));
    assert!(head.clone().require(&quorum(2)).is_ok());

    let (older, newer) = (cosignature(&head, "w1", 11, 99), cosignature(&head, "w1", 11, 101));
    assert_eq!(head.add_cosignatures(older.as_bytes(), &quorum(2)).map(names), Ok(vec![]));
    assert_eq!(
        head.add_cosignatures(newer.as_bytes(), &quorum(2)).map(names),
        Ok(vec!["w1".into()])
    );
    assert_eq!(head.signed().note().signatures().len(), 3);

    let mut unchanged = fresh.clone();
    let foreign = cosignature(&self::head(6, root()), "w2", 12, 100);
    let refused = unchanged.add_cosignatures(format!("{w1}{foreign}").as_bytes(), &quorum(2));
    let expected = CosignatureError::Mismatch { name: name("w2") };
    assert_eq!(refused, Err(AddCosignatureError::Cosignature(expected)));
    let refused = unchanged.add_cosignatures(b"", &quorum(2));
    assert_eq!(refused, Err(AddCosignatureError::Note(NoteError::NoSignatures)));
    assert_eq!(unchanged, fresh);
}

#[test]
fn heads_of_one_log_compare_by_size_and_root() {
    let own = head(5, root());
    let other_root = TreeHash::of_entry(b"other");
    assert_eq!(own.compare(&head(5, root())), Some(HeadOrder::Same));
    assert_eq!(own.compare(&head(4, other_root)), Some(HeadOrder::OtherIsOlder));
    assert_eq!(own.compare(&head(6, other_root)), Some(HeadOrder::OtherIsNewer));
    assert_eq!(own.compare(&head(5, other_root)), Some(HeadOrder::Forked));
    let key = signing_key(1);
    let foreign = LogSigner::new(name("b.example/log"), &key).sign(5, root()).expect("a head");
    assert_eq!(own.compare(&foreign), None);
}

#[test]
fn a_line_that_names_the_witness_with_another_id_does_not_count() {
    let head = head(5, root());
    let key = signing_key(11);
    let honest = witness_signer("w1", &key).cosign_text(head.signed().note().text(), NOW);
    let id = NoteKeyId::from_bytes([0; 4]);
    let renamed = SignatureLine::new(honest.name().clone(), id, honest.signature().to_vec());
    let refused = with_lines(&head, &[renamed.to_string()]).require(&quorum(1));
    assert_eq!(refused, Err(QuorumError::NotMet { found: 0, needed: 1 }));
}

proptest! {
    #![proptest_config(crate::testing::seeded())]

    #[test]
    fn checkpoints_round_trip(size in 1..=MAX_TREE_SIZE, bytes in any::<[u8; 32]>()) {
        let head = head(size, TreeHash::from_bytes(bytes));
        let parsed = SignedCheckpoint::parse(head.signed().to_string().as_bytes()).expect("parses");
        prop_assert_eq!(&parsed, head.signed());
        prop_assert_eq!(parsed.verify(&log_key()), Ok(head));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[ -~\u{2014}\n]{0,200}") {
        let _ = SignedCheckpoint::parse(text.as_bytes());
    }
}
