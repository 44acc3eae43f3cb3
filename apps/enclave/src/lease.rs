//! How long the guard may hold keys: a lease from every holder's broker, or none at all.
//!
//! A lease counts from the moment at which the guard *asked* for it, on the guard's own monotonic
//! clock, so that a slow or lying host can only shorten it. Between two heartbeats nobody can
//! prolong one: an answer counts only for an open nonce, once.
//!
//! A grant may take longer than a lease: its broker waits for the witnesses of its log. One that
//! comes late is no lease yet. Its first heartbeat, sent at once, makes it one, and nothing is done
//! with its keys before.
//!
//! A machine that is suspended takes the clock with it; what is left of a lease is left when it
//! wakes. Nothing is computed in between, and the next heartbeat decides.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cordon_protocol::grant::{Lease, LeaseVerdict};
use cordon_types::{Milliseconds, Nonce, PartyId};

use crate::failure::Code;

/// The leases of one run.
pub(crate) struct Leases {
    heartbeat: Duration,
    longest: Milliseconds,
    held: BTreeMap<PartyId, Held>,
}

struct Held {
    expires: Instant,
    /// When the lease in force was asked for.
    asked: Instant,
    /// Whether the broker is known to have said `go` less than a lease ago.
    confirmed: bool,
    next_beat: Instant,
    /// Heartbeats without an answer yet, oldest first.
    open: Vec<(Nonce, Instant)>,
}

impl Leases {
    /// No leases yet; none will last longer than the agreement's.
    pub fn new(heartbeat: Milliseconds, longest: Milliseconds) -> Self {
        Self { heartbeat: heartbeat.to_duration(), longest, held: BTreeMap::new() }
    }

    /// A grant came in now, asked for at `asked`.
    pub fn start(&mut self, party: &PartyId, asked: Instant, now: Instant, lease: Milliseconds) {
        let lease = lease.min(self.longest).to_duration();
        // With half of it left there is time to renew it.
        let confirmed = now < asked + lease / 2;
        let (expires, next_beat) = match confirmed {
            true => (asked + lease, asked + self.heartbeat),
            false => (now + lease, now),
        };
        let held = Held { expires, asked, confirmed, next_beat, open: Vec::new() };
        self.held.insert(party.clone(), held);
    }

    /// Whether every key that came in may be used.
    pub fn confirmed(&self) -> bool {
        self.held.values().all(|held| held.confirmed)
    }

    /// No key is held any more.
    pub fn end(&mut self) {
        self.held.clear();
    }

    /// Whether every lease still runs.
    pub fn check(&self, now: Instant) -> Result<(), Code> {
        if self.held.values().any(|held| held.expires <= now) {
            return Err(Code::LeaseExpired);
        }
        Ok(())
    }

    /// Whose broker is to be asked now.
    pub fn due(&self, now: Instant) -> Vec<PartyId> {
        let due = self.held.iter().filter(|(_, held)| held.next_beat <= now);
        due.map(|(party, _)| party.clone()).collect()
    }

    /// A heartbeat goes out.
    pub fn sent(&mut self, party: &PartyId, nonce: Nonce, now: Instant) {
        let heartbeat = self.heartbeat;
        if let Some(held) = self.held.get_mut(party) {
            held.next_beat = now + heartbeat;
            if held.open.len() >= MAX_OPEN_HEARTBEATS {
                held.open.remove(0);
            }
            held.open.push((nonce, now));
        }
    }

    /// An answer came in, signed by the broker of its holder. One that answers no open heartbeat
    /// is an old one, and nothing.
    pub fn renew(&mut self, lease: &Lease) -> Result<(), Code> {
        let Some(held) = self.held.get_mut(&lease.holder) else { return Ok(()) };
        let Some(index) = held.open.iter().position(|(nonce, _)| *nonce == lease.nonce) else {
            return Ok(());
        };
        let (_, asked) = held.open.remove(index);
        match lease.verdict {
            LeaseVerdict::Stop => Err(Code::Stopped),
            LeaseVerdict::Go => {
                // Answers may overtake one another: the newest question decides, and its answer
                // may also shorten the lease.
                if asked >= held.asked {
                    held.asked = asked;
                    held.confirmed = true;
                    held.expires = asked + lease.lease_ms.min(self.longest).to_duration();
                }
                Ok(())
            }
        }
    }

    /// When something is due next.
    pub fn wake(&self) -> Option<Instant> {
        self.held.values().map(|held| held.expires.min(held.next_beat)).min()
    }
}

/// More heartbeats than that without an answer, and the lease has run out anyway.
const MAX_OPEN_HEARTBEATS: usize = 64;

#[cfg(test)]
mod tests {
    use cordon_crypto::sha256;
    use cordon_protocol::{RunId, V1};

    use super::*;

    const A: &str = "hospital-a";
    const B: &str = "hospital-b";

    fn party(name: &str) -> PartyId {
        name.parse().expect("a party")
    }

    fn nonce(n: u8) -> Nonce {
        Nonce::from_bytes([n; 32])
    }

    fn ms(count: u64) -> Milliseconds {
        Milliseconds::new(count)
    }

    /// Two leases of 1,000 ms, asked for at the returned moment; a heartbeat every 300 ms.
    fn two() -> (Leases, Instant) {
        let begun = Instant::now();
        let mut leases = Leases::new(ms(300), ms(1000));
        leases.start(&party(A), begun, begun, ms(1000));
        leases.start(&party(B), begun, begun, ms(1000));
        (leases, begun)
    }

    fn answer(name: &str, n: u8, verdict: LeaseVerdict, lease_ms: u64) -> Lease {
        Lease {
            v: V1,
            run: RunId(sha256(&[b"run"])),
            holder: party(name),
            nonce: nonce(n),
            verdict,
            lease_ms: ms(lease_ms),
        }
    }

    #[test]
    fn a_lease_counts_from_when_it_was_asked_for() {
        let (mut leases, begun) = two();
        let after = |millis| begun + Duration::from_millis(millis);
        assert_eq!(leases.check(after(999)), Ok(()));
        assert_eq!(leases.check(after(1000)), Err(Code::LeaseExpired));
        for name in [A, B] {
            leases.sent(&party(name), nonce(1), after(300));
            leases.renew(&answer(name, 1, LeaseVerdict::Go, 1000)).expect("go");
        }
        assert_eq!(leases.check(after(1299)), Ok(()));
        assert_eq!(leases.check(after(1300)), Err(Code::LeaseExpired));
    }

    #[test]
    fn one_silent_broker_suffices() {
        let (mut leases, begun) = two();
        leases.sent(&party(A), nonce(1), begun + Duration::from_millis(900));
        leases.renew(&answer(A, 1, LeaseVerdict::Go, 1000)).expect("go");
        let then = begun + Duration::from_millis(1000);
        assert_eq!(leases.check(then), Err(Code::LeaseExpired));
    }

    #[test]
    fn an_answer_to_no_open_heartbeat_prolongs_nothing() {
        let (mut leases, begun) = two();
        let then = begun + Duration::from_millis(500);
        leases.sent(&party(A), nonce(1), then);
        leases.sent(&party(B), nonce(2), then);
        // Of another nonce, of another's heartbeat, twice.
        leases.renew(&answer(A, 9, LeaseVerdict::Go, 1000)).expect("ignored");
        leases.renew(&answer(A, 2, LeaseVerdict::Go, 1000)).expect("ignored");
        leases.renew(&answer(B, 2, LeaseVerdict::Go, 1000)).expect("go");
        leases.renew(&answer(B, 2, LeaseVerdict::Stop, 1000)).expect("ignored: answered before");
        assert_eq!(leases.check(begun + Duration::from_millis(1000)), Err(Code::LeaseExpired));
        assert_eq!(leases.held[&party(A)].expires, begun + Duration::from_millis(1000));
        assert_eq!(leases.held[&party(B)].expires, begun + Duration::from_millis(1500));
    }

    /// A broker that waited for its witnesses longer than a lease is answered all the same; a
    /// host that held the grant back gains nothing by it.
    #[test]
    fn a_late_grant_is_no_lease_before_its_first_heartbeat() {
        let (mut leases, begun) = two();
        let after = |millis| begun + Duration::from_millis(millis);
        leases.start(&party(B), begun, after(600), ms(1000));
        assert!(!leases.confirmed());
        assert_eq!(leases.due(after(600)), [party(A), party(B)]);
        leases.sent(&party(B), nonce(1), after(600));
        leases.renew(&answer(B, 1, LeaseVerdict::Go, 1000)).expect("go");
        assert!(leases.confirmed());
        assert_eq!(leases.held[&party(B)].expires, after(1600));

        leases.start(&party(B), begun, after(5000), ms(1000));
        leases.held.remove(&party(A));
        assert_eq!(leases.check(after(5999)), Ok(()));
        assert_eq!(leases.check(after(6000)), Err(Code::LeaseExpired));
    }

    #[test]
    fn stop_is_stop() {
        let (mut leases, begun) = two();
        leases.sent(&party(B), nonce(1), begun);
        let stop = answer(B, 1, LeaseVerdict::Stop, 1000);
        assert_eq!(leases.renew(&stop), Err(Code::Stopped));
    }

    #[test]
    fn no_lease_is_longer_than_agreed_but_a_broker_may_shorten_it() {
        let (mut leases, begun) = two();
        leases.start(&party(A), begun, begun, ms(5000));
        assert_eq!(leases.held[&party(A)].expires, begun + Duration::from_millis(1000));
        leases.sent(&party(A), nonce(1), begun);
        leases.renew(&answer(A, 1, LeaseVerdict::Go, 5000)).expect("go");
        assert_eq!(leases.held[&party(A)].expires, begun + Duration::from_millis(1000));
        leases.sent(&party(A), nonce(2), begun);
        leases.renew(&answer(A, 2, LeaseVerdict::Go, 10)).expect("go");
        assert_eq!(leases.held[&party(A)].expires, begun + Duration::from_millis(10));
    }

    #[test]
    fn an_overtaken_answer_does_not_shorten() {
        let (mut leases, begun) = two();
        leases.sent(&party(A), nonce(1), begun);
        leases.sent(&party(A), nonce(2), begun + Duration::from_millis(300));
        leases.renew(&answer(A, 2, LeaseVerdict::Go, 1000)).expect("go");
        leases.renew(&answer(A, 1, LeaseVerdict::Go, 1000)).expect("go");
        assert_eq!(leases.held[&party(A)].expires, begun + Duration::from_millis(1300));
    }

    #[test]
    fn heartbeats_are_due_in_time() {
        let (mut leases, begun) = two();
        let after = |millis| begun + Duration::from_millis(millis);
        assert!(leases.due(after(299)).is_empty());
        assert_eq!(leases.wake(), Some(after(300)));
        assert_eq!(leases.due(after(300)), [party(A), party(B)]);
        leases.sent(&party(A), nonce(1), after(300));
        assert_eq!(leases.due(after(300)), [party(B)]);
        leases.end();
        assert_eq!((leases.wake(), leases.check(after(9999))), (None, Ok(())));
    }
}
