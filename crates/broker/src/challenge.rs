//! Challenges: sessions whose guard owes evidence over a nonce, each good once and for a short
//! time.
//!
//! They live in memory only: after a restart a guard asks again, and an old nonce is unknown.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cordon_govern::grant::CHALLENGE_SECONDS;
use cordon_protocol::RunId;
use cordon_types::UnixSeconds;

/// Most open challenges; beyond that the oldest make room. A session holds its run request, so
/// that this bounds memory to some 10 MiB.
const MAX_OPEN: usize = 4096;

struct Open<S> {
    session: S,
    expires: UnixSeconds,
}

/// The open challenges of this broker: at most one per run.
pub struct Challenges<S>(Mutex<HashMap<RunId, Open<S>>>);

impl<S> Default for Challenges<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> Challenges<S> {
    /// Opens a challenge for `run`; an earlier one of the same run is void.
    pub fn open(&self, run: RunId, session: S, now: UnixSeconds) {
        let mut open = self.lock();
        if open.len() >= MAX_OPEN {
            open.retain(|_, challenge| challenge.expires > now);
        }
        if open.len() >= MAX_OPEN
            && let Some(oldest) = open.iter().min_by_key(|(_, c)| c.expires).map(|(run, _)| *run)
        {
            open.remove(&oldest);
        }
        open.insert(run, Open { session, expires: now.plus_seconds(CHALLENGE_SECONDS) });
    }

    /// Takes the session of `run` out: whatever comes of it, its nonce is used.
    pub fn take(&self, run: RunId, now: UnixSeconds) -> Option<S> {
        self.lock().remove(&run).filter(|c| c.expires > now).map(|c| c.session)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Open<S>>> {
        // A panic while holding the lock leaves the map whole: every change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_types::Sha256Digest;

    const NOW: UnixSeconds = UnixSeconds::new(1_000);

    fn run(seed: u8) -> RunId {
        RunId(Sha256Digest::from_bytes([seed; 32]))
    }

    #[test]
    fn a_challenge_is_good_once_and_for_its_run() {
        let challenges = Challenges::default();
        challenges.open(run(1), "first", NOW);
        assert_eq!(challenges.take(run(2), NOW), None);
        assert_eq!(challenges.take(run(1), NOW), Some("first"));
        assert_eq!(challenges.take(run(1), NOW), None);
    }

    #[test]
    fn a_challenge_expires_and_a_new_one_voids_the_old() {
        let challenges = Challenges::default();
        challenges.open(run(1), "first", NOW);
        challenges.open(run(1), "second", NOW);
        assert_eq!(challenges.take(run(1), NOW), Some("second"));
        challenges.open(run(1), "third", NOW);
        assert_eq!(challenges.take(run(1), NOW.plus_seconds(CHALLENGE_SECONDS)), None);
    }

    #[test]
    fn the_oldest_challenge_makes_room() {
        let challenges = Challenges::default();
        for number in 0..=MAX_OPEN {
            let digest = cordon_crypto::sha256(&[&number.to_be_bytes()]);
            challenges.open(RunId(digest), number, NOW.plus_seconds(number as u64 / 100));
        }
        assert_eq!(challenges.lock().len(), MAX_OPEN);
    }
}
