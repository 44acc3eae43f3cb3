//! FHIRPath expressions, compiled and run over a record.

use cordon_clinical::fhirpath::MAX_PATH_BYTES;
use cordon_clinical::keys::KeyPolicy;
use cordon_clinical::table::ViewRunner;
use cordon_clinical::view::{CompiledView, ViewProblem};
use cordon_clinical::views::pack;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::mutation::Mutations;
use super::{CANARY, leaks, seeded, views};

/// Tokens of the language.
pub const WORDS: [&str; 60] = [
    "name",
    "family",
    "given",
    "gender",
    "birthDate",
    "active",
    "contact",
    "telecom",
    "extension",
    "value",
    "id",
    "multipleBirth",
    "deceased",
    "where(",
    "exists(",
    "first()",
    "last()",
    "all(",
    "empty()",
    "not()",
    "select(",
    "ofType(",
    "iif(",
    "join(",
    "lowBoundary()",
    "highBoundary()",
    "getResourceKey()",
    "getReferenceKey(",
    "extension(",
    "matches(",
    "substring(",
    "$this",
    "$index",
    "%context",
    "%rowIndex",
    "%c",
    ".",
    ".",
    ".",
    "(",
    ")",
    ")",
    "[0]",
    "[",
    "]",
    ",",
    "=",
    "!=",
    "<",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "div",
    "and",
    "or",
    "'a'",
    "9223372036854775807",
    "@2014-01-01T00:00:00.000Z",
];

/// A path of random tokens, or any text.
pub fn path() -> impl Strategy<Value = String> {
    let tokens = proptest::collection::vec((select(WORDS.to_vec()), any::<bool>()), 0..14);
    let joined = tokens.prop_map(|tokens| {
        let spaced =
            |(word, space): (&str, bool)| format!("{word}{}", if space { " " } else { "" });
        tokens.into_iter().map(spaced).collect::<String>()
    });
    prop_oneof![3 => joined, 1 => any::<String>()]
}

/// Every path of the packed views.
fn real_paths() -> Vec<String> {
    fn collect(value: &Value, paths: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member {
                        Value::String(path)
                            if ["path", "forEach", "forEachOrNull"].contains(&name.as_str()) =>
                        {
                            paths.push(path.clone());
                        }
                        other => collect(other, paths),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, paths)),
            _ => {}
        }
    }
    let mut paths = Vec::new();
    for packed in pack() {
        collect(&serde_json::from_str(packed.json).expect("JSON"), &mut paths);
    }
    paths
}

/// Compiles `path` as column, condition and iteration, and runs what compiles.
fn check(path: &str) {
    let column = json!({ "name": "subject", "path": "getResourceKey()" });
    let constant = json!([{ "name": "c", "valueInteger": 3 }]);
    let as_column = json!({ "name": "it", "path": path, "collection": false });
    for (pointer, view) in [
        ("/select/0/column/0/path", json!({ "column": [as_column] })),
        ("/select/0/forEach", json!({ "forEach": path, "column": [column] })),
        ("/select/0/forEachOrNull", json!({ "forEachOrNull": path, "column": [column] })),
    ] {
        run(
            path,
            pointer,
            json!({ "resource": "Patient", "constant": constant, "select": [view] }),
        );
    }
    let select = json!([{ "column": [column] }]);
    let filtered = json!({
        "resource": "Patient",
        "constant": constant,
        "where": [{ "path": path }],
        "select": select,
    });
    run(path, "/where/0/path", filtered);
}

fn run(path: &str, pointer: &str, view: Value) {
    let view: CompiledView = match views::check(view.to_string().as_bytes()) {
        Ok(view) => view,
        Err(error) => {
            assert!(error.pointer.starts_with("/select/0") || error.pointer == pointer, "{error}");
            if let ViewProblem::Path(problem) = error.problem {
                assert!(path.is_char_boundary(problem.at), "{problem} in {path:?}");
            }
            return;
        }
    };
    let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
    for record in records() {
        if let Err(error) = runner.push_line(record.to_string().as_bytes()) {
            assert!(!leaks(&error), "{error:?}");
        }
    }
    let rows = runner.finish_batch().map_or(0, |batch| batch.num_rows());
    assert_eq!(rows as u64, runner.report().rows);
}

fn records() -> [Value; 2] {
    let name = json!({ "use": "official", "family": CANARY, "given": [CANARY, "é", ""] });
    [
        json!({ "resourceType": "Patient", "id": "p1" }),
        json!({
            "resourceType": "Patient",
            "id": "p2",
            "active": true,
            "name": [name, { "family": "B", "_family": { "extension": [{ "url": "u" }] } }],
            "gender": "female",
            "birthDate": "1987-02",
            "deceasedDateTime": "2020-01-01T10:00:00+02:00",
            "multipleBirthInteger": 2,
            "contact": [{ "name": { "family": CANARY } }],
            "telecom": [{ "system": "phone", "value": "1", "rank": 1 }],
            "extension": [{ "url": "u", "valueDecimal": 1.50 }, { "url": "v", "valueString": "" }],
            "generalPractitioner": [{ "reference": "Practitioner/1" }],
        }),
    ]
}

proptest! {
    #![proptest_config(seeded(4_000))]

    #[test]
    fn a_random_path_compiles_and_runs_or_is_refused_at_its_place(path in path()) {
        check(&path);
    }

    #[test]
    fn a_mutated_path_compiles_and_runs_or_is_refused_at_its_place(
        path: Index,
        mutations in Mutations::any(WORDS.map(str::to_owned).to_vec()),
    ) {
        let real = real_paths();
        let mutated = mutations.apply(path.get(&real).as_bytes());
        check(&String::from_utf8_lossy(&mutated));
    }
}

#[test]
fn nesting_of_every_kind_is_bounded() {
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("-", "1", ""),
        ("+", "1", ""),
        ("a.where(", "true", ")"),
        ("a[", "0", "]"),
        ("iif(true,", "1", ")"),
        ("1+", "1", ""),
        ("1 and ", "1", ""),
        ("", "a", ".a"),
        ("", "a", "[0]"),
        ("", "a", " is string"),
        ("", "a", ".exists()"),
        ("'", "", "'"),
        ("{}=", "{}", ""),
        ("`a`.", "`a`", ""),
    ] {
        for times in [10, 60, 63, 64, 65, 66, 200, 10_000, MAX_PATH_BYTES] {
            let path = format!("{}{middle}{}", open.repeat(times), close.repeat(times));
            check(&path);
        }
    }
}
