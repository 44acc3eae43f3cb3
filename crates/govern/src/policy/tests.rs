use cordon_crypto::sha256;
use cordon_protocol::RunId;
use cordon_protocol::agreement::Review;
use cordon_protocol::evidence::{SandboxLevel, TeeKind};
use cordon_protocol::release::Assurance;
use cordon_types::UnixSeconds;

use super::*;
use crate::testing::{BROKER, Case, NOW, at, measurement};

fn guard() -> GuardFacts {
    GuardFacts {
        tee: TeeKind::Software,
        measurement: measurement(),
        assurance: Assurance::None,
        sandbox: SandboxLevel::Namespaces,
    }
}

fn grant_facts() -> GrantFacts {
    GrantFacts {
        now: NOW,
        approved: true,
        rejected: false,
        study_stopped: false,
        request_issued: NOW,
        request_not_after: at(3_600),
        runs_used: 9,
        datasets: vec!["ehr".to_owned()],
        keys_active: true,
        broker: BROKER,
    }
}

fn clearance_facts() -> ClearanceFacts {
    ClearanceFacts {
        now: NOW,
        rejected: false,
        study_stopped: false,
        sealed: true,
        gates: vec!["cell_size".to_owned()],
        size_bytes: 16 * 1024,
        reviews: 1,
        review_rejected: false,
        earlier_releases: 0,
        broker: BROKER,
    }
}

fn grant(change: impl FnOnce(&mut GuardFacts, &mut GrantFacts)) -> Verdict {
    let (mut guard, mut facts) = (guard(), grant_facts());
    change(&mut guard, &mut facts);
    let agreement = Case::valid().recognized();
    let question = Question::grant(&agreement, "key".to_owned(), &guard, &facts);
    Policy::built_in().unwrap().decide(&question)
}

fn clear(change: impl FnOnce(&mut ClearanceFacts)) -> Verdict {
    let mut facts = clearance_facts();
    change(&mut facts);
    let run = RunId(sha256(&[b"run"]));
    let question = Question::clear(&Case::valid().recognized(), run, &facts);
    Policy::built_in().unwrap().decide(&question)
}

/// The question with one fact of it replaced, whatever else makes that impossible.
fn with_fact(mut question: Question, name: &str, fact: Fact) -> Question {
    question.set(name, fact);
    question
}

fn grant_question() -> Question {
    Question::grant(&Case::valid().recognized(), "key".to_owned(), &guard(), &grant_facts())
}

fn clear_question() -> Question {
    let run = RunId(sha256(&[b"run"]));
    Question::clear(&Case::valid().recognized(), run, &clearance_facts())
}

/// Exactly this condition failed.
#[track_caller]
fn denied(verdict: Verdict, code: &str) {
    let Verdict::Deny(failed) = verdict else { panic!("permitted: {code}") };
    let codes: Vec<_> = failed.iter().map(|failed| failed.code.as_str()).collect();
    assert_eq!(codes, [code], "{failed:?}");
}

#[test]
fn what_is_in_order_is_permitted() {
    assert_eq!(grant(|_, _| {}), Verdict::Permit);
    assert_eq!(clear(|_| {}), Verdict::Permit);
}

#[test]
fn a_grant_is_denied_for_one_reason_each() {
    denied(grant(|_, facts| facts.study_stopped = true), "study_stopped");
    denied(grant(|_, facts| facts.rejected = true), "approval_rejected");
    denied(grant(|_, facts| facts.approved = false), "approvals_missing");
    denied(grant(|_, facts| facts.runs_used = 10), "runs_spent");
    denied(grant(|_, facts| facts.keys_active = false), "key_not_active");
    denied(grant(|guard, _| guard.measurement = "cd".repeat(32)), "wrong_measurement");
    denied(grant(|guard, _| guard.sandbox = SandboxLevel::Seccomp), "sandbox_too_weak");
    denied(grant(|_, facts| facts.request_issued = at(121)), "request_not_fresh");
    denied(grant(|_, facts| facts.request_not_after = NOW), "request_not_fresh");
    denied(grant(|_, facts| facts.request_not_after = at(604_801)), "request_not_fresh");
}

#[test]
fn a_clearance_is_denied_for_one_reason_each() {
    denied(clear(|facts| facts.study_stopped = true), "study_stopped");
    denied(clear(|facts| facts.rejected = true), "approval_rejected");
    denied(clear(|facts| facts.sealed = false), "run_failed");
    denied(clear(|facts| facts.gates = vec!["rounding".to_owned()]), "gate_missing");
    denied(clear(|facts| facts.size_bytes += 4_097), "output_too_large");
    denied(clear(|facts| facts.review_rejected = true), "review_rejected");
    denied(clear(|facts| facts.reviews = 0), "reviews_missing");
}

/// A broker that is not in order neither lets keys in nor results out.
#[test]
fn both_are_denied_outside_their_time_and_at_a_broker_that_is_not_in_order() {
    let both = |code: &str, change: &dyn Fn(&mut UnixSeconds, &mut BrokerState)| {
        denied(
            grant(|_, facts| {
                change(&mut facts.now, &mut facts.broker);
                facts.request_issued = facts.now;
                facts.request_not_after = facts.now.plus_seconds(3_600);
            }),
            code,
        );
        denied(clear(|facts| change(&mut facts.now, &mut facts.broker)), code);
    };
    both("agreement_not_yet_valid", &|now, broker| {
        (*now, broker.last_entry) = (at(-1), at(-1));
    });
    both("agreement_expired", &|now, _| *now = at(30 * 86_400));
    both("clock_set_back", &|_, broker| broker.last_entry = at(6));
    both("log_not_current", &|_, broker| broker.log_current = false);
    both("witnesses_missing", &|_, broker| broker.witnesses_ready = 1);
}

/// What no agreement can say, because it is refused before, is denied all the same.
#[test]
fn conditions_that_an_agreement_was_checked_for_hold_again() {
    let policy = Policy::built_in().unwrap();
    let text = |text: &str| Fact::Text(text.to_owned());
    for question in [grant_question(), clear_question()] {
        let other = with_fact(question.clone(), "resource.profile", text("production"));
        denied(policy.decide(&other), "profile_mismatch");
        let mut production = with_fact(question, "context.profile", text("production"));
        production.set("resource.profile", text("production"));
        if production.action == "grant" {
            denied(policy.decide(&production), "software_tee_refused");
            production.set("principal.assurance", text("hardware"));
        }
        assert_eq!(policy.decide(&production), Verdict::Permit);
        production.set("resource.witness_quorum", Fact::Long(0));
        denied(policy.decide(&production), "agreement_quorum");
    }
    let other = with_fact(grant_question(), "resource.tees", Fact::Set(Vec::new()));
    denied(policy.decide(&other), "tee_not_accepted");
}

#[test]
fn every_condition_is_denied_by_some_test_here() {
    let tested = [
        "study_stopped",
        "approval_rejected",
        "profile_mismatch",
        "agreement_not_yet_valid",
        "agreement_expired",
        "clock_set_back",
        "log_not_current",
        "agreement_quorum",
        "witnesses_missing",
        "software_tee_refused",
        "tee_not_accepted",
        "wrong_measurement",
        "sandbox_too_weak",
        "approvals_missing",
        "request_not_fresh",
        "runs_spent",
        "key_not_active",
        "run_failed",
        "gate_missing",
        "output_too_large",
        "review_rejected",
        "reviews_missing",
    ];
    let policy = Policy::built_in().unwrap();
    let names: Vec<&str> = policy.conditions().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, tested);
}

#[test]
fn reviews_are_missing_only_where_they_were_agreed() {
    let case = Case::with(|case| {
        case.agreement.output.review = Review::GateSuffices;
        case.agreement.holders.iter_mut().for_each(|holder| holder.reviewers.clear());
        case.agreement.program.parameters.clear();
    });
    let facts = ClearanceFacts { reviews: 0, ..clearance_facts() };
    let question = Question::clear(&case.recognized(), RunId(sha256(&[])), &facts);
    assert_eq!(Policy::built_in().unwrap().decide(&question), Verdict::Permit);
}

#[test]
fn several_failures_are_all_told_the_most_important_first() {
    let Verdict::Deny(failed) = grant(|_, facts| {
        (facts.keys_active, facts.study_stopped, facts.runs_used) = (false, true, 12);
    }) else {
        panic!("permitted");
    };
    let codes: Vec<_> = failed.iter().map(|failed| failed.code.as_str()).collect();
    assert_eq!(codes, ["study_stopped", "runs_spent", "key_not_active"]);
    let reason = "runs_spent: wanted fewer runs used than agreed; found context.runs_used = 12, \
                  resource.max_runs = 10";
    assert_eq!(failed[1].reason, reason);
}

#[test]
fn a_holder_adds_a_forbid_of_its_own_and_takes_none_away() {
    let rules = r#"
        @code("office_hours") @wanted("two holders or more") @shows("context.runs_used")
        forbid(principal, action == Action::"grant", resource)
        when { context.runs_used > 3 };"#;
    let policy = Policy::with_rules(rules).unwrap();
    assert_ne!(policy.digest(), Policy::built_in().unwrap().digest());
    let Verdict::Deny(failed) = policy.decide(&grant_question()) else { panic!("permitted") };
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].code, Code::HolderRule);
    assert!(failed[0].reason.starts_with("office_hours: wanted two holders or more"));
    let stopped = with_fact(clear_question(), "context.study_stopped", Fact::Bool(true));
    denied(policy.decide(&stopped), "study_stopped");
}

#[test]
fn rules_that_could_not_work_are_refused_when_they_are_loaded() {
    let refused = |rules: &str| Policy::with_rules(rules).unwrap_err();
    let forbid = r#"@code("x") forbid(principal, action == Action::"grant", resource)"#;
    assert!(matches!(refused("forbid"), PolicyError::Syntax(_)));
    assert_eq!(
        refused(r#"@code("x") permit(principal, action, resource);"#),
        PolicyError::NotAForbid(1)
    );
    let template = r#"@code("x") forbid(principal == ?principal, action, resource);"#;
    assert_eq!(refused(template), PolicyError::NotAForbid(1));
    assert_eq!(refused("forbid(principal, action, resource);"), PolicyError::NoCode(1));
    let loud = r#"@code("Loud!") forbid(principal, action, resource);"#;
    assert_eq!(refused(loud), PolicyError::NoCode(1));
    // A misspelt attribute would never apply.
    let misspelt = format!("{forbid} when {{ context.runs_usd > 3 }};");
    assert!(matches!(refused(&misspelt), PolicyError::Invalid(_)));
    let never = format!("{forbid} when {{ false }};");
    assert!(matches!(refused(&never), PolicyError::Invalid(_)));
    assert_eq!(refused(&" ".repeat(MAX_RULES_BYTES + 1)), PolicyError::TooLarge);
    let many = format!("{forbid} when {{ context.runs_used > 3 }};").repeat(MAX_RULES + 1);
    assert_eq!(refused(&many), PolicyError::TooLarge);
}

/// Cedar skips a forbid that fails to evaluate: what cannot be judged is denied.
#[test]
fn a_rule_that_cannot_be_evaluated_denies() {
    let rules = r#"@code("sum") forbid(principal, action == Action::"grant", resource)
        when { context.runs_used + 9223372036854775807 < 0 };"#;
    let verdict = Policy::with_rules(rules).unwrap().decide(&grant_question());
    denied(verdict, Code::PolicyError.as_str());
}

#[test]
fn a_question_with_a_fact_of_another_type_is_denied() {
    let question = with_fact(grant_question(), "context.runs_used", Fact::Bool(true));
    denied(Policy::built_in().unwrap().decide(&question), Code::PolicyError.as_str());
}
