//! Why a line gives no rows.

use super::{MAX_BATCH_BYTES, MAX_CELLS_PER_RECORD, MAX_OUTPUT_PER_RECORD};
use crate::fhirpath::EvalError;
use crate::json::JsonError;

/// Why a line was refused: its number and a reason without content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct RowError {
    /// The number of the line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: RowProblem,
}

impl RowError {
    /// The stable code of this refusal.
    pub fn code(&self) -> &'static str {
        self.problem.code()
    }
}

/// What is wrong with a line. Pointers lead into the view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowProblem {
    /// The line is not JSON, or over a limit.
    #[error("{0}")]
    Json(JsonError),
    /// The line is no object with a `resourceType`.
    #[error("expected a resource")]
    NotAResource,
    /// A path failed.
    #[error("{error} at `{pointer}` of the view")]
    Path {
        /// Where the path stands in the view.
        pointer: String,
        /// How it failed.
        error: EvalError,
    },
    /// A column without `collection` would hold several values.
    #[error("several values for the column at `{pointer}` of the view")]
    SeveralValues {
        /// Where the column stands in the view.
        pointer: String,
    },
    /// A column would hold an object.
    #[error("expected a primitive for the column at `{pointer}` of the view")]
    NotPrimitive {
        /// Where the column stands in the view.
        pointer: String,
    },
    /// A value is not of the column's type.
    #[error("value of another type than the column at `{pointer}` of the view")]
    TypeMismatch {
        /// Where the column stands in the view.
        pointer: String,
    },
    /// A number is outside the range of its column.
    #[error("number out of range for the column at `{pointer}` of the view")]
    OutOfRange {
        /// Where the column stands in the view.
        pointer: String,
    },
    /// The record makes more than [`MAX_CELLS_PER_RECORD`] cells or
    /// [`MAX_OUTPUT_PER_RECORD`] bytes.
    #[error("record makes more than {MAX_CELLS_PER_RECORD} cells or {MAX_OUTPUT_PER_RECORD} bytes")]
    TooManyRows,
    /// The caller let the batch grow to [`MAX_BATCH_BYTES`].
    #[error("batch is full at {MAX_BATCH_BYTES} bytes")]
    BatchFull,
}

impl RowProblem {
    /// The stable code of this refusal.
    pub fn code(&self) -> &'static str {
        match self {
            RowProblem::Json(error) => error.code(),
            RowProblem::NotAResource => "not_a_resource",
            RowProblem::Path { error, .. } => error.code(),
            RowProblem::SeveralValues { .. } => "several_values",
            RowProblem::NotPrimitive { .. } => "not_primitive",
            RowProblem::TypeMismatch { .. } => "type_mismatch",
            RowProblem::OutOfRange { .. } => "out_of_range",
            RowProblem::TooManyRows => "too_many_rows",
            RowProblem::BatchFull => "batch_full",
        }
    }
}
