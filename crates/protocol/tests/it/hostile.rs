//! Bytes from outside: whatever they are, a reader neither panics nor takes a second spelling.

use std::cell::Cell;

use cordon_crypto::canonical::CanonicalError;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::format::{Format, framed};
use crate::json::Json;
use crate::samples;

/// Numbers that are none of ours, or another spelling of one.
const BAD_NUMBERS: [&str; 16] = [
    "1e3",
    "1E0",
    "1.0",
    "1.5",
    "-0",
    "01",
    "+1",
    "0x1",
    "NaN",
    "9007199254740992",
    "-9007199254740992",
    "18446744073709551616",
    "9223372036854775808",
    "1e400",
    "\"1\"",
    "null",
];

/// Deeper than any parser's stack.
const DEPTH: usize = 200_000;

/// Reads as document and as frame: no panic, and only canonical bytes are a document.
fn check(format: &Format, bytes: &[u8]) -> bool {
    if let Ok(again) = (format.read)(&framed(bytes)) {
        let twice = (format.read)(&framed(&again)).expect("what was written reads");
        assert_eq!(again, twice, "{}", format.name);
    }
    match (format.decode)(bytes, format.limit) {
        Ok(again) => {
            assert_eq!(again, bytes, "{} takes a second spelling", format.name);
            true
        }
        Err(_) => false,
    }
}

fn refused(format: &Format, bytes: &[u8]) {
    let shown = || String::from_utf8_lossy(bytes).chars().take(300).collect::<String>();
    assert!(!check(format, bytes), "{} takes {}", format.name, shown());
}

#[test]
fn unknown_members_are_refused_wherever_they_stand() {
    for format in samples::all() {
        let golden = Json::parse(&format.bytes);
        for (index, node) in golden.nodes().into_iter().enumerate() {
            if !matches!(node, Json::Object(_)) {
                continue;
            }
            for name in ["", "0", "V", "zzz"] {
                let unknown = golden.with(index, |node| {
                    if let Json::Object(members) = node {
                        members.push((name.into(), Json::Raw("null".into())));
                        members.sort_by(|(a, _), (b, _)| a.cmp(b));
                    }
                });
                refused(&format, unknown.text().as_bytes());
                assert!((format.read)(&framed(unknown.text().as_bytes())).is_err());
            }
        }
    }
}

#[test]
fn a_member_that_is_missing_doubled_or_elsewhere_is_refused() {
    for format in samples::all() {
        let golden = Json::parse(&format.bytes);
        for (index, node) in golden.nodes().into_iter().enumerate() {
            let Json::Object(members) = node else { continue };
            for at in 0..members.len() {
                let edit = |edit: &dyn Fn(&mut Vec<(String, Json)>)| {
                    let edited = golden.with(index, |node| {
                        if let Json::Object(members) = node {
                            edit(members);
                        }
                    });
                    edited.text().into_bytes()
                };
                refused(&format, &edit(&|m| m.insert(at, m[at].clone())));
                if at > 0 {
                    refused(&format, &edit(&|m| m.swap(0, at)));
                }
                // Without it may be another document, but never this one.
                let without = edit(&|m| drop(m.remove(at)));
                check(&format, &without);
                assert!(!(format.is_sample)(&without));
            }
        }
    }
}

#[test]
fn another_version_is_refused() {
    for format in samples::all() {
        let golden = Json::parse(&format.bytes);
        let nodes = golden.nodes();
        let versioned = nodes.iter().enumerate().filter(|(_, node)| {
            matches!(node, Json::Object(members) if members.iter().any(|(name, _)| name == "v"))
        });
        for (index, _) in versioned {
            for version in
                ["0", "2", "-1", "1.0", "1e0", "255", "257", "\"1\"", "true", "null", "[1]"]
            {
                let other = golden.with(index, |node| {
                    if let Json::Object(members) = node {
                        for (_, value) in members.iter_mut().filter(|(name, _)| name == "v") {
                            *value = Json::Raw(version.into());
                        }
                    }
                });
                refused(&format, other.text().as_bytes());
                assert!((format.read)(&framed(other.text().as_bytes())).is_err());
            }
        }
        let says_version =
            matches!(&golden, Json::Object(members) if members.iter().any(|m| m.0 == "v"));
        assert!(says_version || format.signing.is_none(), "{} has no version", format.name);
    }
}

#[test]
fn an_unknown_variant_is_refused() {
    for format in samples::all().into_iter().filter(|f| f.signing.is_none() && f.name.contains('.'))
    {
        let variant = format.name.split('.').nth(1).expect("a variant").to_owned();
        let text = String::from_utf8(format.bytes.clone()).expect("UTF-8");
        for other in ["", "unknown", &variant.to_uppercase(), &format!("{variant}_")] {
            let renamed = text.replacen(&format!("\"{variant}\""), &format!("\"{other}\""), 1);
            assert_ne!(renamed, text);
            refused(&format, renamed.as_bytes());
            assert!((format.read)(&framed(renamed.as_bytes())).is_err());
        }
        // Two variants at once are none.
        if let Some(rest) = text.strip_prefix('{') {
            refused(&format, format!("{{\"{variant}\":null,{rest}").as_bytes());
        }
    }
}

#[test]
fn a_number_has_one_spelling_and_is_below_two_to_the_53() {
    for format in samples::all() {
        let golden = Json::parse(&format.bytes);
        for (index, node) in golden.nodes().into_iter().enumerate() {
            if !node.is_number() {
                continue;
            }
            for number in BAD_NUMBERS {
                let other = golden.with(index, |node| *node = Json::Raw(number.into()));
                refused(&format, other.text().as_bytes());
            }
        }
    }
}

#[test]
fn a_string_has_one_spelling() {
    for format in samples::all() {
        let golden = Json::parse(&format.bytes);
        for (index, node) in golden.nodes().into_iter().enumerate() {
            let Json::Raw(text) = node else { continue };
            if !node.is_string() {
                continue;
            }
            let inner = text.get(1..).unwrap_or_default();
            if let Some(first) = inner.chars().next().filter(char::is_ascii_alphanumeric) {
                let escaped = format!("\"\\u{:04x}{}", u32::from(first), &inner[1..]);
                let other = golden.with(index, |node| *node = Json::Raw(escaped.clone()));
                refused(&format, other.text().as_bytes());
            }
            for bad in
                [format!("\"\\ud800{inner}"), format!("\"\\x{inner}"), format!("\"\n{inner}")]
            {
                let other = golden.with(index, |node| *node = Json::Raw(bad.clone()));
                refused(&format, other.text().as_bytes());
            }
        }
    }
}

#[test]
fn white_space_and_bytes_around_are_refused() {
    for format in samples::all() {
        let bytes = &format.bytes;
        for extra in [b" ".as_slice(), b"\n", b"\0", b"0", b"}", b"\"", b"\xff", b"\xef\xbb\xbf"] {
            refused(&format, &[bytes.as_slice(), extra].concat());
            refused(&format, &[extra, bytes.as_slice()].concat());
        }
        for at in 0..bytes.len() {
            assert!(!check(&format, &bytes[..at]), "{} cut at {at}", format.name);
        }
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    for format in samples::all() {
        for at in (0..format.bytes.len()).step_by(7) {
            if !format.bytes[at].is_ascii() {
                continue;
            }
            for byte in [0x80, 0xc0, 0xff] {
                let mut bytes = format.bytes.clone();
                bytes[at] = byte;
                refused(&format, &bytes);
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    let open = "[".repeat(DEPTH);
    let closed = format!("{open}{}", "]".repeat(DEPTH));
    let objects = "{\"v\":".repeat(DEPTH);
    for format in samples::all() {
        let golden = Json::parse(&format.bytes);
        let nodes = golden.nodes().len();
        for nest in [&open, &closed, &objects] {
            for index in [0, nodes / 2, nodes - 1] {
                let nested = golden.with(index, |node| *node = Json::Raw(nest.clone()));
                // With a limit that does not spare the parser.
                let text = nested.text();
                assert!((format.decode)(text.as_bytes(), usize::MAX).is_err(), "{}", format.name);
                assert!((format.read)(&framed(text.as_bytes())).is_err(), "{}", format.name);
            }
        }
    }
}

/// The bytes are not even JSON: had anything looked at them, the error would be another.
#[test]
fn what_is_over_the_limit_is_refused_before_parsing() {
    for format in samples::all() {
        let bytes = vec![0xff; format.limit + 1];
        let found = (format.decode)(&bytes, format.limit);
        let expected = (format.limit + 1, format.limit);
        assert!(
            matches!(found, Err(CanonicalError::TooLarge { size, limit }) if (size, limit) == expected),
            "{}",
            format.name
        );
        let found = (format.decode)(&bytes[1..], format.limit);
        assert!(matches!(found, Err(CanonicalError::Malformed { .. })), "{}", format.name);
    }
}

/// One random change.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Delete(Index, u8),
    Insert(Index, Vec<u8>),
    Duplicate(Index, u8),
    Tree(Index, Change),
}

/// A change to one node of the tree.
#[derive(Clone, Debug)]
enum Change {
    Text(String),
    Remove(Index),
    DuplicateMember(Index),
    Rotate(Index),
    Rename(Index, String),
    ToArray,
    Copy(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let words = ["null", "true", "\"\"", "[]", "{}", "0", "-1", "4294967296", "9007199254740991"];
    let texts = BAD_NUMBERS.into_iter().chain(words).map(str::to_owned).collect::<Vec<_>>();
    prop_oneof![
        proptest::sample::select(texts).prop_map(Change::Text),
        any::<String>().prop_map(|text| Change::Text(serde_json::Value::from(text).to_string())),
        (1..DEPTH).prop_map(|depth| Change::Text("[".repeat(depth))),
        any::<Index>().prop_map(Change::Remove),
        any::<Index>().prop_map(Change::DuplicateMember),
        any::<Index>().prop_map(Change::Rotate),
        (any::<Index>(), "[a-z_]{0,8}|v").prop_map(|(at, name)| Change::Rename(at, name)),
        Just(Change::ToArray),
        any::<Index>().prop_map(Change::Copy),
    ]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        1 => (any::<Index>(), 1..=255_u8).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        1 => (any::<Index>(), 1..9_u8).prop_map(|(at, count)| Mutation::Delete(at, count)),
        1 => (any::<Index>(), proptest::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        1 => (any::<Index>(), 1..64_u8).prop_map(|(at, count)| Mutation::Duplicate(at, count)),
        4 => (any::<Index>(), change()).prop_map(|(at, change)| Mutation::Tree(at, change)),
    ]
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let range = |at: &Index, count: u8| {
            let start = at.index(bytes.len());
            start..bytes.len().min(start + usize::from(count))
        };
        match self {
            Self::Flip(at, bits) => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Self::Delete(at, count) => drop(bytes.drain(range(at, *count))),
            Self::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Duplicate(at, count) => {
                let range = range(at, *count);
                let copy = bytes[range.clone()].to_vec();
                bytes.splice(range.start..range.start, copy);
            }
            Self::Tree(at, change) => {
                // After a change that left no JSON there is no tree to change.
                if serde_json::from_slice::<serde_json::Value>(bytes).is_err() {
                    return;
                }
                let tree = Json::parse(bytes);
                let nodes = tree.nodes();
                let index = at.index(nodes.len());
                let changed = tree.with(index, |node| change.apply(node, &nodes));
                *bytes = changed.text().into_bytes();
            }
        }
    }
}

impl Change {
    fn apply(&self, node: &mut Json, all: &[&Json]) {
        match (self, node) {
            (Self::Text(text), node) => *node = Json::Raw(text.clone()),
            (Self::Copy(from), node) => *node = all[from.index(all.len())].clone(),
            (Self::Remove(at), Json::Object(members)) if !members.is_empty() => {
                members.remove(at.index(members.len()));
            }
            (Self::Remove(at), Json::Array(items)) if !items.is_empty() => {
                items.remove(at.index(items.len()));
            }
            (Self::DuplicateMember(at), Json::Object(members)) if !members.is_empty() => {
                members.push(members[at.index(members.len())].clone());
            }
            (Self::DuplicateMember(at), Json::Array(items)) if !items.is_empty() => {
                items.push(items[at.index(items.len())].clone());
            }
            (Self::Rotate(by), Json::Object(members)) if !members.is_empty() => {
                let by = by.index(members.len());
                members.rotate_left(by);
            }
            (Self::Rotate(by), Json::Array(items)) if !items.is_empty() => {
                let by = by.index(items.len());
                items.rotate_left(by);
            }
            (Self::Rename(at, name), Json::Object(members)) if !members.is_empty() => {
                let at = at.index(members.len());
                members[at].0.clone_from(name);
            }
            (Self::ToArray, node @ Json::Object(_)) => {
                if let Json::Object(members) = std::mem::replace(node, Json::Array(vec![])) {
                    *node = Json::Array(members.into_iter().map(|(_, value)| value).collect());
                }
            }
            _ => {}
        }
    }
}

/// Property tests try the same cases each time and write no files.
pub fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x8785),
        ..ProptestConfig::default()
    }
}

/// One to three random changes.
#[derive(Clone, Debug)]
pub struct Mutations(Vec<Mutation>);

impl Mutations {
    /// Any.
    pub fn any() -> impl Strategy<Value = Self> {
        proptest::collection::vec(mutation(), 1..4).prop_map(Self)
    }

    /// The changed bytes.
    pub fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        self.0.iter().for_each(|mutation| mutation.apply(&mut changed));
        changed
    }
}

#[test]
fn mutated_golden_bytes_are_refused_or_canonical() {
    let formats = samples::all();
    let taken = Cell::new(0_u32);
    let mut runner = TestRunner::new(seeded(20_000));
    runner
        .run(&(any::<Index>(), Mutations::any()), |(format, mutations)| {
            let format = &formats[format.index(formats.len())];
            let bytes = mutations.apply(&format.bytes);
            if check(format, &bytes) {
                taken.set(taken.get() + 1);
            }
            Ok(())
        })
        .expect("no panic, no second spelling");
    // Some mutations make another valid document: a test that never gets that far shows nothing.
    assert!(taken.get() > 100, "{taken:?}");
}

#[test]
fn random_bytes_are_refused() {
    let formats = samples::all();
    let mut runner = TestRunner::new(seeded(2_000));
    let json_like = "[\\[\\]{}:,\"a-z0-9.\\\\ -]{0,40}".prop_map(String::into_bytes);
    let bytes = prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), json_like];
    runner
        .run(&bytes, |bytes| {
            for format in &formats {
                check(format, &bytes);
                (format.read)(&bytes).expect_err("no frame");
            }
            Ok(())
        })
        .expect("no panic, no second spelling");
}
