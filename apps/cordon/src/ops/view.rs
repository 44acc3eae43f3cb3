//! Running a view over a person's own clear records: NDJSON in, a clear table out.

use std::io::{BufRead, Write};

use anyhow::{Context as _, Result};
use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use cordon_clinical::keys::KeyPolicy;
use cordon_clinical::table::{Lines, RunReport, ViewRunner};
use cordon_clinical::view::CompiledView;
use indicatif::ProgressBar;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// Rows are written when they reach this size.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How the table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object per row.
    Ndjson,
    /// Comma separated values with a header; no value is empty.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// Runs `view` over `input`; stops at the first line that it fails on.
///
/// # Errors
/// The line and a code, never its content; or if the table cannot be written.
pub fn run(
    view: &CompiledView,
    input: impl BufRead,
    out: impl Write + Send,
    format: Format,
    progress: &ProgressBar,
) -> Result<RunReport> {
    let mut runner = ViewRunner::new(view, KeyPolicy::Plain);
    let mut table = Table::new(format, &runner.schema(), out)?;
    let mut lines = Lines::new(input);
    while let Some(line) = lines.next_line().context("cannot read on")? {
        progress.inc(line.len() as u64);
        runner.push_line(line)?;
        if let Some(rows) = runner.take_batch(BATCH_BYTES) {
            table.write(&rows)?;
        }
    }
    if let Some(rows) = runner.finish_batch() {
        table.write(&rows)?;
    }
    table.finish()?;
    Ok(runner.report().clone())
}

enum Table<W: Write + Send> {
    Ndjson { out: W, names: Vec<String> },
    Csv(Box<csv::Writer<W>>),
    Parquet(Box<ArrowWriter<W>>),
}

impl<W: Write + Send> Table<W> {
    fn new(format: Format, schema: &SchemaRef, out: W) -> Result<Self> {
        let names = || schema.fields().iter().map(|field| field.name().as_str());
        Ok(match format {
            Format::Ndjson => {
                let quoted = names().map(serde_json::to_string).collect::<Result<_, _>>()?;
                Self::Ndjson { out, names: quoted }
            }
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(names())?;
                Self::Csv(Box::new(writer))
            }
            Format::Parquet => {
                let compression = Compression::ZSTD(ZstdLevel::default());
                let properties = WriterProperties::builder().set_compression(compression).build();
                let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties))?;
                Self::Parquet(Box::new(writer))
            }
        })
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if let Self::Parquet(writer) = self {
            return Ok(writer.write(rows)?);
        }
        let columns = rows.columns().iter().map(printable).collect::<Result<Vec<_>>>()?;
        let texts = columns.iter().map(Texts::new).collect::<Result<Vec<_>>>()?;
        for row in 0..rows.num_rows() {
            match self {
                Self::Ndjson { out, names } => write_object(out, names, &texts, row)?,
                Self::Csv(writer) => {
                    let texts = texts.iter().map(|texts| texts.at(row).unwrap_or_default());
                    writer.write_record(texts)?;
                }
                Self::Parquet(_) => {}
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Ndjson { mut out, .. } => out.flush()?,
            Self::Csv(mut writer) => writer.flush()?,
            Self::Parquet(writer) => drop(writer.close()?),
        }
        Ok(())
    }
}

fn write_object(
    out: &mut impl Write,
    names: &[String],
    texts: &[Texts<'_>],
    row: usize,
) -> Result<()> {
    for (index, (name, texts)) in names.iter().zip(texts).enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        write!(out, "{before}{name}:")?;
        match texts.at(row) {
            None => write!(out, "null")?,
            // Digits stay as they are: a JSON number may have any number of them.
            Some(text) if texts.is_bare => write!(out, "{text}")?,
            Some(text) => write!(out, "{}", serde_json::to_string(&text)?)?,
        }
    }
    Ok(writeln!(out, "}}")?)
}

/// Moments as an offset from UTC, which can be written without a list of time zones.
fn printable(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Timestamp(_, Some(_)) => {
            cast(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())))?
        }
        _ => column.clone(),
    })
}

/// One column as text.
struct Texts<'c> {
    column: &'c ArrayRef,
    formatter: ArrayFormatter<'c>,
    /// Written in JSON without quotes.
    is_bare: bool,
}

impl<'c> Texts<'c> {
    fn new(column: &'c ArrayRef) -> Result<Self> {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default())?;
        let is_bare = matches!(
            column.data_type(),
            DataType::Boolean
                | DataType::Int32
                | DataType::Int64
                | DataType::Float64
                | DataType::Decimal128(_, _)
        );
        Ok(Self { column, formatter, is_bare })
    }

    fn at(&self, row: usize) -> Option<String> {
        if self.column.is_null(row) {
            return None;
        }
        Some(match self.column.data_type() {
            DataType::Binary => STANDARD.encode(self.column.as_binary::<i32>().value(row)),
            _ => self.formatter.value(row).to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: &[u8] = br#"{"resource": "Patient", "select": [{"column": [
        {"name": "id", "path": "getResourceKey()"},
        {"name": "sex", "path": "gender"},
        {"name": "active", "path": "active"}
    ]}]}"#;

    fn table(format: Format, input: &str) -> Result<Vec<u8>> {
        let view = CompiledView::parse(VIEW).unwrap();
        let mut out = Vec::new();
        run(&view, input.as_bytes(), &mut out, format, &ProgressBar::hidden())?;
        Ok(out)
    }

    const INPUT: &str = "{\"resourceType\":\"Patient\",\"id\":\"a\",\"gender\":\"fe\\\"male\",\"active\":true}\n\
                         {\"resourceType\":\"Patient\",\"id\":\"b\"}\n";

    #[test]
    fn rows_keep_their_types_and_quotes() {
        let ndjson = String::from_utf8(table(Format::Ndjson, INPUT).unwrap()).unwrap();
        assert_eq!(
            ndjson,
            "{\"id\":\"a\",\"sex\":\"fe\\\"male\",\"active\":true}\n\
             {\"id\":\"b\",\"sex\":null,\"active\":null}\n"
        );
        let csv = String::from_utf8(table(Format::Csv, INPUT).unwrap()).unwrap();
        assert_eq!(csv, "id,sex,active\na,\"fe\"\"male\",true\nb,,\n");
        assert!(table(Format::Parquet, INPUT).unwrap().starts_with(b"PAR1"));
    }

    #[test]
    fn a_table_without_rows_still_has_its_columns() {
        assert_eq!(table(Format::Ndjson, "").unwrap(), b"");
        assert_eq!(table(Format::Csv, "").unwrap(), b"id,sex,active\n");
        assert!(table(Format::Parquet, "").unwrap().ends_with(b"PAR1"));
    }

    #[test]
    fn a_line_that_fails_is_named_and_not_shown() {
        let input = format!("{INPUT}{{\"resourceType\":\"Patient\",\"id\":\"secret\"");
        let error = format!("{:#}", table(Format::Csv, &input).unwrap_err());
        assert!(error.contains("line 3") && !error.contains("secret"), "{error}");
    }
}
