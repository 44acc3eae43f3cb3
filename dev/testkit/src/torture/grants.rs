//! A broker that dies while it grants keys, and everybody who tries to profit from it.

use anyhow::{Result, bail};
use cordon_crypto::dsse::Signed;
use cordon_protocol::entry::Action;
use cordon_protocol::evidence::{Evidence, PartyNonce};
use cordon_protocol::message::{FromBroker, ToBroker};
use cordon_protocol::{Agreement, Grant};
use cordon_types::Nonce;

use super::disk::witnesses;
use super::field::{Field, VICTIM, Wrong};
use super::tally::{Stage, Task};
use super::wire::{Answer, Ask};
use crate::guard::{Guard, ask};
use crate::holder::nonce;

impl Field {
    pub async fn kill_a_grant(&mut self, wrong: &mut Wrong<'_>) -> Result<Stage> {
        let agreement = self.agree(Task::Grant).await?;
        let guard = self.world.guard(&agreement)?;
        let quorum = witnesses(agreement.value(), VICTIM)?;
        let sent = self.until_dead(wrong.round.kill, self.release(&guard)).await;

        // Before anything is mended.
        let cosigned = self.look(wrong).await;
        if let Some(grant) = &sent {
            wrong.unless_logged(self.log.holds_grant(grant, &quorum), "a grant");
        }
        let issued = self.log.places(Action::GrantIssued, |entry| entry.run == Some(guard.run()));
        let stage = match (&sent, issued.first()) {
            (Some(_), _) => Stage::Sent,
            (None, Some(index)) => Self::stage_of(*index, cosigned),
            (None, None) => Stage::NothingRecorded,
        };
        self.mend(wrong).await?;
        let recorded = match self.victim.ask(Ask::IsRecorded(guard.run())).await {
            Some(Answer::Recorded(recorded)) => recorded,
            other => bail!("is it recorded? {other:?}"),
        };
        let stage = match stage {
            Stage::NothingRecorded if recorded => Stage::Recorded,
            stage => stage,
        };
        wrong.unless(recorded || stage == Stage::NothingRecorded, "a record is lost");

        let grants = self.ask_for_more(&agreement, &guard, sent, recorded, wrong).await?;
        self.look(wrong).await;
        for grant in &grants {
            wrong.unless_logged(self.log.holds_grant(grant, &quorum), "a grant");
        }
        let agreed = Some(agreement.digest());
        let paid = self.log.places(Action::GrantIssued, |entry| entry.agreement == agreed).len();
        wrong.tally.spent_twice += u32::from(paid > 1 || grants.len() > 1);
        wrong.unless(paid == 1, &format!("an agreement for one run has {paid} grants logged"));
        wrong.unless(grants.len() == 1, &format!("{} grants of one run are out", grants.len()));
        Ok(stage)
    }

    /// Everybody tries to get the keys of this one run: its guard, another guard for the same
    /// request, and a guard of a further run. One grant in all is what the agreement pays.
    async fn ask_for_more(
        &self,
        agreement: &Signed<Agreement>,
        guard: &Guard,
        sent: Option<Signed<Grant>>,
        recorded: bool,
        wrong: &mut Wrong<'_>,
    ) -> Result<Vec<Signed<Grant>>> {
        let rival = Guard::for_request(&self.world, agreement, guard.request.clone())?;
        let next = self.world.guard(agreement)?;
        let order = match wrong.round.cheats_first {
            true => [&rival, &next, guard],
            false => [guard, &rival, &next],
        };
        let mut grants: Vec<Signed<Grant>> = sent.into_iter().collect();
        let mut own = false;
        for asks in order.into_iter().chain([guard]) {
            if let Ok(grant) = self.release(asks).await {
                own |= grant.value().context.guard_signing_key == guard.signing.verifying_key();
                if !grants.iter().any(|earlier| earlier.envelope() == grant.envelope()) {
                    grants.push(grant);
                }
            }
        }
        wrong.unless(own || !recorded, "the guard that the record names gets no grant");
        Ok(grants)
    }

    /// Challenge, evidence, grant.
    pub async fn release(&self, guard: &Guard) -> Result<Signed<Grant>> {
        let message = ToBroker::Challenge { request: guard.request.envelope().clone() };
        let FromBroker::Challenged { nonce, .. } = ask(&self.world, &self.party, message).await?
        else {
            bail!("expected a challenge");
        };
        let evidence = self.evidence(guard, nonce)?;
        guard.ask_grant(&self.world, &self.party, &evidence).await
    }

    /// The other holders' nonces are theirs to check.
    fn evidence(&self, guard: &Guard, own: Nonce) -> Result<Evidence> {
        let nonces = self.world.holders.iter().map(|holder| PartyNonce {
            party: holder.party.clone(),
            nonce: if holder.party == self.party { own } else { nonce() },
        });
        guard.evidence(&guard.runtime_data(nonces.collect()))
    }
}
