use serde_json::{Value, json};

use super::*;
use crate::testing::run;

mod refusals;

const PEOPLE: [&str; 3] = [
    r#"{"resourceType":"Patient","id":"p1","active":true,"gender":"female","name":[
        {"use":"official","family":"Ada","given":["Zab","Quo"]},{"use":"usual","given":["Zee"]}],
        "telecom":[{"value":"1"},{"value":"2"}]}"#,
    r#"{"resourceType":"Patient","id":"p2","active":false,"gender":"male","name":[{"family":"Bo"}]}"#,
    r#"{"resourceType":"Patient","id":"p3"}"#,
];

/// A valid view, which refused ones are made from by one change.
fn valid() -> Value {
    json!({
        "resourceType": "ViewDefinition",
        "name": "people",
        "url": "https://example.org/people",
        "resource": "Patient",
        "constant": [{"name": "use", "valueCode": "official"}],
        "where": [{"path": "active"}],
        "select": [
            {"column": [
                {"name": "subject", "path": "getResourceKey()", "type": "string"},
                {"name": "sex", "path": "gender", "type": "code"}
            ]},
            {
                "forEach": "name.where(use = %use)",
                "column": [{"name": "family", "path": "family"}],
                "select": [{"forEach": "given", "column": [{"name": "given", "path": "$this"}]}]
            }
        ]
    })
}

/// Sets one member or, for `-`, adds one element; null takes a member away.
fn changed(mut view: Value, pointer: &str, value: Value) -> Value {
    let (parent, token) = pointer.rsplit_once('/').expect("a pointer");
    match view.pointer_mut(parent).expect(pointer) {
        Value::Array(elements) if token == "-" => elements.push(value),
        Value::Array(elements) => elements[token.parse::<usize>().expect("an index")] = value,
        Value::Object(members) if value.is_null() => drop(members.remove(token)),
        Value::Object(members) => drop(members.insert(token.to_owned(), value)),
        _ => panic!("{pointer} has no parent"),
    }
    view
}

fn parse(view: &Value) -> Result<CompiledView, ViewError> {
    CompiledView::parse(view.to_string().as_bytes())
}

/// The rows that the selections of a view give for the people above.
#[track_caller]
fn check_rows(select: Value, expected: &[&str]) {
    let view = json!({"resource": "Patient", "select": select}).to_string();
    let (rows, report) = run(&view, &PEOPLE);
    assert_eq!(rows, expected, "{view}");
    assert_eq!(report.rejected_lines(), 0, "{view}");
}

fn column(name: &str, path: &str) -> Value {
    json!({"name": name, "path": path})
}

#[test]
fn a_view_says_what_it_is() {
    let view = parse(&valid()).expect("valid");
    assert_eq!(view.name(), Some("people"));
    assert_eq!(view.url(), Some("https://example.org/people"));
    assert_eq!(view.resource(), "Patient");
    let schema = view.schema();
    let fields = schema.fields().iter().map(|field| (field.name().as_str(), field.is_nullable()));
    let expected = ["subject", "sex", "family", "given"].map(|name| (name, true));
    assert_eq!(fields.collect::<Vec<_>>(), expected);
    let pointers = view.columns().iter().map(|column| column.pointer.as_str());
    let expected = [
        "/select/0/column/0",
        "/select/0/column/1",
        "/select/1/column/0",
        "/select/1/select/0/column/0",
    ];
    assert_eq!(pointers.collect::<Vec<_>>(), expected);
    let (rows, _) = run(&valid().to_string(), &PEOPLE);
    assert_eq!(rows, ["p1|female|Ada|Zab", "p1|female|Ada|Quo"]);
}

#[test]
fn metadata_may_be_missing_and_is_not_judged() {
    let bare = json!({"resource": "Patient", "select": [{"column": [column("sex", "gender")]}]});
    let view = parse(&bare).expect("valid");
    assert_eq!((view.name(), view.url()), (None, None));
    let dressed = changed(bare, "/fhirVersion", json!(["4.0.1"]));
    let dressed = changed(dressed, "/status", json!("draft"));
    let dressed = changed(dressed, "/contact", json!([{"name": "nobody"}]));
    assert!(parse(&dressed).is_ok());
}

#[test]
fn columns_stand_beside_each_other_and_absent_values_are_null() {
    let id = column("id", "id");
    check_rows(
        json!([{"column": [id, column("sex", "gender")]}, {"column": [column("active", "active")]}]),
        &["p1|female|true", "p2|male|false", "p3|null|null"],
    );
    check_rows(
        json!([{
            "column": [id],
            "select": [{"column": [column("sex", "gender")]}, {"column": [column("x", "photo.title")]}]
        }]),
        &["p1|female|null", "p2|male|null", "p3|null|null"],
    );
}

#[test]
fn for_each_gives_a_row_per_item_and_none_for_none() {
    let id = column("id", "id");
    check_rows(
        json!([{"column": [id]}, {"forEach": "name", "column": [column("family", "family")]}]),
        &["p1|Ada", "p1|null", "p2|Bo"],
    );
    // Columns beside a `forEach` are evaluated on what it iterates.
    check_rows(
        json!([{"forEach": "name.given", "column": [column("given", "$this")]}]),
        &["Zab", "Quo", "Zee"],
    );
    check_rows(
        json!([{"forEach": "photo", "column": [column("x", "title")]}, {"column": [id]}]),
        &[],
    );
    check_rows(
        json!([{"forEach": "name.first()", "column": [column("root", "%resource.id")]}]),
        &["p1", "p2"],
    );
}

#[test]
fn iterations_side_by_side_are_crossed_and_nested_ones_joined() {
    let given = json!({"forEach": "name.given", "column": [column("given", "$this")]});
    let phone = json!({"forEach": "telecom", "column": [column("phone", "value")]});
    check_rows(json!([given, phone]), &["Zab|1", "Zab|2", "Quo|1", "Quo|2", "Zee|1", "Zee|2"]);
    check_rows(
        json!([{"forEach": "name", "column": [column("family", "family")], "select": [
            {"forEach": "given", "column": [column("given", "$this")]}
        ]}]),
        &["Ada|Zab", "Ada|Quo", "null|Zee"],
    );
    // One empty factor empties the product, wherever it stands.
    let photo = json!({"forEach": "photo", "column": [column("photo", "title")]});
    check_rows(json!([given, {"select": [phone, photo]}]), &[]);
    // An iteration without columns multiplies rows all the same.
    check_rows(json!([{"column": [column("id", "id")]}, {"forEach": "telecom"}]), &["p1", "p1"]);
}

#[test]
fn columns_are_in_the_order_of_the_view() {
    check_rows(
        json!([
            {"column": [column("a", "id")], "select": [
                {"column": [column("b", "'b'")], "select": [{"column": [column("c", "'c'")]}]},
                {"column": [column("d", "'d'")]}
            ]},
            {"column": [column("e", "'e'")]}
        ]),
        &["p1|b|c|d|e", "p2|b|c|d|e", "p3|b|c|d|e"],
    );
}

#[test]
fn the_row_index_is_of_the_nearest_iteration() {
    let index = |name: &str| column(name, "%rowIndex");
    check_rows(
        json!([
            {"column": [index("outer")]},
            {"forEach": "name", "column": [index("name")], "select": [
                {"column": [index("same")]},
                {"forEach": "given", "column": [index("given"), column("text", "$this")]}
            ]}
        ]),
        &["0|0|0|0|Zab", "0|0|0|1|Quo", "0|1|1|0|Zee"],
    );
}

#[test]
fn only_resources_for_which_every_where_is_true_give_rows() {
    for (conditions, expected) in [
        (&["active"][..], &["p1"][..]),
        (&["active.not()"], &["p2"]),
        // Unknown is not true.
        (&["active.exists().not()"], &["p3"]),
        (&["gender = 'male' or active"], &["p1", "p2"]),
        (&["gender.exists()", "active = false"], &["p2"]),
        (&["name.where(family = %family).exists()"], &["p2"]),
        (&["{}"], &[]),
        (&["true"], &["p1", "p2", "p3"]),
    ] {
        let wheres: Vec<Value> = conditions.iter().map(|path| json!({"path": path})).collect();
        let view = json!({
            "resource": "Patient",
            "constant": [{"name": "family", "valueString": "Bo"}],
            "where": wheres,
            "select": [{"column": [column("id", "id")]}]
        });
        let (rows, report) = run(&view.to_string(), &PEOPLE);
        assert_eq!(rows, expected, "{conditions:?}");
        assert_eq!(report.filtered, 3 - expected.len() as u64, "{conditions:?}");
    }
}

#[test]
fn a_constant_of_each_type_is_a_literal_of_that_type() {
    for (member, value, path, expected) in [
        ("valueBase64Binary", json!("AAEC"), "%c", "000102"),
        ("valueBoolean", json!(true), "%c and true", "true"),
        ("valueCanonical", json!("https://example.org/x|1"), "%c", "https://example.org/x|1"),
        ("valueCode", json!("female"), "gender = %c", "true"),
        ("valueDate", json!("2014-01"), "%c < @2014-02-01", "true"),
        ("valueDateTime", json!("2014-01-25T10:00:00Z"), "%c > @2014-01-24", "true"),
        ("valueDecimal", json!(1.5), "%c + 0.25", "1.75"),
        ("valueId", json!("p1"), "id = %c", "true"),
        ("valueInstant", json!("2014-01-25T10:00:00Z"), "%c", "2014-01-25T10:00:00Z"),
        ("valueInteger", json!(-3), "%c * 2", "-6"),
        ("valueInteger64", json!("9007199254740993"), "%c + 1", "9007199254740994"),
        ("valueInteger64", json!(9007199254740993_i64), "%c", "9007199254740993"),
        ("valueOid", json!("urn:oid:1.2.3"), "%c", "urn:oid:1.2.3"),
        ("valuePositiveInt", json!(1), "name[%c].given", "Zee"),
        ("valueString", json!("Ada"), "name.where(family = %c).given.first()", "Zab"),
        ("valueTime", json!("10:30:00"), "%c < @T11:00:00", "true"),
        ("valueUnsignedInt", json!(0), "telecom[%c].value", "1"),
        ("valueUri", json!("urn:x"), "%c & '!'", "urn:x!"),
        ("valueUrl", json!("https://example.org"), "%c.length()", "19"),
        ("valueUuid", json!("urn:uuid:c757873d"), "%c", "urn:uuid:c757873d"),
    ] {
        let mut made = column("made", path);
        if member == "valueInteger64" {
            made["tag"] = json!([{"name": "ansi/type", "value": "BIGINT"}]);
        }
        let view = json!({
            "resource": "Patient",
            "constant": [{"name": "c", member: value}],
            "select": [{"column": [made]}]
        });
        let (rows, _) = run(&view.to_string(), &PEOPLE[..1]);
        assert_eq!(rows, [expected], "{member}");
    }
}

#[test]
fn a_column_is_stored_as_its_type_its_tag_and_its_path_say() {
    use ColumnKind::*;
    let money = Decimal { precision: 18, scale: 2 };
    for (path, declared, tag, kind, fhir_type) in [
        // The path alone:
        ("active", "", "", Boolean, "boolean"),
        ("gender", "", "", Text, "code"),
        ("birthDate", "", "", Text, "date"),
        ("telecom.rank", "", "", Int32, "positiveInt"),
        ("photo.size", "", "", Int32, "unsignedInt"),
        ("photo.data", "", "", Binary, "base64Binary"),
        ("meta.lastUpdated", "", "", Timestamp, "instant"),
        ("multipleBirth.ofType(integer)", "", "", Int32, "integer"),
        ("deceased", "", "", Text, ""),
        ("extension.value", "", "", Text, ""),
        ("extension.value.ofType(decimal)", "", "", Text, "decimal"),
        ("name.count() + 1", "", "", Int32, "integer"),
        ("name.count() / 2", "", "", Text, "decimal"),
        ("name.exists()", "", "", Boolean, "boolean"),
        ("{}", "", "", Text, ""),
        // A declared type, bare or as a URI:
        ("extension.value", "integer64", "", Int64, "integer64"),
        ("extension.value", "instant", "", Timestamp, "instant"),
        ("extension.value", "System.Boolean", "", Boolean, "boolean"),
        ("gender", "http://hl7.org/fhir/StructureDefinition/string", "", Text, "string"),
        ("gender", "http://hl7.org/fhirpath/System.String", "", Text, "string"),
        ("telecom.rank", "decimal", "", Text, "decimal"),
        ("birthDate", "dateTime", "", Text, "dateTime"),
        // A tag overrides both:
        ("birthDate", "date", "DATE", Date, "date"),
        ("deceased.ofType(dateTime)", "", "timestamp with  time zone", Timestamp, "dateTime"),
        ("telecom.rank", "", "BIGINT", Int64, "positiveInt"),
        ("telecom.rank", "", "DOUBLE PRECISION", Float64, "positiveInt"),
        ("telecom.rank", "decimal", "DECIMAL(18,2)", money, "decimal"),
        ("telecom.rank", "", "numeric( 18 , 2 )", money, "positiveInt"),
        ("telecom.rank", "", "DEC(5)", Decimal { precision: 5, scale: 0 }, "positiveInt"),
        ("telecom.rank", "", "VARCHAR", Text, "positiveInt"),
        ("active", "", "CHARACTER VARYING", Text, "boolean"),
        ("extension.value", "", "INTEGER", Int32, ""),
    ] {
        let mut made = column("made", path);
        if !declared.is_empty() {
            made["type"] = json!(declared);
        }
        if !tag.is_empty() {
            made["tag"] =
                json!([{"name": "other", "value": "x"}, {"name": "ansi/type", "value": tag}]);
        }
        let view = json!({"resource": "Patient", "select": [{"column": [made]}]});
        let view = parse(&view).expect(path);
        let made = &view.columns()[0];
        let fhir_type = Some(fhir_type).filter(|name| !name.is_empty());
        assert_eq!((made.kind, made.fhir_type), (kind, fhir_type), "{path} {declared} {tag}");
        assert_eq!(view.schema().field(0).data_type(), &kind.data_type());
        // What a table is, its SQL type says again.
        if kind != Binary {
            assert_eq!(ColumnKind::from_sql(&kind.to_sql()), Some(kind));
        }
    }
}

#[test]
fn tags_is_accepted_for_tag() {
    let mut made = column("born", "birthDate");
    made["tags"] = json!([{"name": "ansi/type", "value": "DATE"}]);
    let view = parse(&json!({"resource": "Patient", "select": [{"column": [made]}]}));
    assert_eq!(view.expect("valid").columns()[0].kind, ColumnKind::Date);
}

#[test]
fn size_is_bounded() {
    let columns = |count: usize| {
        let columns: Vec<Value> = (0..count).map(|i| column(&format!("c{i}"), "id")).collect();
        json!({"resource": "Patient", "select": [{"column": columns}]})
    };
    assert_eq!(parse(&columns(MAX_COLUMNS)).expect("valid").columns().len(), MAX_COLUMNS);
    let error = parse(&columns(MAX_COLUMNS + 1)).expect_err("too many");
    assert_eq!(error.to_string(), "view has more than 500 columns at `/select/0/column/500`");
    assert_eq!(error.code(), "too_many_columns");

    let nested = |depth: usize| {
        let leaf = json!({"column": [column("id", "id")]});
        let select = (1..depth).fold(leaf, |inner, _| json!({"select": [inner]}));
        json!({"resource": "Patient", "select": [select]})
    };
    assert!(parse(&nested(MAX_SELECT_DEPTH)).is_ok());
    let error = parse(&nested(MAX_SELECT_DEPTH + 1)).expect_err("too deep");
    assert_eq!(error.code(), "selections_too_deep");
    assert_eq!(error.pointer, "/select/0".repeat(MAX_SELECT_DEPTH + 1));

    let long = vec![b' '; MAX_VIEW_BYTES + 1];
    assert_eq!(CompiledView::parse(&long).expect_err("too long").code(), "view_too_long");
}

#[test]
fn what_looks_like_a_mistake_is_a_warning() {
    let view = changed(valid(), "/select/1/column/0/path", json!("famly"));
    let view = changed(view, "/select/0/column/-", column("dead", "deceasedBoolean"));
    let warnings = parse(&view).expect("valid").warnings;
    let warnings = warnings.iter().map(|w| (w.pointer.as_str(), w.code, w.message.as_str()));
    let expected = [
        (
            "/select/0/column/2/path",
            "choice_key",
            "`deceasedBoolean` of `Patient` is the key of a choice: use `ofType`",
        ),
        ("/select/1/column/0/path", "unknown_element", "`HumanName` has no element `famly` in R4"),
    ];
    assert_eq!(warnings.collect::<Vec<_>>(), expected);
}
