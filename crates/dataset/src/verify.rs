use std::collections::BTreeSet;
use std::io;

use cordon_crypto::Sha256Writer;
use cordon_protocol::dataset::{Manifest, ManifestFile, ManifestTable};
use cordon_types::TableName;

use crate::schema::{SchemaError, check_schema};
use crate::store::FileSource;
use crate::write::file_path;

/// What is wrong with a manifest or with the files under it.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Versions are counted from 1.
    #[error("dataset version 0, expected 1 or more")]
    VersionZero,
    /// A dataset has tables.
    #[error("the manifest has no tables")]
    NoTables,
    /// Tables are sorted and have different names.
    #[error("table `{table}` is out of order or stands twice")]
    TableOrder {
        /// The table.
        table: TableName,
    },
    /// The schema is not one that can be sealed.
    #[error("the schema of a table is refused")]
    Schema(#[source] SchemaError),
    /// A table has at least one file.
    #[error("table `{table}` has no files")]
    NoFiles {
        /// The table.
        table: TableName,
    },
    /// A file's path follows from table and place.
    #[error("expected `{expected}` as a file of table `{table}`, found another path")]
    FilePath {
        /// The table.
        table: TableName,
        /// The path at this place.
        expected: String,
    },
    /// The same ciphertext twice.
    #[error("`{path}` is the same file as another")]
    SameFile {
        /// The second of them.
        path: String,
    },
    /// Rows of the files do not add up.
    #[error("the files of table `{table}` do not have as many rows as the table")]
    RowSum {
        /// The table.
        table: TableName,
    },
    /// Two keys are the same, so one opens what it must not.
    #[error("table `{table}` commits to one key twice")]
    SameKey {
        /// The table.
        table: TableName,
    },
    /// The folder cannot be listed.
    #[error("cannot list the files")]
    List(#[source] io::Error),
    /// Not there.
    #[error("`{path}` is missing")]
    Missing {
        /// The file.
        path: String,
    },
    /// There, but not in the manifest.
    #[error("`{path}` is not in the manifest")]
    Extra {
        /// The file.
        path: String,
    },
    /// Longer or shorter.
    #[error("`{path}` has {found} bytes, expected {expected}")]
    Size {
        /// The file.
        path: String,
        /// Bytes of the manifest.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// Other bytes.
    #[error("`{path}` does not have the digest of the manifest")]
    Digest {
        /// The file.
        path: String,
    },
    /// Cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Checks what can be said about a manifest without its files. The signature is the caller's
/// matter: see `cordon_crypto::dsse`.
///
/// # Errors
/// [`VerifyError`].
pub fn check_form(manifest: &Manifest) -> Result<(), VerifyError> {
    if manifest.version == 0 {
        return Err(VerifyError::VersionZero);
    }
    if manifest.tables.is_empty() {
        return Err(VerifyError::NoTables);
    }
    for pair in manifest.tables.windows(2) {
        if let [before, after] = pair
            && before.name >= after.name
        {
            return Err(VerifyError::TableOrder { table: after.name.clone() });
        }
    }
    for schema in manifest.schema().tables {
        check_schema(&schema).map_err(VerifyError::Schema)?;
    }
    let mut digests = BTreeSet::new();
    for table in &manifest.tables {
        check_table(table)?;
        for file in &table.files {
            if !digests.insert(file.sha256) {
                return Err(VerifyError::SameFile { path: file.path.clone() });
            }
        }
    }
    Ok(())
}

fn check_table(table: &ManifestTable) -> Result<(), VerifyError> {
    let name = || table.name.clone();
    if table.files.is_empty() {
        return Err(VerifyError::NoFiles { table: name() });
    }
    let mut rows = 0_u64;
    for (number, file) in table.files.iter().enumerate() {
        let expected = file_path(&table.name, number);
        if file.path != expected {
            return Err(VerifyError::FilePath { table: name(), expected });
        }
        rows = rows.saturating_add(file.rows);
    }
    if rows != table.rows {
        return Err(VerifyError::RowSum { table: name() });
    }
    let columns = table.columns.iter().map(|column| column.key_commitment);
    let keys: BTreeSet<_> = columns.chain([table.footer_commitment]).collect();
    if keys.len() != table.columns.len() + 1 {
        return Err(VerifyError::SameKey { table: name() });
    }
    Ok(())
}

/// Compares files with their manifest: none missing, none extra, each of the right size and
/// digest at the right path. A swapped, truncated, mixed or re-ordered file is named.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_files(manifest: &Manifest, source: &dyn FileSource) -> Result<(), VerifyError> {
    check_form(manifest)?;
    let named: BTreeSet<&str> =
        manifest.tables.iter().flat_map(|t| &t.files).map(|f| f.path.as_str()).collect();
    let mut present = source.paths().map_err(VerifyError::List)?;
    present.sort();
    if let Some(path) = present.into_iter().find(|path| !named.contains(path.as_str())) {
        return Err(VerifyError::Extra { path });
    }
    for table in &manifest.tables {
        for file in &table.files {
            verify_file(file, source)?;
        }
    }
    Ok(())
}

fn verify_file(file: &ManifestFile, source: &dyn FileSource) -> Result<(), VerifyError> {
    let path = || file.path.clone();
    let read = |source| VerifyError::Read { path: path(), source };
    let bytes = source
        .open(&file.path)
        .map_err(read)?
        .ok_or_else(|| VerifyError::Missing { path: path() })?;
    let found = bytes.size_bytes().map_err(read)?;
    if found != file.size_bytes {
        return Err(VerifyError::Size { path: path(), expected: file.size_bytes, found });
    }
    let mut digest = Sha256Writer::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    while offset < found {
        let count = (found - offset).min(READ_BYTES as u64) as usize;
        bytes.read_at(offset, &mut buffer[..count]).map_err(read)?;
        digest.update(&buffer[..count]);
        offset += count as u64;
    }
    if digest.finish() != file.sha256 {
        return Err(VerifyError::Digest { path: path() });
    }
    Ok(())
}

const READ_BYTES: usize = 1 << 20;
