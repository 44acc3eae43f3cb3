//! Documents, and the evidence that binds one.

use std::collections::BTreeMap;

use cordon_crypto::Label;
use cordon_protocol::V1;
use cordon_protocol::agreement::{
    Agreement, ApprovalRule, DatasetTerms, Gate, Holder, Limits, OutputPolicy, ParameterBound,
    Person, Platform, Program, Purpose, ResultColumn, ResultKind, Review, TableGate, TableSource,
    ZeroPolicy,
};
use cordon_protocol::dataset::{
    ColumnType, Deposit, Manifest, ManifestColumn, ManifestFile, ManifestTable,
};
use cordon_protocol::decision::{Approval, ReviewDecision, Stop, Verdict};
use cordon_protocol::entry::{Action, Actor, Decision, LogEntry};
use cordon_protocol::evidence::{
    Evidence, PartyNonce, RuntimeData, SandboxLevel, SoftwareReport, TeeKind, binding,
};
use cordon_protocol::grant::{
    Grant, GrantContext, GrantedDataset, Heartbeat, KeyName, Lease, LeaseVerdict,
};
use cordon_protocol::party::{Enrolment, PartyCard, PersonCard, Profile, Role};
use cordon_protocol::platform::{
    AmdFeature, AmdFloor, AmdPolicy, DeniedChip, GuardRelease, IntelPolicy, NitroPolicy,
    PlatformPolicy, Reference, ReleaseVersion, TpmMachine, TpmPolicy,
};
use cordon_protocol::refusal::Refusal;
use cordon_protocol::release::{
    Assurance, ClearanceContext, GateVerdict, Outcome, Receipt, ReceiptGrant, ReceiptInput,
    ReceiptShare, Release, ResultDocument, SealedOutcome,
};
use cordon_protocol::run::{ParameterValue, RunRequest};
use cordon_protocol::table::{Cell, Column, ResultTable};
use cordon_types::{Milliseconds, PartyId, UnixSeconds};

use super::{ISSUED, box_key, digest, envelope, id, key, nonce, run, sealed};
use crate::format::{Format, document, message};

/// Every document.
pub fn all() -> Vec<Format> {
    let mut formats = vec![
        document("party_card", party_card()),
        document("person_card", person_card()),
        document("platform_policy", platform_policy()),
        document("enrolment", enrolment()),
        document("manifest", manifest()),
        document("deposit", deposit()),
        message("dataset_schema", manifest().schema()),
        document("agreement", agreement()),
        document("approval", approval()),
        document("stop", stop()),
        document("run_request", run_request()),
        document("runtime_data", runtime_data()),
        document("software_report", software_report()),
        message("evidence", evidence()),
        document("grant_context", grant_context()),
        document("grant", grant()),
        document("heartbeat", heartbeat()),
        document("lease", lease()),
        document("receipt.sealed", receipt(sealed_outcome())),
        document("receipt.failed", receipt(Outcome::Failed { code: "gate_small_cells".into() })),
        document("result", result()),
        document("clearance_context", clearance_context()),
        document("release", release()),
        document("review", review()),
        document("refusal", refusal()),
        message("envelope", envelope(heartbeat())),
    ];
    formats.extend(actors().map(|actor| document(entry_name(&actor), log_entry(actor))));
    formats
}

fn party() -> PartyId {
    id("hospital-a")
}

fn party_card() -> PartyCard {
    PartyCard {
        v: V1,
        party: party(),
        profile: Profile::Production,
        broker_key: key(1).verifying_key(),
        log_origin: "hospital-a.example/log".into(),
        log_key: key(2).verifying_key(),
        witness_key: key(3).verifying_key(),
        box_key: box_key(4),
        manifest_keys: vec![key(5).verifying_key(), key(6).verifying_key()],
        issued: ISSUED,
    }
}

fn person_card() -> PersonCard {
    PersonCard {
        v: V1,
        person: id("s.jansen"),
        party: party(),
        signing_key: key(7).verifying_key(),
        box_key: box_key(8),
        issued: ISSUED,
    }
}

fn platform_policy() -> PlatformPolicy {
    PlatformPolicy {
        v: V1,
        holder: party(),
        serial: 3,
        issued: ISSUED,
        releases: vec![GuardRelease {
            signer: key(0x21).verifying_key(),
            product: "cordon-enclave".to_owned(),
            version: ReleaseVersion(1, 4, 0),
            measurements: vec![
                Reference::Exact { tee: TeeKind::SevSnp, measurement: "ab".repeat(48) },
                Reference::SgxSigner { mrsigner: "cd".repeat(32), product_id: 7, minimum_svn: 2 },
            ],
        }],
        denied_measurements: vec!["ef".repeat(48)],
        amd: Some(AmdPolicy {
            floors: vec![AmdFloor {
                product: "Milan".to_owned(),
                versions: [("microcode".to_owned(), 213), ("snp".to_owned(), 22)].into(),
            }],
            allow_smt: false,
            required: vec![AmdFeature::AliasCheck],
            highest_vmpl: 0,
            accepted_chips: None,
            denied_chips: vec![DeniedChip { chip_id: "12".repeat(64), tcb: None }],
            host_data: None,
            author_keys: None,
        }),
        intel: Some(IntelPolicy {
            accepted_statuses: vec!["UpToDate".to_owned()],
            denied_advisories: vec!["INTEL-SA-00615".to_owned()],
            minimum_evaluation: 17,
            allow_smt: true,
            allow_dynamic_platform: true,
            allow_cached_keys: true,
            denied_platforms: Vec::new(),
        }),
        nitro: Some(NitroPolicy { max_age_seconds: 300, registers: [].into() }),
        tpm: Some(TpmPolicy {
            machines: vec![TpmMachine {
                attestation_key: format!("000b{}", "34".repeat(32)),
                reset_count: 12,
                restart_count: 0,
            }],
            registers: vec![0, 4, 7],
        }),
    }
}

fn enrolment() -> Enrolment {
    Enrolment {
        v: V1,
        audience: party(),
        card: digest(0x10),
        roles: vec![Role::Steward, Role::DataProtectionOfficer],
        administrator: id("root_admin"),
        nonce: nonce(0x11),
        issued: ISSUED,
    }
}

fn manifest() -> Manifest {
    let column = |name, kind, nullable, seed| ManifestColumn {
        name: id(name),
        kind,
        nullable,
        key_commitment: digest(seed),
    };
    Manifest {
        v: V1,
        holder: party(),
        dataset: id("oncology"),
        version: 3,
        created: ISSUED,
        tables: vec![ManifestTable {
            name: id("patient"),
            source: digest(0x20),
            columns: vec![
                column("subject", ColumnType::Text, false, 0x21),
                column("birth_year", ColumnType::Int32, true, 0x22),
                column("Consent", ColumnType::Boolean, false, 0x23),
            ],
            subject: id("subject"),
            footer_commitment: digest(0x24),
            files: vec![ManifestFile {
                path: "patient/part-00000.parquet".into(),
                size_bytes: (1 << 53) - 1,
                sha256: digest(0x25),
                rows: 1200,
            }],
            rows: 1200,
            rejected: 7,
        }],
    }
}

fn deposit() -> Deposit {
    Deposit {
        v: V1,
        audience: party(),
        manifest: digest(0x26),
        sealed_key: sealed(Label::DatasetVersionBox, 4),
        nonce: nonce(0x27),
        issued: ISSUED,
    }
}

fn person(party: &str, name: &str, seed: u8) -> Person {
    Person {
        party: id(party),
        person: id(name),
        signing_key: key(seed).verifying_key(),
        box_key: box_key(seed),
    }
}

fn agreement() -> Agreement {
    let source = TableSource { holder: party(), dataset: id("oncology"), table: id("patient") };
    let column = |name, kind| ResultColumn { name: id(name), kind };
    Agreement {
        v: V1,
        study: id("survival-2024"),
        name: id("first"),
        title: "Survival by stage – „Überleben“, 生存".into(),
        purpose: Purpose {
            statement: "Does the stage at diagnosis predict survival?\n\"Yes\" or \\no\\.".into(),
            duo: vec!["DUO:0000006".into()],
            legal_basis: "GDPR Art. 9(2)(j)".into(),
            references: vec!["EK 2024/17".into()],
        },
        profile: Profile::Development,
        holders: vec![Holder {
            party: party(),
            broker_key: key(1).verifying_key(),
            log_origin: "hospital-a.example/log".into(),
            log_key: key(2).verifying_key(),
            witness_key: key(3).verifying_key(),
            box_key: box_key(4),
            manifest_keys: vec![key(5).verifying_key()],
            datasets: vec![DatasetTerms {
                dataset: id("oncology"),
                schema: digest(0x30),
                columns: BTreeMap::from([(id("patient"), vec![id("birth_year"), id("subject")])]),
            }],
            approvals: ApprovalRule { persons: 2, roles: vec![Role::DataProtectionOfficer] },
            reviewers: vec![],
        }],
        requester: person("university", "r.diaz", 9),
        recipients: vec![person("university", "r.diaz", 9)],
        program: Program {
            name: id("survival"),
            engine: digest(0x31),
            query: "SELECT birth_year, count(*) AS n FROM patient GROUP BY birth_year".into(),
            parameters: BTreeMap::from([(
                id("from_year"),
                ParameterBound {
                    one_of: vec![ParameterValue::Integer(-1), ParameterValue::Integer(1950)],
                },
            )]),
            tables: BTreeMap::from([(id("patient"), vec![source])]),
            touched: BTreeMap::from([(id("patient"), vec![id("birth_year"), id("subject")])]),
            result: vec![column("birth_year", ResultKind::Key), column("n", ResultKind::Count)],
        },
        platform: Platform {
            tees: vec![TeeKind::Software],
            measurements: vec!["ab".repeat(32)],
            releases: Vec::new(),
            sandbox: SandboxLevel::Namespaces,
        },
        output: OutputPolicy {
            gate: Gate::Table(TableGate { min_cell: 10, zeros: ZeroPolicy::Suppress, round_to: 5 }),
            review: Review::GateSuffices,
            max_rows: 100,
            max_bytes: 65_536,
        },
        witness_quorum: 1,
        limits: Limits {
            max_runs: 3,
            deadline_ms: Milliseconds::new(600_000),
            lease_ms: Milliseconds::new(30_000),
            heartbeat_ms: Milliseconds::new(10_000),
            memory_bytes: 1 << 30,
        },
        not_before: ISSUED,
        not_after: ISSUED.plus_seconds(86_400),
    }
}

/// An agreement that is one in form only, so that a message around it stays short.
pub fn short_agreement() -> Agreement {
    Agreement { holders: vec![], recipients: vec![], ..agreement() }
}

fn approval() -> Approval {
    Approval {
        v: V1,
        agreement: digest(0x40),
        audience: party(),
        person: id("s.jansen"),
        verdict: Verdict::Approve,
        nonce: nonce(0x41),
        issued: ISSUED,
        expires: ISSUED.plus_seconds(3600),
    }
}

fn stop() -> Stop {
    Stop {
        v: V1,
        study: id("survival-2024"),
        audience: party(),
        person: id("s.jansen"),
        nonce: nonce(0x42),
        issued: ISSUED,
    }
}

/// The request of [`run`].
pub fn run_request() -> RunRequest {
    RunRequest {
        v: V1,
        agreement: digest(0x40),
        parameters: BTreeMap::from([
            (id("Flag"), ParameterValue::Boolean(true)),
            (id("from_day"), ParameterValue::Date("2001-02-28".into())),
            (id("from_year"), ParameterValue::Integer(-((1 << 53) - 1))),
            (id("stage"), ParameterValue::Text("II\u{1}\u{7f}\u{e9}\u{1f600}".into())),
        ]),
        audience: vec![party(), id("hospital-b")],
        nonce: nonce(0x50),
        issued: ISSUED,
        not_after: ISSUED.plus_seconds(600),
    }
}

fn runtime_data() -> RuntimeData {
    RuntimeData {
        v: V1,
        run: run(),
        agreement: digest(0x40),
        nonces: vec![
            PartyNonce { party: party(), nonce: nonce(0x52) },
            PartyNonce { party: id("hospital-b"), nonce: nonce(0x53) },
        ],
        guard_signing_key: key(10).verifying_key(),
        guard_box_key: box_key(11),
        engine: digest(0x31),
        sandbox: SandboxLevel::NamespacesLandlock,
    }
}

fn software_report() -> SoftwareReport {
    let bytes = runtime_data().to_bytes().expect("a canonical form");
    SoftwareReport {
        v: V1,
        measurement: "ab".repeat(32),
        report_data: binding(&bytes).as_slice().into(),
    }
}

/// Evidence of [`run`].
pub fn evidence() -> Evidence {
    Evidence {
        tee: TeeKind::Software,
        evidence: envelope(software_report()).to_json().into(),
        collateral: None,
        runtime_data: runtime_data().to_bytes().expect("a canonical form").into(),
    }
}

/// Evidence that is some in form only, so that a message around it stays short.
pub fn short_evidence() -> Evidence {
    Evidence {
        evidence: b"report".as_slice().into(),
        collateral: Some(b"collateral".as_slice().into()),
        runtime_data: b"{}".as_slice().into(),
        ..evidence()
    }
}

fn grant_context() -> GrantContext {
    let key_of = |column: Option<&str>| KeyName { table: id("patient"), column: column.map(id) };
    GrantContext {
        v: V1,
        holder: party(),
        agreement: digest(0x40),
        run: run(),
        evidence: digest(0x60),
        appraisal: digest(0x61),
        guard_signing_key: key(10).verifying_key(),
        guard_box_key: digest(0x62),
        datasets: vec![GrantedDataset {
            dataset: id("oncology"),
            version: u32::MAX,
            manifest: digest(0x26),
            keys: vec![key_of(None), key_of(Some("birth_year")), key_of(Some("subject"))],
        }],
        lease_ms: Milliseconds::new(30_000),
        policy: digest(0x63),
        issued: ISSUED,
    }
}

/// A grant of [`run`].
pub fn grant() -> Grant {
    let entry = log_entry(Actor::Broker).to_bytes().expect("a canonical form");
    Grant {
        v: V1,
        context: grant_context(),
        sealed_keys: sealed(Label::GrantBox, 11),
        entry: entry.into(),
        proof: "c2sp.org/tlog-proof@v1\nindex 0\n\nhospital-a.example/log\n".into(),
    }
}

/// A heartbeat of [`run`].
pub fn heartbeat() -> Heartbeat {
    Heartbeat { v: V1, run: run(), audience: party(), nonce: nonce(0x64) }
}

/// The answer to [`heartbeat`].
pub fn lease() -> Lease {
    Lease {
        v: V1,
        run: run(),
        holder: party(),
        nonce: nonce(0x64),
        verdict: LeaseVerdict::Go,
        lease_ms: Milliseconds::new(30_000),
    }
}

/// A receipt of [`run`].
pub fn receipt(outcome: Outcome) -> Receipt {
    Receipt {
        v: V1,
        run: run(),
        agreement: digest(0x40),
        evidence: digest(0x60),
        engine: digest(0x31),
        assurance: Assurance::None,
        inputs: vec![ReceiptInput {
            holder: party(),
            dataset: id("oncology"),
            version: 3,
            manifest: digest(0x26),
        }],
        grants: vec![ReceiptGrant { holder: party(), context: digest(0x70) }],
        outcome,
        worker_ms: Milliseconds::new(1300),
        bytes_read: 4_194_304,
    }
}

/// The outcome of a run that went well.
pub fn sealed_outcome() -> Outcome {
    Outcome::Sealed(SealedOutcome {
        sealed: digest(0x71),
        size_bytes: 2048,
        commitment: digest(0x72),
        key_commitment: digest(0x73),
        shares: vec![ReceiptShare {
            holder: party(),
            share: sealed(Label::ShareBox, 4).digest(),
            reviews: vec![sealed(Label::ReviewBox, 5).digest()],
        }],
        gates: vec!["cell_size".into()],
    })
}

fn result() -> ResultDocument {
    let column = |name, kind| Column { name: id(name), kind };
    ResultDocument {
        v: V1,
        run: run(),
        agreement: digest(0x40),
        assurance: Assurance::Hardware,
        salt: nonce(0x74),
        table: ResultTable {
            columns: vec![
                column("stage", ResultKind::Key),
                column("n", ResultKind::Count),
                column("days", ResultKind::Sum),
                column("mean", ResultKind::Mean),
            ],
            rows: vec![
                vec![
                    Cell::Text("II".into()),
                    Cell::Integer(40),
                    Cell::Integer(-((1 << 53) - 1)),
                    Cell::Number("2.5".into()),
                ],
                vec![Cell::Boolean(false), Cell::Suppressed, Cell::Null, Cell::Null],
            ],
        },
        verdicts: vec![GateVerdict { rule: "cell_size".into(), checked: 24, suppressed: 2 }],
        padding: "000".into(),
    }
}

fn clearance_context() -> ClearanceContext {
    ClearanceContext {
        v: V1,
        holder: party(),
        agreement: digest(0x40),
        run: run(),
        receipt: digest(0x80),
        share: digest(0x81),
        recipients: vec![digest(0x82)],
        reviews: vec![digest(0x83), digest(0x84)],
        issued: ISSUED,
    }
}

/// The release of [`run`].
pub fn release() -> Release {
    let entry = log_entry(Actor::Broker).to_bytes().expect("a canonical form");
    Release {
        v: V1,
        context: clearance_context(),
        sealed_shares: vec![sealed(Label::ReleaseBox, 9)],
        entry: entry.into(),
        proof: "c2sp.org/tlog-proof@v1\nindex 1\n\nhospital-a.example/log\n".into(),
    }
}

fn review() -> ReviewDecision {
    ReviewDecision {
        v: V1,
        run: run(),
        receipt: digest(0x80),
        audience: party(),
        person: id("s.jansen"),
        verdict: Verdict::Reject,
        nonce: nonce(0x85),
        issued: ISSUED,
    }
}

/// A refusal that concerns [`run`].
pub fn refusal() -> Refusal {
    Refusal {
        v: V1,
        holder: party(),
        run: Some(run()),
        code: "column_not_agreed".into(),
        sentence: "a column is not part of the agreement".into(),
        issued: ISSUED,
    }
}

/// One of each kind.
fn actors() -> impl Iterator<Item = Actor> {
    let person =
        Actor::Person { party: party(), person: id("s.jansen"), role: Some(Role::Reviewer) };
    [Actor::Broker, Actor::Guard, person, Actor::Party(id("hospital-b")), Actor::Unknown]
        .into_iter()
}

fn entry_name(actor: &Actor) -> &'static str {
    match actor {
        Actor::Broker => "log_entry.broker",
        Actor::Guard => "log_entry.guard",
        Actor::Person { .. } => "log_entry.person",
        Actor::Party(_) => "log_entry.party",
        Actor::Unknown => "log_entry.unknown",
    }
}

/// An entry of what each kind of actor does; `words` has the other actions.
fn log_entry(actor: Actor) -> LogEntry {
    let (action, decision, code) = match &actor {
        Actor::Broker => (Action::GrantIssued, Decision::Permit, "ok"),
        Actor::Guard => (Action::OutputHeld, Decision::Permit, "ok"),
        Actor::Person { .. } => (Action::OutputReviewed, Decision::Permit, "ok"),
        Actor::Party(_) => (Action::PartyEnrolled, Decision::Permit, "ok"),
        Actor::Unknown => (Action::MessageRefused, Decision::Deny, "not_enrolled"),
    };
    let known = actor != Actor::Unknown;
    LogEntry {
        v: V1,
        time: UnixSeconds::new((1 << 53) - 1),
        profile: Profile::Production,
        holder: party(),
        actor,
        action,
        decision,
        code: code.into(),
        study: known.then(|| id("survival-2024")),
        agreement: known.then(|| digest(0x40)),
        run: known.then(run),
        objects: vec![digest(0x70)],
        evidence: if known { vec![digest(0x60), digest(0x61)] } else { vec![] },
    }
}
