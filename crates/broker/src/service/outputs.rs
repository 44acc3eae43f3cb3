//! Results out: receipt, reviews, policy, record, proof, and only then the key process.

use cordon_crypto::SealedBox;
use cordon_crypto::dsse::{Envelope, Signed};
use cordon_govern::clearance::{
    ClearanceFacts, Delivery, Received, Recorded, ReviewOutcome, Session,
};
use cordon_govern::document::{DocumentError, check_review};
use cordon_govern::{Code, Denial, Recognized};
use cordon_hub::MailboxName;
use cordon_hub::client::ClientError;
use cordon_keystore::ReleaseRequest;
use cordon_protocol::agreement::Review;
use cordon_protocol::entry::Action;
use cordon_protocol::message::{Mail, ToPerson};
use cordon_protocol::release::ReviewCopy;
use cordon_protocol::{Release, ReviewDecision, RunId};
use cordon_types::Sha256Digest;

use futures_util::stream::{self, StreamExt as _};

use super::{Broker, ServiceError, append};
use crate::api::Recorded as Answer;
use crate::records::{agreements, nonces, outputs, runs};
use crate::store::{Conflict, StoreError};

impl Broker {
    /// Takes in what a run came to, with this broker's share of the result key.
    ///
    /// # Errors
    /// The refusal, which is recorded.
    pub async fn deliver(
        &self,
        run: RunId,
        receipt: &Envelope,
        share: Option<SealedBox>,
        reviews: Vec<ReviewCopy>,
    ) -> Result<Sha256Digest, ServiceError> {
        let now = self.now();
        let readers = self.store.readers();
        let record = runs::get(readers, run).await?.ok_or(ServiceError::NotFound("run"))?;
        let recognized = self.look_at(record.context.agreement).await?.recognized;
        let delivery = Delivery { receipt, share: share.as_ref(), reviews: &reviews };
        let received = Session::receive(&recognized, &record.context, delivery, now);
        let session = match received {
            Ok(session) => session,
            Err(denial) => return Err(self.refuse(*denial).await),
        };
        let digest = session.receipt().digest();
        if let Some(held) = outputs::receipt(readers, run).await? {
            // The guard asks again when an answer is lost.
            return match held.receipt.digest() == digest {
                true => Ok(digest),
                false => Err(ServiceError::Conflict(Conflict::Exists)),
            };
        }
        let entry = session.held_entry(now);
        let held = outputs::Held { receipt: session.receipt().clone(), share, reviews };
        self.store
            .write(move |c| {
                Box::pin(async move {
                    let index = append(c, &entry).await?;
                    match outputs::insert_receipt(c, run, &held, index).await? {
                        true => Ok(()),
                        // Another delivery was quicker; its entry stands.
                        false => Err(StoreError::Conflict(Conflict::Exists)),
                    }
                })
            })
            .await?;
        self.log.wake();
        self.outputs_changed.notify_one();
        Ok(digest)
    }

    /// Takes a reviewer's decision about an output in.
    ///
    /// # Errors
    /// The refusal, which is recorded.
    pub async fn decide_review(&self, envelope: &Envelope) -> Result<Answer, ServiceError> {
        let now = self.now();
        let claimed = envelope
            .open::<ReviewDecision>(&envelope.claimed_signer())
            .map_err(|error| ServiceError::Malformed(error.to_string()))?;
        let run = claimed.value().run;
        let held = outputs::receipt(self.store.readers(), run).await?;
        let held = held.ok_or(ServiceError::NotFound("receipt"))?;
        let agreement = held.receipt.value().agreement;
        let recognized = self.look_at(agreement).await?.recognized;
        let review = match check_review(envelope, &recognized, &held.receipt, now) {
            Ok(review) => review,
            Err(error) => {
                let action = Action::OutputReviewed;
                return Err(self.refuse_document(error, action, Some(agreement), Some(run)).await);
            }
        };
        let person = self.person(&review.value().person, None);
        let mut entry = self.entry(person, Action::OutputReviewed, review.digest());
        entry.study = Some(recognized.value().study.clone());
        entry.agreement = Some(agreement);
        entry.run = Some(run);
        let (digest, nonce) = (review.digest(), review.value().nonce);
        let index = self
            .store
            .write(move |c| {
                Box::pin(async move {
                    nonces::spend(c, nonce, now).await?;
                    let index = append(c, &entry).await?;
                    outputs::insert_review(c, &review, index).await?;
                    Ok(index)
                })
            })
            .await?;
        self.log.wake();
        self.outputs_changed.notify_one();
        Ok(Answer { digest, entry: Some(index) })
    }

    /// Decides every output that can be decided, and finishes every clearance that a crash, silent
    /// witnesses or an unreachable hub left. Says whether something is left to try again.
    pub async fn tend_outputs(&self) -> Result<bool, ServiceError> {
        // Several at once: one that waits for a silent witness keeps no other waiting.
        let undecided = outputs::undecided(self.store.readers()).await?;
        let decided = stream::iter(undecided)
            .map(|(run, _)| async move { self.tried(run, self.decide(run).await) })
            .buffer_unordered(AT_ONCE)
            .fold(true, |all, done| async move { all && done })
            .await;
        let unfinished = outputs::unfinished(self.store.readers()).await?;
        let finished = stream::iter(unfinished)
            .map(|run| async move { self.tried(run, self.finish(run).await) })
            .buffer_unordered(AT_ONCE)
            .fold(true, |all, done| async move { all && done })
            .await;
        Ok(!(decided && finished))
    }

    fn tried(&self, run: RunId, result: Result<(), ServiceError>) -> bool {
        match result {
            Ok(()) => true,
            Err(ServiceError::Denied(denial)) => {
                // A broken or too strict rule of the holder's own can be mended: after a restart
                // with other rules, these outputs are looked at again.
                super::lock(&self.refused_outputs).insert(run);
                tracing::info!(%run, code = denial.code().as_str(), "an output is not cleared");
                true
            }
            Err(error) => {
                tracing::warn!(%run, code = error.code(), error = crate::why(&error), "an output waits");
                false
            }
        }
    }

    /// Clears an output if everybody who must look has, and the policy permits.
    async fn decide(&self, run: RunId) -> Result<(), ServiceError> {
        if super::lock(&self.refused_outputs).contains(&run) {
            return Ok(());
        }
        let readers = self.store.readers();
        let record = runs::get(readers, run).await?.ok_or(ServiceError::NotFound("run"))?;
        let held = outputs::receipt(readers, run).await?;
        let held = held.ok_or(ServiceError::NotFound("receipt"))?;
        let looked = self.look_at(record.context.agreement).await?;
        let reviews = outputs::reviews(readers, run).await?;
        if is_reviewed_by_nobody(&looked.recognized, &reviews) {
            // People look later; witnesses need not be waited for.
            return Ok(());
        }
        self.wait_for_witnesses(&looked.recognized).await;
        // Waiting takes time in which people act: what is decided by is looked at after it.
        let (now, looked) = (self.now(), self.look_at(record.context.agreement).await?);
        let delivery = Delivery {
            receipt: held.receipt.envelope(),
            share: held.share.as_ref(),
            reviews: &held.reviews,
        };
        let session =
            Session::<Received>::receive(&looked.recognized, &record.context, delivery, now);
        let session = match session {
            Ok(session) => session,
            Err(denial) => return Err(self.refuse_output(run, *denial).await),
        };
        let reviews = outputs::reviews(readers, run).await?;
        let session = match session.review(&reviews, now) {
            ReviewOutcome::Complete(session) => session,
            ReviewOutcome::Waiting(_) => return Ok(()),
            ReviewOutcome::Withheld { denial, .. } => {
                return Err(self.refuse_output(run, *denial).await);
            }
        };
        let facts = ClearanceFacts {
            study_stopped: looked.stopped,
            standing: &looked.standing,
            earlier_releases: outputs::count_cleared(readers, &looked.recognized.value().study)
                .await?,
            broker: self.state_for(&looked)?,
        };
        let session = match session.permit(&self.policy, facts, now) {
            Ok(session) => session,
            Err(denial) if is_for_now(denial.code()) => {
                return Err(ServiceError::Unavailable(denial.sentence().to_owned()));
            }
            Err(denial) => return Err(self.refuse_output(run, *denial).await),
        };
        let (entry, context) = (session.entry().clone(), session.context().clone());
        let reviews = reviews.len();
        self.store
            .write(move |c| {
                Box::pin(async move {
                    agreements::still_open(c, context.agreement).await?;
                    outputs::as_reviewed(c, run, reviews).await?;
                    let index = append(c, &entry).await?;
                    match outputs::insert_clearance(c, &context, index).await? {
                        true => Ok(()),
                        false => Err(StoreError::Conflict(Conflict::Exists)),
                    }
                })
            })
            .await?;
        self.log.wake();
        // From here on it is a clearance to be finished, now or after a restart.
        Ok(())
    }

    /// Opens this broker's share for the recipients of a recorded clearance, and delivers it.
    async fn finish(&self, run: RunId) -> Result<(), ServiceError> {
        if super::lock(&self.refused_outputs).contains(&run) {
            return Ok(());
        }
        let readers = self.store.readers();
        let cleared = outputs::clearance(readers, run).await?;
        let cleared = cleared.ok_or(ServiceError::NotFound("clearance"))?;
        let looked = self.look_at(cleared.context.agreement).await?;
        match self.let_out(&looked.recognized, run, cleared).await {
            Err(ServiceError::Conflict(conflict @ (Conflict::Closed | Conflict::Reviewed))) => {
                Err(self.refuse_late(&looked.recognized, run, conflict).await)
            }
            released => released,
        }
    }

    async fn let_out(
        &self,
        recognized: &Recognized,
        run: RunId,
        cleared: outputs::Cleared,
    ) -> Result<(), ServiceError> {
        let release = match cleared.release.clone() {
            Some(release) => release,
            None => self.make_release(recognized, run, cleared).await?,
        };
        // What has not left does not leave after a stop or a rejection, opened or not.
        self.last_word(recognized, run, true).await?;
        if let Err(error) = self.send(recognized, &release).await {
            if error.has_not_reached_the_hub() {
                let here = self.store.write(move |c| {
                    Box::pin(async move { outputs::set_sending(c, run, false).await })
                });
                here.await?;
            }
            return Err(ServiceError::Unavailable(error.to_string()));
        }
        self.store.write(move |c| Box::pin(async move { outputs::set_sent(c, run).await })).await?;
        Ok(())
    }

    /// Fails if the study was stopped or the output rejected; else, before it is sent, notes that it
    /// may be on its way, in one transaction. What may be out already is not said to be held back.
    async fn last_word(
        &self,
        recognized: &Recognized,
        run: RunId,
        sending: bool,
    ) -> Result<(), ServiceError> {
        let agreement = recognized.agreement().digest();
        let word = self.store.write(move |c| {
            Box::pin(async move {
                if outputs::is_sending(c, run).await? {
                    return Ok(());
                }
                agreements::still_open(c, agreement).await?;
                outputs::not_rejected(c, run).await?;
                if sending { outputs::set_sending(c, run, true).await } else { Ok(()) }
            })
        });
        Ok(word.await?)
    }

    /// Stopped or rejected between decision and release: what is here does not leave.
    async fn refuse_late(
        &self,
        recognized: &Recognized,
        run: RunId,
        conflict: Conflict,
    ) -> ServiceError {
        let code = match conflict {
            Conflict::Reviewed => Code::ReviewRejected,
            _ => Code::StudyStopped,
        };
        let reason = format!("after the decision and before the release was delivered: {conflict}");
        let agreement = Some(recognized.agreement().digest());
        let (known, action) = (self.directory(), Action::OutputRefused);
        let error = DocumentError::new(code, reason);
        let denial = error.deny(&known, action, agreement, Some(run), self.now());
        self.refuse_output(run, denial).await
    }

    /// Records that an output is not cleared: for good, unless it is the holder's own rules that
    /// say so.
    async fn refuse_output(&self, run: RunId, denial: Denial) -> ServiceError {
        let for_good = !is_a_holders_rule(denial.code());
        self.record_refusal(denial, for_good.then_some(run)).await
    }

    async fn make_release(
        &self,
        recognized: &Recognized,
        run: RunId,
        cleared: outputs::Cleared,
    ) -> Result<Envelope, ServiceError> {
        let held = outputs::receipt(self.store.readers(), run).await?;
        let held = held.ok_or(ServiceError::NotFound("receipt"))?;
        let share = held.share.ok_or(ServiceError::NotFound("share"))?;
        let bytes = crate::log::entry(self.store.readers(), cleared.entry).await?;
        let bytes = bytes.ok_or(ServiceError::NotFound("log entry"))?;
        let proof = self.log.prove(cleared.entry, &bytes, recognized.witnesses()).await?;
        let session =
            Session::<Recorded>::resume(recognized, held.receipt, cleared.context, &bytes, &proof);
        let session = session.map_err(ServiceError::internal)?;
        let order = session.release_order();
        let request = ReleaseRequest {
            context: order.context.clone(),
            entry: order.entry.to_vec().into(),
            proof: order.proof.to_owned(),
            agreement: recognized.agreement().signed().envelope().clone(),
            share,
        };
        // The proof took time in which somebody may have pressed stop, or rejected the output.
        self.last_word(recognized, run, false).await?;
        let shares = self.keys.release(request).await.map_err(ServiceError::Keys)?;
        let release: Signed<Release> =
            session.release(shares, &self.key).map_err(ServiceError::internal)?;
        let envelope = release.envelope().clone();
        let kept = envelope.clone();
        self.store
            .write(move |c| Box::pin(async move { outputs::set_release(c, run, &kept).await }))
            .await?;
        Ok(envelope)
    }

    /// Puts a release where recipients look for it. Each share in it opens for its recipient only.
    async fn send(&self, recognized: &Recognized, release: &Envelope) -> Result<(), ClientError> {
        let Some(hub) = &self.hub else { return Ok(()) };
        hub.put_document(release).await?;
        for person in &recognized.value().recipients {
            let to = MailboxName::Person(person.party.clone(), person.person.clone());
            let body = ToPerson::Release { release: Box::new(release.clone()) };
            let mail = Mail { id: self.nonce(), reply_to: None, body };
            if let Err(error) = hub.post(&to, &mail).await {
                // It is among the hub's documents anyway.
                tracing::info!(%to, error = crate::why(&error), "a recipient's mailbox took no release");
            }
        }
        Ok(())
    }
}

/// Whether a denial says something about this moment only.
fn is_for_now(code: Code) -> bool {
    matches!(code, Code::WitnessesMissing | Code::LogNotCurrent | Code::ClockSetBack)
}

/// Whether reviewers have to look, and none has.
fn is_reviewed_by_nobody(agreement: &Recognized, reviews: &[Signed<ReviewDecision>]) -> bool {
    reviews.is_empty() && agreement.value().output.review == Review::EachHolder
}

/// Outputs that are decided about at a time.
const AT_ONCE: usize = 16;

fn is_a_holders_rule(code: Code) -> bool {
    matches!(code, Code::HolderRule | Code::PolicyError)
}
