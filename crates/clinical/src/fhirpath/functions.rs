//! The functions of FHIRPath: their names and arity, and those on text.

use std::borrow::Cow;

use super::compile::is_texty;
use super::error::{EvalError, PathProblem};
use super::eval::Env;
use super::expr::TextFunction;
use super::item::{Collection, Scalar, scalar};
use crate::decimal::Decimal;
use crate::fhir::Primitive;

/// A function that this version evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Where,
    Exists,
    Empty,
    All,
    Not,
    Select,
    Count,
    First,
    Last,
    Single,
    Tail,
    Skip,
    Take,
    OfType,
    Is,
    Extension,
    HasValue,
    Iif,
    Join,
    ResourceKey,
    ReferenceKey,
    Text(TextFunction),
}

/// Finds a function by its name and checks the number of its arguments.
pub(super) fn find(name: &str, arguments: usize) -> Result<Function, PathProblem> {
    let Some((_, function, least, most)) = FUNCTIONS.iter().find(|(known, ..)| *known == name)
    else {
        return Err(match LATER.contains(&name) {
            true => PathProblem::NotYetSupported { what: format!("function `{name}`") },
            false => PathProblem::UnknownFunction { name: name.to_owned() },
        });
    };
    if (*least..=*most).contains(&arguments) {
        return Ok(*function);
    }
    Err(PathProblem::WrongArity {
        name: name.to_owned(),
        expected: match (least, most) {
            (0, 0) => "0",
            (0, 1) => "0 or 1",
            (1, 1) => "1",
            (1, 2) => "1 or 2",
            _ => "2 or 3",
        },
        found: arguments,
    })
}

/// What a text function takes.
pub(super) fn input_of(function: TextFunction) -> (&'static str, fn(Primitive) -> bool) {
    match function {
        TextFunction::ToInteger | TextFunction::ToDecimal | TextFunction::ToText => {
            ("a primitive value", |_| true)
        }
        _ => ("text", is_texty),
    }
}

/// What the arguments of a text function are.
pub(super) fn argument_of(function: TextFunction) -> (&'static str, fn(Primitive) -> bool) {
    match function {
        TextFunction::Substring => ("an integer", |primitive| primitive == Primitive::Integer),
        _ => ("text", is_texty),
    }
}

/// The type of what a text function yields.
pub(super) fn result_of(function: TextFunction) -> &'static str {
    match function {
        TextFunction::Length | TextFunction::ToInteger => "integer",
        TextFunction::StartsWith | TextFunction::EndsWith | TextFunction::Contains => "boolean",
        TextFunction::ToDecimal => "decimal",
        TextFunction::Substring
        | TextFunction::Upper
        | TextFunction::Lower
        | TextFunction::ToText => "string",
    }
}

/// Applies a text function to the one item of `input`.
pub(super) fn text_function<'a>(
    function: TextFunction,
    input: &Collection<'a>,
    arguments: &[Collection<'a>],
    env: &Env<'a>,
) -> Result<Collection<'a>, EvalError> {
    let Some(item) = input.single()? else {
        return Ok(Collection::Empty);
    };
    let Some(value) = scalar(env, item)? else {
        return Ok(Collection::Empty);
    };
    let result = match function {
        TextFunction::ToInteger => to_integer(&value).map(Scalar::Integer),
        TextFunction::ToDecimal => to_decimal(&value).map(Scalar::Decimal),
        TextFunction::ToText => Some(Scalar::Text(value.into_text())),
        TextFunction::Length => {
            let text = text_of(value, env)?;
            Some(Scalar::Integer(text.chars().count() as i64))
        }
        TextFunction::Upper => Some(Scalar::Text(Cow::Owned(text_of(value, env)?.to_uppercase()))),
        TextFunction::Lower => Some(Scalar::Text(Cow::Owned(text_of(value, env)?.to_lowercase()))),
        TextFunction::Substring => {
            let text = text_of(value, env)?;
            let start = integer_argument(arguments.first(), env)?;
            let length = integer_argument(arguments.get(1), env)?;
            substring(text, start, length)
        }
        TextFunction::StartsWith => {
            compare_text(value, arguments, env, |text, part| text.starts_with(part))?
        }
        TextFunction::EndsWith => {
            compare_text(value, arguments, env, |text, part| text.ends_with(part))?
        }
        TextFunction::Contains => {
            compare_text(value, arguments, env, |text, part| text.contains(part))?
        }
    };
    Ok(result.map_or(Collection::Empty, Collection::value))
}

/// The text of a value that has one, paid for by its length.
fn text_of<'a>(value: Scalar<'a>, env: &Env<'a>) -> Result<Cow<'a, str>, EvalError> {
    let (Scalar::Text(_) | Scalar::Temporal(..)) = value else {
        return Err(EvalError::WrongType);
    };
    let text = value.into_text();
    env.charge(text.len())?;
    Ok(text)
}

fn compare_text<'a>(
    value: Scalar<'a>,
    arguments: &[Collection<'a>],
    env: &Env<'a>,
    holds: impl Fn(&str, &str) -> bool,
) -> Result<Option<Scalar<'a>>, EvalError> {
    let text = text_of(value, env)?;
    let part = text_argument(arguments.first(), env)?;
    Ok(part.map(|part| Scalar::Boolean(holds(&text, &part))))
}

fn to_integer(value: &Scalar<'_>) -> Option<i64> {
    match value {
        Scalar::Boolean(value) => Some(i64::from(*value)),
        Scalar::Integer(value) => Some(*value),
        Scalar::Text(text) => {
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| all_digits)
        }
        Scalar::Decimal(_) | Scalar::Temporal(..) => None,
    }
}

fn to_decimal(value: &Scalar<'_>) -> Option<Decimal> {
    match value {
        Scalar::Boolean(value) => Some(Decimal::from(i64::from(*value))),
        Scalar::Text(text) => {
            // Numbers of JSON may have an exponent, and no `+`; here it is the other way.
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let value = Decimal::parse(text.strip_prefix('+').unwrap_or(text));
            value.filter(|_| is_plain)
        }
        Scalar::Integer(_) | Scalar::Decimal(_) | Scalar::Temporal(..) => value.number(),
    }
}

/// Characters from `start` on, at most `length` where that is given; empty if
/// `start` is outside.
fn substring<'a>(
    text: Cow<'a, str>,
    start: Option<i64>,
    length: Option<i64>,
) -> Option<Scalar<'a>> {
    let start = usize::try_from(start?).ok()?;
    let length = length.map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(0));
    let place = |count: usize, text: &str| text.char_indices().nth(count).map(|(at, _)| at);
    let from = place(start, &text)?;
    let to = place(length, text.get(from..)?).map_or(text.len(), |at| from + at);
    Some(Scalar::Text(match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(from..to)?),
        Cow::Owned(text) => Cow::Owned(text.get(from..to)?.to_owned()),
    }))
}

fn integer_argument<'a>(
    argument: Option<&Collection<'a>>,
    env: &Env<'a>,
) -> Result<Option<i64>, EvalError> {
    match argument_value(argument, env)? {
        None => Ok(None),
        Some(Scalar::Integer(value)) => Ok(Some(value)),
        Some(_) => Err(EvalError::WrongType),
    }
}

fn text_argument<'a>(
    argument: Option<&Collection<'a>>,
    env: &Env<'a>,
) -> Result<Option<Cow<'a, str>>, EvalError> {
    Ok(argument_value(argument, env)?.map(Scalar::into_text))
}

fn argument_value<'a>(
    argument: Option<&Collection<'a>>,
    env: &Env<'a>,
) -> Result<Option<Scalar<'a>>, EvalError> {
    match argument.map(Collection::single).transpose()?.flatten() {
        Some(item) => scalar(env, item),
        None => Ok(None),
    }
}

/// Name, function, fewest and most arguments.
const FUNCTIONS: &[(&str, Function, usize, usize)] = &[
    ("where", Function::Where, 1, 1),
    ("exists", Function::Exists, 0, 1),
    ("empty", Function::Empty, 0, 0),
    ("all", Function::All, 1, 1),
    ("not", Function::Not, 0, 0),
    ("select", Function::Select, 1, 1),
    ("count", Function::Count, 0, 0),
    ("first", Function::First, 0, 0),
    ("last", Function::Last, 0, 0),
    ("single", Function::Single, 0, 0),
    ("tail", Function::Tail, 0, 0),
    ("skip", Function::Skip, 1, 1),
    ("take", Function::Take, 1, 1),
    ("ofType", Function::OfType, 1, 1),
    ("as", Function::OfType, 1, 1),
    ("is", Function::Is, 1, 1),
    ("extension", Function::Extension, 1, 1),
    ("hasValue", Function::HasValue, 0, 0),
    ("iif", Function::Iif, 2, 3),
    ("join", Function::Join, 0, 1),
    ("getResourceKey", Function::ResourceKey, 0, 0),
    ("getReferenceKey", Function::ReferenceKey, 0, 1),
    ("length", Function::Text(TextFunction::Length), 0, 0),
    ("substring", Function::Text(TextFunction::Substring), 1, 2),
    ("startsWith", Function::Text(TextFunction::StartsWith), 1, 1),
    ("endsWith", Function::Text(TextFunction::EndsWith), 1, 1),
    ("contains", Function::Text(TextFunction::Contains), 1, 1),
    ("upper", Function::Text(TextFunction::Upper), 0, 0),
    ("lower", Function::Text(TextFunction::Lower), 0, 0),
    ("toInteger", Function::Text(TextFunction::ToInteger), 0, 0),
    ("toDecimal", Function::Text(TextFunction::ToDecimal), 0, 0),
    ("toString", Function::Text(TextFunction::ToText), 0, 0),
];

/// Functions of FHIRPath and SQL on FHIR that this version does not evaluate.
const LATER: &[&str] = &[
    "abs",
    "aggregate",
    "allFalse",
    "allTrue",
    "anyFalse",
    "anyTrue",
    "ceiling",
    "checkModifiers",
    "children",
    "combine",
    "comparable",
    "conformsTo",
    "convertsToBoolean",
    "convertsToDate",
    "convertsToDateTime",
    "convertsToDecimal",
    "convertsToInteger",
    "convertsToQuantity",
    "convertsToString",
    "convertsToTime",
    "decode",
    "defineVariable",
    "descendants",
    "distinct",
    "elementDefinition",
    "encode",
    "escape",
    "exclude",
    "exp",
    "floor",
    "getValue",
    "highBoundary",
    "htmlChecks",
    "indexOf",
    "intersect",
    "isDistinct",
    "lastIndexOf",
    "ln",
    "log",
    "lowBoundary",
    "matches",
    "matchesFull",
    "memberOf",
    "now",
    "power",
    "precision",
    "repeat",
    "replace",
    "replaceMatches",
    "resolve",
    "round",
    "slice",
    "sort",
    "split",
    "sqrt",
    "subsetOf",
    "subsumedBy",
    "subsumes",
    "sum",
    "min",
    "max",
    "avg",
    "supersetOf",
    "timeOfDay",
    "toBoolean",
    "toChars",
    "toDate",
    "toDateTime",
    "toQuantity",
    "toTime",
    "today",
    "trace",
    "trim",
    "truncate",
    "type",
    "unescape",
    "union",
];
