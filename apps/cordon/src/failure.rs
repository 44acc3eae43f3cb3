//! How a command ends: exit codes are a contract (DESIGN §11).

use std::error::Error;
use std::fmt;
use std::io;

use cordon_broker::client::ClientError;
use cordon_broker::log::LogError;
use cordon_crypto::dsse::EnvelopeError;
use cordon_hub::client::ClientError as HubError;

use crate::ops::audit::NotThere;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    error: anyhow::Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Failed,
    WrongUsage,
    Refused,
    VerificationFailed,
}

impl Failure {
    /// Options that do not go together with what was found: exit code 2, like those that the
    /// command line parser refuses.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { kind: Kind::WrongUsage, error: error.into() }
    }

    /// Refused by policy or validation: exit code 3.
    pub fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self { kind: Kind::Refused, error: error.into() }
    }

    /// Something that should verify does not: exit code 4.
    pub fn verification(error: impl Into<anyhow::Error>) -> Self {
        Self { kind: Kind::VerificationFailed, error: error.into() }
    }

    /// A log does not verify; or it could not be read, which says nothing about it.
    pub fn of_audit(error: anyhow::Error) -> Self {
        let unread =
            |cause: &(dyn Error + 'static)| cause.is::<io::Error>() || cause.is::<NotThere>();
        match error.chain().any(unread) {
            true => Self { kind: Kind::Failed, error },
            false => Self::verification(error),
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::WrongUsage => 2,
            Kind::Refused => 3,
            Kind::VerificationFailed => 4,
        }
    }

    /// The code as a word, for `--json`.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Failed => "failed",
            Kind::WrongUsage => "wrong_usage",
            Kind::Refused => "refused",
            Kind::VerificationFailed => "verification_failed",
        }
    }

    /// What the broker says is wrong, line by line, if a broker refused.
    pub fn reasons(&self) -> &[String] {
        let refusal = self.error.chain().find_map(|cause| cause.downcast_ref());
        match refusal {
            Some(ClientError::Refused(problem)) => &problem.reasons,
            _ => &[],
        }
    }
}

impl Kind {
    /// The first of the causes that says what kind of failure it is decides.
    fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Failed)
    }

    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(ClientError::Refused(problem)) = cause.downcast_ref() {
            // What is not there, or not now, was not refused.
            let refused = (400..500).contains(&problem.status) && problem.status != 404;
            return Some(if refused { Self::Refused } else { Self::Failed });
        }
        if let Some(HubError::Refused { status, .. }) = cause.downcast_ref() {
            return Some(if *status == 403 { Self::Refused } else { Self::Failed });
        }
        let invalid = cause.is::<cordon_clinical::view::ViewError>()
            || cause.is::<cordon_clinical::table::RowError>()
            || cause.is::<cordon_clinical::csv::CsvError>()
            || cause.is::<crate::ops::refusals::Unusable>()
            || cause.is::<crate::ops::run::NotReleased>()
            || cause.is::<cordon_govern::AgreementError>();
        if invalid {
            return Some(Self::Refused);
        }
        let unverified = cause.is::<cordon_dataset::VerifyError>()
            || matches!(
                cause.downcast_ref(),
                Some(EnvelopeError::BadSignature(_) | EnvelopeError::WrongSigner { .. })
            )
            || matches!(cause.downcast_ref(), Some(LogError::Fatal(_) | LogError::Damaged(_)));
        unverified.then_some(Self::VerificationFailed)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        Self { kind: Kind::of(&error), error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        for cause in self.error.chain().skip(1) {
            write!(f, ": {cause}")?;
        }
        self.reasons().iter().try_for_each(|reason| write!(f, "\n  - {reason}"))
    }
}

/// What commands return.
pub type Outcome<T = ()> = Result<T, Failure>;

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use cordon_broker::api::Problem;
    use cordon_broker::log::Fatal;

    fn problem(status: u16) -> ClientError {
        ClientError::Refused(Box::new(Problem {
            kind: "urn:cordon:problem:x".into(),
            title: "Forbidden".into(),
            status,
            detail: "it says no".into(),
            code: "x".into(),
            reasons: vec!["because".into()],
        }))
    }

    #[test]
    fn the_cause_decides_the_exit_code_wherever_it_stands() {
        let code = |error: anyhow::Error| Failure::from(error).exit_code();
        let wrapped = Err::<(), _>(problem(403)).context("approving").unwrap_err();
        assert_eq!(code(wrapped), 3);
        assert_eq!(code(problem(404).into()), 1);
        assert_eq!(code(problem(503).into()), 1);
        assert_eq!(code(anyhow::anyhow!("the disk is full")), 1);
        let fatal = LogError::from(Fatal::DatabaseChanged { size: 3 });
        assert_eq!(code(Err::<(), _>(fatal).context("starting").unwrap_err()), 4);
    }

    #[test]
    fn a_refusal_shows_its_causes_and_reasons() {
        let error = Err::<(), _>(problem(403)).context("approving").unwrap_err();
        let text = Failure::from(error).to_string();
        assert_eq!(text, "approving: it says no (x)\n  - because");
    }
}
