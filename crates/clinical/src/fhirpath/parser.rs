//! Tokens to a tree, by precedence climbing.

use super::ast::{Ast, Node, Operator, Step, StepKind};
use super::error::{PathError, PathProblem};
use super::expr::{Literal, LiteralValue};
use super::lexer::{Spanned, Token, lex};
use super::{MAX_PATH_BYTES, MAX_PATH_DEPTH};
use crate::fhir::schema;

/// Parses a whole path.
pub(super) fn parse(path: &str) -> Result<Ast, PathError> {
    if path.len() > MAX_PATH_BYTES {
        return Err(PathProblem::TooLong.at(0));
    }
    let tokens = lex(path)?;
    let mut parser = Parser { tokens: &tokens, next: 0 };
    let ast = parser.expression(0, 0)?;
    match parser.peek() {
        Token::End => Ok(ast),
        _ => Err(parser.expected("an operator or the end of the path")),
    }
}

struct Parser<'t> {
    tokens: &'t [Spanned],
    next: usize,
}

impl Parser<'_> {
    /// An expression of operators that bind at least as tightly as `least`.
    fn expression(&mut self, least: u8, depth: usize) -> Result<Ast, PathError> {
        if depth > MAX_PATH_DEPTH {
            return Err(PathProblem::TooDeep.at(self.at()));
        }
        let mut left = self.unary(depth)?;
        while let Some(found) = self.operator() {
            let (found, precedence) = found.map_err(|problem| problem.at(self.at()))?;
            if precedence < least {
                break;
            }
            let at = self.at();
            self.next += 1;
            left = match found {
                Found::TypeTest { is } => {
                    let type_name = self.type_name()?;
                    let operand = Box::new(left);
                    let height = operand.height + 1;
                    let node = Node::TypeTest { is, operand, type_name };
                    Ast { at, height, node }
                }
                Found::Operator(operator) => {
                    let right = self.expression(precedence + 1, depth + 1)?;
                    combine(at, operator, left, right)
                }
            };
            if left.height > MAX_PATH_DEPTH {
                return Err(PathProblem::TooDeep.at(at));
            }
        }
        Ok(left)
    }

    /// The operator at hand and its precedence, highest number first to bind.
    fn operator(&self) -> Option<Result<(Found, u8), PathProblem>> {
        use Operator::*;
        let later = |what: &str| {
            Some(Err(PathProblem::NotYetSupported { what: format!("operator `{what}`") }))
        };
        let (operator, precedence) = match self.peek() {
            Token::Word(word) => match word.as_str() {
                "implies" => (Implies, 1),
                "or" => (Or, 2),
                "xor" => (Xor, 2),
                "and" => (And, 3),
                "in" => (In, 4),
                "contains" => (Contains, 4),
                "div" => (IntegerDivide, 10),
                "mod" => (Modulo, 10),
                "is" => return Some(Ok((Found::TypeTest { is: true }, 8))),
                "as" => return Some(Ok((Found::TypeTest { is: false }, 8))),
                _ => return None,
            },
            Token::Symbol(symbol) => match *symbol {
                "=" => (Equal, 5),
                "!=" => (NotEqual, 5),
                "<" => (Less, 6),
                "<=" => (LessOrEqual, 6),
                ">" => (Greater, 6),
                ">=" => (GreaterOrEqual, 6),
                "+" => (Plus, 9),
                "-" => (Minus, 9),
                "&" => (Join, 9),
                "*" => (Times, 10),
                "/" => (Divide, 10),
                later_symbol @ ("~" | "!~" | "|") => return later(later_symbol),
                _ => return None,
            },
            _ => return None,
        };
        Some(Ok((Found::Operator(operator), precedence)))
    }

    fn unary(&mut self, depth: usize) -> Result<Ast, PathError> {
        let at = self.at();
        if self.eat("+") {
            return self.nested_unary(depth);
        }
        if self.eat("-") {
            let operand = Box::new(self.nested_unary(depth)?);
            return Ok(Ast { at, height: operand.height + 1, node: Node::Negate(operand) });
        }
        self.path(depth)
    }

    fn nested_unary(&mut self, depth: usize) -> Result<Ast, PathError> {
        match depth < MAX_PATH_DEPTH {
            true => self.unary(depth + 1),
            false => Err(PathProblem::TooDeep.at(self.at())),
        }
    }

    /// A term and the steps after it.
    fn path(&mut self, depth: usize) -> Result<Ast, PathError> {
        let at = self.at();
        let (base, mut steps) = self.term(depth)?;
        loop {
            let at = self.at();
            if self.eat(".") {
                steps.push(self.invocation(depth)?);
            } else if self.eat("[") {
                let index = self.expression(0, depth + 1)?;
                self.expect("]", "`]`")?;
                steps.push(Step { at, kind: StepKind::Index(index) });
            } else {
                break;
            }
        }
        match (base, steps.is_empty()) {
            (Some(base), true) => Ok(base),
            (base, _) => {
                let below = base.iter().map(|base| base.height);
                let height = below.chain(steps.iter().map(step_height)).max();
                Ok(Ast {
                    at,
                    height: height.unwrap_or(0) + 1,
                    node: Node::Path { base: base.map(Box::new), steps },
                })
            }
        }
    }

    /// What a path begins with: a base, or the first step from the focus.
    fn term(&mut self, depth: usize) -> Result<(Option<Ast>, Vec<Step>), PathError> {
        let at = self.at();
        let node = match self.peek().clone() {
            Token::Literal(literal) => {
                self.next += 1;
                self.refuse_unit(&literal)?;
                Node::Literal(literal)
            }
            Token::Variable(name) => {
                self.next += 1;
                Node::Variable(name)
            }
            Token::Special(name) => {
                self.next += 1;
                match name.as_str() {
                    "this" => return Ok((None, Vec::new())),
                    "index" => Node::Index,
                    "total" => return Err(later("`$total`").at(at)),
                    _ => return Err(syntax("`$this` or `$index`").at(at)),
                }
            }
            Token::Word(word) if word == "true" || word == "false" => {
                self.next += 1;
                Node::Literal(Literal {
                    type_id: schema().find("boolean"),
                    value: LiteralValue::Boolean(word == "true"),
                })
            }
            Token::Word(_) | Token::Delimited(_) => {
                return Ok((None, vec![self.invocation(depth)?]));
            }
            Token::Symbol("(") => {
                self.next += 1;
                let inner = self.expression(0, depth + 1)?;
                self.expect(")", "`)`")?;
                return Ok((Some(inner), Vec::new()));
            }
            Token::Symbol("{") => {
                self.next += 1;
                self.expect("}", "`}`")?;
                Node::Nothing
            }
            Token::Symbol(_) | Token::End => return Err(self.expected("an expression")),
        };
        let height = 1;
        Ok((Some(Ast { at, height, node }), Vec::new()))
    }

    /// A member or a function call.
    fn invocation(&mut self, depth: usize) -> Result<Step, PathError> {
        let at = self.at();
        let name = match self.peek().clone() {
            Token::Word(name) if !RESERVED.contains(&name.as_str()) => name,
            Token::Delimited(name) => name,
            _ => return Err(self.expected("the name of an element or function")),
        };
        self.next += 1;
        if !self.eat("(") {
            let kind = StepKind::Member(name);
            return Ok(Step { at, kind });
        }
        let mut arguments = Vec::new();
        if !self.eat(")") {
            loop {
                arguments.push(self.expression(0, depth + 1)?);
                if !self.eat(",") {
                    break;
                }
            }
            self.expect(")", "`,` or `)`")?;
        }
        let kind = StepKind::Call(name, arguments);
        Ok(Step { at, kind })
    }

    fn type_name(&mut self) -> Result<String, PathError> {
        let mut name = self.identifier()?;
        if self.eat(".") {
            name = format!("{name}.{}", self.identifier()?);
        }
        Ok(name)
    }

    fn identifier(&mut self) -> Result<String, PathError> {
        match self.peek().clone() {
            Token::Word(name) | Token::Delimited(name) => {
                self.next += 1;
                Ok(name)
            }
            _ => Err(self.expected("the name of a type")),
        }
    }

    /// `4 days` and `5 'mg'` are quantities.
    fn refuse_unit(&self, literal: &Literal) -> Result<(), PathError> {
        let is_number =
            matches!(literal.value, LiteralValue::Integer(_) | LiteralValue::Decimal(..));
        let is_unit = match self.peek() {
            Token::Literal(next) => matches!(next.value, LiteralValue::Text(_)),
            Token::Word(word) => CALENDAR_UNITS.contains(&word.trim_end_matches('s')),
            _ => false,
        };
        match is_number && is_unit {
            true => Err(later("a quantity").at(self.at())),
            false => Ok(()),
        }
    }

    fn expect(&mut self, symbol: &str, expected: &'static str) -> Result<(), PathError> {
        match self.eat(symbol) {
            true => Ok(()),
            false => Err(self.expected(expected)),
        }
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let eaten = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        self.next += usize::from(eaten);
        eaten
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn at(&self) -> usize {
        let last = self.tokens.last();
        self.tokens.get(self.next).or(last).map_or(0, |spanned| spanned.at)
    }

    fn expected(&self, expected: &'static str) -> PathError {
        syntax(expected).at(self.at())
    }
}

enum Found {
    Operator(Operator),
    TypeTest { is: bool },
}

/// Words that name no element unless they stand in backticks.
const RESERVED: &[&str] = &["and", "or", "xor", "implies", "div", "mod", "true", "false"];

const CALENDAR_UNITS: &[&str] =
    &["year", "month", "week", "day", "hour", "minute", "second", "millisecond"];

fn combine(at: usize, operator: Operator, left: Ast, right: Ast) -> Ast {
    match left {
        // A long list of alternatives is wide, not deep.
        Ast { at, height, node: Node::Chain(chained, mut operands) } if chained == operator => {
            let height = height.max(right.height + 1);
            operands.push(right);
            let node = Node::Chain(operator, operands);
            Ast { at, height, node }
        }
        left => {
            let height = left.height.max(right.height) + 1;
            let node = match operator {
                Operator::And | Operator::Or => Node::Chain(operator, vec![left, right]),
                _ => Node::Binary(operator, Box::new(left), Box::new(right)),
            };
            Ast { at, height, node }
        }
    }
}

fn step_height(step: &Step) -> usize {
    match &step.kind {
        StepKind::Member(_) => 0,
        StepKind::Call(_, arguments) => arguments.iter().map(|a| a.height).max().unwrap_or(0),
        StepKind::Index(index) => index.height,
    }
}

fn later(what: &str) -> PathProblem {
    PathProblem::NotYetSupported { what: what.to_owned() }
}

fn syntax(expected: &'static str) -> PathProblem {
    PathProblem::Syntax { expected }
}
