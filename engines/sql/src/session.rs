use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::functions::core::planner::CoreFunctionPlanner;
use datafusion::functions::datetime::planner::DatetimeFunctionPlanner;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::planner::AggregateFunctionPlanner;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionConfig;

use crate::failure::Failure;

/// A session that knows the allowed functions, no file, no catalog but its own, and as much
/// memory as the job may take.
pub(crate) fn session(memory_bytes: u64, partitions: usize) -> Result<SessionState, Failure> {
    let runtime = runtime(memory_bytes).map_err(|error| Failure::planning(&error))?;
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_batch_size(BATCH_ROWS)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(true);
    let options = config.options_mut();
    // Names are exactly those of the agreement, upper and lower case included.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = true;
    // `1.2` is compared with a decimal exactly; beside a float it becomes one.
    options.sql_parser.parse_float_as_decimal = true;
    // Filters made from the values of a join would let data decide what is read.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    Ok(SessionStateBuilder::new()
        .with_session_id("job".to_owned())
        .with_config(config)
        .with_runtime_env(runtime)
        .with_expr_planners(vec![
            Arc::new(CoreFunctionPlanner::default()),
            Arc::new(DatetimeFunctionPlanner),
            Arc::new(AggregateFunctionPlanner),
        ])
        .with_scalar_functions(scalar_functions())
        .with_aggregate_functions(aggregate_functions())
        .build())
}

/// Whether a function may stand in a query.
pub(crate) fn is_allowed_function(name: &str) -> bool {
    let scalar = scalar_functions().iter().any(|f| f.name() == name || is_alias(f.aliases(), name));
    scalar || aggregate_functions().iter().any(|f| f.name() == name || is_alias(f.aliases(), name))
}

fn is_alias(aliases: &[String], name: &str) -> bool {
    aliases.iter().any(|alias| alias == name)
}

/// Functions of one value: deterministic, and none of them fails for any value of a record.
fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    use datafusion::functions::{core, datetime, math, string, unicode};
    vec![
        core::coalesce(),
        // Not `date_trunc`: it makes nanoseconds of a day, which overflows for far ones.
        datetime::date_part(),
        math::ceil(),
        math::floor(),
        math::round(),
        string::btrim(),
        string::lower(),
        string::starts_with(),
        string::upper(),
        unicode::character_length(),
    ]
}

fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    vec![count_udaf(), sum_udaf(), avg_udaf()]
}

fn runtime(memory_bytes: u64) -> datafusion::error::Result<Arc<RuntimeEnv>> {
    let memory = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
        // Nothing is spilled: what outgrows its memory fails.
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
        )
        .build_arc()?;
    // The default registry serves `file://`.
    runtime.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref())?;
    Ok(runtime)
}

/// Rows that are decoded and computed on at a time.
pub(crate) const BATCH_ROWS: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_no_files_no_spill_and_no_other_functions() {
        let state = session(1 << 20, 1).unwrap();
        let runtime = state.runtime_env();
        assert!(runtime.object_store(ObjectStoreUrl::local_filesystem()).is_err());
        assert!(!runtime.disk_manager.tmp_files_enabled());
        assert!(state.table_functions().is_empty());
        assert!(state.window_functions().is_empty());
        assert!(state.table_factories().is_empty());
        let aggregates: Vec<_> = state.aggregate_functions().keys().cloned().collect();
        assert!(
            aggregates.iter().all(|name| ["count", "sum", "avg", "mean"].contains(&name.as_str()))
        );
        for off in ["random", "uuid", "now", "current_date", "version", "arrow_typeof", "md5"] {
            assert!(!state.scalar_functions().contains_key(off) && !is_allowed_function(off));
        }
    }
}
