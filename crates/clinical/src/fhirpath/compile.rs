//! Trees to expressions: names become hashes, constants values, types are checked.

use std::collections::BTreeMap;

use super::ast::{self, Ast, Node, Operator, StepKind};
use super::error::{PathError, PathProblem};
use super::expr::{CompiledPath, Expr, FoundType, Literal, Member, PathWarning, Step};
use super::functions::{self, Function};
use super::parser::parse;
use crate::fhir::{Lookup, Primitive, TypeId, Types, may_be_choice, schema};
use crate::json::Name;

/// The constants of a view by name.
pub(crate) type Constants = BTreeMap<String, Literal>;

/// Compiles a path whose focus is one of `focus`.
pub(crate) fn compile(
    path: &str,
    focus: &Types,
    resource: TypeId,
    constants: &Constants,
) -> Result<CompiledPath, PathError> {
    let ast = parse(path)?;
    let mut compiler = Compiler { resource, constants, warnings: Vec::new() };
    let (expr, types) = compiler.expression(&ast, focus)?;
    Ok(CompiledPath { expr, types, warnings: compiler.warnings })
}

/// Compiles a path that must be able to yield a boolean.
pub(crate) fn compile_condition(
    path: &str,
    focus: &Types,
    resource: TypeId,
    constants: &Constants,
) -> Result<CompiledPath, PathError> {
    let compiled = compile(path, focus, resource, constants)?;
    expect_boolean(&compiled.types, 0)?;
    Ok(compiled)
}

/// An expression and what it can yield.
type Typed = (Expr, Types);

struct Compiler<'c> {
    resource: TypeId,
    constants: &'c Constants,
    warnings: Vec<PathWarning>,
}

impl Compiler<'_> {
    fn expression(&mut self, ast: &Ast, focus: &Types) -> Result<Typed, PathError> {
        match &ast.node {
            Node::Literal(literal) => Ok(from_literal(literal)),
            Node::Nothing => Ok((Expr::Nothing, Types::Of(Vec::new()))),
            Node::Index => Ok((Expr::Index, one("integer"))),
            Node::Variable(name) => self.variable(name, ast.at),
            Node::Path { base, steps } => self.path(base.as_deref(), steps, focus),
            Node::Negate(operand) => {
                let (operand_expr, types) = self.expression(operand, focus)?;
                expect(&types, "a number", is_number, operand.at)?;
                Ok((Expr::Negate(Box::new(operand_expr)), types))
            }
            Node::Binary(operator, left, right) => self.binary(*operator, left, right, focus),
            Node::Chain(operator, operands) => {
                let operands = operands.iter().map(|operand| self.condition(operand, focus));
                let operands = operands.collect::<Result<_, _>>()?;
                Ok((Expr::Chain(*operator, operands), one("boolean")))
            }
            Node::TypeTest { is, operand, type_name } => {
                let (operand, _) = self.expression(operand, focus)?;
                let type_id = find_type(type_name, ast.at)?;
                Ok(match is {
                    true => (path_of(operand, Step::Is(type_id)), one("boolean")),
                    false => (path_of(operand, Step::OfType(type_id)), Types::one(type_id)),
                })
            }
        }
    }

    /// An expression that must be able to yield a boolean.
    fn condition(&mut self, ast: &Ast, focus: &Types) -> Result<Expr, PathError> {
        let (expr, types) = self.expression(ast, focus)?;
        expect_boolean(&types, ast.at)?;
        Ok(expr)
    }

    /// An expression that must be able to yield a value of one kind.
    fn operand(
        &mut self,
        ast: &Ast,
        focus: &Types,
        expected: &'static str,
        accepts: fn(Primitive) -> bool,
    ) -> Result<Expr, PathError> {
        let (expr, types) = self.expression(ast, focus)?;
        expect(&types, expected, accepts, ast.at)?;
        Ok(expr)
    }

    fn variable(&self, name: &str, at: usize) -> Result<Typed, PathError> {
        match name {
            "resource" | "context" => Ok((Expr::Resource, Types::one(self.resource))),
            "rowIndex" => Ok((Expr::RowIndex, one("integer"))),
            _ => match self.constants.get(name) {
                Some(literal) => Ok(from_literal(literal)),
                None => Err(PathProblem::UnknownConstant { name: name.to_owned() }.at(at)),
            },
        }
    }

    fn path(
        &mut self,
        base: Option<&Ast>,
        steps: &[ast::Step],
        focus: &Types,
    ) -> Result<Typed, PathError> {
        let mut compiled = Vec::with_capacity(steps.len());
        let (base, mut types, steps) = match (base, steps) {
            (Some(base), steps) => {
                let (base, types) = self.expression(base, focus)?;
                (base, types, steps)
            }
            (None, steps) => self.first_step(steps, focus, &mut compiled)?,
        };
        for step in steps {
            types = self.step(step, types, focus, &mut compiled)?;
        }
        Ok((path_from(base, compiled), types))
    }

    /// What a path without a base begins with, and the steps that are left.
    fn first_step<'s>(
        &mut self,
        steps: &'s [ast::Step],
        focus: &Types,
        compiled: &mut Vec<Step>,
    ) -> Result<(Expr, Types, &'s [ast::Step]), PathError> {
        let Some((first, rest)) = steps.split_first() else {
            return Ok((Expr::This, focus.clone(), steps));
        };
        match &first.kind {
            StepKind::Call(name, arguments) if name == "iif" => {
                functions::find(name, arguments.len()).map_err(|problem| problem.at(first.at))?;
                let (expr, types) = self.choose(arguments, focus)?;
                Ok((expr, types, rest))
            }
            StepKind::Member(name) if let Some(root) = root_filter(name, focus) => {
                compiled.push(Step::Root(root));
                Ok((Expr::This, Types::one(root), rest))
            }
            _ => Ok((Expr::This, focus.clone(), steps)),
        }
    }

    fn step(
        &mut self,
        step: &ast::Step,
        input: Types,
        focus: &Types,
        compiled: &mut Vec<Step>,
    ) -> Result<Types, PathError> {
        match &step.kind {
            StepKind::Member(name) => {
                let (member, types) = self.member(name, &input);
                compiled.push(match is_choice_key(name, &input) {
                    true => Step::Nothing,
                    false => Step::Member(member),
                });
                Ok(types)
            }
            StepKind::Index(index) => {
                let index = self.operand(index, focus, "an integer", is_integer)?;
                compiled.push(Step::Item(index));
                Ok(input)
            }
            StepKind::Call(name, arguments) => {
                let function = functions::find(name, arguments.len())
                    .map_err(|problem| problem.at(step.at))?;
                self.call(function, step.at, arguments, input, focus, compiled)
            }
        }
    }

    fn call(
        &mut self,
        function: Function,
        at: usize,
        arguments: &[Ast],
        input: Types,
        focus: &Types,
        compiled: &mut Vec<Step>,
    ) -> Result<Types, PathError> {
        let first = arguments.first();
        let (step, types) = match (function, first) {
            (Function::Where, Some(criteria)) => {
                (Step::Where(self.condition(criteria, &input)?), input)
            }
            (Function::Exists, Some(criteria)) => {
                compiled.push(Step::Where(self.condition(criteria, &input)?));
                (Step::Exists, one("boolean"))
            }
            (Function::All, Some(criteria)) => {
                (Step::All(self.condition(criteria, &input)?), one("boolean"))
            }
            (Function::Select, Some(projection)) => {
                let (projection, types) = self.expression(projection, &input)?;
                (Step::Select(projection), types)
            }
            (Function::Extension, Some(url)) => {
                return self.extension(url, &input, focus, compiled);
            }
            (Function::OfType, Some(argument)) => {
                let type_id = type_argument(argument)?;
                (Step::OfType(type_id), Types::one(type_id))
            }
            (Function::Is, Some(argument)) => (Step::Is(type_argument(argument)?), one("boolean")),
            (Function::Skip, Some(n)) => {
                (Step::Skip(self.operand(n, focus, "an integer", is_integer)?), input)
            }
            (Function::Take, Some(n)) => {
                (Step::Take(self.operand(n, focus, "an integer", is_integer)?), input)
            }
            (Function::Join, separator) => {
                expect(&input, "text", is_texty, at)?;
                let separator = separator.map(|s| self.operand(s, focus, "text", is_texty));
                (Step::Join(separator.transpose()?), one("string"))
            }
            (Function::ReferenceKey, argument) => {
                let resource = argument.map(type_argument).transpose()?;
                (Step::ReferenceKey(resource), one("string"))
            }
            (Function::Text(function), _) => {
                let (takes, accepts) = functions::input_of(function);
                expect(&input, takes, accepts, at)?;
                let (takes, accepts) = functions::argument_of(function);
                let arguments = arguments.iter().map(|a| self.operand(a, focus, takes, accepts));
                let arguments = arguments.collect::<Result<_, _>>()?;
                (Step::Text(function, arguments), one(functions::result_of(function)))
            }
            (Function::Not, _) => {
                expect_boolean(&input, at)?;
                (Step::Not, one("boolean"))
            }
            (Function::Exists, None) => (Step::Exists, one("boolean")),
            (Function::Empty, _) => (Step::IsEmpty, one("boolean")),
            (Function::Count, _) => (Step::Count, one("integer")),
            (Function::HasValue, _) => (Step::HasValue, one("boolean")),
            (Function::ResourceKey, _) => (Step::ResourceKey, one("string")),
            (Function::First, _) => (Step::First, input),
            (Function::Last, _) => (Step::Last, input),
            (Function::Single, _) => (Step::Single, input),
            (Function::Tail, _) => (Step::Tail, input),
            (Function::Iif, _) => {
                // `first_step` has taken the ones that choose for the focus.
                let what = "`iif` on anything but the focus".to_owned();
                return Err(PathProblem::NotYetSupported { what }.at(at));
            }
            (
                Function::Where
                | Function::All
                | Function::Select
                | Function::Extension
                | Function::OfType
                | Function::Is
                | Function::Skip
                | Function::Take,
                None,
            ) => {
                // `functions::find` has counted the arguments.
                return Err(PathProblem::Syntax { expected: "an argument" }.at(at));
            }
        };
        compiled.push(step);
        Ok(types)
    }

    /// `extension(url)` is `extension.where(url = …)`, but for the focus of its argument.
    fn extension(
        &mut self,
        url: &Ast,
        input: &Types,
        focus: &Types,
        compiled: &mut Vec<Step>,
    ) -> Result<Types, PathError> {
        let url = self.operand(url, focus, "text", is_texty)?;
        let (member, types) = self.member("extension", input);
        let (url_member, _) = self.member("url", &types);
        compiled.push(Step::Member(member));
        compiled.push(Step::WithUrl(url_member, url));
        Ok(types)
    }

    fn choose(&mut self, arguments: &[Ast], focus: &Types) -> Result<Typed, PathError> {
        let Some((condition, branches)) = arguments.split_first() else {
            return Err(PathProblem::Syntax { expected: "an argument" }.at(0));
        };
        let condition = self.condition(condition, focus)?;
        let (mut chosen, mut types) = (Vec::new(), Types::Of(Vec::new()));
        for branch in branches {
            let (expr, branch_types) = self.expression(branch, focus)?;
            chosen.push(expr);
            types = types.join(branch_types);
        }
        let mut chosen = chosen.into_iter();
        let mut branch = || chosen.next().unwrap_or(Expr::Nothing);
        Ok((Expr::Choose(Box::new([condition, branch(), branch()])), types))
    }

    fn member(&mut self, name: &str, owners: &Types) -> (Member, Types) {
        let looked_up = match owners {
            Types::Any => (may_be_choice(name), Types::Any),
            Types::Of(owners) => self.member_of(name, owners),
        };
        let (is_choice, types) = looked_up;
        let found = match &types {
            Types::Of(types) if types.len() == 1 => match types.first() {
                Some(only) => FoundType::Known(*only),
                None => FoundType::Unknown,
            },
            Types::Of(_) => FoundType::OfOwner,
            Types::Any => FoundType::Unknown,
        };
        let member = Member {
            name: Name::new(name),
            sibling: Name::new(&format!("_{name}")),
            is_choice,
            found,
        };
        (member, types)
    }

    fn member_of(&mut self, name: &str, owners: &[TypeId]) -> (bool, Types) {
        let mut is_choice = false;
        let mut types = Types::Of(Vec::new());
        let mut unknown = Vec::new();
        for &owner in owners {
            match schema().element(owner, name) {
                Lookup::Found(element) => {
                    is_choice |= element.is_choice;
                    types = types.join(element.types.clone());
                }
                Lookup::NotDescribed => {
                    is_choice |= may_be_choice(name);
                    types = Types::Any;
                }
                Lookup::Unknown | Lookup::ChoiceKey => unknown.push(owner),
            }
        }
        // An element of one alternative need not exist in the others.
        if unknown.len() == owners.len() {
            types = Types::Any;
            if let Some(&owner) = unknown.first() {
                self.warn(owner, name);
            }
        }
        (is_choice, types)
    }

    fn warn(&mut self, owner: TypeId, name: &str) {
        let lookup = schema().element(owner, name);
        let (owner, name) = (schema().name(owner).to_owned(), name.to_owned());
        self.warnings.push(match lookup {
            Lookup::ChoiceKey => PathWarning::ChoiceKey { owner, name },
            _ => PathWarning::UnknownElement { owner, name },
        });
    }

    fn binary(
        &mut self,
        operator: Operator,
        left: &Ast,
        right: &Ast,
        focus: &Types,
    ) -> Result<Typed, PathError> {
        use Operator::*;
        let (left_expr, left_types) = self.expression(left, focus)?;
        let (right_expr, right_types) = self.expression(right, focus)?;
        let both = |expected, accepts: fn(Primitive) -> bool| {
            expect(&left_types, expected, accepts, left.at)?;
            expect(&right_types, expected, accepts, right.at)
        };
        let types = match operator {
            Implies | Xor | And | Or => {
                both("a boolean", |primitive| primitive == Primitive::Boolean)?;
                one("boolean")
            }
            In | Contains | Equal | NotEqual => one("boolean"),
            Less | LessOrEqual | Greater | GreaterOrEqual => {
                both("a number, text or date", is_ordered)?;
                one("boolean")
            }
            Plus => {
                both("a number or text", |primitive| is_number(primitive) || is_texty(primitive))?;
                sum_types(&left_types, &right_types)
            }
            Minus | Times => {
                both("a number", is_number)?;
                sum_types(&left_types, &right_types)
            }
            Divide => {
                both("a number", is_number)?;
                one("decimal")
            }
            IntegerDivide => {
                both("a number", is_number)?;
                one("integer")
            }
            Modulo => {
                both("a number", is_number)?;
                sum_types(&left_types, &right_types)
            }
            Join => {
                both("text", is_texty)?;
                one("string")
            }
        };
        Ok((Expr::Binary(operator, Box::new(left_expr), Box::new(right_expr)), types))
    }
}

/// Whether `name` is for all owners the JSON key of a choice, thus no element.
fn is_choice_key(name: &str, owners: &Types) -> bool {
    match owners {
        Types::Any => false,
        Types::Of(owners) => {
            let is_key = |id: &TypeId| matches!(schema().element(*id, name), Lookup::ChoiceKey);
            !owners.is_empty() && owners.iter().all(is_key)
        }
    }
}

/// Refuses an operand that can never be what is needed.
fn expect(
    types: &Types,
    expected: &'static str,
    accepts: fn(Primitive) -> bool,
    at: usize,
) -> Result<(), PathError> {
    match types {
        Types::Of(types) if !types.is_empty() && !types.iter().any(|t| fits(*t, accepts)) => {
            let found = describe(types);
            Err(PathProblem::WrongType { expected, found }.at(at))
        }
        _ => Ok(()),
    }
}

fn expect_boolean(types: &Types, at: usize) -> Result<(), PathError> {
    let is_boolean = |primitive| primitive == Primitive::Boolean;
    expect(types, "a boolean", is_boolean, at).map_err(|error| match error.problem {
        PathProblem::WrongType { found, .. } => PathProblem::NotBoolean { found }.at(at),
        problem => problem.at(at),
    })
}

fn fits(type_id: TypeId, accepts: fn(Primitive) -> bool) -> bool {
    schema().primitive(type_id).is_some_and(accepts)
}

/// Names types for a message.
pub(crate) fn describe(types: &[TypeId]) -> String {
    let names: Vec<&str> = types.iter().map(|id| schema().name(*id)).collect();
    names.join(" or ")
}

/// Of `+`, `-`, `*` and `mod`: integers stay integers, text stays text.
fn sum_types(left: &Types, right: &Types) -> Types {
    let all = |accepts: fn(Primitive) -> bool| {
        [left, right].iter().all(|types| match types {
            Types::Of(types) => types.iter().all(|id| fits(*id, accepts)),
            Types::Any => false,
        })
    };
    match () {
        _ if all(is_integer) => one("integer"),
        _ if all(is_number) => one("decimal"),
        _ if all(is_texty) => one("string"),
        _ => Types::Any,
    }
}

pub(super) fn is_integer(primitive: Primitive) -> bool {
    primitive == Primitive::Integer
}

pub(super) fn is_number(primitive: Primitive) -> bool {
    matches!(primitive, Primitive::Integer | Primitive::Decimal)
}

/// Whatever JSON writes as a string.
pub(super) fn is_texty(primitive: Primitive) -> bool {
    !is_number(primitive) && primitive != Primitive::Boolean
}

fn is_ordered(primitive: Primitive) -> bool {
    primitive != Primitive::Boolean
}

/// The `Patient` of `Patient.name`: a type where only a resource can be meant.
fn root_filter(name: &str, focus: &Types) -> Option<TypeId> {
    let is_data_type = match focus {
        Types::Any => false,
        Types::Of(types) => types.iter().all(|id| !schema().is_resource(*id)),
    };
    schema().resource(name).filter(|_| !is_data_type)
}

fn type_argument(ast: &Ast) -> Result<TypeId, PathError> {
    let not_a_type = || PathProblem::Syntax { expected: "the name of a type" }.at(ast.at);
    let Node::Path { base: None, steps } = &ast.node else {
        return Err(not_a_type());
    };
    let names = steps.iter().map(|step| match &step.kind {
        StepKind::Member(name) => Ok(name.as_str()),
        _ => Err(not_a_type()),
    });
    let names: Vec<&str> = names.collect::<Result<_, _>>()?;
    find_type(&names.join("."), ast.at)
}

fn find_type(name: &str, at: usize) -> Result<TypeId, PathError> {
    let unknown = || PathProblem::UnknownType { name: name.to_owned() }.at(at);
    schema().find(name).ok_or_else(unknown)
}

fn from_literal(literal: &Literal) -> Typed {
    let types = literal.type_id.map_or(Types::Any, Types::one);
    (Expr::Literal(literal.clone()), types)
}

fn path_of(base: Expr, step: Step) -> Expr {
    path_from(base, vec![step])
}

fn path_from(base: Expr, steps: Vec<Step>) -> Expr {
    match (base, steps.is_empty()) {
        (base, true) => base,
        (Expr::Path { base, steps: mut before }, false) => {
            before.extend(steps);
            Expr::Path { base, steps: before }
        }
        (base, false) => Expr::Path { base: Box::new(base), steps },
    }
}

/// One type that the table has.
fn one(name: &str) -> Types {
    schema().find(name).map_or(Types::Any, Types::one)
}
