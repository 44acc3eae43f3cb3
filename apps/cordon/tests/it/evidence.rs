//! `cordon evidence` on a genuine report of an AMD processor, which the crate `sev` ships.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cordon_types::hex;
use serde_json::Value;

use crate::programs::{cordon, fails};

/// The folder of vectors in cargo's copy of the crate.
fn vectors() -> PathBuf {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--locked"])
        .output()
        .expect("cargo starts");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo's metadata");
    let mut packages = metadata["packages"].as_array().expect("packages").iter();
    let found = packages.find(|found| found["name"] == "sev" && found["version"] == "8.0.0");
    let manifest = found.expect("a locked crate")["manifest_path"].as_str().expect("a path");
    Path::new(manifest).with_file_name("tests/certs_data")
}

#[test]
fn a_genuine_report_is_shown_with_what_was_not_checked_and_another_is_refused() {
    let place = tempfile::tempdir().expect("a folder");
    let report = place.path().join("report.bin").display().to_string();
    let text = fs::read_to_string(vectors().join("report_milan.hex")).expect("a report");
    fs::write(&report, hex::decode(&text.to_lowercase()).expect("hex")).expect("written");
    let certificate = |name: &str| vectors().join(name).display().to_string();
    let (chain, chip) = (certificate("cert_chain_milan"), certificate("vcek_milan.der"));
    let verify = ["evidence", "verify", "--kind", "snp", "--evidence", &report];
    let all = ["--collateral", &chain, "--collateral", &chip, "--at", "2026-01-31T08:05:00Z"];
    let run = |more: &[&str]| cordon(&[&verify[..], more].concat());
    let answer = run(&all);
    assert_eq!(answer["claims"]["product"], "Milan");
    assert_eq!(answer["marks"], serde_json::json!(["revocation_not_checked", "unbound"]));
    let data = answer["claims"]["report_data"].as_str().expect("hex").to_owned();
    let bound = run(&[&all[..], &["--report-data", &data]].concat());
    assert_eq!(bound["marks"], serde_json::json!(["revocation_not_checked"]));

    let refused = |arguments: &[&str], code: i32, word: &str| {
        let (found, said) = fails(&[&verify[..], arguments].concat());
        assert!(found == code && said.contains(word), "{found}: {said}");
    };
    let other = data.replace(&data[..2], "00");
    refused(&[&all[..], &["--report-data", &other]].concat(), 4, "not_bound");
    refused(&[&all[..], &["--report-data", "00"]].concat(), 2, "128 hex digits");
    refused(&["--collateral", &chain], 4, "collateral_missing");
    let early = ["--collateral", &chain, "--collateral", &chip, "--at", "2023-01-31T08:05:00Z"];
    refused(&early, 4, "certificate_time");
    refused(&["--collateral", &chain, "--at", "yesterday"], 2, "no moment in UTC");
    fs::write(&report, b"no report").expect("written");
    refused(&all, 4, "evidence_malformed");
}
