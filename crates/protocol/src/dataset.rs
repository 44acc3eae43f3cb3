//! Sealed datasets: what a holder publishes about them, and how it hands the key to its broker.

use cordon_crypto::dsse::Document;
use cordon_crypto::{Label, SealedBox, derive, labelled_digest};
use cordon_types::{
    ColumnName, DatasetId, Nonce, PartyId, Secret, Sha256Digest, TableName, UnixSeconds,
};
use serde::{Deserialize, Serialize};

use crate::V1;

/// What a sealed dataset version is, without a value from it. Signed by a manifest key of the
/// holder; its digest names the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format version.
    pub v: V1,
    /// The holder.
    pub holder: PartyId,
    /// The dataset.
    pub dataset: DatasetId,
    /// Its version, counted from 1.
    pub version: u32,
    /// When it was sealed.
    pub created: UnixSeconds,
    /// Its tables, sorted by name.
    pub tables: Vec<ManifestTable>,
}

impl Document for Manifest {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.manifest.v1+json";
    /// Some three thousand files; manifests travel in messages of [`crate::message`].
    const MAX_BYTES: usize = 1024 * 1024;
}

/// One sealed table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestTable {
    /// Name within the dataset.
    pub name: TableName,
    /// Digest of the ViewDefinition or CSV schema that made it.
    pub source: Sha256Digest,
    /// Columns in file order.
    pub columns: Vec<ManifestColumn>,
    /// The column that names the patient (a pseudonym).
    pub subject: ColumnName,
    /// Commitment to the footer key of this table.
    pub footer_commitment: Sha256Digest,
    /// Files in reading order.
    pub files: Vec<ManifestFile>,
    /// Rows in all files.
    pub rows: u64,
    /// Records that the import refused and counted.
    pub rejected: u64,
}

/// One column of a sealed table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestColumn {
    /// Name in the table.
    pub name: ColumnName,
    /// Type of its values.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Whether a value may be missing.
    pub nullable: bool,
    /// Commitment to the column key.
    pub key_commitment: Sha256Digest,
}

/// The types that a sealed column may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// true or false.
    Boolean,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// 64-bit float.
    Float64,
    /// Exact decimal of 38 digits, 4 of them after the point.
    Decimal,
    /// Days since 1970-01-01.
    Date,
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// UTF-8 text.
    Text,
}

/// One sealed Parquet file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Path within the dataset folder: `<table>/part-00000.parquet`.
    pub path: String,
    /// Size of the ciphertext.
    pub size_bytes: u64,
    /// Digest of the ciphertext, which is also its name in the object store.
    pub sha256: Sha256Digest,
    /// Rows in this file.
    pub rows: u64,
}

/// A holder hands the version key of a sealed dataset to its own broker: the 32-byte key, boxed
/// to the broker's `box_key` with label `DatasetVersionBox` and context `[manifest digest]`.
/// Signed by the manifest key that signed the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deposit {
    /// Format version.
    pub v: V1,
    /// The broker that this is for.
    pub audience: PartyId,
    /// Digest of the manifest.
    pub manifest: Sha256Digest,
    /// The version key, sealed.
    pub sealed_key: SealedBox,
    /// Used once.
    pub nonce: Nonce,
    /// When it was signed.
    pub issued: UnixSeconds,
}

impl Document for Deposit {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.deposit.v1+json";
    const MAX_BYTES: usize = 16 * 1024;
}

/// The schema of a dataset that an agreement pins: tables and columns with their types, without
/// files or commitments. Versions with the same schema digest are interchangeable under an
/// agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSchema {
    /// The holder.
    pub holder: PartyId,
    /// The dataset.
    pub dataset: DatasetId,
    /// Its tables, sorted by name.
    pub tables: Vec<TableSchema>,
}

/// One table of a [`DatasetSchema`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSchema {
    /// Name within the dataset.
    pub name: TableName,
    /// Digest of the ViewDefinition or CSV schema that made it.
    pub source: Sha256Digest,
    /// The column that names the patient.
    pub subject: ColumnName,
    /// Columns in file order.
    pub columns: Vec<ColumnSchema>,
}

/// One column of a [`TableSchema`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSchema {
    /// Name in the table.
    pub name: ColumnName,
    /// Type of its values.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Whether a value may be missing.
    pub nullable: bool,
}

impl Manifest {
    /// The schema that agreements pin.
    pub fn schema(&self) -> DatasetSchema {
        let column = |c: &ManifestColumn| ColumnSchema {
            name: c.name.clone(),
            kind: c.kind,
            nullable: c.nullable,
        };
        DatasetSchema {
            holder: self.holder.clone(),
            dataset: self.dataset.clone(),
            tables: self
                .tables
                .iter()
                .map(|t| TableSchema {
                    name: t.name.clone(),
                    source: t.source,
                    subject: t.subject.clone(),
                    columns: t.columns.iter().map(column).collect(),
                })
                .collect(),
        }
    }

    /// The table of this name.
    pub fn table(&self, name: &TableName) -> Option<&ManifestTable> {
        self.tables.iter().find(|t| t.name == *name)
    }
}

/// Column key = HKDF(version key, table, column) (DESIGN §7).
pub fn column_key(version_key: &Secret<32>, table: &TableName, column: &ColumnName) -> Secret<32> {
    let context = [table.as_str().as_bytes(), column.as_str().as_bytes()];
    derive(version_key, Label::ColumnKey, &context)
}

/// Footer key of a table = HKDF(version key, table).
pub fn footer_key(version_key: &Secret<32>, table: &TableName) -> Secret<32> {
    derive(version_key, Label::FooterKey, &[table.as_str().as_bytes()])
}

/// Key of one file = HKDF(column or footer key, path): what workers get, and all they get.
pub fn file_key(key: &Secret<32>, path: &str) -> Secret<32> {
    derive(key, Label::FileKey, &[path.as_bytes()])
}

/// The AAD prefix of one file. It is not stored in the file: a file of another dataset, version
/// or place does not open.
pub fn aad_prefix(holder: &PartyId, dataset: &DatasetId, version: u32, path: &str) -> Sha256Digest {
    let version = version.to_string();
    labelled_digest(
        Label::AadPrefix,
        &[
            holder.as_str().as_bytes(),
            dataset.as_str().as_bytes(),
            version.as_bytes(),
            path.as_bytes(),
        ],
    )
}
