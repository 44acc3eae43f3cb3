//! The demo, which is also the longest test of all: every step and every attack.

use std::process::Command;

use serde_json::Value;

use crate::programs::{CORDON, beside, text};

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
