use cordon_crypto::dsse::Signed;
use cordon_crypto::{BoxError, Label, Random, RecipientKey, commitment};
use cordon_protocol::V1;
use cordon_protocol::dataset::{Deposit, Manifest, column_key, footer_key};
use cordon_types::{ColumnName, PartyId, Secret, TableName, UnixSeconds};

/// A version key that is not the one that a manifest commits to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyMismatch {
    /// At a column.
    #[error(
        "the key is not the one that the manifest commits to, see column `{column}` of table `{table}`"
    )]
    Column {
        /// The table.
        table: TableName,
        /// The column.
        column: ColumnName,
    },
    /// At a footer.
    #[error(
        "the key is not the one that the manifest commits to, see the footer of table `{table}`"
    )]
    Footer {
        /// The table.
        table: TableName,
    },
}

/// Why there is no deposit.
#[derive(Debug, thiserror::Error)]
pub enum DepositError {
    /// The wrong key.
    #[error("the version key is not the manifest's")]
    Key(#[source] KeyMismatch),
    /// The broker's key does not take a box.
    #[error("cannot seal to the broker's key")]
    Box(#[source] BoxError),
}

/// Boxes the version key of a signed manifest to the holder's broker. The result is to be signed
/// with the key that signed the manifest.
///
/// # Errors
/// [`DepositError`]; a key that does not fit the manifest is not sent.
pub fn deposit(
    manifest: &Signed<Manifest>,
    version_key: &Secret<32>,
    audience: &PartyId,
    box_key: &RecipientKey,
    issued: UnixSeconds,
    random: &mut dyn Random,
) -> Result<Deposit, DepositError> {
    check_key(manifest.value(), version_key).map_err(DepositError::Key)?;
    let digest = manifest.digest();
    let context: &[&[u8]] = &[digest.as_bytes()];
    let sealed_key = box_key
        .seal(Label::DatasetVersionBox, context, version_key.expose(), random)
        .map_err(DepositError::Box)?;
    let (audience, nonce) = (audience.clone(), random.nonce());
    Ok(Deposit { v: V1, audience, manifest: digest, sealed_key, nonce, issued })
}

/// Compares a version key with every commitment of a manifest.
///
/// # Errors
/// [`KeyMismatch`] names the first that differs.
pub fn check_key(manifest: &Manifest, version_key: &Secret<32>) -> Result<(), KeyMismatch> {
    for table in &manifest.tables {
        if commitment(&footer_key(version_key, &table.name)) != table.footer_commitment {
            return Err(KeyMismatch::Footer { table: table.name.clone() });
        }
        for column in &table.columns {
            let key = column_key(version_key, &table.name, &column.name);
            if commitment(&key) != column.key_commitment {
                let (table, column) = (table.name.clone(), column.name.clone());
                return Err(KeyMismatch::Column { table, column });
            }
        }
    }
    Ok(())
}
