//! Why a view is refused.

use super::{MAX_COLUMNS, MAX_SELECT_DEPTH, MAX_VIEW_BYTES};
use crate::fhirpath::PathError;
use crate::json::JsonError;

/// Why a view was refused. Holds names of the view, never data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at `{pointer}`")]
pub struct ViewError {
    /// The JSON pointer (RFC 6901) of the place in the view.
    pub pointer: String,
    /// What is wrong there.
    pub problem: ViewProblem,
}

impl ViewError {
    /// The stable code of this refusal.
    pub fn code(&self) -> &'static str {
        self.problem.code()
    }
}

/// What is wrong with a view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewProblem {
    /// The view is longer than [`MAX_VIEW_BYTES`].
    #[error("view is longer than {MAX_VIEW_BYTES} bytes")]
    TooLong,
    /// The view is not JSON.
    #[error("{0}")]
    NotJson(JsonError),
    /// A value has another JSON type than it must have.
    #[error("expected {expected}")]
    WrongJsonType {
        /// The JSON type that belongs there.
        expected: &'static str,
    },
    /// A required member is absent.
    #[error("missing `{name}`")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// A member that a ViewDefinition does not have.
    #[error("unknown member `{name}`")]
    UnknownMember {
        /// Its name.
        name: String,
    },
    /// The `resourceType` is not `ViewDefinition`.
    #[error("expected the resourceType `ViewDefinition`")]
    NotAViewDefinition,
    /// There is no such resource type.
    #[error("unknown resource type `{name}`")]
    UnknownResource {
        /// The name given.
        name: String,
    },
    /// A name does not match `^[A-Za-z][A-Za-z0-9_]*$` or is too long.
    #[error("illegal name `{name}`")]
    IllegalName {
        /// The name given.
        name: String,
    },
    /// Two columns have one name.
    #[error("duplicate column `{name}`")]
    DuplicateColumn {
        /// The name given.
        name: String,
    },
    /// The view has no column at all.
    #[error("view has no column")]
    NoColumns,
    /// The view has more than [`MAX_COLUMNS`] columns.
    #[error("view has more than {MAX_COLUMNS} columns")]
    TooManyColumns,
    /// Selections are nested deeper than [`MAX_SELECT_DEPTH`].
    #[error("selections are nested deeper than {MAX_SELECT_DEPTH}")]
    TooDeep,
    /// A selection has two of `forEach`, `forEachOrNull` and `repeat`.
    #[error("expected one of `forEach`, `forEachOrNull` and `repeat`, found two")]
    TwoIterations,
    /// A path is refused.
    #[error("{0}")]
    Path(PathError),
    /// A constant has no value, or several.
    #[error("expected exactly one `value[x]`, found {found}")]
    ConstantValue {
        /// How many there are.
        found: usize,
    },
    /// A constant's value is not one of its type.
    #[error("value is not a valid {type_name}")]
    ConstantType {
        /// The type that the member's name gives.
        type_name: &'static str,
    },
    /// Two constants have one name.
    #[error("duplicate constant `{name}`")]
    DuplicateConstant {
        /// The name given.
        name: String,
    },
    /// A constant takes the name of a variable of the language.
    #[error("reserved constant name `{name}`")]
    ReservedConstant {
        /// The name given.
        name: String,
    },
    /// A column's `type` is no FHIR type.
    #[error("unknown type `{name}`")]
    UnknownType {
        /// The type given.
        name: String,
    },
    /// A column would hold objects.
    #[error("expected a primitive, found {found}")]
    NotPrimitive {
        /// The type found or declared.
        found: String,
    },
    /// A column's path can never yield its declared type.
    #[error("path yields {found}, never {declared}")]
    TypeConflict {
        /// The declared type.
        declared: String,
        /// What the path yields.
        found: String,
    },
    /// An `ansi/type` tag names a type that tables do not have.
    #[error("unsupported sql type `{name}`")]
    UnsupportedSqlType {
        /// The type given.
        name: String,
    },
    /// A valid part of SQL on FHIR that this version does not run.
    #[error("{what} is not yet supported")]
    NotYetSupported {
        /// The member.
        what: &'static str,
    },
}

impl ViewProblem {
    /// The stable code of this refusal.
    pub fn code(&self) -> &'static str {
        match self {
            ViewProblem::TooLong => "view_too_long",
            ViewProblem::NotJson(error) => error.code(),
            ViewProblem::WrongJsonType { .. } => "wrong_json_type",
            ViewProblem::Missing { .. } => "missing_member",
            ViewProblem::UnknownMember { .. } => "unknown_member",
            ViewProblem::NotAViewDefinition => "not_a_view_definition",
            ViewProblem::UnknownResource { .. } => "unknown_resource",
            ViewProblem::IllegalName { .. } => "illegal_name",
            ViewProblem::DuplicateColumn { .. } => "duplicate_column",
            ViewProblem::NoColumns => "no_columns",
            ViewProblem::TooManyColumns => "too_many_columns",
            ViewProblem::TooDeep => "selections_too_deep",
            ViewProblem::TwoIterations => "two_iterations",
            ViewProblem::Path(error) => error.problem.code(),
            ViewProblem::ConstantValue { .. } => "constant_value",
            ViewProblem::ConstantType { .. } => "constant_type",
            ViewProblem::DuplicateConstant { .. } => "duplicate_constant",
            ViewProblem::ReservedConstant { .. } => "reserved_constant",
            ViewProblem::UnknownType { .. } => "unknown_type",
            ViewProblem::NotPrimitive { .. } => "not_primitive",
            ViewProblem::TypeConflict { .. } => "type_conflict",
            ViewProblem::UnsupportedSqlType { .. } => "unsupported_sql_type",
            ViewProblem::NotYetSupported { .. } => "not_yet_supported",
        }
    }

    pub(super) fn at(self, pointer: impl Into<String>) -> ViewError {
        ViewError { pointer: pointer.into(), problem: self }
    }
}

/// Something in a view that looks like a mistake but may be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewWarning {
    /// The JSON pointer of the path.
    pub pointer: String,
    /// A stable code: `unknown_element` or `choice_key`.
    pub code: &'static str,
    /// A sentence with names of the view.
    pub message: String,
}
