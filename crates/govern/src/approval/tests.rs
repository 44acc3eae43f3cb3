use cordon_crypto::SigningKey;

use super::*;
use crate::testing::{Case, NOW, at, key, sign};

/// The decisions of dora (data protection officer) and sam (steward), the second one changed.
fn standing(case: &Case, change: impl FnOnce(&mut Approval)) -> Standing {
    standing_signed(case, change, &key("hospital-a/sam"))
}

fn standing_signed(
    case: &Case,
    change: impl FnOnce(&mut Approval),
    signer: &SigningKey,
) -> Standing {
    let first = sign(case.approval("dora"), &key("hospital-a/dora"));
    let mut second = case.approval("sam");
    change(&mut second);
    evaluate(&case.recognized(), &case.directory(), &[first, sign(second, signer)], NOW)
}

/// One person is missing, because the second approval does not count for this reason.
#[track_caller]
fn disregarded(standing: Standing, why: &str) {
    let Standing::Missing(missing) = standing else { panic!("{standing:?}") };
    assert_eq!((missing.persons, missing.roles.len()), (1, 0), "{missing:?}");
    assert_eq!(missing.disregarded.len(), 1, "{missing:?}");
    assert!(missing.disregarded[0].contains(why), "{missing:?}");
}

#[test]
fn two_persons_with_the_agreed_role_among_them_approve_until_the_first_runs_out() {
    let case = Case::valid();
    let standing = standing(&case, |second| second.expires = at(60));
    let approved = standing.approved().expect("approved");
    assert_eq!(approved.agreement(), case.signed().digest());
    assert_eq!(approved.by().iter().map(PersonId::as_str).collect::<Vec<_>>(), ["dora", "sam"]);
    assert_eq!(approved.until(), at(60));
}

#[test]
fn one_person_twice_is_one_person() {
    let case = Case::valid();
    let twice = [0, 1].map(|_| sign(case.approval("dora"), &key("hospital-a/dora")));
    let standing = evaluate(&case.recognized(), &case.directory(), &twice, NOW);
    let missing = Missing { persons: 1, ..Missing::default() };
    assert_eq!(standing, Standing::Missing(missing));
}

#[test]
fn enough_persons_without_the_agreed_role_are_not_enough() {
    let case = Case::with(|case| {
        case.agreement.holders[0].approvals.roles = vec![Role::SecurityOfficer];
    });
    let Standing::Missing(missing) = standing(&case, |_| {}) else { panic!("no such role") };
    assert_eq!(missing.persons, 0);
    assert_eq!(missing.roles, [Role::SecurityOfficer]);
    assert_eq!(missing.lines(), ["approval by a security_officer is missing"]);
}

#[test]
fn an_approval_of_another_agreement_does_not_count() {
    let case = Case::valid();
    let other = Case::with(|case| case.agreement.limits.max_runs += 1).signed().digest();
    disregarded(standing(&case, |second| second.agreement = other), "another agreement");
}

#[test]
fn an_approval_for_another_broker_does_not_count() {
    let standing =
        standing(&Case::valid(), |second| second.audience = "hospital-b".parse().unwrap());
    disregarded(standing, "hospital-b");
}

#[test]
fn an_approval_in_the_name_of_another_person_does_not_count() {
    let standing = standing_signed(&Case::valid(), |_| {}, &key("hospital-a/rob"));
    disregarded(standing, "names `sam`");
}

#[test]
fn an_approval_by_an_unknown_key_does_not_count() {
    disregarded(standing_signed(&Case::valid(), |_| {}, &key("nobody")), "unknown key");
}

#[test]
fn an_approval_by_a_person_of_another_party_does_not_count() {
    let bea = |second: &mut Approval| second.person = "bea".parse().unwrap();
    let standing = standing_signed(&Case::valid(), bea, &key("hospital-b/bea"));
    disregarded(standing, "a person of `hospital-b`");
}

#[test]
fn an_approval_by_somebody_whose_role_was_taken_away_does_not_count() {
    let case = Case::with(|case| *case.roles("sam") = vec![Role::Reviewer]);
    disregarded(standing(&case, |_| {}), "no role to approve");
}

#[test]
fn an_administrator_or_auditor_approves_nothing_whatever_else_they_are() {
    for role in [Role::Administrator, Role::Auditor] {
        let case = Case::with(|case| case.roles("sam").push(role));
        disregarded(standing(&case, |_| {}), "may not approve");
    }
}

#[test]
fn an_approval_counts_in_its_time_only() {
    let case = Case::valid();
    disregarded(standing(&case, |second| second.expires = NOW), "expired");
    disregarded(standing(&case, |second| second.issued = at(121)), "future");
    let long = i64::try_from(document::MAX_APPROVAL_SECONDS).unwrap() + 1;
    disregarded(standing(&case, |second| second.expires = at(long)), "more than");
}

#[test]
fn a_rejection_is_for_good() {
    let case = Case::valid();
    let mut no = case.approval("sam");
    (no.verdict, no.issued, no.expires) = (Verdict::Reject, at(-9_000), at(-8_000));
    let no = sign(no, &key("hospital-a/sam"));
    let yes = ["dora", "sam"]
        .map(|person| sign(case.approval(person), &key(&format!("hospital-a/{person}"))));
    let [dora, sam] = yes;
    let standing = evaluate(&case.recognized(), &case.directory(), &[no, dora, sam], NOW);
    assert_eq!(standing, Standing::Rejected { by: "sam".parse().unwrap() });
}

#[test]
fn a_rejection_by_somebody_who_may_not_decide_is_none() {
    let case = Case::with(|case| *case.roles("sam") = vec![Role::Reviewer]);
    disregarded(standing(&case, |second| second.verdict = Verdict::Reject), "no role");
}

#[test]
fn the_requester_does_not_approve() {
    let case = Case::with(|case| {
        let sam = crate::testing::person_of("hospital-a", "sam");
        *case.roles("sam") = vec![Role::Researcher, Role::Steward];
        (case.agreement.requester, case.agreement.recipients) = (sam.clone(), vec![sam]);
    });
    disregarded(standing(&case, |_| {}), "by the requester");
}
