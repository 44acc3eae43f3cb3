use std::collections::BTreeSet;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion, TreeNodeVisitor};
use datafusion::common::{Column, DFSchema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;

use crate::failure::Failure;
use crate::parameters::Parameters;

/// Makes an expression of the query ready for the checks: parameters become literals, implied
/// casts are written out, and casts of literals are done.
pub(crate) fn prepare(
    expr: &Expr,
    schema: &DFSchema,
    parameters: &mut Parameters,
) -> Result<Expr, Failure> {
    let bound = bind(expr.clone(), parameters)?;
    let coerced = bound
        .transform_up(fold_cast)
        .and_then(|folded| folded.data.transform_up(|expr| align_instants(expr, schema)))
        .and_then(|aligned| aligned.data.rewrite(&mut TypeCoercionRewriter::new(schema)))
        .and_then(|coerced| coerced.data.transform_up(fold_cast));
    Ok(coerced.map_err(|error| Failure::planning(&error))?.data)
}

/// Casts a literal now, where no record is near that it could fail on.
fn fold_cast(expr: Expr) -> Result<Transformed<Expr>, DataFusionError> {
    match &expr {
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Literal(value, _) => {
                let value = value.cast_to(cast.field.data_type())?;
                Ok(Transformed::yes(Expr::Literal(value, None)))
            }
            _ => Ok(Transformed::no(expr)),
        },
        _ => Ok(Transformed::no(expr)),
    }
}

/// Gives a date or an instant that is compared with a column of instants the column's precision.
/// Else the column would get the literal's, nanoseconds, in which far instants do not fit.
fn align_instants(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>, DataFusionError> {
    let aligned = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => {
            align(left, right, schema)? | align(right, left, schema)?
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            align(expr, low, schema)? | align(expr, high, schema)?
        }
        _ => false,
    };
    Ok(if aligned { Transformed::yes(expr) } else { Transformed::no(expr) })
}

fn align(column: &Expr, literal: &mut Expr, schema: &DFSchema) -> Result<bool, DataFusionError> {
    let Expr::Literal(value, _) = &literal else { return Ok(false) };
    if !matches!(value.data_type(), DataType::Date32 | DataType::Timestamp(..))
        || matches!(column, Expr::Literal(..))
    {
        return Ok(false);
    }
    let column_type = column.get_type(schema)?;
    let DataType::Timestamp(..) = column_type else { return Ok(false) };
    let aligned = value.cast_to(&column_type)?;
    if aligned.cast_to(&value.data_type())? != *value {
        return Ok(false);
    }
    *literal = Expr::Literal(aligned, None);
    Ok(true)
}

fn bind(expr: Expr, parameters: &mut Parameters) -> Result<Expr, Failure> {
    let bound = expr.transform_up(|expr| match &expr {
        Expr::Placeholder(placeholder) => {
            let value = parameters.bind(placeholder)?;
            Ok(Transformed::yes(Expr::Literal(value, None)))
        }
        _ => Ok(Transformed::no(expr)),
    });
    match bound {
        Ok(bound) => Ok(bound.data),
        Err(error) => Err(own_or_planning(&error)),
    }
}

/// Checks an expression of one row: deterministic, and no value of a record makes it fail.
///
/// # Errors
/// `ShapeRefused`, with what to change.
pub(crate) fn check_scalar(expr: &Expr, schema: &DFSchema) -> Result<(), Failure> {
    let visited = expr.apply(|expr| {
        check_node(expr, schema)?;
        Ok(TreeNodeRecursion::Continue)
    });
    visited.map(|_| ()).map_err(|error| own_or_planning(&error))
}

/// Checks that an expression can be planned in short time and on a short stack. What a query
/// names once may stand in it many times, so that its text says little of that.
///
/// # Errors
/// `QueryInvalid`, with the limit.
pub(crate) fn check_size(expr: &Expr) -> Result<(), Failure> {
    let mut size = Size::default();
    let visited = expr.visit(&mut size);
    visited.map(|_| ()).map_err(|error| own_or_planning(&error))
}

#[derive(Default)]
struct Size {
    depth: usize,
    nodes: usize,
}

impl TreeNodeVisitor<'_> for Size {
    type Node = Expr;

    fn f_down(&mut self, _expr: &Expr) -> Result<TreeNodeRecursion, DataFusionError> {
        self.depth += 1;
        self.nodes += 1;
        if self.depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(Failure::invalid(format!(
                "an expression, with all that it names written out, is more than {MAX_DEPTH} deep or {MAX_NODES} large"
            ))
            .into());
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn f_up(&mut self, _expr: &Expr) -> Result<TreeNodeRecursion, DataFusionError> {
        self.depth -= 1;
        Ok(TreeNodeRecursion::Continue)
    }
}

/// Nesting of expressions that a planner, which recurses into them, is given: a chain of
/// conditions is a nest as well.
pub(crate) const MAX_DEPTH: usize = 200;
const MAX_NODES: usize = 20_000;

/// The columns in an expression.
pub(crate) fn columns(expr: &Expr) -> BTreeSet<Column> {
    expr.column_refs().into_iter().cloned().collect()
}

/// An alias says nothing of what an expression is.
pub(crate) fn without_alias(mut expr: &Expr) -> &Expr {
    while let Expr::Alias(alias) = expr {
        expr = &alias.expr;
    }
    expr
}

fn check_node(expr: &Expr, schema: &DFSchema) -> Result<(), DataFusionError> {
    match expr {
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Alias(_)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::InList(_) => Ok(()),
        // A pattern made of a record could be none.
        Expr::Like(like) if matches!(*like.pattern, Expr::Literal(..)) => Ok(()),
        Expr::Like(_) => refuse("LIKE is for a pattern that is written out or a parameter"),
        Expr::BinaryExpr(binary) => {
            let operands = [binary.left.as_ref(), binary.right.as_ref()];
            check_operator(binary.op, operands, schema)
        }
        Expr::Negative(inner) => check_operator(Operator::Minus, [inner, inner], schema),
        Expr::Cast(cast) => {
            let (from, to) = (cast.expr.get_type(schema)?, cast.field.data_type());
            if never_fails(&from, to) {
                Ok(())
            } else {
                refuse(&format!(
                    "a comparison or cast that makes {to} of {from} is off, since a value could make it fail: compare with a value of the column's own type"
                ))
            }
        }
        Expr::ScalarFunction(function) => {
            let float = ["ceil", "floor", "round"].contains(&function.name());
            for argument in function.args.iter().take(usize::from(float)) {
                if argument.get_type(schema)? != DataType::Float64 {
                    return refuse("`ceil`, `floor` and `round` are for floats");
                }
            }
            Ok(())
        }
        Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::SetComparison(_)
        | Expr::ScalarSubquery(_)
        | Expr::OuterReferenceColumn(..) => {
            refuse("sub-queries in expressions are off: join by patient instead")
        }
        Expr::AggregateFunction(_) => refuse("an aggregate may only stand in the outermost SELECT"),
        Expr::SimilarTo(_) => refuse("SIMILAR TO is off: use LIKE"),
        Expr::TryCast(_) => refuse("TRY_CAST is off"),
        Expr::GroupingSet(_) => {
            refuse("GROUPING SETS, ROLLUP and CUBE are off: ask once for each grouping")
        }
        _ => refuse("an expression is of a kind that is off"),
    }
}

fn check_operator(
    operator: Operator,
    operands: [&Expr; 2],
    schema: &DFSchema,
) -> Result<(), DataFusionError> {
    match operator {
        Operator::Eq
        | Operator::NotEq
        | Operator::Lt
        | Operator::LtEq
        | Operator::Gt
        | Operator::GtEq
        | Operator::And
        | Operator::Or
        | Operator::IsDistinctFrom
        | Operator::IsNotDistinctFrom
        | Operator::StringConcat => Ok(()),
        Operator::Plus | Operator::Minus | Operator::Multiply => {
            // Integers wrap and floats saturate; decimals and dates would fail.
            for operand in operands {
                match operand.get_type(schema)? {
                    DataType::Int32 | DataType::Int64 | DataType::Float64 => {}
                    _ => return refuse("`+`, `-` and `*` are for integers and floats"),
                }
            }
            Ok(())
        }
        Operator::Divide | Operator::Modulo => {
            refuse("division is off, since a value could make it fail: divide the result")
        }
        _ => refuse("an operator is off: use comparisons, AND, OR, `+`, `-`, `*`, `||` and LIKE"),
    }
}

/// Casts that give every value another value.
fn never_fails(from: &DataType, to: &DataType) -> bool {
    let digits = match from {
        _ if from == to => return true,
        DataType::Int32 => 10,
        DataType::Int64 => 19,
        DataType::Decimal128(..) => return *to == DataType::Float64,
        DataType::Utf8 => return *to == DataType::Utf8View,
        DataType::Utf8View => return *to == DataType::Utf8,
        _ => return false,
    };
    match to {
        DataType::Int64 | DataType::Float64 => true,
        DataType::Decimal128(precision, scale) => {
            i16::from(*precision) - i16::from(*scale) >= digits
        }
        _ => false,
    }
}

fn refuse<T>(detail: &str) -> Result<T, DataFusionError> {
    Err(Failure::shape(detail).into())
}

/// A failure of ours that passed through DataFusion, or what DataFusion says itself.
fn own_or_planning(error: &DataFusionError) -> Failure {
    match error {
        DataFusionError::External(inner) => {
            inner.downcast_ref().cloned().unwrap_or_else(|| Failure::planning(error))
        }
        _ => Failure::planning(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_that_lose_nothing_are_known() {
        for (from, to) in [
            (DataType::Int32, DataType::Int64),
            (DataType::Int64, DataType::Float64),
            (DataType::Int64, DataType::Decimal128(38, 4)),
            (DataType::Int32, DataType::Decimal128(10, 0)),
            (DataType::Decimal128(38, 4), DataType::Float64),
            (DataType::Date32, DataType::Date32),
        ] {
            assert!(never_fails(&from, &to), "{from} {to}");
        }
        for (from, to) in [
            (DataType::Int64, DataType::Int32),
            (DataType::Int64, DataType::Decimal128(20, 4)),
            (DataType::Float64, DataType::Int64),
            (DataType::Float64, DataType::Decimal128(38, 4)),
            (DataType::Utf8View, DataType::Int64),
            (DataType::Utf8View, DataType::Date32),
            (DataType::Decimal128(38, 4), DataType::Decimal128(38, 6)),
        ] {
            assert!(!never_fails(&from, &to), "{from} {to}");
        }
    }
}
