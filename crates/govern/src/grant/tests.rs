use cordon_crypto::SigningKey;
use cordon_protocol::evidence::RuntimeData;
use cordon_protocol::run::ParameterValue;
use cordon_verifier::RejectionCode;

use super::*;
use crate::testing::{
    BROKER, Case, HOSPITALS, NOW, at, boxes, envelope, evidence, key, name, prove, roots,
    runtime_data, sealed_box, sign, signed_manifest,
};

const NONCE: Nonce = Nonce::from_bytes([8; 32]);

/// The witnesses of hospital-a's log.
const WITNESSES: [&str; 2] = [HOSPITALS[1], HOSPITALS[2]];

fn challenge_signed(
    change: impl FnOnce(&mut RunRequest),
    signer: &SigningKey,
    now: UnixSeconds,
) -> Result<Session<Challenged>, Box<Denial>> {
    let case = Case::valid();
    let mut request = case.request();
    change(&mut request);
    Session::challenge(&case.recognized(), &envelope(request, signer), NONCE, now)
}

fn challenge(change: impl FnOnce(&mut RunRequest)) -> Result<Session<Challenged>, Box<Denial>> {
    challenge_signed(change, &key("institute/riley"), NOW)
}

fn challenged() -> Session<Challenged> {
    challenge(|_| {}).expect("challenged")
}

fn appraise_with(
    change: impl FnOnce(&mut RuntimeData),
    now: UnixSeconds,
) -> Result<Session<Appraised>, Box<Denial>> {
    let session = challenged();
    let mut runtime = runtime_data(&Case::valid(), session.run(), session.nonce());
    change(&mut runtime);
    let trust = Trust { roots: &roots(), platform: None, collateral: &Collateral::none() };
    session.appraise(&evidence(&runtime), trust, now)
}

fn appraised() -> Session<Appraised> {
    appraise_with(|_| {}, NOW).expect("appraised")
}

/// Asks the policy with one fact changed.
fn permit(change: impl FnOnce(&mut GrantFacts<'_>)) -> Result<Session<Permitted>, Box<Denial>> {
    let (manifest, standing) = (signed_manifest(), Case::valid().standing());
    permit_of(&[DatasetVersion { manifest: &manifest, key_active: true }], &standing, NOW, change)
}

fn permit_of(
    datasets: &[DatasetVersion<'_>],
    standing: &Standing,
    now: UnixSeconds,
    change: impl FnOnce(&mut GrantFacts<'_>),
) -> Result<Session<Permitted>, Box<Denial>> {
    let mut facts =
        GrantFacts { standing, study_stopped: false, runs_used: 0, datasets, broker: BROKER };
    change(&mut facts);
    appraised().permit(&Policy::built_in().expect("a policy"), facts, now)
}

fn permitted() -> Session<Permitted> {
    permit(|_| {}).expect("permitted")
}

fn recorded() -> Session<Recorded> {
    let session = permitted();
    let proof = prove(HOSPITALS[0], session.entry(), &WITNESSES);
    session.record(&proof).expect("recorded")
}

#[track_caller]
fn denied<S: std::fmt::Debug>(result: Result<S, Box<Denial>>, code: Code) {
    let denial = result.expect_err("denied");
    assert_eq!(denial.code(), code, "{:?}", denial.reasons());
    let entry = denial.entry();
    assert_eq!((entry.action, entry.decision), (Action::GrantRefused, Decision::Deny));
    assert_eq!(entry.code, code.as_str());
    assert!(entry.run.is_some() && entry.objects.is_empty());
}

#[test]
fn a_run_in_order_gets_its_grant() {
    let session = recorded();
    assert_eq!(session.proven().cosigned_by().len(), 2);
    let order = session.seal_order();
    assert_eq!(order.guard_box_key, &boxes("guard").public_key());
    let context = order.context.clone();
    assert_eq!(context.holder.as_str(), HOSPITALS[0]);
    assert_eq!(context.run, session.run());
    assert_eq!(context.lease_ms, Case::valid().agreement.limits.lease_ms);
    let keys: Vec<_> = context.datasets[0].keys.iter().map(|key| key.column.as_ref()).collect();
    let columns = keys.iter().map(|column| column.map(|name| name.as_str()));
    assert_eq!(columns.collect::<Vec<_>>(), [None, Some("patient_id"), Some("sex")]);
    let grant = session.grant(sealed_box("keys"), &key("hospital-a broker")).expect("a grant");
    assert_eq!(grant.value().context, context);
    assert_eq!(grant.signer(), key("hospital-a broker").verifying_key());
}

#[test]
fn a_permission_records_the_digest_of_its_context() {
    let session = permitted();
    let entry = session.entry();
    assert_eq!((entry.action, entry.decision), (Action::GrantIssued, Decision::Permit));
    assert_eq!(entry.objects, [document_digest(session.context()).unwrap()]);
    assert_eq!(entry.evidence[0], session.context().evidence);
}

#[test]
fn a_run_request_is_refused_for_one_reason_each() {
    denied(challenge_signed(|_| {}, &key("institute/other"), NOW), Code::RequestSigner);
    denied(challenge(|r| r.agreement = sha256(&[b"another"])), Code::RequestAgreement);
    denied(challenge(|r| drop(r.audience.pop())), Code::RequestAudience);
    denied(challenge(|r| r.audience.swap(0, 1)), Code::RequestAudience);
    denied(challenge(|r| r.issued = at(121)), Code::RequestNotFresh);
    denied(challenge(|r| r.not_after = NOW), Code::RequestNotFresh);
    denied(challenge(|r| r.not_after = at(604_801)), Code::RequestNotFresh);
    denied(challenge(|r| r.parameters.clear()), Code::RequestParameters);
    let another = |r: &mut RunRequest| {
        r.parameters.insert(name("month"), ParameterValue::Integer(1));
    };
    denied(challenge(another), Code::RequestParameters);
    let unbound = |r: &mut RunRequest| {
        r.parameters.insert(name("year"), ParameterValue::Integer(2022));
    };
    denied(challenge(unbound), Code::RequestParameters);
}

#[test]
fn another_document_of_the_requester_is_no_run_request() {
    let case = Case::valid();
    let agreement = case.signed().envelope().clone();
    let refused = Session::challenge(&case.recognized(), &agreement, NONCE, NOW);
    denied(refused, Code::DocumentInvalid);
}

#[test]
fn evidence_is_refused_for_one_reason_each() {
    let refused = |code, change: fn(&mut RuntimeData)| {
        denied(appraise_with(change, NOW), Code::Evidence(code));
    };
    use RejectionCode as Is;
    refused(Is::NotFresh, |data| data.nonces[0].nonce = Nonce::from_bytes([1; 32]));
    refused(Is::WrongRun, |data| data.run = RunId(sha256(&[b"another"])));
    refused(Is::WrongAgreement, |data| data.agreement = sha256(&[b"another"]));
    refused(Is::WrongEngine, |data| data.engine = sha256(&[b"another"]));
    refused(Is::SandboxTooWeak, |data| {
        data.sandbox = cordon_protocol::evidence::SandboxLevel::Seccomp;
    });
    let late = at(i64::try_from(CHALLENGE_SECONDS).unwrap());
    denied(appraise_with(|_| {}, late), Code::ChallengeExpired);
}

#[test]
fn evidence_that_another_root_vouches_for_is_refused() {
    let session = challenged();
    let runtime = runtime_data(&Case::valid(), session.run(), session.nonce());
    let roots = TrustRoots::dangerous_development(key("another root").verifying_key());
    let trust = Trust { roots: &roots, platform: None, collateral: &Collateral::none() };
    let denial = session.appraise(&evidence(&runtime), trust, NOW).unwrap_err();
    assert!(matches!(denial.code(), Code::Evidence(_)), "{denial:?}");
}

#[test]
fn the_policy_is_asked_with_what_the_records_say() {
    denied(permit(|facts| facts.study_stopped = true), Code::StudyStopped);
    denied(permit(|facts| facts.runs_used = 10), Code::RunsSpent);
    denied(permit(|facts| facts.broker.log_current = false), Code::LogNotCurrent);
    denied(permit(|facts| facts.broker.witnesses_ready = 1), Code::WitnessesMissing);
    denied(permit(|facts| facts.broker.last_entry = at(6)), Code::ClockSetBack);
}

/// Before there is evidence, whatever depends on evidence is taken to be as agreed.
#[test]
fn what_no_evidence_can_mend_is_foreseen() {
    let policy = Policy::built_in().expect("a policy");
    let (manifest, standing) = (signed_manifest(), Case::valid().standing());
    let active = [DatasetVersion { manifest: &manifest, key_active: true }];
    let suspended = [DatasetVersion { manifest: &manifest, key_active: false }];
    let foresee = |change: &dyn Fn(&mut GrantFacts<'_>)| {
        let mut facts = GrantFacts {
            standing: &standing,
            study_stopped: false,
            runs_used: 0,
            datasets: &active,
            broker: BROKER,
        };
        change(&mut facts);
        if facts.datasets.is_empty() {
            facts.datasets = &suspended;
        }
        challenged().foresee(&policy, facts, NOW)
    };
    assert!(foresee(&|_| {}).is_ok());
    denied(foresee(&|facts| facts.study_stopped = true), Code::StudyStopped);
    denied(foresee(&|facts| facts.runs_used = 10), Code::RunsSpent);
    denied(foresee(&|facts| facts.broker.witnesses_ready = 1), Code::WitnessesMissing);
    denied(foresee(&|facts| facts.datasets = &[]), Code::KeyNotActive);

    let own = "@code(\"never\") forbid(principal, action == Action::\"grant\", resource) \
               when { resource.min_cell < 1000 };";
    let own = Policy::with_rules(own).expect("a policy");
    let facts = GrantFacts {
        standing: &standing,
        study_stopped: false,
        runs_used: 0,
        datasets: &active,
        broker: BROKER,
    };
    denied(challenged().foresee(&own, facts, NOW), Code::HolderRule);
}

#[test]
fn a_suspended_key_is_not_granted() {
    let (manifest, standing) = (signed_manifest(), Case::valid().standing());
    let suspended = [DatasetVersion { manifest: &manifest, key_active: false }];
    denied(permit_of(&suspended, &standing, NOW, |_| {}), Code::KeyNotActive);
}

#[test]
fn the_datasets_are_the_agreed_ones() {
    let standing = Case::valid().standing();
    denied(permit(|facts| facts.datasets = &[]), Code::DatasetMismatch);
    let manifest = signed_manifest();
    let twice = [DatasetVersion { manifest: &manifest, key_active: true }; 2];
    denied(permit_of(&twice, &standing, NOW, |_| {}), Code::DatasetMismatch);
    let foreign = sign(manifest.value().clone(), &key("hospital-b manifests"));
    let foreign = [DatasetVersion { manifest: &foreign, key_active: true }];
    denied(permit_of(&foreign, &standing, NOW, |_| {}), Code::DatasetMismatch);
}

#[test]
fn an_agreement_without_its_approvals_grants_nothing() {
    let (manifest, case) = (signed_manifest(), Case::valid());
    let version = [DatasetVersion { manifest: &manifest, key_active: true }];
    let evaluate = |decisions: &[Signed<cordon_protocol::Approval>]| {
        crate::approval::evaluate(&case.recognized(), &case.directory(), decisions, NOW)
    };
    denied(permit_of(&version, &evaluate(&[]), NOW, |_| {}), Code::ApprovalsMissing);
    let mut no = case.approval("dora");
    no.verdict = cordon_protocol::decision::Verdict::Reject;
    let rejected = evaluate(&[sign(no, &key("hospital-a/dora"))]);
    let denial = permit_of(&version, &rejected, NOW, |_| {}).unwrap_err();
    assert_eq!(denial.code(), Code::ApprovalRejected);
    assert!(denial.reasons().contains(&"rejected by `dora`".to_owned()));

    // Approved, but another agreement.
    let other = Case::with(|case| case.agreement.limits.max_runs = 11).standing();
    assert!(other.approved().is_some());
    denied(permit_of(&version, &other, NOW, |_| {}), Code::ApprovalsMissing);
}

#[test]
fn an_approval_that_ran_out_since_is_none() {
    let (manifest, case) = (signed_manifest(), Case::valid());
    let version = [DatasetVersion { manifest: &manifest, key_active: true }];
    let decisions = ["dora", "sam"].map(|person| {
        let approval = cordon_protocol::Approval { expires: at(30), ..case.approval(person) };
        sign(approval, &key(&format!("hospital-a/{person}")))
    });
    let standing =
        crate::approval::evaluate(&case.recognized(), &case.directory(), &decisions, NOW);
    assert!(permit_of(&version, &standing, at(29), |_| {}).is_ok());
    denied(permit_of(&version, &standing, at(30), |_| {}), Code::ApprovalsMissing);
}

/// No grant without a durable entry that the witnesses cosigned (DESIGN invariant 2).
#[test]
fn a_grant_is_recorded_by_a_proof_of_its_entry_under_a_cosigned_head_and_by_nothing_else() {
    let refused = |proof: String| {
        let error = permitted().record(&proof).expect_err("not recorded");
        assert!(matches!(error, RecordError::Proof(_)), "{error:?}");
    };
    let entry = permitted().entry().clone();
    assert!(permitted().record(&prove(HOSPITALS[0], &entry, &WITNESSES)).is_ok());
    refused(prove(HOSPITALS[0], &entry, &WITNESSES[..1]));
    refused(prove(HOSPITALS[0], &entry, &[]));
    refused(prove(HOSPITALS[0], &entry, &[HOSPITALS[1], "registry"]));
    refused(prove(HOSPITALS[1], &entry, &WITNESSES));
    let another = LogEntry { time: at(1), ..entry };
    refused(prove(HOSPITALS[0], &another, &WITNESSES));
    refused(String::new());
}

#[test]
fn a_grant_is_signed_by_this_broker_only() {
    let refused = recorded().grant(sealed_box("keys"), &key("hospital-b broker"));
    assert!(matches!(refused, Err(RecordError::Sign)));
}

struct Stored {
    request: Signed<RunRequest>,
    context: GrantContext,
    guard_box_key: RecipientKey,
    entry: LogEntry,
    witnesses: Vec<&'static str>,
}

impl Stored {
    fn valid() -> Self {
        let session = permitted();
        Self {
            request: session.request().clone(),
            context: session.context().clone(),
            guard_box_key: session.guard_box_key().clone(),
            entry: session.entry().clone(),
            witnesses: WITNESSES.to_vec(),
        }
    }

    fn resume(self) -> Result<Session<Recorded>, RecordError> {
        let proof = prove(HOSPITALS[0], &self.entry, &self.witnesses);
        let entry = self.entry.to_bytes().unwrap();
        let agreement = Case::valid().recognized();
        let Self { request, context, guard_box_key, .. } = self;
        Session::resume(&agreement, request, context, guard_box_key, &entry, &proof)
    }
}

#[test]
fn a_recorded_grant_is_taken_up_again_and_no_other_is() {
    let resumed = Stored::valid().resume().expect("resumed");
    assert_eq!(resumed.seal_order().context, permitted().context());

    let refused = |change: fn(&mut Stored)| {
        let mut stored = Stored::valid();
        change(&mut stored);
        stored.resume().expect_err("refused")
    };
    let contexts: [fn(&mut Stored); 5] = [
        |s| s.context.holder = name("hospital-b"),
        |s| s.context.agreement = sha256(&[b"another"]),
        |s| s.context.run = RunId(sha256(&[b"another"])),
        |s| s.guard_box_key = boxes("another guard").public_key(),
        |s| {
            let mut request = s.request.value().clone();
            request.nonce = Nonce::from_bytes([1; 32]);
            s.request = sign(request, &key("institute/riley"));
        },
    ];
    for change in contexts {
        assert!(matches!(refused(change), RecordError::OtherContext));
    }
    let entries: [fn(&mut Stored); 7] = [
        |s| s.context.lease_ms = cordon_types::Milliseconds::new(1),
        |s| s.entry.action = Action::OutputCleared,
        |s| s.entry.decision = Decision::Deny,
        |s| s.entry.holder = name("hospital-b"),
        |s| s.entry.agreement = None,
        |s| s.entry.run = None,
        |s| s.entry.objects.push(sha256(&[b"a second context"])),
    ];
    for change in entries {
        assert!(matches!(refused(change), RecordError::OtherEntry));
    }
    assert!(matches!(refused(|s| s.witnesses.truncate(1)), RecordError::Proof(_)));
}

#[test]
fn a_retry_gets_the_same_grant_for_the_same_guard_only() {
    let session = appraised();
    let earlier = permitted().context().clone();
    assert!(session.is_guard_of(&earlier));
    let other = |change: fn(&mut GrantContext)| {
        let mut earlier = earlier.clone();
        change(&mut earlier);
        earlier
    };
    for changed in [
        other(|c| c.run = RunId(sha256(&[b"another"]))),
        other(|c| c.agreement = sha256(&[b"another"])),
        other(|c| c.guard_signing_key = key("another guard").verifying_key()),
        other(|c| c.guard_box_key = sha256(&[b"another"])),
    ] {
        assert!(!session.is_guard_of(&changed));
    }
}
