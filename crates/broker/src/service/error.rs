//! Why a broker does not do what it is asked.

use cordon_govern::Denial;

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
    /// The key process refused.
    #[error("the key process refused")]
    Keys(#[source] cordon_keystore::process::ClientError),
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
            Self::Conflict(Conflict::Exists) => "exists",
            Self::Keys(_) => "key_process_refused",
            Self::Unavailable(_) => "unavailable",
            Self::Internal(_) => "internal",
        }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Unsigned => 401,
            Self::NotAllowed(_) | Self::Denied(_) | Self::Keys(_) => 403,
            Self::NotFound(_) => 404,
            Self::Conflict(_) => 409,
            Self::Unavailable(_) => 503,
            Self::Internal(_) => 500,
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

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(conflict) => Self::Conflict(conflict),
            StoreError::Closed => Self::Unavailable("the broker is shutting down".into()),
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
