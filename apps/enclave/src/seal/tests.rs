use crate::fixture::random::SeededRandom;
use crate::fixture::study::{Study, name, signing_key};
use cordon_crypto::canonical::from_canonical;
use cordon_crypto::{mac_matches, xor_join};
use cordon_protocol::agreement::{Person, ResultKind};
use cordon_protocol::evidence::TeeKind;
use cordon_protocol::table::{Cell, Column, ResultTable};

use super::*;
use crate::testing;

fn passed() -> Passed {
    let column = |text: &str, kind| Column { name: name(text), kind };
    Passed::for_tests(ResultTable {
        columns: vec![column("sex", ResultKind::Key), column("patients", ResultKind::Count)],
        rows: vec![vec![Cell::Text("female".to_owned()), Cell::Integer(60)]],
    })
}

fn seal_in(study: &Study) -> Result<(Order, Sealed), Code> {
    let order = testing::order(study);
    let sealed = seal(&order, Assurance::None, passed(), &mut SeededRandom::new(3))?;
    Ok((order, sealed))
}

/// The shares of these hospitals, opened and joined.
fn joined(study: &Study, order: &Order, sealed: &Sealed, hospitals: &[usize]) -> Secret<32> {
    let shares: Vec<Secret<32>> = hospitals
        .iter()
        .map(|index| {
            let hospital = &study.hospitals[*index];
            let context = [order.run.0.as_bytes().as_slice(), hospital.party.as_str().as_bytes()];
            let share = &sealed.shares[&hospital.party];
            let share = hospital.boxes.open(Label::ShareBox, &context, share).expect("a share");
            Secret::from_slice(&share).expect("32 bytes")
        })
        .collect();
    xor_join(&shares)
}

#[test]
fn all_shares_open_the_result_and_the_receipt_commits_to_it() {
    let study = testing::study();
    let (order, sealed) = seal_in(&study).expect("sealed");
    let outcome = &sealed.outcome;
    assert_eq!(outcome.sealed, sha256(&[&sealed.bytes]));
    assert_eq!(outcome.size_bytes, sealed.bytes.len() as u64);

    let key = joined(&study, &order, &sealed, &[0, 1, 2]);
    assert_eq!(commitment(&key), outcome.key_commitment);
    let place = order.run.0.as_bytes().as_slice();
    let document = AeadKey::new(&key).open(Label::SealedResult, &[place], &sealed.bytes);
    let document = document.expect("opens");
    let result: ResultDocument = from_canonical(&document, ResultDocument::MAX_BYTES).expect("one");
    assert_eq!((result.run, result.agreement), (order.run, order.digest));
    assert_eq!(result.assurance, Assurance::None);
    assert_eq!(result.table.rows, passed().table.rows);
    let salt = Secret::from_bytes(*result.salt.as_bytes());
    let tag = outcome.commitment.as_bytes();
    assert!(mac_matches(&salt, Label::ReceiptCommitment, &[&document], tag));
}

#[test]
fn one_share_fewer_opens_nothing() {
    let study = testing::study();
    let (order, sealed) = seal_in(&study).expect("sealed");
    for hospitals in [&[0, 1][..], &[0, 2], &[1, 2], &[0], &[]] {
        let key = joined(&study, &order, &sealed, hospitals);
        assert_ne!(commitment(&key), sealed.outcome.key_commitment, "{hospitals:?}");
    }
}

#[test]
fn a_share_opens_for_its_holder_only() {
    let study = testing::study();
    let (order, sealed) = seal_in(&study).expect("sealed");
    let [first, second, _] = &study.hospitals;
    let run = order.run.0.as_bytes().as_slice();
    let share = &sealed.shares[&first.party];
    let own = [run, first.party.as_str().as_bytes()];
    assert!(second.boxes.open(Label::ShareBox, &own, share).is_err(), "another's key");
    let other = [run, second.party.as_str().as_bytes()];
    assert!(first.boxes.open(Label::ShareBox, &other, share).is_err(), "another's name");
    let listed = &sealed.outcome.shares;
    assert_eq!(listed.len(), 3);
    assert_eq!((&listed[0].holder, listed[0].share), (&first.party, share.digest()));
}

/// A study in which the first hospital has a reviewer.
fn reviewed() -> (Study, cordon_crypto::RecipientSecret) {
    let mut study = testing::study();
    let secret = cordon_crypto::RecipientSecret::generate(&mut SeededRandom::new(4));
    study.agreement.output.review = Review::EachHolder;
    study.agreement.holders[0].reviewers = vec![Person {
        party: name("hospital-a"),
        person: name("alex"),
        signing_key: signing_key(60).verifying_key(),
        box_key: secret.public_key(),
    }];
    (study, secret)
}

#[test]
fn a_reviewer_gets_the_document_and_nobody_else_does() {
    let (study, secret) = reviewed();
    let (order, sealed) = seal_in(&study).expect("sealed");
    let [copy] = sealed.reviews[&study.hospitals[0].party].as_slice() else { panic!("one copy") };
    let context = [order.run.0.as_bytes().as_slice(), sealed.outcome.sealed.as_bytes()];
    let document = secret.open(Label::ReviewBox, &context, &copy.sealed).expect("opens");
    let result: ResultDocument = from_canonical(&document, ResultDocument::MAX_BYTES).expect("one");
    assert_eq!(result.table.rows, passed().table.rows);
    assert!(sealed.reviews[&study.hospitals[1].party].is_empty());
    // The receipt names what each broker must get.
    let named: Vec<_> = sealed.outcome.shares.iter().map(|share| share.reviews.clone()).collect();
    assert_eq!(named[0], [copy.sealed.digest()]);
    assert!(named[1..].iter().all(Vec::is_empty));

    let (_, unreviewed) = seal_in(&testing::study()).expect("sealed");
    assert!(unreviewed.reviews.is_empty());
}

#[test]
fn a_result_over_the_agreed_size_is_not_sealed() {
    let mut study = testing::study();
    study.agreement.output.max_bytes = 64;
    assert_eq!(seal_in(&study).err(), Some(Code::OutputTooLarge));
}

#[test]
fn a_receipt_holds_under_the_guards_key_and_says_what_was_told() {
    let order = testing::order(&testing::study());
    let key = signing_key(5);
    let outcome = Outcome::Failed { code: "deadline".to_owned() };
    let evidence = Evidence {
        tee: TeeKind::Software,
        evidence: b"evidence".to_vec().into(),
        collateral: None,
        runtime_data: Vec::new().into(),
    };
    let envelope = receipt(&order, &evidence, Facts::default(), outcome.clone(), &key);
    let receipt = envelope.expect("a receipt").open::<Receipt>(&key.verifying_key());
    let receipt = receipt.expect("holds").into_value();
    assert_eq!((receipt.run, receipt.agreement), (order.run, order.digest));
    assert_eq!((receipt.evidence, receipt.outcome), (evidence.digest(), outcome));
    assert_eq!(receipt.engine, sha256(&[testing::ENGINE]));
    assert_eq!(receipt.assurance, Assurance::None);
}
