//! Reports and certificates of AMD, as the crate `sev` ships them.

use cordon_types::{UnixSeconds, hex};
use cordon_vendors::genuine::{crate_file, pem};
use cordon_verifier::snp::{
    AMD_ROOTS, Chain, ChipKey, Examined, Generation, Report, SigningKey, examine,
};
use cordon_verifier::{Collateral, Rejection, RejectionCode, TrustRoots};

/// Between the dates of all certificates.
const NOW: UnixSeconds = UnixSeconds::new(1_750_000_000);

fn file(name: &str) -> Vec<u8> {
    crate_file("sev", "8.0.0", &format!("tests/certs_data/{name}"))
}

/// Owned certificates.
#[derive(Clone)]
struct Certificates {
    ark: Vec<u8>,
    ask: Vec<u8>,
    vcek: Vec<u8>,
}

impl Certificates {
    fn of(product: &str) -> Self {
        // AMD's key server gives the authority first, then the root.
        let [ask, ark] =
            pem(&file(&format!("cert_chain_{product}")), "CERTIFICATE").try_into().expect("two");
        Self { ark, ask, vcek: file(&format!("vcek_{product}.der")) }
    }

    fn at(&self, now: UnixSeconds) -> Result<ChipKey, Rejection> {
        Chain::parse(&self.ark, &self.ask, &self.vcek, SigningKey::Vcek)?.verify(&AMD_ROOTS, now)
    }

    fn key(&self) -> ChipKey {
        self.at(NOW).expect("a genuine chain")
    }
}

fn milan_report() -> Vec<u8> {
    let text = String::from_utf8(file("report_milan.hex")).expect("text");
    hex::decode(&text.to_lowercase()).expect("hex")
}

fn examined<'a>(report: &'a [u8], certificates: &[Vec<u8>]) -> Result<Examined<'a>, Rejection> {
    let mut collateral = Collateral::none();
    for certificate in certificates {
        collateral.add(certificate)?;
    }
    examine(report, &collateral, &TrustRoots::production(), NOW)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Rejection>, code: RejectionCode) -> Rejection {
    let rejection = result.expect_err("must be refused");
    assert_eq!(rejection.code, code, "{rejection}");
    rejection
}

#[test]
fn a_genuine_report_of_milan_leads_to_amd() {
    let bytes = milan_report();
    let report = Report::parse(&bytes).expect("a report");
    assert_eq!((report.version, report.vmpl, report.generation), (2, 0, None));
    assert_eq!(report.policy.bits(), 0x30000);
    assert!(!report.policy.allows_debugging() && report.policy.allows_smt());
    assert_eq!(report.key.signing_key, SigningKey::Vcek);
    assert_eq!(report.reported_tcb.0, [3, 0, 0, 0, 0, 0, 8, 115]);
    let key = Certificates::of("milan").key();
    assert_eq!(key.generation(), Generation::Milan);
    key.require_signed(&report).expect("genuine");
}

#[test]
fn a_chain_holds_between_its_dates_only() {
    for (product, from, to) in
        [("milan", 1_680_549_823, 1_901_474_623), ("turin", 1_730_927_640, 1_951_766_040)]
    {
        let certificates = Certificates::of(product);
        let at = |seconds| certificates.at(UnixSeconds::new(seconds));
        assert!(at(from).is_ok() && at(to).is_ok(), "{product}");
        for outside in [from - 1, to + 1] {
            assert_eq!(refused(at(outside), RejectionCode::CertificateTime).field, "vcek");
        }
    }
    assert_eq!(Certificates::of("turin").key().generation(), Generation::Turin);
}

#[test]
fn certificates_are_found_in_any_order_and_must_all_be_there() {
    let Certificates { ark, ask, vcek } = Certificates::of("milan");
    let bytes = milan_report();
    let examined = |certificates: &[Vec<u8>]| examined(&bytes, certificates);
    let genuine = examined(&[vcek.clone(), ark.clone(), ask.clone()]).expect("genuine");
    assert!(!genuine.is_revocation_checked());
    let claims = genuine.claims();
    assert_eq!(
        (claims.product, claims.firmware.as_str(), claims.debug),
        ("Milan", "1.52.4", false)
    );
    assert_eq!(claims.reported_tcb["microcode"], 115);
    for (certificates, field) in [
        (vec![ark.clone(), ask.clone()], "vcek"),
        (vec![ark.clone(), vcek.clone()], "ask"),
        (vec![ask.clone(), vcek.clone()], "ark"),
        (Vec::new(), "vcek"),
    ] {
        let rejection = refused(examined(&certificates), RejectionCode::CollateralMissing);
        assert_eq!(rejection.field, field);
    }
    refused(examined(&[b"no certificate".to_vec()]), RejectionCode::CollateralInvalid);
    refused(examined(&[vec![0x30, 0x03, 1, 1, 0xff]]), RejectionCode::CertificateInvalid);
}

#[test]
fn certificates_of_two_products_are_no_chain() {
    let (milan, turin) = (Certificates::of("milan"), Certificates::of("turin"));
    let mixed = Certificates { ask: turin.ask.clone(), ..milan.clone() };
    refused(mixed.at(NOW), RejectionCode::CertificateInvalid);
    let mixed = Certificates { vcek: turin.vcek.clone(), ..milan.clone() };
    refused(mixed.at(NOW), RejectionCode::UnknownRoot);
    let mixed = Certificates { ark: turin.ark.clone(), ..milan.clone() };
    refused(mixed.at(NOW), RejectionCode::CertificateInvalid);
    // The authority in the root's place is a good certificate with a key that nobody pinned.
    let forged = Certificates { ark: milan.ask.clone(), ..milan.clone() };
    refused(forged.at(NOW), RejectionCode::UnknownRoot);
    // A key of another product did not sign the report.
    let bytes = milan_report();
    let report = Report::parse(&bytes).expect("a report");
    refused(turin.key().require_signed(&report), RejectionCode::BadSignature);
}

/// One bit of each byte: what is not refused when it is read is refused by the signature.
#[test]
fn every_byte_of_a_report_counts() {
    let key = Certificates::of("milan").key();
    let good = milan_report();
    for place in 0..good.len() {
        let mut bytes = good.clone();
        bytes[place] ^= 1 << (place % 8);
        let refused = Report::parse(&bytes).and_then(|report| key.require_signed(&report));
        assert!(refused.is_err(), "byte {place:#x}");
    }
    for size in [0, 1, 1_183] {
        refused(Report::parse(&good[..size]), RejectionCode::Malformed);
    }
    refused(Report::parse(&[good.as_slice(), &[0]].concat()), RejectionCode::Malformed);
}

#[test]
fn every_byte_of_a_certificate_counts() {
    let good = Certificates::of("milan");
    for part in 0..3 {
        let size = [&good.ark, &good.ask, &good.vcek][part].len();
        for place in 0..size {
            let mut bad = good.clone();
            let parts = &mut [&mut bad.ark, &mut bad.ask, &mut bad.vcek];
            parts[part][place] ^= 1 << (place % 8);
            assert!(bad.at(NOW).is_err(), "certificate {part}, byte {place:#x}");
        }
    }
    let longer = Certificates { vcek: [good.vcek.as_slice(), &[0]].concat(), ..good };
    refused(longer.at(NOW), RejectionCode::CertificateInvalid);
}
