//! Step 7: the result, sealed so that nobody opens it unless every broker clears it.

use std::collections::BTreeMap;

use cordon_crypto::dsse::{Document as _, Envelope, Signed};
use cordon_crypto::{
    AeadKey, Label, Random, SealedBox, SigningKey, commitment, mac, sha256, xor_split,
};
use cordon_protocol::agreement::{Agreement, Review};
use cordon_protocol::evidence::Evidence;
use cordon_protocol::message::MAX_REVIEW_BYTES;
use cordon_protocol::release::{
    Assurance, Outcome, ReceiptGrant, ReceiptInput, ReceiptShare, ResultDocument, ReviewCopy,
    SealedOutcome,
};
use cordon_protocol::{Receipt, V1};
use cordon_types::{PartyId, Secret, Sha256Digest};

use crate::failure::Code;
use crate::order::Order;
use crate::output::Passed;
use crate::work::Costs;

/// A sealed result and what goes with it. It holds no plaintext and no key.
pub(crate) struct Sealed {
    /// For the receipt.
    pub outcome: SealedOutcome,
    /// The sealed bytes.
    pub bytes: Vec<u8>,
    /// One share of the result key for each holder's broker.
    pub shares: BTreeMap<PartyId, SealedBox>,
    /// Copies for the reviewers of each holder.
    pub reviews: BTreeMap<PartyId, Vec<ReviewCopy>>,
}

/// Seals a table that has passed its gate, under a key that nobody has whole.
pub(crate) fn seal(
    order: &Order,
    assurance: Assurance,
    passed: Passed,
    random: &mut dyn Random,
) -> Result<Sealed, Code> {
    let (agreement, run) = (&order.agreement, order.run);
    // 1. The document, with a salt that makes its commitment say nothing.
    let salt = random.nonce();
    let mut gates: Vec<String> = passed.verdicts.iter().map(|v| v.rule.clone()).collect();
    gates.sort();
    let document = ResultDocument {
        v: V1,
        run,
        agreement: order.digest,
        assurance,
        salt,
        table: passed.table,
        verdicts: passed.verdicts,
        padding: String::new(),
    };
    let most = usize::try_from(agreement.output.max_bytes).unwrap_or(usize::MAX);
    let document = document.to_padded(most.min(ResultDocument::MAX_BYTES));
    let document = document.map_err(|_| Code::OutputMalformed)?.ok_or(Code::OutputTooLarge)?;
    let salt = Secret::from_bytes(*salt.as_bytes());
    let committed = mac(&salt, Label::ReceiptCommitment, &[&document]);

    // 2. Sealed under a fresh key; the key is split, one share for each broker.
    let key = random.secret();
    let place = run.0.as_bytes().as_slice();
    let bytes = AeadKey::new(&key).seal(Label::SealedResult, &[place], &document, random);
    let name = sha256(&[&bytes]);
    let shares = share_out(agreement, place, &key, random)?;

    // 3. Copies for reviewers, where the agreement names them.
    let reviews = match agreement.output.review {
        Review::GateSuffices => BTreeMap::new(),
        Review::EachHolder => review_copies(agreement, place, name, &document, random)?,
    };
    let listed = shares.iter().map(|(holder, share)| ReceiptShare {
        holder: holder.clone(),
        share: share.digest(),
        reviews: reviews.get(holder).into_iter().flatten().map(|c| c.sealed.digest()).collect(),
    });
    let outcome = SealedOutcome {
        sealed: name,
        size_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        commitment: Sha256Digest::from_bytes(committed),
        key_commitment: commitment(&key),
        shares: listed.collect(),
        gates,
    };
    Ok(Sealed { outcome, bytes, shares, reviews })
}

fn share_out(
    agreement: &Agreement,
    run: &[u8],
    key: &Secret<32>,
    random: &mut dyn Random,
) -> Result<BTreeMap<PartyId, SealedBox>, Code> {
    let shares = xor_split(key, agreement.holders.len(), random);
    let mut sealed = BTreeMap::new();
    for (holder, share) in agreement.holders.iter().zip(&shares) {
        let context = [run, holder.party.as_str().as_bytes()];
        let boxed = holder.box_key.seal(Label::ShareBox, &context, share.expose(), random);
        sealed.insert(holder.party.clone(), boxed.map_err(|_| Code::CannotSeal)?);
    }
    Ok(sealed)
}

fn review_copies(
    agreement: &Agreement,
    run: &[u8],
    sealed: Sha256Digest,
    document: &[u8],
    random: &mut dyn Random,
) -> Result<BTreeMap<PartyId, Vec<ReviewCopy>>, Code> {
    let mut all = BTreeMap::new();
    for holder in &agreement.holders {
        // A copy goes through a mailbox, in base64, beside receipt and share.
        if document.len().saturating_mul(holder.reviewers.len()) > MAX_REVIEW_BYTES {
            return Err(Code::OutputTooLarge);
        }
        let mut copies = Vec::with_capacity(holder.reviewers.len());
        for reviewer in &holder.reviewers {
            let context = [run, sealed.as_bytes().as_slice()];
            let boxed = reviewer.box_key.seal(Label::ReviewBox, &context, document, random);
            copies.push(ReviewCopy {
                party: reviewer.party.clone(),
                person: reviewer.person.clone(),
                sealed: boxed.map_err(|_| Code::CannotSeal)?,
            });
        }
        all.insert(holder.party.clone(), copies);
    }
    Ok(all)
}

/// What a receipt says beside the outcome.
#[derive(Default)]
pub(crate) struct Facts {
    /// Dataset versions whose keys came in.
    pub inputs: Vec<ReceiptInput>,
    /// The grants that brought them.
    pub grants: Vec<ReceiptGrant>,
    /// What it cost.
    pub costs: Costs,
}

/// The guard's signed statement of what ran on what.
pub(crate) fn receipt(
    order: &Order,
    evidence: &Evidence,
    facts: Facts,
    outcome: Outcome,
    key: &SigningKey,
) -> Result<Envelope, Code> {
    let receipt = Receipt {
        v: V1,
        run: order.run,
        agreement: order.digest,
        evidence: evidence.digest(),
        engine: order.agreement.program.engine,
        assurance: Assurance::of(evidence.tee),
        inputs: facts.inputs,
        grants: facts.grants,
        outcome,
        worker_ms: facts.costs.worker_ms(),
        bytes_read: facts.costs.bytes_read,
    };
    let signed = Signed::sign(receipt, key).map_err(|_| Code::CannotSeal)?;
    Ok(signed.envelope().clone())
}

#[cfg(test)]
mod tests;
