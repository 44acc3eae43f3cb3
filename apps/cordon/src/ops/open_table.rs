//! A table that is being sealed.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{Array as _, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use cordon_dataset::{DatasetSealer, SealedTable, TableWriter};
use cordon_protocol::dataset::TableSchema;

use super::refusals::{Place, Rejected, TableReport, Tolerance, Unusable};
use crate::files::SealedFolder;

/// The code of rows without a subject: nobody could tell whose they are.
const WITHOUT_SUBJECT: &str = "without_subject";

/// Batches go in, ciphertext comes out; what is refused is counted.
pub(super) struct OpenTable {
    writer: TableWriter,
    folder: SealedFolder,
    subject: usize,
    tolerance: Tolerance,
    report: TableReport,
    /// Since the last batch: which rows which line gave.
    lines: Vec<RowsOfLine>,
    /// Rows before the next batch.
    rows_before: u64,
}

struct RowsOfLine {
    /// Up to this row of the input, not including it.
    end: u64,
    file: Arc<Path>,
    line: u64,
}

impl OpenTable {
    pub(super) fn new(
        tolerance: Tolerance,
        sealer: &DatasetSealer,
        schema: TableSchema,
        folder: &Path,
    ) -> Result<Self> {
        let subject = schema.columns.iter().position(|c| c.name == schema.subject);
        let subject = subject.with_context(|| format!("no column `{}`", schema.subject))?;
        let report = TableReport::new(&schema.name);
        let folder = SealedFolder::new(folder);
        let writer = sealer.table(schema)?;
        Ok(Self { writer, folder, subject, tolerance, report, lines: Vec::new(), rows_before: 0 })
    }

    /// For what the holder should know beside what is refused.
    pub(super) fn report_mut(&mut self) -> &mut TableReport {
        &mut self.report
    }

    /// Takes note of a refused record, or stops at it.
    pub(super) fn reject(
        &mut self,
        file: &Path,
        line: u64,
        code: &'static str,
        error: anyhow::Error,
    ) -> Result<()> {
        if self.tolerance.strict {
            return Err(error.context(format!("`{}`", file.display())));
        }
        self.report.reject(file, line, code);
        Ok(())
    }

    /// Remembers which line gave the rows from `start` to before `end`.
    pub(super) fn came_from(&mut self, start: u64, end: u64, file: &Arc<Path>, line: u64) {
        if start < end {
            self.lines.push(RowsOfLine { end, file: file.clone(), line });
        }
    }

    /// Seals the rows that have a subject; the others are refused.
    pub(super) fn write_with_subjects(&mut self, rows: &RecordBatch) -> Result<()> {
        let subjects = rows.column(self.subject);
        if subjects.null_count() > 0 {
            for row in (0..subjects.len()).filter(|row| subjects.is_null(*row)) {
                self.reject_row(self.rows_before + row as u64)?;
            }
        }
        self.rows_before += rows.num_rows() as u64;
        self.lines.clear();
        let present: BooleanArray =
            (0..rows.num_rows()).map(|row| Some(subjects.is_valid(row))).collect();
        self.write(&filter_record_batch(rows, &present)?)
    }

    fn reject_row(&mut self, row: u64) -> Result<(), Unusable> {
        let line = self.lines.partition_point(|line| line.end <= row);
        let (file, line) = self.lines.get(line).map_or((Path::new(""), 0), |l| (&*l.file, l.line));
        if self.tolerance.strict {
            let place = Place { file: file.to_owned(), line };
            return Err(Unusable::Record(Rejected { place, code: WITHOUT_SUBJECT }));
        }
        self.report.reject(file, line, WITHOUT_SUBJECT);
        Ok(())
    }

    /// Seals rows, each with a subject.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.report.rows += rows.num_rows() as u64;
        let wanted = self.writer.arrow_schema().clone();
        let columns = rows
            .columns()
            .iter()
            .zip(wanted.fields())
            .map(|(column, field)| cast(column, field.data_type()));
        let rows = RecordBatch::try_new(wanted.clone(), columns.collect::<Result<_, _>>()?)?;
        Ok(self.writer.write(&rows, &mut self.folder)?)
    }

    /// Ends the table, if enough of its `records` could be sealed.
    pub(super) fn finish(mut self, records: u64) -> Result<(SealedTable, TableReport)> {
        self.report.records = records;
        let report = self.report.judge(self.tolerance)?;
        let written = self.writer.finish(report.all_rejected(), &mut self.folder)?;
        Ok((written.prove(&self.folder, &[])?, report))
    }
}
