//! What expressions yield: items of the record, or values made on the way.

use std::borrow::Cow;

use super::error::EvalError;
use super::eval::Env;
use super::expr::LiteralValue;
use crate::decimal::Decimal;
use crate::fhir::{Primitive, TypeId, schema};
use crate::json::{Kind, NodeId};
use crate::temporal::Temporal;

/// One item of a collection.
#[derive(Debug, Clone)]
pub(crate) enum Item<'a> {
    /// An element of the record.
    Node(Element),
    /// A value.
    Value(Scalar<'a>),
}

/// An element of the record: a value, its extensions, or both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element {
    /// The value; none for a primitive that has only extensions.
    pub value: Option<NodeId>,
    /// The object with the extensions of a primitive.
    pub extras: Option<NodeId>,
    /// The FHIR type, where it is known.
    pub type_id: Option<TypeId>,
}

impl Element {
    /// An element that is just a value of the record.
    pub fn of(value: NodeId, type_id: Option<TypeId>) -> Element {
        Element { value: Some(value), extras: None, type_id }
    }
}

/// A primitive value.
#[derive(Debug, Clone)]
pub(crate) enum Scalar<'a> {
    Boolean(bool),
    Integer(i64),
    Decimal(Decimal),
    Text(Cow<'a, str>),
    Temporal(Temporal, &'a str),
}

impl<'a> Scalar<'a> {
    pub fn of(literal: &'a LiteralValue) -> Scalar<'a> {
        match literal {
            LiteralValue::Boolean(value) => Scalar::Boolean(*value),
            LiteralValue::Integer(value) => Scalar::Integer(*value),
            LiteralValue::Decimal(value, _) => Scalar::Decimal(*value),
            LiteralValue::Text(text) => Scalar::Text(Cow::Borrowed(text)),
            LiteralValue::Temporal(value, text) => Scalar::Temporal(*value, text),
        }
    }

    /// The value as text, the way FHIR writes it.
    pub fn into_text(self) -> Cow<'a, str> {
        match self {
            Scalar::Boolean(true) => Cow::Borrowed("true"),
            Scalar::Boolean(false) => Cow::Borrowed("false"),
            Scalar::Integer(value) => Cow::Owned(value.to_string()),
            Scalar::Decimal(value) => Cow::Owned(value.to_string()),
            Scalar::Text(text) => text,
            Scalar::Temporal(_, text) => Cow::Borrowed(text),
        }
    }

    /// The value as an exact number.
    pub fn number(&self) -> Option<Decimal> {
        match self {
            Scalar::Integer(value) => Some(Decimal::from(*value)),
            Scalar::Decimal(value) => Some(*value),
            Scalar::Boolean(_) | Scalar::Text(_) | Scalar::Temporal(..) => None,
        }
    }
}

/// The value of an item; none for objects and for elements without a value.
pub(crate) fn scalar<'a>(env: &Env<'a>, item: &Item<'a>) -> Result<Option<Scalar<'a>>, EvalError> {
    let (id, type_id) = match item {
        Item::Value(value) => return Ok(Some(value.clone())),
        Item::Node(Element { value: None, .. }) => return Ok(None),
        Item::Node(Element { value: Some(id), type_id, .. }) => (*id, *type_id),
    };
    let document = env.document;
    Ok(match document.kind(id) {
        Kind::True => Some(Scalar::Boolean(true)),
        Kind::False => Some(Scalar::Boolean(false)),
        Kind::Number => Some(number(env, id, type_id)?),
        Kind::String => {
            let text = document.string(id).unwrap_or_default();
            Some(match temporal(env, id, type_id) {
                Some(temporal) => Scalar::Temporal(temporal, document.lexeme(id)),
                None => Scalar::Text(text),
            })
        }
        Kind::Null | Kind::Array | Kind::Object | Kind::Key => None,
    })
}

fn number<'a>(env: &Env<'a>, id: NodeId, type_id: Option<TypeId>) -> Result<Scalar<'a>, EvalError> {
    let lexeme = env.document.lexeme(id);
    let is_decimal = type_id.and_then(|id| schema().primitive(id)) == Some(Primitive::Decimal);
    if !is_decimal
        && !env.document.has_fraction(id)
        && let Ok(integer) = lexeme.parse()
    {
        return Ok(Scalar::Integer(integer));
    }
    let decimal = Decimal::parse(lexeme);
    decimal.map(Scalar::Decimal).ok_or(EvalError::NumberTooLong)
}

fn temporal(env: &Env<'_>, id: NodeId, type_id: Option<TypeId>) -> Option<Temporal> {
    match type_id.and_then(|id| schema().primitive(id))? {
        Primitive::DateTime => Temporal::parse_date_time(env.document.lexeme(id)),
        Primitive::Time => Temporal::parse_time(env.document.lexeme(id)),
        _ => None,
    }
}

/// What an expression yields. Most yield nothing or one item, without memory.
#[derive(Debug, Clone, Default)]
pub(crate) enum Collection<'a> {
    #[default]
    Empty,
    One(Item<'a>),
    Many(Vec<Item<'a>>),
}

impl<'a> Collection<'a> {
    pub fn value(value: Scalar<'a>) -> Collection<'a> {
        Collection::One(Item::Value(value))
    }

    pub fn boolean(value: bool) -> Collection<'a> {
        Collection::value(Scalar::Boolean(value))
    }

    pub fn push(&mut self, item: Item<'a>) {
        *self = match std::mem::take(self) {
            Collection::Empty => Collection::One(item),
            Collection::One(first) => Collection::Many(vec![first, item]),
            Collection::Many(mut items) => {
                items.push(item);
                Collection::Many(items)
            }
        };
    }

    pub fn as_slice(&self) -> &[Item<'a>] {
        match self {
            Collection::Empty => &[],
            Collection::One(item) => std::slice::from_ref(item),
            Collection::Many(items) => items,
        }
    }

    /// The item at a place, taken out.
    pub fn into_item(self, index: usize) -> Collection<'a> {
        match self {
            Collection::One(item) if index == 0 => Collection::One(item),
            Collection::Many(mut items) if index < items.len() => {
                Collection::One(items.swap_remove(index))
            }
            Collection::Empty | Collection::One(_) | Collection::Many(_) => Collection::Empty,
        }
    }

    /// The only item, or an error if there are several.
    pub fn single(&self) -> Result<Option<&Item<'a>>, EvalError> {
        match self.as_slice() {
            [] => Ok(None),
            [item] => Ok(Some(item)),
            _ => Err(EvalError::NotSingleton),
        }
    }
}

impl<'a> FromIterator<Item<'a>> for Collection<'a> {
    fn from_iter<I: IntoIterator<Item = Item<'a>>>(items: I) -> Collection<'a> {
        let mut collection = Collection::Empty;
        items.into_iter().for_each(|item| collection.push(item));
        collection
    }
}
