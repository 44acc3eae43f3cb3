//! Reviewing an output: open the copy that the guard sealed to this reviewer, then decide.

use anyhow::{Result, bail, ensure};
use cordon_broker::api::ReviewView;
use cordon_crypto::dsse::{Envelope, Signed};
use cordon_crypto::{Label, Random};
use cordon_protocol::decision::Verdict;
use cordon_protocol::release::{Outcome, Receipt, ResultDocument, ReviewCopy};
use cordon_protocol::{ReviewDecision, RunId, V1};
use cordon_types::UnixSeconds;

use super::result::committed;
use crate::person::PersonKeys;

/// There is nothing for this person to review.
#[derive(Debug, thiserror::Error)]
pub enum NothingToReview {
    /// The run failed.
    #[error("nothing left the enclave, so there is nothing to review: {0}")]
    Failed(String),
    /// The agreement has other reviewers.
    #[error("there is no review copy for `{0}`: the agreement names who reviews")]
    NotAReviewer(String),
}

/// Opens this reviewer's copy of the checked output. The receipt is as the own broker took it:
/// signed by the guard that it granted keys to.
///
/// # Errors
/// [`NothingToReview`], or if it is not the very output that the receipt commits to: anybody who
/// carries a copy could seal another one to the reviewer.
pub fn open(view: &ReviewView, run: RunId, reviewer: &PersonKeys) -> Result<ResultDocument> {
    let receipt = view.receipt.open::<Receipt>(&view.receipt.claimed_signer())?;
    ensure!(receipt.value().run == run, "the broker shows the receipt of another run");
    let outcome = match &receipt.value().outcome {
        Outcome::Sealed(outcome) => outcome,
        Outcome::Failed { code } => bail!(NothingToReview::Failed(code.clone())),
    };
    let own = |copy: &&ReviewCopy| copy.party == reviewer.party && copy.person == reviewer.person;
    let name = || format!("{}/{}", reviewer.party, reviewer.person);
    let copy = view.copies.iter().find(own);
    let copy = copy.ok_or_else(|| NothingToReview::NotAReviewer(name()))?;
    let context: [&[u8]; 2] = [run.0.as_bytes(), outcome.sealed.as_bytes()];
    let opened = reviewer.boxes.open(Label::ReviewBox, &context, &copy.sealed)?;
    let document = committed(&opened, outcome)?;
    ensure!(
        document.run == run && document.agreement == receipt.value().agreement,
        "the copy is of another run"
    );
    Ok(document)
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

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_crypto::{SystemRandom, canonical, commitment, mac, sha256};
    use cordon_protocol::release::{Assurance, SealedOutcome};
    use cordon_protocol::table::ResultTable;
    use cordon_types::{Milliseconds, Nonce, Secret, Sha256Digest};

    const SALT: [u8; 32] = [5; 32];

    fn digest(byte: u8) -> Sha256Digest {
        Sha256Digest::from_bytes([byte; 32])
    }

    fn document(run: RunId) -> ResultDocument {
        ResultDocument {
            v: V1,
            run,
            agreement: digest(2),
            assurance: Assurance::None,
            salt: Nonce::from_bytes(SALT),
            table: ResultTable { columns: Vec::new(), rows: Vec::new() },
            verdicts: Vec::new(),
            padding: String::new(),
        }
    }

    /// What a broker shows about a run whose output is `committed`, with a copy of `shown`.
    fn view(
        reviewer: &PersonKeys,
        committed: &ResultDocument,
        shown: &ResultDocument,
    ) -> ReviewView {
        let random = &mut SystemRandom::new();
        let bytes = canonical::to_canonical(committed).unwrap();
        let salt = Secret::from_bytes(SALT);
        let outcome = SealedOutcome {
            sealed: sha256(&[b"sealed"]),
            size_bytes: 6,
            commitment: Sha256Digest::from_bytes(mac(&salt, Label::ReceiptCommitment, &[&bytes])),
            key_commitment: commitment(&Secret::from_bytes([6; 32])),
            shares: Vec::new(),
            gates: Vec::new(),
        };
        let context: [&[u8]; 2] = [committed.run.0.as_bytes(), outcome.sealed.as_bytes()];
        let copy = canonical::to_canonical(shown).unwrap();
        let sealed = reviewer.boxes.public_key().seal(Label::ReviewBox, &context, &copy, random);
        let receipt = Receipt {
            v: V1,
            run: committed.run,
            agreement: digest(2),
            evidence: digest(3),
            engine: digest(4),
            assurance: Assurance::None,
            inputs: Vec::new(),
            grants: Vec::new(),
            outcome: Outcome::Sealed(outcome),
            worker_ms: Milliseconds::new(1),
            bytes_read: 1,
        };
        ReviewView {
            receipt: Signed::sign(receipt, &reviewer.signing).unwrap().envelope().clone(),
            copies: vec![ReviewCopy {
                party: reviewer.party.clone(),
                person: reviewer.person.clone(),
                sealed: sealed.unwrap(),
            }],
        }
    }

    fn reviewer() -> PersonKeys {
        let (party, name) = ("hospital-a".parse().unwrap(), "reviewer".parse().unwrap());
        PersonKeys::generate(party, name, &mut SystemRandom::new())
    }

    #[test]
    fn the_reviewer_sees_what_the_receipt_commits_to() {
        let (reviewer, run) = (reviewer(), RunId(digest(1)));
        let shown = document(run);
        assert_eq!(open(&view(&reviewer, &shown, &shown), run, &reviewer).unwrap(), shown);
    }

    #[test]
    fn a_copy_that_the_host_made_is_refused() {
        let (reviewer, run) = (reviewer(), RunId(digest(1)));
        let committed = document(run);
        let harmless = ResultDocument {
            table: ResultTable { columns: Vec::new(), rows: vec![vec![]] },
            ..committed.clone()
        };
        let refused = open(&view(&reviewer, &committed, &harmless), run, &reviewer).unwrap_err();
        assert!(refused.to_string().contains("commits to"), "{refused}");
    }

    #[test]
    fn the_receipt_of_another_run_is_refused() {
        let (reviewer, run) = (reviewer(), RunId(digest(1)));
        let shown = document(RunId(digest(9)));
        assert!(open(&view(&reviewer, &shown, &shown), run, &reviewer).is_err());
    }
}
