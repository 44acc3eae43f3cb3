use std::fs;

use cordon_crypto::sha256;
use cordon_types::UnixSeconds;

use super::*;
use crate::state::Transition;
use crate::testing::{
    Fixture, NOW, OTHERS, Seeded, VERSION_KEY, card, deposit_of, deposit_request, enrolment,
    enrolment_of, envelope, key, log_origin, manifest, name, sign,
};

fn identity() -> Identity {
    Identity {
        party: name("hospital-a"),
        profile: Profile::Production,
        log_origin: log_origin("hospital-a"),
        administrators: vec![key("administrator").verifying_key()],
    }
}

fn kek(version: u32, generation: u32) -> String {
    format!("keks/ehr/{version}-{generation}.kek")
}

fn refusal<T: std::fmt::Debug>(result: Result<T, KeystoreError>) -> Refusal {
    match result.expect_err("refused") {
        KeystoreError::Refused(refusal) => refusal,
        KeystoreError::Store(error) => panic!("{error:?}"),
    }
}

#[test]
fn what_is_in_a_store_is_there_when_it_is_opened_again() {
    let fixture = Fixture::ready();
    let (public, status) = (fixture.store.public().clone(), fixture.store.status());
    let enrolled = fixture.store.enrolled();
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].state, KeyState::Active);
    let again = fixture.reopen(|_| {}).unwrap();
    assert_eq!(again.store.public(), &public);
    assert_eq!(again.store.status(), status);
    assert_eq!(again.store.enrolled(), enrolled);
}

#[test]
fn a_store_is_made_once_and_opened_once() {
    let fixture = Fixture::empty();
    let (folder, credential) = (fixture.keys_folder(), fixture.credential());
    assert!(matches!(Keystore::open(&folder, &credential), Err(StoreError::InUse)));
    drop(fixture.store);
    let twice = Keystore::initialise(&folder, identity(), &credential, &mut Seeded::new(9));
    assert!(matches!(twice, Err(StoreError::Exists(_))));
    let nowhere = folder.join("nowhere");
    assert!(matches!(Keystore::open(&nowhere, &credential), Err(StoreError::Missing(_))));
}

#[test]
fn an_identity_without_administrator_or_with_a_name_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Seeded::new(9);
    let path = folder.path().join("root.key");
    let credential = Credential::create_key_file(&path, &mut random).unwrap();
    let changes: [fn(&mut Identity); 3] = [
        |identity| identity.administrators.clear(),
        |identity| identity.administrators = vec![identity.administrators[0]; 65],
        |identity| identity.log_origin = "two words".to_owned(),
    ];
    for change in changes {
        let mut identity = identity();
        change(&mut identity);
        let keys = folder.path().join("keys");
        let refused = Keystore::initialise(&keys, identity, &credential, &mut random);
        assert!(matches!(refused, Err(StoreError::Identity)));
        assert!(!keys.join(HEADER).exists());
    }
}

#[test]
fn another_root_key_opens_nothing() {
    let fixture = Fixture::empty();
    let (folder, mut random) = (fixture.keys_folder(), Seeded::new(9));
    let other = folder.with_file_name("other.key");
    let other = Credential::create_key_file(&other, &mut random).unwrap();
    drop(fixture.store);
    assert!(matches!(Keystore::open(&folder, &other), Err(StoreError::Root(_))));
}

#[test]
fn a_resealed_store_opens_with_the_new_credential_only() {
    let fixture = Fixture::ready();
    let (folder, old, mut random) = (fixture.keys_folder(), fixture.credential(), Seeded::new(9));
    let new = folder.with_file_name("new.key");
    let new = Credential::create_key_file(&new, &mut random).unwrap();
    let status = fixture.store.status();
    drop(fixture.store);
    Keystore::reseal(&folder, &old, &new, &mut random).unwrap();
    assert!(matches!(Keystore::open(&folder, &old), Err(StoreError::Root(_))));
    assert_eq!(Keystore::open(&folder, &new).unwrap().status(), status);
}

/// The broker's profile is fixed when it is made (DESIGN invariant 6).
#[test]
fn a_header_that_was_changed_does_not_open() {
    for (from, to) in [
        ("\"production\"", "\"development\""),
        ("\"hospital-a\"", "\"hospital-b\""),
        ("hospital-a.example/log", "hospital-z.example/log"),
    ] {
        let reopened = Fixture::empty().reopen(|folder| {
            let path = folder.join(HEADER);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(&path, text.replace(from, to)).unwrap();
        });
        assert!(matches!(reopened.map(drop), Err(StoreError::Root(_))), "{to}");
    }
}

#[test]
fn service_keys_of_another_store_do_not_open() {
    let other = Fixture::of(Profile::Development);
    let foreign = fs::read(other.keys_folder().join(SERVICES)).unwrap();
    let reopened =
        Fixture::empty().reopen(|folder| fs::write(folder.join(SERVICES), &foreign).unwrap());
    assert!(matches!(reopened.map(drop), Err(StoreError::Services)));
    let missing = Fixture::empty().reopen(|folder| fs::remove_file(folder.join(SERVICES)).unwrap());
    assert!(matches!(missing.map(drop), Err(StoreError::Services)));
}

/// Whoever can write in the folder can neither wake a suspended key nor move a record.
#[test]
fn a_record_that_was_changed_or_moved_is_refused() {
    let record = "versions/ehr/3.json";
    let changed = |change: &dyn Fn(&Path)| {
        let mut fixture = Fixture::ready();
        fixture.change(Transition::Suspend);
        fixture.reopen(|folder| change(folder)).map(drop)
    };
    let awake = changed(&|folder| {
        let path = folder.join(record);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"suspended\"", "\"active\"")).unwrap();
    });
    assert!(matches!(awake, Err(StoreError::Record { source: RecordError::NotAuthentic, .. })));
    let moved = changed(&|folder| {
        fs::rename(folder.join(record), folder.join("versions/ehr/4.json")).unwrap();
    });
    assert!(matches!(moved, Err(StoreError::Record { source: RecordError::NotAuthentic, .. })));
    let cut = changed(&|folder| {
        let path = folder.join(record);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 1]).unwrap();
    });
    assert!(matches!(cut, Err(StoreError::Record { source: RecordError::Malformed(_), .. })));
    let directory = changed(&|folder| {
        let path = folder.join(DIRECTORY);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("hospital-c", "hospital-d")).unwrap();
    });
    let not_authentic =
        matches!(directory, Err(StoreError::Record { source: RecordError::NotAuthentic, .. }));
    assert!(not_authentic);
}

#[test]
fn a_folder_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let open_to_all = fs::Permissions::from_mode(0o755);
    let reopened =
        Fixture::empty().reopen(|folder| fs::set_permissions(folder, open_to_all).unwrap());
    assert!(matches!(reopened.map(drop), Err(StoreError::File(_))));
}

#[test]
fn a_stranger_among_the_keys_is_named() {
    for name in ["notes.txt", "3-01.kek", "3.kek"] {
        let reopened = Fixture::ready()
            .reopen(|folder| fs::write(folder.join("keks/ehr").join(name), b"").unwrap());
        assert!(matches!(reopened.map(drop), Err(StoreError::Stranger(_))), "{name}");
    }
}

#[test]
fn no_file_holds_a_key_in_clear() {
    let fixture = Fixture::ready();
    let services = fixture.store.services();
    let keys = [&services.broker, &services.log, &services.witness].map(|key| *key.seed().expose());
    let mut folders = vec![fixture.keys_folder()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            for key in keys.iter().chain([&VERSION_KEY]) {
                assert!(!bytes.windows(32).any(|part| part == key), "{}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen} files");
}

#[test]
fn debug_shows_no_key() {
    let fixture = Fixture::ready();
    assert_eq!(format!("{:?}", fixture.store), "Keystore(hospital-a, 1 versions)");
    let services = format!("{:?}", fixture.store.services());
    let seed = fixture.store.services().broker.seed();
    let hex: String = seed.expose().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!services.contains(&hex[..8]), "{services}");
}

#[test]
fn a_deposit_is_taken_in_once_and_pre_active() {
    let mut fixture = Fixture::empty();
    let request = deposit_request(fixture.store.public());
    let first = fixture.store.deposit(&request, &mut fixture.random).unwrap();
    assert_eq!(first.state, KeyState::PreActive);
    assert_eq!(fixture.store.deposit(&request, &mut fixture.random).unwrap(), first);

    let mut other = manifest();
    other.created = UnixSeconds::new(1);
    let other = deposit_of(fixture.store.public(), other, &VERSION_KEY);
    let refused = refusal(fixture.store.deposit(&other, &mut fixture.random));
    assert_eq!(refused, Refusal::VersionExists { dataset: name("ehr"), version: 3 });
}

#[test]
fn a_wrapped_key_moves_to_a_new_generation_and_the_old_one_is_shredded() {
    let mut fixture = Fixture::ready();
    let folder = fixture.keys_folder();
    assert!(folder.join(kek(3, 1)).exists());
    fixture.store.rewrap(&name("ehr"), 3, &mut fixture.random).unwrap();
    assert!(!folder.join(kek(3, 1)).exists());
    assert!(folder.join(kek(3, 2)).exists());
    assert_eq!(fixture.store.status()[0].state, KeyState::Active);
}

/// A crash after the record was written leaves the old key-encryption key behind.
#[test]
fn what_a_crash_left_behind_is_shredded_when_the_store_is_opened() {
    let mut fixture = Fixture::ready();
    let folder = fixture.keys_folder();
    let old = fs::read(folder.join(kek(3, 1))).unwrap();
    fixture.store.rewrap(&name("ehr"), 3, &mut fixture.random).unwrap();
    let put_back = |folder: &Path, kek: String| files::replace(&folder.join(kek), &old);
    let fixture = fixture.reopen(|folder| put_back(folder, kek(3, 1)).unwrap()).unwrap();
    assert!(!folder.join(kek(3, 1)).exists());
    assert!(folder.join(kek(3, 2)).exists());

    // Before the record was written: the new one is the stray. It wraps nothing.
    let fixture = fixture.reopen(|folder| put_back(folder, kek(3, 3)).unwrap()).unwrap();
    assert!(!folder.join(kek(3, 3)).exists());

    // One without a record is the start of a deposit, which the next one replaces.
    let fixture = fixture.reopen(|folder| put_back(folder, kek(4, 1)).unwrap()).unwrap();
    assert!(folder.join(kek(4, 1)).exists());
    drop(fixture);
}

#[test]
fn a_destroyed_key_leaves_a_tombstone_and_never_comes_back() {
    let mut fixture = Fixture::ready();
    let dataset: DatasetId = name("ehr");
    let active = refusal(fixture.store.destroy(&dataset, 3, NOW));
    let state = KeyState::Active;
    assert_eq!(active, Refusal::State { dataset: dataset.clone(), version: 3, state });
    fixture.change(Transition::Deactivate);
    let old = fs::read(fixture.keys_folder().join(kek(3, 1))).unwrap();
    let status = fixture.store.destroy(&dataset, 3, NOW).unwrap();
    assert_eq!(status.state, KeyState::Destroyed);
    assert_eq!(fixture.store.destroy(&dataset, 3, NOW).unwrap(), status, "twice is once");
    assert!(!fixture.keys_folder().join(kek(3, 1)).exists());

    // Not by the same deposit, and not by a backup of the key-encryption key.
    let gone = || Refusal::State { dataset: name("ehr"), version: 3, state: KeyState::Destroyed };
    let request = deposit_request(fixture.store.public());
    assert_eq!(refusal(fixture.store.deposit(&request, &mut fixture.random)), gone());
    assert_eq!(refusal(fixture.store.rewrap(&dataset, 3, &mut fixture.random)), gone());
    let back = |folder: &Path| files::replace(&folder.join(kek(3, 1)), &old).unwrap();
    let fixture = fixture.reopen(back).unwrap();
    assert!(!fixture.keys_folder().join(kek(3, 1)).exists());
    assert_eq!(fixture.store.status(), [status]);
}

#[test]
fn a_compromised_key_stays_so_and_its_tombstone_says_so() {
    let mut fixture = Fixture::ready();
    fixture.change(Transition::Compromise);
    for transition in [Transition::Activate, Transition::Resume, Transition::Suspend] {
        let refused = refusal(fixture.store.change(&name("ehr"), 3, transition, NOW));
        assert!(matches!(refused, Refusal::State { state: KeyState::Compromised, .. }));
    }
    let status = fixture.store.destroy(&name("ehr"), 3, NOW).unwrap();
    assert!(status.was_compromised);
}

#[test]
fn a_version_that_is_not_there_is_unknown() {
    let mut fixture = Fixture::ready();
    let unknown = Refusal::UnknownVersion { dataset: name("ehr"), version: 4 };
    let changed = fixture.store.change(&name("ehr"), 4, Transition::Suspend, NOW);
    assert_eq!(refusal(changed), unknown);
    assert_eq!(refusal(fixture.store.destroy(&name("ehr"), 4, NOW)), unknown);
    assert_eq!(refusal(fixture.store.rewrap(&name("ehr"), 4, &mut fixture.random)), unknown);
}

/// Enrols a card that differs from hospital-b's by `change`, in a store that knows hospital-c.
fn enrol(
    change: impl FnOnce(&mut cordon_protocol::PartyCard),
    change_enrolment: impl FnOnce(&mut cordon_protocol::party::Enrolment),
    signers: [&str; 2],
) -> Result<(), Refusal> {
    let mut fixture = Fixture::empty();
    let (known, by) = enrolment(OTHERS[1]);
    fixture.store.enrol(&known, &by).unwrap();
    let mut card = card(OTHERS[0]);
    change(&mut card);
    let card = sign(card, &key(signers[0]));
    let mut enrolment = enrolment_of(card.digest());
    change_enrolment(&mut enrolment);
    match fixture.store.enrol(card.envelope(), &envelope(enrolment, &key(signers[1]))) {
        Ok(()) => Ok(()),
        Err(KeystoreError::Refused(refusal)) => Err(refusal),
        Err(error @ KeystoreError::Store(_)) => panic!("{error:?}"),
    }
}

#[test]
fn an_enrolment_is_refused_for_one_reason_each() {
    let by = ["hospital-b broker", "administrator"];
    assert_eq!(enrol(|_| {}, |_| {}, by), Ok(()));
    let stranger = enrol(|_| {}, |_| {}, ["hospital-b broker", "somebody"]);
    assert_eq!(stranger, Err(Refusal::NotAnAdministrator));
    let forged = enrol(|_| {}, |_| {}, ["somebody", "administrator"]);
    assert!(matches!(forged, Err(Refusal::Document { .. })));
    let audience = name("hospital-z");
    let elsewhere = enrol(|_| {}, |e| e.audience = name("hospital-z"), by);
    assert_eq!(elsewhere, Err(Refusal::OtherAudience { audience }));
    let other = enrol(|_| {}, |e| e.card = sha256(&[b"another"]), by);
    assert_eq!(other, Err(Refusal::OtherCard));
}

/// Nobody witnesses a log that they keep themselves.
#[test]
fn a_card_that_repeats_another_partys_keys_is_refused() {
    let by = ["hospital-b broker", "administrator"];
    let repeats = || Err(Refusal::CardRepeatsKeys { party: name(OTHERS[0]) });
    let other = |purpose: &str| key(&format!("hospital-c {purpose}")).verifying_key();
    assert_eq!(enrol(|c| c.log_key = other("log"), |_| {}, by), repeats());
    assert_eq!(enrol(|c| c.witness_key = other("witness"), |_| {}, by), repeats());
    assert_eq!(enrol(|c| c.witness_key = other("broker"), |_| {}, by), repeats());
    assert_eq!(enrol(|c| c.log_origin = log_origin(OTHERS[1]), |_| {}, by), repeats());
    assert_eq!(enrol(|c| c.log_origin = log_origin("hospital-a"), |_| {}, by), repeats());
    let own = Err(Refusal::CardRepeatsKeys { party: name("hospital-a") });
    assert_eq!(enrol(|c| c.party = name("hospital-a"), |_| {}, by), own);
}

#[test]
fn a_newer_card_takes_the_place_of_an_older_one_and_never_the_other_way() {
    let mut fixture = Fixture::ready();
    let mut enrol = |issued: UnixSeconds| {
        let card = cordon_protocol::PartyCard { issued, ..card(OTHERS[0]) };
        let card = sign(card, &key("hospital-b broker"));
        let enrolment = envelope(enrolment_of(card.digest()), &key("administrator"));
        fixture.store.enrol(card.envelope(), &enrolment)
    };
    assert!(enrol(NOW).is_ok(), "the same card again changes nothing");
    assert!(enrol(NOW.plus_seconds(1)).is_ok());
    let not_newer = Refusal::CardNotNewer { party: name(OTHERS[0]) };
    assert_eq!(refusal(enrol(NOW)), not_newer);
    assert_eq!(fixture.store.enrolled().len(), 2);
}
