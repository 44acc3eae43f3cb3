//! Guards and key processes that are killed at any moment of a run: a clear error, nothing lost,
//! nothing twice. (Brokers that are killed at each of their steps: `cargo xtask torture kill`.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::place::{Hospital, PARTIES, Place};
use crate::programs::{CORDON, cordon, text};

/// Milliseconds after the guard has started: from its first frame to after its last.
const MOMENTS: [u64; 12] = [0, 15, 35, 60, 90, 120, 160, 210, 260, 320, 400, 550];

#[test]
fn a_guard_that_is_killed_at_any_moment_fails_its_run_and_nothing_else() {
    let place = Place::start();
    let agreement = agreed(&place);
    let whole = place.result(&agreement);

    let mut ended = BTreeMap::<String, u32>::new();
    for moment in MOMENTS {
        let run = place.research(&["run", "start", "--agreement", &agreement]);
        let run = run["run"].as_str().expect("a run");
        let guard = place.guard();
        std::thread::sleep(Duration::from_millis(moment));
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-KILL", &guard.to_string()]).status();
        *ended.entry(watched(&place, run)).or_default() += 1;
    }
    // The same question again: same answer, so that nothing was half done.
    let again = place.result(&agreement);
    assert_eq!(again["table"], whole["table"]);
    assert!(ended.get("guard_crashed").is_some_and(|crashed| *crashed >= 4), "{ended:?}");
    assert!(ended.keys().all(|code| ["guard_crashed", "ok"].contains(&code.as_str())), "{ended:?}");

    // Two runs were left in peace. A guard may also be killed after its last word to a broker.
    let good = ended.get("ok").copied().unwrap_or_default() as usize + 2;
    cleared_by_all(&place, good, MOMENTS.len() + 2);
}

/// A broker without its key process ends. Started again it goes on: a run that it had not decided
/// is refused, one that it had is paid once.
#[test]
fn a_key_process_that_is_killed_at_any_moment_costs_a_run_at_most() {
    let mut place = Place::start();
    let agreement = agreed(&place);
    let whole = place.result(&agreement);

    let mut ended = BTreeMap::<String, u32>::new();
    for moment in MOMENTS {
        let run = place.research(&["run", "start", "--agreement", &agreement]);
        let run = run["run"].as_str().expect("a run");
        place.guard();
        std::thread::sleep(Duration::from_millis(moment));
        let keys = child_of(place.broker(0)).expect("a key process");
        let killed = Command::new("kill").args(["-KILL", &keys.to_string()]).status();
        assert!(killed.expect("it starts").success());
        assert_eq!(place.start_broker_again(0), Some(1));
        *ended.entry(watched(&place, run)).or_default() += 1;
    }
    let again = place.result(&agreement);
    assert_eq!(again["table"], whole["table"]);
    let known = ["ok", "not_challenged", "not_fresh", "key_process_gone", "stopped"];
    assert!(ended.keys().all(|code| known.contains(&code.as_str())), "{ended:?}");
    let good = ended.get("ok").copied().unwrap_or_default() as usize + 2;
    cleared_by_all(&place, good, MOMENTS.len() + 2);
}

/// An agreement about sealed synthetic patients.
fn agreed(place: &Place) -> String {
    seal_patients(place);
    let source =
        |holder: &&str| json!({ "holder": holder, "dataset": "registry", "table": "patient" });
    place.agree(&json!({
        "study": "kills", "name": "v1", "title": "How many patients are there?",
        "purpose": {
            "statement": "What remains of a run of which a process was killed?",
            "duo": ["DUO:0000006"], "legal_basis": "GDPR Art. 9(2)(j)", "references": [],
        },
        "query": "SELECT COUNT(DISTINCT subject) AS patients FROM patient",
        "tables": { "patient": PARTIES.iter().map(source).collect::<Vec<_>>() },
        "approvals": { "persons": 2, "roles": ["steward", "data_protection_officer"] },
        "review": "gate_suffices", "min_cell": 11, "max_runs": 20,
    }))
}

/// Every log verifies, tells of each run once, of at most `most` grants, and soon of `good`
/// clearances.
fn cleared_by_all(place: &Place, good: usize, most: usize) {
    for hospital in &place.hospitals {
        let started = Instant::now();
        loop {
            let entries = entries(hospital);
            let granted = runs_of(&entries, "grant.issued");
            let cleared = runs_of(&entries, "output.cleared");
            assert!(cleared <= granted && granted <= most, "{cleared} of {granted}");
            if cleared >= good {
                break;
            }
            // What was decided is shown a moment later.
            assert!(started.elapsed() < Duration::from_secs(20), "{cleared} cleared, not {good}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// All entries of a hospital's log, which verifies.
fn entries(hospital: &Hospital) -> Vec<Value> {
    let (log, card) = (hospital.path("broker/log"), hospital.path("broker/card.json"));
    let audited = cordon(&["audit", "show", &log, "--card", &card]);
    audited["shown"].as_array().expect("entries").clone()
}

/// How many runs an action was permitted for: for each once.
fn runs_of(entries: &[Value], action: &str) -> usize {
    let permitted = |entry: &&Value| entry["action"] == action && entry["decision"] == "permit";
    let runs: Vec<String> =
        entries.iter().filter(permitted).map(|entry| entry["run"].to_string()).collect();
    let distinct: BTreeSet<&String> = runs.iter().collect();
    assert_eq!(distinct.len(), runs.len(), "{action} twice for one run");
    runs.len()
}

fn seal_patients(place: &Place) {
    let out = place.folder.path().join("synthetic").display().to_string();
    let sites = PARTIES.join(",");
    cordon(&["synth", "--patients", "400", "--seed", "4", "--sites", &sites, "--out", &out]);
    for hospital in &place.hospitals {
        let input = format!("{out}/{}", hospital.party);
        place.seal(hospital, "registry", &["--view", "patient", "--input", &input]);
    }
}

/// How a run ended: `ok`, or the code of its failure.
fn watched(place: &Place, run: &str) -> String {
    let output = Command::new(CORDON)
        .args(["--json", "run", "watch", run, "--hub", &place.hub])
        .output()
        .expect("it starts");
    let said = text(&output.stdout) + &text(&output.stderr);
    if output.status.success() {
        return "ok".to_owned();
    }
    let known = [
        "guard_crashed",
        "host_lost",
        "broker_silent",
        "not_challenged",
        "not_fresh",
        "key_process_gone",
        "key_process_failed",
        "lease_expired",
    ];
    let code = known.into_iter().find(|code| said.contains(code));
    code.map_or(said, str::to_owned)
}

impl Place {
    /// The guard that the host runs, once there is one.
    fn guard(&self) -> u32 {
        let started = Instant::now();
        loop {
            if let Some(guard) = self.host().and_then(child_of) {
                return guard;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "no guard");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A child of a process, if it has one.
fn child_of(parent: u32) -> Option<u32> {
    fs::read_dir(format!("/proc/{parent}/task")).ok()?.find_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("children")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    })
}
