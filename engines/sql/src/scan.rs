use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use cordon_protocol::worker::FailureCode;
use cordon_types::PartyId;
use datafusion::arrow::array::{
    ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray, UInt16Array,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, stats::Precision};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning,
    PlanProperties, ReplaceChildrenOptions,
};
use futures_util::stream;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use crate::failure::Failure;
use crate::fetched::Asked;
use crate::files::RowGroup;
use crate::job::HOLDER_COLUMN;
use crate::link::Link;
use crate::people::People;
use crate::session::BATCH_ROWS;
use crate::tables::{HOLDER_INDEX_COLUMN, PERSON_COLUMN};

/// What a table reads.
#[derive(Clone)]
pub(crate) struct Content {
    /// Its row groups, in the order in which they were sealed.
    pub(crate) groups: Vec<RowGroup>,
    /// The subject column's index in the files.
    pub(crate) subject: usize,
    /// The job's holders.
    pub(crate) holders: Arc<[PartyId]>,
    /// Numbers the patients.
    pub(crate) people: Arc<People>,
    /// Where the bytes come from.
    pub(crate) link: Arc<Link>,
}

/// Reads some columns of a sealed table.
///
/// Which bytes it asks for depends on the columns alone: no row group or page is left out
/// because of what a filter looks for.
pub(crate) struct Scan {
    content: Option<Arc<Content>>,
    /// The row groups of each partition. Of one partition: all, in sealed order.
    partitions: Vec<Vec<RowGroup>>,
    columns: Columns,
    properties: Arc<PlanProperties>,
}

/// What a scan reads and what it makes of it.
#[derive(Clone)]
struct Columns {
    schema: SchemaRef,
    /// Indices of the columns that are read, ascending.
    read: Arc<[usize]>,
    output: Arc<[Source]>,
}

/// Where a column of the output comes from.
#[derive(Clone, Copy)]
enum Source {
    /// The column at this place among those that are read.
    Read(usize),
    Holder,
    HolderIndex,
    Person,
}

impl Scan {
    pub(crate) fn new(
        table: &SchemaRef,
        projection: Option<&Vec<usize>>,
        content: Option<Content>,
        partitions: usize,
    ) -> Result<Self> {
        let subject = content.as_ref().map_or(0, |content| content.subject);
        let columns = Columns::new(table, projection, subject)?;
        let groups = content.as_ref().map_or_else(Vec::new, |content| content.groups.clone());
        let partitions = deal(groups, partitions);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&columns.schema)),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let content = content.map(Arc::new);
        Ok(Self { content, partitions, columns, properties: Arc::new(properties) })
    }

    fn rows(&self, partition: Option<usize>) -> usize {
        let groups = |groups: &Vec<RowGroup>| groups.iter().map(RowGroup::rows).sum::<usize>();
        match partition {
            Some(partition) => self.partitions.get(partition).map_or(0, groups),
            None => self.partitions.iter().map(groups).sum(),
        }
    }
}

/// Deals row groups out to partitions in turn; one partition at least.
fn deal(groups: Vec<RowGroup>, partitions: usize) -> Vec<Vec<RowGroup>> {
    let mut dealt = vec![Vec::new(); partitions.min(groups.len()).max(1)];
    let count = dealt.len();
    for (turn, group) in groups.into_iter().enumerate() {
        dealt[turn % count].push(group);
    }
    dealt
}

impl Columns {
    fn new(table: &SchemaRef, projection: Option<&Vec<usize>>, subject: usize) -> Result<Self> {
        let all: Vec<usize> = (0..table.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let schema = Arc::new(table.project(wanted)?);
        let mut read: Vec<usize> = Vec::new();
        for column in wanted {
            match table.field(*column).name().as_str() {
                HOLDER_COLUMN | HOLDER_INDEX_COLUMN => {}
                PERSON_COLUMN => read.push(subject),
                _ => read.push(*column),
            }
        }
        read.sort_unstable();
        read.dedup();
        let output =
            schema.fields().iter().zip(wanted).map(|(field, column)| match field.name().as_str() {
                HOLDER_COLUMN => Source::Holder,
                HOLDER_INDEX_COLUMN => Source::HolderIndex,
                PERSON_COLUMN => Source::Person,
                _ => Source::Read(read.partition_point(|read| read < column)),
            });
        let output = output.collect();
        Ok(Self { schema, read: read.into(), output })
    }
}

/// One partition while it is read. The row group after the one that is decoded is on its way.
struct Reading {
    content: Arc<Content>,
    columns: Columns,
    groups: VecDeque<RowGroup>,
    ahead: Option<Ahead>,
    current: Option<Decoding>,
    memory: MemoryReservation,
}

/// A row group that has been asked for.
struct Ahead {
    group: RowGroup,
    asked: Asked,
    memory: MemoryReservation,
}

/// A row group that is being decoded.
struct Decoding {
    reader: ParquetRecordBatchReader,
    holder: usize,
    /// Arrays of one batch: the same in all.
    holder_names: ArrayRef,
    holder_indices: ArrayRef,
    /// Held until the ciphertext is dropped.
    _memory: MemoryReservation,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            if let Some(current) = &mut self.current {
                match current.reader.next() {
                    Some(Ok(batch)) => {
                        let batch = self.columns.output(&self.content, current, &batch)?;
                        return Ok(Some((batch, self)));
                    }
                    // Authentic bytes that do not decode are as bad as forged ones.
                    Some(Err(_)) => return Err(Failure::bare(FailureCode::DataInvalid).into()),
                    None => self.current = None,
                }
            }
            let next = match self.ahead.take() {
                Some(ahead) => Some(ahead),
                None => self.ask_ahead()?,
            };
            let Some(next) = next else { return Ok(None) };
            self.ahead = self.ask_ahead()?;
            self.current = Some(next.decoding(&self.content, &self.columns).await?);
        }
    }

    /// Asks for the next row group, if there is one and the memory for it.
    fn ask_ahead(&mut self) -> Result<Option<Ahead>> {
        let Some(group) = self.groups.pop_front() else { return Ok(None) };
        let ranges = group.ranges(&self.columns.read);
        let bytes = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum::<u64>();
        let memory = self.memory.new_empty();
        memory.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        let asked = group.ask(&self.content.link, &ranges);
        Ok(Some(Ahead { group, asked, memory }))
    }
}

impl Ahead {
    /// Waits for the bytes.
    async fn decoding(self, content: &Content, columns: &Columns) -> Result<Decoding> {
        let Self { group, asked, memory } = self;
        let fetched = asked.fetched().await?;
        let reader = group.decode(fetched, &columns.read, BATCH_ROWS)?;
        let internal = || Failure::bare(FailureCode::Internal);
        let name = content.holders.get(group.holder).ok_or_else(internal)?;
        let names = std::iter::repeat_n(name.as_str(), BATCH_ROWS);
        let index = u16::try_from(group.holder).map_err(|_| internal())?;
        Ok(Decoding {
            reader,
            holder: group.holder,
            holder_names: Arc::new(StringViewArray::from_iter_values(names)),
            holder_indices: Arc::new(UInt16Array::from_value(index, BATCH_ROWS)),
            _memory: memory,
        })
    }
}

impl Columns {
    fn output(
        &self,
        content: &Content,
        current: &Decoding,
        batch: &RecordBatch,
    ) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let read = |place: usize| {
            batch.columns().get(place).ok_or_else(|| Failure::bare(FailureCode::Internal))
        };
        let arrays = self.output.iter().map(|source| match source {
            Source::Read(place) => Ok(Arc::clone(read(*place)?)),
            Source::Holder => Ok(current.holder_names.slice(0, rows)),
            Source::HolderIndex => Ok(current.holder_indices.slice(0, rows)),
            Source::Person => {
                let place = self.read.partition_point(|read| *read < content.subject);
                let numbers = content.people.number(current.holder, read(place)?)?;
                Ok(Arc::new(numbers) as ArrayRef)
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }
}

impl ExecutionPlan for Scan {
    fn name(&self) -> &str {
        "Scan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = Arc::clone(&self.columns.schema);
        let groups = self.partitions.get(partition).cloned().unwrap_or_default();
        let Some(content) = self.content.clone() else {
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::empty())));
        };
        let reading = Reading {
            content,
            columns: self.columns.clone(),
            groups: groups.into(),
            ahead: None,
            current: None,
            memory: MemoryConsumer::new("scan").register(context.memory_pool()),
        };
        let batches = stream::try_unfold(reading, Reading::next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    /// How many rows there are: the manifest says so to everybody. Not exact, since an exact
    /// number would let the optimizer answer in place of the scan.
    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.columns.schema);
        statistics.num_rows = Precision::Inexact(self.rows(args.partition()));
        Ok(Arc::new(statistics))
    }
}

impl DisplayAs for Scan {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scan")
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scan")
    }
}
