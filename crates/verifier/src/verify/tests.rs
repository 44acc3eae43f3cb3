use cordon_crypto::sha256;
use cordon_protocol::evidence::{Evidence, SandboxLevel};
use cordon_protocol::{RunId, V1};
use cordon_types::Nonce;
use proptest::prelude::*;

use crate::rejection::{RejectionCode as Code, Stage};
use crate::roots::TrustRoots;
use crate::testing::{Case, measurement, nonce_of, party, refused, signing_key};

#[test]
fn each_holder_verifies_the_same_evidence_with_its_own_nonce() {
    let mut case = Case::valid();
    for holder in ["hospital-a", "hospital-b", "hospital-c"] {
        case.expected_party = party(holder);
        case.expected_nonce = nonce_of(holder);
        let verified = case.verify().expect("valid");
        assert_eq!(verified.genuine().measurement, measurement());
        assert_eq!(verified.runtime_data(), &case.runtime);
        assert_eq!(verified.evidence_digest(), case.evidence().digest());
    }
}

// The numbers are those of the attacks in the field's list.

#[test]
fn a_replayed_nonce_is_not_fresh() {
    // 1: evidence for an earlier challenge.
    let code = refused(|case| case.expected_nonce = Nonce::from_bytes([9; 32]));
    assert_eq!((code, code.stage()), (Code::NotFresh, Stage::Freshness));
}

#[test]
fn report_data_with_a_correct_prefix_is_not_bound() {
    // 2
    let code = refused(|case| {
        let mut data = bound(case);
        data[63] ^= 1;
        case.report.report_data = data.into();
    });
    assert_eq!(code, Code::NotBound);
}

#[test]
fn short_and_long_report_data_are_neither_padded_nor_cut() {
    // 3
    for change in [
        |data: &mut Vec<u8>| data.truncate(63),
        |data: &mut Vec<u8>| data.truncate(32),
        |data: &mut Vec<u8>| data.push(0),
    ] {
        let code = refused(|case| {
            let mut data = bound(case);
            change(&mut data);
            case.report.report_data = data.into();
        });
        assert_eq!(code, Code::NotBound);
    }
}

#[test]
fn an_empty_list_of_nonces_is_refused() {
    // 4
    assert_eq!(refused(|case| case.runtime.nonces.clear()), Code::WrongHolders);
}

#[test]
fn runtime_data_with_exchanged_keys_is_not_bound() {
    // 5: the report is genuine and fresh, the keys beside it are somebody else's.
    let code = refused(|case| {
        case.bound = Some(case.runtime.to_bytes().expect("canonical"));
        case.runtime.guard_signing_key = signing_key(66).verifying_key();
    });
    assert_eq!(code, Code::NotBound);
}

#[test]
fn another_domain_tag_is_not_bound() {
    // 8: SHA-512 of the same runtime data under another label.
    let code = refused(|case| {
        let raw = case.runtime.to_bytes().expect("canonical");
        let other = cordon_crypto::sha512(&[b"cordon/evidence/v2", &[0], &raw]);
        case.report.report_data = other.as_slice().into();
    });
    assert_eq!(code, Code::NotBound);
}

#[test]
fn a_self_made_root_is_unknown() {
    // 9
    assert_eq!(refused(|case| case.root = signing_key(66)), Code::UnknownRoot);
}

#[test]
fn a_name_of_the_root_without_its_signature_is_a_bad_signature() {
    let case = Case::valid();
    let ours = String::from_utf8(case.evidence().evidence.as_slice().to_vec()).expect("text");
    let forged = Case { root: signing_key(66), ..Case::valid() }.evidence();
    let forged = String::from_utf8(forged.evidence.as_slice().to_vec()).expect("text");
    let keyid = |key: &cordon_crypto::SigningKey| key.verifying_key().to_string();
    let forged = forged.replace(&keyid(&signing_key(66)), &keyid(&case.root));
    assert_ne!(forged, ours);
    let evidence = Evidence { evidence: forged.into_bytes().into(), ..case.evidence() };
    assert_eq!(case.verify_evidence(&evidence).expect_err("forged").code, Code::BadSignature);
}

#[test]
fn evidence_of_another_run_agreement_or_engine_is_refused_by_name() {
    assert_eq!(refused(|case| case.runtime.run = RunId(sha256(&[b"other"]))), Code::WrongRun);
    let code = refused(|case| case.runtime.agreement = sha256(&[b"other"]));
    assert_eq!(code, Code::WrongAgreement);
    assert_eq!(refused(|case| case.runtime.engine = sha256(&[b"other"])), Code::WrongEngine);
}

#[test]
fn a_weaker_sandbox_is_refused_and_a_stronger_is_not() {
    let code = refused(|case| case.runtime.sandbox = SandboxLevel::Seccomp);
    assert_eq!(code, Code::SandboxTooWeak);
    let mut case = Case::valid();
    case.runtime.sandbox = SandboxLevel::NamespacesLandlock;
    case.verify().expect("stronger");
}

#[test]
fn the_nonces_are_sorted_and_one_for_each_holder() {
    let code = |change: fn(&mut Case)| refused(change);
    assert_eq!(code(|case| case.runtime.nonces.swap(0, 2)), Code::WrongHolders);
    assert_eq!(code(|case| drop(case.runtime.nonces.pop())), Code::WrongHolders);
    assert_eq!(
        code(|case| {
            let twice = case.runtime.nonces[1].clone();
            case.runtime.nonces.insert(1, twice);
        }),
        Code::WrongHolders
    );
    // Twice, and the list of holders alike: still not exactly one of ours.
    assert_eq!(
        code(|case| {
            let twice = case.runtime.nonces[1].clone();
            case.runtime.nonces.insert(1, twice);
            case.holders.insert(1, party("hospital-b"));
        }),
        Code::WrongHolders
    );
    assert_eq!(code(|case| case.runtime.nonces[0].party = party("hospital-0")), Code::WrongHolders);
    // Nobody asked us.
    assert_eq!(code(|case| case.expected_party = party("hospital-d")), Code::WrongHolders);
}

#[test]
fn runtime_data_has_one_spelling() {
    let spaced = |case: &mut Case| {
        let mut raw = case.runtime.to_bytes().expect("canonical");
        raw.push(b'\n');
        case.raw = Some(raw);
    };
    assert_eq!(refused(spaced), Code::RuntimeDataMalformed);
    let unknown = |case: &mut Case| {
        let raw = case.runtime.to_bytes().expect("canonical");
        let text = String::from_utf8(raw).expect("text");
        case.raw = Some(text.replacen('{', "{\"a\":1,", 1).into_bytes());
    };
    assert_eq!(refused(unknown), Code::RuntimeDataMalformed);
    let version = |case: &mut Case| {
        let raw = case.runtime.to_bytes().expect("canonical");
        let text = String::from_utf8(raw).expect("text");
        case.raw = Some(text.replace("\"v\":1", "\"v\":2").into_bytes());
    };
    assert_eq!(refused(version), Code::RuntimeDataMalformed);
}

#[test]
fn a_measurement_is_64_lower_case_digits() {
    for other in ["", "AB", &"AB".repeat(32), &"ab".repeat(31), &"ab".repeat(33)] {
        let code = refused(|case| case.report.measurement = other.to_owned());
        assert_eq!(code, Code::Malformed, "{other}");
    }
}

#[test]
fn the_envelope_has_one_spelling_and_nothing_after_it() {
    // 79: trailing bytes; and white space inside, which JSON would allow.
    let case = Case::valid();
    let evidence = case.evidence();
    let text = String::from_utf8(evidence.evidence.as_slice().to_vec()).expect("text");
    for other in [format!("{text} "), text.replacen(':', ": ", 1), format!("{text}{text}")] {
        let changed = Evidence { evidence: other.into_bytes().into(), ..evidence.clone() };
        assert_eq!(case.verify_evidence(&changed).expect_err("changed").code, Code::Malformed);
    }
}

#[test]
fn another_document_of_the_root_is_no_report() {
    // 84: a label that differs from the evidence. The root signs something else entirely.
    use cordon_crypto::dsse::Signed;
    use cordon_protocol::Heartbeat;
    let case = Case::valid();
    let heartbeat = Heartbeat {
        v: V1,
        run: case.run,
        audience: party("hospital-b"),
        nonce: case.expected_nonce,
    };
    let other = Signed::sign(heartbeat, &case.root).expect("signs").envelope().to_json();
    let evidence = Evidence { evidence: other.into(), ..case.evidence() };
    let rejection = case.verify_evidence(&evidence).expect_err("no report");
    assert_eq!((rejection.code, rejection.field), (Code::Malformed, "evidence.payloadType"));
}

#[test]
fn collateral_that_nobody_needs_is_refused() {
    let case = Case::valid();
    let evidence = Evidence { collateral: Some(vec![1].into()), ..case.evidence() };
    let rejection = case.verify_evidence(&evidence).expect_err("collateral");
    assert_eq!(rejection.code, Code::CollateralUnexpected);
}

#[test]
fn production_roots_refuse_the_software_tee_whoever_signed_it() {
    // 83
    let code = refused(|case| case.roots = TrustRoots::production());
    assert_eq!((code, code.stage()), (Code::SoftwareTeeRefused, Stage::Chain));
    assert!(TrustRoots::production().software().is_none());
}

#[test]
fn sizes_are_checked_before_parsing() {
    let case = Case::valid();
    let big: Vec<u8> = vec![b' '; 300 * 1024];
    let runtime = Evidence { runtime_data: big.clone().into(), ..case.evidence() };
    let report = Evidence { evidence: big.clone().into(), ..case.evidence() };
    let collateral = Evidence { collateral: Some(big.into()), ..case.evidence() };
    for (evidence, field) in
        [(runtime, "runtime_data"), (report, "evidence"), (collateral, "collateral")]
    {
        let rejection = case.verify_evidence(&evidence).expect_err("too large");
        assert_eq!((rejection.code, rejection.field), (Code::TooLarge, field));
    }
}

#[test]
fn every_bit_of_the_evidence_counts() {
    let case = Case::valid();
    let evidence = case.evidence();
    let flipped = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    for bit in 0..evidence.evidence.as_slice().len() * 8 {
        let bytes = flipped(evidence.evidence.as_slice(), bit);
        let changed = Evidence { evidence: bytes.into(), ..evidence.clone() };
        assert!(case.verify_evidence(&changed).is_err(), "bit {bit} of the report");
    }
    for bit in 0..evidence.runtime_data.as_slice().len() * 8 {
        let bytes = flipped(evidence.runtime_data.as_slice(), bit);
        let changed = Evidence { runtime_data: bytes.into(), ..evidence.clone() };
        assert!(case.verify_evidence(&changed).is_err(), "bit {bit} of the runtime data");
    }
}

#[test]
fn truncation_at_every_byte_is_refused() {
    // 78
    let case = Case::valid();
    let evidence = case.evidence();
    for length in 0..evidence.evidence.as_slice().len() {
        let bytes = evidence.evidence.as_slice()[..length].to_vec();
        let changed = Evidence { evidence: bytes.into(), ..evidence.clone() };
        assert!(case.verify_evidence(&changed).is_err(), "{length} bytes of the report");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        report in prop::collection::vec(any::<u8>(), 0..400),
        runtime in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let case = Case::valid();
        let evidence = Evidence { evidence: report.into(), ..case.evidence() };
        prop_assert!(case.verify_evidence(&evidence).is_err());
        let evidence = Evidence { runtime_data: runtime.into(), ..case.evidence() };
        prop_assert!(case.verify_evidence(&evidence).is_err());
    }
}

fn bound(case: &Case) -> Vec<u8> {
    let raw = case.runtime.to_bytes().expect("canonical");
    cordon_protocol::evidence::binding(&raw).to_vec()
}
