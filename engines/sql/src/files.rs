use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cordon_dataset::{FileKeys, check_magic, check_metadata};
use cordon_protocol::dataset::TableSchema;
use cordon_protocol::worker::{FailureCode, JobFile};
use datafusion::arrow::datatypes::SchemaRef;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::async_reader::MetadataFetch;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::ChunkReader;

use crate::failure::Failure;
use crate::fetched::{Asked, Fetched};
use crate::link::Link;

/// A sealed file whose footer was decrypted and checked.
pub(crate) struct OpenFile {
    id: u32,
    size_bytes: u64,
    metadata: ArrowReaderMetadata,
}

/// One row group of a sealed file: what is fetched and decoded at a time.
#[derive(Clone)]
pub(crate) struct RowGroup {
    file: Arc<OpenFile>,
    index: usize,
    /// Whose rows these are: an index into the job's holders.
    pub(crate) holder: usize,
}

impl OpenFile {
    /// Opens a file. `arrow` is the schema in which its columns are to be decoded.
    pub(crate) async fn open(
        link: &Link,
        file: &JobFile,
        keys: &FileKeys,
        schema: &TableSchema,
        arrow: SchemaRef,
    ) -> Result<Arc<Self>, Failure> {
        check_ends(link, file).await?;
        let decryption = keys.decryption(&file.aad_prefix).map_err(|_| invalid())?;
        let metadata = ParquetMetaDataReader::new()
            .with_prefetch_hint(Some(FOOTER_GUESS_BYTES))
            .with_decryption_properties(Some(Arc::clone(&decryption)))
            .load_and_finish(Footer { link, file }, file.size_bytes)
            .await
            .map_err(|error| match error {
                ParquetError::External(inner) => {
                    inner.downcast_ref().cloned().unwrap_or_else(invalid)
                }
                _ => invalid(),
            })?;
        check(&metadata, file, schema)?;
        let options = ArrowReaderOptions::new()
            .with_schema(arrow)
            .with_file_decryption_properties(decryption);
        let metadata =
            ArrowReaderMetadata::try_new(Arc::new(metadata), options).map_err(|_| invalid())?;
        Ok(Arc::new(Self { id: file.id, size_bytes: file.size_bytes, metadata }))
    }

    /// Its row groups in order.
    pub(crate) fn row_groups(self: &Arc<Self>, holder: usize) -> impl Iterator<Item = RowGroup> {
        let file = Arc::clone(self);
        let count = file.metadata.metadata().num_row_groups();
        (0..count).map(move |index| RowGroup { file: Arc::clone(&file), index, holder })
    }
}

impl RowGroup {
    /// Rows in it.
    pub(crate) fn rows(&self) -> usize {
        let group = self.file.metadata.metadata().row_group(self.index);
        usize::try_from(group.num_rows()).unwrap_or(0)
    }

    /// Where the chunks of some columns are, in few ranges.
    pub(crate) fn ranges(&self, columns: &[usize]) -> Vec<Range<u64>> {
        let group = self.file.metadata.metadata().row_group(self.index);
        let chunks = columns.iter().filter_map(|column| group.columns().get(*column));
        let chunks = chunks.map(|chunk| {
            let (start, length) = chunk.byte_range();
            start..start.saturating_add(length)
        });
        join_near(chunks.collect())
    }

    /// Asks for ranges of the file.
    pub(crate) fn ask(&self, link: &Link, ranges: &[Range<u64>]) -> Asked {
        Asked::ask(link, self.file.id, self.file.size_bytes, ranges)
    }

    /// Decodes fetched columns, in the order of the file.
    pub(crate) fn decode(
        &self,
        fetched: Fetched,
        columns: &[usize],
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader, Failure> {
        let metadata = self.file.metadata.clone();
        let schema = metadata.metadata().file_metadata().schema_descr();
        let mask = ProjectionMask::leaves(schema, columns.iter().copied());
        decoder(fetched, metadata, mask, self.index, batch_rows).map_err(|_| invalid())
    }
}

fn decoder(
    fetched: impl ChunkReader + 'static,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    group: usize,
    batch_rows: usize,
) -> ParquetResult<ParquetRecordBatchReader> {
    ParquetRecordBatchReaderBuilder::new_with_metadata(fetched, metadata)
        .with_projection(mask)
        .with_row_groups(vec![group])
        .with_batch_size(batch_rows)
        .build()
}

/// Checks the magic at both ends.
async fn check_ends(link: &Link, file: &JobFile) -> Result<(), Failure> {
    let last = file.size_bytes.checked_sub(MAGIC_BYTES).ok_or_else(invalid)?;
    let ends = [0..MAGIC_BYTES, last..file.size_bytes];
    let [head, tail] = ends.map(|end| Asked::ask(link, file.id, file.size_bytes, &[end]));
    let (head, tail) = (head.fetched().await?, tail.fetched().await?);
    let magic = |fetched: Fetched, start| fetched.get_bytes(start, 4).map_err(|_| invalid());
    check_magic(&magic(head, 0)?, &magic(tail, last)?).map_err(|_| invalid())
}

/// Checks what a decrypted footer says against the job.
fn check(metadata: &ParquetMetaData, file: &JobFile, schema: &TableSchema) -> Result<(), Failure> {
    check_metadata(metadata, schema).map_err(|_| invalid())?;
    if u64::try_from(metadata.file_metadata().num_rows()) == Ok(file.rows) {
        Ok(())
    } else {
        Err(invalid())
    }
}

/// The end of a file, for the reader of its footer.
struct Footer<'a> {
    link: &'a Link,
    file: &'a JobFile,
}

impl MetadataFetch for Footer<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let (link, file) = (self.link, self.file);
        async move {
            // The length of a footer stands in clear before it: anybody could have written it.
            let length = range.end.saturating_sub(range.start);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > MAX_FOOTER_BYTES {
                return Err(ParquetError::General("footer is too long".to_owned()));
            }
            let start = range.start;
            let asked = Asked::ask(link, file.id, file.size_bytes, &[range]);
            let external = |failure| ParquetError::External(Box::new(failure));
            asked.fetched().await.map_err(external)?.get_bytes(start, length)
        }
        .boxed()
    }
}

/// Sorts ranges and joins those that lie near to each other: a request costs more than the
/// bytes of a small gap, which nobody can decrypt here anyway.
fn join_near(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(MAX_GAP_BYTES) => {
                last.end = last.end.max(range.end);
            }
            Some(_) | None => joined.push(range),
        }
    }
    joined
}

fn invalid() -> Failure {
    Failure::bare(FailureCode::DataInvalid)
}

const MAGIC_BYTES: u64 = 4;
/// Holds the footer of a file of a few row groups and dozens of columns.
const FOOTER_GUESS_BYTES: usize = 64 * 1024;
/// A footer of 2,000 columns and 100 row groups has some 40 MiB.
const MAX_FOOTER_BYTES: usize = 64 * 1024 * 1024;
const MAX_GAP_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one range is what is left")]
    fn near_ranges_are_joined_and_far_ones_not() {
        let far = 10 + MAX_GAP_BYTES;
        assert_eq!(join_near(vec![far..far + 5, 0..10]), [0..far + 5]);
        assert_eq!(join_near(vec![0..10, far + 1..far + 5]), [0..10, far + 1..far + 5]);
        assert_eq!(join_near(vec![0..10, 2..4]), [0..10]);
        assert!(join_near(Vec::new()).is_empty());
    }
}
