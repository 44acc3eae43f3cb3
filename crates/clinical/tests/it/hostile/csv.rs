//! Comma separated values.

use std::io::{self, Read};

use cordon_clinical::csv::{
    CsvError, CsvOptions, CsvReader, CsvReport, CsvSchema, MAX_CSV_RECORD_BYTES, infer,
};
use cordon_clinical::keys::KeyPolicy;
use proptest::prelude::*;
use proptest::sample::select;

use super::mutation::Mutations;
use super::{CANARY, leaks, seeded};

const FILE: &str = "id,week,arrest,score,dose,day,seen,note\n\
    p1,20,1,0.5,1.250,2024-02-29,2024-02-29T10:00:00Z,Quillfeather\n\
    p2,,0,-1e3,,,,\"a \"\"quoted\"\" Quillfeather,\nover two lines\"\n\
    \"p3\",-7,true,,99999.9999,1970-01-01,1970-01-01T00:00:00+01:00,\n";

fn schema() -> CsvSchema {
    CsvSchema::from_json(
        br#"{"columns": [
            {"name": "subject", "header": "id", "key": "Patient"},
            {"name": "week", "type": "INTEGER", "nullable": true},
            {"name": "arrest", "type": "BOOLEAN"},
            {"name": "score", "type": "DOUBLE PRECISION", "nullable": true},
            {"name": "dose", "type": "DECIMAL(18, 4)", "nullable": true},
            {"name": "day", "type": "DATE", "nullable": true},
            {"name": "seen", "type": "TIMESTAMP WITH TIME ZONE", "nullable": true},
            {"name": "note", "type": "VARCHAR", "nullable": true}
        ]}"#,
    )
    .expect("a schema")
}

/// Reads to the end, and checks what every outcome promises. A header is no record: an error may
/// name its columns.
fn read(file: &[u8], schema: &CsvSchema, options: CsvOptions) -> Result<CsvReport, CsvError> {
    let lines = file.iter().filter(|byte| matches!(**byte, b'\n' | b'\r')).count() as u64 + 1;
    let mut rows = 0;
    let outcome = CsvReader::new(file, schema, options, KeyPolicy::Plain).and_then(|mut reader| {
        while let Some(batch) = reader.next_batch(64)? {
            rows += batch.num_rows() as u64;
        }
        Ok(reader.report().clone())
    });
    match &outcome {
        Ok(report) => {
            assert_eq!(report.rows, rows);
            assert!(report.rejected.values().sum::<u64>() <= options.max_errors);
            for (line, _) in &report.first_rejected {
                assert!((1..=lines).contains(line), "line {line} of {lines}");
            }
        }
        Err(error) => {
            assert!((1..=lines).contains(&error.line), "{error}, of {lines}");
            let in_header = file.split(|b| matches!(b, b'\n' | b'\r')).next().is_some_and(|line| {
                line.windows(CANARY.len()).any(|part| part == CANARY.as_bytes())
            });
            assert!(in_header || error.line == 1 || !leaks(error), "{error:?}");
        }
    }
    outcome
}

fn words() -> Vec<String> {
    [
        ",",
        "\"",
        "\n",
        "\r",
        "\r\n",
        ",,,,,,,\n",
        "\u{feff}",
        "NaN",
        "inf",
        "1e999",
        "-",
        "+1",
        "99999999999999999999999999999999999999999",
        "0.00000000000000000000000000000000000000001",
        "24:00",
        "T",
        "\0",
        CANARY,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Values that look like those of a type.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{0,3}",
        "-?[0-9]{1,45}(\\.[0-9]{0,45})?",
        "-?[0-9]{0,3}\\.?[0-9]{0,3}[eE][-+]?[0-9]{0,4}",
        "[0-9]{4}-[0-1][0-9]-[0-3][0-9]",
        "[0-9]{1,4}-[0-9]{1,2}T?[0-9:.Z+-]{0,12}",
        "[tT][rR][uU][eE]|False|FALSE|0|1",
        "9{300,320}",
        " ?[0-9]{1,2} ?",
        "[a-c\"\\\\é]{0,4}",
        "",
    ]
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\"\""))
}

proptest! {
    #![proptest_config(seeded(4_000))]

    #[test]
    fn a_mutated_file_is_read_or_refused_at_its_line(
        mutations in Mutations::any(words()),
        max_errors in 0..6_u64,
    ) {
        let file = mutations.apply(FILE.as_bytes());
        let options = CsvOptions { max_errors, ..CsvOptions::default() };
        let _ = read(&file, &schema(), options);
        let _ = infer(file.as_slice(), b',', 100);
    }

    #[test]
    fn random_bytes_and_delimiters_make_no_reader_panic(bytes: Vec<u8>, delimiter: u8) {
        let options = CsvOptions { delimiter, max_errors: 3 };
        let _ = read(&bytes, &schema(), options);
        if let Ok(schema) = infer(bytes.as_slice(), delimiter, 100) {
            let _ = read(&bytes, &schema, options);
        }
    }

    /// What `infer` promises: a type is taken only if every value has it.
    #[test]
    fn a_file_fits_the_schema_that_was_inferred_from_it(
        values in proptest::collection::vec([value(), value(), value()], 1..8),
    ) {
        let row = |row: &[String; 3]| row.each_ref().map(|value| quoted(value)).join(",");
        let rows: Vec<String> = values.iter().map(row).collect();
        let file = format!("a,b,c\n{}\n", rows.join("\n"));
        let schema = infer(file.as_bytes(), b',', u64::MAX).expect("a schema");
        let again = CsvSchema::from_json(schema.to_json().to_string().as_bytes()).expect("JSON");
        prop_assert_eq!(&again, &schema);
        let report = read(file.as_bytes(), &schema, CsvOptions::default());
        prop_assert_eq!(report.expect("every value fits").rows, values.len() as u64);
    }

    #[test]
    fn a_random_schema_is_refused_or_comes_back(
        members in proptest::collection::vec((select(vec!["name", "header", "type", "key", "x"]), value()), 0..5),
        sql in select(vec!["INTEGER", "DECIMAL(0, 0)", "DECIMAL(39, 1)", "DECIMAL(5, 9)", "DECIMAL(", "VARBINARY", "DECIMAL(38,38)"]),
    ) {
        let mut column: serde_json::Map<_, _> = members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), serde_json::Value::from(value)))
            .collect();
        column.entry("name").or_insert("a".into());
        if !column.contains_key("key") {
            column.insert("type".into(), sql.into());
        }
        let text = serde_json::json!({ "columns": [column] }).to_string();
        if let Ok(schema) = CsvSchema::from_json(text.as_bytes()) {
            let again = CsvSchema::from_json(schema.to_json().to_string().as_bytes());
            prop_assert_eq!(again.expect("what was written reads"), schema.clone());
            let header = quoted(&schema.columns()[0].header);
            for value in ["", "1", "-1.5", "99999999999999999999999999999999999999", "0.1"] {
                let _ = read(format!("{header}\n{value}\n").as_bytes(), &schema, CsvOptions::default());
            }
        }
    }
}

/// Counts what is read of a file that does not end.
struct Endless<'a>(&'a [u8], u64);

impl Read for Endless<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        for byte in out.iter_mut() {
            *byte = self.0[(self.1 % self.0.len() as u64) as usize];
            self.1 += 1;
        }
        Ok(out.len())
    }
}

#[test]
fn a_record_that_never_ends_does_not_fill_the_memory() {
    let endless: [(&[u8], &[u8]); 7] = [
        (b"", b"x"),
        (b"", b","),
        (b"", b"\"\""),
        (b"\"", b"a\n"),
        (b"", b"\0"),
        (b"", b"\xff"),
        (b"a,b,c,", b"\"\","),
    ];
    for (first, pattern) in endless {
        let mut rest = Endless(pattern, 0);
        let error = infer(first.chain(&mut rest), b',', 10).expect_err("a header without end");
        assert_eq!((error.code(), error.line), ("record_too_long", 1), "{error}");
        assert!(rest.1 <= 2 * MAX_CSV_RECORD_BYTES, "{}", rest.1);

        let mut rest = Endless(pattern, 0);
        let header = b"id,week,arrest,score,dose,day,seen,note\n".as_slice();
        let file = header.chain(first).chain(&mut rest);
        let schema = schema();
        let mut reader = CsvReader::new(file, &schema, CsvOptions::default(), KeyPolicy::Plain)
            .expect("a header");
        let error = reader.next_batch(1 << 20).expect_err("a record without end");
        assert_eq!((error.code(), error.line), ("record_too_long", 2), "{error}");
        assert!(rest.1 <= 2 * MAX_CSV_RECORD_BYTES, "{}", rest.1);
    }
}

/// Comparing each header with all before it took minutes for a header of the longest record.
#[test]
fn a_header_of_very_many_columns_is_refused_at_once() {
    let header = (0..600_000).map(|index| format!("{index:x}")).collect::<Vec<_>>().join(",");
    assert!((header.len() as u64) < MAX_CSV_RECORD_BYTES);
    let error = infer(header.as_bytes(), b',', 10).expect_err("too many columns");
    assert_eq!(error.code(), "schema_invalid");
    let header = format!("{header},{}", "id,week,arrest,score,dose,day,seen,note");
    let schema = schema();
    let reader =
        CsvReader::new(header.as_bytes(), &schema, CsvOptions::default(), KeyPolicy::Plain);
    assert!(reader.is_ok());
}
