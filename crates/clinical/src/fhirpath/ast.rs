//! What the parser makes of a path, before names and types are resolved.

use super::expr::Literal;

/// One expression and where it begins.
#[derive(Debug, Clone)]
pub(super) struct Ast {
    pub at: usize,
    /// Levels of nesting below and including this one.
    pub height: usize,
    pub node: Node,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Literal(Literal),
    /// `{}`
    Nothing,
    /// `%name`
    Variable(String),
    /// `$index`
    Index,
    /// Steps from a base; without base from the focus, which `$this` names too.
    Path {
        base: Option<Box<Ast>>,
        steps: Vec<Step>,
    },
    Negate(Box<Ast>),
    Binary(Operator, Box<Ast>, Box<Ast>),
    /// `and` or `or` over any number of operands.
    Chain(Operator, Vec<Ast>),
    /// `operand is type` and `operand as type`.
    TypeTest {
        is: bool,
        operand: Box<Ast>,
        type_name: String,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub at: usize,
    pub kind: StepKind,
}

#[derive(Debug, Clone)]
pub(super) enum StepKind {
    Member(String),
    Call(String, Vec<Ast>),
    Index(Ast),
}

/// The binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Implies,
    Or,
    Xor,
    And,
    In,
    Contains,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Join,
    Times,
    Divide,
    IntegerDivide,
    Modulo,
}
