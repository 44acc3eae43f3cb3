//! Between guard and worker: one job in, ciphertext on demand, one framed output back.
//!
//! The worker's socket is file descriptor 3. The guard writes [`ToWorker`], the worker
//! [`FromWorker`]; frames are those of [`crate::frame`], JSON except where noted. The keys
//! travel in one raw frame, never as JSON: see [`JobKeys`].

use std::collections::BTreeMap;

use cordon_types::{ColumnName, ParameterName, PartyId, Secret, Sha256Digest, TableName};
use serde::{Deserialize, Serialize};

use crate::agreement::ResultColumn;
use crate::dataset::TableSchema;
use crate::run::ParameterValue;
use crate::table::RawTable;

/// The worker's end of the socket pair.
pub const WORKER_SOCKET_FD: i32 = 3;
/// Largest range that a worker may ask for in one request.
pub const MAX_RANGE_BYTES: u32 = 8 * 1024 * 1024;
/// Most keys of one job.
pub const MAX_JOB_KEYS: usize = 100_000;
/// Longest query: a planner recurses into it.
pub const MAX_QUERY_BYTES: usize = 32 * 1024;

/// What a worker shall do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Plan without keys, or run.
    pub mode: Mode,
    /// One SQL statement.
    pub query: String,
    /// Bound to the query's `$name`s. Empty values are not allowed; in plan mode any value within
    /// the bounds serves.
    pub parameters: BTreeMap<ParameterName, ParameterValue>,
    /// The tables that the query sees.
    pub tables: BTreeMap<TableName, Vec<JobSource>>,
    /// The holders, in the order in which support is reported.
    pub holders: Vec<PartyId>,
    /// Limits that the worker keeps itself; the sandbox keeps harder ones.
    pub limits: JobLimits,
}

/// Plan or run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Report the touched columns and the result's columns; read nothing.
    Plan,
    /// Run and report the table.
    Run,
}

/// One sealed table as the worker sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSource {
    /// Whose rows these are.
    pub holder: PartyId,
    /// Its schema, all columns: planning a query over a column that was not agreed must name it.
    pub schema: TableSchema,
    /// Columns that the agreement releases (the subject column among them); in plan mode at
    /// proposal all of them.
    pub columns: Vec<ColumnName>,
    /// Its files; empty in plan mode.
    pub files: Vec<JobFile>,
}

/// One sealed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// Number by which ranges and keys name it.
    pub id: u32,
    /// Size of the ciphertext.
    pub size_bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// The AAD prefix: `cordon_dataset` derives it from dataset, version and path.
    pub aad_prefix: Sha256Digest,
}

/// Limits that the worker keeps itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobLimits {
    /// Memory pool of the query.
    pub memory_bytes: u64,
    /// Most rows of the result.
    pub max_rows: u32,
    /// Most bytes of the output frame.
    pub max_output_bytes: u32,
}

/// From guard to worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToWorker {
    /// The first frame. In run mode the raw frame of [`JobKeys`] follows at once.
    Job(Box<Job>),
    /// Announces that the next raw frame answers the oldest open [`FromWorker::Read`].
    Range,
    /// The range cannot be had; the worker fails.
    RangeFailed,
}

/// From worker to guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromWorker {
    /// Asks for ciphertext. Requests are answered in order.
    Read {
        /// The file.
        file: u32,
        /// First byte.
        offset: u64,
        /// How many, at most [`MAX_RANGE_BYTES`].
        length: u32,
    },
    /// Plan mode's answer; the worker ends.
    Planned(Box<PlanReport>),
    /// Run mode's answer; the worker ends.
    Output(Box<RawTable>),
    /// It could not; the worker ends. A stable code, never a message made from data.
    Failed(WorkerFailure),
}

/// What planning a query says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanReport {
    /// Columns that the plan touches, per query table, sorted; the subject column always.
    pub touched: BTreeMap<TableName, Vec<ColumnName>>,
    /// Columns of the result.
    pub result: Vec<ResultColumn>,
}

/// Why a worker failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerFailure {
    /// The code.
    pub code: FailureCode,
    /// In plan mode, where no data is present: what to change, for the author of the query.
    /// Always absent in run mode.
    pub detail: Option<String>,
}

/// Stable codes of a worker's failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The job itself is malformed.
    BadJob,
    /// The statement does not parse or names what does not exist.
    QueryInvalid,
    /// The statement is no query, or uses a function that is off.
    QueryForbidden,
    /// The plan is not one aggregate of allowed functions over bare columns.
    ShapeRefused,
    /// The query touches a column that is not agreed.
    ColumnNotAgreed,
    /// A parameter is missing, unknown or of the wrong type.
    ParameterInvalid,
    /// A file does not open: wrong key, changed bytes, another schema.
    DataInvalid,
    /// The memory limit does not suffice.
    MemoryExceeded,
    /// More rows or bytes than the output may have.
    OutputTooLarge,
    /// Ciphertext could not be had.
    ReadFailed,
    /// Anything else. A bug.
    Internal,
}

impl FailureCode {
    /// The code as it stands in receipts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJob => "worker_bad_job",
            Self::QueryInvalid => "query_invalid",
            Self::QueryForbidden => "query_forbidden",
            Self::ShapeRefused => "shape_refused",
            Self::ColumnNotAgreed => "column_not_agreed",
            Self::ParameterInvalid => "parameter_invalid",
            Self::DataInvalid => "data_invalid",
            Self::MemoryExceeded => "memory_exceeded",
            Self::OutputTooLarge => "output_too_large",
            Self::ReadFailed => "read_failed",
            Self::Internal => "worker_internal",
        }
    }
}

/// The file keys of a job: footer and agreed columns of each file, nothing that outlives it.
#[derive(Debug, Default)]
pub struct JobKeys(Vec<JobKey>);

/// One file key.
#[derive(Debug)]
pub struct JobKey {
    /// The file.
    pub file: u32,
    /// Index of the column in the table's schema; `None` for the footer.
    pub column: Option<u16>,
    /// The key.
    pub key: Secret<32>,
}

/// A key frame that is not well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key frame: expected records of 38 bytes, at most {MAX_JOB_KEYS}")]
pub struct KeyFrameError;

const KEY_RECORD_BYTES: usize = 4 + 2 + 32;
const FOOTER_INDEX: u16 = u16::MAX;

impl JobKeys {
    /// Collects keys.
    pub fn new(keys: Vec<JobKey>) -> Self {
        Self(keys)
    }

    /// The keys.
    pub fn into_keys(self) -> Vec<JobKey> {
        self.0
    }

    /// The raw frame: per key u32 file, u16 column (65,535 = footer), 32 bytes. Wipe it after
    /// writing.
    pub fn to_frame(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.0.len() * KEY_RECORD_BYTES);
        for key in &self.0 {
            frame.extend_from_slice(&key.file.to_be_bytes());
            frame.extend_from_slice(&key.column.unwrap_or(FOOTER_INDEX).to_be_bytes());
            frame.extend_from_slice(key.key.expose());
        }
        frame
    }

    /// Reads the raw frame.
    ///
    /// # Errors
    /// If it is not a whole number of records, or too many.
    pub fn from_frame(frame: &[u8]) -> Result<Self, KeyFrameError> {
        let (records, rest) = frame.as_chunks::<KEY_RECORD_BYTES>();
        if !rest.is_empty() || records.len() > MAX_JOB_KEYS {
            return Err(KeyFrameError);
        }
        let keys = records.iter().map(|record| {
            let (file, rest) = record.split_first_chunk::<4>().ok_or(KeyFrameError)?;
            let (column, key) = rest.split_first_chunk::<2>().ok_or(KeyFrameError)?;
            let column = Some(u16::from_be_bytes(*column)).filter(|c| *c != FOOTER_INDEX);
            let key = Secret::from_slice(key).ok_or(KeyFrameError)?;
            Ok(JobKey { file: u32::from_be_bytes(*file), column, key })
        });
        keys.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_round_trip_and_debug_shows_no_key() {
        let keys = JobKeys::new(vec![
            JobKey { file: 7, column: None, key: Secret::from_bytes([0x41; 32]) },
            JobKey { file: 7, column: Some(3), key: Secret::from_bytes([0x42; 32]) },
        ]);
        assert!(!format!("{keys:?}").contains("65"));
        let frame = keys.to_frame();
        let back = JobKeys::from_frame(&frame).unwrap().into_keys();
        assert_eq!(back.len(), 2);
        assert_eq!((back[0].file, back[0].column), (7, None));
        assert_eq!((back[1].file, back[1].column), (7, Some(3)));
        assert_eq!(back[1].key.expose(), &[0x42; 32]);
        assert!(JobKeys::from_frame(&frame[1..]).is_err());
    }
}
