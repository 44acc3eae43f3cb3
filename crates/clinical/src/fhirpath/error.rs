//! Why a path is refused, when compiled or when evaluated.

use super::{MAX_PATH_BYTES, MAX_PATH_DEPTH, MAX_WORK_PER_RECORD};

/// Why a path was refused before any record was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} (byte {at} of the path)")]
pub struct PathError {
    /// Bytes of the path before the place.
    pub at: usize,
    /// What is wrong there.
    pub problem: PathProblem,
}

/// What is wrong with a path. Names come from the view, never from a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathProblem {
    /// The path is longer than [`MAX_PATH_BYTES`].
    #[error("path is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// The path is nested deeper than [`MAX_PATH_DEPTH`].
    #[error("path is nested deeper than {MAX_PATH_DEPTH}")]
    TooDeep,
    /// The path breaks the grammar.
    #[error("expected {expected}")]
    Syntax {
        /// What the grammar allows there.
        expected: &'static str,
    },
    /// There is no such function.
    #[error("unknown function `{name}`")]
    UnknownFunction {
        /// Its name in the path.
        name: String,
    },
    /// A function has the wrong number of arguments.
    #[error("`{name}` takes {expected} arguments, not {found}")]
    WrongArity {
        /// The function.
        name: String,
        /// How many it takes.
        expected: &'static str,
        /// How many the path gives.
        found: usize,
    },
    /// There is no such constant or variable.
    #[error("unknown constant `%{name}`")]
    UnknownConstant {
        /// Its name in the path.
        name: String,
    },
    /// There is no such type.
    #[error("unknown type `{name}`")]
    UnknownType {
        /// Its name in the path.
        name: String,
    },
    /// A condition can never be a boolean.
    #[error("expected a boolean, found {found}")]
    NotBoolean {
        /// The type found.
        found: String,
    },
    /// An operand can never be of the type that an operator or function needs.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What is needed.
        expected: &'static str,
        /// The type found.
        found: String,
    },
    /// A valid part of FHIRPath that this version does not evaluate.
    #[error("{what} is not yet supported")]
    NotYetSupported {
        /// The operator, function or literal.
        what: String,
    },
}

impl PathProblem {
    /// The stable code of this refusal.
    pub fn code(&self) -> &'static str {
        match self {
            PathProblem::TooLong => "path_too_long",
            PathProblem::TooDeep => "path_too_deep",
            PathProblem::Syntax { .. } => "path_syntax",
            PathProblem::UnknownFunction { .. } => "unknown_function",
            PathProblem::WrongArity { .. } => "wrong_arity",
            PathProblem::UnknownConstant { .. } => "unknown_constant",
            PathProblem::UnknownType { .. } => "unknown_type",
            PathProblem::NotBoolean { .. } => "not_boolean",
            PathProblem::WrongType { .. } => "wrong_type",
            PathProblem::NotYetSupported { .. } => "not_yet_supported",
        }
    }

    pub(crate) fn at(self, at: usize) -> PathError {
        PathError { at, problem: self }
    }
}

/// Why a path failed on a record. Holds no part of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// An operator or function that needs one item met several.
    #[error("expected one item, found several")]
    NotSingleton,
    /// A condition was not a boolean.
    #[error("expected a boolean")]
    NotBoolean,
    /// An operand had a type that the operator or function does not take.
    #[error("operand of a type that does not fit")]
    WrongType,
    /// A number has more digits than exact arithmetic holds.
    #[error("number of more than 38 digits")]
    NumberTooLong,
    /// The record costs more than [`MAX_WORK_PER_RECORD`].
    #[error("record costs more than {MAX_WORK_PER_RECORD} steps")]
    TooMuchWork,
}

impl EvalError {
    /// The stable code of this failure.
    pub fn code(&self) -> &'static str {
        match self {
            EvalError::NotSingleton => "not_a_single_item",
            EvalError::NotBoolean => "not_boolean",
            EvalError::WrongType => "wrong_type",
            EvalError::NumberTooLong => "number_too_long",
            EvalError::TooMuchWork => "too_much_work",
        }
    }
}
