//! Quotes of TPM 2.0: a genuine one of Azure's vTPM, and a look-alike's with one thing wrong.

use std::sync::LazyLock;

use cordon_vendors::genuine;
use cordon_vendors::pki::Key;
use cordon_vendors::tpm::{ATTESTATION_KEY, Attest, public_area, sign, signature, sized};
use cordon_verifier::tpm::{
    Bank, Enrolled, Examined, Name, PcrValues, PublicArea, Quote, SigningKey, admit,
};
use cordon_verifier::{Rejection, RejectionCode};

#[track_caller]
fn refused<T>(result: Result<T, Rejection>, code: RejectionCode, field: &str) {
    let rejection = result.err().expect("must be refused");
    assert_eq!((rejection.code, rejection.field), (code, field), "{rejection}");
}

/// A genuine quote, its parts as Azure's vTPM gave them.
struct Genuine {
    signature: Vec<u8>,
    attest: Vec<u8>,
    registers: PcrValues,
    key: SigningKey,
}

impl Genuine {
    fn new() -> Self {
        let file = |name: &str| genuine::crate_file("az-cvm-vtpm", "0.8.2", name);
        let file_bytes = file("test/quote.bin");
        let mut rest = file_bytes.as_slice();
        let mut take = |size: usize| {
            let (taken, left) = rest.split_at(size);
            rest = left;
            taken.to_vec()
        };
        let mut counted = |wanted: usize| {
            let size = u64::from_le_bytes(take(8).try_into().expect("8 bytes"));
            assert_eq!(size, wanted as u64);
            take(wanted)
        };
        let (raw, attest) = (counted(256), counted(122));
        assert_eq!(take(8), 24_u64.to_le_bytes(), "registers");
        let values = (0..24).map(|index| (index, take(32))).collect::<Vec<_>>();
        assert!(rest.is_empty(), "{} bytes more", rest.len());
        let info = genuine::pem(&file("test/akpub.pem"), "PUBLIC KEY").remove(0);
        // SubjectPublicKeyInfo of RSA-2048: the modulus stands before an exponent of five bytes.
        let modulus = &info[info.len() - 261..info.len() - 5];
        Self {
            signature: [&[0x00, 0x14, 0x00, 0x0b], sized(&raw).as_slice()].concat(),
            attest,
            registers: PcrValues::new(Bank::Sha256, values).expect("registers"),
            key: SigningKey::rsa(modulus, 65_537).expect("a key"),
        }
    }

    fn verify(&self) -> Result<(), Rejection> {
        let quote = Quote::parse(&self.attest, &self.signature)?;
        quote.verify_by(&self.key, b"challenge", &self.registers).map(drop)
    }
}

#[test]
fn a_genuine_quote_holds_for_its_challenge_only() {
    let genuine = Genuine::new();
    let quote = Quote::parse(&genuine.attest, &genuine.signature).expect("a quote");
    let examined = quote.verify_by(&genuine.key, b"challenge", &genuine.registers);
    let claims = examined.expect("genuine").claims();
    assert_eq!((claims.reset_count, claims.restart_count, claims.clock_safe), (3, 0, true));
    assert_eq!((claims.registers.len(), claims.bank), (24, Bank::Sha256));
    assert_eq!((claims.attestation_key, claims.key_algorithm), (None, "rsa-2048"));
    for (other, code) in [
        (&b"challengf"[..], RejectionCode::NotBound),
        (b"challenge\0", RejectionCode::NotBound),
        (b"challeng", RejectionCode::NotBound),
        (b"", RejectionCode::Unbound),
    ] {
        let verified = quote.verify_by(&genuine.key, other, &genuine.registers);
        refused(verified, code, "quote.extra_data");
    }
}

/// One bit of each byte of quote, signature and key.
#[test]
fn every_byte_of_a_genuine_quote_counts() {
    let flip = |bytes: &mut Vec<u8>, place: usize| bytes[place] ^= 1 << (place % 8);
    let size = Genuine::new().attest.len();
    for place in 0..size {
        let mut changed = Genuine::new();
        flip(&mut changed.attest, place);
        assert!(changed.verify().is_err(), "quote, byte {place:#x}");
    }
    let size = Genuine::new().signature.len();
    let good = Genuine::new();
    for place in 0..size {
        let mut signature = good.signature.clone();
        flip(&mut signature, place);
        let parsed = Quote::parse(&good.attest, &signature);
        let verified = parsed
            .and_then(|quote| quote.verify_by(&good.key, b"challenge", &good.registers).map(drop));
        assert!(verified.is_err(), "signature, byte {place:#x}");
    }
    for index in 0..24 {
        let mut values = good.registers.values().clone();
        values.entry(index).and_modify(|value| value[(index % 32) as usize] ^= 1);
        let registers = PcrValues::new(Bank::Sha256, values).expect("registers");
        let quote = Quote::parse(&good.attest, &good.signature).expect("a quote");
        let verified = quote.verify_by(&good.key, b"challenge", &registers);
        refused(verified, RejectionCode::EventLogMismatch, "quote.pcr_digest");
    }
}

#[test]
fn a_quote_that_is_cut_or_longer_is_refused() {
    let good = Genuine::new();
    for size in 0..good.attest.len() {
        let rejection = Quote::parse(&good.attest[..size], &good.signature).expect_err("cut");
        assert_eq!(rejection.code, RejectionCode::Malformed, "{size}: {rejection}");
    }
    for size in 0..good.signature.len() {
        let rejection = Quote::parse(&good.attest, &good.signature[..size]).expect_err("cut");
        assert_eq!(rejection.code, RejectionCode::Malformed, "{size}: {rejection}");
    }
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    let parsed = Quote::parse(&good.attest, &good.signature).map(drop);
    parsed.expect("a quote");
    let attest = longer(&good.attest);
    refused(Quote::parse(&attest, &good.signature), RejectionCode::Malformed, "quote");
    let signature = longer(&good.signature);
    refused(Quote::parse(&good.attest, &signature), RejectionCode::Malformed, "quote.signature");
    let huge = vec![0; 513];
    refused(Quote::parse(&huge, &good.signature), RejectionCode::TooLarge, "quote");
}

static P256: LazyLock<Key> = LazyLock::new(Key::p256);
static RSA: LazyLock<Key> = LazyLock::new(Key::rsa_2048);

const CHALLENGE: &[u8] = &[0x42; 32];

fn registers() -> Vec<(u32, Vec<u8>)> {
    [0, 1, 7, 16].into_iter().map(|index| (index, vec![index as u8 + 1; 32])).collect()
}

/// A quote by a look-alike, and all that it is verified with.
struct Case<'k> {
    attest: Attest,
    attributes: u32,
    registers: Vec<(u32, Vec<u8>)>,
    key: &'k Key,
}

impl Case<'_> {
    fn new() -> Self {
        Self::by(&P256)
    }
}

impl<'k> Case<'k> {
    fn by(key: &'k Key) -> Self {
        let (attest, registers) = (Attest::new(CHALLENGE, &registers()), registers());
        Self { attest, attributes: ATTESTATION_KEY, registers, key }
    }

    fn with(change: impl FnOnce(&mut Attest)) -> Case<'static> {
        let mut case = Case::new();
        change(&mut case.attest);
        case
    }

    fn values(&self) -> PcrValues {
        PcrValues::new(Bank::Sha256, self.registers.clone()).expect("registers")
    }

    fn verify(&self) -> Result<Seen, Rejection> {
        let attest = self.attest.encode();
        self.verify_signed(&attest, &sign(self.key, &attest))
    }

    fn verify_signed(&self, attest: &[u8], signature: &[u8]) -> Result<Seen, Rejection> {
        let public = public_area(self.key, self.attributes);
        let key = PublicArea::parse(&public).expect("a public area");
        let examined = Quote::parse(attest, signature)?.verify(&key, CHALLENGE, &self.values())?;
        assert_eq!(examined.signer(), Some(&key.name()));
        Ok(Seen { claims: examined.claims(), name: key.name() })
    }

    /// The quote, verified, for an enrolment.
    fn examined<R>(&self, look: impl FnOnce(&Examined<'_>) -> R) -> R {
        let attest = self.attest.encode();
        let signature = sign(self.key, &attest);
        let public = public_area(self.key, self.attributes);
        let key = PublicArea::parse(&public).expect("a public area");
        let quote = Quote::parse(&attest, &signature).expect("a quote");
        look(&quote.verify(&key, CHALLENGE, &self.values()).expect("verified"))
    }
}

#[derive(Debug)]
struct Seen {
    claims: cordon_verifier::tpm::Claims,
    name: Name,
}

#[test]
fn a_look_alikes_quote_holds_with_either_kind_of_key() {
    for (key, algorithm) in [(&*P256, "ecdsa-p256"), (&*RSA, "rsa-2048")] {
        let seen = Case::by(key).verify().expect("valid");
        assert_eq!(seen.claims.key_algorithm, algorithm);
        assert_eq!(seen.claims.attestation_key, Some(seen.name.to_string()));
        assert_eq!(seen.claims.registers.keys().copied().collect::<Vec<_>>(), [0, 1, 7, 16]);
        let json = serde_json::to_value(&seen.claims).expect("JSON");
        assert_eq!(json["bank"], "sha256");
        assert_eq!(json["registers"]["7"], "08".repeat(32));
        assert_eq!(json["firmware"], "2019102300163636");
    }
}

/// Cases 66 and 67.
#[test]
fn a_quote_of_other_registers_or_values_is_refused() {
    const MISMATCH: RejectionCode = RejectionCode::EventLogMismatch;
    const SELECTION: &str = "quote.pcr_selection";
    // Another selection, with the same digest.
    let other = Case::with(|attest| attest.selection[0].1[0] = 0b1000_0101);
    refused(other.verify(), MISMATCH, SELECTION);
    // A register less, and one more, than is quoted.
    let mut missing = Case::new();
    missing.registers.pop();
    refused(missing.verify(), MISMATCH, SELECTION);
    let mut more = Case::new();
    more.registers.push((17, vec![0; 32]));
    refused(more.verify(), MISMATCH, SELECTION);
    // Nothing is quoted, and nothing is given: the hash of nothing is right.
    let mut empty = Case::new();
    empty.registers.clear();
    empty.attest = Attest::new(CHALLENGE, &[]);
    refused(empty.verify(), RejectionCode::WrongMeasurement, SELECTION);
    empty.attest.selection.clear();
    refused(empty.verify(), RejectionCode::WrongMeasurement, SELECTION);
    // Registers of another bank, or of two banks.
    let other = Case::with(|attest| attest.selection[0].0 = 0x000c);
    refused(other.verify(), MISMATCH, SELECTION);
    let two = Case::with(|attest| attest.selection.push((0x000c, vec![1, 0, 0])));
    refused(two.verify(), MISMATCH, SELECTION);
    // Values that do not hash to the digest: one changed, and two exchanged.
    let mut changed = Case::new();
    changed.registers[2].1[31] ^= 1;
    refused(changed.verify(), MISMATCH, "quote.pcr_digest");
    let mut exchanged = Case::new();
    exchanged.registers[0].1 = vec![2; 32];
    exchanged.registers[1].1 = vec![1; 32];
    refused(exchanged.verify(), MISMATCH, "quote.pcr_digest");
}

#[test]
fn values_of_registers_have_one_form() {
    let values = |values: Vec<(u32, Vec<u8>)>| PcrValues::new(Bank::Sha256, values);
    for wrong in [
        vec![(24, vec![0; 32])],
        vec![(0, vec![0; 31])],
        vec![(0, vec![0; 48])],
        vec![(0, vec![0; 32]), (0, vec![0; 32])],
    ] {
        refused(values(wrong), RejectionCode::Malformed, "pcr_values");
    }
    assert!(PcrValues::new(Bank::Sha384, [(0, vec![0; 48])]).is_ok());
}

/// Cases 68, 69, 80 and 82: what a TPM never writes.
#[test]
fn what_is_no_quote_is_refused() {
    let malformed = |change: &dyn Fn(&mut Attest), field| {
        refused(Case::with(|attest| change(attest)).verify(), RejectionCode::Malformed, field);
    };
    malformed(&|attest| attest.magic = 0xff54_4346, "quote.magic");
    for kind in [0x8017, 0x8019, 0x8014, 0] {
        malformed(&|attest| attest.kind = kind, "quote.type");
    }
    malformed(&|attest| attest.safe = 2, "quote.safe");
    malformed(&|attest| attest.signer[1] = 0x0c, "quote.qualified_signer");
    malformed(&|attest| attest.signer.truncate(4), "quote.qualified_signer");
    malformed(&|attest| attest.signer.clear(), "quote.qualified_signer");
    malformed(&|attest| attest.extra_data = vec![1; 67], "quote.extra_data");
    malformed(&|attest| attest.pcr_digest.truncate(31), "quote.pcr_digest");
    malformed(&|attest| attest.pcr_digest.push(0), "quote.pcr_digest");
    // Banks: unknown, SHA-1, twice, a bitmap of another length, too many.
    malformed(&|attest| attest.selection[0].0 = 0x0004, "quote.pcr_selection");
    malformed(&|attest| attest.selection[0].0 = 0x0027, "quote.pcr_selection");
    malformed(&|attest| attest.selection.push(attest.selection[0].clone()), "quote.pcr_selection");
    malformed(&|attest| attest.selection[0].1.push(0), "quote.pcr_selection");
    malformed(&|attest| attest.selection[0].1.truncate(2), "quote.pcr_selection");
    // Lengths that go beyond the end, at each place that has one.
    let attest = Case::new().attest.encode();
    let signature = sign(&P256, &attest);
    let selection = 6 + 36 + 34 + 25;
    for (place, size, field) in [
        (6, 2, "quote.qualified_signer"),
        (42, 2, "quote.extra_data"),
        (selection, 4, "quote.pcr_selection"),
        (selection + 6, 1, "quote.pcr_selection"),
        (selection + 10, 2, "quote.pcr_digest"),
    ] {
        let mut huge = attest.clone();
        huge[place..place + size].fill(0xff);
        refused(Quote::parse(&huge, &signature), RejectionCode::Malformed, field);
    }
    for (place, field) in [(4, "quote.signature.r"), (38, "quote.signature.s")] {
        let mut huge = signature.clone();
        huge[place..place + 2].fill(0xff);
        refused(Quote::parse(&attest, &huge), RejectionCode::Malformed, field);
    }
}

/// Cases 78 and 79, with a key on P-256.
#[test]
fn a_look_alikes_quote_that_is_cut_or_longer_is_refused() {
    let attest = Case::new().attest.encode();
    let signature = sign(&P256, &attest);
    Case::new().verify_signed(&attest, &signature).expect("valid");
    for size in 0..attest.len() {
        // Signed again: only the form is wrong.
        let cut = &attest[..size];
        let refused = Case::new().verify_signed(cut, &sign(&P256, cut)).expect_err("cut");
        assert_eq!(refused.code, RejectionCode::Malformed, "{size}: {refused}");
    }
    for size in 0..signature.len() {
        let cut = Case::new().verify_signed(&attest, &signature[..size]).expect_err("cut");
        assert_eq!(cut.code, RejectionCode::Malformed, "{size}: {cut}");
    }
    let longer = [attest.as_slice(), &[0]].concat();
    let longer_signed = Case::new().verify_signed(&longer, &sign(&P256, &longer));
    refused(longer_signed, RejectionCode::Malformed, "quote");
    let longer = [signature.as_slice(), &[0]].concat();
    let verified = Case::new().verify_signed(&attest, &longer);
    refused(verified, RejectionCode::Malformed, "quote.signature");
}

/// Case 81.
#[test]
fn r_and_s_are_numbers_below_the_order_in_any_length() {
    const ORDER: [u8; 32] = *b"\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\
                              \xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
    let attest = Case::new().attest.encode();
    let raw = P256.sign_raw(&attest);
    for wrong in [[0; 32], ORDER, [0xff; 32]] {
        let r = signature(&P256, &[&wrong, &raw[32..]].concat());
        refused(Quote::parse(&attest, &r), RejectionCode::Malformed, "quote.signature.r");
        let s = signature(&P256, &[&raw[..32], &wrong].concat());
        refused(Quote::parse(&attest, &s), RejectionCode::Malformed, "quote.signature.s");
    }
    let head = [0x00, 0x18, 0x00, 0x0b];
    let parts = |r: &[u8], s: &[u8]| [&head[..], &sized(r), &sized(s)].concat();
    let longer = parts(&[&[0], &raw[..32]].concat(), &raw[32..]);
    refused(Quote::parse(&attest, &longer), RejectionCode::Malformed, "quote.signature.r");
    let empty = parts(&raw[..32], &[]);
    refused(Quote::parse(&attest, &empty), RejectionCode::Malformed, "quote.signature.s");
    // A TPM that leaves out a leading zero: one signature of 256 has one.
    let short = (0..10_000).find_map(|_| {
        let raw = P256.sign_raw(&attest);
        (raw[0] == 0).then(|| parts(&raw[1..32], &raw[32..]))
    });
    Case::new().verify_signed(&attest, &short.expect("one of 256")).expect("valid");
}

#[test]
fn algorithms_of_signatures_are_those_of_the_key() {
    let attest = Case::new().attest.encode();
    let change = |place: usize, value: u8| {
        let mut signature = sign(&P256, &attest);
        signature[place] = value;
        signature
    };
    // ECDAA, and SHA-384.
    let parsed = |signature: &[u8]| Quote::parse(&attest, signature).map(drop);
    refused(parsed(&change(1, 0x1a)), RejectionCode::Malformed, "quote.signature.algorithm");
    refused(parsed(&change(3, 0x0c)), RejectionCode::Malformed, "quote.signature.hash");
    // PSS: what a key says that is not restricted to RSASSA.
    refused(parsed(&change(1, 0x16)), RejectionCode::Malformed, "quote.signature.algorithm");
    let by_rsa = sign(&RSA, &attest);
    let verified = Case::new().verify_signed(&attest, &by_rsa);
    refused(verified, RejectionCode::BadSignature, "quote.signature");
    let mut short = by_rsa;
    short.truncate(4);
    short.extend(sized(&[1; 255]));
    refused(parsed(&short), RejectionCode::Malformed, "quote.signature");
}

/// Case 70.
#[test]
fn a_key_that_signs_more_than_its_tpm_has_seen_is_unfit() {
    for (change, what) in [
        (1 << 1, "fixedTPM"),
        (1 << 4, "fixedParent"),
        (1 << 5, "sensitiveDataOrigin"),
        (1 << 16, "restricted"),
        (1 << 17, "decrypt"),
        (1 << 18, "sign"),
    ] {
        let mut case = Case::new();
        case.attributes ^= change;
        let rejection = case.verify().expect_err(what);
        assert_eq!(rejection.code, RejectionCode::AttestationKeyUnfit, "{what}: {rejection}");
        assert!(rejection.found.contains(what), "{rejection}");
    }
    let public = public_area(&P256, ATTESTATION_KEY);
    let unfit = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut public = public.clone();
        change(&mut public);
        PublicArea::parse(&public).expect("a key").require_attestation_key().map(drop)
    };
    // Without a scheme, and with a cipher as storage keys have.
    let no_scheme = unfit(&|public| drop(public.splice(12..16, [0x00, 0x10])));
    refused(no_scheme, RejectionCode::AttestationKeyUnfit, "public.attributes");
    let cipher = [0x00, 0x06, 0x00, 0x80, 0x00, 0x43];
    let storage = unfit(&|public| drop(public.splice(10..12, cipher)));
    refused(storage, RejectionCode::AttestationKeyUnfit, "public.attributes");
    let key = PublicArea::parse(&public).expect("a key");
    let endorsement = key.require_endorsement_key().map(drop);
    refused(endorsement, RejectionCode::AttestationKeyUnfit, "endorsement_key.attributes");
}

#[test]
fn public_areas_have_one_form() {
    for key in [&*P256, &*RSA] {
        let good = public_area(key, ATTESTATION_KEY);
        for size in 0..good.len() {
            let rejection = PublicArea::parse(&good[..size]).expect_err("cut");
            assert_eq!(rejection.code, RejectionCode::Malformed, "{size}: {rejection}");
        }
        let longer = [good.as_slice(), &[0]].concat();
        refused(PublicArea::parse(&longer), RejectionCode::Malformed, "public");
        // Each byte is refused, or it is part of the name.
        let name = PublicArea::parse(&good).expect("a key").name();
        for place in 0..good.len() {
            let mut changed = good.clone();
            changed[place] ^= 1 << (place % 8);
            let other = PublicArea::parse(&changed).map(|key| key.name());
            assert!(other.is_err() || other != Ok(name), "byte {place}");
        }
    }
    let change = |key: &Key, place: usize, bytes: &[u8]| {
        let mut public = public_area(key, ATTESTATION_KEY);
        public[place..place + bytes.len()].copy_from_slice(bytes);
        PublicArea::parse(&public).map(drop)
    };
    for (place, bytes, field) in [
        (0, &[0x00, 0x08][..], "public.type"),
        (2, &[0x00, 0x0c], "public.name_algorithm"),
        (4, &[0x80], "public.attributes"),
        (8, &[0xff, 0xff], "public.policy"),
        (8, &[0x00, 0x01], "public.policy"),
        (10, &[0x00, 0x06], "public.symmetric"),
        (12, &[0x00, 0x1a], "public.scheme"),
        (14, &[0x00, 0x0c], "public.scheme"),
        (16, &[0x00, 0x04], "public.curve"),
        (18, &[0x00, 0x22], "public.kdf"),
        (20, &[0x00, 0x21], "public.x"),
        (54, &[0xff, 0xff], "public.y"),
        (22, &[0xff; 32], "key.point"),
    ] {
        refused(change(&P256, place, bytes), RejectionCode::Malformed, field);
    }
    for (place, bytes, field) in [
        (12, &[0x00, 0x16][..], "public.scheme"),
        (16, &[0x04, 0x00], "public.key_bits"),
        (18, &[0, 0, 0, 3], "key.exponent"),
        (22, &[0x01, 0x01], "public.modulus"),
        (24, &[0x7f], "key.modulus"),
    ] {
        refused(change(&RSA, place, bytes), RejectionCode::Malformed, field);
    }
    // The exponent, written out.
    change(&RSA, 18, &[0, 1, 0, 1]).expect("a key");
    assert!(Name::from_bytes([0; 34]).is_err());
}

/// Case 73, as far as signatures go.
#[test]
fn a_quote_by_another_key_is_refused() {
    let attest = Case::new().attest.encode();
    let by_another = sign(&Key::p256(), &attest);
    let verified = Case::new().verify_signed(&attest, &by_another);
    refused(verified, RejectionCode::BadSignature, "quote.signature");
}

/// Cases 1 to 3, for TPMs.
#[test]
fn a_quote_for_another_challenge_is_refused() {
    const FIELD: &str = "quote.extra_data";
    for (extra_data, code) in [
        (vec![0x43; 32], RejectionCode::NotBound),
        (vec![0x42; 31], RejectionCode::NotBound),
        (vec![0x42; 33], RejectionCode::NotBound),
        (Vec::new(), RejectionCode::Unbound),
    ] {
        refused(Case::with(|attest| attest.extra_data = extra_data).verify(), code, FIELD);
    }
}

/// Cases 71, 73 and 74.
#[test]
fn only_enrolled_machines_are_admitted_and_their_counters_only_go_up() {
    const BACK: RejectionCode = RejectionCode::CounterWentBack;
    let name = Case::new().verify().expect("valid").name;
    let last =
        Enrolled { attestation_key: name, reset_count: 7, restart_count: 3, clock_ms: 1_000_000 };
    let machine = |change: &dyn Fn(&mut Attest)| {
        Case::with(|attest| change(attest)).examined(|examined| admit(&[last], examined))
    };
    assert_eq!(machine(&|_| ()), Ok(last));
    let later = machine(&|attest| (attest.clock, attest.restart_count) = (2_000_000, 4));
    assert_eq!(later, Ok(Enrolled { restart_count: 4, clock_ms: 2_000_000, ..last }));
    refused(machine(&|attest| attest.reset_count = 6), BACK, "quote.reset_count");
    refused(machine(&|attest| attest.restart_count = 2), BACK, "quote.restart_count");
    refused(machine(&|attest| attest.clock = 999_999), BACK, "quote.clock");
    // A reset counts restarts anew, and only after a loss of power the clock may be behind.
    let reset = |clock, safe| {
        machine(&move |attest| {
            (attest.reset_count, attest.restart_count) = (8, 0);
            (attest.clock, attest.safe) = (clock, safe);
        })
    };
    assert!(reset(1_000_000, 1).is_ok() && reset(999_000, 0).is_ok());
    refused(reset(999_000, 1), BACK, "quote.clock");
    // The clock alone says that it is unsure: without a reset that cannot be.
    let unsure = machine(&|attest| (attest.clock, attest.safe) = (999_999, 0));
    refused(unsure, BACK, "quote.clock");

    const UNKNOWN: RejectionCode = RejectionCode::AttestationKeyUnknown;
    let nobody = Case::new().examined(|examined| admit(&[], examined));
    refused(nobody, UNKNOWN, "attestation_key");
    let other = Key::p256();
    let other = Case::by(&other).examined(|examined| admit(&[last], examined));
    refused(other, UNKNOWN, "attestation_key");
    // The same key with one attribute more (noDA) is another object.
    let mut case = Case::new();
    case.attributes |= 1 << 10;
    refused(case.examined(|examined| admit(&[last], examined)), UNKNOWN, "attestation_key");
    // A bare key has no name to be enrolled by.
    let genuine = Genuine::new();
    let quote = Quote::parse(&genuine.attest, &genuine.signature).expect("a quote");
    let bare = quote.verify_by(&genuine.key, b"challenge", &genuine.registers).expect("genuine");
    refused(admit(&[last], &bare), UNKNOWN, "attestation_key");
}
