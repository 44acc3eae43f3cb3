use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use cordon_dataset::FileKeys;
use cordon_protocol::table::RawTable;
use cordon_protocol::worker::{FailureCode, Job, JobFile, JobKey, JobKeys, PlanReport};
use cordon_types::{ColumnName, PartyId, Secret};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::prelude::SessionContext;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::compute;
use crate::failure::Failure;
use crate::files::{OpenFile, RowGroup};
use crate::job::{QueryTable, Tables, check_agreed, check_job, files};
use crate::link::Link;
use crate::output::Collector;
use crate::parameters::Parameters;
use crate::parse::parse;
use crate::people::People;
use crate::scan::Content;
use crate::session::session;
use crate::shape::{self, CheckedQuery};
use crate::tables::{SealedTables, VisibleTable, file_schema, sealed_tables};

/// Plans a job: what it touches and what it gives. Nothing is read.
pub(crate) async fn plan(job: &Job, processors: usize) -> Result<PlanReport, Failure> {
    let tables = check_job(job)?;
    let sealed = sealed_tables(&tables);
    let query = check(job, &tables, &sealed).await?;
    // As far as a run would come without data.
    let state = session(job.limits.memory_bytes, processors)?;
    compute::executable(&state, &query).await.map_err(|error| Failure::planning(&error))?;
    Ok(PlanReport { touched: query.touched().clone(), result: query.result() })
}

/// Plans a job again, and runs it.
pub(crate) async fn run(
    job: &Job,
    keys: JobKeys,
    guard: Arc<UnixStream>,
    processors: usize,
) -> Result<RawTable, Failure> {
    let tables = check_job(job)?;
    let sealed = sealed_tables(&tables);
    let query = check(job, &tables, &sealed).await?;
    let keys = file_keys(&tables, &query, keys)?;
    // Floats are summed in the order of the rows, so only by one.
    let partitions = if query.depends_on_order() { 1 } else { processors };
    let state = session(job.limits.memory_bytes, partitions)?;
    let memory = MemoryConsumer::new("people").register(&state.runtime_env().memory_pool);
    let people = Arc::new(People::new(job.holders.len(), memory));
    let holders: Arc<[PartyId]> = job.holders.clone().into();
    let link = Arc::new(Link::start(guard)?);
    for (name, table) in &tables {
        let content = Content {
            groups: open_files(&link, table, &holders, &keys).await?,
            subject: subject_index(table)?,
            holders: Arc::clone(&holders),
            people: Arc::clone(&people),
            link: Arc::clone(&link),
        };
        sealed.get(name).ok_or_else(internal)?.fill(content)?;
    }
    let plan = compute::executable(&state, &query).await;
    let plan = plan.map_err(|error| Failure::planning(&error))?;
    let mut collector = Collector::new(&query, holders.len(), &job.limits);
    compute::run(&state, plan, |batch| collector.take(batch)).await?;
    collector.finish()
}

/// Plans the query as DataFusion sees it and checks it. No data is near.
async fn check(job: &Job, tables: &Tables, sealed: &SealedTables) -> Result<CheckedQuery, Failure> {
    let parameters = Parameters::new(&job.parameters)?;
    let statement = parse(&job.query)?;
    let planning = |error| Failure::planning(&error);
    let context = SessionContext::new_with_state(session(job.limits.memory_bytes, 1)?);
    for (name, table) in tables {
        let visible: Arc<dyn TableProvider> = Arc::new(VisibleTable::new(&table.schema.columns));
        context.register_table(TableReference::bare(name.as_str()), visible).map_err(planning)?;
    }
    let plan = context.state().statement_to_plan(statement).await.map_err(planning)?;
    let query = shape::check(&plan, tables, sealed, parameters)?;
    check_agreed(tables, query.touched())?;
    Ok(query)
}

/// The keys of each file: its footer's and those of the columns that the query touches.
fn file_keys(
    tables: &Tables,
    query: &CheckedQuery,
    keys: JobKeys,
) -> Result<BTreeMap<u32, FileKeys>, Failure> {
    let mut given: BTreeMap<(u32, Option<u16>), Secret<32>> = BTreeMap::new();
    for JobKey { file, column, key } in keys.into_keys() {
        if given.insert((file, column), key).is_some() {
            return Err(Failure::bad_job("two keys for one thing"));
        }
    }
    let mut opened = BTreeMap::new();
    for (name, table) in tables {
        let touched = query.touched().get(name).ok_or_else(internal)?;
        for (_, file) in files(table) {
            let mut take = |column| {
                let missing = || Failure::bad_job("a key is missing");
                given.remove(&(file.id, column)).ok_or_else(missing)
            };
            let mut keys = FileKeys::new(take(None)?);
            for column in touched {
                let index = column_index(table, column)?;
                let number = u16::try_from(index).map_err(|_| internal())?;
                keys.add(column.clone(), take(Some(number))?);
            }
            opened.insert(file.id, keys);
        }
    }
    Ok(opened)
}

/// Opens the files of a table, several at a time, and lists their row groups in sealed order.
async fn open_files(
    link: &Link,
    table: &QueryTable,
    holders: &[PartyId],
    keys: &BTreeMap<u32, FileKeys>,
) -> Result<Vec<RowGroup>, Failure> {
    let arrow = file_schema(&table.schema);
    let open = |(holder, file): (&PartyId, &JobFile)| {
        let (holder, file, arrow) = (holder.clone(), file.clone(), Arc::clone(&arrow));
        async move {
            let holder = holders.iter().position(|h| *h == holder).ok_or_else(internal)?;
            let keys = keys.get(&file.id).ok_or_else(internal)?;
            let open = OpenFile::open(link, &file, keys, &table.schema, arrow).await?;
            Ok::<_, Failure>(open.row_groups(holder).collect::<Vec<_>>())
        }
    };
    let opening: Vec<_> = files(table).map(open).collect();
    stream::iter(opening).buffered(FILES_AT_A_TIME).try_concat().await
}

fn subject_index(table: &QueryTable) -> Result<usize, Failure> {
    column_index(table, &table.schema.subject)
}

fn column_index(table: &QueryTable, column: &ColumnName) -> Result<usize, Failure> {
    table.schema.columns.iter().position(|c| c.name == *column).ok_or_else(internal)
}

fn internal() -> Failure {
    Failure::bare(FailureCode::Internal)
}

/// Footers are small: enough of them on their way to hide the way.
const FILES_AT_A_TIME: usize = 16;
