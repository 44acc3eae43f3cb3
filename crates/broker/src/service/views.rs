//! What staff may see.

use cordon_crypto::dsse::Envelope;
use cordon_crypto::sha256;
use cordon_govern::approval::Standing;
use cordon_protocol::entry::Decision;
use cordon_protocol::release::Outcome;
use cordon_protocol::{LogEntry, RunId};
use cordon_types::Sha256Digest;

use super::{Broker, ServiceError};
use crate::api::{
    AgreementState, AgreementView, DatasetView, DecisionView, Health, RefusalView, ReviewView,
    RunState, RunView,
};
use crate::records::{agreements, blobs, datasets, outputs, runs};

/// Newest refusals that are shown.
const MAX_REFUSALS: usize = 200;

impl Broker {
    /// How the broker is.
    pub async fn health(&self) -> Result<Health, ServiceError> {
        Ok(Health {
            party: self.card.value().party.clone(),
            profile: self.card.value().profile,
            ready: self.log.is_ready(),
            log_size: self.log.size(),
        })
    }

    /// A file of the log, by its tlog-tiles path.
    pub async fn log_file(&self, path: &str) -> Result<Option<Vec<u8>>, ServiceError> {
        Ok(self.log.file(path).await?)
    }

    /// All dataset versions.
    pub async fn datasets(&self) -> Result<Vec<DatasetView>, ServiceError> {
        let all = datasets::all(self.store.readers()).await?;
        Ok(all
            .into_iter()
            .map(|manifest| DatasetView {
                dataset: manifest.value().dataset.clone(),
                version: manifest.value().version,
                digest: manifest.digest(),
                manifest: manifest.envelope().clone(),
            })
            .collect())
    }

    /// All agreements, without their envelopes.
    pub async fn agreements(&self) -> Result<Vec<AgreementView>, ServiceError> {
        let mut views = Vec::new();
        for digest in agreements::all(self.store.readers()).await? {
            let mut view = self.agreement(digest).await?;
            view.envelope = None;
            views.push(view);
        }
        Ok(views)
    }

    /// One agreement.
    pub async fn agreement(&self, digest: Sha256Digest) -> Result<AgreementView, ServiceError> {
        let looked = self.look_at(digest).await?;
        let value = looked.recognized.value();
        let known = self.directory();
        let own = looked.recognized.party();
        let decisions = looked.decisions().iter().map(|decision| {
            let person = &decision.value().person;
            let roles = known.person(own, person).map(|p| p.roles.iter().copied().collect());
            DecisionView {
                person: person.clone(),
                roles: roles.unwrap_or_default(),
                verdict: decision.value().verdict,
                expires: decision.value().expires,
            }
        });
        let (state, missing) = match &looked.standing {
            _ if looked.stopped => (AgreementState::Stopped, Vec::new()),
            _ if value.not_after <= self.now() => (AgreementState::Expired, Vec::new()),
            Standing::Rejected { .. } => (AgreementState::Rejected, Vec::new()),
            Standing::Missing(missing) => (AgreementState::Proposed, missing.lines()),
            Standing::Approved(_) => (AgreementState::Active, Vec::new()),
        };
        Ok(AgreementView {
            digest,
            study: value.study.clone(),
            name: value.name.clone(),
            title: value.title.clone(),
            state,
            decisions: decisions.collect(),
            missing,
            runs: looked.runs,
            max_runs: value.limits.max_runs,
            envelope: Some(looked.recognized.agreement().signed().envelope().clone()),
        })
    }

    /// All granted runs, newest first.
    pub async fn runs(&self) -> Result<Vec<RunView>, ServiceError> {
        let mut views = Vec::new();
        for (run, _) in runs::all(self.store.readers()).await? {
            let mut view = self.run(run).await?;
            view.receipt = None;
            views.push(view);
        }
        Ok(views)
    }

    /// One run.
    pub async fn run(&self, run: RunId) -> Result<RunView, ServiceError> {
        let readers = self.store.readers();
        let record = runs::get(readers, run).await?.ok_or(ServiceError::NotFound("run"))?;
        let held = outputs::receipt(readers, run).await?;
        let (state, code) = match &held {
            None => (RunState::Granted, "ok".to_owned()),
            Some(held) => match &held.receipt.value().outcome {
                Outcome::Failed { code } => (RunState::Failed, code.clone()),
                Outcome::Sealed(_) => self.held_state(run).await?,
            },
        };
        Ok(RunView {
            run,
            agreement: record.context.agreement,
            state,
            code,
            receipt: held.map(|held| held.receipt.envelope().clone()),
        })
    }

    async fn held_state(&self, run: RunId) -> Result<(RunState, String), ServiceError> {
        use cordon_protocol::decision::Verdict;
        let readers = self.store.readers();
        let clearance = outputs::clearance(readers, run).await?;
        if clearance.as_ref().is_some_and(|cleared| cleared.sent) {
            return Ok((RunState::Cleared, "ok".to_owned()));
        }
        let reviews = outputs::reviews(readers, run).await?;
        if reviews.iter().any(|review| review.value().verdict == Verdict::Reject) {
            return Ok((RunState::Withheld, "withheld_by_reviewer".to_owned()));
        }
        // Stopped, expired: it is never cleared.
        if let Some(code) = outputs::refused(readers, run).await? {
            return Ok((RunState::Withheld, code));
        }
        let waits_for = match clearance {
            Some(cleared) if cleared.release.is_some() => "waits_for_hub",
            Some(_) => "waits_for_witnesses",
            None => "waits_for_review",
        };
        Ok((RunState::Held, waits_for.to_owned()))
    }

    /// The release of a run, once it is on its way.
    pub async fn release(&self, run: RunId) -> Result<Option<Envelope>, ServiceError> {
        let cleared = outputs::clearance(self.store.readers(), run).await?;
        Ok(cleared.filter(|cleared| cleared.sending).and_then(|cleared| cleared.release))
    }

    /// What there is to review of a run.
    pub async fn review(&self, run: RunId) -> Result<ReviewView, ServiceError> {
        let held = outputs::receipt(self.store.readers(), run).await?;
        let held = held.ok_or(ServiceError::NotFound("receipt"))?;
        Ok(ReviewView { receipt: held.receipt.envelope().clone(), copies: held.reviews })
    }

    /// The newest refusals with their full reasons.
    pub async fn refusals(&self) -> Result<Vec<RefusalView>, ServiceError> {
        let mut views = Vec::new();
        let mut index = self.log.size();
        while index > 0 && views.len() < MAX_REFUSALS {
            index -= 1;
            let bytes = crate::log::entry(self.store.readers(), index).await?;
            let Some(bytes) = bytes else { continue };
            let entry: LogEntry = cordon_crypto::canonical::from_canonical(&bytes, bytes.len())
                .map_err(ServiceError::internal)?;
            if entry.decision == Decision::Permit {
                continue;
            }
            views.push(RefusalView {
                entry: index,
                time: entry.time,
                action: entry.action,
                actor: entry.actor.clone(),
                run: entry.run,
                code: entry.code.clone(),
                reasons: self.reasons(&entry).await?,
            });
        }
        Ok(views)
    }

    async fn reasons(&self, entry: &LogEntry) -> Result<Vec<String>, ServiceError> {
        let Some(digest) = entry.evidence.last() else { return Ok(Vec::new()) };
        let bytes = blobs::get(self.store.readers(), *digest, blobs::Kind::Reasons).await?;
        let Some(bytes) = bytes.filter(|bytes| sha256(&[bytes]) == *digest) else {
            return Ok(Vec::new());
        };
        Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
    }
}
