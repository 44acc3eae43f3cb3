use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::datatypes::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type};

use super::*;

const SCHEMA: &str = r#"{"columns": [
    {"name": "subject", "header": "id", "key": "Patient"},
    {"name": "week", "type": "INTEGER", "nullable": true},
    {"name": "arrest", "type": "BOOLEAN", "nullable": true},
    {"name": "dose", "type": "DECIMAL(6, 2)", "nullable": true}
]}"#;
const HEADER: &str = "id,week,arrest,dose,unread\n";

fn schema(json: &str) -> CsvSchema {
    CsvSchema::from_json(json.as_bytes()).unwrap()
}

/// All rows in one batch, and the report.
fn read(rows: &str, max_errors: u64) -> Result<(Option<RecordBatch>, CsvReport), CsvError> {
    let file = format!("{HEADER}{rows}");
    let options = CsvOptions { max_errors, ..CsvOptions::default() };
    let schema = schema(SCHEMA);
    let mut reader = CsvReader::new(file.as_bytes(), &schema, options, KeyPolicy::Plain)?;
    let batch = reader.next_batch(usize::MAX)?;
    Ok((batch, reader.report().clone()))
}

/// One value of one type.
fn cell_of(sql: &str, value: &str) -> Result<RecordBatch, &'static str> {
    let json = format!(r#"{{"columns": [{{"name": "a", "type": "{sql}", "nullable": true}}]}}"#);
    let file = format!("a,b\n{value},x\n");
    let schema = schema(&json);
    let mut reader =
        CsvReader::new(file.as_bytes(), &schema, CsvOptions::default(), KeyPolicy::Plain).unwrap();
    let batch = reader.next_batch(1).map_err(|error| error.code())?;
    Ok(batch.expect("a row"))
}

#[test]
fn wanted_columns_are_found_wherever_they_stand_and_the_rest_is_not_read() {
    let file = "unread,dose,arrest,week,id\n\"a\nb\",1.5,0,7,p1\n";
    let schema = schema(SCHEMA);
    let mut reader =
        CsvReader::new(file.as_bytes(), &schema, CsvOptions::default(), KeyPolicy::Plain).unwrap();
    let batch = reader.next_batch(1).unwrap().unwrap();
    assert_eq!(batch.column(0).as_string::<i32>().value(0), "p1");
    assert_eq!(batch.column(1).as_primitive::<Int32Type>().value(0), 7);
    assert!(!batch.column(2).as_boolean().value(0));
    assert_eq!(batch.column(3).as_primitive::<Decimal128Type>().value(0), 150);
    assert!(reader.next_batch(1).unwrap().is_none());
}

#[test]
fn values_are_of_their_type_or_refused() {
    let int = |value: &str| cell_of("INTEGER", value);
    assert_eq!(int("-7").unwrap().column(0).as_primitive::<Int32Type>().value(0), -7);
    assert_eq!(int("7.0").unwrap().column(0).as_primitive::<Int32Type>().value(0), 7);
    assert_eq!(int("2147483648").unwrap_err(), "out_of_range");
    for wrong in ["7.5", "seven", "0x7", "7 7"] {
        assert_eq!(int(wrong).unwrap_err(), "type_mismatch", "{wrong}");
    }
    let big = cell_of("BIGINT", "2147483648").unwrap();
    assert_eq!(big.column(0).as_primitive::<Int64Type>().value(0), 2_147_483_648);
    let float = cell_of("DOUBLE PRECISION", "1.5e-7").unwrap();
    assert_eq!(float.column(0).as_primitive::<Float64Type>().value(0), 1.5e-7);
    for wrong in ["NaN", "inf", "1e999", "1,5"] {
        let file = wrong.replace(',', "\",\"");
        assert!(cell_of("DOUBLE PRECISION", &file).is_err(), "{wrong}");
    }
    for (text, truth) in [("1", true), ("0", false), ("TRUE", true), ("False", false)] {
        let batch = cell_of("BOOLEAN", text).unwrap();
        assert_eq!(batch.column(0).as_boolean().value(0), truth, "{text}");
    }
    assert_eq!(cell_of("BOOLEAN", "yes").unwrap_err(), "type_mismatch");
    let day = cell_of("DATE", "1970-01-02").unwrap();
    assert_eq!(day.column(0).as_primitive::<Date32Type>().value(0), 1);
    for wrong in ["1970-02-30", "1970-01", "02.01.1970"] {
        assert_eq!(cell_of("DATE", wrong).unwrap_err(), "type_mismatch", "{wrong}");
    }
    let moment = cell_of("TIMESTAMP WITH TIME ZONE", "1970-01-01T01:00:00+01:00").unwrap();
    assert_eq!(moment.column(0).as_primitive::<TimestampMicrosecondType>().value(0), 0);
    let dose = cell_of("DECIMAL(4, 2)", "12.345").unwrap();
    assert!(matches!(dose.column(0).data_type(), DataType::Decimal128(4, 2)));
    assert_eq!(cell_of("DECIMAL(4, 2)", "123").unwrap_err(), "out_of_range");
}

#[test]
fn an_empty_value_is_null_where_one_may_be() {
    let (batch, _) = read("p1,,,,\n", 0).unwrap();
    let batch = batch.unwrap();
    assert_eq!([1, 2, 3].map(|column| batch.column(column).null_count()), [1, 1, 1]);
    let error = read("p1,1,1,1,\n,1,1,1,\n", 0).unwrap_err();
    assert_eq!((error.code(), error.line, error.column.as_deref()), ("empty_value", 3, Some("id")));
}

#[test]
fn a_refused_record_gives_no_row_and_is_named_by_line_and_code() {
    let rows = "p1,1,1,1,\np2,x,1,1,\np3,1,1\n\"p/4\",1,1,1,\np5,1,1,99999.9,\np6,2,0,2,\n";
    let (batch, report) = read(rows, 4).unwrap();
    assert_eq!(batch.unwrap().num_rows(), 2);
    assert_eq!(report.rows, 2);
    let expected =
        [(3, "type_mismatch"), (4, "unequal_lengths"), (5, "not_a_key"), (6, "out_of_range")];
    assert_eq!(report.first_rejected, expected);
    // One more than is borne.
    let error = read(rows, 3).unwrap_err();
    assert_eq!((error.code(), error.line), ("out_of_range", 6));
    assert_eq!(error.to_string(), "line 6, column `dose`: number out of range");
}

#[test]
fn refusals_do_not_show_what_was_refused() {
    for row in ["p1,Quillfeather,1,1,\n", "Quill/feather,1,1,1,\n", "p1,1,Quillfeather,1,\n"] {
        let error = read(row, 0).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("Quill"), "{error:?}");
    }
}

#[test]
fn decimals_that_lose_digits_are_counted() {
    let (_, report) = read("p1,1,1,1.005,\np2,1,1,1.50,\n", 0).unwrap();
    assert_eq!(report.rounded_decimals, 1);
}

#[test]
fn a_file_that_ends_within_quotes_is_refused_at_the_record_that_opens_them() {
    let error = read("p1,1,1,1,\"cut\np2,1,1,1,\np3,1,1,1,\n", 100).unwrap_err();
    assert_eq!((error.code(), error.line), ("open_quote", 2));
    let inferred = infer(b"a,b\n1,\"2\n3,4\n".as_slice(), b',', u64::MAX).unwrap_err();
    assert_eq!((inferred.code(), inferred.line), ("open_quote", 2));
    // Closed at the very end, with or without a line break.
    for end in ["\"", "\"\n"] {
        assert!(read(&format!("p1,1,1,1,\"a\nb{end}"), 0).is_ok());
    }
}

#[test]
fn headers_are_checked() {
    let open = |file: &str| {
        let schema = schema(SCHEMA);
        let reader =
            CsvReader::new(file.as_bytes(), &schema, CsvOptions::default(), KeyPolicy::Plain);
        reader.map(|_| ()).map_err(|error| (error.code(), error.line))
    };
    assert_eq!(open(""), Err(("no_header", 1)));
    assert_eq!(open("id,week,week,arrest,dose\n"), Err(("duplicate_header", 1)));
    assert_eq!(open("id,week,arrest\n"), Err(("missing_column", 1)));
    assert_eq!(open("\u{feff}id,week,arrest,dose\n"), Ok(()), "a byte order mark is no name");
    // UTF-16, as some programs export.
    let utf16: Vec<u8> = "id,week\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let file = [b"\xff\xfe".as_slice(), &utf16].concat();
    assert_eq!(infer(file.as_slice(), b',', 10).unwrap_err().code(), "not_utf8");
}

#[test]
fn batches_are_as_large_as_asked_and_none_is_lost() {
    let rows: String = (0..1000).map(|row| format!("p{row},{row},1,1,\n")).collect();
    let file = format!("{HEADER}{rows}");
    let schema = schema(SCHEMA);
    let mut reader =
        CsvReader::new(file.as_bytes(), &schema, CsvOptions::default(), KeyPolicy::Plain).unwrap();
    let mut sizes = Vec::new();
    let mut weeks = Vec::new();
    while let Some(batch) = reader.next_batch(4096).unwrap() {
        sizes.push(batch.num_rows());
        weeks.extend(batch.column(1).as_primitive::<Int32Type>().values().iter().copied());
    }
    assert!(sizes.len() > 2, "{sizes:?}");
    assert_eq!(weeks, (0..1000).collect::<Vec<i32>>());
}

#[test]
fn a_key_depends_on_resource_and_id_only() {
    let pseudonym = |kind: &str, id: &str| {
        let mut key = [0; 16];
        key[0] = kind.len() as u8;
        key[1] = id.len() as u8;
        key
    };
    let file = format!("{HEADER}p1,1,1,1,\np1,2,0,2,\np10,1,1,1,\n");
    let schema = schema(SCHEMA);
    let policy = KeyPolicy::Keyed(&pseudonym);
    let mut reader =
        CsvReader::new(file.as_bytes(), &schema, CsvOptions::default(), policy).unwrap();
    let batch = reader.next_batch(1 << 20).unwrap().unwrap();
    let keys = batch.column(0).as_string::<i32>();
    assert_eq!(keys.value(0), format!("0702{}", "0".repeat(28)));
    assert_eq!(keys.value(0), keys.value(1));
    assert_ne!(keys.value(0), keys.value(2));
}

#[test]
fn types_are_inferred_from_all_values() {
    let file = "int,code,dec,sci,day,flag,empty,mixed,Patient ID,7\n\
                1,007,1.25,1e3,2024-02-29,true,,1,p,1\n\
                -2,12,10,2.5,2024-03-01,FALSE,,x,q,1\n";
    let schema = infer(file.as_bytes(), b',', u64::MAX).unwrap();
    let kinds: Vec<_> = schema.columns().iter().map(CsvColumn::kind).collect();
    assert_eq!(kinds[0], ColumnKind::Int64);
    assert_eq!(kinds[1], ColumnKind::Text, "a leading zero is a code");
    assert_eq!(kinds[2], ColumnKind::Decimal { precision: 18, scale: 2 });
    assert_eq!(kinds[3], ColumnKind::Float64);
    assert_eq!(kinds[4], ColumnKind::Date);
    assert_eq!(kinds[5], ColumnKind::Boolean);
    assert_eq!(kinds[6], ColumnKind::Text);
    assert_eq!(kinds[7], ColumnKind::Text);
    let names: Vec<_> = schema.columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(&names[8..], ["Patient_ID", "c_7"]);
    // A value further down may take a type away.
    let first = infer(b"a\n1\nx\n".as_slice(), b',', 1).unwrap();
    assert_eq!(first.columns()[0].kind(), ColumnKind::Int64);
}

#[test]
fn schemas_are_checked() {
    let code = |json: &str| CsvSchema::from_json(json.as_bytes()).unwrap_err().to_string();
    for (json, says) in [
        (r#"{"columns": []}"#, "expected 1 to"),
        (r#"{"columns": [{"name": "a b", "type": "INTEGER"}]}"#, "illegal column name"),
        (
            r#"{"columns": [{"name": "a", "type": "INTEGER"}, {"name": "a", "type": "DATE"}]}"#,
            "duplicate column",
        ),
        (r#"{"columns": [{"name": "a", "type": "INT4RANGE"}]}"#, "unsupported type"),
        (r#"{"columns": [{"name": "a", "type": "INTEGER", "key": "Patient"}]}"#, "one of"),
        (r#"{"columns": [{"name": "a", "type": "INTEGER", "more": 1}]}"#, "unknown field"),
    ] {
        let said = code(json);
        assert!(said.contains(says) && !said.contains("line 0"), "{said}");
    }
}
