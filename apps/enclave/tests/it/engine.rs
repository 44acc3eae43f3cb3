//! An engine for tests: what it does stands in the query. It speaks the worker's protocol and
//! keeps to the sandbox like a real one.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::{hint, process, thread, time::Duration};

use cordon_protocol::agreement::{ResultColumn, ResultKind};
use cordon_protocol::dataset::{column_key, file_key, footer_key};
use cordon_protocol::frame::{self, MAX_FRAME_BYTES};
use cordon_protocol::table::{Cell, Column, RawTable, Share, Support};
use cordon_protocol::worker::{
    FailureCode, FromWorker, Job, JobFile, JobKey, JobKeys, Mode, PlanReport, ToWorker,
    WorkerFailure,
};
use cordon_types::{ColumnName, Secret};

use crate::fixture::study::{Study, name, table};

/// The name under which the guard starts its engine.
pub const NAME: &str = "cordon-engine";
/// A range at a time.
const RANGE_BYTES: u64 = 16 * 1024;

/// What the engine does beside its duty. Each is the query of an agreement.
pub mod act {
    pub const ABORT: &str = "abort";
    pub const EXIT: &str = "exit";
    pub const FORBIDDEN: &str = "open a socket";
    pub const FAIL: &str = "fail";
    pub const SLEEP: &str = "sleep";
    pub const SPIN: &str = "spin";
    pub const BABBLE: &str = "babble";
    pub const UNKNOWN_MESSAGE: &str = "unknown message";
    pub const ABORT_WHILE_READING: &str = "abort while reading";
    pub const HUGE_FRAME: &str = "huge frame";
    pub const TOO_MANY_ROWS: &str = "too many rows";
    pub const SMALL_CELLS: &str = "small cells";
    pub const OTHER_COLUMNS: &str = "other columns";
    pub const MISSING_SUPPORT: &str = "missing support";
    pub const READ_OUTSIDE: &str = "read outside";
    pub const READ_OTHER_FILE: &str = "read another file";
    pub const PLAN_AGAIN: &str = "plan in run mode";
    pub const OTHER_PLAN: &str = "other plan";
    pub const READ_IN_PLAN: &str = "read in plan mode";
    pub const ABORT_IN_PLAN: &str = "abort in plan mode";
}

pub fn run() -> ExitCode {
    let Ok(cordon_sandbox::worker::Tightened::Filtered) = cordon_sandbox::worker::tighten() else {
        return ExitCode::FAILURE;
    };
    let Ok(mut guard) = cordon_sandbox::worker::socket() else { return ExitCode::FAILURE };
    let Ok(ToWorker::Job(job)) = frame::read_message(&mut guard, MAX_FRAME_BYTES) else {
        return ExitCode::FAILURE;
    };
    let answer = match job.mode {
        Mode::Plan => plan(&job, &mut guard),
        Mode::Run => execute(&job, &mut guard),
    };
    match frame::write_message(&mut guard, &answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn failed(code: FailureCode) -> FromWorker {
    FromWorker::Failed(WorkerFailure { code, detail: None })
}

fn plan(job: &Job, guard: &mut UnixStream) -> FromWorker {
    let has_files = job.tables.values().flatten().any(|source| !source.files.is_empty());
    if has_files {
        return failed(FailureCode::BadJob);
    }
    let mut columns = ["patient_id", "sex"].map(name::<ColumnName>).to_vec();
    match job.query.as_str() {
        act::OTHER_PLAN => columns.push(name("postcode")),
        act::READ_IN_PLAN => ask(guard, 0, 0, 1),
        act::ABORT_IN_PLAN => process::abort(),
        _ => {}
    }
    let column = |text: &str, kind| ResultColumn { name: name(text), kind };
    FromWorker::Planned(Box::new(PlanReport {
        touched: BTreeMap::from([(table(), columns)]),
        result: vec![column("sex", ResultKind::Key), column("patients", ResultKind::Count)],
    }))
}

fn execute(job: &Job, guard: &mut UnixStream) -> FromWorker {
    let Ok(keys) = frame::read_bytes(guard, MAX_FRAME_BYTES) else { process::exit(1) };
    let keys = JobKeys::from_frame(&keys).map(JobKeys::into_keys);
    if !keys.is_ok_and(|keys| are_expected(&keys)) {
        return failed(FailureCode::DataInvalid);
    }
    misbehave(&job.query, guard);
    let mut support = Vec::new();
    for source in job.tables.values().flatten() {
        let mut bytes = Vec::new();
        for file in &source.files {
            match read(guard, file) {
                Ok(read) => bytes.extend(read),
                Err(code) => return failed(code),
            }
        }
        support.push(evens(&bytes));
    }
    FromWorker::Output(Box::new(output(&job.query, &support)))
}

/// What stands for the patients: even bytes and odd ones.
pub fn evens(bytes: &[u8]) -> [u64; 2] {
    let even = bytes.iter().filter(|byte| **byte % 2 == 0).count();
    [even as u64, (bytes.len() - even) as u64]
}

/// So many patients, who count once each.
fn each(patients: u64) -> Support {
    let share = Share { patients, total: patients, largest: patients.min(1) };
    Support { patients, shares: vec![share] }
}

/// The honest table for these supports of the holders.
pub fn honest_output(support: &[[u64; 2]]) -> RawTable {
    let row = |which: usize, key: &str| {
        let all: u64 = support.iter().map(|holder| holder[which]).sum();
        vec![Cell::Text(key.to_owned()), Cell::Integer(i64::try_from(all).unwrap_or(i64::MAX))]
    };
    let column = |text: &str, kind| Column { name: name(text), kind };
    RawTable {
        columns: vec![column("sex", ResultKind::Key), column("patients", ResultKind::Count)],
        rows: vec![row(0, "female"), row(1, "male")],
        support: [0, 1]
            .map(|which| support.iter().map(|holder| each(holder[which])).collect())
            .to_vec(),
    }
}

fn output(query: &str, support: &[[u64; 2]]) -> RawTable {
    let mut table = honest_output(support);
    let row = |key: &str| vec![Cell::Text(key.to_owned()), Cell::Integer(60)];
    match query {
        act::TOO_MANY_ROWS => {
            table.rows = (0..11).map(|i| row(&i.to_string())).collect();
            table.support = vec![vec![each(20); 3]; 11];
        }
        act::SMALL_CELLS => {
            table.rows = vec![row("rare")];
            table.support = vec![vec![each(1); 3]];
        }
        act::OTHER_COLUMNS => table.columns.reverse(),
        act::MISSING_SUPPORT => table.support.iter_mut().for_each(|row| row.truncate(2)),
        _ => {}
    }
    table
}

fn misbehave(query: &str, guard: &mut UnixStream) {
    match query {
        act::ABORT => process::abort(),
        act::EXIT => process::exit(0),
        act::FORBIDDEN => drop(UnixStream::pair()),
        act::FAIL => tell(guard, &failed(FailureCode::MemoryExceeded)),
        act::SLEEP => loop {
            thread::sleep(Duration::from_secs(60));
        },
        act::SPIN => loop {
            hint::spin_loop();
        },
        act::BABBLE => drop(frame::write_bytes(guard, b"not json")),
        act::UNKNOWN_MESSAGE => drop(frame::write_bytes(guard, br#"{"shell":"id"}"#)),
        act::HUGE_FRAME => drop(frame::write_bytes(guard, &vec![b' '; 1024 * 1024])),
        act::READ_OUTSIDE => ask(guard, 0, 39_999, 2),
        act::READ_OTHER_FILE => ask(guard, 3, 0, 1),
        act::ABORT_WHILE_READING => {
            (0..64).for_each(|offset| ask(guard, 0, offset, 16 * 1024));
            process::abort();
        }
        act::PLAN_AGAIN => {
            let report = PlanReport { touched: BTreeMap::new(), result: Vec::new() };
            tell(guard, &FromWorker::Planned(Box::new(report)));
        }
        _ => {}
    }
}

fn tell(guard: &mut UnixStream, message: &FromWorker) {
    // An error is the guard's end, which the next read tells.
    drop(frame::write_message(guard, message));
}

fn ask(guard: &mut UnixStream, file: u32, offset: u64, length: u32) {
    tell(guard, &FromWorker::Read { file, offset, length });
}

fn read(guard: &mut UnixStream, file: &JobFile) -> Result<Vec<u8>, FailureCode> {
    let mut bytes = Vec::new();
    let mut offset = 0;
    while offset < file.size_bytes {
        let length = RANGE_BYTES.min(file.size_bytes - offset);
        ask(guard, file.id, offset, u32::try_from(length).map_err(|_| FailureCode::Internal)?);
        match frame::read_message(guard, MAX_FRAME_BYTES) {
            Ok(ToWorker::Range) => {}
            Ok(ToWorker::RangeFailed) => return Err(FailureCode::ReadFailed),
            Ok(ToWorker::Job(_)) | Err(_) => return Err(FailureCode::Internal),
        }
        let range = frame::read_bytes(guard, MAX_FRAME_BYTES).map_err(|_| FailureCode::Internal)?;
        bytes.extend(range);
        offset += length;
    }
    Ok(bytes)
}

/// Footer and agreed columns of each hospital's file, under the file's own keys.
fn are_expected(keys: &[JobKey]) -> bool {
    let study = Study::new(b"");
    let mut expected: Vec<(u32, Option<u16>, Secret<32>)> = Vec::new();
    for (file, hospital) in (0..).zip(&study.hospitals) {
        let path = &hospital.manifest().tables[0].files[0].path;
        let version_key = &hospital.version_key;
        let column = |text| file_key(&column_key(version_key, &table(), &name(text)), path);
        expected.push((file, None, file_key(&footer_key(version_key, &table()), path)));
        expected.push((file, Some(0), column("patient_id")));
        expected.push((file, Some(1), column("sex")));
    }
    keys.len() == expected.len()
        && keys.iter().zip(&expected).all(|(found, (file, column, key))| {
            (found.file, found.column) == (*file, *column) && found.key.is_equal(key)
        })
}
