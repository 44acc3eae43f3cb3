//! Agreements, and what people decide about them.

use cordon_crypto::dsse::{Envelope, Signed};
use cordon_govern::document::{DocumentError, check_approval, check_stop};
use cordon_govern::{
    AgreementError, CheckedAgreement, Code, Recognized, check_dataset, compare_with_directory,
};
use cordon_protocol::decision::Verdict;
use cordon_protocol::entry::{Action, Actor};
use cordon_protocol::message::MAX_MANIFESTS_BYTES;
use cordon_protocol::{Agreement, RunId};
use cordon_types::{Sha256Digest, UnixSeconds};

use super::{Broker, ServiceError, append};
use crate::api::Recorded;
use crate::records::{agreements, datasets, nonces};
use crate::store::{Conflict, StoreError};

impl Broker {
    /// Takes a proposed agreement in: it must make sense, name only keys that this broker knows,
    /// and fit the datasets as they are.
    ///
    /// # Errors
    /// The refusal, which is recorded.
    pub async fn propose(&self, envelope: &Envelope) -> Result<Recorded, ServiceError> {
        let signed = match envelope.open::<Agreement>(&envelope.claimed_signer()) {
            Ok(signed) => signed,
            Err(error) => {
                let error = DocumentError::new(Code::DocumentInvalid, error.to_string());
                return Err(self
                    .refuse_document(error, Action::AgreementProposed, None, None)
                    .await);
            }
        };
        let digest = signed.digest();
        if let Err(error) = self.check_proposal(&signed).await? {
            let error = DocumentError::new(error.code, error.to_string());
            let action = Action::AgreementProposed;
            return Err(self.refuse_document(error, action, Some(digest), None).await);
        }
        if agreements::get(self.store.readers(), digest).await?.is_some() {
            return Ok(Recorded { digest, entry: None });
        }
        let requester = &signed.value().requester;
        let actor = Actor::Person {
            party: requester.party.clone(),
            person: requester.person.clone(),
            role: None,
        };
        let mut entry = self.entry(actor, Action::AgreementProposed, digest);
        entry.study = Some(signed.value().study.clone());
        entry.agreement = Some(digest);
        let written = self
            .store
            .write(move |c| {
                Box::pin(async move {
                    let index = append(c, &entry).await?;
                    match agreements::insert(c, &signed, index).await? {
                        true => Ok(index),
                        false => Err(StoreError::Conflict(Conflict::Exists)),
                    }
                })
            })
            .await;
        match written {
            Ok(index) => {
                self.log.wake();
                Ok(Recorded { digest, entry: Some(index) })
            }
            // Two proposed it at once; the other's entry stands.
            Err(StoreError::Conflict(Conflict::Exists)) => Ok(Recorded { digest, entry: None }),
            Err(error) => Err(error.into()),
        }
    }

    async fn check_proposal(
        &self,
        signed: &Signed<Agreement>,
    ) -> Result<Result<Recognized, AgreementError>, ServiceError> {
        let recognized = CheckedAgreement::check(signed)
            .and_then(|checked| compare_with_directory(&checked, &self.directory()));
        let recognized = match recognized {
            Ok(recognized) => recognized,
            Err(error) => return Ok(Err(error)),
        };
        let mut size = 0;
        for terms in &recognized.own_holder().datasets {
            let manifest = datasets::newest(self.store.readers(), &terms.dataset).await?;
            let checked = match manifest {
                Some(manifest) => {
                    size += manifest.envelope().to_json().len();
                    check_dataset(&recognized, &manifest).map(|_| ()).and(check_size(size))
                }
                None => Err(AgreementError {
                    code: Code::DatasetMismatch,
                    field: format!("datasets[{}]", terms.dataset),
                    expected: "a dataset that this broker holds".into(),
                    found: "none of this name".into(),
                }),
            };
            if let Err(error) = checked {
                return Ok(Err(error));
            }
        }
        Ok(Ok(recognized))
    }

    /// Takes a person's decision about an agreement in.
    ///
    /// # Errors
    /// The refusal, which is recorded.
    pub async fn approve(&self, envelope: &Envelope) -> Result<Recorded, ServiceError> {
        let now = self.now();
        // Which agreement it is about is read before anything is believed, only to look it up.
        let claimed = envelope
            .open::<cordon_protocol::Approval>(&envelope.claimed_signer())
            .map_err(|error| ServiceError::Malformed(error.to_string()))?;
        let digest = claimed.value().agreement;
        let looked = self.look_at(digest).await?;
        let known = self.directory();
        let approval = match check_approval(envelope, &looked.recognized, &known, now) {
            Ok(approval) => approval,
            Err(error) => {
                let action = Action::ApprovalGiven;
                return Err(self.refuse_document(error, action, Some(digest), None).await);
            }
        };
        let action = match approval.value().verdict {
            Verdict::Approve => Action::ApprovalGiven,
            Verdict::Reject => Action::ApprovalRejected,
        };
        let mut entry =
            self.entry(self.person(&approval.value().person, None), action, approval.digest());
        entry.study = Some(looked.recognized.value().study.clone());
        entry.agreement = Some(digest);
        let (document, nonce) = (approval.digest(), approval.value().nonce);
        let index = self
            .store
            .write(move |c| {
                Box::pin(async move {
                    nonces::spend(c, nonce, now).await?;
                    let index = append(c, &entry).await?;
                    agreements::put_approval(c, &approval, index).await?;
                    Ok(index)
                })
            })
            .await?;
        self.log.wake();
        Ok(Recorded { digest: document, entry: Some(index) })
    }

    /// Stops a study: no new grants, no renewed leases, no clearances, from now on.
    ///
    /// # Errors
    /// The refusal, which is recorded.
    pub async fn stop(&self, envelope: &Envelope) -> Result<Recorded, ServiceError> {
        let now = self.now();
        let stop = match check_stop(envelope, &self.directory(), now) {
            Ok(stop) => stop,
            Err(error) => {
                return Err(self.refuse_document(error, Action::StudyStopped, None, None).await);
            }
        };
        let mut entry = self.entry(
            self.person(&stop.value().person, None),
            Action::StudyStopped,
            stop.digest(),
        );
        entry.study = Some(stop.value().study.clone());
        let (digest, nonce) = (stop.digest(), stop.value().nonce);
        let index = self
            .store
            .write(move |c| {
                Box::pin(async move {
                    nonces::spend(c, nonce, now).await?;
                    let index = append(c, &entry).await?;
                    agreements::stop_study(c, &stop, index).await?;
                    Ok(index)
                })
            })
            .await?;
        self.log.wake();
        Ok(Recorded { digest, entry: Some(index) })
    }

    pub(super) async fn refuse_document(
        &self,
        error: DocumentError,
        action: Action,
        agreement: Option<Sha256Digest>,
        run: Option<RunId>,
    ) -> ServiceError {
        let now: UnixSeconds = self.now();
        self.refuse(error.deny(&self.directory(), action, agreement, run, now)).await
    }
}

/// A guard gets the manifests of all agreed datasets in one message.
fn check_size(manifests: usize) -> Result<(), AgreementError> {
    if manifests <= MAX_MANIFESTS_BYTES {
        return Ok(());
    }
    Err(AgreementError {
        code: Code::DatasetMismatch,
        field: "datasets".into(),
        expected: format!("manifests of {MAX_MANIFESTS_BYTES} bytes together"),
        found: format!("{manifests} bytes: seal larger files, or agree on fewer datasets"),
    })
}
