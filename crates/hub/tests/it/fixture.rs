//! Documents that are well formed. What they agree on is of no interest to a hub.

use std::collections::BTreeMap;

use cordon_crypto::dsse::{Document, Envelope, Signed};
use cordon_crypto::{RecipientKey, RecipientSecret, VerifyingKey, sha256};
use cordon_hub::client::Client;
use cordon_protocol::agreement::{
    Agreement, Gate, Limits, OutputPolicy, Person, Platform, Program, Purpose, Review, TableGate,
    ZeroPolicy,
};
use cordon_protocol::dataset::Manifest;
use cordon_protocol::evidence::{SandboxLevel, TeeKind};
use cordon_protocol::party::{PartyCard, PersonCard, Profile};
use cordon_protocol::{Refusal, RunId, RunRequest, V1};
use cordon_types::{Milliseconds, Nonce, PartyId, PersonId, Secret, Sha256Digest, UnixSeconds};

use crate::support::{NOW_MS, key};

/// Seconds of the tests' clock.
pub const NOW: UnixSeconds = UnixSeconds::new(NOW_MS / 1000);
/// The hospital's broker key.
pub const BROKER: u8 = 10;
/// Its manifest key.
pub const STEWARD: u8 = 11;
/// The researcher's signing key.
pub const RESEARCHER: u8 = 20;
/// Nobody whom the hub knows.
pub const STRANGER: u8 = 99;
/// Broker of another party.
pub const OTHER: u8 = 12;

pub fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

pub fn public(number: u8) -> VerifyingKey {
    key(number).verifying_key()
}

pub fn sign<T: Document>(document: T, number: u8) -> Signed<T> {
    Signed::sign(document, &key(number)).expect("a document")
}

fn box_key() -> RecipientKey {
    RecipientSecret::from_seed(Secret::from_bytes([1; 32])).public_key()
}

pub fn party() -> PartyId {
    name("hospital-a")
}

pub fn person() -> PersonId {
    name("riley")
}

pub fn party_card() -> PartyCard {
    PartyCard {
        v: V1,
        party: party(),
        profile: Profile::Development,
        broker_key: public(BROKER),
        log_origin: "hospital-a.example/log".to_owned(),
        log_key: public(12),
        witness_key: public(13),
        box_key: box_key(),
        manifest_keys: vec![public(STEWARD)],
        issued: NOW,
    }
}

pub fn person_card() -> PersonCard {
    PersonCard {
        v: V1,
        person: person(),
        party: party(),
        signing_key: public(RESEARCHER),
        box_key: box_key(),
        issued: NOW,
    }
}

/// Registers hospital and researcher.
pub async fn register(hub: &Client) {
    hub.register_party(&sign(party_card(), BROKER)).await.expect("a party");
    hub.register_person(&sign(person_card(), RESEARCHER)).await.expect("a person");
}

pub fn agreement() -> Agreement {
    let researcher = Person {
        party: party(),
        person: person(),
        signing_key: public(RESEARCHER),
        box_key: box_key(),
    };
    Agreement {
        v: V1,
        study: name("heart-failure"),
        name: name("v1"),
        title: "Patients by sex".to_owned(),
        purpose: Purpose {
            statement: "How many?".to_owned(),
            duo: Vec::new(),
            legal_basis: "GDPR Art. 9(2)(j)".to_owned(),
            references: Vec::new(),
        },
        profile: Profile::Development,
        holders: Vec::new(),
        requester: researcher.clone(),
        recipients: vec![researcher],
        program: Program {
            name: name("patients"),
            engine: engine(),
            query: "SELECT 1".to_owned(),
            parameters: BTreeMap::new(),
            tables: BTreeMap::new(),
            touched: BTreeMap::new(),
            result: Vec::new(),
        },
        platform: Platform {
            tees: vec![TeeKind::Software],
            measurements: Vec::new(),
            releases: Vec::new(),
            sandbox: SandboxLevel::Seccomp,
        },
        output: OutputPolicy {
            gate: Gate::Table(TableGate { min_cell: 11, zeros: ZeroPolicy::Show, round_to: 1 }),
            review: Review::GateSuffices,
            max_rows: 10,
            max_bytes: 1024,
        },
        witness_quorum: 0,
        limits: Limits {
            max_runs: 1,
            deadline_ms: Milliseconds::new(60_000),
            lease_ms: Milliseconds::new(10_000),
            heartbeat_ms: Milliseconds::new(1_000),
            memory_bytes: 1 << 30,
        },
        not_before: NOW,
        not_after: UnixSeconds::new(NOW.get() + 86_400),
    }
}

/// The engine of the agreement.
pub const ENGINE: &[u8] = b"the engine";

fn engine() -> Sha256Digest {
    sha256(&[ENGINE])
}

pub fn request(number: u8) -> RunRequest {
    RunRequest {
        v: V1,
        agreement: sign(agreement(), RESEARCHER).digest(),
        parameters: BTreeMap::new(),
        audience: Vec::new(),
        nonce: Nonce::from_bytes([number; 32]),
        issued: NOW,
        not_after: UnixSeconds::new(NOW.get() + 3_600),
    }
}

pub fn signed_request(number: u8) -> Signed<RunRequest> {
    sign(request(number), RESEARCHER)
}

pub fn run_id(number: u8) -> RunId {
    RunId(signed_request(number).digest())
}

pub fn manifest() -> Manifest {
    Manifest {
        v: V1,
        holder: party(),
        dataset: name("ehr"),
        version: 1,
        created: NOW,
        tables: Vec::new(),
    }
}

pub fn refusal() -> Refusal {
    Refusal {
        v: V1,
        holder: party(),
        run: Some(run_id(1)),
        code: "not_approved".to_owned(),
        sentence: "Nobody has approved this.".to_owned(),
        issued: NOW,
    }
}

/// The same payload under another signature, which may be wrong.
pub fn envelope_with(envelope: &Envelope, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut json = serde_json::to_value(envelope).expect("an envelope");
    change(&mut json);
    serde_json::to_vec(&json).expect("json")
}
