//! Synthetic records as anybody gets them, and the views of the pack over them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use cordon_clinical::keys::KeyPolicy;
use cordon_clinical::synth::{DEFAULT_SITES, Generator, ResourceKind};
use cordon_clinical::table::{RunReport, ViewRunner};
use cordon_clinical::view::CompiledView;
use cordon_clinical::views::{PackedView, find, pack};
use serde_json::{Value, json};

/// The records of each site in the order in which they were made, and `truth.json`.
static RUN: LazyLock<(BTreeMap<String, Vec<Record>>, Value)> = LazyLock::new(|| {
    let mut sites = BTreeMap::<String, Vec<Record>>::new();
    let generator = Generator::new(23, 1_500, DEFAULT_SITES).expect("legal");
    let truth = generator.write(|site, kind, line| {
        let value = serde_json::from_slice(line).expect("a line is JSON");
        let record = Record { kind, line: line.to_vec(), value };
        sites.entry(site.to_owned()).or_default().push(record);
        Ok(())
    });
    (sites, serde_json::to_value(truth.expect("memory takes all")).expect("JSON"))
});

struct Record {
    kind: ResourceKind,
    line: Vec<u8>,
    value: Value,
}

/// What a view makes of lines.
struct Table {
    batch: RecordBatch,
    report: RunReport,
}

fn compile(view: &PackedView) -> CompiledView {
    CompiledView::parse(view.json.as_bytes()).expect(view.name)
}

fn table(view: &PackedView, lines: &[&[u8]], policy: KeyPolicy<'_>) -> Table {
    let compiled = compile(view);
    let mut runner = ViewRunner::new(&compiled, policy);
    for line in lines {
        if let Err(error) = runner.push_line(line) {
            panic!("{}: {error}: {}", view.name, String::from_utf8_lossy(line));
        }
    }
    let batch = runner.finish_batch().expect("rows");
    Table { batch, report: runner.report().clone() }
}

/// The table of all records of a site, those of other types too.
fn table_of(view: &PackedView, records: &[Record], policy: KeyPolicy<'_>) -> Table {
    let lines: Vec<&[u8]> = records.iter().map(|record| record.line.as_slice()).collect();
    table(view, &lines, policy)
}

fn cells(column: &ArrayRef) -> Vec<Option<String>> {
    // An offset instead of `UTC`, which would take a database of time zones.
    let column: ArrayRef = match column.as_any().downcast_ref::<TimestampMicrosecondArray>() {
        Some(instants) => Arc::new(instants.clone().with_timezone("+00:00")),
        None => column.clone(),
    };
    let options = FormatOptions::new().with_display_error(false);
    let shown = ArrayFormatter::try_new(&column, &options).expect("shown");
    let cell = |row| column.is_valid(row).then(|| shown.value(row).to_string());
    (0..column.len()).map(cell).collect()
}

impl Table {
    fn column(&self, name: &str) -> Vec<Option<String>> {
        cells(self.batch.column_by_name(name).expect(name))
    }

    /// Cells that must not be null.
    fn full(&self, name: &str) -> Vec<String> {
        self.column(name).into_iter().map(|cell| cell.expect(name)).collect()
    }
}

/// A record with the part of it that a row is about, for each row that is due.
fn due<'r>(view: &PackedView, records: &'r [Record]) -> Vec<(&'r Value, &'r Value)> {
    let due = |Record { value, .. }: &'r Record| {
        let parts = match view.name {
            "claim_line" => value["item"].as_array(),
            "claim_diagnosis" => value["diagnosis"].as_array(),
            _ => return vec![(value, value)],
        };
        parts.expect("an array").iter().map(|part| (value, part)).collect()
    };
    records.iter().filter(|record| record.kind.name() == view.resource).flat_map(due).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected text, found {value}"))
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

/// Calls `visit` with every object in `value`, itself included.
fn each_object<'v>(value: &'v Value, visit: &mut dyn FnMut(&'v Value)) {
    match value {
        Value::Object(members) => {
            visit(value);
            members.values().for_each(|member| each_object(member, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| each_object(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Stands for the keyed hash (it is FNV-1a): of another type or id, another pseudonym.
fn pseudonym(resource: &str, id: &str) -> [u8; 16] {
    let bytes = resource.bytes().chain([b'/']).chain(id.bytes());
    let offset = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let hash = bytes.fold(offset, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
    });
    hash.to_be_bytes()
}

fn tally<K: Ord>(items: impl IntoIterator<Item = K>) -> BTreeMap<K, u64> {
    let mut tally = BTreeMap::new();
    items.into_iter().for_each(|item| *tally.entry(item).or_default() += 1);
    tally
}

#[test]
fn names_of_views_and_columns_are_unique_and_legal_in_sealed_tables() {
    // The rule of `TableName` and `ColumnName`, which this crate does not see.
    let is_legal = |name: &str| {
        (1..=63).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let mut names = BTreeSet::new();
    for view in pack() {
        assert!(is_legal(view.name) && names.insert(view.name.to_lowercase()), "{}", view.name);
        assert_eq!(find(view.name).map(|found| found.json), Some(view.json));
        let mut columns = BTreeSet::new();
        for column in compile(view).columns() {
            // Queries do not tell upper from lower case.
            let is_new = columns.insert(column.name.to_lowercase());
            assert!(is_legal(&column.name) && is_new, "{}.{}", view.name, column.name);
        }
    }
    // Every resource type that is made has a view.
    let seen: BTreeSet<&str> = pack().iter().map(|view| view.resource).collect();
    assert_eq!(seen, ResourceKind::ALL.map(ResourceKind::name).into());
}

#[test]
fn columns_have_the_types_that_the_view_declares() {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    for view in pack() {
        let json: Value = serde_json::from_str(view.json).expect("JSON");
        let selects = json["select"].as_array().expect("selects").iter();
        let declared = selects.flat_map(|select| select["column"].as_array().expect("columns"));
        let declared: Vec<(&str, DataType)> = declared
            .map(|column| {
                let tag = column["tag"].as_array().map(|tags| text(&tags[0]["value"]));
                let data_type = match (tag, text(&column["type"])) {
                    (Some("DATE"), "date" | "dateTime") => DataType::Date32,
                    (Some("DECIMAL(18,2)"), "decimal") => DataType::Decimal128(18, 2),
                    (Some("DECIMAL(18,3)"), "decimal") => DataType::Decimal128(18, 3),
                    (Some("DECIMAL(18,4)"), "decimal") => DataType::Decimal128(18, 4),
                    (Some("TIMESTAMP WITH TIME ZONE"), "dateTime") => utc.clone(),
                    (None, "string" | "code") => DataType::Utf8,
                    (None, "integer" | "positiveInt") => DataType::Int32,
                    (None, "boolean") => DataType::Boolean,
                    other => panic!("the test does not know {other:?}"),
                };
                (text(&column["name"]), data_type)
            })
            .collect();
        let schema = table_of(view, &RUN.0["northside"], KeyPolicy::Plain).batch.schema();
        let found = schema.fields().iter().map(|field| (field.name().as_str(), field.data_type()));
        assert!(found.eq(declared.iter().map(|(n, t)| (*n, t))), "{}: {schema:?}", view.name);
    }
}

#[test]
fn every_line_is_taken_nothing_is_lost_and_each_row_that_is_due_is_there() {
    for (site, records) in &RUN.0 {
        for view in pack() {
            let Table { report, batch, .. } = table_of(view, records, KeyPolicy::Plain);
            let of_type = records.iter().filter(|record| record.kind.name() == view.resource);
            let resources = of_type.count() as u64;
            let (lines, rows) = (records.len() as u64, due(view, records).len() as u64);
            let other_types = lines - resources;
            let expected = RunReport { lines, resources, other_types, rows, ..Default::default() };
            assert_eq!(report, expected, "{site} {}", view.name);
            assert_eq!(batch.num_rows() as u64, rows, "{site} {}", view.name);
            assert!(rows > 200, "{site} {}: {rows}", view.name);
        }
    }
}

#[test]
fn a_patient_has_one_pseudonym_in_all_tables_and_no_row_is_without() {
    for records in RUN.0.values() {
        let mut pseudonyms = BTreeSet::new();
        for view in pack() {
            let table = table_of(view, records, KeyPolicy::Keyed(&pseudonym));
            assert_eq!(table.batch.schema().field(0).name(), "subject", "{}", view.name);
            let hex = |id: &str| format!("{:032x}", u128::from_be_bytes(pseudonym("Patient", id)));
            let due = due(view, records).into_iter().map(|(record, _)| hex(patient_of(record)));
            assert_eq!(table.full("subject"), due.collect::<Vec<_>>(), "{}", view.name);
            let subjects = BTreeSet::from_iter(table.full("subject"));
            // The patient view comes first; the others name nobody else.
            match view.name {
                "patient" => pseudonyms = subjects,
                _ => assert!(!subjects.is_empty() && subjects.is_subset(&pseudonyms)),
            }
            // Ids begin with the name of the site.
            for cell in table.batch.columns().iter().flat_map(cells).flatten() {
                assert!(!DEFAULT_SITES.iter().any(|site| cell.contains(site)), "{}", view.name);
            }
        }
        let patients = records.iter().filter(|record| record.kind == ResourceKind::Patient);
        assert_eq!(pseudonyms.len(), patients.count());
    }
}

/// Under the name of each view, where the values of its columns stand in a record, or after `#` in
/// the part of it that a row is about.
const PLACES: &str = "
    patient
        subject=/id sex=/gender birth_date=/birthDate birth_year=/birthDate birth_decade=/birthDate
        deceased=/deceasedDateTime death_date=/deceasedDateTime state=/address/0/state
    encounter
        subject=/subject/reference encounter=/id status=/status class=/class/code
        start_date=/period/start end_date=/period/end start_time=/period/start
        reason=/reasonCode/0/coding/0/code
    condition
        subject=/subject/reference encounter=/encounter/reference code=/code/coding/0/code
        category=/category/0/coding/0/code clinical_status=/clinicalStatus/coding/0/code
        verification_status=/verificationStatus/coding/0/code onset_date=/onsetDateTime
        abatement_date=/abatementDateTime recorded_date=/recordedDate
    observation
        subject=/subject/reference encounter=/encounter/reference code=/code/coding/0/code
        category=/category/0/coding/0/code status=/status effective_date=/effectiveDateTime
        value=/valueQuantity/value unit=/valueQuantity/code value_integer=/valueInteger
        value_code=/valueCodeableConcept/coding/0/code value_boolean=/valueBoolean
    medication
        subject=/subject/reference encounter=/encounter/reference status=/status intent=/intent
        code=/medicationCodeableConcept/coding/0/code authored_date=/authoredOn
    claim_line
        subject=/patient/reference claim=/id claim_type=/type/coding/0/code use=/use
        outcome=/outcome claim_start_date=/billablePeriod/start line=#/sequence
        service=#/productOrService/coding/0/code service_date=#/servicedDate
        quantity=#/quantity/value submitted=#/adjudication/0/amount/value
        eligible=#/adjudication/1/amount/value copay=#/adjudication/2/amount/value
        paid=#/adjudication/3/amount/value
    claim_diagnosis
        subject=/patient/reference claim=/id claim_start_date=/billablePeriod/start
        position=#/sequence code=#/diagnosisCodeableConcept/coding/0/code
        principal=#/type/0/coding/0/code";

/// The cell that a value should become.
fn cell(column: &str, data_type: &DataType, value: Option<&Value>) -> Option<String> {
    Some(match (column, value, data_type) {
        ("birth_year", Some(birth), _) => text(birth)[..4].to_owned(),
        ("birth_decade", Some(birth), _) => format!("{}0", &text(birth)[..3]),
        ("deceased", death, _) => death.is_some().to_string(),
        ("principal", kind, _) => (kind == Some(&json!("principal"))).to_string(),
        (_, None, _) => return None,
        (_, Some(value), DataType::Date32) => text(value)[..10].to_owned(),
        (_, Some(Value::Number(number)), DataType::Decimal128(_, scale)) => {
            format!("{:.*}", *scale as usize, number.as_f64().expect("a number"))
        }
        (_, Some(Value::String(id)), _) => id.strip_prefix("Patient/").unwrap_or(id).to_owned(),
        (_, Some(value), _) => value.to_string(),
    })
}

#[test]
fn every_cell_is_the_value_that_stands_at_its_place_in_the_record() {
    let records = &RUN.0["riverton"];
    let mut places = BTreeMap::<&str, BTreeMap<&str, &str>>::new();
    let mut view = "";
    for token in PLACES.split_whitespace() {
        match token.split_once('=') {
            None => view = token,
            Some((column, place)) => _ = places.entry(view).or_default().insert(column, place),
        }
    }
    assert_eq!(places.len(), pack().len());
    for view in pack() {
        let batch = table_of(view, records, KeyPolicy::Plain).batch;
        let due = due(view, records);
        assert_eq!(places[view.name].len(), batch.num_columns(), "{}", view.name);
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let place = places[view.name][field.name().as_str()];
            let find = |(record, part): &(&'static Value, &'static Value)| {
                let (of, place) = place.strip_prefix('#').map_or((record, place), |p| (part, p));
                let value = of.pointer(place);
                cell(field.name(), array.data_type(), value)
            };
            let expected: Vec<Option<String>> = due.iter().map(find).collect();
            assert!(cells(array) == expected, "{}.{} is not {place}", view.name, field.name());
        }
    }
}

/// Runs a view over one record, and shows some columns of its only row.
fn row(view: &str, record: Value, columns: &str) -> String {
    let line = record.to_string();
    let table = table(&find(view).expect(view), &[line.as_bytes()], KeyPolicy::Plain);
    assert_eq!(table.batch.num_rows(), 1);
    let cell = |name| table.column(name).remove(0).unwrap_or("null".to_owned());
    columns.split(' ').map(cell).collect::<Vec<_>>().join(" ")
}

#[test]
fn columns_that_synthetic_records_leave_empty_are_filled_by_records_that_are_not() {
    let patient = json!({"resourceType": "Patient", "id": "p", "deceasedBoolean": true,
        "address": [{"city": "x"}, {"state": "MA"}]});
    assert_eq!(row("patient", patient, "state deceased death_date"), "MA true null");

    let condition = json!({"resourceType": "Condition", "encounter": {"reference": "Encounter/e"},
        "onsetPeriod": {"start": "2020-02-29"}, "abatementPeriod": {"end": "2021-03-01T01:00:00Z"}});
    let columns = "encounter onset_date abatement_date";
    assert_eq!(row("condition", condition, columns), "e 2020-02-29 2021-03-01");

    let columns = "encounter value value_code value_integer value_boolean";
    for (member, value, expected) in [
        ("valueInteger", json!(7), "e null null 7 null"),
        ("valueBoolean", json!(false), "e null null null false"),
        ("valueCodeableConcept", json!({"coding": [{"code": "LA1"}]}), "e null LA1 null null"),
        ("valueQuantity", json!({"value": 1.25}), "e 1.2500 null null null"),
    ] {
        let encounter = json!({"reference": "Encounter/e"});
        let record = json!({"resourceType": "Observation", "encounter": encounter, member: value});
        assert_eq!(row("observation", record, columns), expected);
    }

    let order =
        json!({"resourceType": "MedicationRequest", "encounter": {"reference": "Encounter/e"}});
    assert_eq!(row("medication", order, "encounter code"), "e null");

    let claim = json!({"resourceType": "ExplanationOfBenefit", "item": [
        {"sequence": 3, "quantity": {"value": 2.5}, "servicedPeriod": {"start": "2022-05-06"}}]});
    assert_eq!(row("claim_line", claim, "line quantity service_date"), "3 2.500 2022-05-06");
}

#[test]
fn the_truth_is_found_by_counting_rows() {
    for (site, records) in &RUN.0 {
        let truth = &RUN.1["sites"][site];
        let column = |view, column| {
            table_of(&find(view).expect(view), records, KeyPolicy::Plain).full(column)
        };
        let decades = column("patient", "sex").into_iter().zip(column("patient", "birth_decade"));
        for ((sex, decade), count) in tally(decades) {
            assert_eq!(truth["patients"][&sex][&decade], count, "{site} {sex} {decade}");
        }
        for (view, code, member) in [
            ("condition", "code", "conditions"),
            ("observation", "code", "observations"),
            ("medication", "code", "medications"),
            ("encounter", "class", "encounters"),
        ] {
            let codes = truth[member].as_object().expect("by code").iter();
            let rows = codes.map(|(code, count)| (code.clone(), count["rows"].as_u64().unwrap()));
            assert_eq!(tally(column(view, code)), rows.collect(), "{site} {view}");
        }
        for amount in ["submitted", "paid"] {
            let cents = |amount: &str| amount.replace('.', "").parse::<u64>().expect("two digits");
            let sum = column("claim_line", amount).iter().map(|amount| cents(amount)).sum::<u64>();
            assert_eq!(sum, cents(text(&truth["claims"][amount])), "{site} {amount}");
        }
    }
}

#[test]
fn ids_are_unique_and_references_to_patients_resolve_at_the_same_site() {
    for (site, records) in &RUN.0 {
        let mut ids = BTreeSet::new();
        for Record { kind, value, line } in records {
            let id = text(&value["id"]);
            // As FHIR has it.
            let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            assert!((1..=64).contains(&id.len()) && id.bytes().all(is_legal), "{id}");
            assert_eq!(value["resourceType"], kind.name());
            assert_eq!(value["meta"]["tag"][0]["code"], "HTEST", "{id} is marked as made up");
            assert!(ids.insert(format!("{}/{id}", kind.name())), "{id} is there twice");
            let line = std::str::from_utf8(line).expect("UTF-8");
            assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
            let names = DEFAULT_SITES.iter().filter(|name| line.contains(**name));
            assert!(names.eq([site]), "only its own site is named: {line}");
        }
        for Record { value, .. } in records {
            assert!(ids.contains(&format!("Patient/{}", patient_of(value))), "{value}");
            each_object(value, &mut |object| {
                let Some(reference) = object.get("reference").map(text) else { return };
                assert!(ids.contains(reference), "{reference} is not at {site}");
            });
        }
    }
}

#[test]
fn dates_are_in_order_and_nothing_begins_before_birth_or_after_death() {
    let (mut events, mut dead) = (0, 0);
    for records in RUN.0.values() {
        let patients = records.iter().filter(|record| record.kind == ResourceKind::Patient);
        let patients: BTreeMap<&str, &Value> =
            patients.map(|patient| (patient_of(&patient.value), &patient.value)).collect();
        for Record { kind, value, .. } in records {
            // Dates that follow each other; a dateTime begins with its date.
            let chain = match kind {
                ResourceKind::Patient => "",
                ResourceKind::Encounter => "/period/start /period/end",
                ResourceKind::Condition => "/onsetDateTime /recordedDate",
                ResourceKind::Observation => "/effectiveDateTime",
                ResourceKind::MedicationRequest => "/authoredOn",
                ResourceKind::ExplanationOfBenefit => {
                    "/billablePeriod/start /item/0/servicedDate /billablePeriod/end /created"
                }
            };
            let dates = chain.split_whitespace().map(|at| text(value.pointer(at).expect(at)));
            let dates: Vec<&str> = dates.collect();
            assert!(dates.is_sorted(), "{value}");
            let patient = patients[patient_of(value)];
            let (birth, death) = (text(&patient["birthDate"]), patient.get("deceasedDateTime"));
            assert!(dates.iter().all(|date| birth < *date), "{value} of {patient}");
            let Some(death) = death.map(text) else { continue };
            let first = dates.first().unwrap_or(&birth);
            assert!(birth < death && &first[..10] < death, "{value} of {patient}");
            // A claim is written a week after its stay.
            let mut ends = ["/period/end", "/billablePeriod/end"].iter();
            let ended =
                ends.find_map(|at| value.pointer(at)).is_none_or(|end| &text(end)[..10] <= death);
            assert!(ended, "{value} of {patient}");
            events += dates.len();
            dead += usize::from(*kind == ResourceKind::Patient);
        }
    }
    assert!(events > 1_000 && dead > 50, "{events} events of {dead} dead");
}

#[test]
fn codes_are_of_systems_that_may_be_given_away() {
    const HCPCS: &str = "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets";
    let mut used = BTreeMap::<&str, BTreeSet<&str>>::new();
    for Record { value, .. } in RUN.0.values().flatten() {
        each_object(value, &mut |object| {
            let Some(system) = object.get("system").map(text) else { return };
            let ours = ["http://terminology.hl7.org/CodeSystem/", "https://example.org/synthetic/"];
            if !ours.iter().any(|prefix| system.starts_with(prefix)) {
                used.entry(system).or_default().insert(text(&object["code"]));
            }
        });
    }
    // SNOMED CT (http://snomed.info/sct) and CPT (http://www.ama-assn.org/go/cpt) need a licence.
    let free = [
        "http://hl7.org/fhir/sid/icd-10-cm",
        "http://loinc.org",
        "http://unitsofmeasure.org",
        HCPCS,
        "http://www.nlm.nih.gov/research/umls/rxnorm",
    ];
    assert!(used.keys().eq(&free), "{used:?}");
    // Level I of HCPCS is CPT: five digits, or four and a letter behind them.
    for code in &used[HCPCS] {
        let digits = code.strip_prefix(|first| matches!(first, 'A'..='V')).expect(code);
        assert!(digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
    }
    assert!(text(&RUN.1["notices"][0]).contains("http://loinc.org/license"));
}

#[test]
fn five_thousand_patients_take_less_than_ten_seconds() {
    // Sixty times what it takes, so that a busy machine does not matter.
    let (start, mut lines) = (Instant::now(), 0);
    let generator = Generator::new(1, 5_000, DEFAULT_SITES).expect("legal");
    let written = generator.write(|_, _, _| {
        lines += 1;
        Ok(())
    });
    assert!(written.is_ok() && start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(lines > 50_000, "{lines} lines are not worth the time");
}
