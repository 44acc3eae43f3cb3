//! One execution: the requester's signed choice within an agreement.

use std::collections::BTreeMap;

use cordon_crypto::dsse::Document;
use cordon_types::{Nonce, ParameterName, PartyId, Sha256Digest, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::V1;

/// Digest of the run request: the name of the run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Sha256Digest);

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Debug for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl cordon_types::LogSafe for RunId {}

/// A value of a parameter. Bound to the query, never written into it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ParameterValue {
    /// An integer below 2^53 in magnitude.
    Integer(i64),
    /// Text.
    Text(String),
    /// A day, `YYYY-MM-DD`.
    Date(String),
    /// true or false.
    Boolean(bool),
}

/// The requester asks for one run. Signed by the agreement's requester; its digest is the run id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Format version.
    pub v: V1,
    /// The agreement.
    pub agreement: Sha256Digest,
    /// One value for each parameter of the program.
    pub parameters: BTreeMap<ParameterName, ParameterValue>,
    /// All holders of the agreement, sorted.
    pub audience: Vec<PartyId>,
    /// Makes two runs with the same parameters two.
    pub nonce: Nonce,
    /// When it was signed.
    pub issued: UnixSeconds,
    /// No grant from then on.
    pub not_after: UnixSeconds,
}

impl Document for RunRequest {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.run-request.v1+json";
    const MAX_BYTES: usize = 64 * 1024;
}
