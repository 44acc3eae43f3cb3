//! What the host may not start, and what the brokers may not offer.

use cordon_protocol::frame;

use crate::Test;
use crate::engine::act;
use crate::fixture::study::{Hospital, name, sign, signing_key, since};
use crate::host::{ENGINE, Scene};

pub fn tests() -> Vec<Test> {
    vec![
        ("a_run_that_was_not_agreed_does_not_start", not_agreed),
        ("other_engine_bytes_do_not_start", other_engine),
        ("what_is_no_start_ends_the_guard", no_start),
        ("manifests_that_do_not_fit_end_the_run_before_evidence", manifests),
        ("a_plan_that_differs_ends_the_run_before_evidence", plans),
    ]
}

type Change = fn(&mut Scene);

/// Plays each change; nothing may have come as far as evidence.
fn refused_before_evidence(cases: &[(&str, Change)]) {
    for (code, change) in cases {
        let mut scene = Scene::new();
        change(&mut scene);
        let told = scene.play();
        told.assert_failed(code);
        told.assert_nothing_ran();
        assert!(told.evidence.is_none() && told.receipt.is_none(), "{code}");
        assert!(told.receipts.is_empty(), "{code}");
    }
}

fn not_agreed() {
    refused_before_evidence(&[
        ("parameter_out_of_bounds", |scene| {
            scene.study.request.parameters.insert(name("since"), since("1900-01-01"));
        }),
        ("request_invalid", |scene| drop(scene.study.request.audience.pop())),
        ("agreement_signature", |scene| scene.study.researcher = signing_key(99)),
        ("agreement_invalid", |scene| scene.study.agreement.holders.swap(0, 1)),
        ("tee_not_agreed", |scene| scene.study.agreement.platform.tees.clear()),
    ]);
}

fn other_engine() {
    refused_before_evidence(&[
        ("wrong_engine", |scene| {
            let mut engine = ENGINE.clone();
            let last = engine.len() - 1;
            engine[last] ^= 1;
            scene.engine = Some(engine);
        }),
        ("wrong_engine", |scene| scene.engine = Some(ENGINE[..1000].to_vec())),
    ]);
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_bytes(&mut out, bytes).expect("a frame");
    out
}

fn no_start() {
    for bytes in [framed(b"{}"), framed(br#""range""#), framed(b""), vec![0xff; 8]] {
        let told = Scene { starts_with: Some(bytes), ..Scene::new() }.play();
        told.assert_failed("bad_start");
        assert!(told.stages.is_empty());
    }
}

fn manifests() {
    refused_before_evidence(&[
        ("manifest_signature", |scene| {
            scene.conduct.offer = Some(|hospital| vec![sign(hospital.manifest(), &hospital.log)]);
        }),
        ("manifest_invalid", |scene| scene.conduct.offer = Some(|_| Vec::new())),
        ("manifest_invalid", |scene| {
            scene.conduct.offer = Some(|hospital| vec![hospital.signed_manifest(); 2]);
        }),
        ("manifest_invalid", |scene| {
            scene.conduct.offer =
                Some(|hospital| changed(hospital, |m| m.dataset = name("claims")));
        }),
        ("schema_not_agreed", |scene| {
            scene.conduct.offer =
                Some(|hospital| changed(hospital, |m| m.tables[0].columns[0].nullable = true));
        }),
    ]);
}

/// The hospital's manifest with one change, signed by its own key.
fn changed(
    hospital: &Hospital,
    change: fn(&mut cordon_protocol::Manifest),
) -> Vec<cordon_crypto::dsse::Envelope> {
    let mut manifest = hospital.manifest();
    change(&mut manifest);
    vec![sign(manifest, &hospital.steward)]
}

fn plans() {
    for (act, code) in [
        (act::OTHER_PLAN, "plan_differs"),
        (act::READ_IN_PLAN, "worker_misbehaved"),
        (act::ABORT_IN_PLAN, "worker_crashed"),
    ] {
        let told = Scene::with_query(act).play();
        told.assert_failed(code);
        told.assert_nothing_ran();
        assert!(told.evidence.is_none(), "{code}");
    }
}
