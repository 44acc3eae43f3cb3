//! Questions to brokers and their answers, through a host that may drop, delay, repeat and
//! reorder all of them. Heartbeats go out and leases are counted wherever the guard waits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cordon_crypto::dsse::Signed;
use cordon_crypto::{Random, RecipientSecret, SigningKey};
use cordon_protocol::message::{FromBroker, FromGuard, Stage, ToBroker};
use cordon_protocol::worker::FromWorker;
use cordon_protocol::{Heartbeat, Lease, Refusal, V1};
use cordon_types::{Nonce, PartyId};

use crate::failure::{Code, Failure};
use crate::lease::Leases;
use crate::lines::{Event, Gone, Lines};
use crate::order::Order;

/// The guard's own keys, made for one run and gone with it.
pub(crate) struct GuardKeys {
    /// Signs heartbeats and the receipt.
    pub signing: SigningKey,
    /// Opens grants.
    pub opening: RecipientSecret,
}

impl GuardKeys {
    /// Makes them.
    pub fn generate(random: &mut dyn Random) -> Self {
        Self { signing: SigningKey::generate(random), opening: RecipientSecret::generate(random) }
    }
}

/// Everything that is said and heard during one run.
pub(crate) struct Talk<'g> {
    /// What was ordered.
    pub order: &'g Order,
    /// The guard's keys.
    pub keys: &'g GuardKeys,
    /// Randomness.
    pub random: &'g mut dyn Random,
    /// Host and worker.
    pub lines: Lines,
    /// The leases of the grants that came in.
    pub leases: Leases,
    open: BTreeMap<Nonce, Open>,
}

/// A question without an answer yet.
struct Open {
    party: PartyId,
    question: Question,
    asked: Instant,
}

/// What a broker is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Challenge,
    Grant,
    Heartbeat,
    Deliver,
}

/// Something that the current step must deal with.
pub(crate) enum Heard {
    /// A broker's answer to a question, which was asked at that moment.
    Broker(PartyId, Instant, FromBroker),
    /// Ciphertext.
    Range(Option<Vec<u8>>),
    /// The worker of this number speaks.
    Worker(u32, FromWorker),
    /// It took so many bytes.
    WorkerTook(u32, usize),
    /// It is gone.
    WorkerGone(u32, Gone),
    /// Nothing, and the time is over.
    Nothing,
}

impl<'g> Talk<'g> {
    /// Begins with nothing asked.
    pub fn new(
        order: &'g Order,
        keys: &'g GuardKeys,
        random: &'g mut dyn Random,
        lines: Lines,
    ) -> Self {
        let limits = &order.agreement.limits;
        let leases = Leases::new(limits.heartbeat_ms, limits.lease_ms);
        Self { order, keys, random, lines, leases, open: BTreeMap::new() }
    }

    /// Asks every holder's broker, each with its own message, and collects their answers in the
    /// agreement's order.
    ///
    /// `take` judges each answer as it comes; the first failure ends it.
    pub fn ask_all<T>(
        &mut self,
        patience: Duration,
        mut message: impl FnMut(&mut Self, &PartyId) -> Result<ToBroker, Failure>,
        mut take: impl FnMut(&mut Self, &PartyId, Instant, FromBroker) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let order = self.order;
        // An earlier step that failed may have left questions: answers to those come too late.
        self.open.clear();
        let parties = || order.agreement.holders.iter().map(|holder| &holder.party);
        for party in parties() {
            let message = message(self, party)?;
            self.ask(party, message)?;
        }
        let until = Instant::now() + patience;
        let mut answers = BTreeMap::new();
        while answers.len() < order.agreement.holders.len() {
            match self.hear(until)? {
                Heard::Broker(party, asked, body) => {
                    let answer = take(self, &party, asked, body)?;
                    answers.insert(party, answer);
                }
                Heard::Nothing => return Err(Code::BrokerSilent.into()),
                // Of a worker that has ended, or for it.
                Heard::Range(_)
                | Heard::Worker(..)
                | Heard::WorkerTook(..)
                | Heard::WorkerGone(..) => {}
            }
        }
        // INVARIANT: one question for each holder, so one answer; sorted like the holders.
        Ok(answers.into_values().collect())
    }

    /// Waits until no lease is in doubt: from then on keys may be used.
    pub fn confirm_leases(&mut self) -> Result<(), Failure> {
        while !self.leases.confirmed() {
            // A lease that is never confirmed runs out, which ends this.
            let until = Instant::now() + CONFIRMED_WITHIN;
            match self.hear(until)? {
                Heard::Nothing => return Err(Code::BrokerSilent.into()),
                Heard::Broker(..)
                | Heard::Range(_)
                | Heard::Worker(..)
                | Heard::WorkerTook(..)
                | Heard::WorkerGone(..) => {}
            }
        }
        Ok(())
    }

    /// Waits for what the current step must deal with, at most until then; renews leases and
    /// minds refusals on the way.
    pub fn hear(&mut self, until: Instant) -> Result<Heard, Failure> {
        loop {
            let now = Instant::now();
            self.leases.check(now)?;
            for party in self.leases.due(now) {
                self.beat(&party, now)?;
            }
            if now >= until {
                return Ok(Heard::Nothing);
            }
            let wake = self.leases.wake().map_or(until, |wake| wake.min(until));
            let Some(event) = self.lines.next(wake.saturating_duration_since(now)) else {
                continue;
            };
            return Ok(match event {
                Event::HostGone => return Err(Code::HostGone.into()),
                Event::Answer { party, id, body } => match self.answer(&party, id, *body)? {
                    Some(heard) => heard,
                    None => continue,
                },
                Event::Range(range) => Heard::Range(range),
                Event::Worker(number, message) => Heard::Worker(number, message),
                Event::WorkerTook(number, bytes) => Heard::WorkerTook(number, bytes),
                Event::WorkerGone(number, gone) => Heard::WorkerGone(number, gone),
            });
        }
    }

    /// Tells people where the run is.
    pub fn show(&self, stage: Stage, bytes_read: u64) -> Result<(), Failure> {
        Ok(self.lines.tell_host(&FromGuard::Progress { stage, bytes_read })?)
    }

    fn ask(&mut self, party: &PartyId, body: ToBroker) -> Result<(), Failure> {
        let question = match &body {
            ToBroker::Challenge { .. } => Question::Challenge,
            ToBroker::Grant { .. } => Question::Grant,
            ToBroker::Heartbeat { .. } => Question::Heartbeat,
            ToBroker::Deliver { .. } => Question::Deliver,
            ToBroker::Propose { .. }
            | ToBroker::AddCheckpoint { .. }
            | ToBroker::LastCheckpoint { .. } => return Err(Code::CannotSeal.into()),
        };
        let (id, asked) = (self.random.nonce(), Instant::now());
        self.open.insert(id, Open { party: party.clone(), question, asked });
        let message = FromGuard::ToBroker { party: party.clone(), id, body: Box::new(body) };
        Ok(self.lines.tell_host(&message)?)
    }

    fn beat(&mut self, party: &PartyId, now: Instant) -> Result<(), Failure> {
        let nonce = self.random.nonce();
        let heartbeat = Heartbeat { v: V1, run: self.order.run, audience: party.clone(), nonce };
        let signed = Signed::sign(heartbeat, &self.keys.signing).map_err(|_| Code::CannotSeal)?;
        self.leases.sent(party, nonce, now);
        self.ask(party, ToBroker::Heartbeat { heartbeat: signed.envelope().clone() })
    }

    /// An answer that fits its question; `None` for noise of the host and for what is dealt with
    /// here. An answer that proves nothing is the same as none, which the host can always bring
    /// about.
    fn answer(
        &mut self,
        party: &PartyId,
        id: Nonce,
        body: FromBroker,
    ) -> Result<Option<Heard>, Failure> {
        let Some(open) = self.open.remove(&id) else { return Ok(None) };
        if open.party != *party {
            return Ok(None);
        }
        let heard = |body| Ok(Some(Heard::Broker(open.party.clone(), open.asked, body)));
        match (open.question, body) {
            (_, FromBroker::Refused { refusal }) => {
                let Some(failure) = self.refused(&open.party, &refusal) else { return Ok(None) };
                if open.question == Question::Deliver {
                    return heard(FromBroker::Refused { refusal });
                }
                Err(failure)
            }
            (Question::Heartbeat, FromBroker::Leased { lease }) => {
                if let Some(lease) = self.lease(&open.party, &lease) {
                    self.leases.renew(&lease)?;
                }
                Ok(None)
            }
            (Question::Challenge, body @ FromBroker::Challenged { .. })
            | (Question::Grant, body @ FromBroker::Granted { .. })
            | (Question::Deliver, body @ FromBroker::Received { .. }) => heard(body),
            (_, _) => Ok(None),
        }
    }

    fn lease(&self, party: &PartyId, lease: &cordon_crypto::dsse::Envelope) -> Option<Lease> {
        let holder = self.order.agreement.holder(party)?;
        let lease = lease.open::<Lease>(&holder.broker_key).ok()?.into_value();
        (lease.run == self.order.run && lease.holder == *party).then_some(lease)
    }

    /// The end of the run, if the refusal is this broker's and not of another run.
    fn refused(
        &self,
        party: &PartyId,
        envelope: &cordon_crypto::dsse::Envelope,
    ) -> Option<Failure> {
        let holder = self.order.agreement.holder(party)?;
        let refusal = envelope.open::<Refusal>(&holder.broker_key).ok()?.into_value();
        if refusal.holder != *party || refusal.run.is_some_and(|run| run != self.order.run) {
            return None;
        }
        let well_formed = (1..=MAX_CODE_BYTES).contains(&refusal.code.len())
            && refusal
                .code
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let code = if well_formed { refusal.code } else { "refused".to_owned() };
        let refusal = Some(Box::new(envelope.clone()));
        Some(Failure { code: Code::Broker(code), refusal, detail: None })
    }
}

/// Longer than any lease.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(600);
/// A code is a word, not a message.
const MAX_CODE_BYTES: usize = 64;
