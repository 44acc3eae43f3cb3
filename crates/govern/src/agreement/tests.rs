use std::collections::BTreeMap;

use cordon_protocol::Agreement;
use cordon_protocol::agreement::{Gate, ParameterBound, ResultColumn, ResultKind, Review};
use cordon_protocol::evidence::TeeKind;
use cordon_protocol::party::{Profile, Role};
use cordon_protocol::platform::{ReleaseRule, ReleaseVersion};
use cordon_protocol::run::ParameterValue;
use cordon_types::{Milliseconds, UnixSeconds};

use super::*;
use crate::testing::{Case, HOSPITALS, key, manifest, name, person_of, sign, signed_manifest};

/// Code and field of an agreement that differs from a valid one by `change`.
#[track_caller]
fn refused(change: impl FnOnce(&mut Agreement)) -> (Code, String) {
    let error = Case::with(|case| change(&mut case.agreement)).check().unwrap_err();
    (error.code, error.field)
}

#[track_caller]
fn accepted(change: impl FnOnce(&mut Agreement)) {
    Case::with(|case| change(&mut case.agreement)).check().unwrap();
}

#[track_caller]
fn refused_as(code: Code, field: &str, change: impl FnOnce(&mut Agreement)) {
    assert_eq!(refused(change), (code, field.to_owned()));
}

/// The table of the program, and of each dataset.
fn patient() -> cordon_types::TableName {
    name("patient")
}

fn gate(agreement: &mut Agreement) -> &mut cordon_protocol::agreement::TableGate {
    let Gate::Table(gate) = &mut agreement.output.gate;
    gate
}

#[test]
fn a_valid_agreement_is_accepted_and_recognized() {
    let recognized = Case::valid().recognized();
    assert_eq!(recognized.party().as_str(), HOSPITALS[0]);
    assert_eq!(recognized.own_holder().party.as_str(), HOSPITALS[0]);
    assert_eq!(recognized.witnesses().fewest_witnesses(), 2);
}

#[test]
fn an_agreement_that_somebody_else_signed_is_refused() {
    let signed = sign(Case::valid().agreement, &key("hospital-a/sam"));
    assert_eq!(CheckedAgreement::check(&signed).unwrap_err().code, Code::AgreementSigner);
}

#[test]
fn texts_are_what_they_look_like() {
    let text = Code::AgreementText;
    refused_as(text, "title", |a| a.title = " ".to_owned());
    refused_as(text, "title", |a| a.title = "x".repeat(MAX_LINE_BYTES + 1));
    refused_as(text, "title", |a| a.title = "two\nlines".to_owned());
    // Shown from right to left, this reads as something else.
    refused_as(text, "title", |a| a.title = "sum\u{202e}tnuoc".to_owned());
    refused_as(text, "purpose.statement", |a| a.purpose.statement.clear());
    refused_as(text, "purpose.statement", |a| {
        a.purpose.statement = "x".repeat(MAX_STATEMENT_BYTES + 1);
    });
    refused_as(text, "purpose.legal_basis", |a| a.purpose.legal_basis.clear());
    refused_as(text, "purpose.duo", |a| a.purpose.duo = vec!["DUO:42".to_owned()]);
    refused_as(text, "purpose.references", |a| a.purpose.references.push("\u{200b}".to_owned()));
    refused_as(text, "program.query", |a| a.program.query = "SELECT\u{0} 1".to_owned());
    let list = Code::AgreementList;
    refused_as(list, "purpose.duo", |a| a.purpose.duo.push(a.purpose.duo[0].clone()));
    refused_as(list, "purpose.references", |a| {
        a.purpose.references = vec!["same".to_owned(), "same".to_owned()];
    });
}

#[test]
fn every_list_has_its_length_and_one_order() {
    let list = Code::AgreementList;
    refused_as(list, "holders", |a| a.holders.clear());
    refused_as(list, "holders", |a| a.holders.swap(0, 1));
    refused_as(list, "holders", |a| a.holders.push(a.holders[2].clone()));
    refused_as(list, "recipients", |a| a.recipients.clear());
    refused_as(list, "recipients", |a| a.recipients.push(a.recipients[0].clone()));
    refused_as(list, "holders[hospital-a].manifest_keys", |a| {
        a.holders[0].manifest_keys.clear();
    });
    refused_as(list, "holders[hospital-a].manifest_keys", |a| {
        let same = a.holders[0].manifest_keys[0];
        a.holders[0].manifest_keys.push(same);
    });
    refused_as(list, "holders[hospital-a].datasets", |a| a.holders[0].datasets.clear());
    refused_as(list, "holders[hospital-a].reviewers", |a| {
        let same = a.holders[0].reviewers[0].clone();
        a.holders[0].reviewers.push(same);
    });
    refused_as(list, "platform.tees", |a| a.platform.tees.clear());
    refused_as(list, "platform.measurements", |a| a.platform.measurements.clear());
    refused_as(list, "platform.measurements", |a| {
        a.platform.measurements.push(a.platform.measurements[0].clone());
    });
    let rule = |product: &str| ReleaseRule {
        signer: key("releases").verifying_key(),
        product: product.to_owned(),
        minimum_version: ReleaseVersion(1, 4, 0),
    };
    accepted(|a| {
        a.platform.measurements.clear();
        a.platform.releases = vec![rule("cordon-enclave")];
    });
    refused_as(list, "platform.releases", |a| a.platform.releases = vec![rule("b"), rule("a")]);
    refused_as(Code::AgreementPlatform, "platform.releases", |a| {
        a.platform.releases = vec![rule("Two words")];
    });
    refused_as(list, "program.result", |a| a.program.result.clear());
    refused_as(list, "program.result", |a| {
        a.program.result.push(a.program.result[0].clone());
    });
    refused_as(list, "program.tables", |a| a.program.tables.clear());
    refused_as(list, "program.tables.patient", |a| {
        a.program.tables.get_mut(&patient()).unwrap().swap(0, 1);
    });
    refused_as(list, "program.touched.patient", |a| {
        a.program.touched.get_mut(&patient()).unwrap().swap(0, 1);
    });
    refused_as(list, "holders[hospital-a].datasets[ehr].columns.patient", |a| {
        a.holders[0].datasets[0].columns.get_mut(&patient()).unwrap().swap(0, 1);
    });
}

#[test]
fn a_rule_for_approvals_demands_somebody_who_can_approve() {
    let (code, field) = (Code::AgreementApprovals, "holders[hospital-a].approvals");
    refused_as(code, field, |a| a.holders[0].approvals.persons = 0);
    refused_as(code, field, |a| a.holders[0].approvals.persons = MAX_APPROVERS + 1);
    refused_as(code, field, |a| a.holders[0].approvals.roles.clear());
    for role in [Role::Reviewer, Role::Researcher, Role::Auditor, Role::Administrator] {
        refused_as(code, field, |a| a.holders[0].approvals.roles.push(role));
    }
    refused_as(Code::AgreementList, "holders[hospital-a].approvals.roles", |a| {
        a.holders[0].approvals.roles = vec![Role::Steward, Role::Steward];
    });
}

#[test]
fn reviewers_are_people_of_the_holder_and_not_the_requester() {
    let (code, field) = (Code::AgreementReviewers, "holders[hospital-a].reviewers");
    refused_as(code, field, |a| a.holders[0].reviewers.clear());
    refused_as(code, field, |a| {
        a.holders[0].reviewers = vec![person_of("hospital-b", "bea")];
    });
    refused_as(code, field, |a| {
        let rob = person_of("hospital-a", "rob");
        (a.requester, a.recipients) = (rob.clone(), vec![rob]);
    });
    // Under another name.
    refused_as(code, field, |a| a.holders[0].reviewers[0].signing_key = a.requester.signing_key);
}

#[test]
fn a_reviewer_whose_word_would_not_count_gets_no_copy() {
    refused_as(Code::AgreementReviewers, "holders[hospital-a].reviewers", |a| {
        a.output.review = Review::GateSuffices;
    });
}

#[test]
fn a_log_has_a_name_of_its_own() {
    let (code, field) = (Code::AgreementLog, "holders[hospital-b].log_origin");
    refused_as(code, field, |a| a.holders[1].log_origin = "two words".to_owned());
    refused_as(code, field, |a| a.holders[1].log_origin = a.holders[0].log_origin.clone());
    // Its name would be that of another's witness.
    refused_as(code, field, |a| {
        a.holders[1].log_origin = format!("{}/witness", a.holders[0].log_origin);
    });
}

#[test]
fn one_key_has_one_owner_and_one_purpose() {
    let code = Code::AgreementKeyReused;
    refused_as(code, "holders[hospital-b].log_key", |a| {
        a.holders[1].log_key = a.holders[0].log_key;
    });
    refused_as(code, "holders[hospital-a].witness_key", |a| {
        a.holders[0].witness_key = a.holders[0].log_key;
    });
    refused_as(code, "holders[hospital-b].box_key", |a| {
        a.holders[1].box_key = a.holders[0].box_key.clone();
    });
    refused_as(code, "institute/riley box_key", |a| {
        let stolen = a.holders[0].box_key.clone();
        a.requester.box_key = stolen.clone();
        a.recipients[0].box_key = stolen;
    });
    refused_as(Code::AgreementParties, "institute/riley", |a| {
        a.recipients[0].box_key = person_of("institute", "another").box_key;
    });
}

#[test]
fn the_keys_of_columns_are_those_that_the_program_touches() {
    let code = Code::AgreementColumns;
    let agreed = "holders[hospital-a].datasets[ehr].columns.patient";
    refused_as(code, agreed, |a| {
        let columns = a.holders[0].datasets[0].columns.get_mut(&patient()).unwrap();
        columns.insert(1, name("postcode"));
    });
    refused_as(code, agreed, |a| {
        a.holders[0].datasets[0].columns.get_mut(&patient()).unwrap().pop();
    });
    refused_as(code, "holders[hospital-a].datasets[ehr].columns.visit", |a| {
        a.holders[0].datasets[0].columns.insert(name("visit"), vec![name("day")]);
    });
    refused_as(code, "program.touched", |a| a.program.touched.clear());
}

#[test]
fn tables_come_from_the_agreed_datasets_and_one_of_each_holder() {
    refused_as(Code::AgreementSources, "program.tables.patient", |a| {
        a.program.tables.get_mut(&patient()).unwrap()[0].table = name("visit");
    });
    refused_as(Code::AgreementSources, "program.tables.patient", |a| {
        a.program.tables.get_mut(&patient()).unwrap()[2].holder = name("hospital-d");
    });
    refused_as(Code::AgreementSources, "program.tables.patient_again", |a| {
        let sources = a.program.tables[&patient()].clone();
        a.program.tables.insert(name("patient_again"), sources);
    });
    refused_as(Code::AgreementList, "program.tables.patient", |a| {
        let sources = a.program.tables.get_mut(&patient()).unwrap();
        sources[1] = sources[0].clone();
        sources[1].dataset = name("other");
    });
}

fn bound(agreement: &mut Agreement, values: Vec<ParameterValue>) {
    agreement.program.parameters =
        BTreeMap::from([(name("year"), ParameterBound { one_of: values })]);
}

#[test]
fn a_parameter_has_a_few_values_of_one_type() {
    use ParameterValue::{Boolean, Date, Integer, Text};
    let (code, field) = (Code::AgreementParameters, "program.parameters.year");
    refused_as(code, field, |a| bound(a, vec![Integer(1), Boolean(true)]));
    refused_as(code, field, |a| bound(a, vec![Date("2023-02-29".to_owned())]));
    refused_as(code, field, |a| bound(a, vec![Text("a\nb".to_owned())]));
    refused_as(code, field, |a| bound(a, vec![Text("x".repeat(257))]));
    refused_as(Code::AgreementList, field, |a| bound(a, Vec::new()));
    refused_as(Code::AgreementList, field, |a| bound(a, vec![Integer(2), Integer(1)]));
    let many = (0..=MAX_PARAMETER_VALUES as i64).map(Integer).collect();
    refused_as(Code::AgreementList, field, |a| bound(a, many));
    accepted(|a| bound(a, vec![Date("2024-02-29".to_owned())]));
}

#[test]
fn a_choice_of_parameters_needs_people_who_look_at_each_output() {
    let gate_only = |agreement: &mut Agreement| {
        agreement.output.review = Review::GateSuffices;
        agreement.holders.iter_mut().for_each(|holder| holder.reviewers.clear());
    };
    refused_as(Code::AgreementReview, "program.parameters.year", gate_only);
    accepted(|agreement| {
        gate_only(agreement);
        bound(agreement, vec![ParameterValue::Integer(2024)]);
    });
}

#[test]
fn a_result_of_keys_alone_is_refused() {
    refused_as(Code::AgreementResult, "program.result", |a| {
        a.program.result = vec![ResultColumn { name: name("sex"), kind: ResultKind::Key }];
    });
}

#[test]
fn a_measurement_is_a_digest_in_hex() {
    for bad in ["", "ab", &"AB".repeat(32), &"ab".repeat(33)] {
        refused_as(Code::AgreementPlatform, "platform.measurements", |a| {
            a.platform.measurements = vec![bad.to_owned()];
        });
    }
    accepted(|a| a.platform.measurements = vec!["ab".repeat(48)]);
}

#[test]
fn the_software_tee_has_no_place_in_production() {
    refused_as(Code::AgreementSoftwareTee, "platform.tees", |a| {
        a.profile = Profile::Production;
    });
    refused_as(Code::AgreementSoftwareTee, "platform.tees", |a| {
        a.profile = Profile::Production;
        a.platform.tees = vec![TeeKind::Tpm];
    });
}

#[test]
fn cells_are_never_too_small() {
    refused_as(Code::AgreementMinCell, "output.gate.min_cell", |a| {
        gate(a).min_cell = MIN_CELL_FLOOR - 1;
    });
    accepted(|a| gate(a).min_cell = MIN_CELL_FLOOR);
}

#[test]
fn every_limit_has_a_range() {
    let code = Code::AgreementLimits;
    refused_as(code, "output.gate.round_to", |a| gate(a).round_to = 0);
    refused_as(code, "output.gate.round_to", |a| gate(a).round_to = 1_001);
    refused_as(code, "output.max_rows", |a| a.output.max_rows = 0);
    refused_as(code, "output.max_rows", |a| a.output.max_rows = 10_001);
    refused_as(code, "output.max_bytes", |a| a.output.max_bytes = MAX_OUTPUT_BYTES + 1);
    refused_as(code, "limits.max_runs", |a| a.limits.max_runs = 0);
    refused_as(code, "limits.max_runs", |a| a.limits.max_runs = MAX_RUNS + 1);
    refused_as(code, "limits.deadline_ms", |a| {
        a.limits.deadline_ms = Milliseconds::new(DEADLINE_MS.end() + 1);
    });
    refused_as(code, "limits.lease_ms", |a| {
        a.limits.lease_ms = Milliseconds::new(LEASE_MS.end() + 1);
    });
    refused_as(code, "limits.heartbeat_ms", |a| {
        a.limits.heartbeat_ms = Milliseconds::new(MIN_HEARTBEAT_MS - 1);
    });
    // Two must fit a lease.
    refused_as(code, "limits.heartbeat_ms", |a| {
        a.limits.heartbeat_ms = Milliseconds::new(a.limits.lease_ms.get() / 2 + 1);
    });
    refused_as(code, "limits.memory_bytes", |a| {
        a.limits.memory_bytes = MEMORY_BYTES.start() - 1;
    });
}

#[test]
fn an_agreement_ends_after_it_begins_and_within_five_years() {
    let (code, field) = (Code::AgreementTime, "not_after");
    refused_as(code, field, |a| a.not_after = a.not_before);
    refused_as(code, field, |a| {
        a.not_after = UnixSeconds::new(a.not_before.get() + MAX_VALID_SECONDS + 1);
    });
}

/// Two histories of one log could each find a quorum, if it were half of the witnesses or fewer.
#[test]
fn a_quorum_is_a_majority_of_the_other_holders() {
    let quorum = |holders: usize, quorum: u32, profile| {
        let mut agreement = Case::valid().agreement;
        agreement.holders = (0..holders).map(|_| agreement.holders[0].clone()).collect();
        (agreement.witness_quorum, agreement.profile) = (quorum, profile);
        terms::check_quorum(&agreement).map_err(|error| error.code)
    };
    let refused = Err(Code::AgreementQuorum);
    for profile in [Profile::Development, Profile::Production] {
        for (holders, least) in [(2, 1), (3, 2), (4, 2), (5, 3), (16, 8)] {
            let others = holders as u32 - 1;
            for found in 1..=others + 1 {
                let expected = if (least..=others).contains(&found) { Ok(()) } else { refused };
                assert_eq!(quorum(holders, found, profile), expected, "{found} of {others}");
            }
        }
    }
    // None at all, in development only; a single holder has nobody to witness it.
    for holders in 1..=3 {
        assert_eq!(quorum(holders, 0, Profile::Development), Ok(()));
        assert_eq!(quorum(holders, 0, Profile::Production), refused);
    }
    assert_eq!(quorum(1, 1, Profile::Production), refused);

    refused_as(Code::AgreementQuorum, "witness_quorum", |a| a.witness_quorum = 1);
    refused_as(Code::AgreementQuorum, "witness_quorum", |a| a.witness_quorum = 3);
    accepted(|a| a.witness_quorum = 0);
}

/// Code and field of a valid agreement at a broker that differs by `change`.
fn unrecognized(change: impl FnOnce(&mut Case)) -> (Code, String) {
    let error = Case::with(change).compare().unwrap_err();
    (error.code, error.field)
}

#[test]
fn a_broker_that_is_no_holder_takes_no_part() {
    let (code, _) = unrecognized(|case| case.parties.swap(0, 3));
    assert_eq!(code, Code::NotAHolder);
}

#[test]
fn an_agreement_of_another_profile_is_refused() {
    let (code, field) = unrecognized(|case| case.parties[0].profile = Profile::Production);
    assert_eq!((code, field.as_str()), (Code::ProfileMismatch, "profile"));
}

#[test]
fn every_key_of_a_holder_is_the_enrolled_one() {
    let differs = |part: &str, change: fn(&mut cordon_protocol::PartyCard)| {
        // Of this broker's own entry, and of another's.
        for (index, party) in [(0, "hospital-a"), (1, "hospital-b")] {
            let (code, field) = unrecognized(|case| change(&mut case.parties[index]));
            assert_eq!(
                (code, field),
                (Code::DirectoryMismatch, format!("holders[{party}].{part}"))
            );
        }
    };
    let other = || key("another").verifying_key();
    differs("log_origin", |card| card.log_origin = "another.example/log".to_owned());
    differs("log_key", |card| card.log_key = key("another").verifying_key());
    differs("witness_key", |card| card.witness_key = key("another").verifying_key());
    differs("box_key", |card| card.box_key = crate::testing::boxes("another").public_key());
    differs("manifest_keys", |card| card.manifest_keys.push(key("another").verifying_key()));
    // A card signs itself with its broker key, so here the agreement is changed.
    let (code, field) = unrecognized(|case| case.agreement.holders[1].broker_key = other());
    assert_eq!((code, field.as_str()), (Code::DirectoryMismatch, "holders[hospital-b].broker_key"));
}

#[test]
fn everybody_in_an_agreement_is_enrolled() {
    let (code, field) = unrecognized(|case| drop(case.parties.remove(1)));
    assert_eq!((code, field.as_str()), (Code::DirectoryMismatch, "holders[hospital-b]"));
    let (code, field) = unrecognized(|case| drop(case.people.remove(0)));
    assert_eq!((code, field.as_str()), (Code::DirectoryMismatch, "requester[institute/riley]"));
    let (code, field) = unrecognized(|case| drop(case.people.pop()));
    let reviewer = "holders[hospital-c].reviewers[hospital-c/rob]";
    assert_eq!((code, field.as_str()), (Code::DirectoryMismatch, reviewer));
    let (code, field) = unrecognized(|case| {
        case.agreement.recipients.insert(0, person_of("hospital-a", "nobody"));
    });
    let recipient = "recipients[hospital-a/nobody]";
    assert_eq!((code, field.as_str()), (Code::DirectoryMismatch, recipient));
}

#[test]
fn a_person_has_the_enrolled_keys() {
    let (code, field) = unrecognized(|case| {
        case.people[0].0.box_key = crate::testing::boxes("another").public_key();
    });
    assert_eq!((code, field.as_str()), (Code::DirectoryMismatch, "requester[institute/riley]"));
    let (code, _) = unrecognized(|case| {
        case.agreement.holders[0].reviewers[0].signing_key = key("another").verifying_key();
    });
    assert_eq!(code, Code::DirectoryMismatch);
}

#[test]
fn the_requester_is_a_researcher_here() {
    let (code, _) = unrecognized(|case| case.people[0].1 = vec![Role::Steward]);
    assert_eq!(code, Code::RoleMissing);
}

#[test]
fn without_a_quorum_a_development_broker_asks_no_witness() {
    let recognized = Case::with(|case| case.agreement.witness_quorum = 0).recognized();
    assert_eq!(recognized.witnesses().fewest_witnesses(), 0);
}

#[test]
fn a_manifest_is_of_the_agreed_dataset_and_signed_by_an_agreed_key() {
    let agreement = Case::valid().recognized();
    assert!(check_dataset(&agreement, &signed_manifest()).is_ok());
    let refused = |change: &dyn Fn(&mut cordon_protocol::Manifest), signer: &str| {
        let mut manifest = manifest(HOSPITALS[0]);
        change(&mut manifest);
        let error = check_dataset(&agreement, &sign(manifest, &key(signer))).unwrap_err();
        assert_eq!(error.code, Code::DatasetMismatch);
        error.expected
    };
    let steward = "hospital-a manifests";
    assert_eq!(refused(&|_| {}, "hospital-b manifests"), "a manifest signed by an agreed key");
    assert_eq!(refused(&|m| m.holder = name("hospital-b"), steward), "a manifest of this holder");
    assert_eq!(refused(&|m| m.dataset = name("other"), steward), "an agreed dataset");
    assert_eq!(refused(&|m| m.tables[0].columns[1].nullable = true, steward), "the agreed schema");
    assert_eq!(refused(&|m| drop(m.tables[0].columns.pop()), steward), "the agreed schema");
}

/// The schema says it all, but for what was agreed of it.
#[test]
fn the_agreed_columns_are_in_the_dataset_with_the_subject_among_them() {
    let refused = |columns: &[&str]| {
        let case = Case::with(|case| {
            let columns: Vec<_> = columns.iter().map(|column| name(column)).collect();
            case.agreement.program.touched = BTreeMap::from([(name("patient"), columns.clone())]);
            for holder in &mut case.agreement.holders {
                holder.datasets[0].columns = BTreeMap::from([(name("patient"), columns.clone())]);
            }
        });
        check_dataset(&case.recognized(), &signed_manifest()).unwrap_err().expected
    };
    assert_eq!(refused(&["patient_id", "shoe_size"]), "columns of the dataset");
    assert_eq!(refused(&["postcode", "sex"]), "the subject column of each table");
}

#[test]
fn a_difference_is_shown_wherever_it_is() {
    let before = Case::valid().agreement;
    assert_eq!(diff(&before, &before), []);
    let shown = |change: fn(&mut Agreement)| -> Vec<String> {
        let after = Case::with(|case| change(&mut case.agreement)).agreement;
        diff(&before, &after).iter().map(ToString::to_string).collect()
    };
    assert_eq!(shown(|a| a.limits.max_runs = 11), ["limits.max_runs: 10 -> 11"]);
    assert_eq!(
        shown(|a| a.holders[1].approvals.persons = 1),
        ["holders[hospital-b].approvals.persons: 2 -> 1"]
    );
    assert_eq!(
        shown(|a| a.purpose.statement = "How many patients of each sex are there?\nTwo.".into()),
        [r#"purpose.statement line 2: "One table." -> "Two.""#]
    );
    let gone = shown(|a| a.holders[2].reviewers.clear());
    assert_eq!(gone.len(), 1);
    assert!(gone[0].starts_with("holders[hospital-c].reviewers[hospital-c/rob]: removed"));
}
