//! One run: fetch what it needs, start the guard, relay until it has finished.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cordon_crypto::dsse::Envelope;
use cordon_crypto::{Random, SystemRandom};
use cordon_protocol::Agreement;
use cordon_protocol::evidence::Evidence;
use cordon_protocol::message::{FromBroker, FromGuard, Mail, ToBroker, ToPerson, is_detail};
use cordon_protocol::run::{RunId, RunRequest};
use cordon_types::{Nonce, PartyId, Sha256Digest};
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Host;
use super::guard::GuardLink;
use super::relay::{GuardFrame, Relay};
use crate::api::{Claim, Finish, MailboxName, Progress, is_code};
use crate::client::{Client, Mailbox};

/// A guard ends its run at the agreement's deadline, which it counts from the start of the worker;
/// one that does not is killed so much later. What comes before and after the worker, the start,
/// challenges, a plan, grants and deliveries, has deadlines of its own in the guard, of 5.5 min.
const DEADLINE_MARGIN: Duration = Duration::from_secs(8 * 60);
/// How long what a guard said to brokers is kept for them when the hub is away.
const DELIVER_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// After the hub could not be reached.
const POST_PAUSE: Duration = Duration::from_secs(1);
/// No run takes longer, whatever an agreement says.
const LONGEST_RUN: Duration = Duration::from_secs(24 * 60 * 60);
/// Messages to brokers that may be open at a time: a handful per holder.
const MAX_OPEN_MESSAGES: usize = 256;
/// Reads that may wait their turn.
const MAX_OPEN_READS: usize = 64;
/// Reads that are under way at a time; their answers keep their order.
const PARALLEL_READS: usize = 4;
/// Progress is passed on at most so often, except a new stage.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Executes a claimed run and tells the hub how it ended.
pub(super) async fn execute(host: Arc<Host>, claim: Claim, mut stopping: watch::Receiver<bool>) {
    let run = claim.run;
    let (progress, reported) = watch::channel(Progress { stage: None, bytes_read: 0 });
    let lease = claim.lease_ms.to_duration();
    // Whatever is dropped here unfinished kills its guard.
    let finish = tokio::select! {
        finish = relay_run(&host, claim, progress) => finish,
        () = renew(&host.client, run, reported, lease) => {
            tracing::warn!(%run, "the claim was lost, the guard is killed");
            return;
        }
        _ = stopping.wait_for(|stop| *stop) => failed("host_stopped"),
    };
    tracing::info!(%run, code = finish.code, "run finished");
    if let Err(error) = host.client.finish_run(&run, &finish).await {
        tracing::warn!(%run, code = error.code(), "cannot tell the hub that a run has finished");
    }
}

/// Keeps the claim until it is lost.
async fn renew(
    client: &Client,
    run: RunId,
    mut progress: watch::Receiver<Progress>,
    lease: Duration,
) {
    let mut open = true;
    loop {
        let told = *progress.borrow_and_update();
        if let Err(error) = client.report_progress(&run, told).await
            && matches!(error.code(), Some("claim_lost" | "not_found"))
        {
            return;
        }
        let due = Instant::now() + lease / 3;
        let pause = Instant::now() + PROGRESS_EVERY.min(lease / 3);
        let new_stage = async {
            if !open || progress.wait_for(|now| now.stage != told.stage).await.is_err() {
                // The run is over; only its last word is outstanding.
                open = false;
                tokio::time::sleep_until(due).await;
            }
        };
        tokio::select! {
            () = new_stage => continue,
            () = tokio::time::sleep_until(pause) => {}
        }
        if *progress.borrow() == told {
            tokio::time::sleep_until(due).await;
        }
    }
}

fn failed(code: &str) -> Finish {
    Finish::without_receipt(code)
}

async fn relay_run(host: &Host, claim: Claim, progress: watch::Sender<Progress>) -> Finish {
    let run = claim.run;
    let result = async {
        let (agreement_envelope, agreement) = agreement_of(host, &claim.request).await?;
        let engine = host.engines.get(agreement.program.engine, &host.client).await;
        let engine = engine.map_err(|error| {
            tracing::warn!(%run, %error, "no engine");
            failed("engine_unavailable")
        })?;
        let link = launch(host, run).await?;
        let mailbox = Mailbox::open(host.client.clone(), Box::new(SystemRandom::new())).await;
        let mailbox = Arc::new(mailbox.map_err(|_| failed("hub_unavailable"))?);
        let start = GuardFrame::Start {
            agreement: Box::new(agreement_envelope),
            request: Box::new(claim.request),
            engine,
        };
        let relay = Arc::new(Mutex::new((host.relay)(run)));
        let session = Session { host, run, agreement: &agreement, mailbox, relay, progress };
        Ok::<_, Finish>(session.run(link, start).await)
    };
    result.await.unwrap_or_else(|finish| finish)
}

async fn agreement_of(host: &Host, request: &Envelope) -> Result<(Envelope, Agreement), Finish> {
    // Whose signatures these must be is for guard and brokers.
    let request = request
        .open::<RunRequest>(&request.claimed_signer())
        .map_err(|_| failed("request_malformed"))?;
    let unavailable = |_| failed("agreement_unavailable");
    let digest = request.value().agreement;
    let envelope = host.client.document(&digest, None).await.map_err(unavailable)?;
    let agreement = envelope
        .open::<Agreement>(&envelope.claimed_signer())
        .map_err(|_| failed("agreement_malformed"))?;
    Ok((envelope, agreement.into_value()))
}

async fn launch(host: &Host, run: RunId) -> Result<GuardLink, Finish> {
    let launcher = host.launcher.clone();
    let link = tokio::task::spawn_blocking(move || launcher.launch().and_then(GuardLink::new));
    link.await.map_err(std::io::Error::other).flatten().map_err(|error| {
        tracing::error!(%run, kind = ?error.kind(), "cannot start a guard");
        failed("guard_not_started")
    })
}

type SharedRelay = Arc<Mutex<Box<dyn Relay>>>;

/// What comes next from a guard, after the relay.
enum Step {
    Go,
    End(Finish),
}

struct Read {
    object: Sha256Digest,
    offset: u64,
    length: u32,
}

struct Session<'a> {
    host: &'a Host,
    run: RunId,
    agreement: &'a Agreement,
    mailbox: Arc<Mailbox>,
    relay: SharedRelay,
    progress: watch::Sender<Progress>,
}

/// What a session has under way.
struct Work {
    to_guard: mpsc::Sender<GuardFrame>,
    questions: JoinSet<()>,
    /// Each question holds one until the hub has taken it.
    unposted: mpsc::Sender<()>,
    reads: mpsc::Sender<Read>,
    deadline: Instant,
    result_lost: bool,
}

impl Session<'_> {
    async fn run(self, mut link: GuardLink, start: GuardFrame) -> Finish {
        let limit = self.agreement.limits.deadline_ms.to_duration();
        let deadline = Instant::now() + limit.saturating_add(DEADLINE_MARGIN).min(LONGEST_RUN);
        let (reads, wanted) = mpsc::channel(MAX_OPEN_READS);
        let (unposted, mut all_posted) = mpsc::channel(1);
        let mut work = Work {
            to_guard: link.to_guard.clone(),
            questions: JoinSet::new(),
            unposted,
            reads,
            deadline,
            result_lost: false,
        };
        let read = Mutex::default();
        let ranges =
            serve_reads(self.host, wanted, self.relay.clone(), link.to_guard.clone(), &read);
        let messages = self.relay_messages(&mut link, &mut work, start);
        // Serving ends only with the guard, so the messages decide.
        let finish = tokio::select! {
            finish = messages => finish,
            () = never_after(ranges) => failed("guard_crashed"),
        };
        drop(link);
        if finish.code != "ok" {
            self.host.cache.forget(&read.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        // Shares of a result that have not left would be lost with the guard, for good.
        let Work { mut questions, unposted, .. } = work;
        drop(unposted);
        let _ = tokio::time::timeout(DELIVER_PATIENCE, all_posted.recv()).await;
        questions.shutdown().await;
        if let Some(mailbox) = Arc::into_inner(self.mailbox) {
            // The hub removes it later if this fails.
            drop(mailbox.close().await);
        }
        finish
    }

    async fn relay_messages(
        &self,
        link: &mut GuardLink,
        work: &mut Work,
        start: GuardFrame,
    ) -> Finish {
        send(&self.relay, &work.to_guard, start).await;
        loop {
            let message = tokio::select! {
                message = link.from_guard.recv() => message,
                () = tokio::time::sleep_until(work.deadline) => return failed("run_deadline"),
            };
            while work.questions.try_join_next().is_some() {}
            let message = match message {
                Some(Ok(message)) => message,
                // Ended without a last word.
                None | Some(Err(_)) => return failed("guard_crashed"),
            };
            let passed = lock(&self.relay).out_of_guard(message);
            for message in passed {
                if let Step::End(finish) = self.act(message, work).await {
                    return finish;
                }
            }
        }
    }

    async fn act(&self, message: FromGuard, work: &mut Work) -> Step {
        match message {
            FromGuard::ToBroker { party, id, body } => {
                if work.questions.len() >= MAX_OPEN_MESSAGES {
                    return Step::End(failed("guard_floods"));
                }
                work.questions.spawn(ask(
                    self.mailbox.clone(),
                    self.relay.clone(),
                    work.to_guard.clone(),
                    Question { party, id, body, unposted: work.unposted.clone() },
                    work.deadline + DELIVER_PATIENCE,
                ));
            }
            FromGuard::Read { object, offset, length } => {
                if work.reads.try_send(Read { object, offset, length }).is_err() {
                    return Step::End(failed("guard_floods"));
                }
            }
            FromGuard::Progress { stage, bytes_read } => {
                tracing::info!(run = %self.run, ?stage, bytes_read, "progress");
                self.progress.send_replace(Progress { stage: Some(stage), bytes_read });
            }
            FromGuard::Store { sealed } => {
                let stored = self.host.client.put_object(Bytes::from(sealed.into_vec())).await;
                if let Err(error) = stored {
                    tracing::error!(run = %self.run, code = error.code(), "cannot store a result");
                    work.result_lost = true;
                }
            }
            FromGuard::Finished { receipt, evidence, code, refusal, detail } => {
                let last = LastWord { receipt, evidence, code, refusal, detail };
                return Step::End(self.deliver(last, work.result_lost).await);
            }
        }
        Step::Go
    }

    /// Hands receipt and refusal to those who wait for them.
    async fn deliver(&self, last: LastWord, result_lost: bool) -> Finish {
        let LastWord { receipt, evidence, code, refusal, detail } = last;
        let requester = &self.agreement.requester;
        let requester = MailboxName::Person(requester.party.clone(), requester.person.clone());
        if let Some(refusal) = refusal {
            self.keep_document(&refusal).await;
            self.post(&requester, ToPerson::Refused { refusal }).await;
        }
        let mut digest = None;
        if let Some(receipt) = receipt {
            digest = self.keep_document(&receipt).await;
            let recipients = self.agreement.recipients.iter();
            let recipients = recipients
                .map(|person| MailboxName::Person(person.party.clone(), person.person.clone()));
            let readers: BTreeSet<_> = recipients.chain([requester]).collect();
            for reader in &readers {
                if let Some(evidence) = evidence.clone() {
                    let receipt = receipt.clone();
                    self.post(reader, ToPerson::Receipt { receipt, evidence }).await;
                }
            }
        }
        let code = match code.as_str() {
            "ok" if result_lost => "result_not_stored".to_owned(),
            said if is_code(said) => code,
            _ => "guard_malformed".to_owned(),
        };
        Finish { code, receipt: digest, detail: detail.filter(|detail| is_detail(detail)) }
    }

    async fn keep_document(&self, document: &Envelope) -> Option<Sha256Digest> {
        match self.host.client.put_document(document).await {
            Ok(digest) => Some(digest),
            Err(error) => {
                tracing::warn!(run = %self.run, code = error.code(), "cannot store a document");
                None
            }
        }
    }

    async fn post(&self, to: &MailboxName, body: ToPerson) {
        let id = (&mut SystemRandom::new() as &mut dyn Random).nonce();
        let posted = self.host.client.post(to, &Mail { id, reply_to: None, body }).await;
        if let Err(error) = posted {
            tracing::warn!(run = %self.run, %to, code = error.code(), "cannot post to a person");
        }
    }
}

struct LastWord {
    receipt: Option<Envelope>,
    evidence: Option<Evidence>,
    code: String,
    refusal: Option<Envelope>,
    detail: Option<String>,
}

/// A guard's message to a broker.
struct Question {
    party: PartyId,
    id: Nonce,
    body: Box<ToBroker>,
    unposted: mpsc::Sender<()>,
}

/// Asks a broker and hands its answer to the guard. No answer is for the guard to notice: it has
/// deadlines of its own.
async fn ask(
    mailbox: Arc<Mailbox>,
    relay: SharedRelay,
    to_guard: mpsc::Sender<GuardFrame>,
    question: Question,
    deadline: Instant,
) {
    let Question { party, id, body, unposted } = question;
    let to = MailboxName::Party(party.clone());
    let posted = loop {
        match mailbox.post_with_id(&to, id, &body).await {
            Ok(posted) => break posted,
            // The same message again: a broker that had it already does nothing new.
            Err(error) if error.is_for_now() && Instant::now() < deadline => {
                tracing::warn!(%party, code = error.code(), "the hub took no message: trying again");
                tokio::time::sleep(POST_PAUSE).await;
            }
            Err(error) => {
                return tracing::warn!(%party, code = error.code(), "the hub takes no message");
            }
        }
    };
    drop(unposted);
    match posted.answer(deadline.saturating_duration_since(Instant::now())).await {
        Ok(body) => {
            let body: Box<FromBroker> = Box::new(body);
            send(&relay, &to_guard, GuardFrame::FromBroker { party, id, body }).await;
        }
        Err(error) => tracing::warn!(%party, code = error.code(), "a broker did not answer"),
    }
}

/// Serves reads in the order in which they were asked for.
async fn serve_reads(
    host: &Host,
    wanted: mpsc::Receiver<Read>,
    relay: SharedRelay,
    to_guard: mpsc::Sender<GuardFrame>,
    read: &Mutex<BTreeSet<Sha256Digest>>,
) {
    let wanted = futures_util::stream::unfold(wanted, |mut wanted| async move {
        wanted.recv().await.map(|read| (read, wanted))
    });
    let answers = wanted.map(|want| async move {
        read.lock().unwrap_or_else(PoisonError::into_inner).insert(want.object);
        match host.cache.read(want.object, want.offset, want.length).await {
            Ok(bytes) => GuardFrame::Range(bytes),
            Err(error) => {
                tracing::warn!(object = %want.object, %error, "a range cannot be had");
                GuardFrame::RangeFailed
            }
        }
    });
    let mut answers = std::pin::pin!(answers.buffered(PARALLEL_READS));
    while let Some(frame) = answers.next().await {
        send(&relay, &to_guard, frame).await;
    }
}

async fn never_after(work: impl Future<Output = ()>) {
    work.await;
    std::future::pending::<()>().await;
}

/// Passes a frame through the relay and on to the guard.
async fn send(relay: &SharedRelay, to_guard: &mpsc::Sender<GuardFrame>, frame: GuardFrame) {
    let frames = lock(relay).to_guard(frame);
    for frame in frames {
        // An error means that the guard is gone, which its other channel tells.
        if to_guard.send(frame).await.is_err() {
            return;
        }
    }
}

fn lock(relay: &SharedRelay) -> std::sync::MutexGuard<'_, Box<dyn Relay>> {
    relay.lock().unwrap_or_else(PoisonError::into_inner)
}
