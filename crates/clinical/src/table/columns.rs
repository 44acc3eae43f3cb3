//! The columns of a batch while it grows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder,
    Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::SchemaRef;

use super::cell::Cell;
use super::error::RowProblem;
use super::rows::Rows;
use super::{MAX_BATCH_BYTES, MAX_OUTPUT_PER_RECORD};
use crate::view::ColumnKind;

/// One builder per column, all of one length.
pub(crate) struct Columns {
    builders: Vec<Builder>,
    rows: usize,
    bytes: usize,
}

impl Columns {
    pub fn of(kinds: impl Iterator<Item = ColumnKind>) -> Columns {
        Columns { builders: kinds.map(Builder::new).collect(), rows: 0, bytes: 0 }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds all rows of one record, or none.
    pub fn append(&mut self, rows: &Rows<'_>) -> Result<(), RowProblem> {
        let bytes = rows.cells.iter().map(Cell::bytes).sum::<usize>();
        if bytes > MAX_OUTPUT_PER_RECORD {
            return Err(RowProblem::TooManyRows);
        }
        if self.bytes + bytes > MAX_BATCH_BYTES {
            return Err(RowProblem::BatchFull);
        }
        for row in rows.cells.chunks_exact(self.builders.len()) {
            for (builder, cell) in self.builders.iter_mut().zip(row) {
                builder.append(cell);
            }
        }
        self.rows += rows.count;
        self.bytes += bytes;
        Ok(())
    }

    /// Takes the rows out as a batch, if there are any.
    pub fn finish(&mut self, schema: &SchemaRef) -> Option<RecordBatch> {
        if self.rows == 0 {
            return None;
        }
        self.rows = 0;
        self.bytes = 0;
        let arrays: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        let batch = RecordBatch::try_new(schema.clone(), arrays);
        // INVARIANT: schema and builders come from the same columns, and `append`
        // adds one cell to each builder.
        Some(batch.expect("columns fit their schema"))
    }
}

enum Builder {
    Boolean(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl Builder {
    fn new(kind: ColumnKind) -> Builder {
        match kind {
            ColumnKind::Boolean => Builder::Boolean(BooleanBuilder::new()),
            ColumnKind::Int32 => Builder::Int32(Int32Builder::new()),
            ColumnKind::Int64 => Builder::Int64(Int64Builder::new()),
            ColumnKind::Float64 => Builder::Float64(Float64Builder::new()),
            ColumnKind::Decimal { .. } => {
                Builder::Decimal(Decimal128Builder::new().with_data_type(kind.data_type()))
            }
            ColumnKind::Text => Builder::Text(StringBuilder::new()),
            ColumnKind::Binary => Builder::Binary(BinaryBuilder::new()),
            ColumnKind::Date => Builder::Date(Date32Builder::new()),
            ColumnKind::Timestamp => Builder::Timestamp(
                TimestampMicrosecondBuilder::new().with_data_type(kind.data_type()),
            ),
        }
    }

    fn append(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Builder::Boolean(builder), Cell::Boolean(value)) => builder.append_value(*value),
            (Builder::Int32(builder), Cell::Int32(value)) => builder.append_value(*value),
            (Builder::Int64(builder), Cell::Int64(value)) => builder.append_value(*value),
            (Builder::Float64(builder), Cell::Float64(value)) => builder.append_value(*value),
            (Builder::Decimal(builder), Cell::Decimal(value)) => builder.append_value(*value),
            (Builder::Text(builder), Cell::Text(value)) => builder.append_value(value),
            (Builder::Binary(builder), Cell::Binary(value)) => builder.append_value(value),
            (Builder::Date(builder), Cell::Date(value)) => builder.append_value(*value),
            (Builder::Timestamp(builder), Cell::Timestamp(value)) => builder.append_value(*value),
            // INVARIANT: a cell is null or of its column's kind.
            (Builder::Boolean(builder), _) => builder.append_null(),
            (Builder::Int32(builder), _) => builder.append_null(),
            (Builder::Int64(builder), _) => builder.append_null(),
            (Builder::Float64(builder), _) => builder.append_null(),
            (Builder::Decimal(builder), _) => builder.append_null(),
            (Builder::Text(builder), _) => builder.append_null(),
            (Builder::Binary(builder), _) => builder.append_null(),
            (Builder::Date(builder), _) => builder.append_null(),
            (Builder::Timestamp(builder), _) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Boolean(builder) => Arc::new(builder.finish()),
            Builder::Int32(builder) => Arc::new(builder.finish()),
            Builder::Int64(builder) => Arc::new(builder.finish()),
            Builder::Float64(builder) => Arc::new(builder.finish()),
            Builder::Decimal(builder) => Arc::new(builder.finish()),
            Builder::Text(builder) => Arc::new(builder.finish()),
            Builder::Binary(builder) => Arc::new(builder.finish()),
            Builder::Date(builder) => Arc::new(builder.finish()),
            Builder::Timestamp(builder) => Arc::new(builder.finish()),
        }
    }
}
