//! Hospital-a's key store with one dataset in it, and requests that hold: to be changed in one
//! place and signed again.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::PathBuf;

use cordon_crypto::canonical::to_canonical;
use cordon_crypto::dsse::{Document, Envelope, Signed, document_digest};
use cordon_crypto::{Label, Random, RecipientSecret, SealedBox, SigningKey, commitment, sha256};
use cordon_protocol::agreement::{
    Agreement, ApprovalRule, DatasetTerms, Gate, Holder, Limits, OutputPolicy, Person, Platform,
    Program, Purpose, ResultColumn, ResultKind, Review, TableGate, TableSource, ZeroPolicy,
};
use cordon_protocol::dataset::{
    ColumnType, Deposit, Manifest, ManifestColumn, ManifestFile, ManifestTable, column_key,
    footer_key,
};
use cordon_protocol::entry::{Action, Actor, Decision};
use cordon_protocol::evidence::{SandboxLevel, TeeKind};
use cordon_protocol::grant::{GrantedDataset, KeyName};
use cordon_protocol::party::{Enrolment, PartyCard, Profile, Role, witness_name};
use cordon_protocol::{ClearanceContext, GrantContext, LogEntry, RunId, V1};
use cordon_tlog::tile::{LogTree, TileHashReader, TilePath};
use cordon_tlog::witness::{AddCheckpoint, Decision as Cosigning, Witness};
use cordon_tlog::{LogSigner, ProofBundle, Quorum, TreeHash, WitnessSigner};
use cordon_types::{Milliseconds, Nonce, Secret, Sha256Digest, UnixSeconds};
use serde::Serialize;
use tempfile::TempDir;

use crate::{
    Credential, DepositRequest, GrantRequest, Identity, Keystore, PublicParts, ReleaseRequest,
    Transition,
};

/// When everything here happens.
pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

/// The key of the dataset version.
pub(crate) const VERSION_KEY: [u8; 32] = [77; 32];

/// Whose store it is.
pub(crate) const OWN: &str = "hospital-a";

/// The other holders, who witness its log.
pub(crate) const OTHERS: [&str; 2] = ["hospital-b", "hospital-c"];

/// Different each time, and the same in every test.
pub(crate) struct Seeded(u64);

impl Seeded {
    pub const fn new(seed: u64) -> Self {
        Self(seed << 32)
    }
}

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            self.0 += 1;
            let block = sha256(&[b"seeded", &self.0.to_le_bytes()]);
            chunk.copy_from_slice(&block.as_bytes()[..chunk.len()]);
        }
    }
}

/// Parses a name that is known to be one.
pub(crate) fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

/// The signing key of a party or person for a purpose: `hospital-b broker`.
pub(crate) fn key(owner: &str) -> SigningKey {
    SigningKey::from_seed(Secret::from_bytes(*sha256(&[b"signing", owner.as_bytes()]).as_bytes()))
}

/// The box key of a party or person.
pub(crate) fn boxes(owner: &str) -> RecipientSecret {
    let seed = sha256(&[b"box", owner.as_bytes()]);
    RecipientSecret::from_seed(Secret::from_bytes(*seed.as_bytes()))
}

pub(crate) fn sign<T: Document>(document: T, key: &SigningKey) -> Signed<T> {
    Signed::sign(document, key).expect("a document")
}

pub(crate) fn envelope<T: Document>(document: T, key: &SigningKey) -> Envelope {
    sign(document, key).envelope().clone()
}

/// A store in a folder of its own.
pub(crate) struct Fixture {
    folder: TempDir,
    pub store: Keystore,
    pub random: Seeded,
}

impl Fixture {
    /// An empty store.
    pub fn empty() -> Self {
        Self::of(Profile::Production)
    }

    pub fn of(profile: Profile) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut random = Seeded::new(1);
        let credential = Credential::create_key_file(&folder.path().join("root.key"), &mut random)
            .expect("a key file");
        let keys = folder.path().join("keys");
        Keystore::initialise(&keys, identity(profile), &credential, &mut random).expect("a store");
        let store = Keystore::open(&keys, &credential).expect("opens");
        Self { folder, store, random }
    }

    /// The others enrolled, one dataset version active.
    pub fn ready() -> Self {
        Self::ready_of(Profile::Production)
    }

    pub fn ready_of(profile: Profile) -> Self {
        let mut fixture = Self::of(profile);
        for party in OTHERS {
            let (card, enrolment) = enrolment(party);
            fixture.store.enrol(&card, &enrolment).expect("enrolled");
        }
        let request = deposit_request(fixture.store.public());
        fixture.store.deposit(&request, &mut fixture.random).expect("deposited");
        fixture.change(Transition::Activate);
        fixture
    }

    pub fn keys_folder(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    pub fn credential(&self) -> Credential {
        Credential::KeyFile(self.folder.path().join("root.key"))
    }

    /// Closes the store and hands its folder to `change` before it is opened again.
    pub fn reopen(self, change: impl FnOnce(&std::path::Path)) -> Result<Self, crate::StoreError> {
        let credential = self.credential();
        let Self { folder, store, random } = self;
        drop(store);
        let keys = folder.path().join("keys");
        change(&keys);
        let store = Keystore::open(&keys, &credential)?;
        Ok(Self { folder, store, random })
    }

    /// Closes the store; its folder is left.
    pub fn close(self) -> TempDir {
        self.folder
    }

    pub fn change(&mut self, transition: Transition) {
        self.store.change(&name("ehr"), 3, transition, NOW).expect("changed");
    }

    pub fn grant(&mut self, request: &GrantRequest) -> Result<SealedBox, crate::Refusal> {
        self.store.grant(request, &mut self.random)
    }

    pub fn release(&mut self, request: &ReleaseRequest) -> Result<Vec<SealedBox>, crate::Refusal> {
        self.store.release(request, &mut self.random)
    }
}

fn identity(profile: Profile) -> Identity {
    Identity {
        party: name(OWN),
        profile,
        log_origin: log_origin(OWN),
        administrators: vec![key("administrator").verifying_key()],
    }
}

pub(crate) fn log_origin(party: &str) -> String {
    format!("{party}.example/log")
}

/// The card of another party, as it makes it.
pub(crate) fn card(party: &str) -> PartyCard {
    let public = |purpose: &str| key(&format!("{party} {purpose}")).verifying_key();
    PartyCard {
        v: V1,
        party: name(party),
        profile: Profile::Production,
        broker_key: public("broker"),
        log_origin: log_origin(party),
        log_key: public("log"),
        witness_key: public("witness"),
        box_key: boxes(party).public_key(),
        manifest_keys: vec![public("manifests")],
        issued: NOW,
    }
}

/// Another party's card, and its enrolment by the administrator.
pub(crate) fn enrolment(party: &str) -> (Envelope, Envelope) {
    let card = sign(card(party), &key(&format!("{party} broker")));
    let enrolment = enrolment_of(card.digest());
    (card.envelope().clone(), envelope(enrolment, &key("administrator")))
}

pub(crate) fn enrolment_of(card: Sha256Digest) -> Enrolment {
    Enrolment {
        v: V1,
        audience: name(OWN),
        card,
        roles: Vec::new(),
        administrator: name("ada"),
        nonce: Nonce::from_bytes([6; 32]),
        issued: NOW,
    }
}

/// The dataset version whose key is [`VERSION_KEY`].
pub(crate) fn manifest() -> Manifest {
    let (version_key, table) = (Secret::from_bytes(VERSION_KEY), name("patient"));
    let column = |text: &str| ManifestColumn {
        key_commitment: commitment(&column_key(&version_key, &table, &name(text))),
        name: name(text),
        kind: ColumnType::Text,
        nullable: false,
    };
    Manifest {
        v: V1,
        holder: name(OWN),
        dataset: name("ehr"),
        version: 3,
        created: NOW,
        tables: vec![ManifestTable {
            name: table.clone(),
            source: sha256(&[b"view"]),
            // The postcode is sealed too, but nobody has agreed on it.
            columns: ["patient_id", "sex", "postcode"].map(column).to_vec(),
            subject: name("patient_id"),
            footer_commitment: commitment(&footer_key(&version_key, &table)),
            files: vec![ManifestFile {
                path: "patient/part-00000.parquet".to_owned(),
                size_bytes: 4_000,
                sha256: sha256(&[b"file"]),
                rows: 60,
            }],
            rows: 60,
            rejected: 0,
        }],
    }
}

/// The steward's key signs manifests here.
pub(crate) fn steward() -> SigningKey {
    key("hospital-a manifests")
}

pub(crate) fn deposit_request(own: &PublicParts) -> DepositRequest {
    deposit_of(own, manifest(), &VERSION_KEY)
}

/// A deposit of any key for any manifest.
pub(crate) fn deposit_of(
    own: &PublicParts,
    manifest: Manifest,
    version_key: &[u8],
) -> DepositRequest {
    let manifest = sign(manifest, &steward());
    let digest = manifest.digest();
    let sealed_key = own
        .box_key
        .seal(Label::DatasetVersionBox, &[digest.as_bytes()], version_key, &mut Seeded::new(2))
        .expect("a box");
    let deposit = Deposit {
        v: V1,
        audience: own.party.clone(),
        manifest: digest,
        sealed_key,
        nonce: Nonce::from_bytes([2; 32]),
        issued: NOW,
    };
    DepositRequest {
        manifest: manifest.envelope().clone(),
        deposit: envelope(deposit, &steward()),
        allowed: vec![steward().verifying_key()],
        time: NOW,
    }
}

fn person(text: &str) -> Person {
    Person {
        party: name("institute"),
        person: name(text),
        signing_key: key(text).verifying_key(),
        box_key: boxes(text).public_key(),
    }
}

/// An agreement of three holders; the store's own keys are random, so they are asked for.
pub(crate) fn agreement(own: &PublicParts) -> Agreement {
    let schema = to_canonical(&manifest().schema()).expect("a schema");
    let columns = ["patient_id", "sex"].map(name).to_vec();
    let holder = |card: PartyCard| Holder {
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
            columns: BTreeMap::from([(name("patient"), columns.clone())]),
        }],
        approvals: ApprovalRule { persons: 1, roles: vec![Role::Steward] },
        reviewers: Vec::new(),
    };
    let own_card = PartyCard {
        broker_key: own.broker_key,
        log_key: own.log_key,
        witness_key: own.witness_key,
        box_key: own.box_key.clone(),
        manifest_keys: vec![steward().verifying_key()],
        ..card(OWN)
    };
    let source = TableSource { holder: name(OWN), dataset: name("ehr"), table: name("patient") };
    Agreement {
        v: V1,
        study: name("heart-failure"),
        name: name("v1"),
        title: "Patients by sex".to_owned(),
        purpose: Purpose {
            statement: "How many patients of each sex are there?".to_owned(),
            duo: Vec::new(),
            legal_basis: "GDPR Art. 9(2)(j)".to_owned(),
            references: Vec::new(),
        },
        profile: own.profile,
        holders: [own_card, card(OTHERS[0]), card(OTHERS[1])].map(holder).to_vec(),
        requester: person("riley"),
        recipients: vec![person("riley"), person("robin")],
        program: Program {
            name: name("patients-by-sex"),
            engine: sha256(&[b"engine"]),
            query: "SELECT sex, count(*) AS patients FROM patient GROUP BY sex".to_owned(),
            parameters: BTreeMap::new(),
            tables: BTreeMap::from([(name("patient"), vec![source])]),
            touched: BTreeMap::from([(name("patient"), columns.clone())]),
            result: vec![ResultColumn { name: name("patients"), kind: ResultKind::Count }],
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
        not_after: NOW.plus_seconds(86_400),
    }
}

/// A decision on its way to the key process. What is not changed follows from what is.
pub(crate) struct Draft<C> {
    pub agreement: Envelope,
    pub context: C,
    /// Its object is the context's digest unless objects are set.
    pub entry: LogEntry,
    /// The parties that cosign.
    pub cosigned_by: Vec<&'static str>,
    /// Whether the proof is of the entry of a second later.
    pub proves_another: bool,
}

pub(crate) fn run() -> RunId {
    RunId(sha256(&[b"run"]))
}

fn draft<C>(
    store: &Keystore,
    agreement: &Signed<Agreement>,
    action: Action,
    context: C,
) -> Draft<C> {
    let entry = LogEntry {
        v: V1,
        time: NOW,
        profile: store.public().profile,
        holder: name(OWN),
        actor: Actor::Broker,
        action,
        decision: Decision::Permit,
        code: "ok".to_owned(),
        study: Some(agreement.value().study.clone()),
        agreement: Some(agreement.digest()),
        run: Some(run()),
        objects: Vec::new(),
        evidence: Vec::new(),
    };
    Draft {
        agreement: agreement.envelope().clone(),
        context,
        entry,
        cosigned_by: OTHERS.to_vec(),
        proves_another: false,
    }
}

/// A grant of the agreed keys to the guard.
pub(crate) fn grant_draft(store: &Keystore, agreement: Agreement) -> Draft<GrantContext> {
    let agreement = sign(agreement, &key("riley"));
    let key_name =
        |column: Option<&str>| KeyName { table: name("patient"), column: column.map(name) };
    let context = GrantContext {
        v: V1,
        holder: name(OWN),
        agreement: agreement.digest(),
        run: run(),
        evidence: sha256(&[b"evidence"]),
        appraisal: sha256(&[b"appraisal"]),
        guard_signing_key: key("guard").verifying_key(),
        guard_box_key: sha256(&[boxes("guard").public_key().as_bytes()]),
        datasets: vec![GrantedDataset {
            dataset: name("ehr"),
            version: 3,
            manifest: sign(manifest(), &steward()).digest(),
            keys: [None, Some("patient_id"), Some("sex")].map(key_name).to_vec(),
        }],
        lease_ms: Milliseconds::new(30_000),
        policy: sha256(&[b"policy"]),
        issued: NOW,
    };
    draft(store, &agreement, Action::GrantIssued, context)
}

/// A share of a result key, sealed to the broker by the guard of the run.
pub(crate) fn sealed_share(own: &PublicParts, run: RunId, share: &[u8]) -> SealedBox {
    let place: [&[u8]; 2] = [run.0.as_bytes(), own.party.as_str().as_bytes()];
    own.box_key.seal(Label::ShareBox, &place, share, &mut Seeded::new(3)).expect("a box")
}

/// A clearance of `share` for the recipients.
pub(crate) fn clearance_draft(
    store: &Keystore,
    agreement: Agreement,
    share: &SealedBox,
) -> Draft<ClearanceContext> {
    let agreement = sign(agreement, &key("riley"));
    let recipients = &agreement.value().recipients;
    let context = ClearanceContext {
        v: V1,
        holder: name(OWN),
        agreement: agreement.digest(),
        run: run(),
        receipt: sha256(&[b"receipt"]),
        share: share.digest(),
        recipients: recipients.iter().map(|p| sha256(&[p.box_key.as_bytes()])).collect(),
        reviews: Vec::new(),
        issued: NOW,
    };
    draft(store, &agreement, Action::OutputCleared, context)
}

impl<C: Document + Serialize> Draft<C> {
    /// The entry's bytes and proof.
    fn log(&mut self, store: &Keystore) -> (Vec<u8>, String) {
        if self.entry.objects.is_empty() {
            self.entry.objects = vec![document_digest(&self.context).expect("a context")];
        }
        let entry = self.entry.to_bytes().expect("an entry");
        let mut proven = self.entry.clone();
        if self.proves_another {
            proven.time = NOW.plus_seconds(1);
        }
        (entry, prove(&store.services().log, &proven, &self.cosigned_by))
    }
}

impl Draft<GrantContext> {
    pub fn request(mut self, store: &Keystore) -> GrantRequest {
        let (entry, proof) = self.log(store);
        GrantRequest {
            context: self.context,
            entry: entry.into(),
            proof,
            agreement: self.agreement,
            guard_box_key: boxes("guard").public_key(),
        }
    }
}

impl Draft<ClearanceContext> {
    pub fn request(mut self, store: &Keystore, share: SealedBox) -> ReleaseRequest {
        let (entry, proof) = self.log(store);
        ReleaseRequest {
            context: self.context,
            entry: entry.into(),
            proof,
            agreement: self.agreement,
            share,
        }
    }
}

/// The proof that an entry stands in hospital-a's log, cosigned by the witnesses of others.
fn prove(log_key: &SigningKey, entry: &LogEntry, cosigned_by: &[&str]) -> String {
    let entry = entry.to_bytes().expect("an entry");
    let signer = LogSigner::new(name(&log_origin(OWN)), log_key);
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
