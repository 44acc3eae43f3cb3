//! Canaries: values that stand in the records of a hospital and nowhere else. After a study, its
//! result and a run that the gate refuses, everything is searched that any program wrote or said.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use crate::place::{PARTIES, Place};

/// Patients of each hospital.
const PATIENTS: usize = 40;

/// What no program may write or say, in the forms in which it could.
struct Canaries(BTreeSet<Vec<u8>>);

impl Canaries {
    fn new() -> Self {
        Self(BTreeSet::new())
    }

    fn add_text(&mut self, text: &str) {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.0.insert(text.as_bytes().to_vec());
        self.0.insert(hex.to_uppercase().into_bytes());
        self.0.insert(hex.into_bytes());
        // In base64 a text looks different at each of three places, but for its ends.
        for shift in 0..3 {
            for alphabet in [STANDARD, URL_SAFE] {
                let padded = [vec![0; shift], text.as_bytes().to_vec()].concat();
                let encoded = alphabet.encode(padded).into_bytes();
                self.0.insert(encoded[4..encoded.len() - 4].to_vec());
            }
        }
    }

    fn add_number(&mut self, number: i64) {
        self.0.insert(number.to_string().into_bytes());
        self.0.insert(number.to_le_bytes().to_vec());
        self.0.insert(number.to_be_bytes().to_vec());
    }

    /// The first canary in `bytes`. All of them have eight bytes or more.
    fn found_in(&self, bytes: &[u8]) -> Option<String> {
        let starts: BTreeSet<&[u8]> = self.0.iter().map(|canary| &canary[..8]).collect();
        let suspect = |at: &usize| starts.contains(&bytes[*at..at + 8]);
        let places = (0..bytes.len().saturating_sub(7)).filter(suspect);
        places
            .flat_map(|at| self.0.iter().filter(move |canary| bytes[at..].starts_with(canary)))
            .map(|canary| String::from_utf8_lossy(canary).into_owned())
            .next()
    }
}

/// Records of one hospital; their values are canaries.
fn records(party: &str, canaries: &mut Canaries) -> String {
    let mut csv = "patient,sex,remark,cost\n".to_owned();
    for number in 0..PATIENTS {
        let patient = format!("MRN-{party}-{number:03}-quetzal");
        let remark = format!("zebra stripes of {party} number {number:03} seen at noon");
        let cost = 7_700_000_000_000 + (number as i64) * 1_009;
        let sex = ["female", "male"][number % 2];
        csv += &format!("{patient},{sex},{remark},{cost}\n");
        canaries.add_text(&patient);
        canaries.add_text(&remark);
        canaries.add_number(cost);
    }
    csv
}

fn draft(study: &str, min_cell: usize) -> Value {
    let source = |holder: &&str| json!({ "holder": holder, "dataset": "stays", "table": "stay" });
    let reviewer = |holder: &&str| json!({ "party": holder, "person": "reviewer" });
    json!({
        "study": study, "name": "v1", "title": "What stays cost",
        "purpose": {
            "statement": "What do stays cost, by sex?",
            "duo": ["DUO:0000006"], "legal_basis": "GDPR Art. 9(2)(j)", "references": [],
        },
        "query": "SELECT sex, COUNT(DISTINCT patient) AS patients, SUM(cost) AS cost \
                  FROM stay WHERE remark LIKE 'z%' AND cost IS NOT NULL GROUP BY sex",
        "tables": { "stay": PARTIES.iter().map(source).collect::<Vec<_>>() },
        "approvals": { "persons": 2, "roles": ["steward", "data_protection_officer"] },
        "reviewers": PARTIES.iter().map(reviewer).collect::<Vec<_>>(),
        "min_cell": min_cell,
    })
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    entries
        .flat_map(|entry| match entry.file_type().expect("a kind").is_dir() {
            true => files_below(&entry.path()),
            false => vec![entry.path()],
        })
        .collect()
}

#[test]
fn no_value_of_a_record_reaches_a_file_a_log_or_an_answer() {
    let place = Place::start_talkative();
    let own = tempfile::tempdir().expect("what only a hospital sees");
    let mut canaries = Canaries::new();
    let mut said = Vec::new();
    for hospital in &place.hospitals {
        let file = own.path().join(hospital.party).join("stay.csv");
        fs::create_dir(file.parent().expect("a folder")).expect("a folder");
        fs::write(&file, records(hospital.party, &mut canaries)).expect("records");
        let file = file.display().to_string();
        said.push(place.seal(hospital, "stays", &["--csv", &file, "--subject", "patient"]));
    }

    let agreement = place.agree(&draft("costs", 11));
    let status = place.research(&["run", "start", "--agreement", &agreement, "--wait"]);
    let run = status["run"].as_str().expect("a run").to_owned();
    for hospital in &place.hospitals {
        let review = ["run", "output", "review", &run, "--verdict", "approve"];
        said.push(hospital.at(&review, "reviewer"));
    }
    said.push(place.research(&["run", "output", "open", &run]));
    assert!(said.last().expect("a result").to_string().contains("female"));
    // A run that the gate refuses.
    let refused = place.agree(&draft("small", 2 * PATIENTS));
    let refused = place.research_fails(&["run", "start", "--agreement", &refused, "--wait"]);
    assert!(refused.1.contains("gate_small_cells"), "{}", refused.1);
    said.push(refused.1.into());
    for hospital in &place.hospitals {
        said.push(hospital.at(&["audit", "refusals"], "officer"));
        said.push(hospital.at(&["study", "list"], "officer"));
    }

    for answer in &said {
        assert_eq!(canaries.found_in(answer.to_string().as_bytes()), None);
    }
    let files = files_below(place.folder.path());
    let logs = files.iter().filter(|file| file.extension().is_some_and(|e| e == "log"));
    assert_eq!(logs.count(), 2 + PARTIES.len(), "a log of each service");
    assert!(files.len() > 100, "{} files", files.len());
    let mut bytes = 0;
    for file in &files {
        let content = fs::read(file).expect("a file");
        assert_eq!(canaries.found_in(&content), None, "{}", file.display());
        bytes += content.len();
    }
    assert!(bytes > 1_000_000, "{bytes} bytes were searched");
    // The search finds what is there to find.
    for file in files_below(own.path()) {
        assert!(canaries.found_in(&fs::read(file).expect("records")).is_some());
    }
}
