use std::fs;
use std::path::Path;

use cordon_crypto::SigningKey;
use cordon_protocol::V1;
use cordon_protocol::entry::{Action, Actor, Decision};
use cordon_protocol::party::Profile;
use cordon_tlog::tile::LogTree;
use cordon_tlog::witness::{AddCheckpoint, Decision as Cosigning, Witness};
use cordon_tlog::{LogSigner, WitnessKey, WitnessSigner};
use cordon_types::{Secret, UnixSeconds};

use super::*;

const NOW: UnixSeconds = UnixSeconds::new(1_700_000_000);

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Secret::from_bytes([seed; 32]))
}

fn log_key() -> LogKey {
    LogKey::new("hospital-a.example/log".parse().unwrap(), signing_key(1).verifying_key())
}

fn witness_key(seed: u8) -> WitnessKey {
    WitnessKey::new("b.example/log/witness".parse().unwrap(), signing_key(seed).verifying_key())
}

fn quorum(seed: u8) -> Quorum {
    Quorum::all([witness_key(seed)]).unwrap()
}

fn entry(time: u64) -> LogEntry {
    LogEntry {
        v: V1,
        time: UnixSeconds::new(time),
        profile: Profile::Development,
        holder: "hospital-a".parse().unwrap(),
        actor: Actor::Broker,
        action: Action::LogStarted,
        decision: Decision::Permit,
        code: "ok".into(),
        study: None,
        agreement: None,
        run: None,
        objects: Vec::new(),
        evidence: Vec::new(),
    }
}

/// Writes a log of these entries, cosigned by the witness of seed 2.
fn write(folder: &Path, entries: &[Vec<u8>]) {
    let growth = LogTree::new().append(entries).unwrap();
    for file in &growth.files {
        let path = folder.join(file.path.to_string());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &file.bytes).unwrap();
    }
    let key = signing_key(1);
    let signer = LogSigner::new(log_key().name().clone(), &key);
    let mut head = signer.sign(growth.tree.size(), growth.tree.root()).unwrap();
    let witness_secret = signing_key(2);
    let witness = WitnessSigner::new(witness_key(2).name().clone(), &witness_secret);
    let witness = Witness::new(witness, [log_key()]).unwrap();
    let request = AddCheckpoint::new(0, Vec::new(), head.signed().clone());
    let Cosigning::Cosign(cosigned) = witness.decide(None, &request, NOW) else {
        panic!("a witness cosigns the first head that it sees")
    };
    let lines = cosigned.into_answer_once_stored().body;
    head.add_cosignatures(lines.as_bytes(), &quorum(2)).unwrap();
    fs::write(folder.join("checkpoint"), head.signed().to_string()).unwrap();
}

fn log_of(times: &[u64]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let entries: Vec<_> = times.iter().map(|time| entry(*time).to_bytes().unwrap()).collect();
    write(folder.path(), &entries);
    folder
}

fn audited(folder: &Path, witness: u8) -> Result<Audited> {
    verify(&LogSource::Folder(folder.to_owned()), &log_key(), &quorum(witness))
}

fn refusal(folder: &Path, witness: u8) -> String {
    format!("{:#}", audited(folder, witness).unwrap_err())
}

#[test]
fn a_whole_log_verifies_with_its_keys_alone() {
    let folder = log_of(&[100, 100, 130]);
    let audited = audited(folder.path(), 2).unwrap();
    assert_eq!(audited.entries.len(), 3);
    assert_eq!(audited.entries[2], entry(130));
    assert_eq!(audited.cosigners.len(), 1);
    assert_eq!(audited.cosigners[0].time(), NOW);
}

#[test]
fn a_brokers_folder_holds_the_log() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("log"), &[entry(1).to_bytes().unwrap()]);
    assert_eq!(audited(folder.path(), 2).unwrap().entries.len(), 1);
}

#[test]
fn an_edited_entry_is_named() {
    let folder = log_of(&[100, 101]);
    let bundle = folder.path().join("tile/entries/000.p/2");
    let mut bytes = fs::read(&bundle).unwrap();
    let at = bytes.windows(3).position(|digits| digits == b"101").unwrap();
    bytes[at + 2] = b'2';
    fs::write(&bundle, bytes).unwrap();
    let refused = refusal(folder.path(), 2);
    assert!(refused.contains("entry 1 in `tile/entries/000.p/2`"), "{refused}");
}

#[test]
fn another_log_and_other_witnesses_are_refused() {
    let folder = log_of(&[100]);
    let refused = refusal(folder.path(), 3);
    assert!(refused.contains("not cosigned"), "{refused}");
    let other = LogKey::new(log_key().name().clone(), signing_key(9).verifying_key());
    let source = LogSource::Folder(folder.path().to_owned());
    assert!(verify(&source, &other, &quorum(2)).is_err());
    let empty = tempfile::tempdir().unwrap();
    assert!(refusal(empty.path(), 2).contains("is this a log?"));
}

#[test]
fn time_may_jitter_and_not_run_back() {
    assert!(audited(log_of(&[1_000, 1_000 - CLOCK_SKEW_SECONDS]).path(), 2).is_ok());
    let refused = refusal(log_of(&[1_000, 999 - CLOCK_SKEW_SECONDS]).path(), 2);
    assert!(refused.contains("entry 1: time runs back"), "{refused}");
}

#[test]
fn entries_that_no_broker_writes_are_refused() {
    let canonical = entry(100).to_bytes().unwrap();
    let spaced = [b" ".as_slice(), &canonical].concat();
    let mut foreign = entry(100);
    foreign.holder = "hospital-b".parse().unwrap();
    for wrong in [spaced, b"not json".to_vec(), foreign.to_bytes().unwrap()] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[canonical.clone(), wrong]);
        assert!(refusal(folder.path(), 2).starts_with("entry 1"));
    }
}

#[test]
fn a_proof_from_a_log_checks_alone_and_for_its_entry_only() {
    let folder = log_of(&[100, 101, 102]);
    let source = LogSource::Folder(folder.path().to_owned());
    let made = prove(&source, &log_key(), &quorum(2), 1).unwrap();
    assert_eq!(made.entry, entry(101).to_bytes().unwrap());
    let check = |entry: &[u8]| check_proof(made.proof.as_bytes(), entry, &log_key(), &quorum(2));
    assert_eq!(check(&made.entry).unwrap().index(), 1);
    assert!(check(&entry(102).to_bytes().unwrap()).is_err());
    let missing = prove(&source, &log_key(), &quorum(2), 3).unwrap_err().to_string();
    assert!(missing.contains("3 entries"), "{missing}");
}

#[test]
fn a_url_must_be_https_or_on_this_machine() {
    let url: LogSource = "http://hospital-a.example/log".parse().unwrap();
    let refused = verify(&url, &log_key(), &quorum(2)).unwrap_err().to_string();
    assert!(refused.contains("expected https"), "{refused}");
}
