//! Exit codes and messages, which are a contract.

use std::process::Command;

use crate::place::new_holder;
use crate::programs::{CORDON, beside, cordon, fails, text};

#[test]
fn exit_codes_say_what_kind_of_failure_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    // 2: wrong usage.
    assert_eq!(fails(&["dataset"]).0, 2);
    assert_eq!(fails(&["synth", "--patients", "many"]).0, 2);
    // 1: failed.
    let (code, said) = fails(&["dataset", "inspect", &path("nothing")]);
    assert_eq!(code, 1);
    assert!(said.contains("manifest.json"), "{said}");
    // 3: refused by validation.
    let (code, said) = fails(&["synth", "--patients", "0", "--seed", "1", "--out", &path("synth")]);
    assert_eq!(code, 3, "{said}");
    std::fs::write(path("view.json"), r#"{"resourceType":"ViewDefinition"}"#).unwrap();
    let view = path("view.json");
    std::fs::write(path("empty.ndjson"), "").unwrap();
    let input = path("empty.ndjson");
    let run = ["view", "run", "--view", &view, "--input", &input, "--format", "csv"];
    let (code, said) = fails(&run);
    assert_eq!(code, 3, "{said}");
}

#[test]
fn programs_that_nobody_starts_by_hand_say_so() {
    for program in ["cordon-enclave", "cordon-engine-sql"] {
        let output = Command::new(beside(program)).arg("--help").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("starts it"), "{said}");
    }
}

/// What could not be looked at is not what was found wrong.
#[test]
fn altered_is_another_code_than_absent() {
    let place = tempfile::tempdir().unwrap();
    new_holder(place.path(), "hospital-a");
    let path = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(path("t.csv"), "subject,x\np1,1\n").unwrap();
    let (card, out) = (path("broker/card.json"), path("out"));
    let (manifest_key, subject_key) = (path("broker.manifest.key"), path("broker.subject.key"));
    let seal = [
        "dataset",
        "seal",
        "--card",
        &card,
        "--manifest-key",
        &manifest_key,
        "--subject-key",
        &subject_key,
        "--dataset",
        "t",
        "--version",
        "1",
        "--csv",
        &path("t.csv"),
        "--out",
        &out,
    ];
    cordon(&seal);
    let inspected = cordon(&["dataset", "inspect", &out, "--verify", "--card", &card]);
    assert_eq!(inspected["files_verified"], 1, "{inspected}");

    let file = &inspected["dataset"]["tables"][0]["files"][0];
    let output = Command::new(CORDON).args(["dataset", "inspect", &out]).output().unwrap();
    let shown = text(&output.stdout);
    for word in ["hospital-a / t version 1", "subject", file["sha256"].as_str().unwrap()] {
        assert!(shown.contains(word), "{word}: {shown}");
    }

    // A manifest of which a letter was changed.
    let manifest = std::fs::read_to_string(path("out/manifest.json")).unwrap();
    let payload = manifest.find("\"payload\"").unwrap() + 40;
    let mut altered = manifest.clone().into_bytes();
    altered[payload] = if altered[payload] == b'A' { b'B' } else { b'A' };
    std::fs::write(path("out/manifest.json"), altered).unwrap();
    let (code, said) = fails(&["dataset", "inspect", &out]);
    assert_eq!(code, 4, "{said}");
    std::fs::write(path("out/manifest.json"), manifest).unwrap();
    // A manifest of somebody else.
    new_holder(&place.path().join("b"), "hospital-b");
    let (code, said) = fails(&["dataset", "inspect", &out, "--card", &path("b/broker/card.json")]);
    assert!(code == 4 && said.contains("not signed by a key on the card"), "{said}");

    // Logs: absent, unreachable, too short.
    let log = path("broker/log");
    for source in [&path("nothing"), "http://127.0.0.1:9/log", "ftp://x/log"] {
        let (code, said) = fails(&["audit", "verify", source, "--card", &card]);
        assert_eq!(code, 1, "{source}: {said}");
    }
    let (code, said) = fails(&["audit", "verify", &log, "--card", &card]);
    assert!(code == 1 && said.contains("is this a log"), "never started: {said}");
    assert_eq!(fails(&["dataset", "seal", "--version", "0"]).0, 2);
}

#[test]
fn synthetic_patients_are_the_same_for_the_same_seed() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, seed: &str| {
        let out = folder.path().join(name).display().to_string();
        cordon(&["synth", "--patients", "50", "--seed", seed, "--out", &out]);
        let file = folder.path().join(name).join("northside/Condition.ndjson");
        std::fs::read(file).unwrap()
    };
    assert_eq!(make("one", "7"), make("two", "7"));
    assert_ne!(make("three", "7"), make("four", "8"));
}

#[test]
fn keys_are_never_overwritten_and_never_open_to_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let key = path("alice.key");
    let init = ["init", "person", "--party", "hospital-a", "--person", "alice", "--out", &key];
    cordon(&init);
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, said) = fails(&init);
    assert_eq!(code, 1);
    assert!(said.contains("never overwritten"), "{said}");
}
