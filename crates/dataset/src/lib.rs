//! Sealed tables: Parquet files that open column by column, and only for whoever has the keys.
//!
//! A holder seals tables with a fresh version key, proves to itself that nothing is in clear,
//! and publishes a manifest without a value in it. Everything below the version key is derived
//! (DESIGN §7): a footer key and one key per column, and from each of them a key per file. Who
//! gets the keys of three columns reads three columns; that is how data minimisation is enforced.
//!
//! ```text
//! DatasetSealer::table -> TableWriter -> WrittenTable -> SealedTable -> DatasetSealer::manifest
//!                         (rows)         (prove)         (proof)
//! ```
//! A manifest can only be made from tables that passed the proof.
//!
//! What this crate must never do: write a byte of a record in clear, know a path or a clock, or
//! be linked by the guard.
//!
//! ```
//! use arrow::array::{Int64Array, RecordBatch, StringArray};
//! use cordon_dataset::{DatasetSealer, DatasetVersion, FileKeys, Layout, MemoryFolder};
//! use cordon_protocol::dataset::{ColumnSchema, ColumnType, TableSchema};
//! use cordon_types::{Secret, Sha256Digest, UnixSeconds};
//! use std::sync::Arc;
//!
//! let column = |name: &str, kind| ColumnSchema { name: name.parse().unwrap(), kind, nullable: false };
//! let schema = TableSchema {
//!     name: "visit".parse()?,
//!     source: Sha256Digest::from_bytes([7; 32]),
//!     subject: "patient".parse()?,
//!     columns: vec![column("patient", ColumnType::Text), column("days", ColumnType::Int64)],
//! };
//! let rows = RecordBatch::try_from_iter([
//!     ("patient", Arc::new(StringArray::from(vec!["pseudonym-1", "pseudonym-2"])) as _),
//!     ("days", Arc::new(Int64Array::from(vec![3, 5])) as _),
//! ])?;
//!
//! let id = DatasetVersion { holder: "hospital-a".parse()?, dataset: "visits".parse()?, version: 1 };
//! let mut folder = MemoryFolder::default();
//! let sealer = DatasetSealer::new(id.clone(), Secret::from_bytes([1; 32]), Layout::default())?;
//! let mut writer = sealer.table(schema.clone())?;
//! writer.write(&rows, &mut folder)?;
//! let table = writer.finish(0, &mut folder)?.prove(&folder, &[])?;
//! let manifest = sealer.manifest(vec![table], UnixSeconds::new(1_700_000_000))?;
//! cordon_dataset::verify_files(&manifest, &folder)?;
//!
//! // With the key of one column, that column opens and the other does not.
//! let path = &manifest.tables[0].files[0].path;
//! let days = ["days".parse()?];
//! let keys = FileKeys::derive(&Secret::from_bytes([1; 32]), &schema.name, &days, path);
//! let file = folder.file(path).unwrap();
//! let prefix = id.aad_prefix(path);
//! let opened = cordon_dataset::open(file.clone(), &keys, &prefix, &schema, &days)?;
//! assert_eq!(opened.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
//! let patient = ["patient".parse()?];
//! assert!(cordon_dataset::open(file, &keys, &prefix, &schema, &patient).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod deposit;
mod open;
mod prove;
mod schema;
mod seal;
mod store;
mod summary;
mod verify;
mod write;

pub use deposit::{DepositError, KeyMismatch, check_key, deposit};
pub use open::{FileKeys, OpenError, Rows, check_magic, check_metadata, open};
pub use prove::{MIN_CANARY_BYTES, ProofError, SealedTable};
pub use schema::{MAX_COLUMNS, SchemaError, arrow_schema, arrow_type, check_schema, column_type};
pub use seal::{DatasetSealer, DatasetVersion, ManifestError};
pub use store::{FileSink, FileSource, MemoryFolder, SealedFile};
pub use summary::{ColumnSummary, Summary, TableSummary};
pub use verify::{VerifyError, check_form, verify_files};
pub use write::{Layout, MAX_FILES, TableWriter, WriteError, WrittenTable};
