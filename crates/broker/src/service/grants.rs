//! Keys in: challenge, evidence, policy, record, proof, and only then the key process.

use cordon_crypto::canonical::from_canonical;
use cordon_crypto::dsse::{Document as _, Envelope, Signed};
use cordon_govern::Code;
use cordon_govern::document::DocumentError;
use cordon_govern::grant::{DatasetVersion, GrantFacts, Recorded, Session, Trust};
use cordon_keystore::GrantRequest;
use cordon_protocol::entry::Action;
use cordon_protocol::evidence::RuntimeData;
use cordon_protocol::message::FromBroker;
use cordon_protocol::{Evidence, Manifest, RunId, RunRequest};
use cordon_types::Nonce;
use cordon_verifier::{Collateral, RejectionCode, TrustRoots};

use super::known::Looked;
use super::{Broker, ServiceError, append};
use crate::challenge::Taken;
use crate::records::{agreements, blobs, outputs, runs};

/// Whose evidence this broker believes.
pub struct Appraising {
    /// Roots of the vendors, or of a software TEE in development.
    pub roots: TrustRoots,
}

impl Broker {
    /// Opens a challenge for a requested run, and says which dataset versions would be released.
    ///
    /// # Errors
    /// The refusal, which is recorded.
    pub async fn challenge(&self, request: &Envelope) -> Result<FromBroker, ServiceError> {
        // Which agreement it is about is read before anything is believed, only to look it up.
        let claimed = request
            .open::<RunRequest>(&request.claimed_signer())
            .map_err(|error| ServiceError::Malformed(error.to_string()))?;
        let looked = self.look_at(claimed.value().agreement).await?;
        let (nonce, now) = (self.nonce(), self.now());
        let session = match Session::challenge(&looked.recognized, request, nonce, now) {
            Ok(session) => session,
            Err(denial) => return Err(self.refuse(*denial).await),
        };
        let run = session.run();
        self.wait_for_witnesses(&looked.recognized).await;
        let manifests = looked.newest_manifests()?;
        let versions = self.versions(&manifests);
        let foreseen = session.foresee(&self.policy, self.facts(&looked, &versions)?, self.now());
        if let Err(denial) = foreseen {
            // A guard that lost an answer asks again for what is spent already.
            if runs::get(self.store.readers(), run).await?.is_none() {
                return Err(self.refuse_stranger(*denial).await);
            }
        }
        if !self.challenges.open(run, nonce, session, now) {
            let reason = "several challenges of this run are open already".to_owned();
            return Err(ServiceError::Unavailable(reason));
        }
        Ok(FromBroker::Challenged {
            holder: self.card.value().party.clone(),
            nonce,
            manifests: manifests.iter().map(|manifest| manifest.envelope().clone()).collect(),
        })
    }

    /// Grants the agreed keys to the guard whose evidence this is.
    ///
    /// A guard that asks again, for example because the answer was lost, gets the same grant; the
    /// run is spent once. Another guard gets none.
    ///
    /// # Errors
    /// The refusal, which is recorded; or that witnesses or key process do not answer now.
    pub async fn grant(&self, run: RunId, evidence: &Evidence) -> Result<Envelope, ServiceError> {
        let earlier = runs::get(self.store.readers(), run).await?;
        if let Some(earlier) = &earlier
            && earlier.evidence == evidence.digest()
            && outputs::receipt(self.store.readers(), run).await?.is_none()
        {
            // It was appraised, fresh, when the grant was recorded; since then the broker, or the
            // answer, was lost. What is given again opens for this guard alone.
            return self.resume_grant(run, earlier.clone()).await;
        }
        let now = self.now();
        let claimed = self.claimed(evidence);
        let nonce = claimed.as_ref().and_then(|(_, nonce)| nonce.as_ref());
        let session = match self.challenges.take(run, nonce, now) {
            Taken::Session(session) => session,
            Taken::OtherNonce => {
                let (code, reason) = match claimed {
                    Some((claimed, _)) if claimed != run => {
                        (RejectionCode::WrongRun, format!("the evidence is about run {claimed}"))
                    }
                    _ => {
                        let reason = "the evidence carries no nonce that is open for this run";
                        (RejectionCode::NotFresh, reason.to_owned())
                    }
                };
                let code = Code::Evidence(code);
                return Err(self.refuse_grant(code, reason, run).await);
            }
            Taken::Nothing => {
                let reason = "no challenge is open for this run: evidence counts once".to_owned();
                return Err(self.refuse_grant(Code::NotChallenged, reason, run).await);
            }
        };
        let collateral = Collateral::none();
        let trust =
            Trust { roots: &self.appraising.roots, platform: None, collateral: &collateral };
        let session = match session.appraise(evidence, trust, now) {
            Ok(session) => session,
            Err(denial) => return Err(self.refuse(*denial).await),
        };
        if let Some(earlier) = earlier {
            if !session.is_guard_of(&earlier.context) {
                let reason = "the run was granted to another guard key".to_owned();
                return Err(self.refuse_grant(Code::OtherGuard, reason, run).await);
            }
            return self.resume_grant(run, earlier).await;
        }

        self.wait_for_witnesses(session.agreement()).await;
        // Waiting takes time in which people act: what is decided by is looked at after it.
        let now = self.now();
        let looked = self.look_at(session.agreement().agreement().digest()).await?;
        let manifests = looked.newest_manifests()?;
        let versions = self.versions(&manifests);
        let facts = self.facts(&looked, &versions)?;
        let appraisal = session.attestation_result().to_json().to_vec();
        let session = match session.permit(&self.policy, facts, now) {
            Ok(session) => session,
            Err(denial) => return Err(self.refuse(*denial).await),
        };

        // One transaction: the run is spent, the grant recorded, the entry in the log, or nothing.
        let evidence_bytes = serde_json::to_vec(evidence).map_err(ServiceError::internal)?;
        let entry = session.entry().clone();
        let mut record = runs::GrantRecord {
            request: session.request().clone(),
            signing_key: session.context().guard_signing_key,
            box_key: session.guard_box_key().clone(),
            evidence: session.context().evidence,
            context: session.context().clone(),
            entry: 0,
            envelope: None,
        };
        let written = self
            .store
            .write(move |c| {
                Box::pin(async move {
                    agreements::still_open(c, record.context.agreement).await?;
                    agreements::spend_run(c, record.context.agreement).await?;
                    blobs::put(c, record.evidence, blobs::Kind::Evidence, &evidence_bytes).await?;
                    let digest = record.context.appraisal;
                    blobs::put(c, digest, blobs::Kind::Appraisal, &appraisal).await?;
                    record.entry = append(c, &entry).await?;
                    runs::insert(c, run, &record).await?;
                    Ok(record.entry)
                })
            })
            .await;
        let index = match written {
            Ok(index) => index,
            Err(error) => {
                // The same guard asked twice at once, and the other question was quicker.
                let own = session.context();
                return match runs::get(self.store.readers(), run).await? {
                    Some(earlier)
                        if earlier.context.agreement == own.agreement
                            && earlier.context.guard_signing_key == own.guard_signing_key
                            && earlier.context.guard_box_key == own.guard_box_key =>
                    {
                        self.resume_grant(run, earlier).await
                    }
                    _ => Err(error.into()),
                };
            }
        };
        self.log.wake();

        let bytes = session.entry().to_bytes().map_err(ServiceError::internal)?;
        let proof = self.log.prove(index, &bytes, looked.recognized.witnesses()).await?;
        let session = session.record(&proof).map_err(ServiceError::internal)?;
        self.seal_grant(session).await
    }

    /// Finishes what a crash, a lost answer or silent witnesses left: nothing is decided or spent
    /// again.
    async fn resume_grant(
        &self,
        run: RunId,
        earlier: runs::GrantRecord,
    ) -> Result<Envelope, ServiceError> {
        // A stop, an expiry or a rejection since then counts, too.
        let looked = self.look_at(earlier.context.agreement).await?;
        if let Some(code) = self.ended(&looked) {
            let reason = format!("since the grant: {}", code.sentence());
            return Err(self.refuse_grant(code, reason, run).await);
        }
        if let Some(envelope) = earlier.envelope {
            return Ok(envelope);
        }
        let bytes = crate::log::entry(self.store.readers(), earlier.entry).await?;
        let bytes = bytes.ok_or(ServiceError::NotFound("log entry"))?;
        let proof = self.log.prove(earlier.entry, &bytes, looked.recognized.witnesses()).await?;
        let session = Session::<Recorded>::resume(
            &looked.recognized,
            earlier.request,
            earlier.context,
            earlier.box_key,
            &bytes,
            &proof,
        );
        self.seal_grant(session.map_err(ServiceError::internal)?).await
    }

    fn versions<'a>(&self, manifests: &[&'a Signed<Manifest>]) -> Vec<DatasetVersion<'a>> {
        let version =
            |manifest: &&'a _| DatasetVersion { manifest, key_active: self.is_active(manifest) };
        manifests.iter().map(version).collect()
    }

    fn facts<'a>(
        &self,
        looked: &'a Looked,
        versions: &'a [DatasetVersion<'a>],
    ) -> Result<GrantFacts<'a>, ServiceError> {
        Ok(GrantFacts {
            standing: &looked.standing,
            study_stopped: looked.stopped,
            runs_used: looked.runs,
            datasets: versions,
            broker: self.state_for(looked)?,
        })
    }

    /// Of which run evidence says that it is, and which of this broker's nonces it answers. Nothing
    /// is believed yet: this only finds the challenge.
    fn claimed(&self, evidence: &Evidence) -> Option<(RunId, Option<Nonce>)> {
        let bytes = evidence.runtime_data.as_slice();
        let data: RuntimeData = from_canonical(bytes, RuntimeData::MAX_BYTES).ok()?;
        let own = data.nonces.into_iter().find(|own| own.party == self.card.value().party);
        Some((data.run, own.map(|own| own.nonce)))
    }

    /// The key process checks the proof again, unwraps, and seals to the guard.
    async fn seal_grant(&self, session: Session<Recorded>) -> Result<Envelope, ServiceError> {
        let run = session.run();
        // The proof took time in which somebody may have pressed stop.
        let looked = self.look_at(session.agreement().agreement().digest()).await?;
        if let Some(code) = self.ended(&looked) {
            let reason = format!("since the grant was recorded: {}", code.sentence());
            return Err(self.refuse_grant(code, reason, run).await);
        }
        let order = session.seal_order();
        let request = GrantRequest {
            context: order.context.clone(),
            entry: order.entry.to_vec().into(),
            proof: order.proof.to_owned(),
            agreement: session.agreement().agreement().signed().envelope().clone(),
            guard_box_key: order.guard_box_key.clone(),
        };
        let sealed = self.keys.grant(request).await.map_err(ServiceError::Keys)?;
        let grant = session.grant(sealed, &self.key).map_err(ServiceError::internal)?;
        let envelope = grant.envelope().clone();
        let kept = envelope.clone();
        self.store
            .write(move |c| Box::pin(async move { runs::set_envelope(c, run, &kept).await }))
            .await?;
        Ok(envelope)
    }

    /// Why guards of this agreement may not go on, if so.
    pub(super) fn ended(&self, looked: &Looked) -> Option<Code> {
        let expired = looked.recognized.value().not_after <= self.now();
        looked.closed().or(expired.then_some(Code::AgreementExpired))
    }

    async fn refuse_grant(&self, code: Code, reason: String, run: RunId) -> ServiceError {
        let error = DocumentError::new(code, reason);
        self.refuse_document(error, Action::GrantRefused, None, Some(run)).await
    }
}
