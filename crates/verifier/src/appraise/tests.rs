use cordon_crypto::sha256;
use cordon_protocol::agreement::Platform;
use cordon_protocol::evidence::{SandboxLevel, TeeKind};
use expect_test::expect;

use super::*;
use crate::rejection::RejectionCode as Code;
use crate::testing::{Case, NOW, measurement};

fn reference() -> ReferenceValues {
    ReferenceValues::of(
        &Platform {
            tees: vec![TeeKind::Software],
            measurements: vec!["00".repeat(32), measurement()],
            releases: Vec::new(),
            sandbox: SandboxLevel::Namespaces,
        },
        None,
    )
}

fn verified() -> Verified {
    Case::valid().verify().expect("valid")
}

#[test]
fn an_approved_guard_in_development_gets_a_result_with_a_warning() {
    let verified = verified();
    let policy = AppraisalPolicy::dangerous_development();
    let result = appraise(&verified, &reference(), &policy, NOW).expect("acceptable");
    assert_eq!(result.status(), Tier::Warning);
    assert_eq!(result.assurance(), Assurance::None);
    assert_eq!(result.guard_signing_key(), &verified.runtime_data().guard_signing_key);
    assert_eq!(result.digest(), sha256(&[result.to_json()]));
    let warnings = result.reasons().iter().filter(|reason| reason.tier == Tier::Warning);
    let warnings: Vec<_> = warnings.map(|reason| reason.claim).collect();
    assert_eq!(warnings, ["hardware", "runtime-opaque"]);
}

#[test]
fn the_ear_is_as_written_here() {
    let policy = AppraisalPolicy::dangerous_development();
    let result = appraise(&verified(), &reference(), &policy, NOW).expect("acceptable");
    // In canonical form, as it is hashed: the order that a map has in memory is nobody's promise.
    let canonical = std::str::from_utf8(result.to_json()).expect("utf-8");
    let lines = canonical.replace(",\"", ",\n\"").replace(":{", ":{\n").replace('}', "\n}");
    expect![[r#"
        {"cordon.relying-party":"hospital-b",
        "ear_verifier_id":{
        "build":"cordon-verifier 0.1.0",
        "developer":"cordon"
        },
        "eat_nonce":"93bfddb34b1c96bceca784ffb2771710799df1b77aa72fe628d4d7c27ea680df",
        "eat_profile":"tag:ietf.org,2026:rats/ear#04",
        "exp":1700000300,
        "iat":1700000000,
        "submods":{
        "cpu":{
        "cordon.agreement":"sha256:46a81739c6ee7c1d5ed084e7de843a7ed79435cd445513e4dd5c4e5ac395fb4b",
        "cordon.assurance":"none",
        "cordon.bound-key":{
        "box":"sha256:bb4ce870113dc866909cc20bb80054c0b811cd3d20ad40ee0e60d9e256188509",
        "signing":"ed25519:7UkoxijRwsbq6QM4kFmVYSlZJzpcY/k2NsFGFKyHN9E="
        },
        "cordon.collateral":{
        "earliest-expiry":null,
        "items":{

        }
        },
        "cordon.engine":"sha256:ed9f6f25068608efd412958da4dfc19328ca3511251fa6d5f9c42baf230e32f8",
        "cordon.evidence-hash":"sha256:beadcf1f9098da166f5f0d0f81d290f507995419bd88b41df4e7dcd26b82b10e",
        "cordon.measurement.launch":"abababababababababababababababababababababababababababababababab",
        "cordon.notices":[],
        "cordon.platform":"software",
        "cordon.run":"sha256:acba25512100f80b56fc3ccd14c65be55d94800cda77585c5f41a887e398f9be",
        "cordon.sandbox":"namespaces",
        "cordon.tee-kind":"software",
        "ear_appraisal_policy_ids":["cordon/appraisal/development/v1"],
        "ear_status":"warning",
        "ear_trustworthiness_vector":{
        "configuration":2,
        "executables":2,
        "hardware":32,
        "instance-identity":0,
        "runtime-opaque":32
        }
        }
        }
        }"#]].assert_eq(&lines);
}

#[test]
fn another_measurement_is_refused() {
    let reference = ReferenceValues::new([(TeeKind::Software, "00".repeat(32))]);
    let policy = AppraisalPolicy::dangerous_development();
    let rejection = appraise(&verified(), &reference, &policy, NOW).expect_err("unknown guard");
    assert_eq!(rejection.code, Code::WrongMeasurement);
    assert_eq!((rejection.found, rejection.wanted), (measurement(), "00".repeat(32)));
}

#[test]
fn a_kind_of_tee_without_reference_values_is_refused() {
    let policy = AppraisalPolicy::dangerous_development();
    let reference = ReferenceValues::default();
    let rejection = appraise(&verified(), &reference, &policy, NOW).expect_err("no such kind");
    assert_eq!(rejection.code, Code::TeeNotAccepted);
}

#[test]
fn a_production_policy_refuses_what_development_roots_let_through() {
    let policy = AppraisalPolicy::production();
    let rejection = appraise(&verified(), &reference(), &policy, NOW).expect_err("software");
    assert_eq!(rejection.code, Code::SoftwareTeeRefused);
}
