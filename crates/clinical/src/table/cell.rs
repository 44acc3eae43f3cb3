//! One value of a table, on its way from a path to a column.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::RowProblem;
use crate::decimal::Decimal;
use crate::fhir::{Primitive, schema};
use crate::fhirpath::{Element, Env, EvalError, Item, Scalar, scalar};
use crate::json::Kind;
use crate::temporal::Temporal;
use crate::view::{Column, ColumnKind};

/// A value as its column stores it.
#[derive(Debug, Clone)]
pub(crate) enum Cell<'a> {
    Null,
    Boolean(bool),
    Int32(i32),
    Int64(i64),
    Float64(f64),
    Decimal(i128),
    Text(Cow<'a, str>),
    Binary(Vec<u8>),
    Date(i32),
    Timestamp(i64),
}

impl Cell<'_> {
    /// The bytes that the value takes in a batch.
    pub fn bytes(&self) -> usize {
        match self {
            Cell::Text(text) => 4 + text.len(),
            Cell::Binary(bytes) => 4 + bytes.len(),
            Cell::Null | Cell::Boolean(_) | Cell::Int32(_) | Cell::Date(_) => 4,
            Cell::Int64(_) | Cell::Float64(_) | Cell::Timestamp(_) => 8,
            Cell::Decimal(_) => 16,
        }
    }
}

/// What the conversion of one record lost, for the report.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pub incomplete_dates: u64,
    pub rounded_decimals: u64,
}

/// Makes the cell of a column from what its path yielded.
pub(super) fn cell<'a>(
    column: &Column,
    yielded: &[Item<'a>],
    env: &Env<'a>,
    losses: &mut Losses,
) -> Result<Cell<'a>, RowProblem> {
    let pointer = || column.pointer.clone();
    let item = match yielded {
        [] => return Ok(Cell::Null),
        [item] => item,
        _ => return Err(RowProblem::SeveralValues { pointer: pointer() }),
    };
    let failed = |failure| match failure {
        Failure::NotPrimitive => RowProblem::NotPrimitive { pointer: pointer() },
        Failure::TypeMismatch => RowProblem::TypeMismatch { pointer: pointer() },
        Failure::OutOfRange => RowProblem::OutOfRange { pointer: pointer() },
        Failure::Path(error) => RowProblem::Path { pointer: pointer(), error },
    };
    match column.kind {
        ColumnKind::Text => text(column, item, env),
        _ => value(column, item, env, losses),
    }
    .map_err(failed)
}

enum Failure {
    NotPrimitive,
    TypeMismatch,
    OutOfRange,
    Path(EvalError),
}

/// Text keeps what the record says, letter by letter.
fn text<'a>(column: &Column, item: &Item<'a>, env: &Env<'a>) -> Result<Cell<'a>, Failure> {
    let (found, text) = match item {
        Item::Node(Element { value: None, .. }) => return Ok(Cell::Null),
        Item::Node(Element { value: Some(id), .. }) => match env.document.kind(*id) {
            Kind::String => (Primitive::Text, env.document.string(*id).unwrap_or_default()),
            Kind::Number if env.document.has_fraction(*id) => {
                (Primitive::Decimal, Cow::Borrowed(env.document.lexeme(*id)))
            }
            Kind::Number => (Primitive::Integer, Cow::Borrowed(env.document.lexeme(*id))),
            Kind::True => (Primitive::Boolean, Cow::Borrowed("true")),
            Kind::False => (Primitive::Boolean, Cow::Borrowed("false")),
            Kind::Null | Kind::Array | Kind::Object | Kind::Key => {
                return Err(Failure::NotPrimitive);
            }
        },
        Item::Value(value) => {
            let found = match value {
                Scalar::Boolean(_) => Primitive::Boolean,
                Scalar::Integer(_) => Primitive::Integer,
                Scalar::Decimal(_) => Primitive::Decimal,
                Scalar::Text(_) | Scalar::Temporal(..) => Primitive::Text,
            };
            (found, value.clone().into_text())
        }
    };
    let declared = column.fhir_type.and_then(|name| schema().find(name));
    let declared = declared.and_then(|id| schema().primitive(id));
    let fits = match declared {
        None => true,
        Some(Primitive::Boolean) => found == Primitive::Boolean,
        Some(Primitive::Integer) => found == Primitive::Integer,
        Some(Primitive::Decimal) => matches!(found, Primitive::Integer | Primitive::Decimal),
        Some(Primitive::Text | Primitive::Binary | Primitive::DateTime | Primitive::Time) => {
            found == Primitive::Text
        }
    };
    match fits {
        true => Ok(Cell::Text(text)),
        false => Err(Failure::TypeMismatch),
    }
}

fn value<'a>(
    column: &Column,
    item: &Item<'a>,
    env: &Env<'a>,
    losses: &mut Losses,
) -> Result<Cell<'a>, Failure> {
    let value = match (scalar(env, item).map_err(Failure::Path)?, item) {
        (Some(value), _) => value,
        (None, Item::Node(Element { value: None, .. })) => return Ok(Cell::Null),
        (None, _) => return Err(Failure::NotPrimitive),
    };
    match column.kind {
        ColumnKind::Boolean => match value {
            Scalar::Boolean(value) => Ok(Cell::Boolean(value)),
            _ => Err(Failure::TypeMismatch),
        },
        ColumnKind::Int32 => match i32::try_from(whole(&value)?) {
            Ok(value) => Ok(Cell::Int32(value)),
            Err(_) => Err(Failure::OutOfRange),
        },
        ColumnKind::Int64 => whole(&value).map(Cell::Int64),
        ColumnKind::Float64 => {
            let number = value.number().ok_or(Failure::TypeMismatch)?;
            // The shortest way from an exact decimal to the nearest double is its text.
            let float = number.to_string().parse().map_err(|_| Failure::OutOfRange)?;
            Ok(Cell::Float64(float))
        }
        ColumnKind::Decimal { precision, scale } => {
            let number = value.number().ok_or(Failure::TypeMismatch)?;
            let (mantissa, rounded) = number.with_scale(scale.into()).ok_or(Failure::OutOfRange)?;
            let limit = 10_u128.checked_pow(precision.into()).unwrap_or(u128::MAX);
            if mantissa.unsigned_abs() >= limit {
                return Err(Failure::OutOfRange);
            }
            losses.rounded_decimals += u64::from(rounded);
            Ok(Cell::Decimal(mantissa))
        }
        ColumnKind::Date => {
            let days = temporal(&value)?.days();
            losses.incomplete_dates += u64::from(days.is_none());
            Ok(days.map_or(Cell::Null, Cell::Date))
        }
        ColumnKind::Timestamp => {
            let micros = temporal(&value)?.micros();
            losses.incomplete_dates += u64::from(micros.is_none());
            Ok(micros.map_or(Cell::Null, Cell::Timestamp))
        }
        ColumnKind::Binary => match value {
            Scalar::Text(text) => {
                // FHIR allows white space between the characters.
                let text: String = text.split_ascii_whitespace().collect();
                let bytes = STANDARD.decode(text).map_err(|_| Failure::TypeMismatch)?;
                Ok(Cell::Binary(bytes))
            }
            _ => Err(Failure::TypeMismatch),
        },
        ColumnKind::Text => text(column, item, env),
    }
}

fn whole(value: &Scalar<'_>) -> Result<i64, Failure> {
    match value {
        Scalar::Integer(value) => Ok(*value),
        Scalar::Decimal(value) => value.to_integer().ok_or(Failure::TypeMismatch),
        // R5 writes integer64 as a string.
        Scalar::Text(text) => {
            let number = Decimal::parse(text).and_then(Decimal::to_integer);
            number.ok_or(Failure::TypeMismatch)
        }
        Scalar::Boolean(_) | Scalar::Temporal(..) => Err(Failure::TypeMismatch),
    }
}

fn temporal(value: &Scalar<'_>) -> Result<Temporal, Failure> {
    match value {
        Scalar::Temporal(temporal, _) => Ok(*temporal),
        // Paths of unknown type yield dates as text.
        Scalar::Text(text) => Temporal::parse_date_time(text).ok_or(Failure::TypeMismatch),
        Scalar::Boolean(_) | Scalar::Integer(_) | Scalar::Decimal(_) => Err(Failure::TypeMismatch),
    }
}
