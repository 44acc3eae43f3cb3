//! The files read back by other means than wrote them, `serde_json` and comparison of text, and
//! held against what the truth claims.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::temporal::days_from_civil;

type Files = BTreeMap<(String, ResourceKind), Vec<u8>>;

/// The files of a run, and its truth as it stands in `truth.json`.
fn files(seed: u64, patients: u32, sites: &[&str]) -> (Files, Value) {
    let mut files = Files::new();
    let truth = Generator::new(seed, patients, sites).expect("legal").write(|site, kind, line| {
        files.entry((site.to_owned(), kind)).or_default().extend_from_slice(line);
        Ok(())
    });
    (files, serde_json::to_value(truth.expect("memory takes all")).expect("JSON"))
}

fn records(file: &[u8]) -> impl Iterator<Item = Value> {
    let lines = file.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| {
        assert!(line.ends_with(b"\n"), "each line has its end");
        serde_json::from_slice(line).expect("a line is JSON")
    })
}

/// Calls `visit` with every object in `value`, itself included.
fn each_object(value: &Value, visit: &mut dyn FnMut(&Value)) {
    match value {
        Value::Object(members) => {
            visit(value);
            members.values().for_each(|member| each_object(member, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| each_object(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected text, found {value}"))
}

fn number(text: &Value) -> f64 {
    self::text(text).parse().expect("a decimal")
}

/// The id of the patient whose record this is.
fn patient_of(record: &Value) -> &str {
    let reference = match text(&record["resourceType"]) {
        "Patient" => return text(&record["id"]),
        "ExplanationOfBenefit" => &record["patient"],
        _ => &record["subject"],
    };
    text(&reference["reference"]).strip_prefix("Patient/").expect("a reference to a patient")
}

/// Days since 1970 of a FHIR date or dateTime.
fn day(date: &Value) -> i64 {
    let part = |range: std::ops::Range<usize>| text(date)[range].parse::<i64>().expect("digits");
    days_from_civil(part(0..4), part(5..7) as u32, part(8..10) as u32)
}

/// Minutes since 1970 of a FHIR dateTime in UTC.
fn minute(time: &Value) -> i64 {
    let part = |range: std::ops::Range<usize>| text(time)[range].parse::<i64>().expect("digits");
    assert!(text(time).ends_with(":00Z"), "{time}");
    day(time) * 24 * 60 + part(11..13) * 60 + part(14..16)
}

/// An amount in units of its second decimal, which no value exceeds.
fn hundredths(value: &Value) -> i64 {
    (value.as_f64().expect("a number") * 100.0).round() as i64
}

/// What the files of a site say of one patient.
#[derive(Default)]
struct Chart {
    /// The identifier that is the same at every site.
    person: String,
    sex: String,
    /// Days since 1970, as all days here.
    birth: i64,
    is_dead: bool,
    /// Code and day of onset.
    conditions: Vec<(String, i64)>,
    /// LOINC code, day, value in hundredths.
    observations: Vec<(String, i64, i64)>,
    /// RxNorm code and day.
    orders: Vec<(String, i64)>,
    visits: Vec<Visit>,
    /// For each claim, its lines with what was submitted and paid, in cents.
    claims: Vec<Vec<[i64; 2]>>,
}

struct Visit {
    class: String,
    reason: String,
    /// Minutes since 1970.
    start: i64,
    end: i64,
}

/// Charts by site and patient id.
type Charts = BTreeMap<String, BTreeMap<String, Chart>>;

fn charts(files: &Files) -> Charts {
    let mut charts = Charts::new();
    for ((site, _), file) in files {
        let site = charts.entry(site.clone()).or_default();
        for record in records(file) {
            site.entry(patient_of(&record).to_owned()).or_default().take(&record);
        }
    }
    charts
}

impl Chart {
    fn take(&mut self, record: &Value) {
        let code = |concept: &Value| text(&concept["coding"][0]["code"]).to_owned();
        match text(&record["resourceType"]) {
            "Patient" => {
                self.person = text(&record["identifier"][1]["value"]).to_owned();
                self.sex = text(&record["gender"]).to_owned();
                self.birth = day(&record["birthDate"]);
                self.is_dead = record.get("deceasedDateTime").is_some();
            }
            "Encounter" => self.visits.push(Visit {
                class: text(&record["class"]["code"]).to_owned(),
                reason: code(&record["reasonCode"][0]),
                start: minute(&record["period"]["start"]),
                end: minute(&record["period"]["end"]),
            }),
            "Condition" => {
                self.conditions.push((code(&record["code"]), day(&record["onsetDateTime"])));
            }
            "Observation" => {
                let value = hundredths(&record["valueQuantity"]["value"]);
                let at = day(&record["effectiveDateTime"]);
                self.observations.push((code(&record["code"]), at, value));
            }
            "MedicationRequest" => {
                let drug = code(&record["medicationCodeableConcept"]);
                self.orders.push((drug, day(&record["authoredOn"])));
            }
            "ExplanationOfBenefit" => self.claims.push(claim_lines(record)),
            other => panic!("no resource of type {other} is made"),
        }
    }

    fn stays(&self) -> impl Iterator<Item = &Visit> {
        self.visits.iter().filter(|visit| visit.class == "IMP")
    }

    /// Completed years at the start of 2021.
    fn age(&self) -> i64 {
        ((days_from_civil(2021, 1, 1) - self.birth) as f64 / 365.25) as i64
    }
}

fn claim_lines(claim: &Value) -> Vec<[i64; 2]> {
    let amount = |adjudications: &Value, category: &str| {
        let mut found = adjudications.as_array().into_iter().flatten();
        let found = found.find(|a| a["category"]["coding"][0]["code"] == category);
        hundredths(&found.expect(category)["amount"]["value"])
    };
    let line = |item: &Value| {
        ["submitted", "benefit"].map(|category| amount(&item["adjudication"], category))
    };
    let lines: Vec<[i64; 2]> = claim["item"].as_array().expect("items").iter().map(line).collect();
    // The total and the payment repeat what the lines add up to.
    let total = |index: usize| lines.iter().map(|line| line[index]).sum::<i64>();
    assert_eq!([total(0), total(1)], line(&json!({"adjudication": claim["total"]})), "{claim}");
    assert_eq!(total(1), hundredths(&claim["payment"]["amount"]["value"]), "{claim}");
    lines
}

/// One run that most tests read: enough people for rates, few enough to parse in a second.
static RUN: LazyLock<(Files, Value)> = LazyLock::new(|| files(42, 5_000, DEFAULT_SITES));
static CHARTS: LazyLock<Charts> = LazyLock::new(|| charts(&RUN.0));

/// Charts of each person, whatever the site.
fn people() -> BTreeMap<&'static str, Vec<(&'static str, &'static Chart)>> {
    let mut people = BTreeMap::<_, Vec<_>>::new();
    for (site, charts) in CHARTS.iter() {
        for chart in charts.values() {
            people.entry(chart.person.as_str()).or_default().push((site.as_str(), chart));
        }
    }
    people
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_gives_others() {
    let (first, truth) = files(7, 60, DEFAULT_SITES);
    assert_eq!((&first, &truth), (&files(7, 60, DEFAULT_SITES).0, &files(7, 60, DEFAULT_SITES).1));
    // Seeds that differ in the lowest and in the highest bit only.
    for seed in [6, 7 | 1 << 63] {
        let (other, _) = files(seed, 60, DEFAULT_SITES);
        assert_eq!(first.len(), DEFAULT_SITES.len() * ResourceKind::ALL.len());
        for (file, bytes) in &first {
            assert_ne!(other.get(file), Some(bytes), "{file:?} of seed {seed}");
        }
    }
}

#[test]
fn a_longer_run_begins_with_the_patients_of_a_shorter_one() {
    let (few, _) = files(7, 40, DEFAULT_SITES);
    let (many, _) = files(7, 60, DEFAULT_SITES);
    for (file, bytes) in &few {
        assert!(many[file].starts_with(bytes) && many[file].len() > bytes.len(), "{file:?}");
    }
}

#[test]
fn numbers_and_names_outside_their_limits_are_refused() {
    let refused = |patients, sites: &[&str]| Generator::new(1, patients, sites).err();
    for found in [0, MAX_PATIENTS + 1, u32::MAX] {
        assert_eq!(refused(found, &["a"]), Some(SynthError::Patients { found }));
    }
    let names: Vec<String> = (0..=MAX_SITES).map(|number| format!("site-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(refused(1, &[]), Some(SynthError::Sites { found: 0 }));
    assert_eq!(refused(1, &names), Some(SynthError::Sites { found: MAX_SITES + 1 }));
    let long = "x".repeat(41);
    for name in ["", "A", "a b", "a_b", "a/b", "..", "é", "a\n", &long] {
        let name = name.to_owned();
        assert_eq!(refused(1, &["a", &name]), Some(SynthError::SiteName { name }));
    }
    assert_eq!(refused(1, &["a", "b", "a"]), Some(SynthError::SiteName { name: "a".to_owned() }));

    assert_eq!(refused(1, &["0"]), None);
    assert_eq!(refused(MAX_PATIENTS, &[&long[1..], "a-1"]), None);
    let most = Generator::new(1, 1, &names[1..]).expect("the most sites");
    assert_eq!(most.sites(), &names[1..]);
}

#[test]
fn the_first_error_of_the_taker_ends_the_run() {
    let mut lines = 0;
    let generator = Generator::new(1, 20, DEFAULT_SITES).expect("legal");
    let error = generator.write(|_, _, _| {
        lines += 1;
        if lines == 5 { Err(io::Error::other("full")) } else { Ok(()) }
    });
    assert_eq!(error.expect_err("an error").to_string(), "full");
    assert_eq!(lines, 5);
}

#[test]
fn five_thousand_patients_take_less_than_ten_seconds() {
    // About forty times what it takes, so that a busy machine does not matter.
    let start = Instant::now();
    let mut bytes = 0;
    let generator = Generator::new(1, 5_000, DEFAULT_SITES).expect("legal");
    let truth = generator.write(|_, _, line| {
        bytes += line.len();
        Ok(())
    });
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    assert!(truth.is_ok() && bytes > 10_000_000, "{bytes} bytes are not worth the time");
}

mod claims;
mod shape;
