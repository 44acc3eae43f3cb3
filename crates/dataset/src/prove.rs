use std::io;
use std::sync::Arc;

use cordon_crypto::Sha256Writer;
use cordon_protocol::dataset::{ManifestFile, ManifestTable, file_key};
use cordon_types::Sha256Digest;
use memchr::memmem;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;

use crate::open::{FileKeys, OpenError, check_metadata, read_metadata};
use crate::seal::DatasetVersion;
use crate::store::{Chunks, FileSource, SealedFile};
use crate::write::WrittenTable;

/// A table whose files were read back and found to be sealed. Only the proof makes one.
pub struct SealedTable {
    id: DatasetVersion,
    sealer: Sha256Digest,
    entry: ManifestTable,
}

/// Why a table is not proven to be sealed. It must not be published.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A canary that short occurs by chance.
    #[error("a canary of {found} bytes would occur by chance, expected {MIN_CANARY_BYTES} or more")]
    ShortCanary {
        /// Its bytes.
        found: usize,
    },
    /// The file is not there.
    #[error("`{path}` was written but is not there")]
    Missing {
        /// The file.
        path: String,
    },
    /// The file could not be read back.
    #[error("cannot read `{path}` back")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("`{path}` read back is not what was written")]
    Changed {
        /// The file.
        path: String,
    },
    /// A known value stands in the file.
    #[error("`{path}` holds a known value in clear")]
    Canary {
        /// The file.
        path: String,
    },
    /// The file opens without keys.
    #[error("`{path}` opens without keys")]
    OpensWithoutKeys {
        /// The file.
        path: String,
    },
    /// With the footer key alone, something of a column can be read.
    #[error("`{path}` shows the values of column {position} to the footer key")]
    FooterShowsValues {
        /// The file.
        path: String,
        /// The column, counted from 1.
        position: usize,
    },
    /// The file does not open with its own keys, or not every column is encrypted.
    #[error("`{path}` does not open as it should")]
    Open {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// Another number of rows.
    #[error("`{path}` has {found} rows, expected {expected}")]
    Rows {
        /// The file.
        path: String,
        /// Rows written.
        expected: u64,
        /// Rows found.
        found: u64,
    },
}

/// Shortest canary in bytes: shorter ones occur in ciphertext by chance.
pub const MIN_CANARY_BYTES: usize = 8;

impl WrittenTable {
    /// Reads all files back and proves that nothing is in clear: both magics say that the footer
    /// is encrypted, the file does not open without keys, every column has a key of its own, the
    /// footer key alone shows no statistics, and neither the caller's `canaries` nor one value
    /// of each text column occur.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn prove(
        self,
        source: &dyn FileSource,
        canaries: &[&[u8]],
    ) -> Result<SealedTable, ProofError> {
        if let Some(short) = canaries.iter().find(|c| c.len() < MIN_CANARY_BYTES) {
            return Err(ProofError::ShortCanary { found: short.len() });
        }
        let own = self.canaries.iter().map(Vec::as_slice);
        let needles: Vec<&[u8]> = own.chain(canaries.iter().copied()).collect();
        for file in &self.entry.files {
            let path = || file.path.clone();
            let bytes = source
                .open(&file.path)
                .map_err(|source| ProofError::Read { path: path(), source })?
                .ok_or_else(|| ProofError::Missing { path: path() })?;
            self.scan(file, bytes.as_ref(), &needles)?;
            self.look_inside(file, bytes)?;
        }
        Ok(SealedTable { id: self.id, sealer: self.sealer, entry: self.entry })
    }

    /// One pass over the ciphertext: digest and canaries.
    fn scan(
        &self,
        file: &ManifestFile,
        bytes: &dyn SealedFile,
        needles: &[&[u8]],
    ) -> Result<(), ProofError> {
        let path = || file.path.clone();
        let read = |source| ProofError::Read { path: path(), source };
        let finders: Vec<_> = needles.iter().map(memmem::Finder::new).collect();
        let overlap = needles.iter().map(|n| n.len()).max().unwrap_or(0).saturating_sub(1);
        let size_bytes = bytes.size_bytes().map_err(read)?;
        let mut digest = Sha256Writer::new();
        let mut window: Vec<u8> = Vec::with_capacity(SCAN_BYTES + overlap);
        let mut offset = 0;
        while offset < size_bytes {
            let kept = window.len().min(overlap);
            window.drain(..window.len() - kept);
            let count = (size_bytes - offset).min(SCAN_BYTES as u64);
            window.resize(kept + count as usize, 0);
            bytes.read_at(offset, &mut window[kept..]).map_err(read)?;
            digest.update(&window[kept..]);
            offset += count;
            if finders.iter().any(|finder| finder.find(&window).is_some()) {
                return Err(ProofError::Canary { path: path() });
            }
        }
        if size_bytes != file.size_bytes || digest.finish() != file.sha256 {
            return Err(ProofError::Changed { path: path() });
        }
        Ok(())
    }

    /// What the file shows to nobody, to the footer key, and to all keys.
    fn look_inside(
        &self,
        file: &ManifestFile,
        bytes: Arc<dyn SealedFile>,
    ) -> Result<(), ProofError> {
        let path = || file.path.clone();
        let open = |source| ProofError::Open { path: path(), source };
        let chunks =
            Chunks::new(bytes).map_err(|source| ProofError::Read { path: path(), source })?;
        if ParquetMetaDataReader::new().parse_and_finish(&chunks).is_ok() {
            return Err(ProofError::OpensWithoutKeys { path: path() });
        }
        let prefix = self.id.aad_prefix(&file.path);
        let mut keys = FileKeys::new(file_key(&self.keys.footer, &file.path));
        let footer_only = read_metadata(&chunks, &keys, &prefix).map_err(open)?;
        for group in footer_only.row_groups() {
            for (index, column) in group.columns().iter().enumerate() {
                if column.statistics().is_some() || column.num_values() != 0 {
                    let position = index + 1;
                    return Err(ProofError::FooterShowsValues { path: path(), position });
                }
            }
        }
        for (name, key) in &self.keys.columns {
            keys.add(name.clone(), file_key(key, &file.path));
        }
        let metadata = read_metadata(&chunks, &keys, &prefix).map_err(open)?;
        check_metadata(&metadata, &self.schema).map_err(open)?;
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(u64::MAX);
        if rows != file.rows {
            return Err(ProofError::Rows { path: path(), expected: file.rows, found: rows });
        }
        let complete = metadata
            .row_groups()
            .iter()
            .flat_map(|g| g.columns().iter().map(move |c| c.num_values() == g.num_rows()));
        if !complete.into_iter().all(|all_values| all_values) {
            let source = ParquetError::General("a column does not open with its key".to_owned());
            return Err(open(OpenError::Parquet(source)));
        }
        Ok(())
    }
}

impl SealedTable {
    /// The table's entry of the manifest.
    pub fn entry(&self) -> &ManifestTable {
        &self.entry
    }

    pub(crate) fn into_parts(self) -> (DatasetVersion, Sha256Digest, ManifestTable) {
        (self.id, self.sealer, self.entry)
    }
}

const SCAN_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::DatasetSealer;
    use crate::store::MemoryFolder;
    use crate::write::Layout;
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use cordon_crypto::sha256;
    use cordon_protocol::dataset::{ColumnSchema, ColumnType, TableSchema};
    use cordon_types::Secret;
    use parquet::arrow::ArrowWriter;
    use parquet::encryption::encrypt::{EncryptionPropertiesBuilder, FileEncryptionProperties};
    use parquet::file::properties::WriterProperties;

    const PATH: &str = "visit/part-00000.parquet";

    fn rows() -> RecordBatch {
        let patients = (0..500).map(|n| format!("pseudonym-{n:04}"));
        RecordBatch::try_from_iter([
            ("patient", Arc::new(StringArray::from_iter_values(patients)) as _),
            ("days", Arc::new(Int64Array::from_iter_values(0..500)) as _),
        ])
        .unwrap()
    }

    /// A table that was sealed as it should be.
    fn written(folder: &mut MemoryFolder) -> WrittenTable {
        let column =
            |name: &str, kind| ColumnSchema { name: name.parse().unwrap(), kind, nullable: false };
        let schema = TableSchema {
            name: "visit".parse().unwrap(),
            source: Sha256Digest::from_bytes([0; 32]),
            subject: "patient".parse().unwrap(),
            columns: vec![column("patient", ColumnType::Text), column("days", ColumnType::Int64)],
        };
        let id = DatasetVersion {
            holder: "hospital-a".parse().unwrap(),
            dataset: "registry".parse().unwrap(),
            version: 1,
        };
        let key = Secret::from_bytes([4; 32]);
        let sealer = DatasetSealer::new(id, key, Layout::default()).unwrap();
        let mut writer = sealer.table(schema).unwrap();
        writer.write(&rows(), folder).unwrap();
        writer.finish(0, folder).unwrap()
    }

    /// The proof of the same table, as if a faulty writer had written it like this.
    fn prove_as_written(
        properties: impl FnOnce(&WrittenTable, EncryptionPropertiesBuilder) -> WriterProperties,
        remember: bool,
    ) -> Result<SealedTable, ProofError> {
        let mut folder = MemoryFolder::default();
        let mut table = written(&mut folder);
        let footer = file_key(&table.keys.footer, PATH).expose().to_vec();
        let encryption = FileEncryptionProperties::builder(footer)
            .with_aad_prefix(table.id.aad_prefix(PATH).as_bytes().to_vec());
        let properties = properties(&table, encryption);
        let mut writer =
            ArrowWriter::try_new(Vec::new(), rows().schema(), Some(properties)).unwrap();
        writer.write(&rows()).unwrap();
        let bytes = writer.into_inner().unwrap();
        table.entry.files[0].size_bytes = bytes.len() as u64;
        table.entry.files[0].sha256 = sha256(&[&bytes]);
        folder.put(PATH, bytes);
        if !remember {
            table.canaries.clear();
        }
        table.prove(&folder, &[])
    }

    fn with_keys(
        table: &WrittenTable,
        mut encryption: EncryptionPropertiesBuilder,
    ) -> EncryptionPropertiesBuilder {
        for (name, key) in &table.keys.columns {
            let key = file_key(key, PATH).expose().to_vec();
            encryption = encryption.with_column_key(name.as_str(), key);
        }
        encryption
    }

    fn encrypted(encryption: EncryptionPropertiesBuilder) -> WriterProperties {
        WriterProperties::builder()
            .with_file_encryption_properties(encryption.build().unwrap())
            .build()
    }

    #[test]
    fn what_the_writer_wrote_is_proven() {
        let mut folder = MemoryFolder::default();
        let table = written(&mut folder);
        assert_eq!(table.canaries, [b"pseudonym-0000".to_vec()]);
        assert_eq!(table.prove(&folder, &[b"pseudonym-0499"]).unwrap().entry().rows, 500);
        let same = prove_as_written(|table, e| encrypted(with_keys(table, e)), true);
        assert!(same.is_ok());
    }

    #[test]
    fn a_file_in_clear_is_found_by_its_values() {
        let result = prove_as_written(|_, _| WriterProperties::default(), true);
        assert!(matches!(result, Err(ProofError::Canary { .. })));
    }

    #[test]
    fn a_file_in_clear_is_found_without_canaries_too() {
        let result = prove_as_written(|_, _| WriterProperties::default(), false);
        assert!(matches!(result, Err(ProofError::OpensWithoutKeys { .. })));
    }

    #[test]
    fn a_footer_in_clear_is_found() {
        let properties =
            |table: &WrittenTable, e| encrypted(with_keys(table, e).with_plaintext_footer(true));
        let result = prove_as_written(properties, true);
        assert!(matches!(result, Err(ProofError::OpensWithoutKeys { .. })));
    }

    #[test]
    fn one_key_for_everything_is_found() {
        let result = prove_as_written(|_, e| encrypted(e), true);
        assert!(matches!(result, Err(ProofError::FooterShowsValues { position: 1, .. })));
    }

    #[test]
    fn a_column_in_clear_is_found() {
        let properties = |table: &WrittenTable, e: EncryptionPropertiesBuilder| {
            let (name, key) = &table.keys.columns[0];
            let key = file_key(key, PATH).expose().to_vec();
            encrypted(e.with_column_key(name.as_str(), key))
        };
        let result = prove_as_written(properties, true);
        assert!(matches!(result, Err(ProofError::FooterShowsValues { position: 2, .. })));
    }

    #[test]
    fn a_column_under_a_wrong_key_is_found() {
        let properties = |table: &WrittenTable, e| {
            encrypted(with_keys(table, e).with_column_key("days", vec![7; 32]))
        };
        let result = prove_as_written(properties, true);
        assert!(matches!(result, Err(ProofError::Open { .. })));
    }

    #[test]
    fn bytes_that_changed_on_the_way_are_found() {
        let mut folder = MemoryFolder::default();
        let table = written(&mut folder);
        let mut bytes = folder.bytes(PATH).unwrap();
        bytes[40] ^= 1;
        folder.put(PATH, bytes);
        assert!(matches!(table.prove(&folder, &[]), Err(ProofError::Changed { .. })));
    }

    #[test]
    fn a_file_that_vanished_is_found() {
        let mut folder = MemoryFolder::default();
        let table = written(&mut folder);
        folder.remove(PATH);
        assert!(matches!(table.prove(&folder, &[]), Err(ProofError::Missing { .. })));
    }

    #[test]
    fn another_number_of_rows_is_found() {
        let mut folder = MemoryFolder::default();
        let mut table = written(&mut folder);
        table.entry.files[0].rows = 499;
        let result = table.prove(&folder, &[]);
        assert!(matches!(result, Err(ProofError::Rows { expected: 499, found: 500, .. })));
    }
}
