//! Three brokers in this process: they answer a guard as they should, or as a test says.

use std::collections::BTreeMap;
use std::time::Instant;

use cordon_crypto::canonical::from_canonical;
use cordon_crypto::dsse::{Document as _, Envelope};
use cordon_crypto::{SealedBox, sha256};
use cordon_protocol::evidence::Evidence;
use cordon_protocol::grant::{Heartbeat, Lease, LeaseVerdict};
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_protocol::{Refusal, RunId, RuntimeData, V1};
use cordon_types::{Nonce, PartyId};

use crate::fixture::grant::{Attested, GrantDraft};
use crate::fixture::study::{HOSPITALS, Hospital, NOW, Study, sign};

/// What the second broker does with heartbeats, once the worker runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heartbeats {
    /// Renews the lease.
    #[default]
    Renew,
    /// Says stop.
    Stop,
    /// Says nothing; nor does it before the worker runs.
    Ignore,
    /// Says nothing, nor do the others.
    IgnoreAll,
    /// Renews under the key of another broker.
    RenewFalsely,
}

/// What the second broker does when it is asked for keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granting {
    /// Grants them.
    #[default]
    Grant,
    /// Refuses.
    Refuse,
    /// Says nothing.
    Ignore,
}

/// What the brokers do otherwise than they should.
#[derive(Default)]
pub struct Conduct {
    /// Changes the second broker's grant.
    pub draft: Option<fn(&mut GrantDraft<'_>)>,
    /// Changes the manifests that the second broker offers.
    pub offer: Option<fn(&Hospital) -> Vec<Envelope>>,
    /// What becomes of its grant.
    pub granting: Granting,
    /// What becomes of its leases.
    pub heartbeats: Heartbeats,
    /// Whether it takes the receipt.
    pub refuses_receipt: bool,
}

/// The three of them, and what they have heard.
pub struct Brokers<'a> {
    study: &'a Study,
    conduct: &'a Conduct,
    run: RunId,
    /// Whether the worker runs, as the host knows from the stages.
    pub worker_runs: bool,
    /// When stop was said.
    pub stopped: Option<Instant>,
    /// Heartbeats that came.
    pub heartbeats: usize,
    /// Receipts that came, by holder.
    pub receipts: BTreeMap<PartyId, Envelope>,
    /// Shares that came, by holder.
    pub shares: BTreeMap<PartyId, SealedBox>,
}

impl<'a> Brokers<'a> {
    pub fn new(study: &'a Study, conduct: &'a Conduct, run: RunId) -> Self {
        Self {
            study,
            conduct,
            run,
            worker_runs: false,
            stopped: None,
            heartbeats: 0,
            receipts: BTreeMap::new(),
            shares: BTreeMap::new(),
        }
    }

    /// What a broker answers, if it does.
    pub fn answer(&mut self, party: &PartyId, message: ToBroker) -> Option<FromBroker> {
        let mut hospitals = HOSPITALS.iter();
        let index = hospitals.position(|hospital| *hospital == party.as_str()).expect("a holder");
        match message {
            ToBroker::Challenge { .. } => Some(self.challenge(index)),
            ToBroker::Grant { run, evidence } => self.grant(index, run, &evidence),
            ToBroker::Heartbeat { heartbeat } => self.lease(index, &heartbeat),
            ToBroker::Deliver { receipt, share, .. } => {
                let digest = receipt.payload_digest();
                self.receipts.insert(party.clone(), receipt);
                if let Some(share) = share {
                    self.shares.insert(party.clone(), share);
                }
                if index == 1 && self.conduct.refuses_receipt {
                    return Some(self.refuse(index, "receipt_refused"));
                }
                Some(FromBroker::Received { holder: party.clone(), receipt: digest })
            }
            ToBroker::Propose { .. }
            | ToBroker::AddCheckpoint { .. }
            | ToBroker::LastCheckpoint { .. } => panic!("a guard does not ask that"),
        }
    }

    fn challenge(&self, index: usize) -> FromBroker {
        let hospital = &self.study.hospitals[index];
        let manifests = match self.conduct.offer {
            Some(offer) if index == 1 => offer(hospital),
            Some(_) | None => vec![hospital.signed_manifest()],
        };
        FromBroker::Challenged { holder: hospital.party.clone(), nonce: nonce(index), manifests }
    }

    fn grant(&self, index: usize, run: RunId, evidence: &Evidence) -> Option<FromBroker> {
        assert_eq!(run, self.run);
        if index == 1 {
            match self.conduct.granting {
                Granting::Grant => {}
                Granting::Refuse => return Some(self.refuse(index, "not_approved")),
                Granting::Ignore => return None,
            }
        }
        let bound: RuntimeData =
            from_canonical(evidence.runtime_data.as_slice(), RuntimeData::MAX_BYTES)
                .expect("runtime data");
        let attested = Attested {
            agreement: bound.agreement,
            run,
            evidence: evidence.digest(),
            signing_key: bound.guard_signing_key,
            box_key: bound.guard_box_key,
        };
        let mut draft = GrantDraft::honest(self.study, index, &attested);
        if index == 1
            && let Some(change) = self.conduct.draft
        {
            change(&mut draft);
        }
        Some(FromBroker::Granted { grant: Box::new(draft.finish()) })
    }

    fn lease(&mut self, index: usize, heartbeat: &Envelope) -> Option<FromBroker> {
        let signer = heartbeat.claimed_signer();
        let heartbeat = heartbeat.open::<Heartbeat>(&signer).expect("a heartbeat").into_value();
        let hospital = &self.study.hospitals[index];
        assert_eq!((heartbeat.run, &heartbeat.audience), (self.run, &hospital.party));
        self.heartbeats += 1;
        if self.conduct.heartbeats == Heartbeats::IgnoreAll {
            return None;
        }
        let mut key = &hospital.broker;
        let mut verdict = LeaseVerdict::Go;
        if index == 1 {
            match self.conduct.heartbeats {
                Heartbeats::Renew => {}
                Heartbeats::Ignore | Heartbeats::IgnoreAll => return None,
                Heartbeats::RenewFalsely => key = &self.study.hospitals[0].broker,
                Heartbeats::Stop if self.worker_runs => {
                    self.stopped = self.stopped.or(Some(Instant::now()));
                    verdict = LeaseVerdict::Stop;
                }
                Heartbeats::Stop => {}
            }
        }
        let lease = Lease {
            v: V1,
            run: self.run,
            holder: hospital.party.clone(),
            nonce: heartbeat.nonce,
            verdict,
            lease_ms: self.study.agreement.limits.lease_ms,
        };
        Some(FromBroker::Leased { lease: sign(lease, key) })
    }

    fn refuse(&self, index: usize, code: &str) -> FromBroker {
        let hospital = &self.study.hospitals[index];
        let refusal = Refusal {
            v: V1,
            holder: hospital.party.clone(),
            run: Some(self.run),
            code: code.to_owned(),
            sentence: "No.".to_owned(),
            issued: NOW,
        };
        FromBroker::Refused { refusal: sign(refusal, &hospital.broker) }
    }
}

/// The nonce of a broker.
pub fn nonce(index: usize) -> Nonce {
    Nonce::from_bytes(*sha256(&[b"nonce", &[index as u8]]).as_bytes())
}
