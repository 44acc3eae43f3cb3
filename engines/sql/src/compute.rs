use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::functions::math::expr_fn::abs;
use datafusion::functions_aggregate::count::count_all;
use datafusion::functions_aggregate::expr_fn::{max, sum};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures_util::StreamExt;

use crate::failure::Failure;
use crate::shape::{CheckedQuery, SumKind};

/// The plan that gives, for each group and holder, one row: the keys, the holder's index, the
/// number of rows, the number of distinct patients, the most rows of a patient; then for each sum
/// the sum, the number of patients whose own is not zero, the sum of the magnitudes of theirs, and
/// the largest of these.
///
/// Counts and means need nothing else: every column that is aggregated has a value in all rows.
pub(crate) fn plan(query: &CheckedQuery) -> Result<LogicalPlan> {
    let relation = &query.relation;
    let keys = query.keys.iter().enumerate().map(|(n, key)| key.clone().alias(format!("k{n}")));
    let holder = Expr::Column(relation.holder_index.clone()).alias("holder");
    let person = Expr::Column(relation.person.clone()).alias("person");
    let sums = query.sums.iter().enumerate().map(|(n, summed)| {
        let column = Expr::Column(summed.column.clone());
        let sum = sum(match summed.kind {
            // INVARIANT: what is summed has so much room that no number of rows overflows it.
            SumKind::Integer => cast(column, DataType::Decimal128(38, 0)),
            SumKind::Decimal(scale) => cast(column, DataType::Decimal256(76, scale)),
            SumKind::Float => column,
        });
        sum.alias(format!("s{n}"))
    });
    let of_patients = LogicalPlanBuilder::from(relation.plan.clone())
        .aggregate(keys.chain([holder, person]), sums.chain([count_all().alias("rows")]))?;

    let column = |name: &str| Expr::Column(Column::new_unqualified(name));
    let keys = (0..query.keys.len()).map(|n| column(&format!("k{n}")));
    let mut values = vec![sum(column("rows")), count_all(), max(column("rows"))];
    for own in (0..query.sums.len()).map(|n| column(&format!("s{n}"))) {
        let is_some = when(own.clone().not_eq(lit(0)), lit(1)).otherwise(lit(0))?;
        let magnitude = abs(own.clone());
        values.extend([sum(own), sum(is_some), sum(magnitude.clone()), max(magnitude)]);
    }
    let values = values.into_iter().enumerate().map(|(n, value)| value.alias(format!("v{n}")));
    of_patients.aggregate(keys.chain([column("holder")]), values)?.build()
}

/// Makes it executable.
pub(crate) async fn executable(
    state: &SessionState,
    query: &CheckedQuery,
) -> Result<Arc<dyn ExecutionPlan>> {
    state.create_physical_plan(&plan(query)?).await
}

/// Runs it and hands over batch after batch, in no particular order.
pub(crate) async fn run(
    state: &SessionState,
    plan: Arc<dyn ExecutionPlan>,
    mut take: impl FnMut(&RecordBatch) -> std::result::Result<(), Failure>,
) -> std::result::Result<(), Failure> {
    let running = |error: DataFusionError| Failure::running(&error);
    let mut batches = execute_stream(plan, state.task_ctx()).map_err(running)?;
    while let Some(batch) = batches.next().await {
        take(&batch.map_err(running)?)?;
    }
    Ok(())
}
