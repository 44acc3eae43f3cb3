//! Comma separated values against a schema, in bounded memory.
//!
//! The schema says which columns are wanted and what they are; columns of the file
//! that it does not name are not read. A value that does not fit is an error with
//! its line and column, unless the caller bears a number of them.
//!
//! ```
//! use cordon_clinical::csv::{CsvOptions, CsvReader, CsvSchema};
//! use cordon_clinical::keys::KeyPolicy;
//!
//! let file = "id,week,arrest\np1,20,1\np2,,0\n";
//! let schema = CsvSchema::from_json(br#"{"columns": [
//!     {"name": "subject", "header": "id", "key": "Patient"},
//!     {"name": "week", "type": "INTEGER", "nullable": true},
//!     {"name": "arrest", "type": "BOOLEAN"}
//! ]}"#)?;
//! let options = CsvOptions::default();
//! let mut reader = CsvReader::new(file.as_bytes(), &schema, options, KeyPolicy::Plain)?;
//! let batch = reader.next_batch(8 << 20)?.expect("rows");
//! assert_eq!((batch.num_rows(), batch.num_columns()), (2, 3));
//! assert_eq!(batch.column(1).null_count(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bounded;
mod error;
mod infer;
mod quotes;
mod schema;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use ::csv::{ByteRecord, Reader, ReaderBuilder};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub use error::{CsvError, CsvProblem};
pub use infer::infer;
pub use schema::{CsvColumn, CsvSchema, CsvType};

use crate::decimal::Decimal;
use crate::keys::KeyPolicy;
use crate::table::{Cell, Columns, MAX_NAMED_REJECTS, Rows};
use crate::temporal::Temporal;
use crate::view::ColumnKind;
use bounded::Bounded;

/// The longest record, in bytes.
pub const MAX_CSV_RECORD_BYTES: u64 = 4 * 1024 * 1024;

/// How a file is read.
#[derive(Debug, Clone, Copy)]
pub struct CsvOptions {
    /// What stands between values.
    pub delimiter: u8,
    /// How many records may be refused before the run is.
    pub max_errors: u64,
}

impl Default for CsvOptions {
    fn default() -> CsvOptions {
        CsvOptions { delimiter: b',', max_errors: 0 }
    }
}

/// What a run did: counts, positions and codes, never content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CsvReport {
    /// Rows made.
    pub rows: u64,
    /// Refused records by code.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Line number and code of the first refused records.
    pub first_rejected: Vec<(u64, &'static str)>,
    /// Decimals that were rounded to the scale of their column.
    pub rounded_decimals: u64,
}

/// Reads one file.
pub struct CsvReader<'k, R> {
    reader: Reader<Bounded<R>>,
    wanted: Vec<Wanted>,
    policy: KeyPolicy<'k>,
    max_errors: u64,
    schema: SchemaRef,
    columns: Columns,
    record: ByteRecord,
    report: CsvReport,
}

/// A column of the schema and its place in the file.
struct Wanted {
    column: CsvColumn,
    place: usize,
}

impl<'k, R: Read> CsvReader<'k, R> {
    /// Reads the header and finds the columns of the schema in it.
    ///
    /// # Errors
    /// The header is unreadable, names a column twice, or lacks one.
    pub fn new(
        reader: R,
        schema: &CsvSchema,
        options: CsvOptions,
        policy: KeyPolicy<'k>,
    ) -> Result<CsvReader<'k, R>, CsvError> {
        let (reader, header) = open(reader, options.delimiter)?;
        let find = |column: &CsvColumn| {
            let place = header.iter().position(|name| *name == column.header);
            let missing = || CsvProblem::MissingColumn.of(1, &column.header);
            place.ok_or_else(missing).map(|place| Wanted { column: column.clone(), place })
        };
        Ok(CsvReader {
            reader,
            wanted: schema.columns().iter().map(find).collect::<Result<_, _>>()?,
            policy,
            max_errors: options.max_errors,
            schema: schema.arrow(),
            columns: Columns::of(schema.columns().iter().map(CsvColumn::kind)),
            record: ByteRecord::new(),
            report: CsvReport::default(),
        })
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What happened so far.
    pub fn report(&self) -> &CsvReport {
        &self.report
    }

    /// The next rows: at least `max_bytes` of them unless the file ends before.
    ///
    /// # Errors
    /// The file cannot be read on, or one record too many does not fit. What was
    /// read before it is lost: an import that fails is to be started again.
    pub fn next_batch(&mut self, max_bytes: usize) -> Result<Option<RecordBatch>, CsvError> {
        while self.columns.bytes() < max_bytes && self.next_record()? {
            match self.row() {
                Ok(rounded) => {
                    self.report.rows += 1;
                    self.report.rounded_decimals += rounded;
                }
                Err(error) => self.reject(error)?,
            }
        }
        Ok(self.columns.finish(&self.schema))
    }

    fn next_record(&mut self) -> Result<bool, CsvError> {
        loop {
            let read = read_record(&mut self.reader, &mut self.record);
            match read {
                Ok(more) => return Ok(more),
                // The parser stands behind the record and can go on.
                Err(error) if error.problem.is_of_record() => self.reject(error)?,
                Err(error) => return Err(error),
            }
        }
    }

    fn row(&mut self) -> Result<u64, CsvError> {
        let line = self.record.position().map_or(0, |position| position.line());
        let mut rounded = 0;
        let mut rows = Rows { cells: Vec::with_capacity(self.wanted.len()), count: 1 };
        for Wanted { column, place } in &self.wanted {
            let refuse = |problem: CsvProblem| problem.of(line, &column.header);
            let value = self.record.get(*place).unwrap_or(&[]);
            let value = std::str::from_utf8(value).map_err(|_| refuse(CsvProblem::NotUtf8))?;
            let cell = cell(column, value, self.policy, &mut rounded).map_err(refuse)?;
            rows.cells.push(cell);
        }
        let appended = self.columns.append(&rows);
        appended.map_err(|_| CsvProblem::RecordTooLong.of(line, ""))?;
        Ok(rounded)
    }

    fn reject(&mut self, error: CsvError) -> Result<(), CsvError> {
        let code = error.code();
        *self.report.rejected.entry(code).or_default() += 1;
        if self.report.first_rejected.len() < MAX_NAMED_REJECTS {
            self.report.first_rejected.push((error.line, code));
        }
        match self.report.rejected.values().sum::<u64>() > self.max_errors {
            true => Err(error),
            false => Ok(()),
        }
    }
}

/// Opens a file and reads its header.
fn open<R: Read>(reader: R, delimiter: u8) -> Result<(Reader<Bounded<R>>, Vec<String>), CsvError> {
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .from_reader(Bounded::new(reader, delimiter));
    let mut record = ByteRecord::new();
    if !read_record(&mut reader, &mut record)? {
        return Err(CsvProblem::NoHeader.of(1, ""));
    }
    let mut header: Vec<String> = Vec::with_capacity(record.len());
    // A header as long as a record may be has some hundred thousand names.
    let mut seen = HashSet::with_capacity(record.len());
    for name in &record {
        let name = std::str::from_utf8(name).map_err(|_| CsvProblem::NotUtf8.of(1, ""))?;
        if !seen.insert(name) {
            return Err(CsvProblem::DuplicateHeader.of(1, name));
        }
        header.push(name.to_owned());
    }
    Ok((reader, header))
}

fn read_record<R: Read>(
    reader: &mut Reader<Bounded<R>>,
    record: &mut ByteRecord,
) -> Result<bool, CsvError> {
    reader.get_ref().refill();
    let before = record.position().map_or(1, |position| position.line());
    let line = reader.position().line();
    let read = reader.read_byte_record(record);
    if matches!(read, Ok(false)) && reader.get_ref().is_in_quotes() {
        // The parser gave the rest of the file as the record before.
        return Err(CsvProblem::OpenQuote.of(before, ""));
    }
    read.map_err(|error| {
        let is_too_long = reader.get_ref().is_exhausted();
        let problem = match error.into_kind() {
            ::csv::ErrorKind::Io(_) if is_too_long => CsvProblem::RecordTooLong,
            ::csv::ErrorKind::Io(error) => CsvProblem::Io(error),
            ::csv::ErrorKind::UnequalLengths { .. } => CsvProblem::UnequalLengths,
            _ => CsvProblem::NotUtf8,
        };
        problem.of(line, "")
    })
}

/// Reads one value.
fn cell<'v>(
    column: &CsvColumn,
    value: &'v str,
    policy: KeyPolicy<'_>,
    rounded: &mut u64,
) -> Result<Cell<'v>, CsvProblem> {
    if value.is_empty() {
        return match column.nullable {
            true => Ok(Cell::Null),
            false => Err(CsvProblem::Empty),
        };
    }
    let kind = match &column.column_type {
        CsvType::Key { resource } => {
            let key = policy.key(resource, value).ok_or(CsvProblem::NotAKey)?;
            return Ok(Cell::Text(Cow::Owned(key)));
        }
        CsvType::Value(kind) => *kind,
    };
    let trimmed = value.trim_matches(' ');
    let number = || Decimal::parse(trimmed).ok_or(CsvProblem::WrongType);
    match kind {
        ColumnKind::Text => Ok(Cell::Text(Cow::Borrowed(value))),
        ColumnKind::Boolean => match trimmed {
            "1" => Ok(Cell::Boolean(true)),
            "0" => Ok(Cell::Boolean(false)),
            _ if trimmed.eq_ignore_ascii_case("true") => Ok(Cell::Boolean(true)),
            _ if trimmed.eq_ignore_ascii_case("false") => Ok(Cell::Boolean(false)),
            _ => Err(CsvProblem::WrongType),
        },
        ColumnKind::Int32 => {
            let integer = number()?.to_integer().ok_or(CsvProblem::WrongType)?;
            i32::try_from(integer).map(Cell::Int32).map_err(|_| CsvProblem::OutOfRange)
        }
        ColumnKind::Int64 => {
            let integer = number()?.to_integer().ok_or(CsvProblem::WrongType)?;
            Ok(Cell::Int64(integer))
        }
        ColumnKind::Float64 => match trimmed.parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Cell::Float64(float)),
            _ => Err(CsvProblem::WrongType),
        },
        ColumnKind::Decimal { precision, scale } => {
            let scaled = number()?.with_scale(scale.into());
            let (mantissa, was_rounded) = scaled.ok_or(CsvProblem::OutOfRange)?;
            if mantissa.unsigned_abs() >= 10_u128.pow(u32::from(precision.min(38))) {
                return Err(CsvProblem::OutOfRange);
            }
            *rounded += u64::from(was_rounded);
            Ok(Cell::Decimal(mantissa))
        }
        ColumnKind::Date => {
            let date = Temporal::parse_date_time(trimmed).and_then(|date| date.days());
            date.map(Cell::Date).ok_or(CsvProblem::WrongType)
        }
        ColumnKind::Timestamp => {
            let instant = Temporal::parse_date_time(trimmed).and_then(|instant| instant.micros());
            instant.map(Cell::Timestamp).ok_or(CsvProblem::WrongType)
        }
        // `CsvSchema` has no binary columns.
        ColumnKind::Binary => Err(CsvProblem::WrongType),
    }
}

#[cfg(test)]
mod tests;
