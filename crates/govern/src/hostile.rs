//! Documents and rules from outside, random and almost right: every check refuses or permits what
//! it says, and none of them panics.

use cordon_crypto::SigningKey;
use cordon_crypto::canonical::from_canonical;
use cordon_crypto::dsse::{Document, Envelope};
use cordon_protocol::decision::Verdict;
use cordon_protocol::entry::{Action, MAX_ENTRY_BYTES};
use cordon_protocol::grant::GrantContext;
use cordon_protocol::party::{Enrolment, Profile};
use cordon_protocol::release::{Assurance, Outcome, Receipt, ReceiptGrant, ReceiptInput};
use cordon_protocol::{Agreement, ReviewDecision, RunRequest, Stop, V1};
use cordon_types::{Base64Bytes, Milliseconds, Nonce};
use cordon_verifier::Collateral;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use crate::document::{
    DocumentError, check_approval, check_enrolment, check_party_card, check_person_card,
    check_review, check_stop,
};
use crate::grant::Trust;
use crate::policy::{MAX_RULES_BYTES, Policy, PolicyError};
use crate::testing::{
    Case, HOSPITALS, NOW, envelope, evidence, key, name, roots, runtime_data, sealed_box, sign,
    signed_manifest,
};
use crate::{CheckedAgreement, Denial, clearance, compare_with_directory, grant};

/// Property tests try the same cases each time and write no files.
fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x4242),
        ..ProptestConfig::default()
    }
}

/// One random change to JSON.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index),
    Node(Index, Value),
    Copy(Index, Index),
    Double(Index),
    Drop(Index),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let values = vec![
        json!(null),
        json!(0),
        json!(1),
        json!(-1),
        json!(2),
        json!(u32::MAX),
        json!((1_u64 << 53) - 1),
        json!(1_u64 << 53),
        json!(""),
        json!("hospital-b"),
        json!("\u{1b}[2J\n"),
        json!("x".repeat(64)),
        json!([]),
        json!({}),
        json!(true),
        json!({ "integer": 1 }),
    ];
    let value = prop_oneof![select(values), any::<String>().prop_map(Value::from)];
    let mutation = prop_oneof![
        (any::<Index>(), 1..=255_u8).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        (any::<Index>(), proptest::collection::vec(any::<u8>(), 1..5))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        any::<Index>().prop_map(Mutation::Delete),
        (any::<Index>(), value).prop_map(|(at, value)| Mutation::Node(at, value)),
        (any::<Index>(), any::<Index>()).prop_map(|(to, from)| Mutation::Copy(to, from)),
        any::<Index>().prop_map(Mutation::Double),
        any::<Index>().prop_map(Mutation::Drop),
    ];
    proptest::collection::vec(mutation, 1..4)
}

fn apply(mutations: &[Mutation], bytes: &[u8]) -> Vec<u8> {
    mutations.iter().fold(bytes.to_vec(), |bytes, mutation| mutation.apply(bytes))
}

impl Mutation {
    fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.is_empty() {
            return bytes;
        }
        let here = |at: &Index| at.index(bytes.len());
        match self {
            Self::Flip(at, bits) => {
                let at = here(at);
                bytes[at] ^= bits;
            }
            Self::Insert(at, more) => {
                let at = here(at);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Delete(at) => drop(bytes.remove(here(at))),
            Self::Node(at, value) => return tree(bytes, at, |node, _| *node = value.clone()),
            Self::Copy(to, from) => {
                return tree(bytes, to, |node, all| {
                    *node = all.pointer(&pointer(all, from)).cloned().unwrap_or_default();
                });
            }
            Self::Double(at) => {
                return tree(bytes, at, |node, _| match node {
                    Value::Array(items) => items.extend(items.last().cloned()),
                    Value::Object(members) => drop(members.insert("zzz".into(), json!(0))),
                    Value::String(text) => *text = text.repeat(2),
                    scalar => *scalar = json!([]),
                });
            }
            Self::Drop(at) => {
                return tree(bytes, at, |node, _| match node {
                    Value::Array(items) => drop(items.pop()),
                    Value::Object(members) => {
                        let name = members.keys().nth(members.len() / 2).cloned();
                        name.and_then(|name| members.remove(&name));
                    }
                    Value::String(text) => drop(text.pop()),
                    scalar => *scalar = Value::Null,
                });
            }
        }
        bytes
    }
}

/// Changes one node of a JSON text, whose form stays canonical; another text stays.
fn tree(bytes: Vec<u8>, at: &Index, change: impl FnOnce(&mut Value, &Value)) -> Vec<u8> {
    let Ok(all) = serde_json::from_slice::<Value>(&bytes) else { return bytes };
    let mut changed = all.clone();
    if let Some(node) = changed.pointer_mut(&pointer(&all, at)) {
        change(node, &all);
    }
    changed.to_string().into_bytes()
}

fn pointer(all: &Value, at: &Index) -> String {
    fn walk(value: &Value, here: String, pointers: &mut Vec<String>) {
        match value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(index, item)| walk(item, format!("{here}/{index}"), pointers)),
            Value::Object(members) => members.iter().for_each(|(name, member)| {
                let name = name.replace('~', "~0").replace('/', "~1");
                walk(member, format!("{here}/{name}"), pointers);
            }),
            _ => {}
        }
        pointers.push(here);
    }
    let mut pointers = Vec::new();
    walk(all, String::new(), &mut pointers);
    pointers.swap_remove(at.index(pointers.len()))
}

/// An envelope around any bytes, as only the holder of a key can make one (DSSE v1).
fn sign_anything<T: Document>(payload: &[u8], key: &SigningKey) -> Envelope {
    let kind = T::PAYLOAD_TYPE;
    let mut encoded = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    encoded.extend_from_slice(payload);
    let base64 = |bytes: &[u8]| Base64Bytes::from(bytes);
    let json = json!({
        "payload": base64(payload),
        "payloadType": kind,
        "signatures": [{
            "keyid": key.verifying_key(),
            "sig": base64(key.sign(&encoded).as_bytes()),
        }],
    });
    Envelope::from_json(json.to_string().as_bytes(), usize::MAX).expect("an envelope")
}

/// The envelope changed under its signature, if it still is one and another, and the payload
/// changed and signed again.
fn changed<T: Document>(
    document: T,
    signer: &SigningKey,
    mutations: &[Mutation],
) -> (Option<Envelope>, Envelope) {
    let signed = sign(document, signer);
    let forged = apply(mutations, &signed.envelope().to_json());
    let forged = Envelope::from_json(&forged, usize::MAX).ok();
    let payload = cordon_crypto::canonical::to_canonical(signed.value()).expect("canonical");
    let again = sign_anything::<T>(&apply(mutations, &payload), signer);
    (forged.filter(|forged| forged != signed.envelope()), again)
}

/// What every refusal promises: lines for people, and an entry that the log can hold.
fn is_sound(denial: &Denial) {
    let entry = denial.entry().to_bytes().expect("an entry");
    assert!(entry.len() <= MAX_ENTRY_BYTES);
    from_canonical::<cordon_protocol::LogEntry>(&entry, MAX_ENTRY_BYTES).expect("an entry");
    cordon_crypto::canonical::to_canonical(&denial.refusal()).expect("a refusal");
    assert!(!denial.reasons().is_empty());
    denial.reasons().iter().for_each(|reason| is_line(reason));
}

/// People read it in a terminal: it has no line break and no escape sequence.
fn is_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fn refused(case: &Case, error: DocumentError) {
    is_sound(&error.deny(&case.directory(), Action::MessageRefused, None, None, NOW));
}

fn granted(case: &Case) -> GrantContext {
    GrantContext {
        v: V1,
        holder: name(HOSPITALS[0]),
        agreement: case.signed().digest(),
        run: cordon_protocol::RunId(cordon_crypto::sha256(&[b"run"])),
        evidence: cordon_crypto::sha256(&[b"evidence"]),
        appraisal: cordon_crypto::sha256(&[b"appraisal"]),
        guard_signing_key: key("guard").verifying_key(),
        guard_box_key: cordon_crypto::sha256(&[b"box"]),
        datasets: vec![],
        lease_ms: Milliseconds::new(30_000),
        policy: cordon_crypto::sha256(&[b"policy"]),
        issued: NOW,
    }
}

fn receipt(case: &Case) -> Receipt {
    let granted = granted(case);
    let own = cordon_crypto::dsse::document_digest(&granted).expect("canonical");
    let grants = HOSPITALS.map(|party| ReceiptGrant { holder: name(party), context: own });
    let input = ReceiptInput {
        holder: name(HOSPITALS[0]),
        dataset: name("ehr"),
        version: 3,
        manifest: signed_manifest().digest(),
    };
    Receipt {
        v: V1,
        run: granted.run,
        agreement: granted.agreement,
        evidence: granted.evidence,
        engine: case.agreement.program.engine,
        assurance: Assurance::None,
        inputs: vec![input],
        grants: grants.to_vec(),
        outcome: Outcome::Failed { code: "gate_small_cells".into() },
        worker_ms: Milliseconds::new(40),
        bytes_read: 4_000,
    }
}

proptest! {
    #![proptest_config(seeded(300))]

    #[test]
    fn a_mutated_approval_is_refused_or_is_for_this_agreement_and_broker(change in mutations()) {
        let case = Case::valid();
        let (agreement, directory) = (case.recognized(), case.directory());
        let valid = case.approval("sam");
        let (forged, again) = changed(valid.clone(), &key("hospital-a/sam"), &change);
        if let Some(forged) = forged {
            let error = check_approval(&forged, &agreement, &directory, NOW);
            refused(&case, error.expect_err("nobody signed it"));
        }
        match check_approval(&again, &agreement, &directory, NOW) {
            Ok(signed) => {
                let found = signed.value();
                prop_assert_eq!(found.agreement, valid.agreement);
                prop_assert_eq!((&found.audience, &found.person), (&valid.audience, &valid.person));
                prop_assert!(found.expires > NOW);
            }
            Err(error) => refused(&case, error),
        }
    }

    #[test]
    fn a_mutated_stop_is_refused_or_by_its_signer_for_this_broker(change in mutations()) {
        let case = Case::valid();
        let valid = Stop {
            v: V1,
            study: name("heart-failure"),
            audience: name(HOSPITALS[0]),
            person: name("sam"),
            nonce: Nonce::from_bytes([4; 32]),
            issued: NOW,
        };
        let (forged, again) = changed(valid.clone(), &key("hospital-a/sam"), &change);
        if let Some(forged) = forged {
            let error = check_stop(&forged, &case.directory(), NOW);
            refused(&case, error.expect_err("nobody signed it"));
        }
        match check_stop(&again, &case.directory(), NOW) {
            Ok(signed) => {
                let found = signed.value();
                prop_assert_eq!((&found.audience, &found.person), (&valid.audience, &valid.person));
            }
            Err(error) => refused(&case, error),
        }
    }

    #[test]
    fn a_mutated_review_is_refused_or_is_of_this_receipt(change in mutations()) {
        let case = Case::valid();
        let receipt = sign(receipt(&case), &key("guard"));
        let valid = ReviewDecision {
            v: V1,
            run: receipt.value().run,
            receipt: receipt.digest(),
            audience: name(HOSPITALS[0]),
            person: name("rob"),
            verdict: Verdict::Approve,
            nonce: Nonce::from_bytes([5; 32]),
            issued: NOW,
        };
        let agreement = case.recognized();
        let (forged, again) = changed(valid.clone(), &key("hospital-a/rob"), &change);
        if let Some(forged) = forged {
            let error = check_review(&forged, &agreement, &receipt, NOW);
            refused(&case, error.expect_err("nobody signed it"));
        }
        match check_review(&again, &agreement, &receipt, NOW) {
            Ok(signed) => {
                let found = signed.value();
                prop_assert_eq!((found.run, found.receipt), (valid.run, valid.receipt));
                prop_assert_eq!((&found.audience, &found.person), (&valid.audience, &valid.person));
            }
            Err(error) => refused(&case, error),
        }
    }

    #[test]
    fn a_mutated_enrolment_or_card_is_refused_or_what_its_signer_may_say(change in mutations()) {
        let case = Case::valid();
        let (card, roles) = case.people[0].clone();
        let card_digest = sign(card.clone(), &key("institute/riley")).digest();
        let valid = Enrolment {
            v: V1,
            audience: name(HOSPITALS[0]),
            card: card_digest,
            roles,
            administrator: name("ada"),
            nonce: Nonce::from_bytes([6; 32]),
            issued: NOW,
        };
        let directory = case.directory();
        let (forged, again) = changed(valid, &key("hospital-a/ada"), &change);
        if let Some(forged) = forged {
            let error = check_enrolment(&forged, card_digest, &directory, NOW);
            refused(&case, error.expect_err("nobody signed it"));
        }
        match check_enrolment(&again, card_digest, &directory, NOW) {
            Ok(signed) => prop_assert_eq!(signed.value().card, card_digest),
            Err(error) => refused(&case, error),
        }

        let (forged, again) = changed(card, &key("institute/riley"), &change);
        for envelope in forged.iter().chain([&again]) {
            match check_person_card(envelope) {
                Ok(signed) => prop_assert_eq!(signed.signer(), signed.value().signing_key),
                Err(error) => refused(&case, error),
            }
        }
        let (forged, again) = changed(case.parties[1].clone(), &key("hospital-b broker"), &change);
        for envelope in forged.iter().chain([&again]) {
            match check_party_card(envelope, Profile::Development) {
                Ok(signed) => prop_assert_eq!(signed.signer(), signed.value().broker_key),
                Err(error) => refused(&case, error),
            }
        }
    }

    #[test]
    fn a_mutated_agreement_is_refused_in_one_line_or_makes_sense(change in mutations()) {
        let case = Case::valid();
        let signer = key("institute/riley");
        let (forged, again) = changed(case.agreement.clone(), &signer, &change);
        if let Some(forged) = forged {
            prop_assert!(forged.open::<Agreement>(&signer.verifying_key()).is_err());
        }
        let Ok(signed) = again.open::<Agreement>(&signer.verifying_key()) else { return Ok(()) };
        match CheckedAgreement::check(&signed) {
            Ok(checked) => {
                prop_assert_eq!(checked.value().requester.signing_key, signer.verifying_key());
                if let Err(error) = compare_with_directory(&checked, &case.directory()) {
                    is_line(&error.to_string());
                }
                crate::diff(&case.agreement, checked.value());
            }
            Err(error) => is_line(&error.to_string()),
        }
    }

    #[test]
    fn a_mutated_run_request_opens_no_session_or_is_of_this_agreement(change in mutations()) {
        let case = Case::valid();
        let agreement = case.recognized();
        let (forged, again) = changed(case.request(), &key("institute/riley"), &change);
        let nonce = Nonce::from_bytes([8; 32]);
        if let Some(forged) = forged {
            let denied = grant::Session::challenge(&agreement, &forged, nonce, NOW);
            is_sound(&denied.expect_err("nobody signed it"));
        }
        match grant::Session::challenge(&agreement, &again, nonce, NOW) {
            Ok(session) => {
                let request: &RunRequest = session.request().value();
                prop_assert_eq!(request.agreement, case.signed().digest());
                prop_assert!(request.not_after > NOW);
            }
            Err(denied) => is_sound(&denied),
        }
    }

    #[test]
    fn mutated_evidence_is_refused_or_binds_this_session(change in mutations()) {
        let case = Case::valid();
        let agreement = case.recognized();
        let request = envelope(case.request(), &key("institute/riley"));
        let nonce = Nonce::from_bytes([8; 32]);
        let open = || grant::Session::challenge(&agreement, &request, nonce, NOW).expect("open");
        let valid = evidence(&runtime_data(&case, open().run(), nonce));
        let whole = serde_json::to_vec(&valid).expect("JSON");
        let mut parts = vec![valid.clone(), valid.clone(), valid.clone()];
        parts[0].evidence = apply(&change, valid.evidence.as_slice()).into();
        parts[1].runtime_data = apply(&change, valid.runtime_data.as_slice()).into();
        parts[2].collateral = Some(apply(&change, b"{}").into());
        parts.extend(serde_json::from_slice(&apply(&change, &whole)).ok());
        let (roots, collateral) = (roots(), Collateral::none());
        for part in parts {
            let trust = Trust { roots: &roots, platform: None, collateral: &collateral };
            match open().appraise(&part, trust, NOW) {
                // Another spelling of the same envelope; what it binds is unchanged.
                Ok(_) => prop_assert_eq!(&part.runtime_data, &valid.runtime_data),
                Err(denied) => is_sound(&denied),
            }
        }
    }

    #[test]
    fn a_mutated_receipt_is_refused_or_is_of_this_grant(change in mutations()) {
        let case = Case::valid();
        let (agreement, granted) = (case.recognized(), granted(&case));
        let share = sealed_box("share");
        let (forged, again) = changed(receipt(&case), &key("guard"), &change);
        for share in [None, Some(&share)] {
            let receive = |receipt| {
                let delivery = clearance::Delivery { receipt, share, reviews: &[] };
                clearance::Session::receive(&agreement, &granted, delivery, NOW)
            };
            if let Some(forged) = &forged {
                is_sound(&receive(forged).expect_err("nobody signed it"));
            }
            match receive(&again) {
                Ok(session) => prop_assert_eq!(session.run(), granted.run),
                Err(denied) => is_sound(&denied),
            }
        }
    }
}

/// Tokens of the rules' language.
const WORDS: [&str; 40] = [
    "forbid",
    "permit",
    "(",
    ")",
    "principal",
    "action",
    "resource",
    ",",
    ";",
    "when",
    "unless",
    "{",
    "}",
    "context",
    ".",
    "runs_used",
    "now",
    "==",
    "!=",
    "<",
    ">",
    "&&",
    "||",
    "!",
    "-",
    "in",
    "has",
    "like",
    "if",
    "then",
    "else",
    "@code(\"x\")",
    "@wanted(\"\")",
    "@shows(\"\")",
    "[",
    "]",
    "9223372036854775807",
    "\"\\u{1b}\\n\"",
    "Action::\"grant\"",
    "?principal",
];

const RULE: &str = "@code(\"too_many\")\n@wanted(\"fewer runs\")\n@shows(\"context.runs_used\")\n\
    forbid(principal, action == Action::\"grant\", resource)\n\
    when { context.runs_used > 3 && context.now > 17 };\n";

/// Makes a policy of rules, and checks what a refusal of them promises.
fn rules(text: &str) -> bool {
    match Policy::with_rules(text) {
        Ok(policy) => {
            policy.conditions().iter().for_each(|(name, wanted)| {
                is_line(name);
                is_line(wanted);
            });
            true
        }
        Err(error) => {
            is_line(&error.to_string());
            false
        }
    }
}

proptest! {
    #![proptest_config(seeded(200))]

    #[test]
    fn random_rules_make_a_policy_or_are_refused(
        words in proptest::collection::vec((select(WORDS.to_vec()), any::<bool>()), 0..24),
        text: String,
    ) {
        let words = words.into_iter().map(|(word, space)| {
            format!("{word}{}", if space { " " } else { "" })
        });
        rules(&words.collect::<String>());
        rules(&text);
    }

    #[test]
    fn mutated_rules_make_a_policy_or_are_refused(
        at: Index,
        count in 0..8_usize,
        word in select(WORDS.to_vec()),
        byte: u8,
    ) {
        let mut bytes = RULE.as_bytes().to_vec();
        let start = at.index(bytes.len());
        let end = bytes.len().min(start + count);
        bytes.splice(start..end, word.bytes().chain([byte]));
        rules(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn the_rule_that_is_mutated_is_a_rule() {
    assert!(rules(RULE));
}

/// As deep as the longest rules can be: some hundred brackets overflowed the parser's stack, which
/// ends a process.
#[test]
fn rules_that_are_nested_very_deeply_are_refused() {
    for (open, middle, close) in [
        ("(", "true", ")"),
        ("!", "true", ""),
        ("-", "1", " > 0"),
        ("[", "1", "]"),
        ("{a:", "1", "}"),
        ("if true then ", "true", " else true"),
        ("if true then true else ", "true", ""),
        ("if ", "true", " then true else true"),
        ("true&&if true then true else ", "true", ""),
        ("true && ", "true", ""),
        ("", "context", ".now"),
        ("context.", "now", ""),
        ("1 + ", "1", " > 0"),
    ] {
        let room = MAX_RULES_BYTES - RULE.len();
        let close_once = close.trim_end_matches(" > 0");
        let times = room / (open.len() + close_once.len()).max(1);
        for times in [8, 20, 100, 200, 1_000, times] {
            let nested = format!("{}{middle}{}", open.repeat(times), close_once.repeat(times));
            let end = &close[close_once.len()..];
            rules(&RULE.replace("context.runs_used > 3", &format!("{nested}{end}")));
        }
    }
    let nested =
        |times: usize| format!("{}context.runs_used > 3{}", "(".repeat(times), ")".repeat(times));
    assert!(rules(&RULE.replace("context.runs_used > 3", &nested(20))));
    let refused = Policy::with_rules(&RULE.replace("context.runs_used > 3", &nested(100)));
    assert_eq!(refused.unwrap_err(), PolicyError::TooDeep);
    // Brackets in texts and comments are none, and a quotation mark in a comment begins no text.
    let wanted = format!("{} \\\" {}", "(".repeat(100), "[".repeat(100));
    let text = RULE.replace("fewer runs", &wanted);
    assert!(rules(&format!("// it's {} \" \n{text}// \"", "{".repeat(100))));
}
