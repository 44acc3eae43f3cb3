use std::collections::BTreeMap;
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use cordon_crypto::{Sha256Writer, commitment};
use cordon_protocol::dataset::{
    ColumnType, ManifestColumn, ManifestFile, ManifestTable, TableSchema, column_key, file_key,
    footer_key,
};
use cordon_types::{ColumnName, Secret, Sha256Digest, TableName};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, ZstdLevel};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::prove::MIN_CANARY_BYTES;
use crate::schema::{SchemaError, arrow_schema, check_schema};
use crate::seal::DatasetVersion;
use crate::store::FileSink;

/// How rows are laid out in files. The sizes of row groups and files can be seen by whoever
/// stores them, so they are fixed and do not follow the data.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Rows of a row group.
    pub row_group_rows: usize,
    /// Memory that a row group in the making may take before it is written; several tables may
    /// be written side by side.
    pub row_group_bytes: usize,
    /// A file is closed after the row group with which it reaches this size.
    pub file_bytes: u64,
}

impl Default for Layout {
    fn default() -> Self {
        Self { row_group_rows: 1 << 20, row_group_bytes: 32 << 20, file_bytes: 256 << 20 }
    }
}

/// Why rows were not written. The files written so far are worthless and to be deleted.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The rows have other columns or types than the table.
    #[error("rows for table `{table}` do not have its columns: see column {position}")]
    ColumnMismatch {
        /// The table.
        table: TableName,
        /// The first column that differs, counted from 1.
        position: usize,
    },
    /// A value is missing where there must be one.
    #[error("column `{column}` of table `{table}` must have a value in every row")]
    MissingValue {
        /// The table.
        table: TableName,
        /// The column.
        column: ColumnName,
    },
    /// A column would have been written in clear.
    #[error("no key for column `{column}`: it would be written in clear")]
    NoKey {
        /// The column as Parquet names it.
        column: String,
    },
    /// A table is at most [`MAX_FILES`] files.
    #[error("table `{table}` needs more than {MAX_FILES} files")]
    TooManyFiles {
        /// The table.
        table: TableName,
    },
    /// The file could not be started or finished.
    #[error("cannot write `{path}`")]
    Sink {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The encoder failed.
    #[error("cannot encode `{path}`")]
    Encode {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: ParquetError,
    },
}

/// Most files of a table: the number in a file's name has five digits.
pub const MAX_FILES: usize = 100_000;

/// Writes the rows of one table into sealed files, in memory bounded by [`Layout`].
pub struct TableWriter {
    id: DatasetVersion,
    sealer: Sha256Digest,
    schema: TableSchema,
    arrow: SchemaRef,
    layout: Layout,
    keys: TableKeys,
    canaries: BTreeMap<usize, Vec<u8>>,
    open: Option<OpenFile>,
    files: Vec<ManifestFile>,
    rows: u64,
}

/// The keys of one table, from which those of its files are derived.
pub(crate) struct TableKeys {
    pub(crate) footer: Secret<32>,
    pub(crate) columns: Vec<(ColumnName, Secret<32>)>,
}

struct OpenFile {
    path: String,
    writer: ArrowWriter<HashingWriter>,
    rows: u64,
}

impl TableWriter {
    pub(crate) fn new(
        id: DatasetVersion,
        version_key: &Secret<32>,
        schema: TableSchema,
        layout: Layout,
    ) -> Result<Self, SchemaError> {
        check_schema(&schema)?;
        let key = |name: &ColumnName| column_key(version_key, &schema.name, name);
        let keys = TableKeys {
            footer: footer_key(version_key, &schema.name),
            columns: schema.columns.iter().map(|c| (c.name.clone(), key(&c.name))).collect(),
        };
        Ok(Self {
            id,
            sealer: commitment(version_key),
            arrow: arrow_schema(&schema.columns),
            schema,
            layout,
            keys,
            canaries: BTreeMap::new(),
            open: None,
            files: Vec::new(),
            rows: 0,
        })
    }

    /// The Arrow schema that [`TableWriter::write`] expects.
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Rows taken so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Seals some rows.
    ///
    /// # Errors
    /// [`WriteError`]. The writer is of no use afterwards.
    pub fn write(&mut self, rows: &RecordBatch, sink: &mut dyn FileSink) -> Result<(), WriteError> {
        let rows = self.conforming(rows)?;
        self.remember_canaries(&rows);
        let mut start = 0;
        while start < rows.num_rows() {
            let count = SLICE_ROWS.min(rows.num_rows() - start);
            self.write_slice(&rows.slice(start, count), sink)?;
            start += count;
        }
        Ok(())
    }

    /// Ends the table. `rejected` is the number of records that the import refused.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn finish(
        mut self,
        rejected: u64,
        sink: &mut dyn FileSink,
    ) -> Result<WrittenTable, WriteError> {
        if self.open.is_none() && self.files.is_empty() {
            // A table without rows is one file without rows: its schema is sealed all the same.
            self.open = Some(self.start_file(sink)?);
        }
        self.close_file()?;
        let (keys, schema) = (self.keys, self.schema);
        let columns =
            schema.columns.iter().zip(&keys.columns).map(|(column, (_, key))| ManifestColumn {
                name: column.name.clone(),
                kind: column.kind,
                nullable: column.nullable,
                key_commitment: commitment(key),
            });
        let entry = ManifestTable {
            name: schema.name.clone(),
            source: schema.source,
            columns: columns.collect(),
            subject: schema.subject.clone(),
            footer_commitment: commitment(&keys.footer),
            files: self.files,
            rows: self.rows,
            rejected,
        };
        let canaries = self.canaries.into_values().collect();
        Ok(WrittenTable { id: self.id, sealer: self.sealer, schema, keys, canaries, entry })
    }

    /// The rows under this table's own schema, if that is what they are.
    fn conforming(&self, rows: &RecordBatch) -> Result<RecordBatch, WriteError> {
        let table = || self.schema.name.clone();
        let found = rows.schema();
        for position in 0..self.arrow.fields().len().max(found.fields().len()) {
            let same = match (self.arrow.fields().get(position), found.fields().get(position)) {
                (Some(a), Some(b)) => a.name() == b.name() && a.data_type() == b.data_type(),
                (None, _) | (_, None) => false,
            };
            if !same {
                return Err(WriteError::ColumnMismatch { table: table(), position: position + 1 });
            }
        }
        for (column, values) in self.schema.columns.iter().zip(rows.columns()) {
            if !column.nullable && values.null_count() > 0 {
                let column = column.name.clone();
                return Err(WriteError::MissingValue { table: table(), column });
            }
        }
        // Names, types and nulls were checked: only a bug of ours makes this fail.
        RecordBatch::try_new(Arc::clone(&self.arrow), rows.columns().to_vec())
            .map_err(|_| WriteError::ColumnMismatch { table: table(), position: 1 })
    }

    /// Keeps one value of each text column that is long enough not to occur by chance.
    fn remember_canaries(&mut self, rows: &RecordBatch) {
        for (index, column) in self.schema.columns.iter().enumerate() {
            if column.kind != ColumnType::Text || self.canaries.contains_key(&index) {
                continue;
            }
            let values = rows.column(index).as_string::<i32>();
            let long = |text: &&str| text.len() >= MIN_CANARY_BYTES;
            if let Some(text) = values.iter().flatten().find(long) {
                let bytes = text.as_bytes();
                self.canaries.insert(index, bytes[..bytes.len().min(CANARY_BYTES)].to_vec());
            }
        }
    }

    fn write_slice(
        &mut self,
        rows: &RecordBatch,
        sink: &mut dyn FileSink,
    ) -> Result<(), WriteError> {
        let mut file = match self.open.take() {
            Some(file) => file,
            None => self.start_file(sink)?,
        };
        let encode = |source| WriteError::Encode { path: file.path.clone(), source };
        file.writer.write(rows).map_err(encode)?;
        file.rows += rows.num_rows() as u64;
        self.rows += rows.num_rows() as u64;
        if file.writer.memory_size() >= self.layout.row_group_bytes {
            file.writer.flush().map_err(encode)?;
        }
        let full = file.writer.bytes_written() as u64 >= self.layout.file_bytes;
        self.open = Some(file);
        if full { self.close_file() } else { Ok(()) }
    }

    fn start_file(&self, sink: &mut dyn FileSink) -> Result<OpenFile, WriteError> {
        if self.files.len() >= MAX_FILES {
            return Err(WriteError::TooManyFiles { table: self.schema.name.clone() });
        }
        let path = file_path(&self.schema.name, self.files.len());
        let encode = |source| WriteError::Encode { path: path.clone(), source };
        let properties = self.properties(&path)?;
        let target =
            sink.create(&path).map_err(|source| WriteError::Sink { path: path.clone(), source })?;
        let target = HashingWriter { target, digest: Sha256Writer::new(), size_bytes: 0 };
        let writer = ArrowWriter::try_new(target, Arc::clone(&self.arrow), Some(properties))
            .map_err(encode)?;
        Ok(OpenFile { writer, rows: 0, path })
    }

    fn close_file(&mut self) -> Result<(), WriteError> {
        let Some(OpenFile { path, writer, rows }) = self.open.take() else {
            return Ok(());
        };
        let written = writer
            .into_inner()
            .map_err(|source| WriteError::Encode { path: path.clone(), source })?;
        let (sha256, size_bytes) =
            written.finish().map_err(|source| WriteError::Sink { path: path.clone(), source })?;
        self.files.push(ManifestFile { path, size_bytes, sha256, rows });
        Ok(())
    }

    /// How one file is written: encrypted footer, one key per column, AAD prefix not stored.
    fn properties(&self, path: &str) -> Result<WriterProperties, WriteError> {
        let encode = |source| WriteError::Encode { path: path.to_owned(), source };
        let leaves = ArrowSchemaConverter::new().convert(&self.arrow).map_err(encode)?;
        let mut keys: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (name, key) in &self.keys.columns {
            // The encoder keeps keys in plain vectors until the file is closed; there is no way
            // around it, and the records themselves are in this process, too.
            keys.insert(name.to_string(), file_key(key, path).expose().to_vec());
        }
        let footer = file_key(&self.keys.footer, path).expose().to_vec();
        let mut encryption = FileEncryptionProperties::builder(footer)
            .with_aad_prefix(self.id.aad_prefix(path).as_bytes().to_vec())
            .with_aad_prefix_storage(false);
        // INVARIANT: every leaf has a key. The encoder writes a leaf without one in clear, and
        // says nothing.
        for leaf in leaves.columns() {
            let column = leaf.path().string();
            let key = keys.remove(&column).ok_or(WriteError::NoKey { column: column.clone() })?;
            encryption = encryption.with_column_key(&column, key);
        }
        if let Some((column, _)) = keys.pop_first() {
            return Err(WriteError::NoKey { column });
        }
        Ok(WriterProperties::builder()
            .set_created_by("cordon".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_dictionary_enabled(true)
            .set_max_row_group_row_count(Some(self.layout.row_group_rows.max(1)))
            // Bloom filters of encrypted columns would be written in clear.
            .set_bloom_filter_enabled(false)
            // Page indexes of this reader open with the keys of all columns or not at all; the
            // statistics of row groups open column by column.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .with_file_encryption_properties(encryption.build().map_err(encode)?)
            .build())
    }
}

/// A table whose files are complete, but not yet proven to be sealed: see
/// [`WrittenTable::prove`].
pub struct WrittenTable {
    pub(crate) id: DatasetVersion,
    pub(crate) sealer: Sha256Digest,
    pub(crate) schema: TableSchema,
    pub(crate) keys: TableKeys,
    pub(crate) canaries: Vec<Vec<u8>>,
    pub(crate) entry: ManifestTable,
}

/// The path of a table's file: `<table>/part-00000.parquet`.
pub(crate) fn file_path(table: &TableName, number: usize) -> String {
    format!("{table}/part-{number:05}.parquet")
}

/// Memory is looked at after so many rows.
const SLICE_ROWS: usize = 16 * 1024;
/// Statistics cut texts at 64 bytes: a canary must be shorter to be found in them.
const CANARY_BYTES: usize = 48;

/// Counts and hashes what goes by. Flushes once, at the end: the encoder flushes at every row
/// group, and the caller syncs in `flush`.
struct HashingWriter {
    target: Box<dyn Write + Send>,
    digest: Sha256Writer,
    size_bytes: u64,
}

impl HashingWriter {
    fn finish(mut self) -> io::Result<(Sha256Digest, u64)> {
        self.target.flush()?;
        let digest = mem::take(&mut self.digest);
        Ok((digest.finish(), self.size_bytes))
    }
}

impl Write for HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.target.write(bytes)?;
        let written = bytes.get(..count).ok_or(io::ErrorKind::InvalidData)?;
        self.digest.update(written);
        self.size_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
