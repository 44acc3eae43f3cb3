//! Runs over HTTP: requesters submit, hosts claim and report, anybody who knows a run's id can
//! see where it is.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use cordon_crypto::dsse::{Document as _, Envelope};
use cordon_crypto::{VerifyingKey, sha256};
use cordon_protocol::Agreement;
use cordon_protocol::message::is_detail;
use cordon_protocol::run::{RunId, RunRequest};
use cordon_types::UnixMillis;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::problem::{Code, Problem};
use super::queue::{Changes, Queue, Record};
use super::{Hub, blocking, durable, json, lock, query, read, read_body, write};
use crate::api::{
    Claim, Finish, MAX_WAIT_MS, Progress, RunState, RunStatus, digest_from_hex, is_code,
};

/// A run request of 64 KiB, base64, and its signature.
const MAX_REQUEST_ENVELOPE_BYTES: usize = 96 * 1024;
/// A report of a host.
const MAX_REPORT_BYTES: usize = 4 * 1024;

/// The run queue on disk: one file per run, replaced atomically before anybody hears of the
/// change.
pub(crate) struct Runs {
    folder: PathBuf,
    inner: Mutex<Inner>,
    /// Keys that hold claims, readable without waiting for the disk.
    hosts: RwLock<BTreeSet<VerifyingKey>>,
    /// Wakes whoever waits for a run to claim, or for a change of one.
    changed: Notify,
}

struct Inner {
    queue: Queue,
    /// Runs whose files are behind. Nothing is confirmed while there are any: a full disk must
    /// not make a retry look stored.
    unsaved: BTreeSet<RunId>,
}

impl Runs {
    pub(crate) fn open(
        folder: PathBuf,
        max_waiting: usize,
        max_kept: usize,
    ) -> std::io::Result<Self> {
        durable::create_folder(&folder)?;
        let mut records = Vec::new();
        for name in durable::list(&folder)? {
            match serde_json::from_slice::<Record>(&std::fs::read(folder.join(&name))?) {
                Ok(record) => records.push(record),
                Err(_) => tracing::error!("a stored run is of another version and ignored"),
            }
        }
        let queue = Queue::new(records, max_waiting, max_kept);
        let hosts = RwLock::new(queue.hosts());
        let inner = Mutex::new(Inner { queue, unsaved: BTreeSet::new() });
        Ok(Self { folder, inner, hosts, changed: Notify::new() })
    }

    pub(crate) fn is_host(&self, key: &VerifyingKey) -> bool {
        read(&self.hosts).contains(key)
    }

    /// Steps the queue and saves what changed before the lock is given back. Blocks.
    fn step<T>(
        &self,
        step: impl FnOnce(&mut Queue) -> Result<(T, Changes), Problem>,
    ) -> Result<T, Problem> {
        let mut inner = lock(&self.inner);
        let (value, changes) = step(&mut inner.queue)?;
        for run in &changes.forget {
            // A file that stays is a finished run that is remembered once more: harmless.
            let _ = std::fs::remove_file(file_of(&self.folder, run));
        }
        let stored = !changes.store.is_empty();
        inner.unsaved.extend(changes.store);
        if stored {
            *write(&self.hosts) = inner.queue.hosts();
        }
        while let Some(run) = inner.unsaved.first().copied() {
            if let Some(record) = inner.queue.get(&run) {
                let bytes = serde_json::to_vec(record).map_err(|_| Problem::new(Code::Internal))?;
                durable::replace(&file_of(&self.folder, &run), &bytes)
                    .map_err(|e| Problem::from_io("store run", &e))?;
            }
            inner.unsaved.remove(&run);
        }
        drop(inner);
        if stored || changes.visible {
            self.changed.notify_waiters();
        }
        Ok(value)
    }

    fn status(&self, run: &RunId) -> Option<RunStatus> {
        lock(&self.inner).queue.get(run).map(Record::status)
    }

    /// Where a run is once what ran out has ended, and how long until something else runs out:
    /// who waits for a run hears of its end although no host asks for work any more.
    fn status_at(
        &self,
        run: &RunId,
        now: UnixMillis,
    ) -> Result<(RunStatus, Option<Duration>), Problem> {
        let (status, left) = self.step(|queue| {
            let changes = queue.expire(now);
            let status = queue.get(run).map(Record::status);
            Ok(((status, queue.next_expiry(now)), changes))
        })?;
        Ok((status.ok_or_else(|| Problem::new(Code::NotFound))?, left))
    }
}

fn file_of(folder: &FilePath, run: &RunId) -> PathBuf {
    folder.join(format!("{}.json", run.0.to_hex()))
}

/// `POST /v1/runs`: a [`RunRequest`], signed by the requester of an agreement that is stored.
pub(super) async fn submit(
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Result<(StatusCode, Response), Problem> {
    let body = read_body(request.into_body(), MAX_REQUEST_ENVELOPE_BYTES).await?;
    let envelope = Envelope::from_json(&body, MAX_REQUEST_ENVELOPE_BYTES).map_err(refused)?;
    let status = blocking(move || {
        let now = hub.clock.now();
        let signer = envelope.claimed_signer();
        let request = envelope.open::<RunRequest>(&signer).map_err(refused)?.into_value();
        let run = RunId(envelope.payload_digest());
        // The same request twice is one run, and a retry may come after its time.
        if hub.runs.status(&run).is_none() {
            check_request(&hub, &request, &envelope)?;
            if request.not_after <= now.to_seconds() {
                return Err(Problem::new(Code::RunExpired));
            }
        }
        let entry = hub.documents.put(envelope.clone(), now)?;
        let (agreement, not_after) = (request.agreement, request.not_after);
        let record = Record::new(run, agreement, envelope, not_after, entry.received);
        hub.runs.step(|queue| {
            let changes = queue.submit(record)?;
            let record = queue.get(&run).ok_or_else(|| Problem::new(Code::Internal))?;
            Ok((record.status(), changes))
        })
    })
    .await?;
    Ok((StatusCode::CREATED, json(&status)?))
}

/// Keeps strangers from filling the queue; whether the run may happen is for the brokers.
fn check_request(hub: &Hub, request: &RunRequest, envelope: &Envelope) -> Result<(), Problem> {
    let agreement = match hub.documents.get(&request.agreement, None) {
        Ok(agreement) => agreement,
        Err(problem) if problem == Problem::new(Code::NotFound) => {
            return Err(Problem::new(Code::AgreementUnknown));
        }
        Err(problem) => return Err(problem),
    };
    let agreement = agreement.open::<Agreement>(&agreement.claimed_signer()).map_err(refused)?;
    if agreement.value().requester.signing_key != envelope.claimed_signer() {
        return Err(Problem::with(Code::NotYours, "the agreement names another requester"));
    }
    Ok(())
}

fn refused(error: cordon_crypto::dsse::EnvelopeError) -> Problem {
    Problem::with(Code::DocumentRefused, error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    #[serde(default)]
    wait_ms: u64,
}

/// `POST /v1/queue/claims?wait_ms=`: a host takes the oldest waiting run; 204 if there is none.
pub(super) async fn claim(
    State(hub): State<Arc<Hub>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = read_body(body, 0).await?;
    let host = hub.signer(&parts, sha256(&[&body]))?;
    hub.require_host(&host)?;
    let Wait { wait_ms } = query(&parts.uri)?;
    let deadline = Instant::now() + Duration::from_millis(wait_ms.min(MAX_WAIT_MS));
    loop {
        let mut changed = std::pin::pin!(hub.runs.changed.notified());
        changed.as_mut().enable();
        let (claimed, left) = {
            let hub = hub.clone();
            blocking(move || hub.claim_now(host)).await?
        };
        if let Some(claim) = claimed {
            return json(&claim);
        }
        if Instant::now() >= deadline {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep_until(next_look(deadline, left)) => {}
            () = hub.stopping() => return Ok(StatusCode::NO_CONTENT.into_response()),
        }
    }
}

impl Hub {
    /// A run for this host, if one waits; else how long until something runs out.
    fn claim_now(&self, host: VerifyingKey) -> Result<(Option<Claim>, Option<Duration>), Problem> {
        let now = self.clock.now();
        self.runs.step(|queue| {
            let mut changes = queue.expire(now);
            let claim = queue.claim(host, now).map(|(claim, more)| {
                changes.store.extend(more.store);
                claim
            });
            Ok(((claim, queue.next_expiry(now)), changes))
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Watch {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait_ms: u64,
}

/// `GET /v1/runs/{hex}?after=&wait_ms=`: where a run is; waits until its revision is another
/// than `after`.
pub(super) async fn status(
    State(hub): State<Arc<Hub>>,
    Path(hex): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let run = parse_run(&hex)?;
    let watch: Watch = query(&uri)?;
    let deadline = Instant::now() + Duration::from_millis(watch.wait_ms.min(MAX_WAIT_MS));
    loop {
        let mut changed = std::pin::pin!(hub.runs.changed.notified());
        changed.as_mut().enable();
        let (status, left) = {
            let hub = hub.clone();
            blocking(move || hub.runs.status_at(&run, hub.clock.now())).await?
        };
        let settled = status.state == RunState::Finished || status.revision != watch.after;
        if settled || Instant::now() >= deadline {
            return json(&status);
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep_until(next_look(deadline, left)) => {}
            () = hub.stopping() => return json(&status),
        }
    }
}

/// `PUT /v1/runs/{hex}/progress`: the host is still at it.
pub(super) async fn progress(
    State(hub): State<Arc<Hub>>,
    Path(hex): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let run = parse_run(&hex)?;
    let (host, progress): (_, Progress) = report(&hub, request).await?;
    blocking(move || {
        let now = hub.clock.now();
        let step = |queue: &mut Queue| Ok(((), queue.progress(&run, host, progress, now)?));
        hub.runs.step(step)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /v1/runs/{hex}/finish`: the host's last word.
pub(super) async fn finish(
    State(hub): State<Arc<Hub>>,
    Path(hex): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let run = parse_run(&hex)?;
    let (host, finish): (_, Finish) = report(&hub, request).await?;
    if !is_code(&finish.code) {
        return Err(Problem::with(Code::BadRequest, "a code is lower case, digits, underscores"));
    }
    if !finish.detail.as_deref().is_none_or(is_detail) {
        return Err(Problem::with(Code::BadRequest, "a detail is one line of bounded length"));
    }
    blocking(move || {
        let now = hub.clock.now();
        hub.runs.step(|queue| Ok(((), queue.finish(&run, host, finish, now)?)))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// When a long poll looks again without having been woken.
fn next_look(deadline: Instant, left: Option<Duration>) -> Instant {
    let now = Instant::now();
    let rest = deadline.saturating_duration_since(now);
    now + left.map_or(rest, |left| left.min(rest))
}

async fn report<T: DeserializeOwned>(
    hub: &Hub,
    request: Request,
) -> Result<(VerifyingKey, T), Problem> {
    let (parts, body) = request.into_parts();
    let body = read_body(body, MAX_REPORT_BYTES).await?;
    let host = hub.signer(&parts, sha256(&[&body]))?;
    let report = serde_json::from_slice(&body)
        .map_err(|_| Problem::with(Code::BadRequest, "the body is not the expected JSON"))?;
    Ok((host, report))
}

fn parse_run(hex: &str) -> Result<RunId, Problem> {
    digest_from_hex(hex).map(RunId).ok_or_else(|| {
        Problem::with(Code::BadRequest, "a run is named by 64 lower-case hex digits")
    })
}

const _: () = assert!(RunRequest::MAX_BYTES * 4 / 3 + 1024 <= MAX_REQUEST_ENVELOPE_BYTES);
