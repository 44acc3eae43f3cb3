//! Why a broker does not do what it is asked.

use cordon_govern::Denial;
use cordon_keystore::process::ClientError as KeyError;

use crate::log::LogError;
use crate::store::{Conflict, StoreError};

/// A request that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Not what was expected.
    #[error("{0}")]
    Malformed(String),
    /// Not signed by an enrolled person.
    #[error("the request is not signed by a person whom this broker knows")]
    Unsigned,
    /// Signed, but not theirs to do or see.
    #[error("not allowed: {0}")]
    NotAllowed(&'static str),
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Refused, recorded, and explained.
    #[error("{}", .0.sentence())]
    Denied(Box<Denial>),
    /// A rule of the database.
    #[error("{0}")]
    Conflict(Conflict),
    /// The key process refused, or did not do it.
    #[error("{}", keys_sentence(.0))]
    Keys(#[source] KeyError),
    /// There is no room for a record, so nothing was done.
    #[error("the broker's disk is full: nothing was recorded, and nothing took effect")]
    StorageFull,
    /// Nothing is wrong with the request: witnesses or hub do not answer. Try again.
    #[error("not now: {0}")]
    Unavailable(String),
    /// A bug, or a broken machine.
    #[error("the broker failed; its log says why")]
    Internal(#[source] anyhow::Error),
}

impl ServiceError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Unsigned => "unsigned",
            Self::NotAllowed(_) => "not_allowed",
            Self::NotFound(_) => "not_found",
            Self::Denied(denial) => denial.code().as_str(),
            Self::Conflict(Conflict::NonceUsed) => "nonce_used",
            Self::Conflict(Conflict::RunsSpent) => "runs_spent",
            Self::Conflict(Conflict::OtherGuard) => "other_guard",
            Self::Conflict(Conflict::Rejected) => "approval_rejected",
            Self::Conflict(Conflict::Closed) => "study_stopped",
            Self::Conflict(Conflict::Changed) => "unavailable",
            Self::Conflict(Conflict::Opened) => "released_already",
            Self::Conflict(Conflict::Reviewed) => "review_rejected",
            Self::Conflict(Conflict::Exists) => "exists",
            Self::Keys(KeyError::Refused(_)) => "key_process_refused",
            Self::Keys(KeyError::Gone) => "key_process_gone",
            Self::Keys(KeyError::Busy) => "unavailable",
            Self::Keys(_) => "key_process_failed",
            Self::StorageFull => "storage_full",
            Self::Unavailable(_) => "unavailable",
            Self::Internal(_) => "internal",
        }
    }

    /// Whether somebody was refused, and the log does not tell of it yet.
    pub(super) fn is_unrecorded_refusal(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::Unsigned | Self::NotAllowed(_) => true,
            // Nobody was refused anything: the receipt of a run that got no keys comes here, too.
            Self::NotFound(_) => false,
            Self::Conflict(conflict) => match conflict {
                Conflict::NonceUsed
                | Conflict::RunsSpent
                | Conflict::OtherGuard
                | Conflict::Rejected
                | Conflict::Closed
                | Conflict::Opened
                | Conflict::Reviewed
                | Conflict::Exists => true,
                Conflict::Changed => false,
            },
            Self::Keys(KeyError::Refused(_)) => true,
            Self::Denied(_)
            | Self::Keys(_)
            | Self::StorageFull
            | Self::Unavailable(_)
            | Self::Internal(_) => false,
        }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unsigned => 401,
            Self::NotAllowed(_) | Self::Denied(_) | Self::Keys(KeyError::Refused(_)) => 403,
            Self::NotFound(_) => 404,
            Self::Conflict(_) => 409,
            Self::Unavailable(_) | Self::Keys(KeyError::Gone | KeyError::Busy) => 503,
            Self::StorageFull => 507,
            Self::Keys(_) | Self::Internal(_) => 500,
        }
    }

    /// What exactly is wrong. Staff of the holder asked, so it may be told.
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Denied(denial) => denial.reasons(),
            _ => &[],
        }
    }

    pub(crate) fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self::Internal(error.into())
    }
}

fn keys_sentence(error: &KeyError) -> &'static str {
    match error {
        KeyError::Refused(_) => "the key process refused",
        KeyError::Gone => "the key process is gone: the broker has to be started again",
        KeyError::Busy => "not now: the key process is busy",
        _ => "the key process failed",
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(conflict) => Self::Conflict(conflict),
            StoreError::Closed => Self::Unavailable("the broker is shutting down".into()),
            StoreError::Full => Self::StorageFull,
            other => Self::internal(other),
        }
    }
}

impl From<LogError> for ServiceError {
    fn from(error: LogError) -> Self {
        if error.is_temporary() {
            Self::Unavailable(error.to_string())
        } else {
            Self::internal(error)
        }
    }
}

impl From<Denial> for ServiceError {
    fn from(denial: Denial) -> Self {
        Self::Denied(Box::new(denial))
    }
}
