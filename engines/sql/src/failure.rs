use cordon_protocol::worker::{FailureCode, Mode, WorkerFailure};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// Why the engine does not answer with a table. The detail is for the author of a query: it is
/// made while planning, where no data is present, and never sent in run mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: FailureCode,
    detail: Option<String>,
}

impl Failure {
    /// A failure that says what to change.
    pub(crate) fn new(code: FailureCode, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL_CHARS) {
            detail.truncate(end);
        }
        Self { code, detail: Some(detail.replace(['\n', '\r'], " ")) }
    }

    /// A failure that is no more than its code.
    pub(crate) fn bare(code: FailureCode) -> Self {
        Self { code, detail: None }
    }

    pub(crate) fn shape(detail: impl Into<String>) -> Self {
        Self::new(FailureCode::ShapeRefused, detail)
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(FailureCode::QueryInvalid, detail)
    }

    pub(crate) fn bad_job(detail: impl Into<String>) -> Self {
        Self::new(FailureCode::BadJob, detail)
    }

    /// What DataFusion said while planning.
    pub(crate) fn planning(error: &DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::Internal(_) => Self::bare(FailureCode::Internal),
            _ => Self::invalid(error.strip_backtrace()),
        }
    }

    /// What DataFusion said while running: only a code, since its message may hold data.
    pub(crate) fn running(error: &DataFusionError) -> Self {
        Self::bare(match error.find_root() {
            DataFusionError::External(inner) => {
                inner.downcast_ref::<Self>().map_or(FailureCode::Internal, Self::code)
            }
            DataFusionError::ResourcesExhausted(_) => FailureCode::MemoryExceeded,
            DataFusionError::ParquetError(_) => FailureCode::DataInvalid,
            DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
                ArrowError::ParquetError(_) => FailureCode::DataInvalid,
                ArrowError::MemoryError(_) => FailureCode::MemoryExceeded,
                _ => FailureCode::Internal,
            },
            _ => FailureCode::Internal,
        })
    }

    /// Its code.
    pub fn code(&self) -> FailureCode {
        self.code
    }

    /// As it goes to the guard.
    pub(crate) fn into_message(self, mode: Mode) -> WorkerFailure {
        let detail = match mode {
            Mode::Plan => self.detail,
            Mode::Run => None,
        };
        WorkerFailure { code: self.code, detail }
    }
}

/// So that a failure can pass through DataFusion and come back as it was.
impl From<Failure> for DataFusionError {
    fn from(failure: Failure) -> Self {
        Self::External(Box::new(failure))
    }
}

impl std::error::Error for Failure {}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code.as_str())
    }
}

/// Longest detail: a few lines on a terminal.
const MAX_DETAIL_CHARS: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_mode_carries_no_detail_and_plan_mode_one_short_line() {
        let failure = Failure::shape("a\nb".repeat(1_000));
        assert_eq!(failure.clone().into_message(Mode::Run).detail, None);
        let detail = failure.into_message(Mode::Plan).detail.unwrap();
        assert!(detail.len() == MAX_DETAIL_CHARS && !detail.contains('\n'));
    }

    #[test]
    fn errors_of_a_run_become_codes() {
        let exhausted = DataFusionError::ResourcesExhausted("a value".into()).context("sum");
        assert_eq!(Failure::running(&exhausted), Failure::bare(FailureCode::MemoryExceeded));
        let page = parquet::errors::ParquetError::General("a value".into());
        let page = DataFusionError::from(ArrowError::from(page));
        assert_eq!(Failure::running(&page), Failure::bare(FailureCode::DataInvalid));
        let own = DataFusionError::from(Failure::bare(FailureCode::ReadFailed)).context("scan");
        assert_eq!(Failure::running(&own), Failure::bare(FailureCode::ReadFailed));
        let other = DataFusionError::Execution("a value".into());
        assert_eq!(Failure::running(&other), Failure::bare(FailureCode::Internal));
    }
}
