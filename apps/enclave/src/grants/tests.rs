use crate::fixture::grant::{Attested, GrantDraft};
use crate::fixture::random::SeededRandom;
use crate::fixture::study::{Study, name, signing_key, table};
use cordon_protocol::entry::{Action, Decision};
use cordon_types::Milliseconds;

use super::*;
use crate::inputs;
use crate::order::Order;
use crate::testing;

/// A guard that waits for the grant of the first hospital.
struct Guard {
    study: Study,
    order: Order,
    inputs: Inputs,
    opening: RecipientSecret,
}

impl Guard {
    fn of(study: Study) -> Self {
        let order = testing::order(&study);
        let holders = study.hospitals.iter().zip(&order.agreement.holders);
        let offers = holders.flat_map(|(hospital, holder)| {
            let manifests = [hospital.signed_manifest()];
            inputs::check(&order.agreement, holder, &manifests).expect("an offer")
        });
        let inputs = Inputs::new(offers.collect::<Vec<_>>());
        let opening = RecipientSecret::generate(&mut SeededRandom::new(1));
        Self { order, inputs, opening, study }
    }

    fn new() -> Self {
        Self::of(testing::study())
    }

    fn attested(&self) -> Attested {
        Attested {
            agreement: self.order.digest,
            run: self.order.run,
            evidence: sha256(&[b"evidence"]),
            signing_key: signing_key(5).verifying_key(),
            box_key: self.opening.public_key(),
        }
    }

    /// Opens a grant of the first hospital in which one thing was changed.
    fn open(&self, change: impl FnOnce(&mut GrantDraft<'_>)) -> Result<Granted, Code> {
        let attested = self.attested();
        let wanted = Wanted {
            agreement: &self.order.agreement,
            agreement_digest: attested.agreement,
            run: attested.run,
            evidence: attested.evidence,
            guard_signing_key: attested.signing_key,
            guard_box_key: box_key_digest(&self.opening),
            inputs: &self.inputs,
        };
        let mut draft = GrantDraft::honest(&self.study, 0, &attested);
        change(&mut draft);
        open(&wanted, &self.order.agreement.holders[0], &draft.finish(), &self.opening)
    }

    fn refused(&self, change: impl FnOnce(&mut GrantDraft<'_>)) -> Code {
        self.open(change).err().expect("must be refused")
    }
}

/// A name of the study's table.
fn key_name(column: Option<&str>) -> KeyName {
    KeyName { table: table(), column: column.map(name) }
}

#[test]
fn an_honest_grant_opens_to_the_committed_keys_of_agreed_columns_only() {
    let guard = Guard::new();
    let granted = guard.open(|_| {}).expect("granted");
    let dataset = name("ehr");
    let manifest = &guard.study.hospitals[0].manifest();
    for column in [None, Some("patient_id"), Some("sex")] {
        let name = key_name(column);
        let key = granted.key(&dataset, &name).expect("a key");
        assert_eq!(Some(commitment(key)), committed(manifest, &name));
    }
    assert!(granted.key(&dataset, &key_name(Some("postcode"))).is_none());
    assert_eq!(granted.lease, guard.order.agreement.limits.lease_ms);
}

#[test]
fn another_broker_grants_nothing() {
    assert_eq!(Guard::new().refused(|draft| draft.signed_by = 1), Code::GrantSignature);
}

#[test]
fn a_grant_is_for_this_guard_and_run() {
    let guard = Guard::new();
    type Change = fn(&mut GrantContext);
    let changes: [(&str, Change); 8] = [
        ("holder", |context| context.holder = name("hospital-b")),
        ("agreement", |context| context.agreement = sha256(&[b"another"])),
        ("run", |context| context.run = RunId(sha256(&[b"another"]))),
        ("evidence", |context| context.evidence = sha256(&[b"another"])),
        ("signing key", |context| context.guard_signing_key = signing_key(6).verifying_key()),
        ("box key", |context| context.guard_box_key = sha256(&[b"another"])),
        ("no lease", |context| context.lease_ms = Milliseconds::new(0)),
        ("too long a lease", |context| {
            context.lease_ms = Milliseconds::new(context.lease_ms.get() + 1);
        }),
    ];
    for (what, change) in changes {
        let code = guard.refused(|draft| change(&mut draft.context));
        assert_eq!(code, Code::GrantContext, "{what}");
    }
}

#[test]
fn a_grant_is_of_the_agreed_keys_no_fewer_and_no_more() {
    let guard = Guard::new();
    type Change = fn(&mut Vec<GrantedDataset>);
    let changes: [(&str, Change); 6] = [
        ("no dataset", Vec::clear),
        ("the dataset twice", |datasets| datasets.push(datasets[0].clone())),
        ("another version", |datasets| datasets[0].version += 1),
        ("another manifest", |datasets| datasets[0].manifest = sha256(&[b"another"])),
        ("one key fewer", |datasets| drop(datasets[0].keys.pop())),
        ("a column that was not agreed", |datasets| {
            datasets[0].keys.push(key_name(Some("postcode")));
        }),
    ];
    for (what, change) in changes {
        let code = guard.refused(|draft| change(&mut draft.context.datasets));
        assert_eq!(code, Code::GrantKeys, "{what}");
    }
}

#[test]
fn a_grant_is_logged_as_what_it_is() {
    let guard = Guard::new();
    type Change = fn(&mut LogEntry);
    let changes: [(&str, Change); 6] = [
        ("another action", |entry| entry.action = Action::GrantRefused),
        ("a denial", |entry| entry.decision = Decision::Deny),
        ("another holder", |entry| entry.holder = name("hospital-b")),
        ("another profile", |entry| {
            entry.profile = cordon_protocol::party::Profile::Production;
        }),
        ("another agreement", |entry| entry.agreement = None),
        ("another run", |entry| entry.run = Some(RunId(sha256(&[b"another"])))),
    ];
    for (what, change) in changes {
        let code = guard.refused(|draft| change(&mut draft.entry));
        assert_eq!(code, Code::GrantNotLogged, "{what}");
    }
    let other_context = guard.refused(|draft| draft.logged_object = Some(sha256(&[b"another"])));
    assert_eq!(other_context, Code::GrantNotLogged);
}

#[test]
fn a_grant_is_proven_in_its_holders_log() {
    let guard = Guard::new();
    assert_eq!(guard.refused(|draft| draft.proves_other_entry = true), Code::GrantNotLogged);
    let other_log = guard.refused(|draft| {
        draft.logged_at = 1;
        draft.cosigned_by = vec![0, 2];
    });
    assert_eq!(other_log, Code::GrantNotLogged);
}

#[test]
fn a_head_is_cosigned_by_as_many_others_as_agreed() {
    let guard = Guard::new();
    for cosigned_by in [vec![], vec![1], vec![2]] {
        let code = guard.refused(|draft| draft.cosigned_by.clone_from(&cosigned_by));
        assert_eq!(code, Code::GrantNotLogged, "{cosigned_by:?}");
    }
    // Its own witness does not count.
    assert_eq!(guard.refused(|draft| draft.cosigned_by = vec![0, 1]), Code::GrantNotLogged);

    let mut study = testing::study();
    study.agreement.witness_quorum = 0;
    Guard::of(study).open(|draft| draft.cosigned_by.clear()).expect("none, in development");
}

#[test]
fn a_box_opens_for_this_guard_and_context_and_has_one_key_for_each_name() {
    let guard = Guard::new();
    let another = RecipientSecret::generate(&mut SeededRandom::new(2));
    let other_guard = guard.refused(|draft| draft.sealed_to = another.public_key());
    assert_eq!(other_guard, Code::GrantBox);
    let other_context = guard.refused(|draft| draft.sealed_under = Some(sha256(&[b"another"])));
    assert_eq!(other_context, Code::GrantBox);
    let fewer = guard.refused(|draft| draft.keys.truncate(64));
    assert_eq!(fewer, Code::GrantBox);
    assert_eq!(guard.refused(|draft| draft.keys.extend([0; 32])), Code::GrantBox);
    assert_eq!(guard.refused(|draft| draft.keys.truncate(95)), Code::GrantBox);
}

#[test]
fn keys_are_the_ones_that_the_manifest_commits_to() {
    let guard = Guard::new();
    for place in [0, 40, 95] {
        let code = guard.refused(|draft| draft.keys[place] ^= 1);
        assert_eq!(code, Code::GrantCommitment, "byte {place}");
    }
    let swapped = guard.refused(|draft| draft.keys.rotate_left(32));
    assert_eq!(swapped, Code::GrantCommitment);
}

#[test]
fn a_broker_may_grant_a_shorter_lease() {
    let granted = Guard::new().open(|draft| draft.context.lease_ms = Milliseconds::new(1));
    assert_eq!(granted.expect("granted").lease, Milliseconds::new(1));
}
