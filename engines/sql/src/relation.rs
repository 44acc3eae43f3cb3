use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cordon_types::{ColumnName, TableName};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, TableScan, Union,
};

use crate::expression::{check_scalar, check_size, columns, prepare, without_alias};
use crate::failure::Failure;
use crate::job::{HOLDER_COLUMN, Tables};
use crate::parameters::Parameters;
use crate::tables::{HOLDER_INDEX_COLUMN, PERSON_COLUMN, SealedTables, decoded_type};

/// What stands below the aggregate, translated into a plan of our own over sealed tables.
///
/// Nothing of the query's own plan is kept: a node that is not known here cannot slip through.
pub(crate) struct Relation {
    pub(crate) plan: LogicalPlan,
    /// What each column of the query's plan is in ours, by position.
    columns: Vec<Expr>,
    /// Whose row it is.
    pub(crate) holder_index: Column,
    /// Of which patient.
    pub(crate) person: Column,
    /// Type of the subject column: pseudonyms of two types are never the same patient.
    subject_type: DataType,
    /// The sealed tables that it comes from.
    sealed: BTreeSet<TableName>,
}

/// What a column of our plan is.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) role: Role,
    pub(crate) data_type: DataType,
    /// Whether a value may be missing where the relation ends.
    pub(crate) nullable: bool,
    origin: Origin,
}

/// What a column means to the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Names the patient. It joins and is counted, and nothing else.
    Subject,
    /// Names the holder.
    Holder,
    /// A column of a sealed table.
    Value,
    /// Something computed, or not the same in all parts of a union.
    Computed,
}

#[derive(Clone)]
enum Origin {
    Sealed(TableName, ColumnName),
    Engine,
    Union(Vec<Expr>),
}

/// Translates relations, and remembers what their columns are.
pub(crate) struct Translator<'a> {
    tables: &'a Tables,
    sealed: &'a SealedTables,
    pub(crate) parameters: Parameters,
    facts: BTreeMap<Column, Facts>,
    /// Expressions that decide which rows there are.
    conditions: Vec<Expr>,
    /// Tables that the query names.
    named: BTreeSet<TableName>,
    relations: usize,
}

impl Relation {
    /// What a column of the query's plan, of this schema, is in ours.
    pub(crate) fn column(&self, column: &Column, schema: &DFSchema) -> Result<&Expr, Failure> {
        let index = schema.index_of_column(column).map_err(|error| Failure::planning(&error))?;
        self.columns.get(index).ok_or_else(|| Failure::invalid("no such column"))
    }
}

impl<'a> Translator<'a> {
    pub(crate) fn new(
        tables: &'a Tables,
        sealed: &'a SealedTables,
        parameters: Parameters,
    ) -> Self {
        Self {
            tables,
            sealed,
            parameters,
            facts: BTreeMap::new(),
            conditions: Vec::new(),
            named: BTreeSet::new(),
            relations: 0,
        }
    }

    /// Translates what stands below an aggregate.
    pub(crate) fn relation(&mut self, plan: &LogicalPlan) -> Result<Relation, Failure> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.relation(&alias.input),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Aggregate(_) => {
                Err(Failure::shape("only the outermost SELECT may have an aggregate or GROUP BY"))
            }
            LogicalPlan::Distinct(_) => {
                Err(Failure::shape("DISTINCT and UNION are off: use GROUP BY and UNION ALL"))
            }
            LogicalPlan::Sort(_) => Err(Failure::shape("ORDER BY is off: leave it out")),
            LogicalPlan::EmptyRelation(_) => Err(Failure::shape("expected a table in FROM")),
            _ => Err(Failure::shape(
                "only tables, WHERE, UNION ALL and joins by patient may stand below the aggregate",
            )),
        }
    }

    /// Translates an expression of one row over a relation. It must not touch the subject.
    pub(crate) fn scalar(
        &mut self,
        expr: &Expr,
        schema: &DFSchema,
        relation: &Relation,
    ) -> Result<Expr, Failure> {
        let expr = prepare(expr, schema, &mut self.parameters)?;
        check_scalar(&expr, schema)?;
        for column in columns(&expr) {
            for column in columns(relation.column(&column, schema)?) {
                if self.facts(&column)?.role == Role::Subject {
                    return Err(Failure::shape(format!(
                        "column `{}` names the patient: it may only join, as `ON a.{0} = b.{0}`, and be counted, as `COUNT(DISTINCT {0})`",
                        column.name
                    )));
                }
            }
        }
        let translated = expr.transform_up(|expr| match &expr {
            Expr::Column(column) => {
                let ours = relation.column(column, schema)?;
                Ok(Transformed::yes(ours.clone()))
            }
            _ => Ok(Transformed::no(expr)),
        });
        let translated = translated.map_err(|error| Failure::planning(&error))?.data;
        check_size(&translated)?;
        Ok(translated)
    }

    /// What a column of our plan is.
    pub(crate) fn facts(&self, column: &Column) -> Result<&Facts, Failure> {
        self.facts.get(column).ok_or_else(|| Failure::invalid("no such column"))
    }

    /// The sealed columns that a query touches that has these expressions on top; the subject
    /// column of each table always. What it selects and does not use is not touched.
    pub(crate) fn touched(
        &self,
        top: &[Expr],
    ) -> Result<BTreeMap<TableName, Vec<ColumnName>>, Failure> {
        let mut touched: BTreeMap<TableName, BTreeSet<ColumnName>> = BTreeMap::new();
        for (name, table) in self.tables {
            if !self.named.contains(name) {
                return Err(Failure::invalid(format!(
                    "the query does not use table `{name}`: leave it out of the program"
                )));
            }
            touched.entry(name.clone()).or_default().insert(table.schema.subject.clone());
        }
        let mut open: Vec<Column> = top.iter().chain(&self.conditions).flat_map(columns).collect();
        let mut seen = BTreeSet::new();
        while let Some(column) = open.pop() {
            if !seen.insert(column.clone()) {
                continue;
            }
            match &self.facts(&column)?.origin {
                Origin::Sealed(table, name) => {
                    touched.entry(table.clone()).or_default().insert(name.clone());
                }
                Origin::Engine => {}
                Origin::Union(inputs) => open.extend(inputs.iter().flat_map(columns)),
            }
        }
        Ok(touched.into_iter().map(|(t, columns)| (t, columns.into_iter().collect())).collect())
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Relation, Failure> {
        let unknown = || Failure::invalid(format!("no table `{}`", scan.table_name.table()));
        let name: TableName = scan.table_name.table().parse().map_err(|_| unknown())?;
        let table = self.tables.get(&name).ok_or_else(unknown)?;
        let sealed = self.sealed.get(&name).ok_or_else(unknown)?;
        let alias = self.next_alias();
        let mut columns = Vec::with_capacity(table.schema.columns.len() + 1);
        let mut subject_type = DataType::Null;
        for column in &table.schema.columns {
            let data_type = decoded_type(column.kind);
            let is_subject = column.name == table.schema.subject;
            if is_subject {
                subject_type = data_type.clone();
            }
            let facts = Facts {
                role: if is_subject { Role::Subject } else { Role::Value },
                data_type,
                nullable: column.nullable,
                origin: Origin::Sealed(name.clone(), column.name.clone()),
            };
            columns.push(self.learn(&alias, column.name.as_str(), facts));
        }
        let holder = Facts {
            role: Role::Holder,
            data_type: DataType::Utf8View,
            nullable: false,
            origin: Origin::Engine,
        };
        columns.push(self.learn(&alias, HOLDER_COLUMN, holder));
        self.named.insert(name.clone());
        let source = provider_as_source(Arc::clone(sealed) as _);
        let plan = LogicalPlanBuilder::scan(alias.clone(), source, None)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|error| Failure::planning(&error))?;
        let holder_index = Column::new(Some(alias.clone()), HOLDER_INDEX_COLUMN);
        let person = Column::new(Some(alias), PERSON_COLUMN);
        let sealed = BTreeSet::from([name]);
        Ok(Relation { plan, columns, holder_index, person, subject_type, sealed })
    }

    /// A projection makes no node in our plan: its expressions replace its columns above it.
    fn projection(&mut self, projection: &Projection) -> Result<Relation, Failure> {
        let input = self.relation(&projection.input)?;
        let schema = projection.input.schema();
        let mut columns = Vec::with_capacity(projection.expr.len());
        for expr in &projection.expr {
            columns.push(match without_alias(expr) {
                Expr::Column(column) => input.column(column, schema)?.clone(),
                computed => self.scalar(computed, schema, &input)?,
            });
        }
        Ok(Relation { columns, ..input })
    }

    fn filter(&mut self, filter: &Filter) -> Result<Relation, Failure> {
        let input = self.relation(&filter.input)?;
        self.add_conditions(input, split_conjunction(&filter.predicate), filter.input.schema())
    }

    fn add_conditions<'e>(
        &mut self,
        mut relation: Relation,
        conditions: impl IntoIterator<Item = &'e Expr>,
        schema: &DFSchema,
    ) -> Result<Relation, Failure> {
        let mut plan = LogicalPlanBuilder::from(relation.plan.clone());
        for condition in conditions {
            let condition = self.scalar(condition, schema, &relation)?;
            if let Expr::IsNotNull(inner) = &condition
                && let Expr::Column(column) = inner.as_ref()
                && let Some(facts) = self.facts.get_mut(column)
            {
                // A column belongs to one relation, and all its rows come through here.
                facts.nullable = false;
            }
            self.conditions.push(condition.clone());
            plan = plan.filter(condition).map_err(|error| Failure::planning(&error))?;
        }
        relation.plan = plan.build().map_err(|error| Failure::planning(&error))?;
        Ok(relation)
    }

    fn join(&mut self, join: &Join) -> Result<Relation, Failure> {
        if join.join_type != JoinType::Inner {
            return Err(Failure::shape("only inner joins are on"));
        }
        let left = self.relation(&join.left)?;
        let right = self.relation(&join.right)?;
        let left_columns = left.columns.len();
        if left.subject_type != right.subject_type {
            return Err(Failure::shape("the joined tables name patients by different types"));
        }
        // Numbers of patients include the holder: rows of two holders never join.
        let keys = (vec![left.person.clone()], vec![right.person.clone()]);
        let plan = LogicalPlanBuilder::from(left.plan)
            .join(right.plan, JoinType::Inner, keys, None)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|error| Failure::planning(&error))?;
        let columns = left.columns.into_iter().chain(right.columns).collect();
        let Relation { holder_index, person, subject_type, mut sealed, .. } = left;
        sealed.extend(right.sealed);
        let joined = Relation { plan, columns, holder_index, person, subject_type, sealed };

        let pairs: Vec<Expr> = join.on.iter().map(|(l, r)| l.clone().eq(r.clone())).collect();
        let conditions = pairs.iter().chain(join.filter.iter().flat_map(split_conjunction));
        let (by_patient, others): (Vec<&Expr>, Vec<&Expr>) = conditions
            .filter(|condition| self.pair(condition, join, &joined) != Some(Pair::Holders))
            .partition(|condition| {
                matches!(self.pair(condition, join, &joined), Some(Pair::Subjects { left, right })
                    if (left < left_columns) != (right < left_columns))
            });
        if by_patient.is_empty() {
            return Err(Failure::shape(
                "a join must be by patient, as `JOIN b ON a.patient = b.patient`: the subject columns of both tables (the engine adds the holder)",
            ));
        }
        self.add_conditions(joined, others, &join.schema)
    }

    /// Whether a condition is the equality of two subject or two holder columns.
    fn pair(&self, condition: &Expr, join: &Join, joined: &Relation) -> Option<Pair> {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else {
            return None;
        };
        let (Expr::Column(left), Expr::Column(right)) = (left.as_ref(), right.as_ref()) else {
            return None;
        };
        let role = |column| match joined.column(column, &join.schema) {
            Ok(Expr::Column(ours)) => self.facts(ours).ok().map(|facts| facts.role),
            Ok(_) | Err(_) => None,
        };
        let index = |column| join.schema.index_of_column(column).ok();
        match (role(left)?, role(right)?) {
            (Role::Subject, Role::Subject) => {
                Some(Pair::Subjects { left: index(left)?, right: index(right)? })
            }
            (Role::Holder, Role::Holder) => Some(Pair::Holders),
            _ => None,
        }
    }

    fn union(&mut self, union: &Union) -> Result<Relation, Failure> {
        let alias = self.next_alias();
        let mut inputs = Vec::with_capacity(union.inputs.len());
        for input in &union.inputs {
            inputs.push((self.relation(input)?, input.schema()));
        }
        let Some((first, _)) = inputs.first() else { return Err(Failure::invalid("empty union")) };
        let subject_type = first.subject_type.clone();
        if inputs.iter().any(|(input, _)| input.subject_type != subject_type) {
            return Err(Failure::shape("the parts of a union name patients by different types"));
        }
        // INVARIANT: no row is in two parts. A tag in each part would make groups that differ in
        // what one condition leaves out, down to one patient, and each of them large.
        let mut sealed = BTreeSet::new();
        for name in inputs.iter().flat_map(|(input, _)| &input.sealed) {
            if !sealed.insert(name.clone()) {
                return Err(Failure::shape(format!(
                    "table `{name}` is in more than one part of a union: put it into one, with OR"
                )));
            }
        }
        let mut columns = Vec::new();
        let mut projected: Vec<Vec<Expr>> = vec![Vec::new(); inputs.len()];
        for (position, field) in union.schema.fields().iter().enumerate() {
            let parts = inputs.iter().map(|(input, schema)| {
                let same = schema.fields().get(position).map(|field| field.data_type().clone());
                Some((input.columns.get(position)?.clone(), same?))
            });
            let parts: Vec<(Expr, DataType)> = parts
                .collect::<Option<_>>()
                .ok_or_else(|| Failure::invalid("the parts of a union have different columns"))?;
            let facts = self.union_column(&parts, field.name())?;
            let name = format!("c{position}");
            if facts.role != Role::Subject {
                for (projection, (part, _)) in projected.iter_mut().zip(&parts) {
                    projection.push(part.clone().alias(&name));
                }
            }
            columns.push(self.learn(&alias, &name, facts));
        }
        let plan = union_plan(inputs.into_iter().map(|(input, _)| input), projected, &alias)
            .map_err(|error| Failure::planning(&error))?;
        let holder_index = Column::new(Some(alias.clone()), HOLDER_INDEX_COLUMN);
        let person = Column::new(Some(alias), PERSON_COLUMN);
        Ok(Relation { plan, columns, holder_index, person, subject_type, sealed })
    }

    /// What a column of a union is, from what it is in the parts.
    fn union_column(&self, parts: &[(Expr, DataType)], name: &str) -> Result<Facts, Failure> {
        let mut roles = BTreeSet::new();
        let mut nullable = false;
        let data_type = parts.first().map_or(DataType::Null, |(_, data_type)| data_type.clone());
        for (part, part_type) in parts {
            if *part_type != data_type {
                return Err(Failure::shape(format!(
                    "column `{name}` has different types in the parts of the union"
                )));
            }
            let (role, part_nullable) = match part {
                Expr::Column(column) => {
                    let facts = self.facts(column)?;
                    (facts.role, facts.nullable)
                }
                _ => (Role::Computed, true),
            };
            roles.insert(role);
            nullable |= part_nullable;
        }
        let had_subject = roles.contains(&Role::Subject);
        let role = match roles.pop_first() {
            Some(role) if roles.is_empty() => role,
            Some(_) | None => Role::Computed,
        };
        if role == Role::Computed && had_subject {
            return Err(Failure::shape(format!(
                "column `{name}` names the patient in only some parts of the union"
            )));
        }
        let origin = Origin::Union(parts.iter().map(|(part, _)| part.clone()).collect());
        Ok(Facts { role, data_type, nullable, origin })
    }

    fn learn(&mut self, alias: &TableReference, name: &str, facts: Facts) -> Expr {
        let column = Column::new(Some(alias.clone()), name);
        self.facts.insert(column.clone(), facts);
        Expr::Column(column)
    }

    /// A name that no other relation has, so that columns need no scopes.
    fn next_alias(&mut self) -> TableReference {
        let alias = TableReference::bare(format!("t{}", self.relations));
        self.relations += 1;
        alias
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pair {
    Subjects { left: usize, right: usize },
    Holders,
}

fn union_plan(
    inputs: impl Iterator<Item = Relation>,
    projected: Vec<Vec<Expr>>,
    alias: &TableReference,
) -> Result<LogicalPlan, DataFusionError> {
    let mut plan: Option<LogicalPlanBuilder> = None;
    for (input, mut projection) in inputs.zip(projected) {
        projection.push(Expr::Column(input.holder_index).alias(HOLDER_INDEX_COLUMN));
        projection.push(Expr::Column(input.person).alias(PERSON_COLUMN));
        let part = LogicalPlanBuilder::from(input.plan).project(projection)?;
        plan = Some(match plan {
            None => part,
            Some(plan) => plan.union(part.build()?)?,
        });
    }
    plan.unwrap_or_else(|| LogicalPlanBuilder::empty(false)).alias(alias.clone())?.build()
}
