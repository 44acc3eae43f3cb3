//! What goes wrong around a run, each thing alone, and what is then said.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use cordon_engine_sql::serve;
use cordon_protocol::frame::{self, MAX_FRAME_BYTES};
use cordon_protocol::worker::{FailureCode, FromWorker, Job, MAX_QUERY_BYTES, Mode, ToWorker};
use cordon_types::Secret;
use proptest::prelude::*;

use crate::guard::Call;
use crate::tables::{Sealed, hospitals, visit};

const QUERY: &str = "SELECT sex, COUNT(*) AS n FROM visit GROUP BY sex";

/// The code of a run in which one thing was changed.
fn after(change: impl FnOnce(&mut Call)) -> FailureCode {
    let mut call = Call::run(&hospitals(), QUERY);
    change(&mut call);
    call.code()
}

#[test]
fn a_wrong_key_opens_nothing() {
    let wrong = |column| {
        after(|call| {
            let key = call.keys.iter_mut().find(|key| key.file == 1 && key.column == column);
            key.unwrap().key = Secret::from_bytes([9; 32]);
        })
    };
    for column in [None, Some(0), Some(1)] {
        assert_eq!(wrong(column), FailureCode::DataInvalid, "{column:?}");
    }
}

#[test]
fn a_key_of_a_column_that_is_not_touched_is_not_used() {
    let mut call = Call::run(&hospitals(), QUERY);
    call.keys.iter_mut().filter(|key| key.column > Some(1)).for_each(|key| {
        key.key = Secret::from_bytes([9; 32]);
    });
    assert_eq!(call.table().rows.len(), 2);
}

#[test]
fn a_file_of_another_place_or_of_other_bytes_is_invalid() {
    let prefix = after(|call| {
        let file = &mut call.job.tables.values_mut().next().unwrap()[0].files[0];
        file.aad_prefix = cordon_types::Sha256Digest::from_bytes([0; 32]);
    });
    assert_eq!(prefix, FailureCode::DataInvalid);
    let rows = after(|call| call.job.tables.values_mut().next().unwrap()[0].files[0].rows += 1);
    assert_eq!(rows, FailureCode::DataInvalid);
    let swapped = after(|call| {
        let other = call.objects[&1].clone();
        let file = &mut call.job.tables.values_mut().next().unwrap()[0].files[0];
        file.size_bytes = other.len() as u64;
        call.objects.insert(0, other);
    });
    assert_eq!(swapped, FailureCode::DataInvalid);
    let tiny = after(|call| {
        call.job.tables.values_mut().next().unwrap()[0].files[0].size_bytes = 3;
    });
    assert_eq!(tiny, FailureCode::DataInvalid);
}

#[test]
fn a_flipped_bit_anywhere_changes_nothing_or_fails() {
    let sealed =
        Sealed::default().with_visits("north", &[visit("p1", "f", 1), visit("p2", "m", 2)]);
    let honest = Call::run(&sealed, QUERY).table();
    let size = Call::run(&sealed, QUERY).objects[&0].len();
    let mut failed = 0;
    for position in (0..size).step_by(7).chain([0, 3, size - 1, size - 5, size - 8]) {
        let mut call = Call::run(&sealed, QUERY);
        call.objects.get_mut(&0).unwrap()[position] ^= 1;
        match call.answer() {
            FromWorker::Output(table) => assert_eq!(*table, honest, "byte {position}"),
            FromWorker::Failed(failure) => {
                assert_eq!(failure.code, FailureCode::DataInvalid, "byte {position}");
                failed += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    // Columns that are not touched may hold anything; the footer and the touched ones not.
    assert!(failed > size / 7 / 4, "{failed} of {}", size / 7);
}

#[test]
fn ciphertext_that_cannot_be_had_fails_the_run() {
    for reads_until_failure in [0, 1, 2, 5, 9] {
        let code = after(|call| call.reads_until_failure = reads_until_failure);
        assert_eq!(code, FailureCode::ReadFailed, "after {reads_until_failure}");
    }
}

#[test]
fn limits_are_kept() {
    assert_eq!(after(|call| call.job.limits.max_rows = 1), FailureCode::OutputTooLarge);
    assert_eq!(after(|call| call.job.limits.max_output_bytes = 100), FailureCode::OutputTooLarge);
    assert_eq!(after(|call| call.job.limits.memory_bytes = 500), FailureCode::MemoryExceeded);
}

#[test]
fn a_query_that_outgrows_its_memory_fails_and_spills_nothing() {
    let visits: Vec<_> = (0..20_000).map(|n| visit(&format!("p{n}"), "f", n)).collect();
    let sealed = Sealed::default().with_visits("north", &visits);
    for query in [
        "SELECT age, COUNT(*) AS n FROM visit GROUP BY age",
        "SELECT COUNT(*) AS n FROM visit a JOIN visit b ON a.patient = b.patient",
    ] {
        for memory_bytes in [300_000, 1_000_000, 2_000_000] {
            let mut call = Call::run(&sealed, query);
            call.job.limits.memory_bytes = memory_bytes;
            call.job.limits.max_rows = 50_000;
            assert_eq!(call.code(), FailureCode::MemoryExceeded, "{memory_bytes} {query}");
        }
    }
}

#[test]
fn a_malformed_job_is_refused() {
    let bad = |change: fn(&mut Job)| after(|call| change(&mut call.job));
    for change in [
        (|job| job.holders.clear()) as fn(&mut Job),
        |job| job.holders.push(job.holders[0].clone()),
        |job| job.holders.truncate(2),
        |job| job.tables.clear(),
        |job| job.tables.values_mut().for_each(Vec::clear),
        |job| job.limits.max_rows = 0,
        |job| job.query = " ".repeat(MAX_QUERY_BYTES + 1),
        |job| job.tables.values_mut().next().unwrap()[1].files[0].id = 0,
        |job| job.tables.values_mut().next().unwrap()[1].schema.columns.truncate(3),
        |job| job.tables.values_mut().next().unwrap()[0].columns.push("none".parse().unwrap()),
    ] {
        assert_eq!(bad(change), FailureCode::BadJob);
    }
    let mut call = Call::run(&hospitals(), QUERY);
    call.job.mode = Mode::Plan;
    call.keys.clear();
    assert_eq!(call.failure().code, FailureCode::BadJob, "files in plan mode");
}

#[test]
fn keys_that_are_missing_or_given_twice_are_refused() {
    assert_eq!(after(|call| drop(call.keys.remove(0))), FailureCode::BadJob);
    assert_eq!(after(|call| drop(call.keys.remove(1))), FailureCode::BadJob);
    let twice = after(|call| {
        let (file, column) = (call.keys[1].file, call.keys[1].column);
        let key = Secret::from_bytes([1; 32]);
        call.keys.push(cordon_protocol::worker::JobKey { file, column, key });
    });
    assert_eq!(twice, FailureCode::BadJob);
}

/// What the engine says to bytes that are no job.
fn answer_to(bytes: &[u8]) -> Option<FromWorker> {
    let (mut guard, worker) = UnixStream::pair().unwrap();
    let engine = thread::spawn(move || serve(worker));
    // The engine may have ended before the last byte.
    let _ = guard.write_all(bytes);
    let _ = guard.shutdown(Shutdown::Write);
    let answer = frame::read_message(&mut guard, MAX_FRAME_BYTES).ok();
    let served = engine.join().expect("no panic");
    assert_eq!(served.is_ok(), answer.is_some());
    answer
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::write_bytes(&mut frame, bytes).unwrap();
    frame
}

#[test]
fn what_is_no_job_is_answered_once_and_a_closed_line_not_at_all() {
    for bytes in [b"".as_slice(), b"{}", b"\"range\"", b"{\"job\":{}}", b"[[[["] {
        let Some(FromWorker::Failed(failure)) = answer_to(&framed(bytes)) else { panic!() };
        assert_eq!((failure.code, failure.detail), (FailureCode::BadJob, None));
    }
    assert_eq!(answer_to(b""), None);
    assert_eq!(answer_to(b"\0\0\0\x05ab"), None);
    let (job, ..) = hospitals().job(QUERY);
    let job = framed(&serde_json::to_vec(&ToWorker::Job(Box::new(job))).unwrap());
    assert_eq!(answer_to(&job), None, "no key frame");
    let Some(FromWorker::Failed(failure)) = answer_to(&[job, framed(b"short")].concat()) else {
        panic!()
    };
    assert_eq!(failure.code, FailureCode::BadJob);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        answer_to(&bytes);
        answer_to(&framed(&bytes));
    }

    #[test]
    fn a_job_with_random_changes_never_panics(
        position in 0_usize..4000, with in any::<u8>(), query in "[A-Za-z*(),.$ ='<>0-9]{0,80}",
    ) {
        let (mut job, ..) = hospitals().job(QUERY);
        job.mode = Mode::Plan;
        job.tables.values_mut().flatten().for_each(|source| source.files.clear());
        let mut bytes = serde_json::to_vec(&ToWorker::Job(Box::new(job.clone()))).unwrap();
        let position = position % bytes.len();
        bytes[position] = with;
        answer_to(&framed(&bytes));
        job.query = format!("SELECT COUNT(*) AS n FROM visit WHERE {query}");
        let bytes = serde_json::to_vec(&ToWorker::Job(Box::new(job))).unwrap();
        let answer = answer_to(&framed(&bytes));
        let internal = matches!(&answer, Some(FromWorker::Failed(f)) if f.code == FailureCode::Internal);
        prop_assert!(!internal, "{:?}", answer);
    }
}
