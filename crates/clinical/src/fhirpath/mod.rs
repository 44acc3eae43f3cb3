//! FHIRPath over one record, compiled once and evaluated without copying it.
//!
//! The subset is what SQL on FHIR views need (FHIRPath N1, and the functions
//! `getResourceKey` and `getReferenceKey`). What the language has beyond it is
//! known by name and refused as `not_yet_supported`; everything else is an error
//! when the path is compiled, not when a record meets it.
//!
//! Decisions that readers may look for:
//! - a value used as a condition must be boolean: one item is not "true";
//! - a date compared with a string is compared as a date if the string is one;
//! - an undecidable comparison (`2014 = 2014-01`) is empty, and so is arithmetic
//!   that overflows or divides by zero.

mod ast;
mod compile;
mod error;
mod eval;
mod expr;
mod functions;
mod item;
mod lexer;
mod operators;
mod parser;

pub(crate) use compile::{Constants, compile, compile_condition, describe};
pub use error::{EvalError, PathError, PathProblem};
pub(crate) use eval::{Env, Scope, collection, condition};
pub(crate) use expr::{CompiledPath, Expr, Literal, LiteralValue, PathWarning};
pub(crate) use item::{Element, Item, Scalar, scalar};

/// The longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 8 * 1024;

/// The deepest nesting of a path, in operators, arguments and parentheses.
pub const MAX_PATH_DEPTH: usize = 64;

/// How much one record may cost: members looked at plus bytes of text made.
pub const MAX_WORK_PER_RECORD: u64 = 50_000_000;

#[cfg(test)]
mod tests;
