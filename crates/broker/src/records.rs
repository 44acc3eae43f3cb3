//! Rows of the broker's database as typed values: one module per thing, one function per
//! statement. Writers take the connection of a running transaction ([`crate::store`]); readers
//! take a pool. Documents are stored as the envelopes they came in, and opened again when read,
//! so that an edited database is noticed.

pub mod agreements;
pub mod blobs;
pub mod datasets;
pub mod directory;
pub mod nonces;
pub mod outputs;
pub mod runs;

use cordon_crypto::dsse::{Document, Envelope, Signed};
use cordon_types::Sha256Digest;

use crate::store::StoreError;

/// Largest stored envelope: a manifest of 4 MiB in base64 and its frame.
const MAX_ENVELOPE_BYTES: usize = 8 * 1024 * 1024;

fn read_envelope(bytes: &[u8], kind: &'static str) -> Result<Envelope, StoreError> {
    Envelope::from_json(bytes, MAX_ENVELOPE_BYTES).map_err(|_| StoreError::Corrupt(kind))
}

/// Opens a stored envelope with the key that it names. Whether that key was the right one was
/// decided before it was stored; here only damage is looked for.
fn reopen<T: Document>(bytes: &[u8], kind: &'static str) -> Result<Signed<T>, StoreError> {
    let envelope = read_envelope(bytes, kind)?;
    envelope.open::<T>(&envelope.claimed_signer()).map_err(|_| StoreError::Corrupt(kind))
}

fn read_digest(bytes: &[u8], kind: &'static str) -> Result<Sha256Digest, StoreError> {
    bytes.try_into().map(Sha256Digest::from_bytes).map_err(|_| StoreError::Corrupt(kind))
}

/// SQLite counts rows in signed integers; ours never come near the border.
pub(crate) fn row_number(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Corrupt("row number"))
}
