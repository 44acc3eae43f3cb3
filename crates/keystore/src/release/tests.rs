use cordon_crypto::dsse::{Document as _, document_digest};
use cordon_protocol::entry::Decision;
use cordon_protocol::party::Profile;
use cordon_protocol::{LogEntry, RunId};
use cordon_types::{Milliseconds, UnixSeconds};

use super::*;
use crate::state::Transition;
use crate::testing::{
    Draft, Fixture, NOW, OTHERS, VERSION_KEY, agreement, boxes, clearance_draft, deposit_of,
    envelope, grant_draft, key, manifest, name, run, sealed_share, sign,
};

/// What a store says to a grant that differs from a valid one by `change`.
fn grant(
    change_terms: impl FnOnce(&mut Agreement),
    change: impl FnOnce(&mut Draft<GrantContext>),
) -> Result<SealedBox, Refusal> {
    grant_at(Fixture::ready(), change_terms, change)
}

fn grant_at(
    mut fixture: Fixture,
    change_terms: impl FnOnce(&mut Agreement),
    change: impl FnOnce(&mut Draft<GrantContext>),
) -> Result<SealedBox, Refusal> {
    let mut terms = agreement(fixture.store.public());
    change_terms(&mut terms);
    let mut draft = grant_draft(&fixture.store, terms);
    change(&mut draft);
    let request = draft.request(&fixture.store);
    fixture.grant(&request)
}

fn refused(change: impl FnOnce(&mut Draft<GrantContext>)) -> Refusal {
    grant(|_| {}, change).expect_err("refused")
}

fn refused_terms(change: impl FnOnce(&mut Agreement)) -> Refusal {
    grant(change, |_| {}).expect_err("refused")
}

/// A clearance likewise, of the share `[9; 32]`.
fn release(
    change_terms: impl FnOnce(&mut Agreement),
    change: impl FnOnce(&mut Draft<ClearanceContext>),
) -> Result<Vec<SealedBox>, Refusal> {
    let mut fixture = Fixture::ready();
    let mut terms = agreement(fixture.store.public());
    change_terms(&mut terms);
    let share = sealed_share(fixture.store.public(), run(), &[9; 32]);
    let mut draft = clearance_draft(&fixture.store, terms, &share);
    change(&mut draft);
    let request = draft.request(&fixture.store, share);
    fixture.release(&request)
}

#[test]
fn the_agreed_keys_are_sealed_to_the_guard_for_this_context() {
    let mut fixture = Fixture::ready();
    let draft = grant_draft(&fixture.store, agreement(fixture.store.public()));
    let digest = document_digest(&draft.context).unwrap();
    let request = draft.request(&fixture.store);
    let sealed = fixture.grant(&request).unwrap();
    let opened = boxes("guard").open(Label::GrantBox, &[digest.as_bytes()], &sealed).unwrap();

    let (version_key, table) = (Secret::from_bytes(VERSION_KEY), name("patient"));
    let mut expected = footer_key(&version_key, &table).expose().to_vec();
    for column in ["patient_id", "sex"] {
        expected.extend(column_key(&version_key, &table, &name(column)).expose());
    }
    assert_eq!(*opened, expected);
    let elsewhere = boxes("guard").open(Label::GrantBox, &[b"another context"], &sealed);
    assert!(elsewhere.is_err());
}

#[test]
fn the_share_is_sealed_to_each_recipient_for_this_context() {
    let mut fixture = Fixture::ready();
    let share = sealed_share(fixture.store.public(), run(), &[9; 32]);
    let draft = clearance_draft(&fixture.store, agreement(fixture.store.public()), &share);
    let digest = document_digest(&draft.context).unwrap();
    let request = draft.request(&fixture.store, share);
    let sealed = fixture.release(&request).unwrap();
    assert_eq!(sealed.len(), 2);
    for (sealed, person) in sealed.iter().zip(["riley", "robin"]) {
        let opened = boxes(person).open(Label::ReleaseBox, &[digest.as_bytes()], sealed).unwrap();
        assert_eq!(*opened, [9; 32]);
    }
}

#[test]
fn a_context_of_another_holder_or_agreement_is_refused() {
    let other = || sha256(&[b"another"]);
    let refusal = refused(|draft| draft.context.holder = name("hospital-b"));
    assert_eq!(refusal, Refusal::OtherHolder { holder: name("hospital-b") });
    assert_eq!(refused(|draft| draft.context.agreement = other()), Refusal::OtherAgreement);
    assert_eq!(refused_terms(|terms| terms.profile = Profile::Development), Refusal::OtherProfile);
    let early = UnixSeconds::new(NOW.get() - 1);
    assert_eq!(refused(|draft| draft.context.issued = early), Refusal::OutsideValidity);
    let late = NOW.plus_seconds(86_400);
    assert_eq!(refused(|draft| draft.context.issued = late), Refusal::OutsideValidity);
}

#[test]
fn an_agreement_that_somebody_else_signed_is_refused() {
    let fixture = Fixture::ready();
    let forged = sign(agreement(fixture.store.public()), &key("another"));
    let refusal = grant_at(
        fixture,
        |_| {},
        |draft| {
            draft.agreement = forged.envelope().clone();
            draft.context.agreement = forged.digest();
            draft.entry.agreement = Some(forged.digest());
        },
    );
    let document = DocumentKind::Agreement;
    assert!(matches!(refusal, Err(Refusal::Document { document: d, .. }) if d == document));
}

/// A broker service that is taken over cannot make up holders that cosign for it.
#[test]
fn holders_stand_in_the_agreement_with_the_keys_that_are_known_here() {
    let another = || key("another").verifying_key();
    let own: [fn(&mut Agreement); 6] = [
        |terms| terms.holders[0].broker_key = key("another").verifying_key(),
        |terms| terms.holders[0].log_origin = "another.example/log".to_owned(),
        |terms| terms.holders[0].log_key = key("another").verifying_key(),
        |terms| terms.holders[0].witness_key = key("another").verifying_key(),
        |terms| terms.holders[0].box_key = boxes("another").public_key(),
        |terms| drop(terms.holders.remove(0)),
    ];
    for change in own {
        assert_eq!(refused_terms(change), Refusal::OwnEntry);
    }
    let twice = |terms: &mut Agreement| terms.holders.push(terms.holders[0].clone());
    assert_eq!(refused_terms(twice), Refusal::OwnEntry);

    let stranger = Refusal::HolderNotEnrolled { party: name("hospital-b") };
    assert_eq!(refused_terms(|terms| terms.holders[1].broker_key = another()), stranger);
    assert_eq!(refused_terms(|terms| terms.holders[1].log_key = another()), stranger);
    assert_eq!(refused_terms(|terms| terms.holders[1].witness_key = another()), stranger);
    let origin = |terms: &mut Agreement| terms.holders[1].log_origin.push('x');
    assert_eq!(refused_terms(origin), stranger);
    let unknown = refused_terms(|terms| terms.holders[2].party = name("hospital-d"));
    assert_eq!(unknown, Refusal::HolderNotEnrolled { party: name("hospital-d") });
}

#[test]
fn a_quorum_is_a_majority_of_the_other_holders() {
    assert_eq!(refused_terms(|terms| terms.witness_quorum = 0), Refusal::QuorumNone);
    let impossible = |quorum| Refusal::QuorumImpossible { quorum, witnesses: 2 };
    assert_eq!(refused_terms(|terms| terms.witness_quorum = 3), impossible(3));
    let half = Refusal::QuorumNoMajority { quorum: 1, witnesses: 2 };
    assert_eq!(refused_terms(|terms| terms.witness_quorum = 1), half);
    let none = grant_at(
        Fixture::ready_of(Profile::Development),
        |terms| terms.witness_quorum = 0,
        |draft| draft.cosigned_by.clear(),
    );
    assert!(none.is_ok());
}

#[test]
fn the_entry_records_exactly_this_context() {
    assert_eq!(refused(|d| d.entry.holder = name("hospital-b")), Refusal::EntryOtherLog);
    assert_eq!(refused(|d| d.entry.profile = Profile::Development), Refusal::EntryOtherLog);
    assert_eq!(refused(|d| d.entry.action = Action::OutputCleared), Refusal::EntryOtherAction);
    assert_eq!(refused(|d| d.entry.decision = Decision::Deny), Refusal::EntryNotPermitted);
    assert_eq!(refused(|d| d.entry.study = None), Refusal::EntryOtherRun);
    assert_eq!(refused(|d| d.entry.agreement = None), Refusal::EntryOtherRun);
    assert_eq!(refused(|d| d.entry.run = None), Refusal::EntryOtherRun);
    let other = sha256(&[b"another"]);
    assert_eq!(refused(|d| d.entry.objects = vec![other]), Refusal::EntryOtherContext);
    let two = |draft: &mut Draft<GrantContext>| {
        draft.entry.objects = vec![document_digest(&draft.context).unwrap(), sha256(&[b"two"])];
    };
    assert_eq!(refused(two), Refusal::EntryOtherContext);
}

#[test]
fn an_entry_that_is_not_canonical_is_refused() {
    let mut fixture = Fixture::ready();
    let draft = grant_draft(&fixture.store, agreement(fixture.store.public()));
    let mut request = draft.request(&fixture.store);
    let mut spaced = request.entry.as_slice().to_vec();
    spaced.push(b' ');
    request.entry = spaced.into();
    let refusal = fixture.grant(&request).unwrap_err();
    let document = DocumentKind::Entry;
    assert!(matches!(refusal, Refusal::Document { document: d, .. } if d == document));
    request.entry = vec![b'0'; LogEntry::MAX_BYTES + 1].into();
    assert!(matches!(fixture.grant(&request), Err(Refusal::Document { .. })));
}

/// No grant without a durable entry that the witnesses cosigned (DESIGN invariant 2).
#[test]
fn the_log_proves_the_entry_under_a_head_that_the_quorum_cosigned() {
    let proof = |change: &dyn Fn(&mut Draft<GrantContext>)| {
        matches!(refused(change), Refusal::Proof { .. })
    };
    assert!(proof(&|draft| draft.cosigned_by.clear()));
    assert!(proof(&|draft| draft.cosigned_by = OTHERS[..1].to_vec()));
    assert!(proof(&|draft| draft.cosigned_by = vec![OTHERS[0], "hospital-d"]));
    assert!(proof(&|draft| draft.proves_another = true));
}

#[test]
fn keys_are_sealed_to_the_guard_of_the_context_only() {
    let mut fixture = Fixture::ready();
    let draft = grant_draft(&fixture.store, agreement(fixture.store.public()));
    let mut request = draft.request(&fixture.store);
    request.guard_box_key = boxes("another").public_key();
    assert_eq!(fixture.grant(&request), Err(Refusal::OtherGuardKey));
}

#[test]
fn a_lease_is_no_longer_than_agreed() {
    let longer = |draft: &mut Draft<GrantContext>| {
        draft.context.lease_ms = Milliseconds::new(30_001);
    };
    assert_eq!(refused(longer), Refusal::LeaseTooLong);
}

#[test]
fn datasets_and_keys_have_one_order() {
    let form = Refusal::GrantForm { limit: MAX_GRANT_KEYS };
    assert_eq!(refused(|d| d.context.datasets.clear()), form);
    assert_eq!(refused(|d| d.context.datasets[0].keys.clear()), form);
    assert_eq!(refused(|d| d.context.datasets[0].keys.swap(0, 1)), form);
    let twice = |draft: &mut Draft<GrantContext>| {
        let first = draft.context.datasets[0].clone();
        draft.context.datasets.push(first);
    };
    assert_eq!(refused(twice), form);
}

#[test]
fn only_the_deposited_version_is_granted() {
    let (dataset, version) = (name("ehr"), 4);
    let unknown = Refusal::UnknownVersion { dataset, version };
    assert_eq!(refused(|d| d.context.datasets[0].version = 4), unknown);
    let other = sha256(&[b"another"]);
    assert_eq!(refused(|d| d.context.datasets[0].manifest = other), Refusal::OtherManifest);
}

#[test]
fn only_an_active_key_is_granted() {
    for (transition, state) in [
        (Transition::Suspend, KeyState::Suspended),
        (Transition::Deactivate, KeyState::Deactivated),
        (Transition::Compromise, KeyState::Compromised),
    ] {
        let mut fixture = Fixture::ready();
        fixture.change(transition);
        let refusal = grant_at(fixture, |_| {}, |_| {}).unwrap_err();
        assert_eq!(refusal, Refusal::State { dataset: name("ehr"), version: 3, state });
    }
    let mut fixture = Fixture::ready();
    fixture.change(Transition::Suspend);
    fixture.change(Transition::Resume);
    assert!(grant_at(fixture, |_| {}, |_| {}).is_ok());
}

/// Data minimisation is enforced here: only the keys of agreed columns go out.
#[test]
fn only_agreed_keys_of_agreed_datasets_are_granted() {
    let dataset = || name("ehr");
    let postcode = KeyName { table: name("patient"), column: Some(name("postcode")) };
    let with_postcode = refused(|draft| {
        draft.context.datasets[0].keys.insert(2, postcode.clone());
    });
    let key_not_agreed = Refusal::KeyNotAgreed { dataset: dataset(), key: (&postcode).into() };
    assert_eq!(with_postcode, key_not_agreed);
    let zip = KeyName { table: name("patient"), column: Some(name("zip")) };
    let unknown = refused(|draft| draft.context.datasets[0].keys.push(zip.clone()));
    assert_eq!(unknown, Refusal::UnknownKey { dataset: dataset(), key: (&zip).into() });

    let other = |terms: &mut Agreement| terms.holders[0].datasets[0].dataset = name("other");
    assert_eq!(refused_terms(other), Refusal::DatasetNotAgreed { dataset: dataset() });
    let schema = |terms: &mut Agreement| terms.holders[0].datasets[0].schema = sha256(&[]);
    let schema_not_agreed = Refusal::SchemaNotAgreed { dataset: dataset(), version: 3 };
    assert_eq!(refused_terms(schema), schema_not_agreed);
    let signer =
        |terms: &mut Agreement| terms.holders[0].manifest_keys = vec![key("x").verifying_key()];
    assert_eq!(refused_terms(signer), Refusal::SignerNotAgreed { dataset: dataset() });
}

/// What another holder agreed to is no agreement of this one.
#[test]
fn the_terms_of_another_holder_release_nothing_here() {
    let refusal = refused_terms(|terms| {
        terms.holders[0].datasets[0].columns = [(name("visit"), Vec::new())].into();
    });
    assert!(matches!(refusal, Refusal::KeyNotAgreed { .. }), "{refusal:?}");
}

#[test]
fn a_clearance_is_checked_like_a_grant() {
    let refused = |change: &dyn Fn(&mut Draft<ClearanceContext>)| {
        release(|_| {}, change).expect_err("refused")
    };
    let action = refused(&|draft| draft.entry.action = Action::GrantIssued);
    assert_eq!(action, Refusal::EntryOtherAction);
    let proof = refused(&|draft| draft.cosigned_by.truncate(1));
    assert!(matches!(proof, Refusal::Proof { .. }));
    let half = release(|terms| terms.witness_quorum = 1, |_| {});
    assert_eq!(half, Err(Refusal::QuorumNoMajority { quorum: 1, witnesses: 2 }));
}

#[test]
fn a_share_goes_to_the_agreed_recipients_only() {
    let other = sha256(&[b"another"]);
    let recipients: [&dyn Fn(&mut Draft<ClearanceContext>); 4] = [
        &|draft| draft.context.recipients[0] = other,
        &|draft| draft.context.recipients.truncate(1),
        &|draft| draft.context.recipients.swap(0, 1),
        &|draft| draft.context.recipients.push(other),
    ];
    for change in recipients {
        assert_eq!(release(|_| {}, change), Err(Refusal::OtherRecipients));
    }
    let nobody = release(|terms| terms.recipients.clear(), |_| {});
    assert_eq!(nobody, Err(Refusal::OtherRecipients));
}

#[test]
fn a_share_is_the_one_of_the_context() {
    let refused = release(|_| {}, |draft| draft.context.share = sha256(&[b"another"]));
    assert_eq!(refused, Err(Refusal::OtherShare));
}

#[test]
fn a_share_of_another_run_or_of_another_size_does_not_open() {
    let open = |run: RunId, share: &[u8]| {
        let mut fixture = Fixture::ready();
        let share = sealed_share(fixture.store.public(), run, share);
        let draft = clearance_draft(&fixture.store, agreement(fixture.store.public()), &share);
        let request = draft.request(&fixture.store, share);
        fixture.release(&request).map(drop)
    };
    assert_eq!(open(run(), &[9; 32]), Ok(()));
    let does_not_open = Err(Refusal::ShareDoesNotOpen);
    assert_eq!(open(RunId(sha256(&[b"another"])), &[9; 32]), does_not_open);
    assert_eq!(open(run(), &[9; 31]), does_not_open);
}

#[test]
fn a_key_whose_wrapping_is_gone_is_damaged_and_not_granted() {
    let fixture = Fixture::ready();
    let kek = fixture.keys_folder().join("keks/ehr/3-1.kek");
    std::fs::remove_file(kek).unwrap();
    let refusal = grant_at(fixture.reopen(|_| {}).unwrap(), |_| {}, |_| {}).unwrap_err();
    assert!(matches!(refusal, Refusal::KeyDamaged { version: 3, .. }), "{refusal:?}");
}

#[test]
fn a_deposit_is_refused_for_one_reason_each() {
    let refused = |request: &dyn Fn(&PublicParts) -> crate::DepositRequest| {
        let mut fixture = Fixture::empty();
        let request = request(fixture.store.public());
        match fixture.store.deposit(&request, &mut fixture.random) {
            Err(crate::KeystoreError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    };
    let of = |change: &dyn Fn(&mut cordon_protocol::Manifest)| {
        refused(&|own: &PublicParts| {
            let mut manifest = manifest();
            change(&mut manifest);
            deposit_of(own, manifest, &VERSION_KEY)
        })
    };
    let not_allowed = refused(&|own| {
        let allowed = vec![key("another").verifying_key()];
        crate::DepositRequest { allowed, ..deposit_of(own, manifest(), &VERSION_KEY) }
    });
    assert_eq!(not_allowed, Refusal::ManifestKeyNotAllowed);
    let other_holder = of(&|manifest| manifest.holder = name("hospital-b"));
    assert_eq!(other_holder, Refusal::OtherHolder { holder: name("hospital-b") });
    assert!(matches!(of(&|m| m.version = 0), Refusal::ManifestMalformed { .. }));
    assert!(matches!(of(&|m| m.tables.clear()), Refusal::ManifestMalformed { .. }));
    let twice = of(&|m| m.tables.push(m.tables[0].clone()));
    assert!(matches!(twice, Refusal::ManifestMalformed { .. }));
    let subject = of(&|m| m.tables[0].subject = name("nobody"));
    assert!(matches!(subject, Refusal::ManifestMalformed { .. }));
    for column in 0..3 {
        let mismatch = of(&|m| m.tables[0].columns[column].key_commitment = sha256(&[]));
        assert!(matches!(mismatch, Refusal::CommitmentMismatch { .. }));
    }
    let footer = of(&|m| m.tables[0].footer_commitment = sha256(&[]));
    assert!(matches!(footer, Refusal::CommitmentMismatch { .. }));
    let another_key = refused(&|own| deposit_of(own, manifest(), &[78; 32]));
    assert!(matches!(another_key, Refusal::CommitmentMismatch { .. }));
    let short = refused(&|own| deposit_of(own, manifest(), &[77; 31]));
    assert_eq!(short, Refusal::DepositDoesNotOpen);
    let exchanged = refused(&|own| {
        let mut other = manifest();
        other.version = 4;
        let deposit = deposit_of(own, other, &VERSION_KEY).deposit;
        crate::DepositRequest { deposit, ..deposit_of(own, manifest(), &VERSION_KEY) }
    });
    assert_eq!(exchanged, Refusal::OtherManifest);
    let by_another = refused(&|own| {
        let valid = deposit_of(own, manifest(), &VERSION_KEY);
        let steward = valid.manifest.claimed_signer();
        let deposit = valid.deposit.open::<cordon_protocol::dataset::Deposit>(&steward).unwrap();
        let deposit = envelope(deposit.into_value(), &key("another"));
        crate::DepositRequest { deposit, ..valid }
    });
    assert!(matches!(by_another, Refusal::Document { document: DocumentKind::Deposit, .. }));
}
