use cordon_protocol::dataset::{ColumnType, Manifest, ManifestFile, ManifestTable};
use cordon_types::{ColumnName, DatasetId, PartyId, Sha256Digest, TableName, UnixSeconds};
use serde::Serialize;

/// What a manifest tells without keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The holder.
    pub holder: PartyId,
    /// The dataset.
    pub dataset: DatasetId,
    /// Its version.
    pub version: u32,
    /// When it was sealed.
    pub created: UnixSeconds,
    /// Ciphertext of all files.
    pub size_bytes: u64,
    /// Its tables.
    pub tables: Vec<TableSummary>,
}

/// One table of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableSummary {
    /// Its name.
    pub name: TableName,
    /// Digest of what made it.
    pub source: Sha256Digest,
    /// The column that names the patient.
    pub subject: ColumnName,
    /// Its columns in order.
    pub columns: Vec<ColumnSummary>,
    /// Rows in all files.
    pub rows: u64,
    /// Records that the import refused.
    pub rejected: u64,
    /// Its files, with the digests of their ciphertext.
    pub files: Vec<ManifestFile>,
    /// Ciphertext of its files.
    pub size_bytes: u64,
}

/// One column of a [`TableSummary`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnSummary {
    /// Its name.
    pub name: ColumnName,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Whether a value may be missing.
    pub nullable: bool,
    /// Commitment to its key.
    pub key_commitment: Sha256Digest,
}

impl Summary {
    /// Sums a manifest up.
    pub fn of(manifest: &Manifest) -> Self {
        let tables: Vec<TableSummary> = manifest.tables.iter().map(TableSummary::of).collect();
        Self {
            holder: manifest.holder.clone(),
            dataset: manifest.dataset.clone(),
            version: manifest.version,
            created: manifest.created,
            size_bytes: saturating_sum(tables.iter().map(|t| t.size_bytes)),
            tables,
        }
    }
}

impl TableSummary {
    fn of(table: &ManifestTable) -> Self {
        let columns = table.columns.iter().map(|c| ColumnSummary {
            name: c.name.clone(),
            kind: c.kind,
            nullable: c.nullable,
            key_commitment: c.key_commitment,
        });
        Self {
            name: table.name.clone(),
            source: table.source,
            subject: table.subject.clone(),
            columns: columns.collect(),
            rows: table.rows,
            rejected: table.rejected,
            files: table.files.clone(),
            size_bytes: saturating_sum(table.files.iter().map(|f| f.size_bytes)),
        }
    }
}

/// Manifests come from outside: their numbers may be anything.
fn saturating_sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}
