use std::collections::{BTreeMap, BTreeSet};

use cordon_protocol::agreement::{ResultColumn, ResultKind};
use cordon_types::{ColumnName, OutputColumn, TableName};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::utils::COUNT_STAR_EXPANSION;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, Projection};

use crate::expression::{columns, without_alias};
use crate::failure::Failure;
use crate::job::Tables;
use crate::parameters::Parameters;
use crate::relation::{Relation, Role, Translator};
use crate::tables::SealedTables;

/// A query whose shape is allowed, in terms of sealed tables. Only [`check`] makes one.
pub(crate) struct CheckedQuery {
    /// What stands below the aggregate.
    pub(crate) relation: Relation,
    /// What rows are grouped by.
    pub(crate) keys: Vec<Expr>,
    /// Columns that are summed, each once.
    pub(crate) sums: Vec<Sum>,
    /// Columns of the result.
    pub(crate) output: Vec<Output>,
    touched: BTreeMap<TableName, Vec<ColumnName>>,
}

/// A column that is summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) column: Column,
    pub(crate) kind: SumKind,
}

/// How a column is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SumKind {
    /// Exactly.
    Integer,
    /// Exactly, with so many digits after the point.
    Decimal(i8),
    /// In sealed order.
    Float,
}

/// A column of the result.
pub(crate) struct Output {
    pub(crate) name: OutputColumn,
    pub(crate) value: Value,
}

/// What stands in a column of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// The group key of this index.
    Key(usize),
    /// The number of rows.
    Rows,
    /// The number of distinct patients.
    Patients,
    /// The sum of this index.
    Sum(usize),
    /// The same, divided by the number of rows.
    Mean(usize),
}

/// Checks the shape of a planned query and translates it.
pub(crate) fn check(
    plan: &LogicalPlan,
    tables: &Tables,
    sealed: &SealedTables,
    parameters: Parameters,
) -> Result<CheckedQuery, Failure> {
    let (projection, aggregate) = top(plan)?;
    let mut translator = Translator::new(tables, sealed, parameters);
    let relation = translator.relation(&aggregate.input)?;
    let keys = keys(aggregate, &relation, &mut translator)?;
    let mut sums: Vec<Sum> = Vec::new();
    let mut values = (0..keys.len()).map(Value::Key).collect::<Vec<_>>();
    for expr in &aggregate.aggr_expr {
        let Expr::AggregateFunction(function) = without_alias(expr) else {
            return Err(Failure::shape("an aggregate is of a kind that is off"));
        };
        let schema = aggregate.input.schema();
        values.push(value(function, schema, &relation, &translator, &mut sums)?);
    }
    let output = output(projection, aggregate, &values)?;
    translator.parameters.check_all_used()?;
    let summed = sums.iter().map(|sum| Expr::Column(sum.column.clone()));
    let touched = translator.touched(&keys.iter().cloned().chain(summed).collect::<Vec<_>>())?;
    Ok(CheckedQuery { relation, keys, sums, output, touched })
}

impl CheckedQuery {
    /// The sealed columns that it touches, per table and sorted.
    pub(crate) fn touched(&self) -> &BTreeMap<TableName, Vec<ColumnName>> {
        &self.touched
    }

    /// The columns of its result.
    pub(crate) fn result(&self) -> Vec<ResultColumn> {
        let column =
            |output: &Output| ResultColumn { name: output.name.clone(), kind: output.value.kind() };
        self.output.iter().map(column).collect()
    }

    /// Whether the order of the rows matters to the last bit of the result.
    pub(crate) fn depends_on_order(&self) -> bool {
        self.sums.iter().any(|sum| sum.kind == SumKind::Float)
    }
}

impl Value {
    /// What it is to the gate.
    pub(crate) fn kind(self) -> ResultKind {
        match self {
            Self::Key(_) => ResultKind::Key,
            Self::Rows | Self::Patients => ResultKind::Count,
            Self::Sum(_) => ResultKind::Sum,
            Self::Mean(_) => ResultKind::Mean,
        }
    }
}

/// The outermost SELECT and its aggregate.
fn top(plan: &LogicalPlan) -> Result<(&Projection, &Aggregate), Failure> {
    let projection = match plan {
        LogicalPlan::Projection(projection) => projection,
        LogicalPlan::Sort(_) => {
            return Err(Failure::shape("ORDER BY is off: rows are sorted by their keys anyway"));
        }
        LogicalPlan::Distinct(_) | LogicalPlan::Union(_) => {
            return Err(Failure::shape(
                "the outermost SELECT must be one aggregate: union and select below it",
            ));
        }
        _ => return Err(no_aggregate()),
    };
    match projection.input.as_ref() {
        LogicalPlan::Aggregate(aggregate) => Ok((projection, aggregate)),
        LogicalPlan::Filter(having) if matches!(*having.input, LogicalPlan::Aggregate(_)) => Err(
            Failure::shape("HAVING is off: which groups are left out would say something of them"),
        ),
        _ => Err(no_aggregate()),
    }
}

fn no_aggregate() -> Failure {
    Failure::shape("the outermost SELECT must have COUNT, SUM or AVG")
}

fn keys(
    aggregate: &Aggregate,
    relation: &Relation,
    translator: &mut Translator<'_>,
) -> Result<Vec<Expr>, Failure> {
    let mut keys = Vec::with_capacity(aggregate.group_expr.len());
    for expr in &aggregate.group_expr {
        let key = translator.scalar(without_alias(expr), aggregate.input.schema(), relation)?;
        if columns(&key).is_empty() {
            return Err(Failure::shape("a group key must depend on a column"));
        }
        let key_type = key.get_type(relation.plan.schema());
        match key_type.map_err(|error| Failure::planning(&error))? {
            DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Decimal128(..)
            | DataType::Date32
            | DataType::Timestamp(..)
            | DataType::Utf8
            | DataType::Utf8View => keys.push(key),
            DataType::Float64 => {
                return Err(Failure::shape("a float cannot be a group key: make bands with CASE"));
            }
            _ => return Err(Failure::shape("a group key is of a type that is off")),
        }
    }
    Ok(keys)
}

fn value(
    function: &AggregateFunction,
    schema: &DFSchema,
    relation: &Relation,
    translator: &Translator<'_>,
    sums: &mut Vec<Sum>,
) -> Result<Value, Failure> {
    let params = &function.params;
    if params.filter.is_some() {
        return Err(Failure::shape("FILTER is off: put the condition into WHERE or into a key"));
    }
    if !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Err(Failure::shape("ORDER BY and NULL treatment in an aggregate are off"));
    }
    let name = function.func.name();
    let [argument] = params.args.as_slice() else {
        return Err(Failure::shape(format!("`{name}` takes one column")));
    };
    let column = match argument {
        // `COUNT(*)`, as the planner writes it.
        Expr::Literal(value, _)
            if name == "count" && !params.distinct && *value == COUNT_STAR_EXPANSION =>
        {
            return Ok(Value::Rows);
        }
        Expr::Column(column) => relation.column(column, schema)?,
        _ => return Err(bare_column(name)),
    };
    let Expr::Column(column) = column else { return Err(bare_column(name)) };
    let facts = translator.facts(column)?;
    if facts.role == Role::Computed {
        return Err(bare_column(name));
    }
    if facts.nullable {
        return Err(Failure::shape(format!(
            "a value of `{argument}` may be missing, so that `{name}` would not be of all patients of its row: add `WHERE {argument} IS NOT NULL`"
        )));
    }
    match (name, facts.role) {
        ("count", Role::Subject) if params.distinct => Ok(Value::Patients),
        ("count", Role::Holder | Role::Value) if params.distinct => Err(Failure::shape(
            "COUNT(DISTINCT …) is for the subject column: group by the column instead",
        )),
        ("count", Role::Subject | Role::Holder | Role::Value) => Ok(Value::Rows),
        ("sum" | "avg", _) if params.distinct => {
            Err(Failure::shape("DISTINCT is only for COUNT(DISTINCT …) of the subject column"))
        }
        ("sum" | "avg", Role::Subject | Role::Holder) => {
            Err(Failure::shape(format!("`{name}` of what names a patient or holder says nothing")))
        }
        ("sum" | "avg", Role::Value) => {
            let kind = match facts.data_type {
                DataType::Int32 | DataType::Int64 => SumKind::Integer,
                DataType::Decimal128(_, scale) => SumKind::Decimal(scale),
                DataType::Float64 => SumKind::Float,
                _ => return Err(Failure::shape(format!("`{name}` is for numbers"))),
            };
            let sum = Sum { column: column.clone(), kind };
            let index = sums.iter().position(|known| *known == sum).unwrap_or_else(|| {
                sums.push(sum);
                sums.len() - 1
            });
            Ok(if name == "sum" { Value::Sum(index) } else { Value::Mean(index) })
        }
        _ => Err(Failure::shape("only COUNT, SUM and AVG are on")),
    }
}

fn bare_column(name: &str) -> Failure {
    Failure::shape(format!(
        "`{name}` must be of a column as it is, not of an expression or constant: put conditions into WHERE or into a key"
    ))
}

fn output(
    projection: &Projection,
    aggregate: &Aggregate,
    values: &[Value],
) -> Result<Vec<Output>, Failure> {
    let mut output: Vec<Output> = Vec::with_capacity(projection.expr.len());
    let mut names = BTreeSet::new();
    for expr in &projection.expr {
        let name = expr.qualified_name().1;
        let Expr::Column(column) = without_alias(expr) else {
            return Err(Failure::shape(format!(
                "column `{name}` of the result must be a group key or one COUNT, SUM or AVG as it is: compute further with the result"
            )));
        };
        let index = aggregate.schema.index_of_column(column);
        let index = index.map_err(|error| Failure::planning(&error))?;
        let value = *values.get(index).ok_or_else(|| Failure::invalid("no such column"))?;
        let name: OutputColumn = name.parse().map_err(|_| {
            Failure::invalid(format!("column `{name}` of the result needs a name of letters, digits and `_`: add `AS name`"))
        })?;
        if !names.insert(name.clone()) {
            return Err(Failure::invalid(format!("two columns of the result are called `{name}`")));
        }
        output.push(Output { name, value });
    }
    let shown = |value: &Value| output.iter().any(|output| output.value == *value);
    if !values.iter().filter(|value| matches!(value, Value::Key(_))).all(shown) {
        return Err(Failure::shape("every group key must be selected: rows need to be told apart"));
    }
    if output.iter().all(|output| output.value.kind() == ResultKind::Key) {
        return Err(no_aggregate());
    }
    Ok(output)
}
