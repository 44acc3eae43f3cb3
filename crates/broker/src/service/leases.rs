//! Leases: a guard that hears nothing, or `stop`, zeroises.

use cordon_crypto::dsse::{Envelope, Signed};
use cordon_govern::Code;
use cordon_protocol::entry::{Action, Actor, Decision};
use cordon_protocol::grant::LeaseVerdict;
use cordon_protocol::{Heartbeat, Lease, RunId, V1};

use super::{Broker, ServiceError, append};
use crate::records::{outputs, runs};

impl Broker {
    /// Answers a heartbeat. The first `stop` of a run is recorded.
    ///
    /// # Errors
    /// If it is not signed by the guard that got the run's keys, or for another broker.
    pub async fn heartbeat(&self, envelope: &Envelope) -> Result<Envelope, ServiceError> {
        let malformed =
            |error: cordon_crypto::dsse::EnvelopeError| ServiceError::Malformed(error.to_string());
        let claimed = envelope.open::<Heartbeat>(&envelope.claimed_signer()).map_err(malformed)?;
        let run = claimed.value().run;
        let record = runs::get(self.store.readers(), run).await?;
        let record = record.ok_or(ServiceError::NotFound("run"))?;
        if claimed.signer() != record.context.guard_signing_key {
            return Err(ServiceError::Unsigned);
        }
        let party = &self.card.value().party;
        if claimed.value().audience != *party {
            return Err(ServiceError::NotAllowed("the heartbeat is for another broker"));
        }
        if !self.log.is_ready() {
            // From an old backup a stop may be missing: without a word the guard ends by itself.
            return Err(ServiceError::Unavailable("the log is not known to be current".into()));
        }
        let looked = self.look_at(record.context.agreement).await?;
        let over = outputs::receipt(self.store.readers(), run).await?.is_some();
        let ended = self.ended(&looked);
        if let (Some(code), false) = (ended, over) {
            self.record_revocation(run, &looked, code).await?;
        }
        let stop = over || ended.is_some();
        let lease = Lease {
            v: V1,
            run,
            holder: party.clone(),
            nonce: claimed.value().nonce,
            verdict: if stop { LeaseVerdict::Stop } else { LeaseVerdict::Go },
            lease_ms: record.context.lease_ms,
        };
        let lease = Signed::sign(lease, &self.key).map_err(ServiceError::internal)?;
        Ok(lease.envelope().clone())
    }

    async fn record_revocation(
        &self,
        run: RunId,
        looked: &super::known::Looked,
        code: Code,
    ) -> Result<(), ServiceError> {
        let mut entry = self.entry(Actor::Broker, Action::LeaseRevoked, run.0);
        entry.decision = Decision::Deny;
        entry.code = code.as_str().to_owned();
        entry.study = Some(looked.recognized.value().study.clone());
        entry.agreement = Some(looked.recognized.agreement().digest());
        entry.run = Some(run);
        let recorded = self
            .store
            .write(move |c| {
                Box::pin(async move {
                    if !runs::mark_revoked(c, run).await? {
                        return Ok(false);
                    }
                    append(c, &entry).await?;
                    Ok(true)
                })
            })
            .await?;
        if recorded {
            self.log.wake();
        }
        Ok(())
    }
}
