//! What the unit tests of this crate share.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::keys::KeyPolicy;
use crate::table::{RunReport, ViewRunner};
use crate::view::CompiledView;

/// The rows of a batch, one text each, for example `p1|null|1.50`.
pub(crate) fn rows(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("null").with_display_error(false);
    let columns: Vec<ArrayRef> = batch.columns().iter().map(with_offset).collect();
    let columns = columns.iter().map(|column| ArrayFormatter::try_new(column, &options));
    let columns: Vec<ArrayFormatter<'_>> = columns.collect::<Result<_, _>>().expect("shown");
    let row = |row| {
        let cells = columns.iter().map(|column| column.value(row).to_string());
        cells.collect::<Vec<_>>().join("|")
    };
    (0..batch.num_rows()).map(row).collect()
}

/// Arrow prints instants by their offset; the name `UTC` would take its time zone database.
fn with_offset(column: &ArrayRef) -> ArrayRef {
    match column.as_any().downcast_ref::<TimestampMicrosecondArray>() {
        Some(instants) => Arc::new(instants.clone().with_timezone("+00:00")),
        None => column.clone(),
    }
}

/// Runs a view over lines, with plain keys: its rows and its report.
pub(crate) fn run(view: &str, lines: &[&str]) -> (Vec<String>, RunReport) {
    let view = CompiledView::parse(view.as_bytes()).expect(view);
    let mut runner = ViewRunner::new(&view, KeyPolicy::Plain);
    for line in lines {
        // What is refused shows in the report.
        let _ = runner.push_line(line.as_bytes());
    }
    let batch = runner.finish_batch();
    (batch.as_ref().map(rows).unwrap_or_default(), runner.report().clone())
}
