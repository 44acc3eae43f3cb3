//! All grants are right, or nothing runs.

use cordon_crypto::{RecipientSecret, sha256};
use cordon_protocol::release::Outcome;
use cordon_protocol::{Receipt, RunId};
use cordon_types::Milliseconds;

use crate::Test;
use crate::brokers::{Granting, Heartbeats};
use crate::fixture::grant::GrantDraft;
use crate::fixture::random::SeededRandom;
use crate::fixture::study::signing_key;
use crate::host::Scene;

pub fn tests() -> Vec<Test> {
    vec![
        ("one_grant_that_is_not_right_and_nothing_runs", wrong_grants),
        ("one_refusal_and_nothing_runs", refusal),
        ("one_missing_grant_and_nothing_runs", missing_grant),
    ]
}

type Change = fn(&mut GrantDraft<'_>);

fn wrong_grants() {
    let cases: [(&str, Change); 11] = [
        ("grant_signature", |draft| draft.signed_by = 0),
        // For another run, agreement, evidence, guard.
        ("grant_context", |draft| draft.context.run = RunId(sha256(&[b"another"]))),
        ("grant_context", |draft| draft.context.agreement = sha256(&[b"another"])),
        ("grant_context", |draft| draft.context.evidence = sha256(&[b"another"])),
        ("grant_context", |draft| {
            draft.context.guard_signing_key = signing_key(98).verifying_key();
        }),
        ("grant_keys", |draft| drop(draft.context.datasets[0].keys.pop())),
        // Not in the log, not in its own, not witnessed.
        ("grant_not_logged", |draft| draft.proves_other_entry = true),
        ("grant_not_logged", |draft| draft.logged_at = 2),
        ("grant_not_logged", |draft| draft.cosigned_by.truncate(1)),
        ("grant_box", |draft| {
            let another = RecipientSecret::generate(&mut SeededRandom::new(8));
            draft.sealed_to = another.public_key();
        }),
        ("grant_commitment", |draft| draft.keys[0] ^= 1),
    ];
    for (code, change) in cases {
        let mut scene = Scene::new();
        scene.conduct.draft = Some(change);
        let told = scene.play();
        told.assert_failed(code);
        told.assert_nothing_ran();
        // All brokers learn from the receipt that it came to nothing.
        assert_eq!(told.receipts.len(), 3, "{code}");
        let receipt = told.receipt.expect("a receipt");
        let receipt = receipt.open::<Receipt>(&receipt.claimed_signer()).expect("holds");
        let outcome = Outcome::Failed { code: code.to_owned() };
        assert_eq!(receipt.value().outcome, outcome);
        assert!(receipt.value().grants.is_empty(), "{code}");
    }
}

fn refusal() {
    let mut scene = Scene::new();
    scene.conduct.granting = Granting::Refuse;
    let told = scene.play();
    told.assert_failed("not_approved");
    told.assert_nothing_ran();
    let refusal = told.refusal.expect("the signed refusal");
    assert_eq!(refusal.claimed_signer(), scene.study.hospitals[1].broker.verifying_key());
}

/// Two grants are in, and their leases end while the third broker keeps silent.
fn missing_grant() {
    let mut scene = Scene::new();
    scene.study.agreement.limits.lease_ms = Milliseconds::new(1_000);
    scene.study.agreement.limits.heartbeat_ms = Milliseconds::new(900);
    scene.conduct.granting = Granting::Ignore;
    scene.conduct.heartbeats = Heartbeats::IgnoreAll;
    let told = scene.play();
    told.assert_failed("lease_expired");
    told.assert_nothing_ran();
}
