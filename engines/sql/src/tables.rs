use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use cordon_dataset::arrow_type;
use cordon_protocol::dataset::{ColumnSchema, ColumnType, TableSchema};
use cordon_protocol::worker::FailureCode;
use cordon_types::TableName;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::failure::Failure;
use crate::job::{HOLDER_COLUMN, Tables};
use crate::scan::{Content, Scan};

/// Whose row it is, as an index into the job's holders: the engine's own column.
pub(crate) const HOLDER_INDEX_COLUMN: &str = "#holder";
/// The patient, numbered: the engine's own column.
pub(crate) const PERSON_COLUMN: &str = "#person";

/// The tables of a job by name.
pub(crate) type SealedTables = BTreeMap<TableName, Arc<SealedTable>>;

/// A table for DataFusion. Filled once the query has been checked, and never in plan mode.
pub(crate) struct SealedTable {
    schema: SchemaRef,
    content: OnceLock<Content>,
}

/// A table as the query may see it: its columns and the holder, and nothing to read.
#[derive(Debug)]
pub(crate) struct VisibleTable(SchemaRef);

/// What the columns of a sealed table are to DataFusion.
///
/// INVARIANT: the columns of the file come first and in order, so that an index into them is an
/// index into the file.
fn table_fields(columns: &[ColumnSchema]) -> Vec<Field> {
    let fields = columns
        .iter()
        .map(|column| Field::new(column.name.as_str(), decoded_type(column.kind), column.nullable));
    let holder = Field::new(HOLDER_COLUMN, DataType::Utf8View, false);
    fields.chain([holder]).collect()
}

/// The type in which a column is decoded: views of text spare copies.
pub(crate) fn decoded_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Text => DataType::Utf8View,
        ColumnType::Boolean
        | ColumnType::Int32
        | ColumnType::Int64
        | ColumnType::Float64
        | ColumnType::Decimal
        | ColumnType::Date
        | ColumnType::Timestamp => arrow_type(kind),
    }
}

/// The schema in which a file of this table is decoded.
pub(crate) fn file_schema(schema: &TableSchema) -> SchemaRef {
    let fields: Fields =
        table_fields(&schema.columns).into_iter().take(schema.columns.len()).collect();
    Arc::new(Schema::new(fields))
}

/// The tables of a job, not filled yet.
pub(crate) fn sealed_tables(tables: &Tables) -> SealedTables {
    let sealed = |columns: &[ColumnSchema]| {
        let mut fields = table_fields(columns);
        fields.push(Field::new(HOLDER_INDEX_COLUMN, DataType::UInt16, false));
        fields.push(Field::new(PERSON_COLUMN, DataType::UInt32, false));
        Arc::new(SealedTable { schema: Arc::new(Schema::new(fields)), content: OnceLock::new() })
    };
    tables.iter().map(|(name, table)| (name.clone(), sealed(&table.schema.columns))).collect()
}

impl VisibleTable {
    pub(crate) fn new(columns: &[ColumnSchema]) -> Self {
        Self(Arc::new(Schema::new(table_fields(columns))))
    }
}

impl SealedTable {
    /// Gives the table something to read, once.
    pub(crate) fn fill(&self, content: Content) -> std::result::Result<(), Failure> {
        self.content.set(content).map_err(|_| Failure::bare(FailureCode::Internal))
    }
}

impl fmt::Debug for SealedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedTable")
    }
}

#[async_trait]
impl TableProvider for SealedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = state.config().target_partitions();
        let content = self.content.get().cloned();
        let scan = Scan::new(&self.schema, projection, content, partitions)?;
        Ok(Arc::new(scan))
    }
}

#[async_trait]
impl TableProvider for VisibleTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(Failure::bare(FailureCode::Internal).into())
    }
}
