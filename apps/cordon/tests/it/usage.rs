//! Exit codes and messages, which are a contract.

use crate::programs::{cordon, fails};

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
