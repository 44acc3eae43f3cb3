//! Binary operators (FHIRPath N1 §6).

use std::borrow::Cow;
use std::cmp::Ordering;

use super::ast::Operator;
use super::error::EvalError;
use super::eval::{Env, truth};
use super::item::{Collection, Element, Item, Scalar, scalar};
use crate::decimal::Decimal;
use crate::json::{Document, Kind, Name, NodeId};
use crate::temporal::Temporal;

/// Applies an operator to both sides, each already evaluated.
pub(super) fn binary<'a>(
    operator: Operator,
    left: &Collection<'a>,
    right: &Collection<'a>,
    env: &Env<'a>,
) -> Result<Collection<'a>, EvalError> {
    use Operator::*;
    let boolean = |value: Option<bool>| value.map_or(Collection::Empty, Collection::boolean);
    Ok(match operator {
        Equal => boolean(equal(left, right, env)?),
        NotEqual => boolean(equal(left, right, env)?.map(|equal| !equal)),
        Less => boolean(order(left, right, env)?.map(Ordering::is_lt)),
        LessOrEqual => boolean(order(left, right, env)?.map(Ordering::is_le)),
        Greater => boolean(order(left, right, env)?.map(Ordering::is_gt)),
        GreaterOrEqual => boolean(order(left, right, env)?.map(Ordering::is_ge)),
        And | Or | Xor | Implies => boolean(logic(operator, truth(left, env)?, truth(right, env)?)),
        In => boolean(member(left, right, env)?),
        Contains => boolean(member(right, left, env)?),
        Join => concatenated(left, right, env)?,
        Plus | Minus | Times | Divide | IntegerDivide | Modulo => {
            arithmetic(operator, left, right, env)?
        }
    })
}

/// Three-valued logic.
fn logic(operator: Operator, left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (operator, left, right) {
        (Operator::And, Some(false), _) | (Operator::And, _, Some(false)) => Some(false),
        (Operator::And, left, right) => Some(left? && right?),
        (Operator::Or, Some(true), _) | (Operator::Or, _, Some(true)) => Some(true),
        (Operator::Or, left, right) => Some(left? || right?),
        (Operator::Implies, Some(false), _) | (Operator::Implies, _, Some(true)) => Some(true),
        (Operator::Implies, left, right) => Some(!left? || right?),
        (_, left, right) => Some(left? != right?),
    }
}

/// `=`: the same items in the same order; unknown where an item is.
fn equal<'a>(
    left: &Collection<'a>,
    right: &Collection<'a>,
    env: &Env<'a>,
) -> Result<Option<bool>, EvalError> {
    let (left, right) = (left.as_slice(), right.as_slice());
    if left.is_empty() || right.is_empty() {
        return Ok(None);
    }
    if left.len() != right.len() {
        return Ok(Some(false));
    }
    let mut result = Some(true);
    for (left, right) in left.iter().zip(right) {
        match equal_items(left, right, env)? {
            Some(false) => return Ok(Some(false)),
            Some(true) => {}
            None => result = None,
        }
    }
    Ok(result)
}

fn equal_items<'a>(
    left: &Item<'a>,
    right: &Item<'a>,
    env: &Env<'a>,
) -> Result<Option<bool>, EvalError> {
    env.charge(1)?;
    let (left_value, right_value) = (scalar(env, left)?, scalar(env, right)?);
    let (left_value, right_value) = match (left_value, right_value) {
        (Some(left), Some(right)) => (left, right),
        _ => {
            return Ok(match (left, right) {
                (
                    Item::Node(Element { value: Some(left), .. }),
                    Item::Node(Element { value: Some(right), .. }),
                ) => Some(equal_nodes(env, *left, *right)?),
                // An element that has only extensions has no value to compare.
                (Item::Node(Element { value: None, .. }), _)
                | (_, Item::Node(Element { value: None, .. })) => None,
                _ => Some(false),
            });
        }
    };
    Ok(match (&left_value, &right_value) {
        (Scalar::Boolean(left), Scalar::Boolean(right)) => Some(left == right),
        (Scalar::Text(left), Scalar::Text(right)) => Some(left == right),
        (left, right) => match (left.number(), right.number()) {
            (Some(left), Some(right)) => Some(left == right),
            _ => match temporals(left, right) {
                Some((left, right)) => left.compare(&right).map(Ordering::is_eq),
                None => Some(false),
            },
        },
    })
}

/// Whether two values of the record are the same, member by member.
fn equal_nodes(env: &Env<'_>, left: NodeId, right: NodeId) -> Result<bool, EvalError> {
    env.charge(1)?;
    let document: Document<'_> = env.document;
    match (document.kind(left), document.kind(right)) {
        (Kind::Object, Kind::Object) => {
            if document.members(left).count() != document.members(right).count() {
                return Ok(false);
            }
            for (name, value) in document.members(left) {
                env.charge(document.members(right).count())?;
                match document.member(right, &Name::new(&name)) {
                    Some(other) if equal_nodes(env, value, other)? => {}
                    Some(_) | None => return Ok(false),
                }
            }
            Ok(true)
        }
        (Kind::Array, Kind::Array) => {
            let (mut left, mut right) = (document.elements(left), document.elements(right));
            loop {
                match (left.next(), right.next()) {
                    (None, None) => return Ok(true),
                    (Some(left), Some(right)) if equal_nodes(env, left, right)? => {}
                    _ => return Ok(false),
                }
            }
        }
        (Kind::Number, Kind::Number) => {
            let number = |id| Decimal::parse(document.lexeme(id)).ok_or(EvalError::NumberTooLong);
            Ok(number(left)? == number(right)?)
        }
        (Kind::String, Kind::String) => Ok(document.string(left) == document.string(right)),
        (left, right) => Ok(left == right),
    }
}

fn order<'a>(
    left: &Collection<'a>,
    right: &Collection<'a>,
    env: &Env<'a>,
) -> Result<Option<Ordering>, EvalError> {
    let Some((left, right)) = operands(left, right, env)? else {
        return Ok(None);
    };
    match (&left, &right) {
        (Scalar::Text(left), Scalar::Text(right)) => Ok(Some(left.cmp(right))),
        (left, right) => match (left.number(), right.number()) {
            (Some(left), Some(right)) => Ok(Some(left.cmp(&right))),
            _ => match temporals(left, right) {
                Some((left, right)) => Ok(left.compare(&right)),
                None => Err(EvalError::WrongType),
            },
        },
    }
}

/// Both sides as dates or times, if one is and the other can be read as one.
fn temporals(left: &Scalar<'_>, right: &Scalar<'_>) -> Option<(Temporal, Temporal)> {
    let read = |text: &str| {
        let date = Temporal::parse_date_time(text);
        date.or_else(|| Temporal::parse_time(text))
    };
    match (left, right) {
        (Scalar::Temporal(left, _), Scalar::Temporal(right, _)) => Some((*left, *right)),
        (Scalar::Temporal(left, _), Scalar::Text(right)) => Some((*left, read(right)?)),
        (Scalar::Text(left), Scalar::Temporal(right, _)) => Some((read(left)?, *right)),
        _ => None,
    }
}

fn member<'a>(
    item: &Collection<'a>,
    collection: &Collection<'a>,
    env: &Env<'a>,
) -> Result<Option<bool>, EvalError> {
    let Some(item) = item.single()? else {
        return Ok(None);
    };
    for candidate in collection.as_slice() {
        if equal_items(item, candidate, env)? == Some(true) {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

/// `&`: an empty side counts as empty text.
fn concatenated<'a>(
    left: &Collection<'a>,
    right: &Collection<'a>,
    env: &Env<'a>,
) -> Result<Collection<'a>, EvalError> {
    let mut text = String::new();
    for side in [left, right] {
        if let Some(item) = side.single()?
            && let Some(value) = scalar(env, item)?
        {
            text.push_str(&value.into_text());
        }
    }
    env.charge(text.len())?;
    Ok(Collection::value(Scalar::Text(Cow::Owned(text))))
}

fn arithmetic<'a>(
    operator: Operator,
    left: &Collection<'a>,
    right: &Collection<'a>,
    env: &Env<'a>,
) -> Result<Collection<'a>, EvalError> {
    let Some((left, right)) = operands(left, right, env)? else {
        return Ok(Collection::Empty);
    };
    let result = match (operator, &left, &right) {
        (Operator::Plus, Scalar::Text(left), Scalar::Text(right)) => {
            env.charge(left.len() + right.len())?;
            Some(Scalar::Text(Cow::Owned(format!("{left}{right}"))))
        }
        (Operator::Plus, Scalar::Integer(left), Scalar::Integer(right)) => {
            left.checked_add(*right).map(Scalar::Integer)
        }
        (Operator::Minus, Scalar::Integer(left), Scalar::Integer(right)) => {
            left.checked_sub(*right).map(Scalar::Integer)
        }
        (Operator::Times, Scalar::Integer(left), Scalar::Integer(right)) => {
            left.checked_mul(*right).map(Scalar::Integer)
        }
        (Operator::Modulo, Scalar::Integer(left), Scalar::Integer(right)) => {
            left.checked_rem(*right).map(Scalar::Integer)
        }
        (operator, left, right) => match (left.number(), right.number()) {
            (Some(left), Some(right)) => decimal(operator, left, right),
            _ => return Err(EvalError::WrongType),
        },
    };
    Ok(result.map_or(Collection::Empty, Collection::value))
}

fn decimal<'a>(operator: Operator, left: Decimal, right: Decimal) -> Option<Scalar<'a>> {
    match operator {
        Operator::Plus => left.plus(right).map(Scalar::Decimal),
        Operator::Minus => left.minus(right).map(Scalar::Decimal),
        Operator::Times => left.times(right).map(Scalar::Decimal),
        Operator::Divide => left.divided_by(right).map(Scalar::Decimal),
        Operator::IntegerDivide => left.whole_quotient(right).map(Scalar::Integer),
        Operator::Modulo => left.remainder(right).map(Scalar::Decimal),
        _ => None,
    }
}

/// The two values, or none if a side is empty.
fn operands<'a>(
    left: &Collection<'a>,
    right: &Collection<'a>,
    env: &Env<'a>,
) -> Result<Option<(Scalar<'a>, Scalar<'a>)>, EvalError> {
    let (Some(left), Some(right)) = (left.single()?, right.single()?) else {
        return Ok(None);
    };
    let value = |item: &Item<'a>| match (scalar(env, item)?, item) {
        (Some(value), _) => Ok(Some(value)),
        (None, Item::Node(Element { value: None, .. })) => Ok(None),
        (None, _) => Err(EvalError::WrongType),
    };
    Ok(value(left)?.zip(value(right)?))
}
