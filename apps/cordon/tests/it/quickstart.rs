//! docs/quickstart.md as its readers follow it, their mistakes included: a hub that is closed, a
//! reviewer at each hospital, a run that comes too early, and an audit that asks for witnesses.

use std::fs;

use serde_json::{Value, json};

use crate::place::{Hospital, PARTIES, Place};
use crate::programs::{cordon, fails};

/// The draft of the page, for the two hospitals of the place.
fn draft() -> Value {
    let source =
        |holder: &&str| json!({ "holder": holder, "dataset": "registry", "table": "patient" });
    let reviewer = |holder: &&str| json!({ "party": holder, "person": "reviewer" });
    json!({
        "study": "age-and-sex", "name": "v1", "title": "Patients by sex and decade of birth",
        "purpose": {
            "statement": "How many patients born from 1930 to 1989 are there, by sex and decade?",
            "duo": ["DUO:0000006"], "legal_basis": "GDPR Art. 9(2)(j)",
            "references": ["ethics vote 2026-17"],
        },
        "query": "SELECT sex, birth_decade, COUNT(DISTINCT subject) AS patients FROM patient \
                  WHERE birth_year >= $born_from AND birth_year < $born_before \
                  GROUP BY sex, birth_decade",
        "parameters": { "born_from": [{ "integer": 1930 }], "born_before": [{ "integer": 1990 }] },
        "tables": { "patient": PARTIES.iter().map(source).collect::<Vec<_>>() },
        "approvals": { "persons": 2, "roles": ["steward", "data_protection_officer"] },
        "reviewers": PARTIES.iter().map(reviewer).collect::<Vec<_>>(),
    })
}

#[test]
fn a_study_from_the_draft_to_the_audit() {
    let place = Place::start();
    let synthetic = place.folder.path().join("synthetic");
    let synthetic_text = synthetic.display().to_string();
    cordon(&["synth", "--patients", "3000", "--seed", "1", "--out", &synthetic_text]);
    for (hospital, site) in place.hospitals.iter().zip(["northside", "riverton"]) {
        let input = synthetic.join(site).display().to_string();
        place.seal(hospital, "registry", &["--view", "patient", "--input", &input]);
    }
    let agreement = place.propose(&draft());
    let [first, second] = place.hospitals.as_slice() else { panic!("two hospitals") };

    too_early(&place, first, second, &agreement);
    let run = place.research(&["run", "start", "--agreement", &agreement, "--wait"]);
    let run = run["run"].as_str().expect("a run").to_owned();
    reviewed(&place, &run);
    let result = place.research(&["run", "output", "open", &run]);
    assert!(result["table"]["rows"].as_array().is_some_and(|rows| rows.len() > 5), "{result}");
    assert!(result.get("padding").is_none());

    stopped(first);
    audited(&place, first, &agreement, &run);
}

/// A run that one hospital has not approved is spent nowhere, and says at whom it failed.
fn too_early(place: &Place, first: &Hospital, second: &Hospital, agreement: &str) {
    first.approve(agreement);
    let start = ["run", "start", "--agreement", agreement, "--wait"];
    let (code, said) = place.research_fails(&start);
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("broker of `hospital-b`") && said.contains("approvals_missing"),
        "{said}"
    );
    assert_eq!(first.at(&["study", "list"], "steward")[0]["runs"], 0);
    // Who may see why, sees why.
    let refusals = second.at(&["audit", "refusals"], "officer");
    let refusals = refusals.as_array().expect("refusals");
    let early = refusals.iter().find(|refusal| refusal["code"] == "approvals_missing");
    assert!(early.expect("it is recorded")["reasons"].to_string().contains("steward"));
    let (code, said) = second.fails_at(&["audit", "refusals"], "reviewer");
    assert_eq!(code, 3, "{said}");

    // Nobody is asked without a terminal; a digest that is not the whole one confirms nothing.
    let (code, said) = second.fails_at(&["study", "approve", agreement], "steward");
    assert!(code == 2 && said.contains("--digest"), "{said}");
    second.approve(agreement);
}

fn reviewed(place: &Place, run: &str) {
    let (code, said) = place.research_fails(&["run", "output", "open", run, "--within", "1"]);
    assert!(code == 3 && said.contains("not released by hospital-a, hospital-b"), "{said}");
    for hospital in &place.hospitals {
        let held = hospital.at(&["run", "list"], "reviewer");
        assert_eq!((&held[0]["run"], &held[0]["state"]), (&json!(run), &json!("held")));
        let review = ["run", "output", "review", run, "--verdict", "approve"];
        let (code, said) = hospital.fails_at(&review, "steward");
        assert_eq!(code, 3, "{said}");
        hospital.at(&review, "reviewer");
    }
    // A reviewer has seen it, and yet is not among those to whom it is released.
    let reviewer = place.hospitals[0].path("reviewer.key");
    let open = ["run", "output", "open", run, "--hub", &place.hub, "--as", &reviewer];
    let (code, said) = fails(&open);
    assert!(code == 3 && said.contains("recipients"), "{said}");
}

/// A slip of the pen in an emergency must not look like a stop.
fn stopped(hospital: &Hospital) {
    let (code, said) = hospital.fails_at(&["study", "stop", "age-and-sexes"], "officer");
    assert!(code == 3 && said.contains("`age-and-sex`"), "{said}");
    hospital.at(&["study", "stop", "not-yet-proposed", "--ahead"], "officer");
    hospital.at(&["study", "stop", "age-and-sex"], "officer");
    assert_eq!(hospital.at(&["study", "list"], "officer")[0]["state"], "stopped");
}

fn audited(place: &Place, hospital: &Hospital, agreement: &str, run: &str) {
    let out = place.folder.path().join("agreement.json").display().to_string();
    cordon(&["study", "show", agreement, "--hub", &place.hub, "--out", &out]);
    let log = hospital.path("broker/log");
    let keys = ["--agreement", &out, "--holder", "hospital-a"];
    let mut verify = vec!["audit", "show", &log];
    verify.extend(keys);
    // The last entries may still wait for the other hospital's cosignature.
    let audited = cordon(&verify);
    assert_eq!(audited["cosigned_by"].as_array().expect("names").len(), 1, "{audited}");
    let entries = audited["shown"].as_array().expect("entries");
    let granted =
        entries.iter().position(|entry| entry["action"] == "grant.issued" && entry["run"] == run);
    let index = granted.expect("a grant").to_string();
    // The broker serves the same log, to whoever has the keys.
    let served = format!("{}/log", hospital.broker);
    let mut verify = vec!["audit", "verify", &served];
    verify.extend(keys);
    let fetched = cordon(&verify);
    assert!(fetched["entries"].as_u64() >= Some(entries.len() as u64), "{fetched}");
    let out = place.folder.path().join("grant").display().to_string();
    let mut proof = vec!["audit", "proof", &log, "--index", &index, "--out", &out];
    proof.extend(keys);
    cordon(&proof);
    let (entry, proof) = (format!("{out}.json"), format!("{out}.tlog-proof"));
    let mut check = vec!["audit", "check", "--entry", &entry, "--proof", &proof];
    check.extend(keys);
    assert_eq!(cordon(&check)["index"].to_string(), index);
    // With the log of another hospital's key it proves nothing.
    let foreign = ["--agreement", keys[1], "--holder", "hospital-b"];
    let mut check = vec!["audit", "check", "--entry", &entry, "--proof", &proof];
    check.extend(foreign);
    assert_eq!(fails(&check).0, 4);
    assert!(fs::metadata(&entry).is_ok());
}
