//! A broker that dies while it clears an output: it must neither lose the output, nor clear
//! another one in its place, nor let a share go that its log does not tell of.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cordon_crypto::dsse::{Envelope, Signed};
use cordon_protocol::decision::Verdict;
use cordon_protocol::entry::Action;
use cordon_protocol::{Release, ReviewDecision, Stop, V1};
use cordon_types::StudyId;

use super::disk::witnesses;
use super::field::{Field, VICTIM, Wrong};
use super::tally::{Stage, Task};
use super::wire::{Answer, Ask};
use crate::guard::{Delivery, Guard};
use crate::holder::nonce;
use crate::now;

/// How long a record may take to be in a signed head.
const SOON: Duration = Duration::from_secs(2);

impl Field {
    pub async fn kill_a_clearance(&mut self, wrong: &mut Wrong<'_>) -> Result<Stage> {
        let agreement = self.agree(Task::Clearance).await?;
        let guard = self.world.guard(&agreement)?;
        let quorum = witnesses(agreement.value(), VICTIM)?;
        let grants = guard.attest(&self.world).await?;
        let (delivery, other) = (guard.deliver(&grants)?, guard.deliver(&grants)?);
        let sent = self.until_dead(wrong.round.kill, self.clear(&guard, &delivery)).await;

        // Before anything is mended.
        let cosigned = self.look(wrong).await;
        if let Some(share) = &sent {
            wrong.unless_logged(self.log.holds_share(share, &quorum), "a share");
        }
        let stage = match &sent {
            Some(_) => Stage::Sent,
            None => self.stage_of_clearance(&guard, cosigned),
        };
        self.mend(wrong).await?;

        let study = &agreement.value().study;
        if wrong.round.stops {
            // What has not left the broker by now never does.
            self.stop(study).await?;
        }
        let first = self.deliver_both(&guard, [&delivery, &other], wrong).await?;
        let found = self.share(&guard).await?;
        wrong.unless(found.is_some() || wrong.round.stops, "an output that may go does not");
        if let Some(sent) = &sent {
            let same = found.as_ref().is_some_and(|found| found.envelope() == sent.envelope());
            wrong.unless(same, "a share that was sent is lost or another one now");
        }
        if let Some(found) = &found {
            let receipt = found.value().context.receipt;
            let held = first.or((stage != Stage::NothingRecorded).then_some(&delivery));
            let is_held = held.is_none_or(|held| held.receipt.payload_digest() == receipt);
            wrong.unless(is_held, "the share of another output than the one that was held");
        }
        self.look(wrong).await;
        if wrong.round.stops {
            self.wait_for_stop(study, wrong).await;
        }
        if let Some(share) = &found {
            wrong.unless_logged(self.log.holds_share(share, &quorum), "a share");
        }
        self.count_entries(&guard, study, found.is_some(), wrong);
        Ok(stage)
    }

    /// Receipt in, review, share out.
    pub async fn clear(&self, guard: &Guard, delivery: &Delivery) -> Result<Signed<Release>> {
        guard.hand_over(&self.world, &self.party, delivery).await?;
        self.approve_output(guard, delivery).await?;
        self.share(guard).await?.context("no share")
    }

    /// The guard delivers again, and so does somebody who would rather have another output
    /// cleared; the reviewer approves both. Gives what the broker takes.
    async fn deliver_both<'a>(
        &self,
        guard: &Guard,
        [own, other]: [&'a Delivery; 2],
        wrong: &mut Wrong<'_>,
    ) -> Result<Option<&'a Delivery>> {
        let order = if wrong.round.cheats_first { [other, own] } else { [own, other] };
        let mut taken = Vec::new();
        for delivery in order {
            if guard.hand_over(&self.world, &self.party, delivery).await.is_ok() {
                taken.push(delivery);
            }
            // It may be reviewed already, or not be the one that is held.
            let _ = self.approve_output(guard, delivery).await;
        }
        let expected = taken.len() == 1 || wrong.round.stops && taken.is_empty();
        wrong.unless(expected, &format!("{} outputs of one run are held", taken.len()));
        Ok(taken.first().copied())
    }

    async fn stop(&self, study: &StudyId) -> Result<()> {
        let officer = &self.holder().officer;
        let stop = officer.sign(Stop {
            v: V1,
            study: study.clone(),
            audience: self.party.clone(),
            person: officer.person.clone(),
            nonce: nonce(),
            issued: now(),
        })?;
        match self.victim.ask(Ask::Stop(stop)).await {
            Some(Answer::Done) => Ok(()),
            other => bail!("stop: {other:?}"),
        }
    }

    async fn approve_output(&self, guard: &Guard, delivery: &Delivery) -> Result<()> {
        let reviewer = &self.holder().reviewer;
        let decision = reviewer.sign(ReviewDecision {
            v: V1,
            run: guard.run(),
            receipt: delivery.receipt.payload_digest(),
            audience: self.party.clone(),
            person: reviewer.person.clone(),
            verdict: Verdict::Approve,
            nonce: nonce(),
            issued: now(),
        })?;
        match self.victim.ask(Ask::Review(decision)).await {
            Some(Answer::Done) => Ok(()),
            other => bail!("review: {other:?}"),
        }
    }

    /// This broker's share, sealed to the researcher, when it is out; none if none is to come.
    async fn share(&self, guard: &Guard) -> Result<Option<Signed<Release>>> {
        let open = |release: Box<Envelope>| release.open(&self.holder().card.value().broker_key);
        match self.victim.ask(Ask::Share(guard.run())).await {
            Some(Answer::Share(release)) => Ok(release.map(open).transpose()?),
            other => bail!("share: {other:?}"),
        }
    }

    fn stage_of_clearance(&self, guard: &Guard, cosigned: Option<u64>) -> Stage {
        let last = |action| {
            self.log.places(action, |entry| entry.run == Some(guard.run())).last().copied()
        };
        match (last(Action::OutputCleared), last(Action::OutputReviewed), last(Action::OutputHeld))
        {
            (Some(index), ..) => Self::stage_of(index, cosigned),
            (None, Some(_), _) => Stage::Reviewed,
            (None, None, Some(_)) => Stage::Held,
            (None, None, None) => Stage::NothingRecorded,
        }
    }

    /// A stop takes effect with its row; the head that covers it is signed soon after.
    async fn wait_for_stop(&mut self, study: &StudyId, wrong: &mut Wrong<'_>) {
        let deadline = Instant::now() + SOON;
        while self.stops(study).is_empty() && Instant::now() < deadline {
            tokio::time::sleep(SOON / 100).await;
            self.look(wrong).await;
        }
    }

    fn stops(&self, study: &StudyId) -> Vec<u64> {
        self.log.places(Action::StudyStopped, |entry| entry.study.as_ref() == Some(study))
    }

    /// One output at most was held and cleared, and none after a stop.
    fn count_entries(&self, guard: &Guard, study: &StudyId, out: bool, wrong: &mut Wrong<'_>) {
        let of_run = |action| self.log.places(action, |entry| entry.run == Some(guard.run()));
        let (held, cleared) = (of_run(Action::OutputHeld), of_run(Action::OutputCleared));
        let stopped = self.stops(study);
        wrong.tally.spent_twice += u32::from(cleared.len() > 1);
        wrong.unless(held.len() <= 1, &format!("{} receipts of one run are logged", held.len()));
        wrong.unless(
            cleared.len() <= 1,
            &format!("{} clearances of one run are logged", cleared.len()),
        );
        wrong.unless(!out || held.len() == 1, "a share is out, and no receipt is logged");
        wrong.unless(stopped.len() == usize::from(wrong.round.stops), "a stop is not logged");
        if let (true, Some(stopped), Some(cleared)) = (out, stopped.first(), cleared.first()) {
            wrong.unless(cleared < stopped, "a share is out that was cleared after a stop");
        }
    }
}
