use std::io::{Cursor, PipeWriter, pipe};
use std::thread::JoinHandle;

use cordon_protocol::frame::{read_message, write_message};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::state::KeyState;
use crate::testing::{
    Fixture, NOW, OTHERS, Seeded, VERSION_KEY, agreement, clearance_draft, deposit_request,
    enrolment, grant_draft, name, run, sealed_share,
};
use crate::{Credential, Keystore, ServiceKeys};

/// A key process on a thread, over the store of a fixture.
struct Process {
    client: Client,
    served: JoinHandle<Result<(), ServeError>>,
    folder: TempDir,
}

impl Process {
    fn start(fixture: Fixture) -> Self {
        let folder = fixture.close();
        let keys = folder.path().join("keys");
        let (requests, to_process) = pipe().expect("a pipe");
        let (from_process, answers) = pipe().expect("a pipe");
        let served =
            std::thread::spawn(move || serve(&keys, requests, answers, &mut Seeded::new(5)));
        let client = Client::connect(from_process, to_process).expect("connected");
        Self { client, served, folder }
    }

    fn unlock(&self) -> Result<(PublicParts, ServiceKeys), ClientError> {
        let path = self.folder.path().join("root.key");
        self.client.unlock(Credential::KeyFile(path)).wait()
    }

    fn unlocked(fixture: Fixture) -> Self {
        let process = Self::start(fixture);
        process.unlock().expect("unlocked");
        process
    }

    /// Drops the client, as the broker does when it ends or dies.
    fn end(self) -> Result<(), ServeError> {
        drop(self.client);
        self.served.join().expect("no panic")
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Refusal {
    match result.expect_err("refused") {
        ClientError::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_process_gives_the_service_keys_of_the_store_and_ends_with_its_client() {
    let fixture = Fixture::ready();
    let public = fixture.store.public().clone();
    let process = Process::start(fixture);
    let (found, services) = process.unlock().expect("unlocked");
    assert_eq!(found, public);
    assert_eq!(services.broker.verifying_key(), public.broker_key);
    assert_eq!(services.log.verifying_key(), public.log_key);
    assert_eq!(services.witness.verifying_key(), public.witness_key);
    assert!(process.end().is_ok());
}

#[test]
fn a_locked_process_serves_nothing() {
    let fixture = Fixture::ready();
    let terms = agreement(fixture.store.public());
    let grant = grant_draft(&fixture.store, terms.clone()).request(&fixture.store);
    let share = sealed_share(fixture.store.public(), run(), &[9; 32]);
    let draft = clearance_draft(&fixture.store, terms, &share);
    let release = draft.request(&fixture.store, share);
    let deposit = deposit_request(fixture.store.public());
    let process = Process::start(fixture);
    let (client, locked) = (&process.client, Refusal::Locked);
    let (card, by) = enrolment(OTHERS[0]);
    assert_eq!(refused(client.status().wait()), locked);
    assert_eq!(refused(client.grant(grant).wait()), locked);
    assert_eq!(refused(client.release(release).wait()), locked);
    assert_eq!(refused(client.deposit(deposit).wait()), locked);
    assert_eq!(refused(client.enrol(card, by).wait()), locked);
    assert_eq!(refused(client.rewrap(name("ehr"), 3).wait()), locked);
    assert_eq!(refused(client.destroy(name("ehr"), 3, NOW).wait()), locked);
    let suspend = client.change(name("ehr"), 3, Transition::Suspend, NOW);
    assert_eq!(refused(suspend.wait()), locked);
    // Nothing of it happened.
    process.unlock().expect("unlocked");
    assert_eq!(process.client.status().wait().unwrap().versions[0].state, KeyState::Active);
}

#[test]
fn a_process_is_unlocked_once() {
    let process = Process::unlocked(Fixture::empty());
    assert_eq!(refused(process.unlock()), Refusal::AlreadyUnlocked);
    assert!(process.client.status().wait().is_ok());
}

#[test]
fn a_wrong_credential_can_be_followed_by_the_right_one() {
    let process = Process::start(Fixture::empty());
    let wrong = Credential::Passphrase(Zeroizing::new(b"correct horse battery".to_vec()));
    let failed = process.client.unlock(wrong).wait();
    assert!(matches!(failed, Err(ClientError::Failed { .. })), "{failed:?}");
    assert_eq!(refused(process.client.status().wait()), Refusal::Locked);
    assert!(process.unlock().is_ok());
}

#[test]
fn every_request_reaches_the_store() {
    let process = Process::unlocked(Fixture::empty());
    let client = &process.client;
    for party in OTHERS {
        let (card, by) = enrolment(party);
        client.enrol(card, by).wait().unwrap();
    }
    let fixture = Fixture::ready();
    let foreign = deposit_request(fixture.store.public());
    // Both stores were made of the same seed, so their box keys are the same.
    let state = |status: VersionStatus| status.state;
    assert_eq!(client.deposit(foreign).wait().map(state).unwrap(), KeyState::PreActive);
    let change = |transition| client.change(name("ehr"), 3, transition, NOW).wait().map(state);
    assert_eq!(change(Transition::Activate).unwrap(), KeyState::Active);
    let terms = agreement(fixture.store.public());
    let grant = grant_draft(&fixture.store, terms.clone()).request(&fixture.store);
    assert!(client.grant(grant).wait().is_ok());
    let share = sealed_share(fixture.store.public(), run(), &[9; 32]);
    let draft = clearance_draft(&fixture.store, terms, &share);
    let release = draft.request(&fixture.store, share);
    assert_eq!(client.release(release).wait().unwrap().len(), 2);
    assert_eq!(client.rewrap(name("ehr"), 3).wait().map(state).unwrap(), KeyState::Active);
    assert_eq!(change(Transition::Deactivate).unwrap(), KeyState::Deactivated);
    let destroyed = client.destroy(name("ehr"), 3, NOW).wait().map(state);
    assert_eq!(destroyed.unwrap(), KeyState::Destroyed);
    let status = client.status().wait().unwrap();
    assert_eq!((status.versions.len(), status.enrolled.len()), (1, 2));
}

#[test]
fn answers_come_to_the_requests_that_they_are_for() {
    let process = Process::unlocked(Fixture::ready());
    let client = &process.client;
    let pending: Vec<_> = (1..50).map(|version| client.rewrap(name("ehr"), version)).collect();
    for (version, pending) in (1..50).zip(pending) {
        match pending.wait() {
            Ok(status) => assert_eq!((status.version, version), (3, 3)),
            Err(ClientError::Refused(refusal)) => {
                assert_eq!(refusal, Refusal::UnknownVersion { dataset: name("ehr"), version });
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_refused_request_changes_nothing_and_the_process_goes_on() {
    let fixture = Fixture::ready();
    let terms = agreement(fixture.store.public());
    let mut draft = grant_draft(&fixture.store, terms.clone());
    draft.cosigned_by.clear();
    let unseen = draft.request(&fixture.store);
    let good = grant_draft(&fixture.store, terms).request(&fixture.store);
    let process = Process::unlocked(fixture);
    let refusal = refused(process.client.grant(unseen).wait());
    assert_eq!(refusal.code(), "proof_refused");
    assert!(process.client.grant(good).wait().is_ok());
}

/// The broker gets sealed boxes and public facts; no answer holds a key that it could use.
#[test]
fn no_answer_holds_a_dataset_key_or_a_share() {
    let fixture = Fixture::ready();
    let terms = agreement(fixture.store.public());
    let grant = grant_draft(&fixture.store, terms.clone()).request(&fixture.store);
    let share = sealed_share(fixture.store.public(), run(), &[9; 32]);
    let draft = clearance_draft(&fixture.store, terms, &share);
    let release = draft.request(&fixture.store, share);
    let folder = fixture.close();
    let mut input = Vec::new();
    let key_file = folder.path().join("root.key");
    for request in [
        Request::Unlock(Unlock::KeyFile(key_file)),
        Request::Grant(Box::new(grant)),
        Request::Release(Box::new(release)),
        Request::Rewrap { dataset: name("ehr"), version: 3 },
        Request::Status,
    ] {
        write_message(&mut input, &request).unwrap();
    }
    let mut output = Vec::new();
    let keys = folder.path().join("keys");
    serve(&keys, Cursor::new(input), &mut output, &mut Seeded::new(5)).unwrap();
    assert!(output.len() > 4_000, "{}", output.len());
    let table = name("patient");
    let version_key = cordon_types::Secret::from_bytes(VERSION_KEY);
    let footer = cordon_protocol::dataset::footer_key(&version_key, &table);
    for secret in [&VERSION_KEY, footer.expose(), &[9; 32]] {
        assert!(!output.windows(32).any(|part| part == secret));
        let base64 = cordon_types::Base64Bytes::from(secret.to_vec());
        let base64 = serde_json::to_string(&base64).unwrap();
        let text = &base64.as_bytes()[1..40];
        assert!(!output.windows(text.len()).any(|part| part == text));
    }
}

#[test]
fn what_is_no_request_ends_the_process() {
    let serve_bytes = |bytes: &[u8]| {
        let folder = Fixture::empty().close();
        let keys = folder.path().join("keys");
        serve(&keys, Cursor::new(bytes.to_vec()), Vec::new(), &mut Seeded::new(5))
    };
    assert!(serve_bytes(b"").is_ok());
    assert!(matches!(serve_bytes(b"\0\0\0\x02{}"), Err(ServeError::Request(_))));
    assert!(matches!(serve_bytes(b"\0\0\0\x09{\"unwr"), Err(ServeError::Request(_))));
    assert!(matches!(serve_bytes(&[0xff; 64]), Err(ServeError::Request(_))));
}

#[test]
fn a_process_that_is_gone_is_said_to_be() {
    let (never_read, to_process) = pipe().unwrap();
    drop(never_read);
    let client = Client::connect(Cursor::new(Vec::new()), to_process).unwrap();
    assert!(matches!(client.status().wait(), Err(ClientError::Gone)));
    assert!(matches!(client.status().wait(), Err(ClientError::Gone)));
}

/// Answers of its own to whatever is asked.
fn answering(responses: &[Response]) -> (Client, JoinHandle<PipeWriter>) {
    let (mut requests, to_process) = pipe().unwrap();
    let (from_process, mut answers) = pipe().unwrap();
    let responses = responses.to_vec();
    let process = std::thread::spawn(move || {
        for response in responses {
            let _: Request = read_message(&mut requests, MAX_REQUEST_BYTES).unwrap();
            write_message(&mut answers, &response).unwrap();
        }
        answers
    });
    (Client::connect(from_process, to_process).unwrap(), process)
}

#[test]
fn an_answer_to_another_request_is_a_mismatch() {
    let (client, process) = answering(&[Response::Enrolled]);
    assert!(matches!(client.status().wait(), Err(ClientError::Mismatch)));
    drop(process.join().unwrap());
}

#[test]
fn a_store_that_another_process_has_open_does_not_unlock() {
    let process = Process::start(Fixture::empty());
    let folder = process.folder.path().join("keys");
    let credential = Credential::KeyFile(process.folder.path().join("root.key"));
    let other = Keystore::open(&folder, &credential).unwrap();
    let failed = process.unlock().map(drop);
    assert!(matches!(failed, Err(ClientError::Failed { .. })), "{failed:?}");
    drop(other);
    assert!(process.unlock().is_ok());
}
