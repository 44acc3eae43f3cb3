//! The files read back by other means than wrote them, `serde_json` and comparison of text, and
//! held against what the truth claims.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::*;
use crate::temporal::days_from_civil;

type Files = BTreeMap<(String, ResourceKind), Vec<u8>>;

/// The files of a run with the lines that are wanted, and its truth as it stands in `truth.json`.
fn files_with(
    (seed, patients): (u64, u32),
    sites: &[&str],
    is_wanted: fn(ResourceKind, &[u8]) -> bool,
) -> (Files, Value) {
    let mut files = Files::new();
    let truth = Generator::new(seed, patients, sites).expect("legal").write(|site, kind, line| {
        if is_wanted(kind, line) {
            files.entry((site.to_owned(), kind)).or_default().extend_from_slice(line);
        }
        Ok(())
    });
    (files, serde_json::to_value(truth.expect("memory takes all")).expect("JSON"))
}

fn files(seed: u64, patients: u32, sites: &[&str]) -> (Files, Value) {
    files_with((seed, patients), sites, |_, _| true)
}

fn records(file: &[u8]) -> impl Iterator<Item = Value> {
    let lines = file.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| serde_json::from_slice(line).expect("a line is JSON"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected text, found {value}"))
}

/// A decimal of the truth, which is written as text.
fn planted(value: &Value) -> f64 {
    text(value).parse().expect("a decimal")
}

/// An amount in units of its second decimal, which no value exceeds.
fn hundredths(value: &Value) -> i64 {
    (value.as_f64().expect("a number") * 100.0).round() as i64
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

fn digits(date: &Value, range: std::ops::Range<usize>) -> i64 {
    text(date)[range].parse().expect("digits")
}

/// Days since 1970 of a FHIR date or dateTime.
fn day(date: &Value) -> i64 {
    days_from_civil(digits(date, 0..4), digits(date, 5..7), digits(date, 8..10))
}

/// Minutes since 1970 of a FHIR dateTime in UTC.
fn minute(time: &Value) -> i64 {
    assert!(text(time).ends_with(":00Z"), "{time}");
    (day(time) * 24 + digits(time, 11..13)) * 60 + digits(time, 14..16)
}

/// What the files of a site say of one patient. Days count from 1970.
#[derive(Default)]
struct Chart {
    /// The identifier that is the same at every site.
    person: String,
    /// Sex, dates of birth and death, and names.
    who: [String; 4],
    birth: i64,
    decade: i64,
    /// ICD-10-CM code.
    conditions: Vec<String>,
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

const MINUTES_PER_DAY: i64 = 24 * 60;
const THIRTY_DAYS: i64 = 30 * MINUTES_PER_DAY;

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
                self.who = ["gender", "birthDate", "deceasedDateTime", "name"]
                    .map(|member| record[member].to_string());
                self.birth = day(&record["birthDate"]);
                self.decade = digits(&record["birthDate"], 0..3) * 10;
            }
            "Encounter" => self.visits.push(Visit {
                class: text(&record["class"]["code"]).to_owned(),
                reason: code(&record["reasonCode"][0]),
                start: minute(&record["period"]["start"]),
                end: minute(&record["period"]["end"]),
            }),
            "Condition" => self.conditions.push(code(&record["code"])),
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

    fn sex(&self) -> &str {
        self.who[0].trim_matches('"')
    }

    fn stays(&self) -> impl Iterator<Item = &Visit> {
        self.visits.iter().filter(|visit| visit.class == "IMP")
    }

    /// Whether another stay begins within 30 days of the end of this one.
    fn is_followed(&self, stay: &Visit) -> bool {
        self.stays().any(|other| (0..=THIRTY_DAYS).contains(&(other.start - stay.end)))
    }

    /// The place of the age at the start of 2021 among 20-39, 40-59, 60-74 and 75-92.
    fn age_band(&self) -> usize {
        let years = (days_from_civil(2021, 1, 1) - self.birth) as f64 / 365.25;
        [40.0, 60.0, 75.0].iter().filter(|least| years >= **least).count()
    }
}

fn claim_lines(claim: &Value) -> Vec<[i64; 2]> {
    let amount = |adjudications: &Value, category: &str| {
        let mut found = adjudications.as_array().into_iter().flatten();
        let found = found.find(|a| a["category"]["coding"][0]["code"] == category);
        hundredths(&found.expect(category)["amount"]["value"])
    };
    let both = |from: &Value| ["submitted", "benefit"].map(|category| amount(from, category));
    let items = claim["item"].as_array().expect("items");
    let lines: Vec<[i64; 2]> = items.iter().map(|item| both(&item["adjudication"])).collect();
    // The total and the payment repeat what the lines add up to.
    let total = [0, 1].map(|index| lines.iter().map(|line| line[index]).sum::<i64>());
    assert_eq!(total, both(&claim["total"]), "{claim}");
    assert_eq!(total[1], hundredths(&claim["payment"]["amount"]["value"]), "{claim}");
    lines
}

/// One run that most tests read: enough people for rates, few enough to parse in a second.
static RUN: LazyLock<(Files, Value)> = LazyLock::new(|| files(42, 5_000, DEFAULT_SITES));
static CHARTS: LazyLock<Charts> = LazyLock::new(|| charts(&RUN.0));

/// Each person's charts with their sites, in alphabetical order.
fn people() -> BTreeMap<&'static str, Vec<(&'static str, &'static Chart)>> {
    let mut people = BTreeMap::<_, Vec<_>>::new();
    for (site, charts) in CHARTS.iter() {
        for chart in charts.values() {
            people.entry(chart.person.as_str()).or_default().push((site.as_str(), chart));
        }
    }
    people
}

fn tally<K: Ord>(items: impl IntoIterator<Item = K>) -> BTreeMap<K, u64> {
    let mut tally = BTreeMap::new();
    items.into_iter().for_each(|item| *tally.entry(item).or_default() += 1);
    tally
}

/// Rows and patients by code, in the form of the truth.
fn by_code<'c, I: Iterator<Item = &'c str>>(
    charts: impl Iterator<Item = &'c Chart> + Clone,
    codes: impl Fn(&'c Chart) -> I,
) -> BTreeMap<&'c str, Value> {
    let rows = tally(charts.clone().flat_map(&codes));
    let patients = tally(charts.flat_map(|chart| codes(chart).collect::<BTreeSet<_>>()));
    let both = |(code, rows)| (code, json!({"rows": rows, "patients": patients[code]}));
    rows.into_iter().map(both).collect()
}

fn by_sex_and_decade<'c>(charts: impl Iterator<Item = &'c Chart>) -> Value {
    let mut counts = json!({});
    for ((sex, decade), count) in tally(charts.map(|chart| (chart.sex(), chart.decade))) {
        counts[sex][decade.to_string()] = json!(count);
    }
    counts
}

/// Both arms of the trial: follow-up begins with the drug and ends with the first admission for
/// heart failure or after three years.
fn trial<'c>(charts: impl Iterator<Item = &'c Chart> + Clone) -> Value {
    let arm = |drug: &str| {
        let (mut people, mut events, mut days) = (0, 0, 0);
        for chart in charts.clone() {
            let Some((_, start)) = chart.orders.iter().find(|(code, _)| code == drug) else {
                continue;
            };
            let admissions = chart.stays().filter(|stay| stay.reason == "I50.9");
            let after = admissions.map(|stay| stay.start.div_euclid(MINUTES_PER_DAY) - start);
            let event = after.filter(|days| (0..=3 * 365).contains(days)).min();
            people += 1;
            events += i64::from(event.is_some());
            days += event.unwrap_or(3 * 365);
        }
        json!({"drug": drug, "people": people, "events": events, "days_at_risk": days})
    };
    json!({"treatment": arm("1545653"), "control": arm("4821")})
}

/// A sum of hundredths with the digits that its values are reported with.
fn decimal(hundredths: i64, digits: usize) -> String {
    let unit = 10_i64.pow(digits as u32);
    assert_eq!(hundredths % (100 / unit), 0, "no value has more digits");
    let units = hundredths / (100 / unit);
    match digits {
        0 => units.to_string(),
        _ => format!("{}.{:0digits$}", units / unit, units % unit),
    }
}

/// What the truth should say of a site.
fn recount(site: &str) -> Value {
    let charts = CHARTS[site].values();
    let mut conditions = by_code(charts.clone(), |c| c.conditions.iter().map(String::as_str));
    for (code, condition) in &mut conditions {
        let with = charts.clone().filter(|c| c.conditions.iter().any(|known| known == code));
        condition["by_sex_and_decade"] = by_sex_and_decade(with);
    }
    let mut observations = by_code(charts.clone(), |c| c.observations.iter().map(|o| o.0.as_str()));
    for (code, observation) in &mut observations {
        let all = charts.clone().flat_map(|chart| &chart.observations);
        let sum = all.filter(|(of, ..)| of == code).map(|(.., value)| value).sum();
        let digits = BTreeMap::from([("4548-4", 1), ("8480-6", 0), ("2160-0", 2)])[code];
        observation["sum"] = json!(decimal(sum, digits));
    }
    let stays = || charts.clone().flat_map(|chart| chart.stays().map(move |stay| (chart, stay)));
    let claims = || charts.clone().flat_map(|chart| &chart.claims);
    let cents = |index: usize| claims().flatten().map(|line| line[index]).sum();
    let lines = |kind| RUN.0[&(site.to_owned(), kind)].iter().filter(|b| **b == b'\n').count();
    json!({
        "resources": BTreeMap::from(ResourceKind::ALL.map(|kind| (kind.name(), lines(kind)))),
        "patients": by_sex_and_decade(charts.clone()),
        "conditions": conditions,
        "observations": observations,
        "medications": by_code(charts.clone(), |c| c.orders.iter().map(|o| o.0.as_str())),
        "encounters": by_code(charts.clone(), |c| c.visits.iter().map(|v| v.class.as_str())),
        "discharges": stays().count(),
        "readmitted_within_30_days": stays().filter(|(c, stay)| c.is_followed(stay)).count(),
        "claims": {
            "claims": claims().count(),
            "lines": claims().flatten().count(),
            "submitted": decimal(cents(0), 2),
            "paid": decimal(cents(1), 2),
        },
        "trial": trial(charts.clone()),
    })
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_gives_others() {
    let run = files(7, 60, DEFAULT_SITES);
    assert!(run == files(7, 60, DEFAULT_SITES));
    // Seeds that differ in the lowest and in the highest bit only.
    for seed in [6, 7 | 1 << 63] {
        let (other, _) = files(seed, 60, DEFAULT_SITES);
        assert_eq!(run.0.len(), DEFAULT_SITES.len() * ResourceKind::ALL.len());
        for (file, bytes) in &run.0 {
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
fn the_truth_of_each_site_is_what_its_files_say() {
    let sites: BTreeMap<&str, Value> =
        DEFAULT_SITES.iter().map(|site| (*site, recount(site))).collect();
    assert_eq!(json!(sites), RUN.1["sites"]);
    assert_eq!(trial(CHARTS.values().flat_map(BTreeMap::values)), RUN.1["trial"]);
}

#[test]
fn the_people_of_two_sites_are_those_of_the_truth_and_the_same_in_both() {
    let people = people();
    let shared = || people.values().filter(|charts| charts.len() > 1);
    let pairs = shared().map(|charts| charts.iter().map(|(site, _)| *site).collect::<Vec<_>>());
    let diagnoses = people.values().map(|charts| {
        charts.iter().flat_map(|(_, chart)| chart.conditions.iter()).collect::<BTreeSet<_>>()
    });
    let expected = json!({
        "shared": shared().count(),
        "shared_by_pair": tally(pairs.map(|pair| pair.join("+"))),
        "with_condition": tally(diagnoses.flatten()),
    });
    assert_eq!(RUN.1["people"], expected);
    assert_eq!((people.len(), &RUN.1["patients"]), (5_000, &json!(5_000)));
    for charts in shared() {
        let [(_, first), (_, second)] = charts.as_slice() else { panic!("at two sites at most") };
        assert_eq!(first.who, second.who);
        // The second site knows a part of what the home site knows.
        let [first, second] = [first, second].map(|c| BTreeSet::from_iter(&c.conditions));
        assert!(first.is_subset(&second) || second.is_subset(&first), "{first:?} {second:?}");
    }
}

#[test]
fn a_single_site_shares_nobody() {
    let (files, truth) = files(42, 500, &["only"]);
    assert_eq!(charts(&files)["only"].len(), 500);
    assert_eq!(truth["people"]["shared"], 0);
}

/// Compares a planted rate with how often it came true, and allows four standard errors.
#[track_caller]
fn check_rate(what: &str, found: u64, of: u64, planted: f64) {
    let (found, of) = (found as f64, of as f64);
    let error = (planted * (1.0 - planted) / of).sqrt();
    assert!((found / of - planted).abs() <= 4.0 * error, "{what}: {found} of {of}, not {planted}");
}

#[test]
fn diagnoses_are_as_frequent_as_planted() {
    let people = people();
    for (code, rates) in RUN.1["planted"]["prevalence"].as_object().expect("by code") {
        // All ages and sexes together: the sum of many different draws.
        let (mut expected, mut variance, mut found) = (0.0, 0.0, 0.0);
        for (sex, band) in (0..8).map(|cell| (["female", "male"][cell / 4], cell % 4)) {
            let rate = planted(&rates[sex][band]);
            let of = people.values().filter(|c| c[0].1.sex() == sex && c[0].1.age_band() == band);
            let with = of
                .clone()
                .filter(|charts| charts.iter().any(|(_, chart)| chart.conditions.contains(code)));
            let (with, of) = (with.count() as u64, of.count() as u64);
            assert!(of > 200, "{sex} {band}: {of}");
            check_rate(&format!("{code} {sex} {band}"), with, of, rate);
            expected += of as f64 * rate;
            variance += of as f64 * rate * (1.0 - rate);
            found += with as f64;
        }
        let error = f64::sqrt(variance);
        assert!((found - expected).abs() <= 4.0 * error, "{code}: {found} not {expected}");
    }
}

#[test]
fn sharing_and_readmission_are_as_frequent_as_planted() {
    let people = people();
    let shared = people.values().filter(|charts| charts.len() > 1).count() as u64;
    check_rate("shared", shared, 5_000, planted(&RUN.1["planted"]["shared_rate"]));

    // First stays only, and only where 30 days are left to be readmitted in.
    let last = days_from_civil(2024, 11, 20) * MINUTES_PER_DAY;
    let alive = CHARTS.values().flat_map(BTreeMap::values).filter(|c| c.who[2] == "null");
    let followed: Vec<bool> = alive
        .flat_map(|chart| {
            let follows = |stay: &Visit, other: &Visit| {
                other.start < stay.start && stay.start - other.end <= THIRTY_DAYS
            };
            let first = chart.stays().filter(move |s| !chart.stays().any(|o| follows(s, o)));
            first.filter(|stay| stay.end < last).map(|stay| chart.is_followed(stay))
        })
        .collect();
    let count = followed.iter().filter(|followed| **followed).count() as u64;
    let rate = planted(&RUN.1["planted"]["readmission_rate"]);
    check_rate("readmission", count, followed.len() as u64, rate);
}

#[test]
fn metformin_lowers_hba1c_as_planted_and_time_alone_does_not() {
    let effect = planted(&RUN.1["planted"]["metformin_effect_on_hba1c"]);
    for (is_treated, planted) in [(true, effect), (false, 0.0)] {
        let diabetics = CHARTS.values().flat_map(BTreeMap::values).filter(|chart| {
            chart.conditions.iter().any(|code| code == "E11.9")
                && chart.orders.iter().any(|(drug, _)| drug == "6809") == is_treated
        });
        let changes = hba1c_changes(diabetics);
        let count = changes.len() as f64;
        let mean = changes.iter().sum::<f64>() / count;
        let variance = changes.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let error = f64::sqrt(variance / count);
        assert!((mean - planted).abs() <= 4.0 * error, "{mean} is not {planted} +- {error}");
        assert!(error < 0.05, "too few to tell: {count}");
    }
}

/// From the first HbA1c to the last, of those who have two.
fn hba1c_changes<'c>(charts: impl Iterator<Item = &'c Chart>) -> Vec<f64> {
    let change = |chart: &Chart| {
        let mut values: Vec<_> = chart.observations.iter().filter(|o| o.0 == "4548-4").collect();
        values.sort_by_key(|(_, day, _)| *day);
        let [first, last] = values.as_slice() else { return None };
        Some((last.2 - first.2) as f64 / 100.0)
    };
    charts.filter_map(change).collect()
}

#[test]
fn the_hazard_ratio_of_the_trial_is_found_from_events_and_person_time() {
    // Two records of a patient are enough, so there can be many patients.
    let (files, truth) = files_with((9, 60_000), DEFAULT_SITES, |kind, line| match kind {
        ResourceKind::MedicationRequest => true,
        ResourceKind::Encounter => line.windows(5).any(|bytes| bytes == b"I50.9"),
        ResourceKind::Patient
        | ResourceKind::Condition
        | ResourceKind::Observation
        | ResourceKind::ExplanationOfBenefit => false,
    });
    let charts = charts(&files);
    let trial = trial(charts.values().flat_map(BTreeMap::values));
    assert_eq!(trial, truth["trial"]);
    let [(e1, y1), (e0, y0)] = ["treatment", "control"].map(|arm| {
        let count = |member: &str| trial[arm][member].as_f64().expect("a number");
        (count("events"), count("days_at_risk") / 365.25)
    });
    let wanted = planted(&truth["planted"]["hazard_ratio"]);
    // The standard error of the logarithm of a ratio of two rates.
    let error = f64::sqrt(1.0 / e1 + 1.0 / e0);
    let found = (e1 / y1) / (e0 / y0);
    assert!((found / wanted).ln().abs() <= 4.0 * error, "{found} is not {wanted}");
    assert!(wanted.ln().abs() > 6.0 * error, "no effect would not be told from {wanted}");
    let control = planted(&truth["planted"]["control_hazard_per_year"]);
    assert!((e0 / y0 / control).ln().abs() <= 4.0 / e0.sqrt(), "{} not {control}", e0 / y0);
}
