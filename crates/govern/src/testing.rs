//! A valid case of everything, to be changed in one place and signed again.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use cordon_crypto::canonical::to_canonical;
use cordon_crypto::dsse::{Document, Envelope, Signed};
use cordon_crypto::{RecipientSecret, SealedBox, SigningKey, sha256};
use cordon_protocol::agreement::{
    Agreement, ApprovalRule, DatasetTerms, Gate, Holder, Limits, OutputPolicy, ParameterBound,
    Person, Platform, Program, Purpose, ResultColumn, ResultKind, Review, TableGate, TableSource,
    ZeroPolicy,
};
use cordon_protocol::dataset::{ColumnType, Manifest, ManifestColumn, ManifestFile, ManifestTable};
use cordon_protocol::decision::Verdict;
use cordon_protocol::evidence::{
    Evidence, PartyNonce, RuntimeData, SandboxLevel, SoftwareReport, TeeKind, binding,
};
use cordon_protocol::party::{PartyCard, PersonCard, Profile, Role, witness_name};
use cordon_protocol::run::ParameterValue;
use cordon_protocol::{Approval, LogEntry, RunId, RunRequest, V1};
use cordon_tlog::tile::{LogTree, TileHashReader, TilePath};
use cordon_tlog::witness::{AddCheckpoint, Decision as Cosigning, Witness};
use cordon_tlog::{LogSigner, ProofBundle, Quorum, TreeHash, WitnessSigner};
use cordon_types::{ColumnName, Milliseconds, Nonce, PartyId, Secret, UnixSeconds};
use cordon_verifier::TrustRoots;

use crate::approval::{Standing, evaluate};
use crate::policy::BrokerState;
use crate::{AgreementError, CheckedAgreement, Directory, Recognized, compare_with_directory};

/// When everything here happens.
pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

/// The holders, in the agreement's order. The broker that judges is the first one's.
pub(crate) const HOSPITALS: [&str; 3] = ["hospital-a", "hospital-b", "hospital-c"];

/// A party that has cards at the broker and no part in the agreement.
const OUTSIDER: &str = "registry";

/// Parses a name that is known to be one.
pub(crate) fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

/// The signing key of a party or person for a purpose: `hospital-a broker`.
pub(crate) fn key(owner: &str) -> SigningKey {
    SigningKey::from_seed(Secret::from_bytes(*sha256(&[b"signing", owner.as_bytes()]).as_bytes()))
}

/// The box key of a party or person.
pub(crate) fn boxes(owner: &str) -> RecipientSecret {
    let seed = sha256(&[b"box", owner.as_bytes()]);
    RecipientSecret::from_seed(Secret::from_bytes(*seed.as_bytes()))
}

/// Later, or with a negative number earlier.
pub(crate) fn at(seconds: i64) -> UnixSeconds {
    UnixSeconds::new(NOW.get().checked_add_signed(seconds).expect("a time"))
}

pub(crate) fn sign<T: Document>(document: T, key: &SigningKey) -> Signed<T> {
    Signed::sign(document, key).expect("a document")
}

pub(crate) fn envelope<T: Document>(document: T, key: &SigningKey) -> Envelope {
    sign(document, key).envelope().clone()
}

/// A box of which only the digest matters.
pub(crate) fn sealed_box(what: &str) -> SealedBox {
    let bytes = what.as_bytes().to_vec();
    SealedBox { suite: "test".to_owned(), enc: bytes.clone().into(), ciphertext: bytes.into() }
}

/// An agreement of three hospitals, and what the first one's broker knows.
#[derive(Clone)]
pub(crate) struct Case {
    pub agreement: Agreement,
    /// Cards of the parties, the broker's own first.
    pub parties: Vec<PartyCard>,
    /// Cards of the people, with the roles that they were given.
    pub people: Vec<(PersonCard, Vec<Role>)>,
}

impl Case {
    pub fn valid() -> Self {
        let card = |party: &&str| party_card(party);
        let parties = HOSPITALS.iter().chain([&OUTSIDER]).map(card).collect();
        let people = [
            ("institute", "riley", Role::Researcher),
            ("hospital-a", "dora", Role::DataProtectionOfficer),
            ("hospital-a", "sam", Role::Steward),
            ("hospital-a", "rob", Role::Reviewer),
            ("hospital-a", "ada", Role::Administrator),
            ("hospital-b", "bea", Role::DataProtectionOfficer),
            ("hospital-b", "rob", Role::Reviewer),
            ("hospital-c", "rob", Role::Reviewer),
        ];
        let people = people.map(|(party, person, role)| (person_card(party, person), vec![role]));
        Self { agreement: agreement(), parties, people: people.to_vec() }
    }

    /// A valid case with one thing changed.
    pub fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut case = Self::valid();
        change(&mut case);
        case
    }

    pub fn signed(&self) -> Signed<Agreement> {
        let Person { party, person, .. } = &self.agreement.requester;
        sign(self.agreement.clone(), &key(&format!("{party}/{person}")))
    }

    pub fn check(&self) -> Result<CheckedAgreement, AgreementError> {
        CheckedAgreement::check(&self.signed())
    }

    pub fn directory(&self) -> Directory {
        let card = |card: &PartyCard| sign(card.clone(), &key(&format!("{} broker", card.party)));
        let person = |(card, roles): &(PersonCard, Vec<Role>)| {
            let own_key = key(&format!("{}/{}", card.party, card.person));
            (sign(card.clone(), &own_key), roles.clone())
        };
        let parties = self.parties.iter().map(card);
        Directory::new(&card(&self.parties[0]), parties, self.people.iter().map(person))
            .expect("a directory")
    }

    pub fn compare(&self) -> Result<Recognized, AgreementError> {
        compare_with_directory(&self.check().expect("makes sense"), &self.directory())
    }

    pub fn recognized(&self) -> Recognized {
        self.compare().expect("recognized")
    }

    /// The roles of a person of hospital-a.
    pub fn roles(&mut self, person: &str) -> &mut Vec<Role> {
        let is_it = |(card, _): &&mut (PersonCard, Vec<Role>)| {
            card.party.as_str() == HOSPITALS[0] && card.person.as_str() == person
        };
        &mut self.people.iter_mut().find(is_it).expect("a person").1
    }

    /// An approval by one of hospital-a's people.
    pub fn approval(&self, person: &str) -> Approval {
        Approval {
            v: V1,
            agreement: self.signed().digest(),
            audience: name(HOSPITALS[0]),
            person: name(person),
            verdict: Verdict::Approve,
            nonce: Nonce::from_bytes([3; 32]),
            issued: NOW,
            expires: at(86_400),
        }
    }

    /// Where the agreement stands when the people whom it takes have approved it.
    pub fn standing(&self) -> Standing {
        let approvals = ["dora", "sam"]
            .map(|person| sign(self.approval(person), &key(&format!("hospital-a/{person}"))));
        evaluate(&self.recognized(), &self.directory(), &approvals, NOW)
    }

    /// A run request as the researcher makes it.
    pub fn request(&self) -> RunRequest {
        RunRequest {
            v: V1,
            agreement: self.signed().digest(),
            parameters: BTreeMap::from([(name("year"), ParameterValue::Integer(2024))]),
            audience: HOSPITALS.map(name).to_vec(),
            nonce: Nonce::from_bytes([7; 32]),
            issued: NOW,
            not_after: at(3_600),
        }
    }
}

/// A broker in good order.
pub(crate) const BROKER: BrokerState =
    BrokerState { last_entry: NOW, log_current: true, witnesses_ready: 2 };

fn party_card(party: &str) -> PartyCard {
    let public = |purpose: &str| key(&format!("{party} {purpose}")).verifying_key();
    PartyCard {
        v: V1,
        party: name(party),
        profile: Profile::Development,
        broker_key: public("broker"),
        log_origin: log_origin(party),
        log_key: public("log"),
        witness_key: public("witness"),
        box_key: boxes(party).public_key(),
        manifest_keys: vec![public("manifests")],
        issued: NOW,
    }
}

fn person_card(party: &str, person: &str) -> PersonCard {
    let Person { party, person, signing_key, box_key } = person_of(party, person);
    PersonCard { v: V1, person, party, signing_key, box_key, issued: NOW }
}

pub(crate) fn person_of(party: &str, person: &str) -> Person {
    let owner = format!("{party}/{person}");
    Person {
        party: name(party),
        person: name(person),
        signing_key: key(&owner).verifying_key(),
        box_key: boxes(&owner).public_key(),
    }
}

fn log_origin(party: &str) -> String {
    format!("{party}.example/log")
}

fn agreement() -> Agreement {
    let researcher = person_of("institute", "riley");
    let source = |party: &str| TableSource {
        holder: name(party),
        dataset: name("ehr"),
        table: name("patient"),
    };
    let column = |text: &str, kind| ResultColumn { name: name(text), kind };
    let years = [2023, 2024].map(ParameterValue::Integer).to_vec();
    Agreement {
        v: V1,
        study: name("heart-failure"),
        name: name("v1"),
        title: "Patients by sex".to_owned(),
        purpose: Purpose {
            statement: "How many patients of each sex are there?\nOne table.".to_owned(),
            duo: vec!["DUO:0000042".to_owned()],
            legal_basis: "GDPR Art. 9(2)(j)".to_owned(),
            references: vec!["ethics vote 17".to_owned()],
        },
        profile: Profile::Development,
        holders: HOSPITALS.map(holder).to_vec(),
        requester: researcher.clone(),
        recipients: vec![researcher],
        program: Program {
            name: name("patients-by-sex"),
            engine: sha256(&[b"engine"]),
            query: "SELECT sex, count(*) AS patients FROM patient GROUP BY sex".to_owned(),
            parameters: BTreeMap::from([(name("year"), ParameterBound { one_of: years })]),
            tables: BTreeMap::from([(name("patient"), HOSPITALS.map(source).to_vec())]),
            touched: BTreeMap::from([(name("patient"), columns())]),
            result: vec![column("sex", ResultKind::Key), column("patients", ResultKind::Count)],
        },
        platform: Platform {
            tees: vec![TeeKind::Software],
            measurements: vec![measurement()],
            releases: Vec::new(),
            sandbox: SandboxLevel::Namespaces,
        },
        output: OutputPolicy {
            gate: Gate::Table(TableGate { min_cell: 11, zeros: ZeroPolicy::Show, round_to: 1 }),
            review: Review::EachHolder,
            max_rows: 10,
            max_bytes: 16 * 1024,
        },
        witness_quorum: 2,
        limits: Limits {
            max_runs: 10,
            deadline_ms: Milliseconds::new(60_000),
            lease_ms: Milliseconds::new(30_000),
            heartbeat_ms: Milliseconds::new(1_000),
            memory_bytes: 256 << 20,
        },
        not_before: NOW,
        not_after: at(30 * 86_400),
    }
}

fn holder(party: &str) -> Holder {
    let card = party_card(party);
    let schema = to_canonical(&manifest(party).schema()).expect("a schema");
    Holder {
        party: card.party,
        broker_key: card.broker_key,
        log_origin: card.log_origin,
        log_key: card.log_key,
        witness_key: card.witness_key,
        box_key: card.box_key,
        manifest_keys: card.manifest_keys,
        datasets: vec![DatasetTerms {
            dataset: name("ehr"),
            schema: sha256(&[&schema]),
            columns: BTreeMap::from([(name("patient"), columns())]),
        }],
        approvals: ApprovalRule { persons: 2, roles: vec![Role::DataProtectionOfficer] },
        reviewers: vec![person_of(party, "rob")],
    }
}

fn columns() -> Vec<ColumnName> {
    ["patient_id", "sex"].map(name).to_vec()
}

/// The dataset version of a holder. Its postcodes are sealed, too, and nobody has agreed on them.
pub(crate) fn manifest(party: &str) -> Manifest {
    let column = |text: &str| ManifestColumn {
        key_commitment: sha256(&[party.as_bytes(), text.as_bytes()]),
        name: name(text),
        kind: ColumnType::Text,
        nullable: false,
    };
    Manifest {
        v: V1,
        holder: name(party),
        dataset: name("ehr"),
        version: 3,
        created: NOW,
        tables: vec![ManifestTable {
            name: name("patient"),
            source: sha256(&[b"view"]),
            columns: ["patient_id", "sex", "postcode"].map(column).to_vec(),
            subject: name("patient_id"),
            footer_commitment: sha256(&[party.as_bytes()]),
            files: vec![ManifestFile {
                path: "patient/part-00000.parquet".to_owned(),
                size_bytes: 4_000,
                sha256: sha256(&[b"file", party.as_bytes()]),
                rows: 60,
            }],
            rows: 60,
            rejected: 0,
        }],
    }
}

/// The manifest of hospital-a, signed as it should be.
pub(crate) fn signed_manifest() -> Signed<Manifest> {
    sign(manifest(HOSPITALS[0]), &key("hospital-a manifests"))
}

pub(crate) fn measurement() -> String {
    "ab".repeat(32)
}

/// The root that vouches for software guards.
pub(crate) fn root() -> SigningKey {
    key("software root")
}

pub(crate) fn roots() -> TrustRoots {
    TrustRoots::dangerous_development(root().verifying_key())
}

/// What the guard of a run binds, for the nonce that hospital-a gave it.
pub(crate) fn runtime_data(case: &Case, run: RunId, own_nonce: Nonce) -> RuntimeData {
    let nonce_of = |party: &PartyId| {
        let own = party.as_str() == HOSPITALS[0];
        let nonce = if own { own_nonce } else { Nonce::from_bytes([9; 32]) };
        PartyNonce { party: party.clone(), nonce }
    };
    RuntimeData {
        v: V1,
        run,
        agreement: case.signed().digest(),
        nonces: case.agreement.holders.iter().map(|holder| nonce_of(&holder.party)).collect(),
        guard_signing_key: key("guard").verifying_key(),
        guard_box_key: boxes("guard").public_key(),
        engine: case.agreement.program.engine,
        sandbox: SandboxLevel::Namespaces,
    }
}

/// Genuine evidence of a guard that binds this.
pub(crate) fn evidence(runtime: &RuntimeData) -> Evidence {
    let raw = to_canonical(runtime).expect("canonical");
    let report = SoftwareReport {
        v: V1,
        measurement: measurement(),
        report_data: binding(&raw).as_slice().into(),
    };
    Evidence {
        tee: TeeKind::Software,
        evidence: envelope(report, &root()).to_json().into(),
        collateral: None,
        runtime_data: raw.into(),
    }
}

/// The proof that an entry stands in a party's log, cosigned by the witnesses of others.
pub(crate) fn prove(party: &str, entry: &LogEntry, cosigned_by: &[&str]) -> String {
    let entry = entry.to_bytes().expect("an entry");
    let log_key = key(&format!("{party} log"));
    let signer = LogSigner::new(name(&log_origin(party)), &log_key);
    let growth = LogTree::new().append(&[b"first entry", entry.as_slice()]).expect("a log");
    let files: HashMap<TilePath, Vec<u8>> =
        growth.files.into_iter().map(|file| (file.path, file.bytes)).collect();
    let mut head = signer.sign(growth.tree.size(), growth.tree.root()).expect("a head");
    let request = AddCheckpoint::new(0, Vec::new(), head.signed().clone());
    for cosigner in cosigned_by {
        let witness_key = key(&format!("{cosigner} witness"));
        let signer_name = name(&witness_name(&log_origin(cosigner)));
        let witness =
            Witness::new(WitnessSigner::new(signer_name, &witness_key), [signer.key().clone()])
                .expect("a witness");
        let Cosigning::Cosign(cosigned) = witness.decide(None, &request, NOW) else {
            panic!("an honest head is cosigned");
        };
        let answer = cosigned.into_answer_once_stored();
        let quorum = Quorum::all([witness.key().clone()]).expect("a quorum");
        head.add_cosignatures(answer.body.as_bytes(), &quorum).expect("a cosignature");
    }
    let read = |path: &TilePath| Ok::<_, Infallible>(files.get(path).cloned());
    let mut reader = TileHashReader::new(read, head.size());
    ProofBundle::make(&mut reader, 1, &TreeHash::of_entry(&entry), &head)
        .expect("a proof")
        .to_string()
}
