//! ViewDefinitions.

use cordon_clinical::view::{CompiledView, MAX_COLUMNS, MAX_VIEW_BYTES, ViewError};
use cordon_clinical::views::pack;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::mutation::Mutations;
use super::{paths, seeded};

/// Compiles, and checks what every outcome promises.
pub fn check(text: &[u8]) -> Result<CompiledView, ViewError> {
    let outcome = CompiledView::parse(text);
    match &outcome {
        Ok(view) => {
            assert!((1..=MAX_COLUMNS).contains(&view.columns().len()));
            assert_eq!(view.schema().fields().len(), view.columns().len());
            let pointers = view.columns().iter().map(|column| &column.pointer);
            pointers.chain(view.warnings().iter().map(|w| &w.pointer)).for_each(|pointer| {
                assert!(leads_into(text, pointer), "`{pointer}`");
            });
        }
        Err(error) => {
            assert!(leads_into(text, &error.pointer), "{error}");
            assert!(!error.code().is_empty());
        }
    }
    outcome
}

/// Whether a pointer names a place of the view. A text that is no JSON has but one.
fn leads_into(text: &[u8], pointer: &str) -> bool {
    match serde_json::from_slice::<Value>(text) {
        Ok(view) => view.pointer(pointer).is_some(),
        Err(_) => true,
    }
}

fn words() -> Vec<String> {
    let members = ["select", "column", "forEach", "forEachOrNull", "repeat", "unionAll", "where"];
    let mut words: Vec<String> = members.iter().map(|name| format!("\"{name}\":[],")).collect();
    words.extend(paths::WORDS.iter().map(|word| (*word).to_owned()));
    words
}

proptest! {
    #![proptest_config(seeded(4_000))]

    #[test]
    fn a_mutated_view_compiles_or_is_refused_at_its_place(
        view: Index,
        mutations in Mutations::any(words()),
    ) {
        let packed = pack()[view.index(pack().len())];
        let _ = check(&mutations.apply(packed.json.as_bytes()));
    }

    #[test]
    fn random_json_is_no_view(value in json_value()) {
        let text = value.to_string();
        prop_assert!(check(text.as_bytes()).is_err(), "{}", text);
    }

    #[test]
    fn random_bytes_are_no_view(bytes: Vec<u8>) {
        prop_assert!(check(&bytes).is_err());
    }

    #[test]
    fn random_members_of_a_view_are_refused_or_compiled(
        members in proptest::collection::vec((member(), json_value()), 1..4),
    ) {
        let mut column = json!({ "name": "sex", "path": "gender" });
        let mut select = json!({ "column": [column] });
        let mut view = json!({ "resource": "Patient", "select": [select] });
        for (name, value) in &members {
            column[name] = value.clone();
        }
        select["column"] = json!([column]);
        let columns = json!({ "resource": "Patient", "select": [select] });
        for (name, value) in &members {
            select[name] = value.clone();
            view[name] = value.clone();
        }
        let selects = json!({ "resource": "Patient", "select": [select] });
        for view in [columns, selects, view] {
            let _ = check(view.to_string().as_bytes());
        }
    }
}

fn member() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "name",
        "path",
        "type",
        "collection",
        "tag",
        "description",
        "constant",
        "forEach",
        "forEachOrNull",
        "repeat",
        "unionAll",
        "select",
        "column",
        "where",
        "resource",
        "url",
    ])
}

fn json_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        paths::path().prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 32, 6, |inner| {
        let array = proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from);
        let names = prop_oneof![member().prop_map(str::to_owned), any::<String>()];
        let object = proptest::collection::vec((names, inner), 0..6)
            .prop_map(|members| Value::Object(members.into_iter().collect()));
        prop_oneof![array, object]
    })
}

#[test]
fn a_view_that_is_too_long_or_too_deep_is_refused() {
    let error = check(&vec![b' '; MAX_VIEW_BYTES + 1]).expect_err("too long");
    assert_eq!(error.code(), "view_too_long");
    for open in ["[", "{\"select\":[", "{\"resource\":"] {
        let text = open.repeat(MAX_VIEW_BYTES / open.len());
        assert!(check(text.as_bytes()).is_err());
    }
    let mut select = json!({ "column": [{ "name": "sex", "path": "gender" }] });
    for _ in 0..40 {
        select = json!({ "select": [select] });
    }
    let view = json!({ "resource": "Patient", "select": [select] });
    let error = check(view.to_string().as_bytes()).expect_err("too deep");
    assert_eq!(error.code(), "selections_too_deep");
}

#[test]
fn a_view_of_too_many_columns_is_refused() {
    let column = |index| json!({ "name": format!("c{index}"), "path": "gender" });
    let columns: Vec<Value> = (0..=MAX_COLUMNS).map(column).collect();
    let view = json!({ "resource": "Patient", "select": [{ "column": columns }] });
    let error = check(view.to_string().as_bytes()).expect_err("too many");
    assert_eq!(error.code(), "too_many_columns");
}
