//! Evaluation of compiled paths.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::LazyLock;

use super::MAX_WORK_PER_RECORD;
use super::ast::Operator;
use super::error::EvalError;
use super::expr::{Expr, FoundType, Member, Step};
use super::functions::text_function;
use super::item::{Collection, Element, Item, Scalar, scalar};
use super::operators::binary;
use crate::fhir::{Lookup, Primitive, TypeId, Types, schema};
use crate::json::{Document, Kind, Name, NodeId};
use crate::keys::Keys;

/// What all paths of one record share.
pub(crate) struct Env<'a> {
    pub document: Document<'a>,
    pub keys: &'a Keys<'a>,
    work: Cell<u64>,
}

impl<'a> Env<'a> {
    pub fn new(document: Document<'a>, keys: &'a Keys<'a>) -> Env<'a> {
        Env { document, keys, work: Cell::new(0) }
    }

    /// Counts work, so that no record and view together run for long.
    pub fn charge(&self, steps: usize) -> Result<(), EvalError> {
        let work = self.work.get().saturating_add(steps as u64);
        self.work.set(work);
        match work > MAX_WORK_PER_RECORD {
            true => Err(EvalError::TooMuchWork),
            false => Ok(()),
        }
    }

    /// The `resourceType` of an object.
    pub fn resource_type(&self, id: NodeId) -> Option<Cow<'a, str>> {
        let value = self.document.member(id, &NAMES.resource_type)?;
        self.document.string(value)
    }

    /// The FHIR type of an item, as well as it can be known.
    pub fn type_of(&self, item: &Item<'a>) -> Option<TypeId> {
        let name = match item {
            Item::Node(Element { type_id: Some(id), value, .. }) => {
                // A resource within another one says itself what it is.
                let exact = value.filter(|_| schema().name(*id) == "Resource");
                let exact = exact.and_then(|value| self.resource_type(value));
                return exact.and_then(|name| schema().resource(&name)).or(Some(*id));
            }
            Item::Node(Element { value, .. }) => {
                let value = (*value)?;
                match self.document.kind(value) {
                    Kind::Object => return schema().resource(&self.resource_type(value)?),
                    Kind::True | Kind::False => "boolean",
                    Kind::Number if self.document.has_fraction(value) => "decimal",
                    Kind::Number => "integer",
                    Kind::String => "string",
                    Kind::Null | Kind::Array | Kind::Key => return None,
                }
            }
            Item::Value(Scalar::Boolean(_)) => "boolean",
            Item::Value(Scalar::Integer(_)) => "integer",
            Item::Value(Scalar::Decimal(_)) => "decimal",
            Item::Value(Scalar::Text(_)) => "string",
            Item::Value(Scalar::Temporal(value, _)) if value.is_time() => "time",
            // `2014-01-25T` is a dateTime that stops at the day.
            Item::Value(Scalar::Temporal(value, text))
                if value.is_date() && !text.ends_with('T') =>
            {
                "date"
            }
            Item::Value(Scalar::Temporal(..)) => "dateTime",
        };
        schema().find(name)
    }
}

/// Member names that evaluation itself looks for.
struct Names {
    resource_type: Name,
    id: Name,
    reference: Name,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
    resource_type: Name::new("resourceType"),
    id: Name::new("id"),
    reference: Name::new("reference"),
});

/// Where in a record an expression is evaluated.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'s, 'a> {
    pub env: &'s Env<'a>,
    pub this: &'s Item<'a>,
    /// `$index`: the place of `this` in the collection being filtered.
    pub index: i64,
    /// `%rowIndex`: the place of the row in the iteration around it.
    pub row_index: i64,
}

impl<'s, 'a> Scope<'s, 'a> {
    fn at<'n>(&self, this: &'n Item<'a>, index: usize) -> Scope<'n, 'a>
    where
        's: 'n,
    {
        Scope { env: self.env, this, index: index as i64, row_index: self.row_index }
    }
}

/// Evaluates an expression.
pub(crate) fn collection<'a>(
    expr: &'a Expr,
    scope: Scope<'_, 'a>,
) -> Result<Collection<'a>, EvalError> {
    match expr {
        Expr::Literal(literal) => Ok(Collection::value(Scalar::of(&literal.value))),
        Expr::Nothing => Ok(Collection::Empty),
        Expr::This => Ok(Collection::One(scope.this.clone())),
        Expr::Index => Ok(Collection::value(Scalar::Integer(scope.index))),
        Expr::RowIndex => Ok(Collection::value(Scalar::Integer(scope.row_index))),
        Expr::Resource => {
            let root = scope.env.document.root();
            let type_name = scope.env.resource_type(root);
            let type_id = type_name.and_then(|name| schema().resource(&name));
            Ok(Collection::One(Item::Node(Element::of(root, type_id))))
        }
        Expr::Path { base, steps } => path(base, steps, scope),
        Expr::Negate(operand) => {
            let operand = collection(operand, scope)?;
            let Some(item) = operand.single()? else {
                return Ok(Collection::Empty);
            };
            Ok(match scalar(scope.env, item)? {
                Some(Scalar::Integer(value)) => {
                    let negated = value.checked_neg();
                    negated.map_or(Collection::Empty, |n| Collection::value(Scalar::Integer(n)))
                }
                Some(Scalar::Decimal(value)) => Collection::value(Scalar::Decimal(value.negated())),
                Some(_) => return Err(EvalError::WrongType),
                None => Collection::Empty,
            })
        }
        Expr::Binary(operator, left, right) => {
            let left = collection(left, scope)?;
            let right = collection(right, scope)?;
            binary(*operator, &left, &right, scope.env)
        }
        Expr::Chain(operator, operands) => {
            // One operand that decides is enough, whatever the others are.
            let decisive = *operator == Operator::Or;
            let mut result = Some(!decisive);
            for operand in operands {
                match condition(operand, scope)? {
                    Some(value) if value == decisive => return Ok(Collection::boolean(decisive)),
                    Some(_) => {}
                    None => result = None,
                }
            }
            Ok(result.map_or(Collection::Empty, Collection::boolean))
        }
        Expr::Choose(parts) => {
            let [test, then, otherwise] = &**parts;
            match condition(test, scope)? {
                Some(true) => collection(then, scope),
                Some(false) | None => collection(otherwise, scope),
            }
        }
    }
}

/// Evaluates an expression that must be boolean or empty.
pub(crate) fn condition<'a>(
    expr: &'a Expr,
    scope: Scope<'_, 'a>,
) -> Result<Option<bool>, EvalError> {
    truth(&collection(expr, scope)?, scope.env)
}

/// A collection as a condition: one boolean, or unknown.
pub(super) fn truth<'a>(
    collection: &Collection<'a>,
    env: &Env<'a>,
) -> Result<Option<bool>, EvalError> {
    let Some(item) = collection.single()? else {
        return Ok(None);
    };
    match (scalar(env, item)?, item) {
        (Some(Scalar::Boolean(value)), _) => Ok(Some(value)),
        (None, Item::Node(Element { value: None, .. })) => Ok(None),
        (Some(_) | None, _) => Err(EvalError::NotBoolean),
    }
}

fn path<'a>(
    base: &'a Expr,
    steps: &'a [Step],
    scope: Scope<'_, 'a>,
) -> Result<Collection<'a>, EvalError> {
    // The first member is looked up in the focus itself, which saves a copy.
    let (mut current, rest) = match (base, steps) {
        (Expr::This, [Step::Member(member), rest @ ..]) => {
            let mut found = Collection::Empty;
            push_member(scope.env, scope.this, member, &mut found)?;
            (found, rest)
        }
        _ => (collection(base, scope)?, steps),
    };
    for step in rest {
        current = apply(step, current, scope)?;
    }
    Ok(current)
}

fn apply<'a>(
    step: &'a Step,
    input: Collection<'a>,
    scope: Scope<'_, 'a>,
) -> Result<Collection<'a>, EvalError> {
    let env = scope.env;
    env.charge(1)?;
    let items = input.as_slice();
    Ok(match step {
        Step::Member(member) => {
            let mut found = Collection::Empty;
            for item in items {
                push_member(env, item, member, &mut found)?;
            }
            found
        }
        Step::Nothing => Collection::Empty,
        Step::Item(index) => match integer(index, scope)? {
            Some(index) => usize::try_from(index).map_or(Collection::Empty, |i| input.into_item(i)),
            None => Collection::Empty,
        },
        Step::Where(criteria) => {
            let mut kept = Collection::Empty;
            for (index, item) in items.iter().enumerate() {
                env.charge(1)?;
                if condition(criteria, scope.at(item, index))? == Some(true) {
                    kept.push(item.clone());
                }
            }
            kept
        }
        Step::WithUrl(member, url) => {
            let url = collection(url, scope)?;
            let mut kept = Collection::Empty;
            for item in items {
                let mut found = Collection::Empty;
                push_member(env, item, member, &mut found)?;
                if truth(&binary(Operator::Equal, &found, &url, env)?, env)? == Some(true) {
                    kept.push(item.clone());
                }
            }
            kept
        }
        Step::Select(projection) => {
            let mut selected = Collection::Empty;
            for (index, item) in items.iter().enumerate() {
                for made in collection(projection, scope.at(item, index))?.as_slice() {
                    env.charge(1)?;
                    selected.push(made.clone());
                }
            }
            selected
        }
        Step::All(criteria) => {
            for (index, item) in items.iter().enumerate() {
                env.charge(1)?;
                if condition(criteria, scope.at(item, index))? != Some(true) {
                    return Ok(Collection::boolean(false));
                }
            }
            Collection::boolean(true)
        }
        Step::Exists => Collection::boolean(!items.is_empty()),
        Step::IsEmpty => Collection::boolean(items.is_empty()),
        Step::Not => {
            let truth = truth(&input, env)?;
            truth.map_or(Collection::Empty, |value| Collection::boolean(!value))
        }
        Step::Count => Collection::value(Scalar::Integer(items.len() as i64)),
        Step::First => input.into_item(0),
        Step::Last => {
            let last = items.len().saturating_sub(1);
            input.into_item(last)
        }
        Step::Single => {
            input.single()?;
            input
        }
        Step::Tail => items.iter().skip(1).cloned().collect(),
        Step::Skip(count) => match integer(count, scope)? {
            Some(count) => items.iter().skip(count.max(0) as usize).cloned().collect(),
            None => Collection::Empty,
        },
        Step::Take(count) => match integer(count, scope)? {
            Some(count) => items.iter().take(count.max(0) as usize).cloned().collect(),
            None => Collection::Empty,
        },
        Step::OfType(wanted) => match items {
            // Nearly always all or nothing: an element has one type.
            [item] => match is_of_type(env, item, *wanted) {
                true => input,
                false => Collection::Empty,
            },
            items => items.iter().filter(|i| is_of_type(env, i, *wanted)).cloned().collect(),
        },
        Step::Is(wanted) => match input.single()? {
            Some(item) => Collection::boolean(is_of_type(env, item, *wanted)),
            None => Collection::Empty,
        },
        Step::Root(wanted) => {
            let is_wanted =
                |item: &&Item<'a>| env.type_of(item).is_some_and(|id| schema().is_a(id, *wanted));
            items.iter().filter(is_wanted).cloned().collect()
        }
        Step::HasValue => match input.single()? {
            Some(item) => Collection::boolean(scalar(env, item)?.is_some()),
            None => Collection::boolean(false),
        },
        Step::Text(function, arguments) => {
            let arguments = arguments.iter().map(|argument| collection(argument, scope));
            let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
            text_function(*function, &input, &arguments, env)?
        }
        Step::Join(separator) => {
            let separator = separator.as_ref().map(|separator| text(separator, scope));
            join(items, separator.transpose()?.flatten().as_deref(), env)?
        }
        Step::ResourceKey => items.iter().filter_map(|item| resource_key(env, item)).collect(),
        Step::ReferenceKey(wanted) => {
            items.iter().filter_map(|item| reference_key(env, item, *wanted)).collect()
        }
    })
}

/// Adds the elements called `member` of one item.
fn push_member<'a>(
    env: &Env<'a>,
    owner: &Item<'a>,
    member: &Member,
    found: &mut Collection<'a>,
) -> Result<(), EvalError> {
    let Item::Node(element) = owner else {
        return Ok(());
    };
    let document = env.document;
    let is_object = |id: &NodeId| document.kind(*id) == Kind::Object;
    let Some(object) = element.value.filter(is_object).or(element.extras.filter(is_object)) else {
        return Ok(());
    };
    let has_extras = document.has_underscore(object);
    let (mut value, mut extras, mut type_id) = (None, None, None);
    let mut members = document.members(object);
    let mut looked_at = 1;
    while let Some(key) = members.next_key() {
        looked_at += 1;
        if document.key_is(key, &member.name) {
            value = Some(members.value());
            type_id = found_type(member, element.type_id);
        } else if has_extras && document.key_is(key, &member.sibling) {
            extras = Some(members.value());
        } else if member.is_choice
            && let Some((choice, is_extra)) = choice_of(document.lexeme(key), member)
        {
            type_id = Some(choice);
            match is_extra {
                true => extras = Some(members.value()),
                false => value = Some(members.value()),
            }
        }
        if value.is_some() && !has_extras {
            break;
        }
    }
    env.charge(looked_at)?;
    push_elements(document, value, extras, type_id, found);
    Ok(())
}

/// Flattens an array, and pairs its elements with the array of their extensions.
fn push_elements<'a>(
    document: Document<'a>,
    value: Option<NodeId>,
    extras: Option<NodeId>,
    type_id: Option<TypeId>,
    found: &mut Collection<'a>,
) {
    let is_array = |id: Option<NodeId>| id.is_some_and(|id| document.kind(id) == Kind::Array);
    let mut push = |value: Option<NodeId>, extras: Option<NodeId>| {
        let value = value.filter(|id| document.kind(*id) != Kind::Null);
        let extras = extras.filter(|id| document.kind(*id) == Kind::Object);
        if value.is_some() || extras.is_some() {
            found.push(Item::Node(Element { value, extras, type_id }));
        }
    };
    if !is_array(value) && !is_array(extras) {
        return push(value, extras);
    }
    let elements = |id: Option<NodeId>| id.into_iter().flat_map(|id| document.elements(id));
    let (mut values, mut extras) = (elements(value), elements(extras));
    loop {
        match (values.next(), extras.next()) {
            (None, None) => return,
            (value, extras) => push(value, extras),
        }
    }
}

fn found_type(member: &Member, owner: Option<TypeId>) -> Option<TypeId> {
    match member.found {
        FoundType::Known(id) => Some(id),
        FoundType::Unknown => None,
        FoundType::OfOwner => match schema().element(owner?, member.name.as_str()) {
            Lookup::Found(element) => match &element.types {
                Types::Of(types) => types.first().copied().filter(|_| types.len() == 1),
                Types::Any => None,
            },
            Lookup::Unknown | Lookup::ChoiceKey | Lookup::NotDescribed => None,
        },
    }
}

/// The type that the key of a choice names, and whether it holds extensions.
fn choice_of(key: &str, member: &Member) -> Option<(TypeId, bool)> {
    let (key, is_extra) = match key.strip_prefix('_') {
        Some(key) => (key, true),
        None => (key, false),
    };
    let suffix = key.strip_prefix(member.name.as_str())?;
    Some((schema().by_suffix(suffix)?, is_extra))
}

fn is_of_type<'a>(env: &Env<'a>, item: &Item<'a>, wanted: TypeId) -> bool {
    let Some(found) = env.type_of(item) else {
        return false;
    };
    let is_untyped = !matches!(item, Item::Node(Element { type_id: Some(_), .. }));
    schema().is_a(found, wanted)
        // `5` in the JSON of an element that nobody described may be a decimal.
        || (is_untyped
            && schema().primitive(found) == Some(Primitive::Integer)
            && schema().primitive(wanted) == Some(Primitive::Decimal))
}

fn integer<'a>(expr: &'a Expr, scope: Scope<'_, 'a>) -> Result<Option<i64>, EvalError> {
    let found = collection(expr, scope)?;
    let Some(item) = found.single()? else {
        return Ok(None);
    };
    match scalar(scope.env, item)? {
        Some(Scalar::Integer(value)) => Ok(Some(value)),
        Some(_) => Err(EvalError::WrongType),
        None => Ok(None),
    }
}

fn text<'a>(expr: &'a Expr, scope: Scope<'_, 'a>) -> Result<Option<Cow<'a, str>>, EvalError> {
    let found = collection(expr, scope)?;
    let Some(item) = found.single()? else {
        return Ok(None);
    };
    Ok(scalar(scope.env, item)?.map(Scalar::into_text))
}

fn join<'a>(
    items: &[Item<'a>],
    separator: Option<&str>,
    env: &Env<'a>,
) -> Result<Collection<'a>, EvalError> {
    let mut joined = String::new();
    let mut is_first = true;
    for item in items {
        let Some(value) = scalar(env, item)? else {
            continue;
        };
        if !is_first {
            joined.push_str(separator.unwrap_or(""));
        }
        is_first = false;
        let text = value.into_text();
        env.charge(text.len() + separator.map_or(0, str::len))?;
        joined.push_str(&text);
    }
    Ok(match is_first {
        true => Collection::Empty,
        false => Collection::value(Scalar::Text(Cow::Owned(joined))),
    })
}

/// `getResourceKey()`: only the record itself has one.
fn resource_key<'a>(env: &Env<'a>, item: &Item<'a>) -> Option<Item<'a>> {
    let Item::Node(Element { value: Some(value), .. }) = item else {
        return None;
    };
    if *value != env.document.root() {
        return None;
    }
    let resource = env.resource_type(*value)?;
    let id = env.document.member(*value, &NAMES.id)?;
    let key = env.keys.of_resource(&resource, &env.document.string(id)?)?;
    Some(Item::Value(Scalar::Text(Cow::Owned(key))))
}

fn reference_key<'a>(env: &Env<'a>, item: &Item<'a>, wanted: Option<TypeId>) -> Option<Item<'a>> {
    let Item::Node(Element { value: Some(value), .. }) = item else {
        return None;
    };
    let reference = env.document.member(*value, &NAMES.reference)?;
    let reference = env.document.string(reference)?;
    let key = env.keys.of_reference(&reference, wanted.map(|id| schema().name(id)))?;
    Some(Item::Value(Scalar::Text(Cow::Owned(key))))
}
