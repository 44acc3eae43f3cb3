//! Challenges: sessions whose guard owes evidence over a nonce, each good once and for a short
//! time.
//!
//! They live in memory only: after a restart a guard asks again, and an old nonce is unknown.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cordon_govern::grant::CHALLENGE_SECONDS;
use cordon_protocol::RunId;
use cordon_types::{Nonce, UnixSeconds};

/// Most runs with open challenges; beyond that the oldest make room.
const MAX_RUNS: usize = 1024;
/// Most open challenges of one run. Run requests are public, so that anybody can ask for more;
/// what is open stays open, or a stranger could void a guard's nonce when the other brokers have
/// spent the run. A session holds its run request, so that this bounds memory to some 10 MiB.
const MAX_PER_RUN: usize = 4;

struct Open<S> {
    nonce: Nonce,
    session: S,
    expires: UnixSeconds,
}

/// The open challenges of this broker.
pub struct Challenges<S>(Mutex<HashMap<RunId, Vec<Open<S>>>>);

/// What is open for a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<S> {
    /// The challenge that was asked for. Its nonce is used, whatever comes of it.
    Session(S),
    /// Only challenges with other nonces, which stay open.
    OtherNonce,
    /// Nothing.
    Nothing,
}

impl<S> Default for Challenges<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> Challenges<S> {
    /// Opens a challenge for `run`; `false` if too many are open.
    pub fn open(&self, run: RunId, nonce: Nonce, session: S, now: UnixSeconds) -> bool {
        let mut open = self.lock();
        if open.len() >= MAX_RUNS && !open.contains_key(&run) {
            open.retain(|_, challenges| challenges.iter().any(|one| one.expires > now));
            let newest = |challenges: &Vec<Open<S>>| challenges.iter().map(|one| one.expires).max();
            if open.len() >= MAX_RUNS
                && let Some(oldest) =
                    open.iter().min_by_key(|(_, c)| newest(c)).map(|(run, _)| *run)
            {
                open.remove(&oldest);
            }
        }
        let challenges = open.entry(run).or_default();
        challenges.retain(|one| one.expires > now);
        let fits = challenges.len() < MAX_PER_RUN;
        if fits {
            challenges.push(Open { nonce, session, expires: now.plus_seconds(CHALLENGE_SECONDS) });
        }
        fits
    }

    /// Takes the session of `run` with this nonce out.
    pub fn take(&self, run: RunId, nonce: Option<&Nonce>, now: UnixSeconds) -> Taken<S> {
        let mut open = self.lock();
        let Some(challenges) = open.get_mut(&run) else { return Taken::Nothing };
        challenges.retain(|one| one.expires > now);
        let place = challenges.iter().position(|one| Some(&one.nonce) == nonce);
        let taken = match place {
            Some(place) => Taken::Session(challenges.swap_remove(place).session),
            None if challenges.is_empty() => Taken::Nothing,
            None => Taken::OtherNonce,
        };
        if challenges.is_empty() {
            open.remove(&run);
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Vec<Open<S>>>> {
        // A panic while holding the lock leaves the map whole: a challenge is there or not.
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

    fn nonce(seed: u8) -> Nonce {
        Nonce::from_bytes([seed; 32])
    }

    #[test]
    fn a_challenge_is_good_once_and_for_its_run_and_nonce() {
        let challenges = Challenges::default();
        assert!(challenges.open(run(1), nonce(1), "first", NOW));
        assert_eq!(challenges.take(run(2), Some(&nonce(1)), NOW), Taken::Nothing);
        assert_eq!(challenges.take(run(1), Some(&nonce(2)), NOW), Taken::OtherNonce);
        assert_eq!(challenges.take(run(1), None, NOW), Taken::OtherNonce);
        assert_eq!(challenges.take(run(1), Some(&nonce(1)), NOW), Taken::Session("first"));
        assert_eq!(challenges.take(run(1), Some(&nonce(1)), NOW), Taken::Nothing);
    }

    #[test]
    fn a_stranger_who_asks_for_more_voids_nothing() {
        let challenges = Challenges::default();
        challenges.open(run(1), nonce(0), "guard", NOW);
        let more = (1..20).filter(|seed| challenges.open(run(1), nonce(*seed), "stranger", NOW));
        assert_eq!(more.count(), MAX_PER_RUN - 1);
        assert_eq!(challenges.take(run(1), Some(&nonce(0)), NOW), Taken::Session("guard"));
    }

    #[test]
    fn a_challenge_expires_and_makes_room() {
        let challenges = Challenges::default();
        let later = NOW.plus_seconds(CHALLENGE_SECONDS);
        for seed in 0..MAX_PER_RUN as u8 {
            challenges.open(run(1), nonce(seed), "old", NOW);
        }
        assert_eq!(challenges.take(run(1), Some(&nonce(0)), later), Taken::Nothing);
        assert!(challenges.open(run(1), nonce(9), "new", later));
        assert_eq!(challenges.take(run(1), Some(&nonce(9)), later), Taken::Session("new"));
    }

    #[test]
    fn the_oldest_run_makes_room() {
        let challenges = Challenges::default();
        for number in 0..=MAX_RUNS {
            let digest = cordon_crypto::sha256(&[&number.to_be_bytes()]);
            let at = NOW.plus_seconds(number as u64 / 100);
            challenges.open(RunId(digest), nonce(1), number, at);
        }
        assert_eq!(challenges.lock().len(), MAX_RUNS);
    }
}
