//! A compiled path: names hashed, types resolved, constants in place.

use super::ast::Operator;
use crate::decimal::Decimal;
use crate::fhir::{TypeId, Types};
use crate::json::Name;
use crate::temporal::Temporal;

/// A path that is ready to run.
#[derive(Debug)]
pub(crate) struct CompiledPath {
    pub expr: Expr,
    /// What the path can yield.
    pub types: Types,
    /// What looks like a mistake but may be right; texts are from the path.
    pub warnings: Vec<PathWarning>,
}

/// Something in a path that FHIR R4 does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathWarning {
    /// A described type has no element of this name.
    UnknownElement { owner: String, name: String },
    /// The JSON key of a choice was used for the element.
    ChoiceKey { owner: String, name: String },
}

/// An expression.
#[derive(Debug)]
pub(crate) enum Expr {
    Literal(Literal),
    Nothing,
    /// The focus: `$this`.
    This,
    /// `$index`
    Index,
    /// `%resource`, `%context`
    Resource,
    /// `%rowIndex`
    RowIndex,
    Path {
        base: Box<Expr>,
        steps: Vec<Step>,
    },
    Negate(Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Chain(Operator, Vec<Expr>),
    /// `iif(condition, then, otherwise)`
    Choose(Box<[Expr; 3]>),
}

/// One step of a path, applied to a whole collection.
#[derive(Debug)]
pub(crate) enum Step {
    Member(Member),
    /// An element that cannot exist.
    Nothing,
    Item(Expr),
    Where(Expr),
    /// Keeps extensions whose `url`, the member, is what the expression yields.
    WithUrl(Member, Expr),
    Select(Expr),
    All(Expr),
    Exists,
    IsEmpty,
    Not,
    Count,
    First,
    Last,
    Single,
    Tail,
    Skip(Expr),
    Take(Expr),
    OfType(TypeId),
    Is(TypeId),
    /// Keeps the focus if it is a resource of this type (`Patient.name`).
    Root(TypeId),
    HasValue,
    Text(TextFunction, Vec<Expr>),
    Join(Option<Expr>),
    ResourceKey,
    ReferenceKey(Option<TypeId>),
}

/// A function of one text (or of what becomes one).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextFunction {
    Length,
    Substring,
    StartsWith,
    EndsWith,
    Contains,
    Upper,
    Lower,
    ToInteger,
    ToDecimal,
    ToText,
}

/// An element to look up.
#[derive(Debug)]
pub(crate) struct Member {
    pub name: Name,
    /// `_name`, where JSON keeps the extensions of a primitive.
    pub sibling: Name,
    pub is_choice: bool,
    pub found: FoundType,
}

/// What type a looked up element has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoundType {
    Known(TypeId),
    /// It depends on the type of the item it is looked up in.
    OfOwner,
    Unknown,
}

/// A value written in a path or declared as a constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Literal {
    pub type_id: Option<TypeId>,
    pub value: LiteralValue,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LiteralValue {
    Boolean(bool),
    Integer(i64),
    Decimal(Decimal, Box<str>),
    Text(Box<str>),
    Temporal(Temporal, Box<str>),
}
