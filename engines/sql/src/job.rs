use std::collections::{BTreeMap, BTreeSet};

use cordon_protocol::dataset::TableSchema;
use cordon_protocol::worker::{Job, JobFile, JobLimits, JobSource, MAX_QUERY_BYTES, Mode};
use cordon_types::{ColumnName, PartyId, TableName};

use crate::failure::Failure;

/// The column that the engine adds to every table: whose row it is.
pub const HOLDER_COLUMN: &str = "holder";
/// Most tables of a query.
pub const MAX_TABLES: usize = 64;
/// Most holders of a study.
pub const MAX_HOLDERS: usize = 64;

/// The tables of a job whose form was checked.
pub(crate) type Tables = BTreeMap<TableName, QueryTable>;

/// One table as the query sees it.
#[derive(Debug)]
pub(crate) struct QueryTable {
    /// The schema that all its sources share.
    pub(crate) schema: TableSchema,
    /// Its sources.
    pub(crate) sources: Vec<JobSource>,
}

impl QueryTable {
    /// Refuses a column that some source does not release.
    fn check_agreed(&self, table: &TableName, column: &ColumnName) -> Result<(), Failure> {
        match self.sources.iter().find(|source| !source.columns.contains(column)) {
            None => Ok(()),
            Some(source) => Err(Failure::new(
                cordon_protocol::worker::FailureCode::ColumnNotAgreed,
                format!(
                    "column `{column}` of table `{table}` is not agreed with `{}`",
                    source.holder
                ),
            )),
        }
    }
}

/// Checks the form of a job; files are looked at in run mode only.
pub(crate) fn check_job(job: &Job) -> Result<Tables, Failure> {
    if job.query.len() > MAX_QUERY_BYTES {
        let found = job.query.len();
        return Err(Failure::bad_job(format!(
            "the query has {found} bytes, expected at most {MAX_QUERY_BYTES}"
        )));
    }
    let distinct: BTreeSet<&PartyId> = job.holders.iter().collect();
    if job.holders.is_empty()
        || job.holders.len() > MAX_HOLDERS
        || distinct.len() != job.holders.len()
    {
        return Err(Failure::bad_job(format!("expected 1 to {MAX_HOLDERS} different holders")));
    }
    if job.tables.is_empty() || job.tables.len() > MAX_TABLES {
        return Err(Failure::bad_job(format!("expected 1 to {MAX_TABLES} tables")));
    }
    check_limits(&job.limits)?;
    let mut tables = Tables::new();
    let mut files = BTreeSet::new();
    for (name, sources) in &job.tables {
        for source in sources {
            if !distinct.contains(&source.holder) {
                return Err(Failure::bad_job(format!(
                    "`{}` has a source of table `{name}` but is no holder",
                    source.holder
                )));
            }
            let in_plan_mode = job.mode == Mode::Plan && !source.files.is_empty();
            if in_plan_mode || !source.files.iter().all(|file| files.insert(file.id)) {
                return Err(Failure::bad_job("files in plan mode, or two of one number"));
            }
        }
        tables.insert(name.clone(), check_table(name, sources)?);
    }
    Ok(tables)
}

fn check_limits(limits: &JobLimits) -> Result<(), Failure> {
    let JobLimits { memory_bytes, max_rows, max_output_bytes } = *limits;
    if memory_bytes == 0 || max_rows == 0 || max_output_bytes == 0 {
        return Err(Failure::bad_job("limits must not be zero"));
    }
    Ok(())
}

fn check_table(name: &TableName, sources: &[JobSource]) -> Result<QueryTable, Failure> {
    let Some(first) = sources.first() else {
        return Err(Failure::bad_job(format!("table `{name}` has no source")));
    };
    let refuse = |why: String| Failure::bad_job(format!("table `{name}`: {why}"));
    cordon_dataset::check_schema(&first.schema).map_err(|e| refuse(e.to_string()))?;
    for column in &first.schema.columns {
        if column.name.as_str().eq_ignore_ascii_case(HOLDER_COLUMN) {
            return Err(refuse(format!("column `{}` is the engine's own name", column.name)));
        }
    }
    for source in sources {
        if source.schema.columns != first.schema.columns
            || source.schema.subject != first.schema.subject
        {
            return Err(refuse(format!(
                "`{}` and `{}` do not have the same columns",
                first.holder, source.holder
            )));
        }
        let known = |column: &ColumnName| source.schema.columns.iter().any(|c| c.name == *column);
        if let Some(unknown) = source.columns.iter().find(|column| !known(column)) {
            return Err(refuse(format!("agreed column `{unknown}` is not in its schema")));
        }
    }
    Ok(QueryTable { schema: first.schema.clone(), sources: sources.to_vec() })
}

/// Refuses a query that touches a column which is not agreed.
pub(crate) fn check_agreed(
    tables: &Tables,
    touched: &BTreeMap<TableName, Vec<ColumnName>>,
) -> Result<(), Failure> {
    for (name, columns) in touched {
        let table = tables.get(name).ok_or_else(|| Failure::invalid("no such table"))?;
        for column in columns {
            table.check_agreed(name, column)?;
        }
    }
    Ok(())
}

/// All files of a table with their holders, in reading order.
pub(crate) fn files(table: &QueryTable) -> impl Iterator<Item = (&PartyId, &JobFile)> {
    table.sources.iter().flat_map(|s| s.files.iter().map(move |file| (&s.holder, file)))
}
