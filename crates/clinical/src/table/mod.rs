//! Views over NDJSON: lines in, Arrow batches out, in bounded memory.
//!
//! ```
//! use cordon_clinical::keys::KeyPolicy;
//! use cordon_clinical::table::ViewRunner;
//! use cordon_clinical::view::CompiledView;
//!
//! let view = CompiledView::parse(br#"{"resource": "Patient", "select": [
//!     {"column": [{"name": "subject", "path": "getResourceKey()"}]},
//!     {"forEach": "name", "column": [{"name": "family", "path": "family"}]}
//! ]}"#)?;
//! let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
//! let input = br#"{"resourceType":"Patient","id":"p1","name":[{"family":"A"},{"family":"B"}]}"#;
//! for line in input.split(|byte| *byte == b'\n') {
//!     // A line that is refused gives no rows; the caller decides how many to bear.
//!     runner.push_line(line)?;
//!     if let Some(_batch) = runner.take_batch(8 << 20) { /* write it */ }
//! }
//! let batch = runner.finish_batch().expect("rows");
//! assert_eq!(batch.num_rows(), 2);
//! assert_eq!(runner.report().resources, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cell;
mod columns;
mod error;
mod lines;
mod rows;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub use error::{RowError, RowProblem};
pub use lines::Lines;

use crate::fhirpath::Env;
use crate::json::{Arena, Document, JsonError, Kind, MAX_RECORD_BYTES};
use crate::keys::{KeyPolicy, Keys};
use crate::view::CompiledView;
use cell::Losses;

pub(crate) use cell::Cell;
pub(crate) use columns::Columns;
pub(crate) use rows::Rows;

/// The most cells (rows times columns) of one record: 32 MiB of memory.
pub const MAX_CELLS_PER_RECORD: usize = 1 << 20;

/// The most bytes that one record may add to a batch.
pub const MAX_OUTPUT_PER_RECORD: usize = 64 * 1024 * 1024;

/// The most bytes of a batch: Arrow's 32-bit offsets end at 2 GiB.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024 * 1024;

/// How many refused lines a report names.
pub const MAX_NAMED_REJECTS: usize = 100;

/// Runs one view over the lines of a file.
pub struct ViewRunner<'r> {
    view: &'r CompiledView,
    keys: Keys<'r>,
    schema: SchemaRef,
    arena: Arena,
    columns: Columns,
    report: RunReport,
}

impl<'r> ViewRunner<'r> {
    /// Makes a runner; `policy` says what the keys in its rows look like.
    pub fn new(view: &'r CompiledView, policy: KeyPolicy<'r>) -> ViewRunner<'r> {
        ViewRunner {
            view,
            keys: Keys { policy, bases: Vec::new() },
            schema: view.schema(),
            arena: Arena::new(),
            columns: Columns::of(view.columns().iter().map(|column| column.kind)),
            report: RunReport::default(),
        }
    }

    /// Declares servers whose absolute references count as relative ones.
    pub fn with_bases(mut self, bases: Vec<String>) -> ViewRunner<'r> {
        self.keys.bases = bases;
        self
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What happened so far.
    pub fn report(&self) -> &RunReport {
        &self.report
    }

    /// Takes one line, with or without its end. A byte order mark before the first
    /// line and blank lines are tolerated.
    ///
    /// A resource of another type is recognised by its first member where possible
    /// and then not parsed further: only that it is UTF-8 and ends in `}` is checked.
    ///
    /// # Errors
    /// The line is not a resource or the view fails on it. It has then given no
    /// row at all and is counted in the report; further lines may follow.
    pub fn push_line(&mut self, line: &[u8]) -> Result<(), RowError> {
        self.report.lines += 1;
        // Before blanks are trimmed: behind 16 MiB of them something else may follow,
        // of which `Lines` gives nothing.
        if without_end(line).len() > MAX_RECORD_BYTES {
            return Err(self.reject(RowProblem::Json(JsonError::TooLong)));
        }
        let line = match self.report.lines {
            1 => line.strip_prefix(lines::BYTE_ORDER_MARK).unwrap_or(line),
            _ => line,
        };
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        if lines::is_of_other_type(line, self.view.resource().as_bytes()) {
            self.report.other_types += 1;
            return Ok(());
        }
        // Taken out, so that the document can borrow it beside `self`.
        let mut arena = std::mem::take(&mut self.arena);
        let result = match arena.parse(line) {
            Ok(document) => self.take_resource(document),
            Err(error) => Err(RowProblem::Json(error)),
        };
        self.arena = arena;
        result.map_err(|problem| self.reject(problem))
    }

    /// Takes a line that was parsed already, so that several views can share the
    /// work.
    ///
    /// # Errors
    /// As [`ViewRunner::push_line`].
    pub fn push_document(&mut self, document: Document<'_>) -> Result<(), RowError> {
        self.report.lines += 1;
        let result = self.take_resource(document);
        result.map_err(|problem| self.reject(problem))
    }

    /// Counts a line that the caller could not even hand over.
    pub fn push_unreadable(&mut self, error: JsonError) -> RowError {
        self.report.lines += 1;
        self.reject(RowProblem::Json(error))
    }

    /// The bytes of the rows that no batch has taken yet, roughly.
    pub fn buffered_bytes(&self) -> usize {
        self.columns.bytes()
    }

    /// The rows so far, if they are at least `max_bytes`.
    pub fn take_batch(&mut self, max_bytes: usize) -> Option<RecordBatch> {
        match self.columns.bytes() >= max_bytes {
            true => self.finish_batch(),
            false => None,
        }
    }

    /// The rows so far, if there are any.
    pub fn finish_batch(&mut self) -> Option<RecordBatch> {
        self.columns.finish(&self.schema)
    }

    fn take_resource(&mut self, document: Document<'_>) -> Result<(), RowProblem> {
        let root = document.root();
        let env = Env::new(document, &self.keys);
        let resource = match document.kind(root) {
            Kind::Object => env.resource_type(root),
            _ => None,
        };
        if resource.ok_or(RowProblem::NotAResource)? != self.view.resource() {
            self.report.other_types += 1;
            return Ok(());
        }
        let mut losses = Losses::default();
        let Some(rows) = rows::of_resource(self.view, &env, &mut losses)? else {
            self.report.filtered += 1;
            self.report.resources += 1;
            return Ok(());
        };
        self.columns.append(&rows)?;
        self.report.resources += 1;
        self.report.rows += rows.count as u64;
        self.report.incomplete_dates += losses.incomplete_dates;
        self.report.rounded_decimals += losses.rounded_decimals;
        Ok(())
    }

    fn reject(&mut self, problem: RowProblem) -> RowError {
        let line = self.report.lines;
        let code = problem.code();
        *self.report.rejected.entry(code).or_default() += 1;
        if self.report.first_rejected.len() < MAX_NAMED_REJECTS {
            self.report.first_rejected.push((line, code));
        }
        RowError { line, problem }
    }
}

/// A line without the `\n` or `\r\n` that ends it.
fn without_end(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

/// What a run did: counts, positions and codes, never content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Lines taken, blank ones included.
    pub lines: u64,
    /// Resources of the view's type.
    pub resources: u64,
    /// Of these, how many a `where` of the view excluded.
    pub filtered: u64,
    /// Resources of other types.
    pub other_types: u64,
    /// Rows made.
    pub rows: u64,
    /// Refused lines by code.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Line number, from 1, and code of the first refused lines.
    pub first_rejected: Vec<(u64, &'static str)>,
    /// Dates that became null because they do not reach the day (or the second).
    pub incomplete_dates: u64,
    /// Decimals that were rounded to the scale of their column.
    pub rounded_decimals: u64,
}

impl RunReport {
    /// How many lines were refused.
    pub fn rejected_lines(&self) -> u64 {
        self.rejected.values().sum()
    }
}

#[cfg(test)]
mod tests;
