//! The limits that documents state for each other hold together.

use cordon_crypto::dsse::{Document, Signed};
use cordon_crypto::{Label, canonical};
use cordon_protocol::dataset::Manifest;
use cordon_protocol::entry::{LogEntry, MAX_ENTRY_BYTES};
use cordon_protocol::grant::{Grant, GrantContext, GrantedDataset, KeyName, MAX_GRANT_KEYS};
use cordon_protocol::message::{MAX_MANIFESTS_BYTES, MAX_MESSAGE_BYTES, MAX_REVIEW_BYTES};
use cordon_protocol::table::{RawTable, Support};

use crate::format::signer;
use crate::samples;

/// [`MAX_GRANT_KEYS`] with names of full length still make a document.
#[test]
fn the_largest_grant_fits_its_document() {
    let long = |index: usize| format!("{}{index:04}", "x".repeat(59));
    let keys = (0..MAX_GRANT_KEYS).map(|index| KeyName {
        table: long(0).parse().expect("a table"),
        column: Some(long(index).parse().expect("a column")),
    });
    let grant = samples::grant();
    let dataset = GrantedDataset {
        dataset: long(0).parse().expect("a dataset"),
        keys: keys.collect(),
        ..grant.context.datasets[0].clone()
    };
    let context = GrantContext { datasets: vec![dataset], ..grant.context };
    let sealed_keys = samples::box_secret(11)
        .public_key()
        .seal(Label::GrantBox, &[], &vec![0; MAX_GRANT_KEYS * 32], &mut samples::Counted(0))
        .expect("a box");
    // With the proof of a log of any size and the cosignatures of ten witnesses.
    let proof = "x".repeat(8 * 1024);
    let grant = Grant { context, sealed_keys, proof, ..grant };
    let signed = Signed::sign(grant, &signer()).expect("it fits");
    assert!(signed.envelope().to_json().len() < MAX_MESSAGE_BYTES);
}

/// In base64 and its envelope, each part of a message leaves room for the others.
#[test]
fn the_parts_of_a_message_fit_it() {
    let base64 = |bytes: usize| bytes.div_ceil(3) * 4;
    assert!(base64(Manifest::MAX_BYTES) < MAX_MANIFESTS_BYTES);
    assert!(base64(MAX_REVIEW_BYTES) < MAX_MESSAGE_BYTES);
    assert!(base64(MAX_MANIFESTS_BYTES) < MAX_MESSAGE_BYTES);
    assert_eq!(LogEntry::MAX_BYTES, MAX_ENTRY_BYTES);
    assert!(MAX_ENTRY_BYTES <= usize::from(u16::MAX));
}

/// What a document cannot carry is refused when it is made, not when somebody else reads it.
#[test]
fn integers_from_two_to_the_53_cannot_be_written() {
    for count in [1_u64 << 53, u64::MAX] {
        let table = RawTable {
            columns: vec![],
            rows: vec![],
            support: vec![vec![Support { patients: count, shares: vec![] }]],
        };
        assert!(matches!(canonical::to_canonical(&table), Err(canonical::CanonicalError::Number)));
    }
}
