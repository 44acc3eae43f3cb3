//! Reviewing an output: open the copy that the guard sealed to this reviewer, then decide.

use anyhow::{Context as _, Result};
use cordon_broker::api::ReviewView;
use cordon_crypto::dsse::{Document as _, Envelope, Signed};
use cordon_crypto::{Label, Random, canonical};
use cordon_protocol::decision::Verdict;
use cordon_protocol::release::{Outcome, Receipt, ResultDocument};
use cordon_protocol::{ReviewDecision, RunId, V1};
use cordon_types::UnixSeconds;

use crate::person::PersonKeys;

/// Opens this reviewer's copy of the checked output.
///
/// # Errors
/// If there is none, or it does not open for this run.
pub fn open(view: &ReviewView, run: RunId, reviewer: &PersonKeys) -> Result<ResultDocument> {
    let receipt = view.receipt.open::<Receipt>(&view.receipt.claimed_signer())?;
    let Outcome::Sealed(outcome) = &receipt.value().outcome else {
        anyhow::bail!("nothing left the enclave, so there is nothing to review");
    };
    let own = |copy: &&cordon_protocol::release::ReviewCopy| {
        copy.party == reviewer.party && copy.person == reviewer.person
    };
    let copy = view.copies.iter().find(own).context("there is no review copy for you")?;
    let context: [&[u8]; 2] = [run.0.as_bytes(), outcome.sealed.as_bytes()];
    let opened = reviewer.boxes.open(Label::ReviewBox, &context, &copy.sealed)?;
    Ok(canonical::from_canonical(&opened, ResultDocument::MAX_BYTES)?)
}

/// Signs a decision.
///
/// # Errors
/// If it has no canonical form, which does not happen.
pub fn decide(
    receipt: &Envelope,
    run: RunId,
    verdict: Verdict,
    reviewer: &PersonKeys,
    now: UnixSeconds,
    random: &mut dyn Random,
) -> Result<Envelope> {
    let decision = ReviewDecision {
        v: V1,
        run,
        receipt: receipt.payload_digest(),
        audience: reviewer.party.clone(),
        person: reviewer.person.clone(),
        verdict,
        nonce: random.nonce(),
        issued: now,
    };
    Ok(Signed::sign(decision, &reviewer.signing)?.envelope().clone())
}
