//! The demo, which is also the longest test of all: every step and every attack.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::programs::{CORDON, beside, cordon, fails, text};

#[test]
fn the_demo_comes_out_as_expected_and_its_report_stands_alone() {
    beside("cordon-enclave");
    beside("cordon-engine-sql");
    let folder = tempfile::tempdir().unwrap();
    let demo = Command::new(CORDON)
        .args(["--json", "demo", "--patients", "2000", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    let report = std::fs::read(folder.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let steps = report["steps"].as_array().unwrap();
    for step in steps {
        assert_eq!(step["ok"], true, "{step:#}");
        for member in ["step", "expected", "observed"] {
            assert!(!step[member].as_str().unwrap().is_empty(), "{step:#}");
        }
    }
    assert!(demo.status.success(), "{}", text(&demo.stderr));
    let answer: Value = serde_json::from_slice(&demo.stdout).unwrap();
    assert_eq!((&answer["attacks"], &answer["refused"]), (&16.into(), &16.into()));

    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    for step in steps {
        // As far as HTML writes the step's name as it is.
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == ' ';
        let words: String = step["step"].as_str().unwrap().chars().take_while(plain).collect();
        assert!(page.contains(&words), "{words}");
    }
    for loads in ["src=", "href=", "<script", "@import", "url("] {
        assert!(!page.contains(loads), "{loads}");
    }
}

/// What people see on a terminal, where Go is absent; and what `--keep` leaves running.
#[test]
fn a_kept_demo_says_what_it_proves_and_can_be_used_until_it_is_ended() {
    beside("cordon-enclave");
    beside("cordon-engine-sql");
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(CORDON)
        .args(["demo", "--keep", "--patients", "2000", "--out"])
        .arg(folder.path())
        .env("PATH", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(demo.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.any(|line| line.starts_with("Still running")));
    let urls: Vec<String> =
        told.by_ref().take(4).map(|line| line.split_whitespace().nth(1).unwrap().into()).collect();
    let example = told.next().unwrap();
    let words: Vec<&str> = example.split_whitespace().collect();
    assert_eq!(words[..2], ["Try:", "cordon"], "{example}");
    let listed = cordon(&words[2..]);
    assert!(listed.to_string().contains("diabetes") || listed.is_array(), "{listed:#}");
    assert!(urls.iter().all(|url| url.starts_with("http://127.0.0.1:")), "{urls:?}");

    Command::new("kill").arg(demo.id().to_string()).status().unwrap();
    let mut said = String::new();
    demo.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(demo.wait().unwrap().success(), "{said}");
    assert_eq!(fails(&words[2..]).0, 1, "its broker has ended, too");

    assert!(said.starts_with("SOFTWARE TEE: for development only, not confidential."), "{said}");
    assert!(said.contains("skipped, Go is not installed"), "{said}");
    let report = std::fs::read(folder.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let steps = report["steps"].as_array().unwrap();
    for step in &steps[..steps.len() - 16] {
        let proves = step["expected"].as_str().unwrap();
        assert!(said.contains(&format!("\n    {proves}\n")), "{proves}: {said}");
    }
}
