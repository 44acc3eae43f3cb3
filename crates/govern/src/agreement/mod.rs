//! Agreements: whether one makes sense, whether its keys are those that this broker enrolled,
//! and how two of them differ.

mod diff;
mod parties;
mod program;
mod recognize;
mod terms;
mod text;

use std::fmt;
use std::sync::Arc;

use cordon_crypto::dsse::Signed;
use cordon_protocol::Agreement;
use cordon_types::Sha256Digest;

use crate::Code;

pub use diff::{Change, diff};
pub use parties::{
    MAX_APPROVERS, MAX_DATASETS, MAX_HOLDERS, MAX_MANIFEST_KEYS, MAX_RECIPIENTS, MAX_REVIEWERS,
};
pub use program::{
    MAX_COLUMNS, MAX_PARAMETER_VALUES, MAX_PARAMETERS, MAX_RESULT_COLUMNS, MAX_TABLES,
};
pub use recognize::{Recognized, check_dataset, compare_with_directory};
pub use terms::{
    DEADLINE_MS, DEFAULT_MIN_CELL, HEARTBEATS_PER_LEASE, LEASE_MS, MAX_OUTPUT_BYTES, MAX_RUNS,
    MAX_VALID_SECONDS, MEMORY_BYTES, MIN_CELL_FLOOR, MIN_HEARTBEAT_MS,
};
pub use text::{MAX_LINE_BYTES, MAX_STATEMENT_BYTES};

/// An agreement that makes sense by itself and is signed by its requester. Only
/// [`CheckedAgreement::check`] makes one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CheckedAgreement(Arc<Signed<Agreement>>);

/// Why an agreement is refused. All of it is about the agreement, which people read anyway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: expected {expected}, found {found}")]
pub struct AgreementError {
    /// The stable code.
    pub code: Code,
    /// Where: `holders[hospital-a].approvals.roles`.
    pub field: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl CheckedAgreement {
    /// Checks everything that can be said of an agreement without knowing anybody: form, limits,
    /// and whether its parts fit together.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of the document.
    pub fn check(signed: &Signed<Agreement>) -> Result<Self, AgreementError> {
        let agreement = signed.value();
        if signed.signer() != agreement.requester.signing_key {
            return Err(AgreementError::new(
                Code::AgreementSigner,
                "requester.signing_key",
                "the key that signs the agreement",
                "another key",
            ));
        }
        text::check(agreement)?;
        parties::check(agreement)?;
        program::check(agreement)?;
        terms::check(agreement)?;
        Ok(Self(Arc::new(signed.clone())))
    }

    /// The agreement.
    pub fn value(&self) -> &Agreement {
        self.0.value()
    }

    /// What people approve.
    pub fn digest(&self) -> Sha256Digest {
        self.0.digest()
    }

    /// The signed document.
    pub fn signed(&self) -> &Signed<Agreement> {
        &self.0
    }
}

impl AgreementError {
    pub(crate) fn new(
        code: Code,
        field: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self { code, field: field.into(), expected: expected.to_string(), found: found.to_string() }
    }
}

/// Checks that `items` are strictly ascending, so that there is one way to write the list.
fn ascending<T: Ord>(field: &str, items: &[T]) -> Result<(), AgreementError> {
    if items.windows(2).all(|pair| matches!(pair, [a, b] if a < b)) {
        return Ok(());
    }
    let found = "another order, or the same twice";
    Err(AgreementError::new(Code::AgreementList, field, "a sorted list of distinct items", found))
}

/// Checks that no two of `items` are equal.
fn distinct<T: Ord>(field: &str, items: &[T]) -> Result<(), AgreementError> {
    let mut sorted: Vec<&T> = items.iter().collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        let expected = "distinct items";
        return Err(AgreementError::new(Code::AgreementList, field, expected, "the same twice"));
    }
    Ok(())
}

/// Checks the length of a list.
fn count(
    field: &str,
    found: usize,
    allowed: std::ops::RangeInclusive<usize>,
) -> Result<(), AgreementError> {
    if allowed.contains(&found) {
        return Ok(());
    }
    let expected = format!("{} to {} items", allowed.start(), allowed.end());
    Err(AgreementError::new(Code::AgreementList, field, expected, found))
}

#[cfg(test)]
mod tests;
