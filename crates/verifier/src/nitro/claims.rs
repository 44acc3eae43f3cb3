//! What a document says, for people and for machines.

use std::collections::BTreeMap;

use cordon_types::{UnixMillis, UnixSeconds, hex};
use serde::Serialize;

use super::chain::Leaf;
use super::document::Document;

/// What a genuine document of a Nitro enclave says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Instance and enclave.
    pub module_id: String,
    /// When it was made, in milliseconds.
    pub timestamp_ms: UnixMillis,
    /// Registers by index, in hex; those that were never written are zero.
    pub pcrs: BTreeMap<u8, String>,
    /// What the enclave had bound into it, in hex.
    pub user_data: Option<String>,
    /// The challenge that the enclave had bound into it, in hex.
    pub nonce: Option<String>,
    /// The key that the enclave had bound into it, in hex.
    pub public_key: Option<String>,
    /// Whether the host can read the enclave's console: then nothing is confidential.
    pub debug: bool,
    /// Serial number of the enclave's certificate, in hex.
    pub certificate_serial: String,
    /// The last second at which that certificate is valid.
    pub certificate_not_after: UnixSeconds,
}

impl Claims {
    pub(super) fn of(document: &Document, leaf: &Leaf) -> Self {
        let text = |bytes: Option<&[u8]>| bytes.map(hex::encode);
        let pcrs = document.pcrs().iter();
        Self {
            module_id: document.module_id().to_owned(),
            timestamp_ms: document.timestamp(),
            pcrs: pcrs.map(|(index, value)| (*index, hex::encode(value))).collect(),
            user_data: text(document.user_data()),
            nonce: text(document.nonce()),
            public_key: text(document.public_key()),
            debug: document.is_debug(),
            certificate_serial: leaf.serial.clone(),
            certificate_not_after: leaf.not_after,
        }
    }
}
