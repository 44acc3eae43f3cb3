use proptest::prelude::*;

use super::*;
use crate::key::{VkeyError, WitnessKey};
use crate::testing::{name, signing_key, witness_key};

fn log_key(text: &str, seed: u8) -> LogKey {
    LogKey::new(name(text), signing_key(seed).verifying_key())
}

/// A policy of one log, six witnesses in two groups, and a quorum of both groups.
fn two_levels() -> String {
    let mut file =
        format!("# Two operators.\nlog {} https://a.example/log/\n\n", log_key("a.example/log", 1));
    for (group, first) in [("X", 11), ("Y", 21)] {
        for number in 1..=3 {
            let key = witness_key(&format!("{group}.example/{number}"), first + number);
            file += &format!("witness {group}{number} {key}\n");
        }
    }
    file += "group X-witnesses 2 X1 X2 X3\n \tgroup Y-witnesses any\tY1 Y2 Y3 \n";
    file + "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
}

fn refused(file: &str) -> (usize, PolicyErrorKind) {
    let error = Policy::parse(file.as_bytes()).expect_err(file);
    (error.line, error.kind)
}

#[test]
fn nested_groups_are_met_as_they_say() {
    let policy = Policy::parse(two_levels().as_bytes()).expect("a policy");
    let quorum = policy.quorum();
    let keys: Vec<&WitnessKey> = quorum.witnesses().collect();
    assert_eq!(keys.len(), 6);
    for chosen in 0_u32..64 {
        let cosigned =
            keys.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, key)| *key);
        let expected = (chosen & 0b111).count_ones() >= 2 && chosen >> 3 != 0;
        assert_eq!(quorum.is_met_by(cosigned), expected, "{chosen:06b}");
    }
    assert_eq!(quorum.fewest_witnesses(), 3);
    assert!(!quorum.is_none());
}

#[test]
fn logs_are_found_by_origin() {
    let policy = Policy::parse(two_levels().as_bytes()).expect("a policy");
    let key = log_key("a.example/log", 1);
    assert_eq!(policy.log(&name("a.example/log")), Some(&key));
    assert_eq!(policy.log(&name("b.example/log")), None);
    assert_eq!(policy.logs()[0].url(), Some(b"https://a.example/log/".as_slice()));
    assert_eq!(policy.quorum().policy_witnesses()[0].url(), None);
    assert_eq!(policy.quorum().policy_witnesses()[0].name(), b"X1");
}

#[test]
fn a_single_witness_may_be_the_quorum() {
    let (w1, w2) = (witness_key("w1", 11), witness_key("w2", 12));
    let file = format!("witness one {w1}\nwitness two {w2}\nquorum one\n");
    let policy = Policy::parse(file.as_bytes()).expect("a policy");
    assert!(policy.quorum().is_met_by([&w1]));
    assert!(!policy.quorum().is_met_by([&w2]));
    assert!(policy.logs().is_empty());
}

#[test]
fn unknown_witnesses_do_not_count() {
    let (w1, w2) = (witness_key("w1", 11), witness_key("w2", 12));
    let quorum = Quorum::at_least(1, [w1.clone()]).expect("a quorum");
    assert!(!quorum.is_met_by([&w2]));
    let renamed = WitnessKey::new(name("w2"), *w1.public());
    assert!(!quorum.is_met_by([&renamed]));
    assert!(quorum.is_met_by([&w2, &w1]));
    let two = Quorum::all([w1.clone(), w2]).expect("a quorum");
    assert!(!two.is_met_by([&w1, &w1]));
}

#[test]
fn quorum_none_is_refused_outside_development() {
    let file = b"# development\nquorum none\n";
    let policy = Policy::parse_dangerous_development(file).expect("a policy");
    assert!(policy.quorum().is_none());
    assert!(policy.quorum().is_met_by([]));
    assert_eq!(policy.quorum().fewest_witnesses(), 0);
    assert_eq!(policy.quorum(), &Quorum::dangerous_development_none());
    assert_eq!(refused("# production\nquorum none\n"), (2, PolicyErrorKind::QuorumNone));
}

#[test]
fn every_refusal_names_its_line() {
    let (w1, w2) = (witness_key("w1", 11), witness_key("w2", 12));
    let (log, log2) = (log_key("a.example/log", 1), log_key("b.example/log", 2));
    let head = format!("witness one {w1}\nwitness two {w2}\n");
    let form = |expected| PolicyErrorKind::Form { expected };
    let known = |text: &str| text.as_bytes().to_vec();

    assert_eq!(refused(""), (1, PolicyErrorKind::NoQuorum));
    assert_eq!(refused(&head), (2, PolicyErrorKind::NoQuorum));
    assert_eq!(refused(&format!("{head}quorum one")), (3, PolicyErrorKind::UnfinishedLine));
    assert_eq!(refused("\n\u{b}\n"), (2, PolicyErrorKind::ControlCharacter { byte: 0x0b }));
    assert_eq!(refused("# a\r\n"), (1, PolicyErrorKind::ControlCharacter { byte: b'\r' }));
    assert_eq!(refused("# \u{7f}\n"), (1, PolicyErrorKind::ControlCharacter { byte: 0x7f }));
    assert_eq!(refused("Log x\n"), (1, PolicyErrorKind::Keyword));
    assert_eq!(refused("log\n"), (1, form("log <vkey> [<url>]")));
    assert_eq!(refused(&format!("log {log} url more\n")), (1, form("log <vkey> [<url>]")));
    assert_eq!(refused("witness one\n"), (1, form("witness <name> <vkey> [<url>]")));
    let group_form = "group <name> all|any|<number> <member>…";
    assert_eq!(refused("group g\n"), (1, form(group_form)));
    assert_eq!(refused("group g all\n"), (1, form(group_form)));
    assert_eq!(refused(&format!("{head}quorum one two\n")), (3, form("quorum <name>|none")));
    assert_eq!(refused("log x\n"), (1, PolicyErrorKind::Key(VkeyError::Form)));
    let swapped = VkeyError::Type { expected: 1, found: 4 };
    assert_eq!(refused(&format!("log {w1}\n")), (1, PolicyErrorKind::Key(swapped)));
    let swapped = VkeyError::Type { expected: 4, found: 1 };
    assert_eq!(refused(&format!("witness one {log}\n")), (1, PolicyErrorKind::Key(swapped)));

    let renamed = log_key("c.example/log", 1);
    assert_eq!(refused(&format!("log {log}\nlog {renamed}\n")), (2, PolicyErrorKind::RepeatedKey));
    let other_key = log_key("a.example/log", 3);
    assert_eq!(
        refused(&format!("log {log}\nlog {other_key}\n")),
        (2, PolicyErrorKind::RepeatedOrigin)
    );
    assert!(Policy::parse(format!("log {log}\nlog {log2}\n{head}quorum one\n").as_bytes()).is_ok());
    let renamed = witness_key("w9", 11);
    assert_eq!(
        refused(&format!("{head}witness three {renamed}\n")),
        (3, PolicyErrorKind::RepeatedKey)
    );
    let own = witness_key("w9", 1);
    assert_eq!(
        refused(&format!("log {log}\nwitness w {own}\n")),
        (2, PolicyErrorKind::RepeatedKey)
    );
    assert_eq!(
        refused(&format!("witness w {own}\nlog {log}\n")),
        (2, PolicyErrorKind::RepeatedKey)
    );

    let w3 = witness_key("w3", 13);
    let repeated = |text| PolicyErrorKind::RepeatedName { name: known(text) };
    assert_eq!(refused(&format!("{head}witness one {w3}\n")), (3, repeated("one")));
    assert_eq!(refused(&format!("witness none {w3}\n")), (1, repeated("none")));
    assert_eq!(refused(&format!("{head}group one any two\n")), (3, repeated("one")));
    assert_eq!(refused(&format!("{head}group none any two\n")), (3, repeated("none")));
    let unknown = |text| PolicyErrorKind::UnknownName { name: known(text) };
    assert_eq!(refused("quorum one\n"), (1, unknown("one")));
    assert_eq!(refused(&format!("group g any one\n{head}")), (1, unknown("one")));
    assert_eq!(refused(&format!("{head}group g any g\n")), (3, unknown("g")));
    assert_eq!(refused(&format!("{head}group g any none\n")), (3, unknown("none")));
    let member = |text| PolicyErrorKind::AlreadyMember { name: known(text) };
    assert_eq!(refused(&format!("{head}group g any one one\n")), (3, member("one")));
    assert_eq!(
        refused(&format!("{head}group g any one\ngroup h any two one\n")),
        (4, member("one"))
    );
    for threshold in ["0", "3", "01", "+1", "ALL", "-1", "18446744073709551616"] {
        let file = format!("{head}group g {threshold} one two\n");
        assert_eq!(refused(&file), (3, PolicyErrorKind::Threshold { members: 2 }), "{threshold}");
    }
    assert_eq!(
        refused(&format!("{head}quorum one\nquorum two\n")),
        (4, PolicyErrorKind::RepeatedQuorum)
    );
    let large = "#".repeat(MAX_POLICY_BYTES) + "\n";
    assert_eq!(refused(&large), (1, PolicyErrorKind::TooLarge { found: MAX_POLICY_BYTES + 1 }));
}

#[test]
fn names_are_bytes() {
    let (w1, w2) = (witness_key("w1", 11), witness_key("w2", 12));
    // The Kelvin sign is not the letter, and no name has to be UTF-8.
    let mut file = format!("witness K {w1}\nwitness \u{212a} {w2}\n").into_bytes();
    file.extend_from_slice(b"group \xff\xfe all K \xe2\x84\xaa\nquorum \xff\xfe\n");
    let policy = Policy::parse(&file).expect("a policy");
    assert_eq!(policy.quorum().fewest_witnesses(), 2);
    assert_eq!(Policy::parse(&policy.to_bytes()), Ok(policy));
}

#[test]
fn policies_have_64_of_each_kind_and_no_more() {
    let witnesses = |count: u8| -> String {
        (0..count)
            .map(|i| format!("witness w{i} {}\n", witness_key(&format!("w{i}"), 100 + i)))
            .collect()
    };
    let logs = |count: u8| -> String {
        (0..count).map(|i| format!("log {}\n", log_key(&format!("l{i}"), i))).collect()
    };
    let groups =
        |count: u8| -> String { (0..count).map(|i| format!("group g{i} any w{i}\n")).collect() };
    let full = witnesses(64) + &logs(64) + &groups(64) + "quorum g63\n";
    assert!(Policy::parse(full.as_bytes()).is_ok());
    assert_eq!(refused(&witnesses(65)), (65, PolicyErrorKind::TooMany));
    assert_eq!(refused(&logs(65)), (65, PolicyErrorKind::TooMany));
    let file = witnesses(64) + &groups(64) + "group g64 any g0\n";
    assert_eq!(refused(&file), (129, PolicyErrorKind::TooMany));
}

#[test]
fn rules_from_keys_are_checked() {
    let (w1, w2) = (witness_key("w1", 11), witness_key("w2", 12));
    let threshold = |threshold| Err(RuleError::Threshold { threshold, witnesses: 2 });
    assert_eq!(Quorum::at_least(0, [w1.clone(), w2.clone()]), threshold(0));
    assert_eq!(Quorum::at_least(3, [w1.clone(), w2.clone()]), threshold(3));
    assert_eq!(Quorum::all([]), Err(RuleError::Witnesses { found: 0 }));
    let many = (0..70_u8).map(|seed| witness_key(&format!("w{seed}"), seed));
    assert_eq!(Quorum::at_least(1, many), Err(RuleError::Witnesses { found: 65 }));
    let repeated = Err(RuleError::Repeated { position: 1 });
    assert_eq!(Quorum::all([w1.clone(), w1.clone()]), repeated);
    assert_eq!(Quorum::all([w1.clone(), witness_key("w9", 11)]), repeated);
    assert_eq!(Quorum::all([w1, witness_key("w1", 12)]), repeated);
}

#[test]
fn policies_are_written_as_they_are_read() {
    let policy = Policy::parse(two_levels().as_bytes()).expect("a policy");
    assert_eq!(Policy::parse(&policy.to_bytes()), Ok(policy));
    let none = Policy::parse_dangerous_development(b"quorum none\n").expect("a policy");
    assert_eq!(none.to_bytes(), b"quorum none\n");
    let quorum = Quorum::at_least(2, (11..14).map(|seed| witness_key(&format!("w{seed}"), seed)));
    let made = Policy { logs: Vec::new(), quorum: quorum.expect("a quorum") };
    assert_eq!(Policy::parse(&made.to_bytes()), Ok(made));
}

proptest! {
    #![proptest_config(crate::testing::seeded())]

    #[test]
    fn no_bytes_make_the_parser_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        words in prop::collection::vec("(log|witness|group|quorum|all|any|none|1|a|b|\t|\n|#)", 0..40),
    ) {
        let _ = Policy::parse(&bytes);
        let _ = Policy::parse((words.join(" ") + "\n").as_bytes());
    }

    #[test]
    fn a_rule_from_keys_is_a_threshold(threshold in 1_usize..=5, chosen in 0_u32..32) {
        let keys: Vec<_> = (0..5).map(|i| witness_key(&format!("w{i}"), 11 + i)).collect();
        let quorum = Quorum::at_least(threshold, keys.clone()).expect("a quorum");
        let cosigned = keys.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, key)| key);
        prop_assert_eq!(quorum.is_met_by(cosigned), chosen.count_ones() as usize >= threshold);
        prop_assert_eq!(quorum.fewest_witnesses(), threshold);
    }
}
