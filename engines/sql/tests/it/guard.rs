//! Plays the guard: sends a job, answers reads from memory, takes the answer.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::thread;

use cordon_engine_sql::serve;
use cordon_protocol::frame::{self, MAX_FRAME_BYTES};
use cordon_protocol::run::ParameterValue;
use cordon_protocol::table::{Cell, RawTable};
use cordon_protocol::worker::{
    FailureCode, FromWorker, Job, JobKey, JobKeys, Mode, PlanReport, ToWorker, WorkerFailure,
};
use cordon_types::Secret;

use crate::tables::Sealed;

/// One run or plan of a query, to be changed before it starts.
pub struct Call {
    pub job: Job,
    pub keys: Vec<JobKey>,
    /// Ciphertext by the number of the file.
    pub objects: BTreeMap<u32, Vec<u8>>,
    /// Reads after this many are answered by a failure.
    pub reads_until_failure: usize,
    /// What was read.
    pub reads: Vec<(u32, u64, u32)>,
}

impl Call {
    /// A run of a query over sealed tables, all columns agreed.
    pub fn run(sealed: &Sealed, query: &str) -> Self {
        let (job, keys, objects) = sealed.job(query);
        Self { job, keys, objects, reads_until_failure: usize::MAX, reads: Vec::new() }
    }

    /// The same query, to be planned.
    pub fn plan(sealed: &Sealed, query: &str) -> Self {
        let mut call = Self::run(sealed, query);
        call.job.mode = Mode::Plan;
        for source in call.job.tables.values_mut().flatten() {
            source.files.clear();
        }
        call.keys.clear();
        call.objects.clear();
        call
    }

    pub fn with(mut self, parameter: &str, value: ParameterValue) -> Self {
        self.job.parameters.insert(parameter.parse().unwrap(), value);
        self
    }

    /// Plays the guard until the engine has answered.
    pub fn answer(&mut self) -> FromWorker {
        let (mut guard, worker) = UnixStream::pair().unwrap();
        let engine = thread::spawn(move || serve(worker));
        frame::write_message(&mut guard, &ToWorker::Job(Box::new(self.job.clone()))).unwrap();
        if self.job.mode == Mode::Run {
            let keys = self.keys.iter().map(|key| JobKey {
                file: key.file,
                column: key.column,
                key: Secret::from_bytes(*key.key.expose()),
            });
            let frame = JobKeys::new(keys.collect()).to_frame();
            frame::write_bytes(&mut guard, &frame).unwrap();
        }
        let answer = loop {
            match frame::read_message(&mut guard, MAX_FRAME_BYTES).unwrap() {
                FromWorker::Read { file, offset, length } => {
                    self.answer_read(&mut guard, file, offset, length);
                }
                answer => break answer,
            }
        };
        engine.join().unwrap().unwrap();
        answer
    }

    fn answer_read(&mut self, guard: &mut UnixStream, file: u32, offset: u64, length: u32) {
        self.reads.push((file, offset, length));
        let start = usize::try_from(offset).unwrap();
        let end = start + usize::try_from(length).unwrap();
        assert!(end > start && length <= cordon_protocol::worker::MAX_RANGE_BYTES);
        if self.reads.len() > self.reads_until_failure {
            // The engine may have ended at an earlier failure.
            let _ = frame::write_message(guard, &ToWorker::RangeFailed);
            return;
        }
        let bytes = &self.objects[&file][start..end];
        let told = frame::write_message(guard, &ToWorker::Range);
        let _ = told.and_then(|()| frame::write_bytes(guard, bytes));
    }

    pub fn table(mut self) -> RawTable {
        match self.answer() {
            FromWorker::Output(table) => *table,
            other => panic!("expected a table, found {other:?}"),
        }
    }

    pub fn report(mut self) -> PlanReport {
        match self.answer() {
            FromWorker::Planned(report) => *report,
            other => panic!("expected a plan, found {other:?}"),
        }
    }

    pub fn failure(mut self) -> WorkerFailure {
        match self.answer() {
            FromWorker::Failed(failure) => failure,
            other => panic!("expected a failure, found {other:?}"),
        }
    }

    pub fn code(self) -> FailureCode {
        let failure = self.failure();
        assert_eq!(failure.detail, None, "a run says no more than a code");
        failure.code
    }
}

/// A table as text, one row a line: cells, then the patients of each holder.
pub fn text(table: &RawTable) -> Vec<String> {
    let cell = |cell: &Cell| match cell {
        Cell::Null => "-".to_owned(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
        Cell::Number(value) | Cell::Text(value) => value.clone(),
        Cell::Suppressed => panic!("an engine suppresses nothing"),
    };
    let rows = table.rows.iter().zip(&table.support);
    rows.map(|(cells, support)| {
        let cells: Vec<_> = cells.iter().map(cell).collect();
        let support: Vec<_> = support.iter().map(|part| part.patients.to_string()).collect();
        format!("{} | {}", cells.join(" "), support.join(" "))
    })
    .collect()
}

/// The columns of a result as text.
pub fn kinds(report: &PlanReport) -> String {
    let column = |(name, kind)| format!("{name}:{kind:?}");
    let columns = report.result.iter().map(|c| column((c.name.as_str(), c.kind)));
    columns.collect::<Vec<_>>().join(" ")
}

/// The keys of a file as the guard would hand them over.
pub fn job_keys(file: u32, footer: [u8; 32], columns: &[[u8; 32]]) -> Vec<JobKey> {
    let key = |column, key: &[u8; 32]| JobKey { file, column, key: Secret::from_bytes(*key) };
    let columns = columns.iter().enumerate();
    let columns = columns.map(|(index, bytes)| key(Some(u16::try_from(index).unwrap()), bytes));
    std::iter::once(key(None, &footer)).chain(columns).collect()
}
