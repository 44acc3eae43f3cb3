//! Evidence of a look-alike AMD: a case that is in order, one thing changed, signed again.

use std::sync::OnceLock;

use cordon_crypto::{RecipientSecret, SigningKey, sha256};
use cordon_protocol::agreement::Platform;
use cordon_protocol::evidence::{
    Evidence, PartyNonce, RuntimeData, SandboxLevel, TeeKind, binding,
};
use cordon_protocol::platform::{
    AmdFeature, AmdFloor, AmdPolicy, DeniedChip, GuardRelease, PlatformPolicy, Reference,
    ReleaseRule, ReleaseVersion,
};
use cordon_protocol::{RunId, V1};
use cordon_types::{Nonce, PartyId, Secret, Sha256Digest, UnixSeconds, hex};
use cordon_vendors::amd::{self, Amd, Certificates, Chip, GENOA, Line, MILAN, Report, TURIN};
use cordon_vendors::der;
use cordon_vendors::pki::{Extension, Key};
use cordon_verifier::snp::{AmdRoot, Generation};
use cordon_verifier::{
    AppraisalPolicy, Assurance, AttestationResult, Collateral, CollateralKey, Expected,
    ReferenceValues, Rejection, RejectionCode as Code, Tier, TrustRoots, VendorRoots, appraise,
    verify,
};

const NOW: UnixSeconds = UnixSeconds::new(amd::NOW);
const MEASUREMENT: [u8; 48] = [0x4d; 48];

/// One line's authorities: making them takes seconds, so each process does it once.
fn milan() -> &'static Amd {
    static MADE: OnceLock<Amd> = OnceLock::new();
    MADE.get_or_init(|| Amd::new(MILAN))
}

fn root_of(amd: &Amd) -> AmdRoot {
    let generation = match amd.line.name {
        "Milan" => Generation::Milan,
        "Genoa" => Generation::Genoa,
        _ => Generation::Turin,
    };
    AmdRoot { generation, digest: sha256(&[&amd.ark_key.info()]) }
}

fn signer() -> SigningKey {
    SigningKey::from_seed(Secret::from_bytes([7; 32]))
}

/// All that goes into one appraisal, in order until something is changed.
struct Case {
    amd: &'static Amd,
    chip: Chip,
    report: Report,
    certificates: Certificates,
    loaded: bool,
    own: Vec<Vec<u8>>,
    seen: Vec<(CollateralKey, u64)>,
    now: UnixSeconds,
    policy: PlatformPolicy,
    platform: Platform,
    tee: TeeKind,
    runtime: Vec<u8>,
}

impl Case {
    fn valid() -> Self {
        Self::of(milan())
    }

    fn of(amd: &'static Amd) -> Self {
        let chip = amd.chip();
        let runtime = runtime().to_bytes().expect("canonical");
        let report = amd.report(&chip, &binding(&runtime), &MEASUREMENT);
        Self {
            report,
            certificates: amd.certificates(&chip),
            loaded: false,
            own: Vec::new(),
            seen: Vec::new(),
            now: NOW,
            policy: policy(amd.line, &chip),
            platform: Platform {
                tees: vec![TeeKind::SevSnp],
                measurements: vec![hex::encode(&MEASUREMENT)],
                releases: Vec::new(),
                sandbox: SandboxLevel::Namespaces,
            },
            tee: TeeKind::SevSnp,
            amd,
            chip,
            runtime,
        }
    }

    fn amd_policy(&mut self) -> &mut AmdPolicy {
        self.policy.amd.as_mut().expect("rules for AMD")
    }

    fn appraise(&self) -> Result<AttestationResult, Rejection> {
        let evidence = Evidence {
            tee: self.tee,
            evidence: self.report.clone().sign(&self.chip.key).into(),
            collateral: Some(self.certificates.table(self.loaded).into()),
            runtime_data: self.runtime.clone().into(),
        };
        self.appraise_evidence(&evidence)
    }

    fn appraise_evidence(&self, evidence: &Evidence) -> Result<AttestationResult, Rejection> {
        let mut collateral = Collateral::none().with_seen(self.seen.clone());
        for item in &self.own {
            collateral.add(item)?;
        }
        let roots = VendorRoots { amd: vec![root_of(self.amd)].into() };
        let roots = TrustRoots::dangerous_vendors(roots);
        let party = party();
        let expected = Expected {
            party: &party,
            nonce: &nonce(),
            holders: std::slice::from_ref(&party),
            run: RunId(digest("run")),
            agreement: digest("agreement"),
            engine: digest("engine"),
            weakest_sandbox: SandboxLevel::Namespaces,
        };
        let verified = verify(evidence, &collateral, &roots, self.now, &expected)?;
        let reference = ReferenceValues::of(&self.platform, Some(&self.policy));
        let policy = AppraisalPolicy::production().with_platform(Some(&self.policy));
        appraise(&verified, &reference, &policy, self.now)
    }
}

fn digest(of: &str) -> Sha256Digest {
    sha256(&[of.as_bytes()])
}

fn party() -> PartyId {
    "hospital-a".parse().expect("a party")
}

fn nonce() -> Nonce {
    Nonce::from_bytes([2; 32])
}

fn runtime() -> RuntimeData {
    RuntimeData {
        v: V1,
        run: RunId(digest("run")),
        agreement: digest("agreement"),
        nonces: vec![PartyNonce { party: party(), nonce: nonce() }],
        guard_signing_key: signer().verifying_key(),
        guard_box_key: RecipientSecret::from_seed(Secret::from_bytes([4; 32])).public_key(),
        engine: digest("engine"),
        sandbox: SandboxLevel::Namespaces,
    }
}

fn policy(line: Line, chip: &Chip) -> PlatformPolicy {
    let names = |arc: u64| match arc {
        1 => "boot_loader",
        2 => "tee",
        3 => "snp",
        8 => "microcode",
        _ => "fmc",
    };
    let versions =
        line.layout.iter().map(|(arc, place)| (names(*arc).to_owned(), chip.tcb[*place]));
    PlatformPolicy {
        v: V1,
        holder: party(),
        serial: 1,
        issued: NOW,
        releases: Vec::new(),
        denied_measurements: Vec::new(),
        amd: Some(AmdPolicy {
            floors: vec![AmdFloor { product: line.name.to_owned(), versions: versions.collect() }],
            allow_smt: true,
            required: vec![AmdFeature::AliasCheck, AmdFeature::CiphertextHiding],
            highest_vmpl: 0,
            accepted_chips: None,
            denied_chips: Vec::new(),
            host_data: None,
            author_keys: None,
        }),
        intel: None,
        nitro: None,
        tpm: None,
    }
}

#[track_caller]
fn refused(code: Code, change: impl FnOnce(&mut Case)) -> Rejection {
    let mut case = Case::valid();
    change(&mut case);
    let rejection = case.appraise().expect_err("must be refused");
    assert_eq!(rejection.code, code, "{rejection}");
    rejection
}

#[test]
fn every_product_line_and_both_kinds_of_key_are_accepted() {
    for line in [MILAN, GENOA, TURIN] {
        let amd: &'static Amd = Box::leak(Box::new(Amd::new(line)));
        let mut case = Case::of(amd);
        let result = case.appraise().expect("in order");
        assert_eq!((result.status(), result.assurance()), (Tier::Affirming, Assurance::Hardware));
        assert_eq!(result.measurement(), hex::encode(&MEASUREMENT));
        assert_eq!(result.used().items.len(), 4, "{:?}", result.used());
        // A key that a provider loaded, and a report that hides its chip.
        case.loaded = true;
        case.certificates = amd.loaded_certificates(&case.chip);
        case.report.change(0x048, |bits| bits | 1 << 2);
        case.report.put(0x1a0, &[0; 64]);
        case.appraise().expect("in order with a loaded key");
        // Layouts of older firmware: 3 has no mitigation vectors, 2 does not say the product.
        case = Case::of(amd);
        case.report.put(0, &[3]);
        case.appraise().expect("version 3");
        case.report.put(0, &[2]);
        case.report.put(0x188, &[0; 3]);
        case.appraise().expect("version 2");
    }
}

#[test]
fn a_chain_with_one_thing_wrong_is_refused() {
    let amd = milan();
    let sign = |case: &mut Case, change: &dyn Fn(&mut cordon_vendors::pki::Certificate)| {
        let mut vcek = amd.vcek(&case.chip);
        change(&mut vcek);
        case.certificates.leaf = vcek.sign(&amd.ask_key);
    };
    // 9: a root of the right name, made by somebody else.
    refused(Code::UnknownRoot, |case| {
        let forged = Box::leak(Box::new(Amd::new(MILAN)));
        case.certificates = forged.certificates(&case.chip);
    });
    // 12: the authority of the other kind of key.
    refused(Code::CollateralMissing, |case| {
        case.certificates.authority = amd.asvk().sign(&amd.ark_key);
    });
    refused(Code::BadSignature, |case| {
        case.certificates.leaf = amd.vcek(&case.chip).sign(&amd.asvk_key);
    });
    // 13, 37: of another chip, or of other versions.
    refused(Code::WrongChip, |case| {
        sign(case, &|vcek| vcek.set_extension(amd::HARDWARE_ID, vec![0xc8; 64]));
    });
    for name in [0, 1, 2, 7].map(|index| amd::SVN_NAMES[index]) {
        refused(Code::TcbMismatch, |case| {
            sign(case, &|vcek| vcek.set_extension(name, der::number(99)));
        });
    }
    // 14, 37: a certificate that says less, more, or it twice.
    refused(Code::CertificateInvalid, |case| {
        sign(case, &|vcek| vcek.extensions.retain(|one| one.oid != amd::SVN_NAMES[3]));
    });
    refused(Code::CertificateInvalid, |case| {
        sign(case, &|vcek| {
            vcek.extensions.push(Extension::new("1.3.6.1.4.1.3704.1.31", vec![5, 0]))
        });
    });
    refused(Code::CertificateInvalid, |case| {
        sign(case, &|vcek| vcek.extensions.push(vcek.extensions[0].clone()));
    });
    refused(Code::WrongProduct, |case| {
        sign(case, &|vcek| vcek.set_extension(amd::PRODUCT_NAME, der::ia5("Genoa")));
    });
    // 15: an authority that may not be one, or not such a one.
    for extensions in [
        vec![Extension::end_entity(), Extension::key_usage(0x04)],
        vec![Extension::authority(Some(0)), Extension::key_usage(0x80)],
        vec![Extension::authority(Some(0))],
        vec![Extension::key_usage(0x04)],
    ] {
        refused(Code::CertificateInvalid, |case| {
            let mut ask = amd.ask();
            ask.extensions = extensions;
            case.certificates.authority = ask.sign(&amd.ark_key);
        });
    }
    refused(Code::CertificateInvalid, |case| {
        let mut ark = amd.ark();
        ark.extensions = vec![Extension::authority(Some(0)), Extension::key_usage(0x06)];
        case.certificates.ark = ark.sign(&amd.ark_key);
    });
    // 16, 17: one second too late, one second too early.
    let ends = amd.ask().not_after;
    refused(Code::CertificateTime, |case| {
        sign(case, &|vcek| vcek.not_after = amd::NOW - 1);
    });
    refused(Code::CertificateTime, |case| {
        sign(case, &|vcek| vcek.not_before = amd::NOW + 1);
    });
    refused(Code::CertificateTime, |case| case.now = UnixSeconds::new(ends + 1));
    // 18: another algorithm than AMD's, though the signature is good by it.
    refused(Code::CertificateInvalid, |case| {
        let vcek = amd.vcek(&case.chip);
        let pkcs1 = der::sequence(&[der::oid("1.2.840.113549.1.1.12"), der::null()]);
        case.certificates.leaf = vcek.sign_as(&amd.ask_key, &pkcs1);
    });
    // Another curve for the chip.
    refused(Code::CertificateInvalid, |case| {
        sign(case, &|vcek| vcek.key = Key::p256().info());
    });
}

#[test]
fn a_revocation_list_with_one_thing_wrong_is_refused() {
    let amd = milan();
    let list = |case: &mut Case, change: &dyn Fn(&mut cordon_vendors::pki::RevocationList)| {
        let mut crl = amd.crl();
        change(&mut crl);
        case.certificates.crl = crl.sign(&amd.ark_key);
    };
    // 24: the authority is revoked; the serial 0 that all chips share revokes nobody.
    refused(Code::CertificateRevoked, |case| {
        list(case, &|crl| crl.revoked.push(amd.ask().serial));
    });
    let mut harmless = Case::valid();
    list(&mut harmless, &|crl| crl.revoked.push(vec![0]));
    harmless.appraise().expect("no authority is revoked");
    // 26 to 28.
    refused(Code::CollateralTime, |case| list(case, &|crl| crl.next_update = Some(amd::NOW - 1)));
    refused(Code::CollateralTime, |case| list(case, &|crl| crl.this_update = amd::NOW + 1));
    refused(Code::CollateralTime, |case| list(case, &|crl| crl.next_update = None));
    // 29: signed by somebody else, or of another product.
    refused(Code::BadSignature, |case| case.certificates.crl = amd.crl().sign(&amd.ask_key));
    refused(Code::CollateralMissing, |case| {
        list(case, &|crl| crl.issuer = amd.name("ARK-Genoa"));
    });
    // 30: none at all.
    refused(Code::CollateralMissing, |case| {
        let Certificates { ark, .. } = case.certificates.clone();
        case.certificates.crl = ark;
    });
    // A list of changes only.
    refused(Code::CertificateInvalid, |case| {
        let critical = Extension { oid: "2.5.29.27", critical: true, value: der::number(1) };
        list(case, &|crl| crl.extensions.push(critical.clone()));
    });
    refused(Code::CollateralInvalid, |case| list(case, &|crl| crl.extensions.clear()));
    // 35: an older list than was seen, though it is still in its time.
    let key = || CollateralKey::AmdRevocations(Generation::Milan);
    refused(Code::CollateralRollback, |case| case.seen = vec![(key(), amd::CRL_NUMBER + 1)]);
    let mut newest = Case::valid();
    newest.seen = vec![(key(), amd::CRL_NUMBER)];
    let result = newest.appraise().expect("the list that was seen");
    assert_eq!(result.used().numbers[&key()], amd::CRL_NUMBER);
    // What the relying party has itself, evidence cannot replace.
    refused(Code::CertificateRevoked, |case| {
        let mut crl = amd.crl();
        crl.revoked.push(amd.ask().serial);
        case.own = vec![crl.sign(&amd.ark_key)];
    });
}

#[test]
fn a_report_with_one_thing_wrong_is_refused() {
    // 2: other report data, with a correct beginning.
    refused(Code::NotBound, |case| case.report.0[0x08f] ^= 1);
    // 11, 40: of another product line than its certificates.
    refused(Code::WrongProduct, |case| {
        case.certificates = {
            let chain = case.amd.certificates(&case.chip);
            case.own = [&chain.ark, &chain.authority, &chain.leaf].map(Clone::clone).to_vec();
            chain
        };
        case.report.put(0x188, &GENOA.cpuid);
    });
    refused(Code::TcbMismatch, |case| case.report.put(0x180, &[3, 63, 123, 183, 0, 0, 0, 0]));
    // 54, 55, 56.
    for bits in [1_u32 << 1, 7 << 2, 1 << 5] {
        refused(Code::Malformed, |case| case.report.put(0x048, &bits.to_le_bytes()));
    }
    refused(Code::Malformed, |case| case.report.put(0x110, &[1; 48]));
    refused(Code::WrongChip, |case| case.report.put(0x1a0, &[0; 64]));
    for version in [0_u32, 1, 4, 6, u32::MAX] {
        refused(Code::Malformed, |case| case.report.put(0, &version.to_le_bytes()));
    }
    // 10: a product that nobody knows.
    refused(Code::Malformed, |case| case.report.put(0x188, &[0x1a, 0x90, 0]));
    // 80: reserved bytes and bits.
    for place in [0x04c, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x208, 0x29f, 0x00f, 0x047] {
        refused(Code::Malformed, |case| case.report.0[place] = 0x80);
    }
    // 81: a signature that is no signature.
    let mut case = Case::valid();
    case.report.0[0x050] ^= 0;
    let good = case.report.clone().sign(&case.chip.key);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let evidence = Evidence {
            tee: TeeKind::SevSnp,
            evidence: bytes.into(),
            collateral: Some(case.certificates.table(false).into()),
            runtime_data: case.runtime.clone().into(),
        };
        case.appraise_evidence(&evidence).map(drop).map_err(|rejection| rejection.code)
    };
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|bytes| bytes[0x2a0..0x2d0].fill(0)), Err(Code::BadSignature));
    assert_eq!(with(&|bytes| bytes[0x2e8..0x318].fill(0)), Err(Code::BadSignature));
    assert_eq!(with(&|bytes| bytes[0x2a0..0x2d0].fill(0xff)), Err(Code::BadSignature));
    for padding in [0x2d0, 0x2e7, 0x318, 0x330, 0x49f] {
        assert_eq!(with(&|bytes| bytes[padding] = 1), Err(Code::Malformed), "{padding:#x}");
    }
    // 78, 79: shorter, longer.
    for size in 0..good.len() {
        assert_eq!(with(&|bytes| bytes.truncate(size)), Err(Code::Malformed));
    }
    assert_eq!(with(&|bytes| bytes.push(0)), Err(Code::Malformed));
    // 83, 84: under the label of another kind.
    refused(Code::SoftwareTeeRefused, |case| case.tee = TeeKind::Software);
    refused(Code::TeeNotAccepted, |case| case.tee = TeeKind::Tdx);
}

#[test]
fn a_platform_that_the_holder_does_not_accept_is_refused() {
    // 36, 39: below the floor now, or when the guest was launched; the remedy says what to do.
    let low = refused(Code::TcbTooOld, |case| {
        let versions = &mut case.amd_policy().floors[0].versions;
        *versions.get_mut("microcode").expect("a part") += 1;
    });
    assert_eq!(low.remedy, "The microcode has security version 183, needs 184: update it.");
    let launch = refused(Code::TcbTooOld, |case| case.report.0[0x1f7] -= 1);
    assert_eq!(launch.field, "report.launch_tcb");
    refused(Code::TcbTooOld, |case| case.amd_policy().floors[0].product = "Genoa".to_owned());
    // 38: firmware that can still be rolled back.
    refused(Code::TcbProvisional, |case| case.report.0[0x1e0] -= 1);
    refused(Code::TcbProvisional, |case| case.report.0[0x038] -= 1);
    // 45, 50: always, whatever the policy.
    refused(Code::DebugEnabled, |case| case.report.change(0x008, |bits| bits | 1 << 19));
    refused(Code::MigrationEnabled, |case| case.report.change(0x008, |bits| bits | 1 << 18));
    refused(Code::MigrationEnabled, |case| case.report.put(0x160, &[1; 32]));
    // 49, 51, 52.
    refused(Code::PrivilegeRefused, |case| case.report.put(0x030, &[1]));
    let smt = refused(Code::ConfigurationRefused, |case| case.amd_policy().allow_smt = false);
    assert_eq!(smt.field, "report.platform_info.smt");
    let smt = refused(Code::ConfigurationRefused, |case| {
        case.amd_policy().allow_smt = false;
        case.report.change(0x040, |bits| bits & !1);
    });
    assert_eq!(smt.field, "report.policy.smt");
    for bit in [4, 5] {
        refused(Code::ConfigurationRefused, |case| {
            case.report.change(0x040, |bits| bits & !(1 << bit));
        });
    }
    for feature in [AmdFeature::RaplOff, AmdFeature::SingleSocket, AmdFeature::Aes256Xts] {
        refused(Code::ConfigurationRefused, |case| case.amd_policy().required = vec![feature]);
    }
    // 24: chips.
    let id = hex::encode(&[0xc7; 64]);
    let denied = |tcb| DeniedChip { chip_id: id.clone(), tcb };
    refused(Code::ChipRefused, |case| case.amd_policy().denied_chips = vec![denied(None)]);
    refused(Code::ChipRefused, |case| {
        let tcb = hex::encode(&case.chip.tcb);
        case.amd_policy().denied_chips = vec![denied(Some(tcb))];
    });
    refused(Code::ChipRefused, |case| case.amd_policy().accepted_chips = Some(Vec::new()));
    let mut other = Case::valid();
    other.amd_policy().denied_chips = vec![denied(Some("00".repeat(8)))];
    other.amd_policy().accepted_chips = Some(vec![id.clone()]);
    other.appraise().expect("denied with other versions only");
    // 60, 63, 64.
    refused(Code::WrongMeasurement, |case| case.report.0[0x090] ^= 1);
    refused(Code::WrongLaunchData, |case| case.amd_policy().host_data = Some("11".repeat(32)));
    refused(Code::WrongSigner, |case| case.amd_policy().author_keys = Some(vec!["22".repeat(48)]));
    let mut signed = Case::valid();
    signed.report.change(0x048, |bits| bits | 1);
    signed.report.put(0x110, &[0x22; 48]);
    signed.amd_policy().author_keys = Some(vec!["22".repeat(48)]);
    signed.appraise().expect("signed by an accepted author");
    // Nobody has said what is accepted.
    refused(Code::PlatformPolicyMissing, |case| case.policy.amd = None);
}

#[test]
fn an_agreed_release_is_what_the_holder_says_that_it_measures_as() {
    let release = |version| GuardRelease {
        signer: signer().verifying_key(),
        product: "cordon-enclave".to_owned(),
        version,
        measurements: vec![Reference::Exact {
            tee: TeeKind::SevSnp,
            measurement: hex::encode(&MEASUREMENT),
        }],
    };
    let with = |change: &dyn Fn(&mut Case)| {
        let mut case = Case::valid();
        case.platform.measurements.clear();
        case.platform.releases = vec![ReleaseRule {
            signer: signer().verifying_key(),
            product: "cordon-enclave".to_owned(),
            minimum_version: ReleaseVersion(1, 4, 0),
        }];
        case.policy.releases = vec![release(ReleaseVersion(1, 10, 0))];
        change(&mut case);
        case.appraise().map_err(|rejection| rejection.code)
    };
    let result = with(&|_| {}).expect("an accepted release");
    let words: Vec<_> = result.reasons().iter().map(|one| one.sentence.as_str()).collect();
    assert!(words.iter().any(|words| words.contains("`cordon-enclave 1.10.0`")), "{words:?}");
    let refused = |change: &dyn Fn(&mut Case)| with(change).expect_err("refused");
    let older = |case: &mut Case| case.policy.releases = vec![release(ReleaseVersion(1, 3, 9))];
    assert_eq!(refused(&older), Code::TeeNotAccepted);
    let other = |case: &mut Case| case.policy.releases[0].product = "other".to_owned();
    assert_eq!(refused(&other), Code::TeeNotAccepted);
    let denied =
        |case: &mut Case| case.policy.denied_measurements = vec![hex::encode(&MEASUREMENT)];
    assert_eq!(refused(&denied), Code::TeeNotAccepted);
    assert_eq!(refused(&|case| case.policy.releases.clear()), Code::TeeNotAccepted);
}

#[test]
fn what_ends_within_a_week_is_said_with_its_date() {
    let mut case = Case::valid();
    case.now = UnixSeconds::new(amd::CRL_ENDS - 86_400);
    let result = case.appraise().expect("in order for a day more");
    let [notice] = result.notices() else { panic!("{:?}", result.notices()) };
    assert!(notice.contains("2027-02-14"), "{notice}");
    assert!(Case::valid().appraise().expect("in order").notices().is_empty());
}
