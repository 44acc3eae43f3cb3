use cordon_crypto::commitment;
use cordon_protocol::V1;
use cordon_protocol::dataset::{Manifest, ManifestTable, TableSchema, aad_prefix};
use cordon_types::{DatasetId, PartyId, Secret, Sha256Digest, TableName, UnixSeconds};

use crate::prove::SealedTable;
use crate::schema::SchemaError;
use crate::verify::{VerifyError, check_form};
use crate::write::{Layout, TableWriter};

/// Which dataset version: what every file of it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetVersion {
    /// The holder.
    pub holder: PartyId,
    /// The dataset.
    pub dataset: DatasetId,
    /// Its version, counted from 1.
    pub version: u32,
}

impl DatasetVersion {
    /// The version that a manifest describes.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            holder: manifest.holder.clone(),
            dataset: manifest.dataset.clone(),
            version: manifest.version,
        }
    }

    /// The AAD prefix of the file of this path.
    pub fn aad_prefix(&self, path: &str) -> Sha256Digest {
        aad_prefix(&self.holder, &self.dataset, self.version, path)
    }
}

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Versions are counted from 1.
    #[error("dataset version 0, expected 1 or more")]
    VersionZero,
    /// The table was sealed with another key or for another version.
    #[error("table `{table}` was not sealed by this sealer")]
    ForeignTable {
        /// The table.
        table: TableName,
    },
    /// The tables do not make a dataset.
    #[error("the sealed tables do not make a manifest")]
    Form(#[source] VerifyError),
}

/// Seals the tables of one dataset version.
pub struct DatasetSealer {
    id: DatasetVersion,
    version_key: Secret<32>,
    layout: Layout,
}

impl DatasetSealer {
    /// Starts a version. `version_key` must be fresh: no two versions may share one.
    ///
    /// # Errors
    /// [`ManifestError::VersionZero`].
    pub fn new(
        id: DatasetVersion,
        version_key: Secret<32>,
        layout: Layout,
    ) -> Result<Self, ManifestError> {
        if id.version == 0 {
            return Err(ManifestError::VersionZero);
        }
        Ok(Self { id, version_key, layout })
    }

    /// Starts a table. Several may be written side by side.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub fn table(&self, schema: TableSchema) -> Result<TableWriter, SchemaError> {
        TableWriter::new(self.id.clone(), &self.version_key, schema, self.layout)
    }

    /// The manifest of the tables that were proven to be sealed.
    ///
    /// # Errors
    /// [`ManifestError`], if a table is foreign or two have one name.
    pub fn manifest(
        &self,
        tables: Vec<SealedTable>,
        created: UnixSeconds,
    ) -> Result<Manifest, ManifestError> {
        let own = commitment(&self.version_key);
        let mut entries: Vec<ManifestTable> = Vec::with_capacity(tables.len());
        for table in tables {
            let (id, sealer, entry) = table.into_parts();
            if id != self.id || sealer != own {
                return Err(ManifestError::ForeignTable { table: entry.name });
            }
            entries.push(entry);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let DatasetVersion { holder, dataset, version } = self.id.clone();
        let manifest = Manifest { v: V1, holder, dataset, version, created, tables: entries };
        check_form(&manifest).map_err(ManifestError::Form)?;
        Ok(manifest)
    }

    /// The version key, for the deposit at the holder's broker.
    pub fn version_key(&self) -> &Secret<32> {
        &self.version_key
    }
}
