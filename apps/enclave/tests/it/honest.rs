//! The run as it should be, up to the recipient who opens the result.

use cordon_crypto::canonical::from_canonical;
use cordon_crypto::dsse::Document as _;
use cordon_crypto::{AeadKey, Label, commitment, sha256, xor_join};
use cordon_protocol::evidence::{SandboxLevel, TeeKind};
use cordon_protocol::message::Stage;
use cordon_protocol::release::{Assurance, Outcome, ResultDocument, SealedOutcome};
use cordon_protocol::{Receipt, RuntimeData};
use cordon_types::Secret;
use cordon_verifier::{
    AppraisalPolicy, Collateral, Expected, ReferenceValues, TrustRoots, appraise, verify,
};

use crate::Test;
use crate::brokers::nonce;
use crate::engine::{evens, honest_output};
use crate::fixture::study::NOW;
use crate::host::{Scene, Told, tee_root_key};

pub fn tests() -> Vec<Test> {
    vec![
        ("an_honest_run_seals_a_result_that_all_shares_open", honest_run),
        ("evidence_of_the_run_verifies_for_each_broker_and_binds_it", evidence_verifies),
        ("answers_that_come_twice_change_nothing", repeated_answers),
        ("a_broker_that_refuses_the_receipt_does_not_undo_the_run", refused_receipt),
    ]
}

fn receipt_of(told: &Told) -> Receipt {
    let evidence = told.evidence.as_ref().expect("evidence");
    let bound: RuntimeData =
        from_canonical(evidence.runtime_data.as_slice(), RuntimeData::MAX_BYTES).expect("data");
    let receipt = told.receipt.as_ref().expect("a receipt");
    receipt.open::<Receipt>(&bound.guard_signing_key).expect("the guard's").into_value()
}

fn sealed_outcome(told: &Told) -> SealedOutcome {
    match receipt_of(told).outcome {
        Outcome::Sealed(sealed) => sealed,
        Outcome::Failed { code } => panic!("failed: {code}"),
    }
}

/// Opens the result as the recipient does, with the shares that the brokers got.
fn open_result(scene: &Scene, told: &Told) -> ResultDocument {
    let outcome = sealed_outcome(told);
    let run = told.run.0.as_bytes().as_slice();
    let shares: Vec<Secret<32>> = scene
        .study
        .hospitals
        .iter()
        .map(|hospital| {
            let share = &told.shares[&hospital.party];
            let listed = outcome.shares.iter().find(|listed| listed.holder == hospital.party);
            assert_eq!(listed.map(|listed| listed.share), Some(share.digest()));
            let context = [run, hospital.party.as_str().as_bytes()];
            let opened = hospital.boxes.open(Label::ShareBox, &context, share).expect("a share");
            Secret::from_slice(&opened).expect("32 bytes")
        })
        .collect();
    let key = xor_join(&shares);
    assert_eq!(commitment(&key), outcome.key_commitment);
    let sealed = told.stored.as_ref().expect("a result");
    assert_eq!(sha256(&[sealed]), outcome.sealed);
    let opened = AeadKey::new(&key).open(Label::SealedResult, &[run], sealed).expect("opens");
    from_canonical(&opened, ResultDocument::MAX_BYTES).expect("a result document")
}

fn honest_run() {
    let scene = Scene::new();
    let told = scene.play();
    assert_eq!((told.code.as_deref(), told.success), (Some("ok"), true));
    let stages = [
        Stage::Challenging,
        Stage::Planning,
        Stage::Attesting,
        Stage::Running,
        Stage::Checking,
        Stage::Sealing,
    ];
    assert_eq!(told.stages, stages);

    // What the engine counted is what the recipient reads.
    let result = open_result(&scene, &told);
    let support = scene.study.hospitals.each_ref().map(|hospital| evens(&hospital.ciphertext));
    assert_eq!(result.table.rows, honest_output(&support).rows);
    assert_eq!((result.run, result.agreement), (told.run, told.agreement));
    assert_eq!(result.assurance, Assurance::None);

    // The receipt says what ran on what, and every broker has it.
    let receipt = receipt_of(&told);
    assert_eq!((receipt.run, receipt.agreement), (told.run, told.agreement));
    assert_eq!(receipt.engine, scene.study.agreement.program.engine);
    assert_eq!((receipt.inputs.len(), receipt.grants.len()), (3, 3));
    for (input, hospital) in receipt.inputs.iter().zip(&scene.study.hospitals) {
        assert_eq!(input.holder, hospital.party);
        assert_eq!(input.manifest, hospital.signed_manifest().payload_digest());
    }
    let read: usize = scene.study.hospitals.iter().map(|hospital| hospital.ciphertext.len()).sum();
    assert_eq!(receipt.bytes_read, read as u64);
    assert_eq!(told.receipts.len(), 3);
    assert!(told.receipts.values().all(|held| Some(held) == told.receipt.as_ref()));
}

fn evidence_verifies() {
    let scene = Scene::new();
    let told = scene.play();
    let evidence = told.evidence.as_ref().expect("evidence");
    let holders = scene.study.hospitals.each_ref().map(|hospital| hospital.party.clone());
    let roots = TrustRoots::dangerous_development(tee_root_key());
    for (index, party) in holders.iter().enumerate() {
        let expected = Expected {
            party,
            nonce: &nonce(index),
            holders: &holders,
            run: told.run,
            agreement: told.agreement,
            engine: scene.study.agreement.program.engine,
            weakest_sandbox: SandboxLevel::Seccomp,
        };
        let verified = verify(evidence, &Collateral::none(), &roots, NOW, &expected);
        let verified = verified.expect("genuine, fresh and of this run");
        let reference = ReferenceValues::new([(TeeKind::Software, told.measurement.clone())]);
        let policy = AppraisalPolicy::dangerous_development();
        appraise(&verified, &reference, &policy, NOW).expect("the measured guard");

        let stale = Expected { nonce: &nonce(9), ..expected };
        let refused = verify(evidence, &Collateral::none(), &roots, NOW, &stale);
        assert_eq!(refused.unwrap_err().code.as_str(), "not_fresh");
    }
}

fn repeated_answers() {
    let scene = Scene { repeats_answers: true, ..Scene::new() };
    let told = scene.play();
    assert_eq!(told.code.as_deref(), Some("ok"));
    open_result(&scene, &told);
}

fn refused_receipt() {
    let mut scene = Scene::new();
    scene.conduct.refuses_receipt = true;
    let told = scene.play();
    assert_eq!((told.code.as_deref(), told.success), (Some("ok"), true));
    assert!(told.refusal.is_some(), "the requester learns of it");
    open_result(&scene, &told);
}
