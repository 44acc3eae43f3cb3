//! The newest signed heads, who has cosigned them, and whose answer is still awaited.

use std::collections::{BTreeSet, VecDeque};

use cordon_tlog::{Quorum, VerifiedCheckpoint, WitnessKey};
use cordon_types::PartyId;

/// Heads that are kept: a witness that answers late still completes a recent one.
const KEPT_HEADS: usize = 16;

/// The newest heads, oldest first. Empty only while the log is empty.
#[derive(Debug, Default)]
pub(super) struct Heads {
    recent: VecDeque<Head>,
    /// Witnesses that answered when they were asked last.
    answering: BTreeSet<PartyId>,
    /// Of these, those who have not yet cosigned the newest head.
    awaited: BTreeSet<PartyId>,
}

#[derive(Debug)]
struct Head {
    checkpoint: VerifiedCheckpoint,
    cosigned_by: Vec<WitnessKey>,
}

impl Heads {
    pub(super) fn new(head: Option<VerifiedCheckpoint>) -> Self {
        let mut heads = Self::default();
        if let Some(head) = head {
            heads.add(head);
        }
        heads
    }

    /// Entries under the newest head.
    pub(super) fn size(&self) -> u64 {
        self.newest().map_or(0, VerifiedCheckpoint::size)
    }

    /// The newest head.
    pub(super) fn newest(&self) -> Option<&VerifiedCheckpoint> {
        self.recent.back().map(|head| &head.checkpoint)
    }

    /// Adds a head that was just signed.
    pub(super) fn add(&mut self, checkpoint: VerifiedCheckpoint) {
        if self.recent.len() >= KEPT_HEADS {
            self.recent.pop_front();
        }
        self.recent.push_back(Head { checkpoint, cosigned_by: Vec::new() });
        self.awaited = self.answering.clone();
    }

    /// Whether a witness has yet to cosign the newest head.
    pub(super) fn lacks(&self, witness: &WitnessKey) -> bool {
        self.recent.back().is_some_and(|head| !head.cosigned_by.contains(witness))
    }

    /// Whether every witness that answers has cosigned the newest head.
    pub(super) fn is_settled(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Takes a witness's answer over the head of `size` entries in; one that does not verify, or
    /// is none of this witness, counts as no answer.
    pub(super) fn cosigned(
        &mut self,
        party: &PartyId,
        witness: &WitnessKey,
        size: u64,
        answer: &str,
    ) -> bool {
        let only = Quorum::all([witness.clone()]);
        let head = self.recent.iter_mut().find(|head| head.checkpoint.size() == size);
        let (Ok(only), Some(head)) = (only, head) else { return false };
        let added = head.checkpoint.add_cosignatures(answer.as_bytes(), &only);
        let is_new = added.is_ok_and(|added| !added.is_empty());
        if !is_new && !head.cosigned_by.contains(witness) {
            self.silent(party);
            return false;
        }
        if is_new {
            head.cosigned_by.push(witness.clone());
        }
        self.answering.insert(party.clone());
        if !self.lacks(witness) {
            self.awaited.remove(party);
        }
        true
    }

    /// A witness did not answer: nobody waits for it until it does again.
    pub(super) fn silent(&mut self, party: &PartyId) {
        self.answering.remove(party);
        self.awaited.remove(party);
    }

    /// How many of these parties answered when they were asked last.
    pub(super) fn answering(&self, parties: &[PartyId]) -> u32 {
        let count = parties.iter().filter(|party| self.answering.contains(*party)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// A head over the entry at `index` that `quorum` cosigned.
    pub(super) fn covering(&self, index: u64, quorum: &Quorum) -> Option<&VerifiedCheckpoint> {
        let covers = |head: &&Head| {
            head.checkpoint.size() > index && quorum.is_met_by(head.cosigned_by.iter())
        };
        self.recent.iter().find(covers).map(|head| &head.checkpoint)
    }
}
