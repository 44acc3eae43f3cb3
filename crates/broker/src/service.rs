//! What one broker does: each function takes a signed document or a message of a guard, decides
//! through `cordon-govern`, records, and only then lets it take effect.

mod agreements;
mod datasets;
mod enrol;
mod error;
mod grants;
mod known;
mod leases;
mod outputs;
mod views;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use cordon_crypto::dsse::Signed;
use cordon_crypto::{Random, SigningKey, SystemRandom, VerifyingKey};
use cordon_govern::grant::{Challenged, Session};
use cordon_govern::{BrokerState, Code, Denial, Directory, Policy, Recognized};
use cordon_hub::Clock;
use cordon_hub::client::Client as HubClient;
use cordon_keystore::process::Client as KeyClient;
use cordon_keystore::{KeyState, Transition, VersionStatus};
use cordon_protocol::entry::{Action, Actor, Decision};
use cordon_protocol::party::{PartyCard, Role};
use cordon_protocol::{LogEntry, Manifest, Refusal, RunId, V1};
use cordon_types::{DatasetId, Nonce, PartyId, PersonId, Sha256Digest, UnixSeconds};
use cordon_verifier::TrustRoots;
use sqlx::SqliteConnection;
use tokio::sync::{Notify, watch};

use crate::challenge::Challenges;
use crate::log::Log;
use crate::records::outputs::set_refused;
use crate::records::{blobs, datasets as versions, directory};
use crate::store::{Store, StoreError};

use known::{KnownAgreements, Looked};

pub use error::ServiceError;
pub use grants::Appraising;

/// Outputs that could not be decided or delivered are tried again after this.
const TEND_PAUSE: Duration = Duration::from_secs(2);
/// How long a decision waits for witnesses that were silent a moment ago.
const WITNESS_PATIENCE: Duration = Duration::from_secs(10);

/// A broker with its keys, records and log.
pub struct Broker {
    card: Signed<PartyCard>,
    key: Arc<SigningKey>,
    store: Arc<Store>,
    log: Arc<Log>,
    keys: KeyClient,
    hub: Option<HubClient>,
    policy: Policy,
    appraising: Appraising,
    clock: Arc<dyn Clock>,
    challenges: Challenges<Session<Challenged>>,
    known: KnownAgreements,
    directory: RwLock<Arc<Directory>>,
    key_states: RwLock<HashMap<(DatasetId, u32), KeyState>>,
    outputs_changed: Notify,
    /// One enrolment at a time: each is checked against all that are there.
    enrolling: tokio::sync::Mutex<()>,
    /// How many refusals of strangers were recorded lately.
    strangers: Mutex<Strangers>,
    /// Outputs whose refusal is recorded already.
    refused_outputs: Mutex<HashSet<RunId>>,
}

/// What a broker is made of.
pub struct Parts {
    /// Its card.
    pub card: Signed<PartyCard>,
    /// The key that signs for it.
    pub key: Arc<SigningKey>,
    /// Its database.
    pub store: Arc<Store>,
    /// Its log.
    pub log: Arc<Log>,
    /// Its key process.
    pub keys: KeyClient,
    /// The hub; absent only where nothing is sent, in benchmarks and tests.
    pub hub: Option<HubClient>,
    /// What decides.
    pub policy: Policy,
    /// Whose evidence it believes.
    pub roots: TrustRoots,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Broker {
    /// Puts a broker together and reads whom it knows.
    ///
    /// # Errors
    /// If the database fails or holds cards that do not go together, or the key process is gone.
    pub async fn new(parts: Parts) -> Result<Self, ServiceError> {
        let directory = read_directory(&parts.card, &parts.store).await?;
        let broker = Self {
            card: parts.card,
            key: parts.key,
            store: parts.store,
            log: parts.log,
            keys: parts.keys,
            hub: parts.hub,
            policy: parts.policy,
            appraising: Appraising { roots: parts.roots },
            clock: parts.clock,
            challenges: Challenges::default(),
            known: KnownAgreements::default(),
            directory: RwLock::new(Arc::new(directory)),
            key_states: RwLock::default(),
            outputs_changed: Notify::new(),
            enrolling: tokio::sync::Mutex::default(),
            strangers: Mutex::default(),
            refused_outputs: Mutex::default(),
        };
        let keys = broker.keys.status().await.map_err(ServiceError::Keys)?;
        for version in &keys.versions {
            broker.note_key(version);
            let manifest = versions::get(broker.store.readers(), &version.dataset, version.version);
            let logged = manifest.await?.is_some_and(|found| found.digest() == version.manifest);
            if logged && version.state == KeyState::PreActive {
                broker.activate(version).await?;
            }
        }
        Ok(broker)
    }

    /// Resolves when the key process is gone: no key leaves from then on. For one caller.
    pub(crate) async fn keys_ended(&self) {
        self.keys.ended().await;
    }

    /// Lets the key of a version be granted whose publication the log knows of.
    async fn activate(&self, version: &VersionStatus) -> Result<(), ServiceError> {
        let dataset = version.dataset.clone();
        let change = Transition::Activate;
        let active = self.keys.change(dataset, version.version, change, self.now()).await;
        self.note_key(&active.map_err(ServiceError::Keys)?);
        Ok(())
    }

    /// Decides and delivers outputs until `stop` changes.
    pub async fn tend(&self, mut stop: watch::Receiver<bool>) {
        loop {
            // Dropped anywhere, it has left what a crash leaves: the next start goes on from there.
            let tended = tokio::select! {
                _ = stop.changed() => return,
                tended = self.tend_outputs() => tended,
            };
            let again = match tended {
                Ok(again) => again,
                Err(error) => {
                    tracing::error!(error = crate::why(&error), "outputs cannot be tended");
                    true
                }
            };
            let pause = async {
                match again {
                    true => tokio::time::sleep(TEND_PAUSE).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.changed() => return,
                () = self.outputs_changed.notified() => {}
                () = pause => {}
            }
        }
    }

    /// Ends its log's tasks and closes its database.
    pub async fn close(&self) {
        self.log.close().await;
        self.store.close().await;
    }

    /// The broker's own card.
    pub fn card(&self) -> &Signed<PartyCard> {
        &self.card
    }

    /// Its log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// What time it is here.
    pub fn now(&self) -> UnixSeconds {
        self.clock.now().to_seconds()
    }

    /// Whom it knows.
    pub fn directory(&self) -> Arc<Directory> {
        // A panic cannot leave the pointer half written.
        self.directory.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn refresh_directory(&self) -> Result<(), ServiceError> {
        let fresh = Arc::new(read_directory(&self.card, &self.store).await?);
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn nonce(&self) -> Nonce {
        let random: &mut dyn Random = &mut SystemRandom::new();
        random.nonce()
    }

    /// An entry that says that something was permitted; callers fill in what it is about.
    fn entry(&self, actor: Actor, action: Action, object: Sha256Digest) -> LogEntry {
        LogEntry {
            v: V1,
            time: self.now(),
            profile: self.card.value().profile,
            holder: self.card.value().party.clone(),
            actor,
            action,
            decision: Decision::Permit,
            code: "ok".into(),
            study: None,
            agreement: None,
            run: None,
            objects: vec![object],
            evidence: Vec::new(),
        }
    }

    /// A person of this holder's staff, in no role in particular.
    pub(crate) fn staff(&self, person: &PersonId) -> Actor {
        self.person(person, None)
    }

    fn person(&self, person: &PersonId, role: Option<Role>) -> Actor {
        Actor::Person { party: self.card.value().party.clone(), person: person.clone(), role }
    }

    /// Records a refusal with its full reasons, and hands it on.
    async fn refuse(&self, denial: Denial) -> ServiceError {
        match is_of_a_stranger(denial.code()) {
            true => self.refuse_stranger(denial).await,
            false => self.record_refusal(denial, None).await,
        }
    }

    /// Likewise, where anybody can bring it about.
    async fn refuse_stranger(&self, denial: Denial) -> ServiceError {
        if lock(&self.strangers).one_more(self.now()) {
            return self.record_refusal(denial, None).await;
        }
        tracing::warn!(code = denial.code().as_str(), "refused, and too often to record it");
        ServiceError::from(denial)
    }

    /// Records what was refused outside of a decision, and hands it on: a nonce that was used, a
    /// rule of the database, the key process. Whoever reaches the mailbox can bring some of it
    /// about.
    pub(crate) async fn note(
        &self,
        refused: ServiceError,
        actor: Actor,
        action: Action,
        run: Option<RunId>,
    ) -> ServiceError {
        if !refused.is_unrecorded_refusal() {
            return refused;
        }
        if !lock(&self.strangers).one_more(self.now()) {
            tracing::warn!(code = refused.code(), "refused, and too often to record it");
            return refused;
        }
        let reason = match &refused {
            // Its own words say all that ours do.
            ServiceError::Keys(error) => with_causes(error),
            other => with_causes(other),
        };
        let digest = cordon_crypto::sha256(&[reason.as_bytes()]);
        let mut entry = self.entry(actor, action, digest);
        entry.decision = Decision::Deny;
        entry.code = refused.code().to_owned();
        entry.run = run;
        entry.evidence = std::mem::take(&mut entry.objects);
        match self.write_refusal(entry, reason.into_bytes(), None).await {
            Ok(()) => refused,
            Err(error) => error,
        }
    }

    /// Records a refusal; in the same transaction, that an output is never cleared.
    async fn record_refusal(&self, denial: Denial, output: Option<RunId>) -> ServiceError {
        let reasons = denial.reasons().join("\n").into_bytes();
        match self.write_refusal(denial.entry().clone(), reasons, output).await {
            Ok(()) => ServiceError::from(denial),
            Err(error) => error,
        }
    }

    async fn write_refusal(
        &self,
        entry: LogEntry,
        reasons: Vec<u8>,
        output: Option<RunId>,
    ) -> Result<(), ServiceError> {
        let code = entry.code.clone();
        let recorded = self
            .store
            .write(move |c| {
                Box::pin(async move {
                    let digest = cordon_crypto::sha256(&[&reasons]);
                    blobs::put(c, digest, blobs::Kind::Reasons, &reasons).await?;
                    if let Some(run) = output {
                        set_refused(c, run, &entry.code).await?;
                    }
                    append(c, &entry).await
                })
            })
            .await;
        recorded?;
        self.log.wake();
        tracing::info!(code, "refused");
        Ok(())
    }

    /// The public form of an error, for whoever is not of this holder's staff.
    fn public_refusal(&self, error: &ServiceError, run: Option<RunId>) -> Refusal {
        match error {
            ServiceError::Denied(denial) => denial.refusal(),
            other => Refusal {
                v: V1,
                holder: self.card.value().party.clone(),
                run,
                code: other.code().to_owned(),
                sentence: public_sentence(other).to_owned(),
                issued: self.now(),
            },
        }
    }

    /// Signs a refusal.
    pub fn sign_refusal(
        &self,
        error: &ServiceError,
        run: Option<RunId>,
    ) -> Result<Signed<Refusal>, ServiceError> {
        Signed::sign(self.public_refusal(error, run), &self.key).map_err(ServiceError::internal)
    }

    /// The person of this holder who signs with `key`.
    ///
    /// # Errors
    /// [`ServiceError::Unsigned`] if there is none.
    pub async fn own_person_by_key(
        &self,
        key: VerifyingKey,
    ) -> Result<directory::Enrolled, ServiceError> {
        let known = self.directory();
        let own = &self.card.value().party;
        let person = known.signer(&key).filter(|p| p.card.party == *own);
        let card = &person.ok_or(ServiceError::Unsigned)?.card;
        let found = directory::person(self.store.readers(), &card.party, &card.person).await?;
        found.ok_or(ServiceError::Unsigned)
    }

    /// Whether a person of this holder has the key that a request names, before it is verified.
    ///
    /// # Errors
    /// [`ServiceError::Unsigned`] if there is none.
    pub async fn own_person_named(&self, key: &str) -> Result<(), ServiceError> {
        let key: VerifyingKey = key.parse().map_err(|_| ServiceError::Unsigned)?;
        self.own_person_by_key(key).await.map(|_| ())
    }

    /// What the policy may know of this broker.
    fn state_for(&self, looked: &Looked) -> Result<BrokerState, ServiceError> {
        let last_entry = match looked.last_entry() {
            Some(bytes) => {
                cordon_crypto::canonical::from_canonical::<LogEntry>(bytes, bytes.len())
                    .map_err(ServiceError::internal)?
                    .time
            }
            None => UnixSeconds::new(0),
        };
        Ok(BrokerState {
            last_entry,
            log_current: self.log.is_ready(),
            witnesses_ready: self.log.answering(&other_holders(&looked.recognized)),
        })
    }

    /// A witness that was silent a moment ago, for instance while this broker started, gets a
    /// little time; whether that was enough is the policy's to say.
    async fn wait_for_witnesses(&self, agreement: &Recognized) {
        let wanted = agreement.value().witness_quorum;
        let others = other_holders(agreement);
        let enough = self.log.wait_for_answering(&others, wanted);
        let _ = tokio::time::timeout(WITNESS_PATIENCE, enough).await;
    }

    fn is_active(&self, manifest: &Signed<Manifest>) -> bool {
        let version = (manifest.value().dataset.clone(), manifest.value().version);
        let states = self.key_states.read().unwrap_or_else(PoisonError::into_inner);
        states.get(&version) == Some(&KeyState::Active)
    }

    fn note_key(&self, status: &VersionStatus) {
        let mut states = self.key_states.write().unwrap_or_else(PoisonError::into_inner);
        states.insert((status.dataset.clone(), status.version), status.state);
    }
}

/// Whether anybody at all could bring such a refusal about, by sending something to the mailbox:
/// also what others signed, since run requests and receipts are public.
fn is_of_a_stranger(code: Code) -> bool {
    matches!(
        code,
        Code::DocumentInvalid
            | Code::SignerUnknown
            | Code::AgreementSigner
            | Code::NotAHolder
            | Code::DirectoryMismatch
            | Code::RequestSigner
            | Code::RequestAudience
            | Code::RequestAgreement
            | Code::RequestParameters
            | Code::RequestNotFresh
            | Code::NotChallenged
            | Code::ChallengeExpired
            | Code::Evidence(_)
            | Code::ReceiptSigner
            | Code::ReceiptMismatch
            | Code::ShareMismatch
            | Code::ReviewCopyMismatch
            | Code::RunFailed
    )
}

/// Keeps strangers from filling the log: their refusals are recorded up to a number per hour.
#[derive(Debug, Default)]
struct Strangers {
    hour: u64,
    recorded: u32,
}

impl Strangers {
    /// Far more than honest mistakes make, and some 10 MB of log a day at most.
    const PER_HOUR: u32 = 600;

    fn one_more(&mut self, now: UnixSeconds) -> bool {
        let hour = now.get() / 3600;
        if hour != self.hour {
            *self = Self { hour, recorded: 0 };
        }
        self.recorded += 1;
        self.recorded <= Self::PER_HOUR
    }
}

/// Appends an entry in the transaction of the record that it tells of.
pub(crate) async fn append(
    connection: &mut SqliteConnection,
    entry: &LogEntry,
) -> Result<u64, StoreError> {
    let bytes = entry.to_bytes().map_err(|_| StoreError::Corrupt("log entry"))?;
    crate::log::append(connection, &bytes).await.map_err(StoreError::Log)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn other_holders(agreement: &Recognized) -> Vec<PartyId> {
    let own = agreement.party();
    let holders = agreement.value().holders.iter().map(|holder| &holder.party);
    holders.filter(|party| *party != own).cloned().collect()
}

// A panic leaves these sets whole: every change is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read_directory(
    card: &Signed<PartyCard>,
    store: &Store,
) -> Result<Directory, ServiceError> {
    let parties = directory::parties(store.readers()).await?;
    let people = directory::people(store.readers()).await?;
    let people = people.into_iter().map(|person| (person.card, person.roles));
    Directory::new(card, parties, people).map_err(ServiceError::internal)
}

/// One sentence that tells strangers nothing about this broker.
fn public_sentence(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::Malformed(_) => "The message is malformed.",
        ServiceError::Unsigned => "The message is not signed by anybody who may send it.",
        ServiceError::NotAllowed(_) => "The sender may not do this.",
        ServiceError::NotFound(_) => "There is no such thing.",
        ServiceError::Denied(denial) => denial.sentence(),
        ServiceError::Conflict(_) => "This was done before, or by another.",
        ServiceError::Keys(_) => "The broker's key process did not do it.",
        ServiceError::StorageFull => "The broker has no room left.",
        ServiceError::Unavailable(_) => "The broker cannot do this now; try again.",
        ServiceError::Internal(_) => "The broker failed.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_fill_an_hour_and_not_the_log() {
        let mut strangers = Strangers::default();
        let now = UnixSeconds::new(1_700_000_000);
        for _ in 0..Strangers::PER_HOUR {
            assert!(strangers.one_more(now));
        }
        assert!(!strangers.one_more(now));
        assert!(strangers.one_more(now.plus_seconds(3600)));
    }
}
