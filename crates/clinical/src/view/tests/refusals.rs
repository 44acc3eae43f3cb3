//! Views that are refused, each with code, pointer and reason.

use super::*;

/// The valid view with one change is refused with this code and message.
#[track_caller]
fn check_refused(code: &str, cases: &[(&str, Value, &str)]) {
    for (pointer, value, message) in cases {
        let error = parse(&changed(valid(), pointer, value.clone())).expect_err(message);
        assert_eq!((error.code(), error.to_string().as_str()), (code, *message), "{pointer}");
    }
}

#[test]
fn an_sql_type_that_tables_do_not_have_is_refused() {
    for name in [
        "BLOB",
        "",
        "DECIMAL",
        "DECIMAL()",
        "DECIMAL(0)",
        "DECIMAL(39)",
        "DECIMAL(5,6)",
        "DECIMAL(-5)",
        "DECIMAL(5",
        "DECIMAL 5",
        "DECIMAL(5,2,1)",
        "DECIMAL(a)",
        "VARCHAR(20)",
        "DATE TIME",
        "TIMESTAMP",
        "INTEGER[]",
    ] {
        let tag = json!([{"name": "ansi/type", "value": name}]);
        check_refused(
            "unsupported_sql_type",
            &[(
                "/select/0/column/1/tag",
                tag,
                &format!("unsupported sql type `{name}` at `/select/0/column/1`"),
            )],
        );
    }
}

#[test]
fn an_sql_type_has_all_its_arguments_or_none() {
    // Empty arguments were skipped, so that each of these was a type.
    for name in ["DECIMAL(5,,2)", "DECIMAL(5,2,)", "DECIMAL(,5)", "DATE()", "INTEGER(,)"] {
        assert_eq!(ColumnKind::from_sql(name), None, "{name}");
    }
}

#[test]
fn a_type_that_contradicts_its_path_is_refused() {
    let column_1 = "at `/select/0/column/1`";
    for (path, declared, tag, code, reason) in [
        ("gender", "boolean", "", "type_conflict", "path yields code, never boolean"),
        ("active", "string", "", "type_conflict", "path yields boolean, never string"),
        (
            "deceased",
            "decimal",
            "",
            "type_conflict",
            "path yields boolean or dateTime, never decimal",
        ),
        ("active", "", "DATE", "type_conflict", "path yields boolean, never DATE"),
        ("telecom.rank", "", "DATE", "type_conflict", "path yields positiveInt, never DATE"),
        ("gender", "", "BOOLEAN", "type_conflict", "path yields code, never BOOLEAN"),
        ("gender", "", "DECIMAL(5,2)", "type_conflict", "path yields code, never DECIMAL(5,2)"),
        ("name", "", "", "not_primitive", "expected a primitive, found HumanName"),
        ("name", "string", "", "not_primitive", "expected a primitive, found HumanName"),
        ("$this", "", "", "not_primitive", "expected a primitive, found Patient"),
        ("gender", "HumanName", "", "not_primitive", "expected a primitive, found HumanName"),
        ("gender", "Thing", "", "unknown_type", "unknown type `Thing`"),
        ("gender", "urn:x/string", "", "unknown_type", "unknown type `urn:x/string`"),
    ] {
        let mut made = column("sex", path);
        if !declared.is_empty() {
            made["type"] = json!(declared);
        }
        if !tag.is_empty() {
            made["tag"] = json!([{"name": "ansi/type", "value": tag}]);
        }
        let message = format!("{reason} {column_1}");
        check_refused(code, &[("/select/0/column/1", made, &message)]);
    }
}

#[test]
fn what_a_view_must_have_is_missed_by_name() {
    check_refused(
        "missing_member",
        &[
            ("/resource", Value::Null, "missing `resource` at ``"),
            ("/select", Value::Null, "missing `select` at ``"),
            ("/where/0/path", Value::Null, "missing `path` at `/where/0`"),
            ("/constant/0/name", Value::Null, "missing `name` at `/constant/0`"),
            ("/select/0/column/1/path", Value::Null, "missing `path` at `/select/0/column/1`"),
            ("/select/0/column/1/name", Value::Null, "missing `name` at `/select/0/column/1`"),
            (
                "/select/1/select/0/column/0/tag",
                json!([{"name": "ansi/type"}]),
                "missing `value` at `/select/1/select/0/column/0/tag/0`",
            ),
        ],
    );
    check_refused(
        "no_columns",
        &[("/select", json!([{"forEach": "name"}]), "view has no column at `/select`")],
    );
}

#[test]
fn what_a_view_does_not_have_is_refused() {
    check_refused(
        "unknown_member",
        &[
            ("/selects", json!([]), "unknown member `selects` at `/selects`"),
            ("/a~1b~0c", json!(1), "unknown member `a~1b~0c` at `/a~01b~00c`"),
            ("/where/0/paths", json!("x"), "unknown member `paths` at `/where/0/paths`"),
            (
                "/constant/0/valueThing",
                json!("x"),
                "unknown member `valueThing` at `/constant/0/valueThing`",
            ),
            ("/select/1/foreach", json!("name"), "unknown member `foreach` at `/select/1/foreach`"),
            (
                "/select/0/column/0/alias",
                json!("x"),
                "unknown member `alias` at `/select/0/column/0/alias`",
            ),
        ],
    );
    check_refused(
        "not_a_view_definition",
        &[(
            "/resourceType",
            json!("Patient"),
            "expected the resourceType `ViewDefinition` at `/resourceType`",
        )],
    );
    check_refused(
        "unknown_resource",
        &[
            ("/resource", json!("Persona"), "unknown resource type `Persona` at `/resource`"),
            ("/resource", json!("Quantity"), "unknown resource type `Quantity` at `/resource`"),
            ("/resource", json!("patient"), "unknown resource type `patient` at `/resource`"),
        ],
    );
}

#[test]
fn json_of_another_type_is_refused() {
    let array = "expected an array with at least one element";
    for (pointer, value, expected) in [
        ("/name", json!(1), "expected a string"),
        ("/resource", json!(["Patient"]), "expected a string"),
        ("/select", json!({}), array),
        ("/select", json!([]), array),
        ("/where", json!([]), array),
        ("/where/0", json!("active"), "expected an object"),
        ("/constant", json!("x"), array),
        ("/select/0", json!([]), "expected an object"),
        ("/select/0/column", json!([]), array),
        ("/select/0/column/0/path", json!(["id"]), "expected a string"),
        ("/select/0/column/0/type", json!(false), "expected a string"),
        ("/select/0/column/0/collection", json!("true"), "expected a boolean"),
        ("/select/1/forEach", json!(["name"]), "expected a string"),
    ] {
        let message = format!("{expected} at `{pointer}`");
        check_refused("wrong_json_type", &[(pointer, value, &message)]);
    }
    for (text, code) in [
        (&b"[]"[..], "wrong_json_type"),
        (b"{", "not_json"),
        (b"", "not_json"),
        (b"{\"name\":\"\xff\"}", "not_utf8"),
        (br#"{"resource":"Patient","resource":"Group"}"#, "duplicate_member"),
    ] {
        let error = CompiledView::parse(text).expect_err(code);
        assert_eq!((error.code(), error.pointer.as_str()), (code, ""));
    }
}

#[test]
fn names_are_legal_and_different() {
    let long = "a".repeat(256);
    let quoted = format!("illegal name `{long}` at `/name`");
    check_refused(
        "illegal_name",
        &[
            ("/name", json!("my-view"), "illegal name `my-view` at `/name`"),
            ("/name", json!(""), "illegal name `` at `/name`"),
            ("/name", json!(long), &quoted),
            ("/constant/0/name", json!("1st"), "illegal name `1st` at `/constant/0/name`"),
            (
                "/select/0/column/1/name",
                json!("_x"),
                "illegal name `_x` at `/select/0/column/1/name`",
            ),
            (
                "/select/0/column/1/name",
                json!("näme"),
                "illegal name `näme` at `/select/0/column/1/name`",
            ),
        ],
    );
    check_refused(
        "duplicate_column",
        &[
            (
                "/select/0/column/1/name",
                json!("subject"),
                "duplicate column `subject` at `/select/0/column/1/name`",
            ),
            (
                "/select/1/column/0/name",
                json!("sex"),
                "duplicate column `sex` at `/select/1/column/0/name`",
            ),
            (
                "/select/1/select/0/column/0/name",
                json!("family"),
                "duplicate column `family` at `/select/1/select/0/column/0/name`",
            ),
        ],
    );
}

#[test]
fn a_constant_has_one_value_of_its_type_and_a_name_of_its_own() {
    let constant = |member: &str, value: Value| json!({"name": "use", member: value});
    check_refused(
        "constant_value",
        &[
            (
                "/constant/0",
                json!({"name": "use"}),
                "expected exactly one `value[x]`, found 0 at `/constant/0`",
            ),
            (
                "/constant/0/valueString",
                json!("official"),
                "expected exactly one `value[x]`, found 2 at `/constant/0`",
            ),
        ],
    );
    check_refused(
        "duplicate_constant",
        &[(
            "/constant/-",
            constant("valueCode", json!("usual")),
            "duplicate constant `use` at `/constant/1/name`",
        )],
    );
    for name in ["rowIndex", "resource", "context", "rootResource", "sct", "loinc", "ucum"] {
        let message = format!("reserved constant name `{name}` at `/constant/0/name`");
        check_refused("reserved_constant", &[("/constant/0/name", json!(name), &message)]);
    }
    for (type_name, value) in [
        ("Boolean", json!("true")),
        ("Boolean", json!(1)),
        ("Code", json!(1)),
        ("Code", json!("")),
        ("String", json!(null)),
        ("Integer", json!("1")),
        ("Integer", json!(1.5)),
        ("Integer", json!(2_147_483_648_i64)),
        ("PositiveInt", json!(0)),
        ("UnsignedInt", json!(-1)),
        ("Integer64", json!("many")),
        ("Integer64", json!(1.5)),
        ("Decimal", json!("1.5")),
        ("Date", json!("2014-02-30")),
        ("Date", json!("2014-01-25T10:00:00Z")),
        ("DateTime", json!("yesterday")),
        ("Instant", json!("2014-01-25")),
        ("Instant", json!("2014-01-25T10:00:00")),
        ("Time", json!("25:00")),
    ] {
        let member = format!("value{type_name}");
        let name = format!("{}{}", type_name[..1].to_lowercase(), &type_name[1..]);
        let message = format!("value is not a valid {name} at `/constant/0/{member}`");
        let made = constant(&member, value);
        check_refused("constant_type", &[("/constant/0", made, &message)]);
    }
}

#[test]
fn a_path_is_refused_where_the_view_holds_it() {
    check_refused(
        "path_syntax",
        &[(
            "/where/0/path",
            json!("active and"),
            "expected an expression (byte 10 of the path) at `/where/0/path`",
        )],
    );
    check_refused(
        "not_boolean",
        &[(
            "/where/0/path",
            json!("gender"),
            "expected a boolean, found code (byte 0 of the path) at `/where/0/path`",
        )],
    );
    check_refused(
        "unknown_constant",
        &[
            (
                "/constant/0/name",
                json!("other"),
                "unknown constant `%use` (byte 17 of the path) at `/select/1/forEach`",
            ),
            (
                "/select/1/select/0/column/0/path",
                json!("%ucum"),
                "unknown constant `%ucum` (byte 0 of the path) at `/select/1/select/0/column/0/path`",
            ),
        ],
    );
}

#[test]
fn what_is_left_for_later_is_refused_by_name() {
    check_refused(
        "not_yet_supported",
        &[
            (
                "/select/0/forEachOrNull",
                json!("name"),
                "forEachOrNull is not yet supported at `/select/0/forEachOrNull`",
            ),
            (
                "/select/0/repeat",
                json!(["item"]),
                "repeat is not yet supported at `/select/0/repeat`",
            ),
            (
                "/select/1/unionAll",
                json!([]),
                "unionAll is not yet supported at `/select/1/unionAll`",
            ),
            (
                "/select/0/column/1/collection",
                json!(true),
                "a column with `collection` is not yet supported at `/select/0/column/1/collection`",
            ),
        ],
    );
    // Two at once are wrong in any version.
    check_refused(
        "two_iterations",
        &[
            (
                "/select/1/repeat",
                json!(["item"]),
                "expected one of `forEach`, `forEachOrNull` and `repeat`, found two at `/select/1`",
            ),
            (
                "/select/1/forEachOrNull",
                json!("name"),
                "expected one of `forEach`, `forEachOrNull` and `repeat`, found two at `/select/1`",
            ),
        ],
    );
    let one_value = changed(valid(), "/select/0/column/1/collection", json!(false));
    assert!(parse(&one_value).is_ok());
}
