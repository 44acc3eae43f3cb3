//! The clearance session: from a guard's receipt to a released share of the result key.
//!
//! ```text
//! Received --reviews--> Reviewed --policy--> Permitted --log proof--> Recorded --shares--> Release
//! ```
//!
//! The same shape as the grant session: each step takes the session. A review may take days;
//! meanwhile the broker keeps the receipt and makes the session anew.
//!
//! ```compile_fail,E0599
//! # use cordon_govern::clearance::{ClearanceFacts, Received, Session};
//! # use cordon_govern::Policy;
//! # use cordon_types::UnixSeconds;
//! fn unreviewed(s: Session<Received>, policy: &Policy, f: ClearanceFacts<'_>, now: UnixSeconds) {
//!     let _ = s.permit(policy, f, now); // nobody has looked
//! }
//! ```
//! ```compile_fail,E0599
//! # use cordon_govern::clearance::{Permitted, Session};
//! # use cordon_crypto::{SealedBox, SigningKey};
//! fn unlogged(session: Session<Permitted>, shares: Vec<SealedBox>, key: &SigningKey) {
//!     let _ = session.release(shares, key); // nothing is in the log yet
//! }
//! ```
//! ```compile_fail,E0382
//! # use cordon_govern::clearance::{Recorded, Session};
//! # use cordon_crypto::{SealedBox, SigningKey};
//! fn twice(session: Session<Recorded>, shares: Vec<SealedBox>, key: &SigningKey) {
//!     let _ = session.release(shares.clone(), key);
//!     let _ = session.release(shares, key);
//! }
//! ```

use cordon_crypto::canonical::from_canonical;
use cordon_crypto::dsse::{Document, Envelope, EnvelopeError, Signed, document_digest};
use cordon_crypto::{SealedBox, SigningKey, sha256};
use cordon_protocol::agreement::Review;
use cordon_protocol::decision::Verdict as Opinion;
use cordon_protocol::entry::{Action, Actor, Decision};
use cordon_protocol::release::{Assurance, Outcome, ReviewCopy, SealedOutcome};
use cordon_protocol::{
    ClearanceContext, GrantContext, LogEntry, Receipt, Release, ReviewDecision, RunId, V1,
};
use cordon_tlog::{Proven, verify_proof};
use cordon_types::{PersonId, Sha256Digest, UnixSeconds};

use crate::denial::{Occasion, chain};
use crate::document::check_review_of;
use crate::policy::{self, BrokerState, Question, Verdict};
use crate::{Code, Denial, Policy, Recognized, RecordError};

/// One output's way out of one broker.
#[derive(Debug)]
pub struct Session<S> {
    agreement: Recognized,
    receipt: Signed<Receipt>,
    state: S,
}

/// The receipt is of the guard that got the keys, and about what it got them for.
#[derive(Debug)]
pub struct Received {
    share: Option<Sha256Digest>,
}

/// The people who must look have looked.
#[derive(Debug)]
pub struct Reviewed {
    share: Option<Sha256Digest>,
    reviews: Vec<Sha256Digest>,
}

/// The policy permits; nothing is recorded yet.
#[derive(Debug)]
pub struct Permitted {
    context: ClearanceContext,
    digest: Sha256Digest,
    entry: LogEntry,
}

/// The entry of this very context is in the log, under a head that the witnesses cosigned.
#[derive(Debug)]
pub struct Recorded {
    context: ClearanceContext,
    entry: Vec<u8>,
    proof: String,
    proven: Proven,
}

/// Where an output stands with the reviewers of this holder.
#[derive(Debug)]
pub enum ReviewOutcome {
    /// Nobody needs to look, or somebody has and cleared it.
    Complete(Box<Session<Reviewed>>),
    /// Nobody has looked yet. Not a refusal: the output is held.
    Waiting(Box<Session<Received>>),
    /// A reviewer withholds it, for good.
    Withheld {
        /// Who.
        by: PersonId,
        /// The refusal to record.
        denial: Box<Denial>,
    },
}

/// What the broker's records say.
#[derive(Clone, Copy, Debug)]
pub struct ClearanceFacts<'a> {
    /// Whether a person of this holder stopped the study.
    pub study_stopped: bool,
    /// Where the agreement stands: a rejection holds results back, too.
    pub standing: &'a crate::approval::Standing,
    /// Outputs of this study that this broker cleared before. No built-in condition uses it;
    /// a holder's own may, until differencing is judged.
    pub earlier_releases: u32,
    /// How this broker is.
    pub broker: BrokerState,
}

/// What the key process needs to open this broker's share and seal it to the recipients.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseOrder<'a> {
    /// What is cleared.
    pub context: &'a ClearanceContext,
    /// The log entry, canonical bytes.
    pub entry: &'a [u8],
    /// Its `.tlog-proof`.
    pub proof: &'a str,
}

/// What a run came to, for one broker.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The guard's receipt.
    pub receipt: &'a Envelope,
    /// This broker's share of the result key.
    pub share: Option<&'a SealedBox>,
    /// The copies of its reviewers.
    pub reviews: &'a [ReviewCopy],
}

impl Session<Received> {
    /// Checks a receipt, and what came with it, against the grant that this broker made for the
    /// run.
    ///
    /// # Errors
    /// If the receipt is not signed by the guard of that grant, does not match it, or names
    /// another share or other copies.
    pub fn receive(
        agreement: &Recognized,
        granted: &GrantContext,
        delivery: Delivery<'_>,
        now: UnixSeconds,
    ) -> Result<Self, Box<Denial>> {
        let Delivery { receipt, share, reviews } = delivery;
        let denied = |(code, reason)| {
            let deny = occasion(agreement, granted.run, receipt.payload_digest(), now);
            Box::new(deny.deny(Action::OutputRefused, code, vec![reason]))
        };
        let receipt = receipt.open::<Receipt>(&granted.guard_signing_key).map_err(|error| {
            let code = match error {
                EnvelopeError::WrongSigner { .. } | EnvelopeError::BadSignature(_) => {
                    Code::ReceiptSigner
                }
                EnvelopeError::Malformed(_)
                | EnvelopeError::TooLarge { .. }
                | EnvelopeError::WrongType { .. }
                | EnvelopeError::Payload { .. } => Code::DocumentInvalid,
            };
            denied((code, chain(&error)))
        })?;
        check_receipt(agreement, granted, receipt.value()).map_err(denied)?;
        let share = share.map(SealedBox::digest);
        check_share(agreement, receipt.value(), share).map_err(denied)?;
        check_copies(agreement, receipt.value(), reviews).map_err(denied)?;
        Ok(Self { agreement: agreement.clone(), receipt, state: Received { share } })
    }

    /// The entry that records the receipt, to be stored with it.
    pub fn held_entry(&self, now: UnixSeconds) -> LogEntry {
        let mut occasion = self.occasion(now);
        occasion.actor = Actor::Guard;
        occasion.evidence = vec![self.receipt.value().evidence];
        occasion.permit(Action::OutputHeld, self.receipt.digest())
    }

    /// Takes in the reviews that the broker stored. Each is checked again; those that do not
    /// count are as if they were not there.
    pub fn review(self, reviews: &[Signed<ReviewDecision>], now: UnixSeconds) -> ReviewOutcome {
        let (run, receipt) = (self.run(), self.receipt.digest());
        let counts = |review: &&Signed<ReviewDecision>| {
            check_review_of(&self.agreement, run, receipt, review).is_ok()
        };
        let counted: Vec<_> = reviews.iter().filter(counts).collect();
        let withheld = counted.iter().find(|review| review.value().verdict == Opinion::Reject);
        if let Some(review) = withheld {
            let by = review.value().person.clone();
            let mut occasion = self.occasion(now);
            occasion.evidence.push(review.digest());
            let reasons = vec![format!("withheld by `{by}`")];
            let denial = occasion.deny(Action::OutputRefused, Code::ReviewRejected, reasons);
            return ReviewOutcome::Withheld { by, denial: Box::new(denial) };
        }
        let mut cleared: Vec<Sha256Digest> = counted.iter().map(|review| review.digest()).collect();
        cleared.sort_unstable();
        cleared.dedup();
        let sealed = matches!(self.receipt.value().outcome, Outcome::Sealed(_));
        let asked = match self.agreement.value().output.review {
            Review::EachHolder => true,
            Review::GateSuffices => false,
        };
        // Of a run that failed there is nothing to look at; the policy refuses it.
        if asked && sealed && cleared.is_empty() {
            return ReviewOutcome::Waiting(Box::new(self));
        }
        let Self { agreement, receipt, state: Received { share } } = self;
        let state = Reviewed { share, reviews: cleared };
        ReviewOutcome::Complete(Box::new(Session { agreement, receipt, state }))
    }
}

impl Session<Reviewed> {
    /// Asks the policy.
    ///
    /// # Errors
    /// If a condition fails.
    pub fn permit(
        self,
        policy: &Policy,
        facts: ClearanceFacts<'_>,
        now: UnixSeconds,
    ) -> Result<Session<Permitted>, Box<Denial>> {
        let mut occasion = self.occasion(now);
        occasion.evidence.extend(&self.state.reviews);
        let denied = |code, reasons| Box::new(occasion.deny(Action::OutputRefused, code, reasons));
        let sealed = self.sealed();
        let question = policy::ClearanceFacts {
            now,
            rejected: matches!(facts.standing, crate::approval::Standing::Rejected { .. }),
            study_stopped: facts.study_stopped,
            sealed: sealed.is_some(),
            gates: sealed.map_or_else(Vec::new, |sealed| sealed.gates.clone()),
            size_bytes: sealed.map_or(0, |sealed| sealed.size_bytes),
            reviews: self.state.reviews.len(),
            review_rejected: false, // then there is no reviewed session
            earlier_releases: facts.earlier_releases,
            broker: facts.broker,
        };
        let question = Question::clear(&self.agreement, self.run(), &question);
        if let Verdict::Deny(failed) = policy.decide(&question) {
            let code = failed.first().map_or(Code::PolicyError, |failed| failed.code);
            return Err(denied(code, failed.into_iter().map(|failed| failed.reason).collect()));
        }
        let Some(share) = self.state.share else {
            let reason = "the guard delivered no share for this broker".to_owned();
            return Err(denied(Code::ShareMismatch, vec![reason]));
        };

        let recipients = &self.agreement.value().recipients;
        let context = ClearanceContext {
            v: V1,
            holder: self.agreement.party().clone(),
            agreement: self.agreement.agreement().digest(),
            run: self.run(),
            receipt: self.receipt.digest(),
            share,
            recipients: recipients.iter().map(|r| sha256(&[r.box_key.as_bytes()])).collect(),
            reviews: self.state.reviews.clone(),
            issued: now,
        };
        let digest = document_digest(&context)
            .map_err(|error| denied(Code::PolicyError, vec![chain(&error)]))?;
        let mut entry = occasion.permit(Action::OutputCleared, digest);
        entry.evidence.push(policy.digest());
        let Self { agreement, receipt, .. } = self;
        Ok(Session { agreement, receipt, state: Permitted { context, digest, entry } })
    }

    fn sealed(&self) -> Option<&SealedOutcome> {
        match &self.receipt.value().outcome {
            Outcome::Sealed(sealed) => Some(sealed),
            Outcome::Failed { .. } => None,
        }
    }
}

impl Session<Permitted> {
    /// What would be cleared.
    pub const fn context(&self) -> &ClearanceContext {
        &self.state.context
    }

    /// Digest of the context, which the entry names.
    pub const fn context_digest(&self) -> Sha256Digest {
        self.state.digest
    }

    /// The entry to record, before anything else happens.
    pub const fn entry(&self) -> &LogEntry {
        &self.state.entry
    }

    /// Checks that the log proves the entry, under a head that the witnesses cosigned.
    ///
    /// # Errors
    /// If it does not: then nothing was cleared, and the broker tries again.
    pub fn record(self, proof: &str) -> Result<Session<Recorded>, RecordError> {
        let Self { agreement, receipt, state } = self;
        let entry = state.entry.to_bytes()?;
        let proven =
            verify_proof(proof.as_bytes(), &entry, agreement.log(), agreement.witnesses())?;
        let state = Recorded { context: state.context, entry, proof: proof.to_owned(), proven };
        Ok(Session { agreement, receipt, state })
    }
}

impl Session<Recorded> {
    /// Takes up, after a crash, a clearance that was recorded and perhaps never delivered.
    ///
    /// # Errors
    /// If receipt, context, entry and proof do not belong together, or the log does not prove the
    /// entry.
    pub fn resume(
        agreement: &Recognized,
        receipt: Signed<Receipt>,
        context: ClearanceContext,
        entry: &[u8],
        proof: &str,
    ) -> Result<Self, RecordError> {
        let digest = document_digest(&context)?;
        let belongs = context.holder == *agreement.party()
            && context.agreement == agreement.agreement().digest()
            && context.run == receipt.value().run
            && context.receipt == receipt.digest();
        if !belongs {
            return Err(RecordError::OtherContext);
        }
        let recorded: LogEntry = from_canonical(entry, LogEntry::MAX_BYTES)?;
        let is_this = recorded.action == Action::OutputCleared
            && recorded.decision == Decision::Permit
            && recorded.holder == context.holder
            && recorded.agreement == Some(context.agreement)
            && recorded.run == Some(context.run)
            && recorded.objects == [digest];
        if !is_this {
            return Err(RecordError::OtherEntry);
        }
        let proven = verify_proof(proof.as_bytes(), entry, agreement.log(), agreement.witnesses())?;
        let state = Recorded { context, entry: entry.to_vec(), proof: proof.to_owned(), proven };
        Ok(Self { agreement: agreement.clone(), receipt, state })
    }

    /// What the key process needs.
    pub fn release_order(&self) -> ReleaseOrder<'_> {
        ReleaseOrder {
            context: &self.state.context,
            entry: &self.state.entry,
            proof: &self.state.proof,
        }
    }

    /// Where the entry stands in the log, and who cosigned.
    pub const fn proven(&self) -> &Proven {
        &self.state.proven
    }

    /// The signed release around the shares that the key process sealed, one per recipient.
    ///
    /// # Errors
    /// If there is not one share for each recipient, `broker_key` is not this broker's, or the
    /// release is too large to sign.
    pub fn release(
        self,
        sealed_shares: Vec<SealedBox>,
        broker_key: &SigningKey,
    ) -> Result<Signed<Release>, RecordError> {
        let (expected, found) = (self.agreement.value().recipients.len(), sealed_shares.len());
        if expected != found {
            return Err(RecordError::Shares { expected, found });
        }
        if broker_key.verifying_key() != self.agreement.own_card().broker_key {
            return Err(RecordError::Sign);
        }
        let Recorded { context, entry, proof, .. } = self.state;
        let release = Release { v: V1, context, sealed_shares, entry: entry.into(), proof };
        Signed::sign(release, broker_key).map_err(|_| RecordError::Sign)
    }
}

impl<S> Session<S> {
    /// The run.
    pub fn run(&self) -> RunId {
        self.receipt.value().run
    }

    /// The receipt.
    pub const fn receipt(&self) -> &Signed<Receipt> {
        &self.receipt
    }

    /// The agreement.
    pub const fn agreement(&self) -> &Recognized {
        &self.agreement
    }

    fn occasion(&self, now: UnixSeconds) -> Occasion {
        occasion(&self.agreement, self.run(), self.receipt.digest(), now)
    }
}

fn occasion(
    agreement: &Recognized,
    run: RunId,
    receipt: Sha256Digest,
    now: UnixSeconds,
) -> Occasion {
    Occasion {
        time: now,
        profile: agreement.profile(),
        holder: agreement.party().clone(),
        actor: Actor::Broker,
        study: Some(agreement.value().study.clone()),
        agreement: Some(agreement.agreement().digest()),
        run: Some(run),
        evidence: vec![receipt],
    }
}

/// The receipt says of this run what this broker knows of it.
fn check_receipt(
    agreement: &Recognized,
    granted: &GrantContext,
    receipt: &Receipt,
) -> Result<(), (Code, String)> {
    let mismatch = |what: &str| Err((Code::ReceiptMismatch, format!("another {what}")));
    let terms = agreement.value();
    if granted.holder != *agreement.party() || granted.agreement != agreement.agreement().digest() {
        return mismatch("agreement than the grant's");
    }
    if receipt.run != granted.run {
        return mismatch("run");
    }
    if receipt.agreement != granted.agreement {
        return mismatch("agreement");
    }
    if receipt.evidence != granted.evidence {
        return mismatch("evidence");
    }
    if receipt.engine != terms.program.engine {
        return mismatch("engine");
    }
    let mut agreed = terms.platform.tees.iter().map(|tee| Assurance::of(*tee));
    if !agreed.any(|assurance| assurance == receipt.assurance) {
        return mismatch("assurance than that of an agreed kind of TEE");
    }
    // A run that failed may have ended before all grants were in; nothing leaves by it.
    if matches!(receipt.outcome, Outcome::Failed { .. }) && receipt.grants.is_empty() {
        return Ok(());
    }
    // All holders granted: keys went in only together.
    let holders = || terms.holders.iter().map(|holder| &holder.party);
    if !receipt.grants.iter().map(|grant| &grant.holder).eq(holders()) {
        return mismatch("set of grants than one of each holder");
    }
    let context =
        document_digest(granted).map_err(|error| (Code::ReceiptMismatch, chain(&error)))?;
    let own_grant = receipt.grants.iter().find(|grant| grant.holder == granted.holder);
    if own_grant.is_none_or(|grant| grant.context != context) {
        return mismatch("grant of this broker");
    }
    let own_inputs = receipt.inputs.iter().filter(|input| input.holder == granted.holder);
    let read = own_inputs.map(|input| (&input.dataset, input.version, input.manifest));
    let given = granted.datasets.iter().map(|d| (&d.dataset, d.version, d.manifest));
    if !read.eq(given) {
        return mismatch("dataset version of this holder");
    }
    Ok(())
}

/// The share that came is the one that the guard's receipt names for this broker.
fn check_share(
    agreement: &Recognized,
    receipt: &Receipt,
    share: Option<Sha256Digest>,
) -> Result<(), (Code, String)> {
    let mismatch = |reason: &str| Err((Code::ShareMismatch, reason.to_owned()));
    let sealed = match (&receipt.outcome, share) {
        (Outcome::Sealed(sealed), _) => sealed,
        (Outcome::Failed { .. }, None) => return Ok(()),
        (Outcome::Failed { .. }, Some(_)) => return mismatch("a share of a run without result"),
    };
    let holders = agreement.value().holders.iter().map(|holder| &holder.party);
    if !sealed.shares.iter().map(|share| &share.holder).eq(holders) {
        return mismatch("expected one share for each holder in the receipt");
    }
    let own = sealed.shares.iter().find(|share| share.holder == *agreement.party());
    match (own, share) {
        (Some(own), Some(share)) if own.share == share => Ok(()),
        (Some(_), Some(_)) => mismatch("another share than the receipt names"),
        (Some(_), None) => mismatch("no share came with the receipt"),
        (None, _) => mismatch("the receipt names no share for this broker"),
    }
}

/// Every reviewer whom the agreement names for this holder has the copy that the receipt names: a
/// carrier who leaves one out would make the output unreviewable for good.
fn check_copies(
    agreement: &Recognized,
    receipt: &Receipt,
    copies: &[ReviewCopy],
) -> Result<(), (Code, String)> {
    let named = match &receipt.outcome {
        Outcome::Sealed(sealed) => {
            let own = sealed.shares.iter().find(|share| share.holder == *agreement.party());
            own.map_or(&[][..], |own| &own.reviews)
        }
        Outcome::Failed { .. } => &[],
    };
    let reviewers = match (&receipt.outcome, agreement.value().output.review) {
        (Outcome::Sealed(_), Review::EachHolder) => &agreement.own_holder().reviewers[..],
        (Outcome::Sealed(_), Review::GateSuffices) | (Outcome::Failed { .. }, _) => &[],
    };
    if named.len() != reviewers.len() {
        let reason = format!("{} copies for {} reviewers", named.len(), reviewers.len());
        return Err((Code::ReceiptMismatch, reason));
    }
    let expected = reviewers.iter().zip(named).map(|(r, copy)| (&r.party, &r.person, *copy));
    let found = copies.iter().map(|copy| (&copy.party, &copy.person, copy.sealed.digest()));
    if expected.eq(found) {
        return Ok(());
    }
    let reason = format!("{} copies came, not those of the receipt", copies.len());
    Err((Code::ReviewCopyMismatch, reason))
}

#[cfg(test)]
mod tests;
