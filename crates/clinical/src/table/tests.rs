use arrow::datatypes::DataType;
use serde_json::{Value, json};

use super::*;
use crate::testing::{rows, run};

/// A view with one column over the element `made`, which FHIR does not have.
fn made(declared: &str, tag: &str) -> String {
    let mut column = json!({"name": "made", "path": "made"});
    if !declared.is_empty() {
        column["type"] = json!(declared);
    }
    if !tag.is_empty() {
        column["tag"] = json!([{"name": "ansi/type", "value": tag}]);
    }
    json!({"resource": "Patient", "select": [{"column": [column]}]}).to_string()
}

/// What a value of the record becomes in such a column: a cell, or the code of a
/// refusal after `!`.
#[track_caller]
fn check(declared: &str, tag: &str, cases: &[(&str, &str)]) {
    for (value, expected) in cases {
        let line = format!(r#"{{"resourceType":"Patient","made":{value}}}"#);
        let (rows, report) = run(&made(declared, tag), &[&line]);
        let refused = report.rejected.keys().map(|code| format!("!{code}"));
        let found: Vec<String> = rows.into_iter().chain(refused).collect();
        assert_eq!(found, [*expected], "{value} as {declared} {tag}");
    }
}

fn view(select: Value) -> CompiledView {
    let view = json!({"resource": "Patient", "select": select}).to_string();
    CompiledView::parse(view.as_bytes()).expect("valid")
}

fn patient(made: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"p","made":{made}}}"#)
}

#[test]
fn text_is_what_the_record_says_letter_by_letter() {
    let cases = [
        (r#""a\u0062\n""#, "ab\n"),
        (r#""""#, ""),
        ("1.50", "1.50"),
        ("1E+5", "1E+5"),
        ("-0", "-0"),
        (
            "123456789012345678901234567890123456789012345",
            "123456789012345678901234567890123456789012345",
        ),
        ("true", "true"),
        ("null", "null"),
        ("[]", "null"),
        ("[null]", "null"),
        (r#"["a"]"#, "a"),
        (r#"["a","b"]"#, "!several_values"),
        ("{}", "!not_primitive"),
        ("[[1]]", "!not_primitive"),
    ];
    check("", "", &cases);
    check("", "VARCHAR", &cases);
    check("code", "", &[(r#""a""#, "a"), ("5", "!type_mismatch"), ("true", "!type_mismatch")]);
    check(
        "date",
        "",
        &[(r#""2014-01""#, "2014-01"), (r#""soon""#, "soon"), ("2014", "!type_mismatch")],
    );
    check("decimal", "", &[("1.50", "1.50"), ("7", "7"), (r#""7""#, "!type_mismatch")]);
    check("integer", "TEXT", &[("7", "7"), ("7.0", "!type_mismatch")]);
    check("boolean", "TEXT", &[("false", "false"), ("0", "!type_mismatch")]);
}

#[test]
fn booleans_are_true_or_false() {
    check(
        "boolean",
        "",
        &[
            ("true", "true"),
            ("false", "false"),
            ("null", "null"),
            ("1", "!type_mismatch"),
            (r#""true""#, "!type_mismatch"),
            ("{}", "!not_primitive"),
        ],
    );
}

#[test]
fn integers_are_whole_and_in_range() {
    check(
        "",
        "INTEGER",
        &[
            ("-2147483648", "-2147483648"),
            ("2147483647", "2147483647"),
            ("2147483648", "!out_of_range"),
            ("5.0", "5"),
            ("50e-1", "5"),
            ("5.5", "!type_mismatch"),
            (r#""5""#, "5"),
            (r#""5x""#, "!type_mismatch"),
            ("true", "!type_mismatch"),
        ],
    );
    check(
        "",
        "BIGINT",
        &[
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("1e3", "1000"),
            (r#""9007199254740993""#, "9007199254740993"),
            ("0.1", "!type_mismatch"),
        ],
    );
    check("positiveInt", "", &[("7", "7"), ("2147483648", "!out_of_range")]);
}

#[test]
fn doubles_are_the_nearest_to_the_decimal() {
    check(
        "",
        "DOUBLE PRECISION",
        &[
            ("0.1", "0.1"),
            ("7", "7.0"),
            ("1e-5", "0.00001"),
            ("9007199254740993", "9007199254740992.0"),
            (r#""7""#, "!type_mismatch"),
            ("1e400", "!number_too_long"),
        ],
    );
}

#[test]
fn decimals_are_rounded_to_their_scale_and_that_is_counted() {
    let tag = "DECIMAL(5,2)";
    check(
        "decimal",
        tag,
        &[
            ("1.5", "1.50"),
            ("7", "7.00"),
            ("-999.99", "-999.99"),
            ("1.005", "1.01"),
            ("-1.005", "-1.01"),
            ("0.004", "0.00"),
            ("1000", "!out_of_range"),
            // Rounding may be what takes a value out of its range.
            ("999.995", "!out_of_range"),
            ("1e36", "!out_of_range"),
            (r#""1.50""#, "!type_mismatch"),
            ("1.234567890123456789012345678901234567890", "!number_too_long"),
        ],
    );
    let lines = ["1.50", "1.505", "0.001", "7", "9999.001"].map(patient);
    let (rows, report) = run(&made("decimal", tag), &lines.each_ref().map(String::as_str));
    assert_eq!(rows, ["1.50", "1.51", "0.00", "7.00"]);
    // The last was refused, so nothing of it counts.
    assert_eq!(report.rounded_decimals, 2);
}

#[test]
fn dates_that_do_not_reach_the_day_are_null_and_counted() {
    let cases = [
        (r#""2014-01-25""#, "2014-01-25"),
        (r#""2014-01""#, "null"),
        (r#""2014""#, "null"),
        // The day as written, wherever on earth that was.
        (r#""2014-01-25T23:30:00-05:00""#, "2014-01-25"),
        (r#""1600-02-29""#, "1600-02-29"),
        (r#""2014-02-30""#, "!type_mismatch"),
        (r#""soon""#, "!type_mismatch"),
        (r#""10:30:00""#, "!type_mismatch"),
        ("2014", "!type_mismatch"),
    ];
    check("", "DATE", &cases);
    check("dateTime", "DATE", &cases);
    let lines = [r#""2014""#, r#""2014-01""#, r#""2014-01-25""#, "null", r#""soon""#].map(patient);
    let (rows, report) = run(&made("date", "DATE"), &lines.each_ref().map(String::as_str));
    assert_eq!(rows, ["null", "null", "2014-01-25", "null"]);
    assert_eq!((report.incomplete_dates, report.rejected_lines()), (2, 1));
}

#[test]
fn instants_are_in_utc_and_need_an_offset() {
    for (declared, tag) in [("instant", ""), ("dateTime", "TIMESTAMP WITH TIME ZONE")] {
        check(
            declared,
            tag,
            &[
                (r#""2014-01-25T10:00:00+02:00""#, "2014-01-25T08:00:00Z"),
                (r#""2014-01-25T00:30:00.5-01:00""#, "2014-01-25T01:30:00.500Z"),
                (r#""2014-01-25T10:00:00.1234567Z""#, "2014-01-25T10:00:00.123456Z"),
                (r#""1969-12-31T23:59:59Z""#, "1969-12-31T23:59:59Z"),
                (r#""2016-12-31T23:59:60Z""#, "2017-01-01T00:00:00Z"),
                (r#""2014-01-25T10:00:00""#, "null"),
                (r#""2014-01-25""#, "null"),
                (r#""now""#, "!type_mismatch"),
            ],
        );
    }
    let lines = [r#""2014-01-25""#, r#""2014-01-25T10:00:00Z""#].map(patient);
    let (_, report) = run(&made("instant", ""), &lines.each_ref().map(String::as_str));
    assert_eq!(report.incomplete_dates, 1);
}

#[test]
fn bytes_are_decoded() {
    check(
        "base64Binary",
        "",
        &[
            (r#""AAEC""#, "000102"),
            (r#""AA EC\n""#, "000102"),
            (r#""AA==""#, "00"),
            (r#""""#, ""),
            (r#""AA""#, "!type_mismatch"),
            (r#""A-EC""#, "!type_mismatch"),
            ("5", "!type_mismatch"),
        ],
    );
}

#[test]
fn a_column_of_each_type_may_be_null() {
    let tags = [
        ("a", "boolean", "", DataType::Boolean),
        ("b", "integer", "", DataType::Int32),
        ("c", "integer64", "", DataType::Int64),
        ("d", "decimal", "DOUBLE", DataType::Float64),
        ("e", "decimal", "DECIMAL(18,6)", DataType::Decimal128(18, 6)),
        ("f", "string", "", DataType::Utf8),
        ("g", "base64Binary", "", DataType::Binary),
        ("h", "date", "DATE", DataType::Date32),
    ];
    let columns = tags.iter().map(|(name, declared, tag, _)| {
        let mut column = json!({"name": name, "path": "made", "type": declared});
        if !tag.is_empty() {
            column["tag"] = json!([{"name": "ansi/type", "value": tag}]);
        }
        column
    });
    let view = view(json!([{"column": columns.collect::<Vec<_>>()}]));
    let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
    runner.push_line(br#"{"resourceType":"Patient"}"#).expect("a resource");
    // An element with nothing but extensions has no value either.
    runner.push_line(br#"{"resourceType":"Patient","_made":{"id":"x"}}"#).expect("a resource");
    let batch = runner.finish_batch().expect("rows");
    assert_eq!(batch.schema(), runner.schema());
    for ((.., data_type), column) in tags.iter().zip(batch.columns()) {
        assert_eq!((column.data_type(), column.null_count()), (data_type, 2));
    }
}

#[test]
fn batches_are_bounded_by_bytes_not_rows() {
    let view = view(json!([{"column": [{"name": "made", "path": "made"}]}]));
    let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
    let short = patient(&format!("\"{}\"", "x".repeat(96)));
    assert!(runner.finish_batch().is_none());
    for pushed in 1..=9 {
        runner.push_line(short.as_bytes()).expect("short");
        assert_eq!(runner.buffered_bytes(), pushed * 100);
        assert!(runner.take_batch(1_000).is_none());
    }
    runner.push_line(short.as_bytes()).expect("short");
    assert_eq!(runner.take_batch(1_000).expect("full").num_rows(), 10);
    assert_eq!(runner.buffered_bytes(), 0);
    // One long value fills a batch alone.
    runner.push_line(patient(&format!("\"{}\"", "x".repeat(5_000))).as_bytes()).expect("long");
    assert_eq!(runner.take_batch(1_000).expect("full").num_rows(), 1);
    runner.push_line(short.as_bytes()).expect("short");
    assert_eq!(runner.finish_batch().expect("rest").num_rows(), 1);
    assert!(runner.finish_batch().is_none());
    assert_eq!(runner.report().rows, 12);
}

#[test]
fn one_record_makes_a_bounded_number_of_cells_and_bytes() {
    // 128 x 128 x 128 rows of one cell.
    let each = json!({"forEach": "made"});
    let cells =
        json!([each, each, {"forEach": "made", "column": [{"name": "made", "path": "$this"}]}]);
    // 80 rows of a megabyte.
    let bytes = json!([{"forEach": "made", "column": [{"name": "made", "path": "%resource.big"}]}]);
    let many = patient(&json!(vec![1; 128]).to_string());
    let big = json!({"resourceType": "Patient", "made": vec![1; 80], "big": "x".repeat(1 << 20)});
    for (select, line) in [(cells, many), (bytes, big.to_string())] {
        let view = view(select);
        let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
        let error = runner.push_line(line.as_bytes()).expect_err("too many");
        assert_eq!(error.code(), "too_many_rows");
        assert_eq!(runner.buffered_bytes(), 0);
        runner.push_line(patient("[1,2]").as_bytes()).expect("few");
        assert_eq!(
            runner.finish_batch().map(|batch| batch.num_rows()),
            Some(runner.report().rows as usize)
        );
    }
}

#[test]
fn refused_lines_are_counted_by_reason_and_give_no_row_at_all() {
    let view = json!({
        "resource": "Patient",
        "where": [{"path": "keep"}],
        "select": [
            {"column": [{"name": "id", "path": "id"}]},
            {"forEach": "made.part", "column": [{"name": "part", "path": "$this", "type": "integer"}]}
        ]
    });
    let line = |id: &str, keep: &str, parts: &str| {
        format!(r#"{{"resourceType":"Patient","id":{id},"keep":{keep},"made":{{"part":{parts}}}}}"#)
    };
    let lines = [
        line(r#""a""#, "true", "[1,2]"),
        line(r#""b""#, "true", r#"[3,"four"]"#),
        "{\"resourceType\":\"Patient\"".to_owned(),
        line(r#""c""#, "\"maybe\"", "[5]"),
        "[]".to_owned(),
        String::new(),
        line(r#"["d","e"]"#, "true", "[6]"),
        r#"{"resourceType":"Group"}"#.to_owned(),
        r#"{"id":"x","id":"y"}"#.to_owned(),
        r#"{"id":"x"}"#.to_owned(),
        line(r#""f""#, "false", "[7]"),
        line(r#""g""#, "true", "[]"),
        line(r#""h""#, "true", "[8]"),
    ];
    let (rows, report) = run(&view.to_string(), &lines.each_ref().map(String::as_str));
    assert_eq!(rows, ["a|1", "a|2", "h|8"]);
    let expected = RunReport {
        lines: 13,
        resources: 4,
        filtered: 1,
        other_types: 1,
        rows: 3,
        rejected: BTreeMap::from([
            ("duplicate_member", 1),
            ("not_a_resource", 2),
            ("not_boolean", 1),
            ("not_json", 1),
            ("several_values", 1),
            ("type_mismatch", 1),
        ]),
        first_rejected: vec![
            (2, "type_mismatch"),
            (3, "not_json"),
            (4, "not_boolean"),
            (5, "not_a_resource"),
            (7, "several_values"),
            (9, "duplicate_member"),
            (10, "not_a_resource"),
        ],
        incomplete_dates: 0,
        rounded_decimals: 0,
    };
    assert_eq!(report, expected);
    assert_eq!(report.rejected_lines(), 7);
}

#[test]
fn a_refusal_names_line_and_place_and_no_value() {
    let view = json!({
        "resource": "Patient",
        "where": [{"path": "keep.exists().not() or keep"}],
        "select": [
            {"column": [{"name": "id", "path": "id.upper()"}]},
            {"forEach": "name.where(made)", "column": [{"name": "text", "path": "text"}]},
            {"column": [{"name": "count", "path": "count", "type": "integer"}]}
        ]
    });
    let view = CompiledView::parse(view.to_string().as_bytes()).expect("valid");
    for (member, message) in [
        (r#""keep":"Sorrel""#, "expected a boolean at `/where/0/path` of the view"),
        (
            r#""id":["Sorrel","Sorrel"]"#,
            "expected one item, found several at `/select/0/column/0` of the view",
        ),
        (r#""id":7"#, "operand of a type that does not fit at `/select/0/column/0` of the view"),
        (r#""name":[{"made":"Sorrel"}]"#, "expected a boolean at `/select/1/forEach` of the view"),
        (
            r#""name":[{"made":true,"text":["Sorrel","Sorrel"]}]"#,
            "several values for the column at `/select/1/column/0` of the view",
        ),
        (
            r#""name":[{"made":true,"text":{"Sorrel":1}}]"#,
            "expected a primitive for the column at `/select/1/column/0` of the view",
        ),
        (
            r#""count":"Sorrel""#,
            "value of another type than the column at `/select/2/column/0` of the view",
        ),
        (
            r#""count":2147483648"#,
            "number out of range for the column at `/select/2/column/0` of the view",
        ),
        (r#""Sorrel":"#, "expected a value at byte 35"),
        (r#""Sorrel":1,"Sorrel":2"#, "duplicate member name at byte 38"),
    ] {
        let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
        runner.push_line(b"").expect("a blank line");
        let line = format!(r#"{{"resourceType":"Patient",{member}}}"#);
        let error = runner.push_line(line.as_bytes()).expect_err(member);
        assert_eq!(error.to_string(), format!("line 2: {message}"), "{member}");
        let told = format!("{error:?} {:?}", runner.report());
        assert!(!told.contains("Sorrel"), "{told}");
    }
}

#[test]
fn a_report_names_a_bounded_number_of_refused_lines() {
    let view = view(json!([{"column": [{"name": "id", "path": "id"}]}]));
    let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
    for _ in 0..MAX_NAMED_REJECTS + 5 {
        assert!(runner.push_line(b"?").is_err());
    }
    assert_eq!(runner.report().rejected_lines(), MAX_NAMED_REJECTS as u64 + 5);
    assert_eq!(runner.report().first_rejected.len(), MAX_NAMED_REJECTS);
}

#[test]
fn other_types_give_no_rows_wherever_their_type_stands() {
    let view = view(json!([{"column": [{"name": "id", "path": "id"}]}]));
    for (line, expected) in [
        (&br#"{"resourceType":"Group","id":"x"}"#[..], Ok(0)),
        (br#"{"id":"x","resourceType":"Group"}"#, Ok(0)),
        (br#" { "resourceType" : "Patient" , "id" : "x" } "#, Ok(1)),
        (br#"{"id":"x","resourceType":"Patient"}"#, Ok(1)),
        (br#"{"resourceType":"PatientX","id":"x"}"#, Ok(0)),
        // Only the rows of the resource itself count, not those of what it contains.
        (br#"{"resourceType":"Group","contained":[{"resourceType":"Patient","id":"x"}]}"#, Ok(0)),
        (br#"{"resourceType":"Group","id":"x""#, Err("not_json")),
        (b"{\"resourceType\":\"Group\",\"id\":\"\xff\"}", Err("not_utf8")),
        (br#"{"resourceType":"Gr\u006fup"}"#, Ok(0)),
        (br#"{"resourceType":7}"#, Err("not_a_resource")),
        (br#"{"resourceType":null}"#, Err("not_a_resource")),
        (br#""Patient""#, Err("not_a_resource")),
    ] {
        let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
        let pushed = runner.push_line(line).map_err(|error| error.code());
        let found = pushed.map(|()| runner.report().rows);
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(line));
        let others = u64::from(expected == Ok(0));
        assert_eq!(runner.report().other_types, others);
    }
}

#[test]
fn lines_come_with_marks_ends_and_blanks() {
    let file = b"\xEF\xBB\xBF{\"resourceType\":\"Patient\",\"id\":\"a\"}\r\n\r\n  \n\
        {\"resourceType\":\"Patient\",\"id\":\"b\"}\n{\"resourceType\":\"Patient\",\"id\":\"c\"}";
    let view = view(json!([{"column": [{"name": "id", "path": "id"}]}]));
    let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
    let mut lines = Lines::new(&file[..]);
    while let Some(line) = lines.next_line().expect("memory") {
        runner.push_line(line).expect("a resource");
    }
    let batch = runner.finish_batch().expect("rows");
    assert_eq!(
        (rows(&batch), runner.report().lines),
        (["a", "b", "c"].map(str::to_owned).to_vec(), 5)
    );
    // The mark of the byte order belongs before the first line only.
    let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
    runner.push_line(b"\n").expect("blank");
    let error = runner.push_line(b"\xEF\xBB\xBF{}").expect_err("a mark");
    assert_eq!(error.code(), "not_json");
}

#[test]
fn each_file_of_a_table_may_begin_with_a_byte_order_mark() {
    // Only the first line of a run was freed of it, so that the first record of every
    // further file was refused.
    let file = b"\xEF\xBB\xBF{\"resourceType\":\"Patient\",\"id\":\"a\"}\n";
    let view = view(json!([{"column": [{"name": "id", "path": "id"}]}]));
    let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
    for _ in 0..2 {
        let mut lines = Lines::new(&file[..]);
        while let Some(line) = lines.next_line().expect("memory") {
            runner.push_line(line).expect("a resource");
        }
    }
    assert_eq!(runner.report().rows, 2);
}

#[test]
fn a_line_that_is_too_long_is_skipped_and_refused() {
    let mut file = vec![b'x'; MAX_RECORD_BYTES + 7];
    file.extend_from_slice(b"\n{\"resourceType\":\"Patient\",\"id\":\"b\"}\n");
    let view = view(json!([{"column": [{"name": "id", "path": "id"}]}]));
    let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
    let mut lines = Lines::new(&file[..]);
    let first = lines.next_line().expect("memory").expect("a line");
    assert_eq!(first.len(), MAX_RECORD_BYTES + 2);
    assert_eq!(runner.push_line(first).expect_err("too long").code(), "record_too_long");
    runner.push_line(lines.next_line().expect("memory").expect("a line")).expect("a resource");
    assert_eq!(lines.next_line().expect("memory"), None);
    assert_eq!((runner.report().rows, runner.report().rejected_lines()), (1, 1));
}

#[test]
fn what_stands_behind_too_many_blanks_is_not_lost() {
    // `Lines` cuts such a line within the blanks. What was left looked like a whole
    // record, was taken, and nobody heard of the rest.
    let record = r#"{"resourceType":"Patient","id":"a"}"#;
    let view = view(json!([{"column": [{"name": "id", "path": "id"}]}]));
    for (length, end) in [(MAX_RECORD_BYTES, "\r\n"), (MAX_RECORD_BYTES + 7, "}}}\r\n")] {
        let mut file = record.as_bytes().to_vec();
        file.resize(length, b' ');
        file.extend_from_slice(end.as_bytes());
        let mut lines = Lines::new(&file[..]);
        let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
        let line = lines.next_line().expect("memory").expect("a line");
        let pushed = runner.push_line(line).map_err(|error| error.code());
        let is_too_long = length > MAX_RECORD_BYTES;
        assert_eq!(pushed, if is_too_long { Err("record_too_long") } else { Ok(()) });
        assert_eq!(lines.next_line().expect("memory"), None);
    }
}

#[test]
fn lines_that_others_parsed_or_could_not_read_count_alike() {
    let view = view(json!([{"column": [{"name": "id", "path": "id"}]}]));
    let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
    let mut arena = Arena::new();
    let text = br#"{"resourceType":"Patient","id":"a"}"#;
    runner.push_document(arena.parse(text).expect("valid")).expect("a resource");
    let error = arena.parse(b"{").err().expect("broken");
    assert_eq!(runner.push_unreadable(error).line, 2);
    let error = runner.push_document(arena.parse(b"7").expect("valid")).expect_err("a number");
    assert_eq!((error.line, error.code()), (3, "not_a_resource"));
    assert_eq!((runner.report().lines, runner.report().rows), (3, 1));
}

#[test]
fn keys_follow_the_policy_and_the_declared_bases() {
    let view = view(json!([{"column": [
        {"name": "subject", "path": "getResourceKey()"},
        {"name": "organization", "path": "managingOrganization.getReferenceKey(Organization)"}
    ]}]));
    let line = |reference: &str| {
        format!(
            r#"{{"resourceType":"Patient","id":"p","managingOrganization":{{"reference":"{reference}"}}}}"#
        )
    };
    let pseudonym = |resource: &str, id: &str| {
        let mut key = [0; 16];
        key[0] = resource.len() as u8;
        key[15] = id.len() as u8;
        key
    };
    let policy = KeyPolicy::Keyed(&pseudonym);
    let bases = vec!["https://fhir.example.org/r4".to_owned()];
    let mut runner = ViewRunner::new(&view, policy).with_bases(bases);
    for reference in [
        "Organization/o1",
        "https://fhir.example.org/r4/Organization/o1",
        "https://other.example.org/Organization/o1",
    ] {
        runner.push_line(line(reference).as_bytes()).expect("a resource");
    }
    let patient = "07000000000000000000000000000001";
    let organization = "0c000000000000000000000000000002";
    let found = rows(&runner.finish_batch().expect("rows"));
    let expected = [
        format!("{patient}|{organization}"),
        format!("{patient}|{organization}"),
        format!("{patient}|null"),
    ];
    assert_eq!(found, expected);
}
