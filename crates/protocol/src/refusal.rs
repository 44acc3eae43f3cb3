//! Refusals: a stable code and a public sentence for everybody, the full reason for owner and
//! auditor only (DESIGN invariant 7).

use cordon_crypto::dsse::Document;
use cordon_types::{PartyId, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::V1;
use crate::run::RunId;

/// A broker says no. Signed by the broker key, so that a refusal cannot be made up on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Format version.
    pub v: V1,
    /// The holder whose broker refuses.
    pub holder: PartyId,
    /// The run, if it concerns one.
    pub run: Option<RunId>,
    /// Stable code, lower case with underscores: `not_fresh`, `column_not_agreed`.
    pub code: String,
    /// One public sentence without details.
    pub sentence: String,
    /// When.
    pub issued: UnixSeconds,
}

impl Document for Refusal {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.refusal.v1+json";
    const MAX_BYTES: usize = 4 * 1024;
}
