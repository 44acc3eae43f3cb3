//! Golden files: a format cannot change without a change here.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cordon_crypto::Label;
use expect_test::{expect, expect_file};

use crate::format::signer;
use crate::samples;
use crate::words;

/// Keeps them readable in a review.
const MAX_GOLDEN_BYTES: usize = 8 * 1024;

/// At run time: what was compiled in may be another checkout with the same target directory.
fn manifest_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo tells it to tests").into()
}

#[test]
fn every_format_is_that_of_its_golden_file() {
    for format in samples::all() {
        let golden = expect_file![format!("../golden/{}.json", format.name)];
        let text = String::from_utf8(format.bytes).expect("JSON is UTF-8");
        assert!(text.len() < MAX_GOLDEN_BYTES, "{} has {} bytes", format.name, text.len());
        golden.assert_eq(&text);
    }
}

#[test]
fn a_golden_file_parses_to_its_sample_and_back() {
    for format in samples::all() {
        let golden = expect_file![format!("../golden/{}.json", format.name)].data();
        assert!((format.is_sample)(golden.as_bytes()), "{}", format.name);
        let again = (format.decode)(golden.as_bytes(), format.limit).expect(&format.name);
        assert_eq!(String::from_utf8(again).expect("UTF-8"), golden);
    }
}

#[test]
fn every_word_of_the_formats_is_spelled_as_ever() {
    expect_file!["../golden/words.txt"].assert_eq(&words::listed());
}

/// One line per document: its payload type, its digest, and the fixed key's signature (Ed25519
/// has no choice in it).
#[test]
fn signatures_and_digests_are_as_ever_and_verify() {
    let mut lines = String::new();
    for format in samples::all() {
        let Some(signing) = format.signing else { continue };
        let envelope = signing.envelope;
        assert_eq!(envelope.claimed_signer(), signer().verifying_key());
        assert_eq!(envelope.payload_type(), signing.payload_type);
        let digest = (signing.open)(&envelope).expect(&format.name);
        assert_eq!(digest, envelope.payload_digest());
        let json: serde_json::Value =
            serde_json::from_slice(&envelope.to_json()).expect("an envelope is JSON");
        let signature = json["signatures"][0]["sig"].as_str().expect("a signature");
        let payload_type = signing.payload_type;
        lines.push_str(&format!("{}\n  {payload_type}\n  {digest}\n  {signature}\n", format.name));
    }
    expect_file!["../golden/signatures.txt"].assert_eq(&lines);
}

#[test]
fn payload_types_are_distinct_and_of_one_pattern() {
    let mut of_type = std::collections::BTreeMap::new();
    for format in samples::all() {
        let Some(signing) = format.signing else { continue };
        let name = signing
            .payload_type
            .strip_prefix("application/vnd.cordon.")
            .and_then(|rest| rest.strip_suffix(".v1+json"))
            .expect("a payload type of ours");
        let document = format.name.split('.').next().expect("a name");
        assert_eq!(name, document.replace('_', "-"));
        let before = of_type.insert(name.to_owned(), document.to_owned());
        assert!(before.is_none_or(|before| before == document), "{name}");
    }
}

/// A new document needs a sample, or nothing fixes its format.
#[test]
fn every_document_of_the_crate_has_a_sample() {
    let sources = std::fs::read_dir(manifest_folder().join("src"))
        .expect("the sources")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| std::fs::read_to_string(path).expect("a source file"))
        .collect::<String>();
    let types: BTreeSet<&str> = sources
        .lines()
        .filter_map(|line| line.trim().strip_prefix("const PAYLOAD_TYPE: &'static str = \""))
        .filter_map(|rest| rest.strip_suffix("\";"))
        .collect();
    let formats = samples::all();
    let sampled: BTreeSet<&str> = formats
        .iter()
        .filter_map(|format| format.signing.as_ref())
        .map(|signing| signing.payload_type)
        .collect();
    assert_eq!(types, sampled);
}

/// The boxes in the golden files open: their suite is part of the format, too.
#[test]
fn the_boxes_of_the_golden_files_open() {
    for (label, seed) in [
        (Label::DatasetVersionBox, 4),
        (Label::GrantBox, 11),
        (Label::ShareBox, 4),
        (Label::ReleaseBox, 9),
        (Label::ReviewBox, 8),
    ] {
        let sealed = samples::sealed(label, seed);
        let opened = samples::box_secret(seed).open(label, samples::BOX_CONTEXT, &sealed);
        assert_eq!(*opened.expect("the box opens"), samples::BOX_CONTENT);
    }
}

#[test]
fn the_digest_of_evidence_and_of_a_box_is_as_ever() {
    let digests = format!(
        "{}\n{}",
        samples::evidence().digest(),
        samples::sealed(Label::ShareBox, 4).digest()
    );
    expect![[r#"
        sha256:81fbcdacdecc1500360aadb7b7bf5ed12d25eac04e55a5f0f86d6f4ea50d363a
        sha256:3b70ff50a67087f0ffc9c54f68166221cab9e7ff1e3a5bf5862c67afcb120550"#]]
    .assert_eq(&digests);
}

#[test]
fn there_is_no_golden_file_without_a_format() {
    let mut expected: BTreeSet<String> =
        samples::all().iter().map(|format| format!("{}.json", format.name)).collect();
    expected.extend(["words.txt".to_owned(), "signatures.txt".to_owned()]);
    let folder = manifest_folder().join("tests/golden");
    let found: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the golden files")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    assert_eq!(found, expected);
}
