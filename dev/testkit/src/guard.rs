//! A guard that a test plays: real evidence, real keys, and every lie that a test needs.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use cordon_crypto::dsse::{Envelope, Signed, document_digest};
use cordon_crypto::{
    AeadKey, Label, Random, RecipientSecret, SealedBox, SigningKey, SystemRandom, canonical,
    commitment, mac, sha256, xor_split,
};
use cordon_protocol::evidence::{Evidence, PartyNonce, RuntimeData, SandboxLevel};
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_protocol::release::{
    Assurance, Outcome, Receipt, ReceiptGrant, ReceiptInput, ReceiptShare, ResultDocument,
    ReviewCopy, SealedOutcome,
};
use cordon_protocol::run::ParameterValue;
use cordon_protocol::table::ResultTable;
use cordon_protocol::{Agreement, Grant, Heartbeat, Lease, Refusal, RunId, RunRequest, V1};
use cordon_softtee::{SoftwareTee, measurement_of};
use cordon_types::{Milliseconds, Nonce, PartyId, Sha256Digest};

use crate::holder::nonce;
use crate::now;
use crate::world::{ENGINE, GUARD, World};

/// A guard of one run.
pub struct Guard {
    /// The agreement.
    pub agreement: Signed<Agreement>,
    /// The run request.
    pub request: Signed<RunRequest>,
    /// Signs heartbeats and the receipt.
    pub signing: SigningKey,
    /// Opens grants.
    pub boxes: RecipientSecret,
    tee: SoftwareTee,
}

/// What a guard delivers.
pub struct Delivery {
    /// The signed receipt.
    pub receipt: Envelope,
    /// The sealed result.
    pub sealed: Vec<u8>,
    /// Each broker's share.
    pub shares: BTreeMap<PartyId, SealedBox>,
    /// Review copies, for all reviewers.
    pub reviews: Vec<ReviewCopy>,
}

impl Guard {
    /// A guard for a fresh run.
    pub(crate) fn new(world: &World, agreement: &Signed<Agreement>) -> Result<Self> {
        let request = RunRequest {
            v: V1,
            agreement: agreement.digest(),
            parameters: BTreeMap::from([("days".parse()?, ParameterValue::Integer(5))]),
            audience: agreement.value().holders.iter().map(|h| h.party.clone()).collect(),
            nonce: nonce(),
            issued: now(),
            not_after: now().plus_seconds(3_600),
        };
        let request = Signed::sign(request, &world.researcher.signing)?;
        Self::for_request(world, agreement, request)
    }

    /// Another guard for a run that was requested already.
    ///
    /// # Errors
    /// Never in practice.
    pub fn for_request(
        world: &World,
        agreement: &Signed<Agreement>,
        request: Signed<RunRequest>,
    ) -> Result<Self> {
        let mut random = SystemRandom::new();
        let root = SigningKey::from_seed(world.tee_root.seed().duplicate());
        Ok(Self {
            agreement: agreement.clone(),
            request,
            signing: SigningKey::generate(&mut random),
            boxes: RecipientSecret::generate(&mut random),
            tee: SoftwareTee::new(root, measurement_of(GUARD)),
        })
    }

    /// The run.
    pub fn run(&self) -> RunId {
        RunId(self.request.digest())
    }

    /// Nonces of all brokers.
    ///
    /// # Errors
    /// If one refuses.
    pub async fn challenge(&self, world: &World) -> Result<Vec<PartyNonce>> {
        let mut nonces = Vec::new();
        for holder in &world.holders {
            let message = ToBroker::Challenge { request: self.request.envelope().clone() };
            match ask(world, &holder.party, message).await? {
                FromBroker::Challenged { holder, nonce, .. } => {
                    nonces.push(PartyNonce { party: holder, nonce });
                }
                other => bail!("expected a challenge, found {other:?}"),
            }
        }
        Ok(nonces)
    }

    /// The runtime data that evidence binds.
    pub fn runtime_data(&self, nonces: Vec<PartyNonce>) -> RuntimeData {
        RuntimeData {
            v: V1,
            run: self.run(),
            agreement: self.agreement.digest(),
            nonces,
            guard_signing_key: self.signing.verifying_key(),
            guard_box_key: self.boxes.public_key(),
            engine: sha256(&[ENGINE]),
            sandbox: SandboxLevel::Namespaces,
        }
    }

    /// Evidence over runtime data, true or not.
    ///
    /// # Errors
    /// Never in practice.
    pub fn evidence(&self, runtime: &RuntimeData) -> Result<Evidence> {
        let bytes = runtime.to_bytes()?;
        let report = self.tee.report(&cordon_protocol::evidence::binding(&bytes))?;
        Ok(Evidence {
            tee: cordon_protocol::evidence::TeeKind::Software,
            evidence: report.into(),
            collateral: None,
            runtime_data: bytes.into(),
        })
    }

    /// Challenge, evidence, and a grant of every broker.
    ///
    /// # Errors
    /// If one refuses; the message holds its code.
    pub async fn attest(&self, world: &World) -> Result<BTreeMap<PartyId, Signed<Grant>>> {
        let evidence = self.evidence(&self.runtime_data(self.challenge(world).await?))?;
        let mut grants = BTreeMap::new();
        for holder in &world.holders {
            let grant = self.ask_grant(world, &holder.party, &evidence).await?;
            grants.insert(holder.party.clone(), grant);
        }
        Ok(grants)
    }

    /// One broker's grant.
    ///
    /// # Errors
    /// If it refuses; the message holds its code.
    pub async fn ask_grant(
        &self,
        world: &World,
        party: &PartyId,
        evidence: &Evidence,
    ) -> Result<Signed<Grant>> {
        let message = ToBroker::Grant { run: self.run(), evidence: evidence.clone() };
        match ask(world, party, message).await? {
            FromBroker::Granted { grant } => {
                let key = &self.agreement.value().holder(party).context("a holder")?.broker_key;
                Ok(grant.open(key)?)
            }
            other => bail!("expected a grant, found {other:?}"),
        }
    }

    /// The keys in a grant.
    ///
    /// # Errors
    /// If the box does not open.
    pub fn open(&self, grant: &Signed<Grant>) -> Result<Vec<u8>> {
        let context = document_digest(&grant.value().context)?;
        let place: [&[u8]; 1] = [context.as_bytes()];
        Ok(self.boxes.open(Label::GrantBox, &place, &grant.value().sealed_keys)?.to_vec())
    }

    /// A heartbeat and its answer.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn beat(&self, world: &World, party: &PartyId) -> Result<Lease> {
        let sent = nonce();
        let heartbeat = Heartbeat { v: V1, run: self.run(), audience: party.clone(), nonce: sent };
        let heartbeat = Signed::sign(heartbeat, &self.signing)?.envelope().clone();
        match ask(world, party, ToBroker::Heartbeat { heartbeat }).await? {
            FromBroker::Leased { lease } => {
                let key = &self.agreement.value().holder(party).context("a holder")?.broker_key;
                let lease = lease.open::<Lease>(key)?.into_value();
                ensure!(lease.nonce == sent, "the lease repeats another nonce");
                Ok(lease)
            }
            other => bail!("expected a lease, found {other:?}"),
        }
    }

    /// Seals an empty table as the result, with shares for all brokers.
    ///
    /// # Errors
    /// Never in practice.
    pub fn deliver(&self, grants: &BTreeMap<PartyId, Signed<Grant>>) -> Result<Delivery> {
        let mut random = SystemRandom::new();
        let random: &mut dyn Random = &mut random;
        let run = self.run();
        let document = ResultDocument {
            v: V1,
            run,
            agreement: self.agreement.digest(),
            assurance: Assurance::None,
            salt: nonce(),
            table: ResultTable { columns: Vec::new(), rows: Vec::new() },
            verdicts: Vec::new(),
            padding: String::new(),
        };
        let plain = canonical::to_canonical(&document)?;
        let key = random.secret();
        let sealed =
            AeadKey::new(&key).seal(Label::SealedResult, &[run.0.as_bytes()], &plain, random);
        let holders = &self.agreement.value().holders;
        let mut shares = BTreeMap::new();
        for (holder, share) in holders.iter().zip(xor_split(&key, holders.len(), random)) {
            let place: [&[u8]; 2] = [run.0.as_bytes(), holder.party.as_str().as_bytes()];
            let sealed = holder.box_key.seal(Label::ShareBox, &place, share.expose(), random)?;
            shares.insert(holder.party.clone(), sealed);
        }
        let digest = sha256(&[&sealed]);
        let mut reviews = Vec::new();
        for reviewer in holders.iter().flat_map(|holder| &holder.reviewers) {
            let place: [&[u8]; 2] = [run.0.as_bytes(), digest.as_bytes()];
            reviews.push(ReviewCopy {
                party: reviewer.party.clone(),
                person: reviewer.person.clone(),
                sealed: reviewer.box_key.seal(Label::ReviewBox, &place, &plain, random)?,
            });
        }
        let salt = cordon_types::Secret::from_bytes(*document.salt.as_bytes());
        let outcome = Outcome::Sealed(SealedOutcome {
            sealed: digest,
            size_bytes: sealed.len() as u64,
            commitment: Sha256Digest::from_bytes(mac(&salt, Label::ReceiptCommitment, &[&plain])),
            key_commitment: commitment(&key),
            shares: shares
                .iter()
                .map(|(holder, share)| ReceiptShare {
                    holder: holder.clone(),
                    share: share.digest(),
                    reviews: copies_for(&reviews, holder).map(|c| c.sealed.digest()).collect(),
                })
                .collect(),
            gates: vec!["cell_size".into()],
        });
        let receipt = self.receipt(grants, outcome)?;
        Ok(Delivery { receipt, sealed, shares, reviews })
    }

    /// A signed receipt with this outcome.
    ///
    /// # Errors
    /// Never in practice.
    pub fn receipt(
        &self,
        grants: &BTreeMap<PartyId, Signed<Grant>>,
        outcome: Outcome,
    ) -> Result<Envelope> {
        let mut inputs = Vec::new();
        let mut listed = Vec::new();
        let mut evidence = None;
        for (holder, grant) in grants {
            let context = &grant.value().context;
            evidence = Some(context.evidence);
            listed
                .push(ReceiptGrant { holder: holder.clone(), context: document_digest(context)? });
            inputs.extend(context.datasets.iter().map(|dataset| ReceiptInput {
                holder: holder.clone(),
                dataset: dataset.dataset.clone(),
                version: dataset.version,
                manifest: dataset.manifest,
            }));
        }
        let receipt = Receipt {
            v: V1,
            run: self.run(),
            agreement: self.agreement.digest(),
            evidence: evidence.context("no grants")?,
            engine: sha256(&[ENGINE]),
            assurance: Assurance::None,
            inputs,
            grants: listed,
            outcome,
            worker_ms: Milliseconds::new(100),
            bytes_read: 0,
        };
        Ok(Signed::sign(receipt, &self.signing)?.envelope().clone())
    }

    /// Hands one broker its part of a delivery.
    ///
    /// # Errors
    /// If it refuses; the message holds its code.
    pub async fn hand_over(
        &self,
        world: &World,
        party: &PartyId,
        delivery: &Delivery,
    ) -> Result<()> {
        let message = ToBroker::Deliver {
            run: self.run(),
            receipt: delivery.receipt.clone(),
            share: delivery.shares.get(party).cloned(),
            reviews: copies_for(&delivery.reviews, party).cloned().collect(),
        };
        match ask(world, party, message).await? {
            FromBroker::Received { .. } => Ok(()),
            other => bail!("expected an acknowledgement, found {other:?}"),
        }
    }
}

/// The copies of one holder's reviewers, who are its own people.
fn copies_for<'a>(
    copies: &'a [ReviewCopy],
    holder: &'a PartyId,
) -> impl Iterator<Item = &'a ReviewCopy> {
    copies.iter().filter(move |copy| copy.party == *holder)
}

/// A nonce other than the one given: for lies.
pub fn another(nonce: Nonce) -> Nonce {
    let mut bytes = *nonce.as_bytes();
    bytes[0] ^= 1;
    Nonce::from_bytes(bytes)
}

/// Asks a broker; a refusal is an error whose message is its code.
///
/// # Errors
/// If it is silent or refuses.
pub async fn ask(world: &World, party: &PartyId, message: ToBroker) -> Result<FromBroker> {
    match world.direct.send(party, message).await.context("the broker is silent")? {
        FromBroker::Refused { refusal } => {
            let refusal = refusal.open::<Refusal>(&refusal.claimed_signer())?;
            bail!("{}", refusal.value().code)
        }
        answer => Ok(answer),
    }
}
