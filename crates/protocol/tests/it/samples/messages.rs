//! Messages through mailboxes, between guard and host, and between guard and worker.

use std::collections::BTreeMap;

use cordon_crypto::Label;
use cordon_protocol::agreement::{ResultColumn, ResultKind};
use cordon_protocol::dataset::{ColumnSchema, ColumnType, TableSchema};
use cordon_protocol::message::{FromBroker, FromGuard, Mail, Stage, ToBroker, ToGuard, ToPerson};
use cordon_protocol::release::ReviewCopy;
use cordon_protocol::run::ParameterValue;
use cordon_protocol::table::{Cell, Column, RawTable, Share, Support};
use cordon_protocol::worker::{
    FailureCode, FromWorker, Job, JobFile, JobLimits, JobSource, Mode, PlanReport, ToWorker,
    WorkerFailure,
};

use super::documents::{
    grant, heartbeat, lease, receipt, refusal, release, run_request, sealed_outcome,
    short_agreement, short_evidence,
};
use super::{digest, envelope, id, nonce, run, sealed};
use crate::format::{Format, message};

/// Every message.
pub fn all() -> Vec<Format> {
    let mail = Mail {
        id: nonce(0x90),
        reply_to: Some("runs/0123".into()),
        body: ToBroker::LastCheckpoint { origin: "hospital-b.example/log".into() },
    };
    let mut formats = vec![
        message("mail", mail),
        message("job", job()),
        message("plan_report", plan_report()),
        message("raw_table", raw_table()),
    ];
    formats.extend(to_broker().map(|m| named("to_broker", to_broker_name(&m), m)));
    formats.extend(from_broker().map(|m| named("from_broker", from_broker_name(&m), m)));
    formats.extend(to_person().map(|m| named("to_person", to_person_name(&m), m)));
    formats.extend(to_guard().map(|m| named("to_guard", to_guard_name(&m), m)));
    formats.extend(from_guard().map(|m| named("from_guard", from_guard_name(&m), m)));
    formats.extend(to_worker().map(|m| named("to_worker", to_worker_name(&m), m)));
    formats.extend(from_worker().map(|m| named("from_worker", from_worker_name(&m), m)));
    formats
}

fn named<T>(kind: &str, variant: &str, sample: T) -> Format
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug + 'static,
{
    message(&format!("{kind}.{variant}"), sample)
}

fn to_broker() -> impl Iterator<Item = ToBroker> {
    let review = ReviewCopy {
        party: id("hospital-a"),
        person: id("s.jansen"),
        sealed: sealed(Label::ReviewBox, 8),
    };
    [
        ToBroker::Propose { agreement: envelope(short_agreement()) },
        ToBroker::Challenge { request: envelope(run_request()) },
        ToBroker::Grant { run: run(), evidence: short_evidence() },
        ToBroker::Heartbeat { heartbeat: envelope(heartbeat()) },
        ToBroker::Deliver {
            run: run(),
            receipt: envelope(receipt(sealed_outcome())),
            share: Some(sealed(Label::ShareBox, 4)),
            reviews: vec![review],
        },
        ToBroker::AddCheckpoint { body: "old 0\n\nhospital-b.example/log\n1\n".into() },
        ToBroker::LastCheckpoint { origin: "hospital-b.example/log".into() },
    ]
    .into_iter()
}

fn to_broker_name(message: &ToBroker) -> &'static str {
    match message {
        ToBroker::Propose { .. } => "propose",
        ToBroker::Challenge { .. } => "challenge",
        ToBroker::Grant { .. } => "grant",
        ToBroker::Heartbeat { .. } => "heartbeat",
        ToBroker::Deliver { .. } => "deliver",
        ToBroker::AddCheckpoint { .. } => "add_checkpoint",
        ToBroker::LastCheckpoint { .. } => "last_checkpoint",
    }
}

fn from_broker() -> impl Iterator<Item = FromBroker> {
    [
        FromBroker::Proposed { agreement: digest(0x40) },
        FromBroker::Challenged {
            holder: id("hospital-a"),
            nonce: nonce(0x52),
            // Any envelope does: the message does not look into it.
            manifests: vec![envelope(heartbeat()), envelope(lease())],
        },
        FromBroker::Granted { grant: Box::new(envelope(grant())) },
        FromBroker::Leased { lease: envelope(lease()) },
        FromBroker::Received { holder: id("hospital-a"), receipt: digest(0x80) },
        FromBroker::Refused { refusal: envelope(refusal()) },
        FromBroker::Cosigned { status: 409, body: "7\n".into() },
        FromBroker::LastCheckpoint { checkpoint: None },
    ]
    .into_iter()
}

fn from_broker_name(message: &FromBroker) -> &'static str {
    match message {
        FromBroker::Proposed { .. } => "proposed",
        FromBroker::Challenged { .. } => "challenged",
        FromBroker::Granted { .. } => "granted",
        FromBroker::Leased { .. } => "leased",
        FromBroker::Received { .. } => "received",
        FromBroker::Refused { .. } => "refused",
        FromBroker::Cosigned { .. } => "cosigned",
        FromBroker::LastCheckpoint { .. } => "last_checkpoint",
    }
}

fn to_person() -> impl Iterator<Item = ToPerson> {
    [
        ToPerson::Receipt {
            receipt: envelope(receipt(sealed_outcome())),
            evidence: short_evidence(),
        },
        ToPerson::Release { release: Box::new(envelope(release())) },
        ToPerson::Refused { refusal: envelope(refusal()) },
    ]
    .into_iter()
}

fn to_person_name(message: &ToPerson) -> &'static str {
    match message {
        ToPerson::Receipt { .. } => "receipt",
        ToPerson::Release { .. } => "release",
        ToPerson::Refused { .. } => "refused",
    }
}

fn to_guard() -> impl Iterator<Item = ToGuard> {
    [
        ToGuard::Start {
            agreement: Box::new(envelope(short_agreement())),
            request: Box::new(envelope(run_request())),
            engine_size: 73_400_320,
        },
        ToGuard::FromBroker {
            party: id("hospital-a"),
            id: nonce(0x90),
            body: Box::new(FromBroker::Leased { lease: envelope(lease()) }),
        },
        ToGuard::Range,
        ToGuard::RangeFailed,
    ]
    .into_iter()
}

fn to_guard_name(message: &ToGuard) -> &'static str {
    match message {
        ToGuard::Start { .. } => "start",
        ToGuard::FromBroker { .. } => "from_broker",
        ToGuard::Range => "range",
        ToGuard::RangeFailed => "range_failed",
    }
}

fn from_guard() -> impl Iterator<Item = FromGuard> {
    [
        FromGuard::ToBroker {
            party: id("hospital-a"),
            id: nonce(0x90),
            body: Box::new(ToBroker::Heartbeat { heartbeat: envelope(heartbeat()) }),
        },
        FromGuard::Read { object: digest(0x25), offset: 4, length: 65_536 },
        FromGuard::Progress { stage: Stage::Running, bytes_read: 65_536 },
        FromGuard::Store { sealed: b"sealed".as_slice().into() },
        FromGuard::Finished {
            receipt: None,
            evidence: Some(short_evidence()),
            code: "column_not_agreed".into(),
            refusal: Some(envelope(refusal())),
            detail: None,
        },
    ]
    .into_iter()
}

fn from_guard_name(message: &FromGuard) -> &'static str {
    match message {
        FromGuard::ToBroker { .. } => "to_broker",
        FromGuard::Read { .. } => "read",
        FromGuard::Progress { .. } => "progress",
        FromGuard::Store { .. } => "store",
        FromGuard::Finished { .. } => "finished",
    }
}

fn job() -> Job {
    let column = |name, kind, nullable| ColumnSchema { name: id(name), kind, nullable };
    Job {
        mode: Mode::Run,
        query: "SELECT count(*) AS n FROM patient WHERE birth_year >= $from_year".into(),
        parameters: BTreeMap::from([(id("from_year"), ParameterValue::Integer(1950))]),
        tables: BTreeMap::from([(
            id("patient"),
            vec![JobSource {
                holder: id("hospital-a"),
                schema: TableSchema {
                    name: id("patient"),
                    source: digest(0x20),
                    subject: id("subject"),
                    columns: vec![
                        column("subject", ColumnType::Text, false),
                        column("birth_year", ColumnType::Int32, true),
                    ],
                },
                columns: vec![id("birth_year"), id("subject")],
                files: vec![JobFile {
                    id: 0,
                    size_bytes: 1_048_576,
                    rows: 1200,
                    aad_prefix: digest(0x91),
                }],
            }],
        )]),
        holders: vec![id("hospital-a")],
        limits: JobLimits { memory_bytes: 1 << 30, max_rows: 100, max_output_bytes: 65_536 },
    }
}

fn to_worker() -> impl Iterator<Item = ToWorker> {
    [ToWorker::Job(Box::new(job())), ToWorker::Range, ToWorker::RangeFailed].into_iter()
}

fn to_worker_name(message: &ToWorker) -> &'static str {
    match message {
        ToWorker::Job(_) => "job",
        ToWorker::Range => "range",
        ToWorker::RangeFailed => "range_failed",
    }
}

fn plan_report() -> PlanReport {
    PlanReport {
        touched: BTreeMap::from([(id("patient"), vec![id("birth_year"), id("subject")])]),
        result: vec![ResultColumn { name: id("n"), kind: ResultKind::Count }],
    }
}

fn raw_table() -> RawTable {
    let support = |patients| Support {
        patients,
        shares: vec![Share { patients, total: 2 * patients, largest: 3 }],
    };
    RawTable {
        columns: vec![Column { name: id("n"), kind: ResultKind::Count }],
        rows: vec![vec![Cell::Integer(40)], vec![Cell::Null]],
        support: vec![vec![support(21), support(19)], vec![Support::default(); 2]],
    }
}

fn from_worker() -> impl Iterator<Item = FromWorker> {
    [
        FromWorker::Read { file: 0, offset: 4, length: 65_536 },
        FromWorker::Planned(Box::new(plan_report())),
        FromWorker::Output(Box::new(raw_table())),
        FromWorker::Failed(WorkerFailure {
            code: FailureCode::QueryInvalid,
            detail: Some("no column `brith_year` in table `patient`".into()),
        }),
    ]
    .into_iter()
}

fn from_worker_name(message: &FromWorker) -> &'static str {
    match message {
        FromWorker::Read { .. } => "read",
        FromWorker::Planned(_) => "planned",
        FromWorker::Output(_) => "output",
        FromWorker::Failed(_) => "failed",
    }
}
