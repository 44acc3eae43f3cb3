use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use cordon_protocol::dataset::{TableSchema, column_key, file_key, footer_key};
use cordon_types::{ColumnName, Secret, Sha256Digest, TableName};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_schema};
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::errors::ParquetError;
use parquet::file::column_crypto_metadata::ColumnCryptoMetaData;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::schema::arrow_schema;
use crate::store::{Chunks, SealedFile};

/// The keys of one sealed file: its footer's, and those of some of its columns.
pub struct FileKeys {
    footer: Secret<32>,
    columns: BTreeMap<ColumnName, Secret<32>>,
}

/// Why a sealed file does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The ciphertext cannot be read.
    #[error("cannot read the file")]
    Read(#[source] io::Error),
    /// The file claims not to be encrypted: anybody could have made it.
    #[error("not a sealed file: expected the magic `PARE` at both ends")]
    NotSealed,
    /// Wrong key, wrong place, changed bytes, or not Parquet.
    #[error("the file does not open: wrong key, wrong place, or changed bytes")]
    Parquet(#[source] ParquetError),
    /// The columns in the file are not those of the table.
    #[error("the file does not have the columns of table `{table}`")]
    OtherSchema {
        /// The table.
        table: TableName,
    },
    /// A column is not encrypted with a key of its own.
    #[error("column `{column}` is not encrypted with its own key")]
    ColumnNotSealed {
        /// The column.
        column: ColumnName,
    },
    /// No key for a column that was asked for.
    #[error("no key for column `{column}`")]
    NoKey {
        /// The column.
        column: ColumnName,
    },
}

impl FileKeys {
    /// Starts with the footer's file key.
    pub fn new(footer: Secret<32>) -> Self {
        Self { footer, columns: BTreeMap::new() }
    }

    /// Adds a column's file key.
    pub fn add(&mut self, column: ColumnName, key: Secret<32>) {
        self.columns.insert(column, key);
    }

    /// Derives the file keys of some columns from the version key, as its holder can.
    pub fn derive(
        version_key: &Secret<32>,
        table: &TableName,
        columns: &[ColumnName],
        path: &str,
    ) -> Self {
        let mut keys = Self::new(file_key(&footer_key(version_key, table), path));
        for column in columns {
            keys.add(column.clone(), file_key(&column_key(version_key, table, column), path));
        }
        keys
    }

    /// The columns that these keys open.
    pub fn columns(&self) -> impl Iterator<Item = &ColumnName> {
        self.columns.keys()
    }

    /// The keys as the Parquet reader wants them. It keeps them in plain vectors: drop the
    /// result with the run.
    ///
    /// # Errors
    /// [`OpenError::Parquet`] if the reader does not take them.
    pub fn decryption(
        &self,
        aad_prefix: &Sha256Digest,
    ) -> Result<Arc<FileDecryptionProperties>, OpenError> {
        let mut builder = FileDecryptionProperties::builder(self.footer.expose().to_vec())
            .with_aad_prefix(aad_prefix.as_bytes().to_vec());
        for (column, key) in &self.columns {
            builder = builder.with_column_key(column.as_str(), key.expose().to_vec());
        }
        builder.build().map_err(OpenError::Parquet)
    }
}

/// Checks the first and the last four bytes of a file. The reader would take a file in clear as
/// it is, keys or not, and anybody can write one.
///
/// # Errors
/// [`OpenError::NotSealed`].
pub fn check_magic(head: &[u8], tail: &[u8]) -> Result<(), OpenError> {
    if head == SEALED_MAGIC && tail == SEALED_MAGIC { Ok(()) } else { Err(OpenError::NotSealed) }
}

/// Checks that an opened file has the columns of the table and that each is encrypted with a key
/// of its own.
///
/// # Errors
/// [`OpenError::OtherSchema`], [`OpenError::ColumnNotSealed`].
pub fn check_metadata(metadata: &ParquetMetaData, schema: &TableSchema) -> Result<(), OpenError> {
    let other = || OpenError::OtherSchema { table: schema.name.clone() };
    let file = metadata.file_metadata();
    let found = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())
        .map_err(OpenError::Parquet)?;
    if found.fields() != arrow_schema(&schema.columns).fields() {
        return Err(other());
    }
    for group in metadata.row_groups() {
        if group.columns().len() != schema.columns.len() {
            return Err(other());
        }
        for (chunk, column) in group.columns().iter().zip(&schema.columns) {
            let own = match chunk.crypto_metadata() {
                Some(ColumnCryptoMetaData::ENCRYPTION_WITH_COLUMN_KEY(key)) => {
                    key.path_in_schema.as_slice() == [column.name.as_str()]
                }
                Some(ColumnCryptoMetaData::ENCRYPTION_WITH_FOOTER_KEY) | None => false,
            };
            if !own {
                return Err(OpenError::ColumnNotSealed { column: column.name.clone() });
            }
        }
    }
    Ok(())
}

/// Opens some columns of a sealed file.
///
/// # Errors
/// [`OpenError`]. Changed bytes in the pages show only when their rows are read.
pub fn open(
    file: Arc<dyn SealedFile>,
    keys: &FileKeys,
    aad_prefix: &Sha256Digest,
    schema: &TableSchema,
    columns: &[ColumnName],
) -> Result<Rows, OpenError> {
    let mut indices = Vec::with_capacity(columns.len());
    for column in columns {
        if !keys.columns.contains_key(column) {
            return Err(OpenError::NoKey { column: column.clone() });
        }
        let index = schema.columns.iter().position(|c| c.name == *column);
        let other = OpenError::OtherSchema { table: schema.name.clone() };
        indices.push(index.ok_or(other)?);
    }
    let chunks = Chunks::new(file).map_err(OpenError::Read)?;
    let metadata = read_metadata(&chunks, keys, aad_prefix)?;
    check_metadata(&metadata, schema)?;
    let mask = ProjectionMask::leaves(metadata.file_metadata().schema_descr(), indices);
    let options =
        ArrowReaderOptions::new().with_file_decryption_properties(keys.decryption(aad_prefix)?);
    let metadata = contained(|| ArrowReaderMetadata::try_new(Arc::new(metadata), options))
        .map_err(OpenError::Parquet)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, metadata);
    let reader = contained(|| builder.with_projection(mask).build()).map_err(OpenError::Parquet)?;
    Ok(Rows(Some(reader)))
}

/// The rows of an opened file, batch by batch, in the order in which they were sealed.
pub struct Rows(Option<ParquetRecordBatchReader>);

impl Iterator for Rows {
    type Item = Result<RecordBatch, ArrowError>;

    /// Nothing comes after an error.
    fn next(&mut self) -> Option<Self::Item> {
        let reader = self.0.as_mut()?;
        let batch = contained(|| reader.next().transpose());
        if batch.is_err() {
            self.0 = None;
        }
        batch.transpose()
    }
}

/// Runs the Parquet reader on bytes that anybody may have changed.
///
/// The lengths that stand before encrypted modules are in clear and not authenticated, and the
/// reader subtracts from them unchecked: one changed bit makes it panic before the tag is looked
/// at. Here that is what it is, a file that does not open. What the reader was working on when it
/// panicked is dropped and not looked at again.
fn contained<T, E: From<ParquetError>>(read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let panicked = || ParquetError::General("the reader panicked".to_owned());
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(panicked().into()))
}

/// Reads the footer of a file that says to be sealed.
pub(crate) fn read_metadata(
    chunks: &Chunks,
    keys: &FileKeys,
    aad_prefix: &Sha256Digest,
) -> Result<ParquetMetaData, OpenError> {
    let (head, tail) = chunks.magics().map_err(OpenError::Read)?;
    check_magic(&head, &tail)?;
    let reader =
        ParquetMetaDataReader::new().with_decryption_properties(Some(keys.decryption(aad_prefix)?));
    contained(|| reader.parse_and_finish(chunks)).map_err(OpenError::Parquet)
}

const SEALED_MAGIC: &[u8] = b"PARE";
