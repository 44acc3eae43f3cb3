//! Opening a result: every broker's share, and every reason to believe what comes out.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use cordon_crypto::dsse::{Document as _, Envelope, Signed, document_digest};
use cordon_crypto::{AeadKey, Label, canonical, commitment, mac_matches, sha256, xor_join};
use cordon_protocol::agreement::Holder;
use cordon_protocol::entry::{Action, Decision};
use cordon_protocol::release::{Assurance, Outcome, Receipt, ResultDocument, SealedOutcome};
use cordon_protocol::{Agreement, Evidence, LogEntry, Release, RunId, RuntimeData};
use cordon_tlog::{LogKey, Quorum, WitnessKey, verify_proof};
use cordon_types::{PartyId, Secret};

use crate::person::PersonKeys;

/// A receipt whose signing key the evidence binds.
pub struct CheckedReceipt {
    /// The receipt.
    pub receipt: Signed<Receipt>,
}

/// Checks that the receipt is the guard's whose evidence the brokers appraised.
///
/// # Errors
/// If evidence, run, agreement or signature do not belong together.
pub fn check_receipt(
    agreement: &Signed<Agreement>,
    run: RunId,
    receipt: &Envelope,
    evidence: &Evidence,
) -> Result<CheckedReceipt> {
    let runtime: RuntimeData =
        canonical::from_canonical(evidence.runtime_data.as_slice(), RuntimeData::MAX_BYTES)
            .context("the evidence holds no runtime data")?;
    let receipt = receipt
        .open::<Receipt>(&runtime.guard_signing_key)
        .context("the receipt is not signed by the guard of this evidence")?;
    let value = receipt.value();
    ensure!(value.run == run && runtime.run == run, "the receipt is of another run");
    ensure!(
        value.agreement == agreement.digest() && runtime.agreement == agreement.digest(),
        "the receipt is of another agreement"
    );
    ensure!(value.evidence == evidence.digest(), "the receipt names other evidence");
    ensure!(value.engine == agreement.value().program.engine, "the receipt names another engine");
    ensure!(
        value.assurance == Assurance::of(evidence.tee),
        "the receipt promises another assurance than its evidence has"
    );
    Ok(CheckedReceipt { receipt })
}

/// Joins the shares of all holders and opens the result.
///
/// # Errors
/// If a release is missing or does not verify, or the result is not the one of the receipt.
pub fn open(
    agreement: &Signed<Agreement>,
    receipt: &CheckedReceipt,
    releases: &BTreeMap<PartyId, Envelope>,
    sealed: &[u8],
    recipient: &PersonKeys,
) -> Result<Released<ResultDocument>> {
    let outcome = match &receipt.receipt.value().outcome {
        Outcome::Sealed(outcome) => outcome,
        Outcome::Failed { code } => bail!("nothing left the enclave: {code}"),
    };
    ensure!(sha256(&[sealed]) == outcome.sealed, "the sealed result is not the receipt's");
    let mut shares = Vec::new();
    for holder in &agreement.value().holders {
        let release = releases
            .get(&holder.party)
            .with_context(|| format!("`{}` has not released its share", holder.party))?;
        let share = share_of(agreement, receipt, outcome, holder, release, recipient)
            .with_context(|| format!("the release of `{}`", holder.party))?;
        shares.push(share);
    }
    let key = xor_join(&shares);
    ensure!(commitment(&key) == outcome.key_commitment, "the shares do not join to the result key");
    let run = receipt.receipt.value().run;
    let plaintext = AeadKey::new(&key)
        .open(Label::SealedResult, &[run.0.as_bytes()], sealed)
        .context("the sealed result")?;
    let document = committed(&plaintext, outcome)?;
    ensure!(
        document.run == run && document.agreement == agreement.digest(),
        "the result is of another run"
    );
    ensure!(
        document.assurance == receipt.receipt.value().assurance,
        "the result promises another assurance than its receipt"
    );
    Ok(Released(document))
}

/// Reads a result that the receipt commits to. Whoever knows a box key can seal something to it:
/// only the commitment says that it is the guard's.
///
/// # Errors
/// If it is another.
pub fn committed(plaintext: &[u8], outcome: &SealedOutcome) -> Result<ResultDocument> {
    let document: ResultDocument = canonical::from_canonical(plaintext, ResultDocument::MAX_BYTES)?;
    let salt = Secret::from_bytes(*document.salt.as_bytes());
    ensure!(
        mac_matches(&salt, Label::ReceiptCommitment, &[plaintext], outcome.commitment.as_bytes()),
        "the result is not the one that the receipt commits to"
    );
    Ok(document)
}

/// A result that every broker released and the guard's receipt commits to.
pub struct Released<T>(T);

impl<T> Released<T> {
    /// The document.
    pub fn into_value(self) -> T {
        self.0
    }
}

fn share_of(
    agreement: &Signed<Agreement>,
    receipt: &CheckedReceipt,
    outcome: &SealedOutcome,
    holder: &Holder,
    release: &Envelope,
    recipient: &PersonKeys,
) -> Result<Secret<32>> {
    let release = release.open::<Release>(&holder.broker_key)?;
    let context = &release.value().context;
    ensure!(context.holder == holder.party, "it speaks for another holder");
    ensure!(context.agreement == agreement.digest(), "it is for another agreement");
    ensure!(context.receipt == receipt.receipt.digest(), "it is for another receipt");
    let share = outcome.shares.iter().find(|s| s.holder == holder.party);
    ensure!(share.is_some_and(|s| s.share == context.share), "it is for another share");

    let digest = document_digest(context)?;
    let entry: LogEntry =
        canonical::from_canonical(release.value().entry.as_slice(), LogEntry::MAX_BYTES)?;
    ensure!(
        entry.action == Action::OutputCleared
            && entry.decision == Decision::Permit
            && entry.objects == [digest],
        "its log entry tells of something else"
    );
    let log = LogKey::new(holder.log_origin.parse()?, holder.log_key);
    verify_proof(
        release.value().proof.as_bytes(),
        release.value().entry.as_slice(),
        &log,
        &quorum(agreement.value(), &holder.party)?,
    )
    .context("its log entry is not proven")?;

    let index = agreement
        .value()
        .recipients
        .iter()
        .position(|r| r.party == recipient.party && r.person == recipient.person)
        .context("you are not among the recipients")?;
    let sealed = release.value().sealed_shares.get(index).context("it holds no share for you")?;
    let opened = recipient.boxes.open(Label::ReleaseBox, &[digest.as_bytes()], sealed)?;
    Secret::from_slice(&opened).context("it holds no key")
}

/// The witnesses of one holder's log: the brokers of the other holders.
///
/// # Errors
/// If the agreement's keys cannot be used.
pub fn quorum(agreement: &Agreement, holder: &PartyId) -> Result<Quorum> {
    let others = agreement.holders.iter().filter(|h| h.party != *holder);
    let witness = |h: &Holder| {
        let name = cordon_protocol::party::witness_name(&h.log_origin);
        anyhow::Ok(WitnessKey::new(name.parse()?, h.witness_key))
    };
    let witnesses = others.map(witness).collect::<Result<Vec<_>>>()?;
    if agreement.witness_quorum == 0 {
        return Ok(Quorum::dangerous_development_none());
    }
    Ok(Quorum::at_least(usize::try_from(agreement.witness_quorum)?, witnesses)?)
}

#[cfg(test)]
mod tests;
