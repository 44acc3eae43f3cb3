//! The run queue as a state machine without I/O: time comes in, records to be stored come out.
//!
//! A run is queued, claimed by one host at a time, and finished. A claim lasts as long as its
//! host speaks up. A run that lost its host before any broker could have granted it keys is
//! queued again; later it is finished as `host_lost`, since grants are for that one guard's key.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cordon_crypto::VerifyingKey;
use cordon_crypto::dsse::Envelope;
use cordon_protocol::message::Stage;
use cordon_protocol::run::RunId;
use cordon_types::{Milliseconds, Sha256Digest, UnixMillis, UnixSeconds};
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};
use crate::api::{Claim, Finish, Progress, RunState, RunStatus};

/// A claim is lost this long after the last word from its host.
pub(crate) const CLAIM_LEASE_MS: u64 = 30_000;
/// How often a run may lose its host before it is given up.
const MAX_ATTEMPTS: u32 = 3;
/// The code of a run that lost its host for good.
const HOST_LOST: &str = "host_lost";
/// The code of a run whose request ran out in the queue.
const RUN_EXPIRED: &str = "run_expired";

/// All runs that the hub remembers.
pub(crate) struct Queue {
    // INVARIANT: every run is in exactly one of `waiting`, `claimed` and `finished`, as its
    // state says.
    runs: BTreeMap<RunId, Record>,
    waiting: VecDeque<RunId>,
    claimed: BTreeSet<RunId>,
    finished: VecDeque<RunId>,
    max_waiting: usize,
    max_kept: usize,
}

/// One run, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) run: RunId,
    pub(crate) agreement: Sha256Digest,
    pub(crate) request: Envelope,
    pub(crate) not_after: UnixSeconds,
    pub(crate) submitted: UnixMillis,
    updated: UnixMillis,
    revision: u64,
    attempts: u32,
    stage: Option<Stage>,
    bytes_read: u64,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum State {
    Queued,
    Claimed { host: VerifyingKey, until: UnixMillis },
    Finished { host: Option<VerifyingKey>, finish: Finish },
}

/// What to do on the disk after a step, before anybody hears of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) store: Vec<RunId>,
    pub(crate) forget: Vec<RunId>,
    /// Something that a watcher sees has changed, though it is not worth a disk write.
    pub(crate) visible: bool,
}

impl Changes {
    fn of(run: RunId) -> Self {
        Self { store: vec![run], ..Self::default() }
    }
}

impl Record {
    pub(crate) fn new(
        run: RunId,
        agreement: Sha256Digest,
        request: Envelope,
        not_after: UnixSeconds,
        now: UnixMillis,
    ) -> Self {
        Self {
            run,
            agreement,
            request,
            not_after,
            submitted: now,
            updated: now,
            revision: 1,
            attempts: 0,
            stage: None,
            bytes_read: 0,
            state: State::Queued,
        }
    }

    pub(crate) fn status(&self) -> RunStatus {
        let (state, finish) = match &self.state {
            State::Queued => (RunState::Queued, None),
            State::Claimed { .. } => (RunState::Claimed, None),
            State::Finished { finish, .. } => (RunState::Finished, Some(finish)),
        };
        RunStatus {
            run: self.run,
            agreement: self.agreement,
            revision: self.revision,
            state,
            stage: self.stage,
            bytes_read: self.bytes_read,
            code: finish.map(|f| f.code.clone()),
            receipt: finish.and_then(|f| f.receipt),
            detail: finish.and_then(|f| f.detail.clone()),
            submitted: self.submitted,
            updated: self.updated,
        }
    }

    fn touch(&mut self, now: UnixMillis) {
        self.revision += 1;
        self.updated = now;
    }

    fn finish(&mut self, host: Option<VerifyingKey>, finish: Finish, now: UnixMillis) {
        self.state = State::Finished { host, finish };
        self.touch(now);
    }

    /// A claim that has run out.
    fn lose_host(&mut self, now: UnixMillis) {
        // From evidence on, brokers may have granted keys to that guard and to no other.
        let granted = self.stage.is_some_and(|stage| match stage {
            Stage::Planning | Stage::Challenging => false,
            Stage::Attesting | Stage::Running | Stage::Checking | Stage::Sealing => true,
        });
        if granted || self.attempts >= MAX_ATTEMPTS {
            let finish = Finish::without_receipt(HOST_LOST);
            self.finish(None, finish, now);
        } else {
            self.state = State::Queued;
            self.stage = None;
            self.touch(now);
        }
    }
}

impl Queue {
    /// A queue of stored records.
    pub(crate) fn new(mut records: Vec<Record>, max_waiting: usize, max_kept: usize) -> Self {
        records.sort_by_key(|r| (r.submitted, r.run));
        let mut queue = Self {
            runs: BTreeMap::new(),
            waiting: VecDeque::new(),
            claimed: BTreeSet::new(),
            finished: VecDeque::new(),
            max_waiting,
            max_kept,
        };
        for record in records {
            match record.state {
                State::Queued => queue.waiting.push_back(record.run),
                State::Claimed { .. } => drop(queue.claimed.insert(record.run)),
                State::Finished { .. } => queue.finished.push_back(record.run),
            }
            queue.runs.insert(record.run, record);
        }
        queue
    }

    pub(crate) fn get(&self, run: &RunId) -> Option<&Record> {
        self.runs.get(run)
    }

    /// The keys that hold claims.
    pub(crate) fn hosts(&self) -> BTreeSet<VerifyingKey> {
        self.claims().map(|(host, _)| host).collect()
    }

    /// How long until [`Queue::expire`] has something to do.
    pub(crate) fn next_expiry(&self, now: UnixMillis) -> Option<Duration> {
        let requests = self.waiting.iter().filter_map(|run| self.runs.get(run));
        let requests = requests.map(|r| UnixMillis::new(r.not_after.get().saturating_mul(1_000)));
        let next = self.claims().map(|(_, until)| until).chain(requests).min()?;
        Some(Duration::from_millis(next.get().saturating_sub(now.get()).saturating_add(1)))
    }

    fn claims(&self) -> impl Iterator<Item = (VerifyingKey, UnixMillis)> {
        let records = self.claimed.iter().filter_map(|run| self.runs.get(run));
        records.filter_map(|record| match record.state {
            State::Claimed { host, until } => Some((host, until)),
            State::Queued | State::Finished { .. } => None,
        })
    }

    /// Queues a run; one that is known already stays as it is.
    pub(crate) fn submit(&mut self, record: Record) -> Result<Changes, Problem> {
        let mut changes = Changes::default();
        if self.runs.contains_key(&record.run) {
            return Ok(changes);
        }
        if self.waiting.len() >= self.max_waiting {
            return Err(Problem::new(Code::TooMany));
        }
        while self.runs.len() >= self.max_kept {
            let oldest = self.finished.pop_front().ok_or_else(|| Problem::new(Code::TooMany))?;
            self.runs.remove(&oldest);
            changes.forget.push(oldest);
        }
        changes.store.push(record.run);
        self.waiting.push_back(record.run);
        self.runs.insert(record.run, record);
        Ok(changes)
    }

    /// Takes back what lost its host and gives up what ran out.
    pub(crate) fn expire(&mut self, now: UnixMillis) -> Changes {
        let mut changes = Changes::default();
        for run in self.waiting.iter().chain(&self.claimed) {
            let Some(record) = self.runs.get_mut(run) else { continue };
            match record.state {
                State::Claimed { until, .. } if until <= now => record.lose_host(now),
                State::Queued if record.not_after <= now.to_seconds() => {
                    let finish = Finish::without_receipt(RUN_EXPIRED);
                    record.finish(None, finish, now);
                }
                State::Queued | State::Claimed { .. } | State::Finished { .. } => continue,
            }
            changes.store.push(*run);
        }
        for run in &changes.store {
            self.waiting.retain(|waiting| waiting != run);
            self.claimed.remove(run);
            match self.runs.get(run).map(|record| &record.state) {
                Some(State::Finished { .. }) => self.finished.push_back(*run),
                // It has waited already: first in line.
                Some(State::Queued | State::Claimed { .. }) => self.waiting.push_front(*run),
                None => {}
            }
        }
        changes
    }

    /// Gives the oldest waiting run to a host. Call [`Queue::expire`] first.
    pub(crate) fn claim(
        &mut self,
        host: VerifyingKey,
        now: UnixMillis,
    ) -> Option<(Claim, Changes)> {
        let record = self.waiting.pop_front().and_then(|run| self.runs.get_mut(&run))?;
        record.state = State::Claimed { host, until: lease_end(now) };
        record.attempts += 1;
        record.touch(now);
        self.claimed.insert(record.run);
        let claim = Claim {
            run: record.run,
            request: record.request.clone(),
            lease_ms: Milliseconds::new(CLAIM_LEASE_MS),
        };
        let changes = Changes::of(claim.run);
        Some((claim, changes))
    }

    /// The host is still at it. Stored only when the stage changes, which decides what a lost
    /// host means; bytes and lease are not worth a disk write.
    pub(crate) fn progress(
        &mut self,
        run: &RunId,
        host: VerifyingKey,
        progress: Progress,
        now: UnixMillis,
    ) -> Result<Changes, Problem> {
        let record = self.held(run, host)?;
        record.state = State::Claimed { host, until: lease_end(now) };
        let new_stage = progress.stage.is_some() && progress.stage != record.stage;
        let visible = new_stage || progress.bytes_read != record.bytes_read;
        if visible {
            record.touch(now);
        }
        if new_stage {
            record.stage = progress.stage;
        }
        record.bytes_read = progress.bytes_read;
        let store = if new_stage { vec![*run] } else { Vec::new() };
        Ok(Changes { store, visible, ..Changes::default() })
    }

    /// The host's last word. Saying it again changes nothing.
    pub(crate) fn finish(
        &mut self,
        run: &RunId,
        host: VerifyingKey,
        finish: Finish,
        now: UnixMillis,
    ) -> Result<Changes, Problem> {
        if let Some(Record { state: State::Finished { host: Some(by), finish: said }, .. }) =
            self.runs.get(run)
            && (*by, said) == (host, &finish)
        {
            return Ok(Changes::default());
        }
        let record = self.held(run, host)?;
        record.finish(Some(host), finish, now);
        self.claimed.remove(run);
        self.finished.push_back(*run);
        Ok(Changes::of(*run))
    }

    fn held(&mut self, run: &RunId, key: VerifyingKey) -> Result<&mut Record, Problem> {
        let record = self.runs.get_mut(run).ok_or_else(|| Problem::new(Code::NotFound))?;
        match &record.state {
            State::Claimed { host, .. } if *host == key => Ok(record),
            State::Queued | State::Claimed { .. } | State::Finished { .. } => {
                Err(Problem::new(Code::ClaimLost))
            }
        }
    }
}

fn lease_end(now: UnixMillis) -> UnixMillis {
    UnixMillis::new(now.get().saturating_add(CLAIM_LEASE_MS))
}
