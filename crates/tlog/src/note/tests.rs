use cordon_crypto::VerifyingKey;
use proptest::prelude::*;

use super::*;
use crate::key::LogSigner;
use crate::testing::{log_signer, name, signing_key};

/// The example of Go's `sumdb/note` package, whose private key is published with it.
const GO_VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_SEED: &str = "810a1402d5146c8d84f2443330f54080ebf98ee17d9c74f6252fc5d5c7283173";
const GO_TEXT: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n";
const GO_SIGNATURE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2p\
    ZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn signed(text: &str) -> Note {
    let key = signing_key(1);
    let mut note = Note::new(text.to_owned()).expect("a text");
    note.push(log_signer(&key).sign_text(text)).expect("room");
    note
}

fn key() -> LogKey {
    let key = signing_key(1);
    log_signer(&key).key().clone()
}

#[test]
fn the_example_of_go_verifies() {
    let note = format!("{GO_TEXT}\n{GO_SIGNATURE}");
    let parsed = Note::parse(note.as_bytes()).expect("a note");
    let key: LogKey = GO_VKEY.parse().expect("a vkey");
    assert_eq!(parsed.verify(&key), Ok(GO_TEXT));
    assert_eq!(parsed.to_string(), note);
}

#[test]
fn the_example_of_the_specification_verifies() {
    let note = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1\
        YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    let key: LogKey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
        .parse()
        .expect("a vkey");
    let parsed = Note::parse(note.as_bytes()).expect("a note");
    assert_eq!(parsed.verify(&key), Ok("This is an example message.\n"));
}

#[test]
fn signing_with_the_published_key_gives_the_published_note() {
    let seed = hex::decode_array(GO_SEED).expect("hex");
    let private = cordon_crypto::SigningKey::from_seed(cordon_types::Secret::from_bytes(seed));
    let signer = LogSigner::new(name("PeterNeumann"), &private);
    assert_eq!(signer.key().to_string(), GO_VKEY);
    assert_eq!(signer.sign_text(GO_TEXT).to_string(), GO_SIGNATURE);
}

#[test]
fn the_text_ends_at_the_last_blank_line() {
    for text in ["\n", "\n\n", "a\n\nb\n", "a\n\n", "a\n\n\u{2014} x y\n"] {
        let note = signed(text);
        let parsed = Note::parse(note.to_string().as_bytes()).expect("a note");
        assert_eq!(parsed, note);
        assert_eq!(parsed.verify(&key()), Ok(text));
    }
}

#[test]
fn signatures_by_unknown_keys_are_ignored_even_with_a_known_name_or_id() {
    let known = key();
    let line = |name: &KeyName, id: NoteKeyId| SignatureLine::new(name.clone(), id, vec![0; 64]);
    let other_id = NoteKeyId::from_bytes([1, 2, 3, 4]);
    let mut note = signed("text\n");
    note.push(line(known.name(), other_id)).expect("room");
    note.push(line(&name("b.example/log"), known.id())).expect("room");
    assert_eq!(note.verify(&known), Ok("text\n"));

    let mut unsigned = Note::new("text\n".into()).expect("a text");
    unsigned.push(line(known.name(), other_id)).expect("room");
    let refused = Err(NoteError::NotSigned { name: known.name().clone() });
    assert_eq!(unsigned.verify(&known), refused);
}

#[test]
fn one_bad_signature_by_a_known_key_spoils_the_note() {
    let known = key();
    let bad = Err(NoteError::BadSignature { name: known.name().clone() });
    for signature in [vec![0; 64], vec![0; 63], vec![0; 72], vec![0]] {
        let mut note = signed("text\n");
        note.push(SignatureLine::new(known.name().clone(), known.id(), signature)).expect("room");
        assert_eq!(note.verify(&known), bad);
    }
    let line = signed("another text\n").signatures()[0].clone();
    let mut note = Note::new("text\n".into()).expect("a text");
    note.push(line).expect("room");
    assert_eq!(note.verify(&known), bad);
}

#[test]
fn a_key_of_another_name_is_another_key() {
    let renamed = LogKey::new(name("b.example/log"), *key().public());
    assert_ne!(renamed.id(), key().id());
    let refused = Err(NoteError::NotSigned { name: renamed.name().clone() });
    assert_eq!(signed("text\n").verify(&renamed), refused);
    let other = LogKey::new(key().name().clone(), VerifyingKey::from_bytes([9; 32]));
    assert!(matches!(signed("text\n").verify(&other), Err(NoteError::NotSigned { .. })));
}

#[test]
fn malformed_notes_are_refused_with_the_place() {
    let good = signed("text\n").to_string();
    let (text, line) = good.split_once("\n\n").expect("a blank line");
    let parse = |note: &str| Note::parse(note.as_bytes()).map(|_| ());
    assert_eq!(parse(&good), Ok(()));
    assert_eq!(Note::parse(b"a\xff"), Err(NoteError::NotUtf8 { position: 1 }));
    assert_eq!(
        parse(&good.replace("text", "te\txt")),
        Err(NoteError::ControlCharacter { position: 2 })
    );
    assert_eq!(
        parse(&good.replace('\n', "\r\n")),
        Err(NoteError::ControlCharacter { position: 4 })
    );
    assert_eq!(parse(&format!("{text}\n{line}")), Err(NoteError::NoBlankLine));
    assert_eq!(parse(""), Err(NoteError::NoBlankLine));
    assert_eq!(parse(&format!("{text}\n\n")), Err(NoteError::NoSignatures));
    assert_eq!(parse(good.trim_end()), Err(NoteError::UnfinishedSignature));
    let bad_line = |position| Err(NoteError::SignatureLine { position });
    for line in [
        "- a.example/log AAAAAAAA",
        "\u{2014} a.example/log",
        "\u{2014} a.example/log ",
        "\u{2014}  a.example/log AAAAAAAA",
        "\u{2014} a.example/log  AAAAAAAA",
        "\u{2014} a.example/log AAAAAAAA ",
        "\u{2014} a+b AAAAAAAA",
        "\u{2014} a\u{a0}b AAAAAAAA",
        "\u{2014} a.example/log AAAAA",
        "\u{2014} a.example/log AAAAAA",
        "\u{2014} a.example/log AAAAAB==",
        "\u{2014} a.example/log AAAAAA==",
    ] {
        assert_eq!(parse(&format!("{good}{line}\n")), bad_line(1), "{line}");
    }
    assert_eq!(Note::new("text".into()), Err(NoteError::UnfinishedText));
    assert_eq!(Note::new("a\0\n".into()), Err(NoteError::ControlCharacter { position: 1 }));
}

#[test]
fn notes_and_signatures_have_limits() {
    let line = SignatureLine::new(name("x"), NoteKeyId::from_bytes([0; 4]), vec![1]);
    let with = |count: usize| format!("text\n\n{}", line.to_string().repeat(count));
    let parsed = Note::parse(with(MAX_SIGNATURES).as_bytes());
    assert_eq!(parsed.as_ref().map(|note| note.signatures().len()), Ok(MAX_SIGNATURES));
    let full = parsed.expect("a note").push(line.clone());
    assert_eq!(full, Err(NoteError::TooManySignatures));
    assert_eq!(Note::parse(with(MAX_SIGNATURES + 1).as_bytes()), Err(NoteError::TooManySignatures));

    let huge = vec![b'\n'; MAX_NOTE_BYTES + 1];
    assert_eq!(Note::parse(&huge), Err(NoteError::TooLarge { found: MAX_NOTE_BYTES + 1 }));
    let mut largest = Note::new("x".repeat(MAX_NOTE_BYTES - 1) + "\n").expect("fits");
    assert!(matches!(largest.push(line), Err(NoteError::TooLarge { .. })));
}

#[test]
fn key_names_have_no_spaces_controls_or_plus() {
    for text in ["a", "a.example/log", "é", &"x".repeat(255)] {
        assert_eq!(text.parse::<KeyName>().map(|name| name.to_string()), Ok(text.to_owned()));
    }
    for text in [
        "",
        "a b",
        "a+b",
        "a\nb",
        "a\tb",
        "a\u{85}b",
        "a\u{2028}b",
        "a\u{3000}b",
        "a\0",
        &"x".repeat(256),
    ] {
        assert_eq!(text.parse::<KeyName>(), Err(KeyNameError), "{text:?}");
    }
}

fn any_note() -> impl Strategy<Value = Note> {
    let line = ("[a-zé./0-9-]{1,20}", any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 1..90))
        .prop_map(|(text, id, signature)| {
            SignatureLine::new(name(&text), NoteKeyId::from_bytes(id), signature)
        });
    ("([ -~é\u{2014}]{0,9}\n){1,5}", prop::collection::vec(line, 1..6)).prop_map(|(text, lines)| {
        let mut note = Note::new(text).expect("a text");
        lines.into_iter().for_each(|line| note.push(line).expect("room"));
        note
    })
}

proptest! {
    #![proptest_config(crate::testing::seeded())]

    #[test]
    fn notes_round_trip(note in any_note()) {
        prop_assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note));
    }

    #[test]
    fn only_canonical_notes_parse(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 0_usize..200, note in any_note()) {
        let text = note.to_string().into_bytes();
        let at = cut.min(text.len());
        let mut spliced = text[..at].to_vec();
        spliced.extend_from_slice(&bytes);
        spliced.extend_from_slice(&text[at..]);
        if let Ok(parsed) = Note::parse(&spliced) {
            prop_assert_eq!(parsed.to_string().into_bytes(), spliced);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "(.|\n|\u{2014} ){0,80}") {
        let _ = Note::parse(&bytes);
        let _ = Note::parse(text.as_bytes());
        let _ = parse_signature_lines(text.as_bytes());
    }

    #[test]
    fn a_changed_text_does_not_verify(text in "([a-z]{1,9}\n){1,3}", at in any::<prop::sample::Index>()) {
        let note = signed(&text);
        let mut changed = text.into_bytes();
        let at = at.index(changed.len());
        changed[at] = if changed[at] == b'\n' { b'-' } else { b'\n' };
        changed.push(b'\n');
        let mut forged = Note::new(String::from_utf8(changed).expect("ascii")).expect("a text");
        forged.push(note.signatures()[0].clone()).expect("room");
        prop_assert!(forged.verify(&key()).is_err());
    }
}
