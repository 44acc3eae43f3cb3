//! ViewDefinitions of SQL on FHIR v2: parsed strictly, compiled to a plan.
//!
//! Everything that can be wrong with a view is found here, before a record is
//! read, and named by a code and a JSON pointer into the view. A plan runs in
//! [`crate::table`].
//!
//! ```
//! use cordon_clinical::view::CompiledView;
//!
//! let view = CompiledView::parse(br#"{
//!     "resource": "Patient",
//!     "select": [{"column": [
//!         {"name": "subject", "path": "getResourceKey()"},
//!         {"name": "sex", "path": "gender"}
//!     ]}]
//! }"#)?;
//! assert_eq!(view.resource(), "Patient");
//! assert_eq!(view.columns().len(), 2);
//!
//! let refused = CompiledView::parse(br#"{"resource": "Patient", "select": [{"column": [
//!     {"name": "sex", "path": "gendr("}
//! ]}]}"#).unwrap_err();
//! assert_eq!(refused.code(), "path_syntax");
//! assert_eq!(refused.pointer, "/select/0/column/0/path");
//! # Ok::<(), cordon_clinical::view::ViewError>(())
//! ```

mod compile;
mod constant;
mod error;
mod source;
mod types;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

pub(crate) use compile::is_column_name;
pub use error::{ViewError, ViewProblem, ViewWarning};
pub use types::ColumnKind;

use crate::fhir::{TypeId, schema};
use crate::fhirpath::Expr;

/// The longest ViewDefinition, in bytes.
pub const MAX_VIEW_BYTES: usize = 1024 * 1024;

/// The most columns of a view.
pub const MAX_COLUMNS: usize = 500;

/// The deepest nesting of selections.
pub const MAX_SELECT_DEPTH: usize = 16;

/// A view that is ready to run.
#[derive(Debug)]
pub struct CompiledView {
    pub(crate) name: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) resource: TypeId,
    pub(crate) filters: Vec<Filter>,
    pub(crate) root: Selection,
    pub(crate) columns: Vec<Column>,
    pub(crate) warnings: Vec<ViewWarning>,
}

impl CompiledView {
    /// Parses and compiles a ViewDefinition.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &[u8]) -> Result<CompiledView, ViewError> {
        compile::compile(text)
    }

    /// The view's `name`, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The view's canonical `url`, if it has one.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The resource type that gives rows.
    pub fn resource(&self) -> &'static str {
        schema().name(self.resource)
    }

    /// The columns in the order of the table.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The schema of the table; every column may be null.
    pub fn schema(&self) -> SchemaRef {
        let field = |column: &Column| Field::new(&column.name, column.kind.data_type(), true);
        let fields: Vec<Field> = self.columns.iter().map(field).collect();
        Arc::new(Schema::new(fields))
    }

    /// What looks like a mistake in the view but may be right.
    pub fn warnings(&self) -> &[ViewWarning] {
        &self.warnings
    }
}

/// One column of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// How its values are stored.
    pub kind: ColumnKind,
    /// Its FHIR type, declared or inferred, where there is exactly one.
    pub fhir_type: Option<&'static str>,
    /// Where the view declares it, as a JSON pointer.
    pub pointer: String,
}

/// An element of `where`.
#[derive(Debug)]
pub(crate) struct Filter {
    pub condition: Expr,
    pub pointer: String,
}

/// An element of `select`. Its own columns come first, then those of its
/// children in order, so its part of a row is one range of columns.
#[derive(Debug)]
pub(crate) struct Selection {
    pub iteration: Iteration,
    /// The place of the first column in the table.
    pub first_column: usize,
    /// The paths of its own columns.
    pub paths: Vec<Expr>,
    pub children: Vec<Selection>,
    /// How many columns it and its children fill.
    pub width: usize,
}

/// What a selection is evaluated on.
#[derive(Debug)]
pub(crate) enum Iteration {
    /// The element around it.
    Once,
    /// Every item of a path; none, no rows.
    ForEach { path: Expr, pointer: String },
}

#[cfg(test)]
mod tests;
