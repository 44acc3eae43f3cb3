//! Keys are held only as long as every broker says so, and no longer than agreed.

use cordon_types::Milliseconds;
use std::time::Duration;

use crate::Test;
use crate::brokers::Heartbeats;
use crate::engine::act;
use crate::host::Scene;

pub fn tests() -> Vec<Test> {
    vec![
        ("one_broker_says_stop_and_the_run_ends_within_one_heartbeat", stop),
        ("one_silent_broker_and_the_lease_expires", silence),
        ("a_lease_of_another_broker_renews_nothing", false_lease),
        ("leases_are_renewed_for_as_long_as_the_worker_runs", renewed),
        ("a_worker_past_the_deadline_is_killed", deadline),
        ("a_worker_that_spins_is_killed_as_well", spinning),
    ]
}

const LEASE: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A worker that sleeps until it is killed.
fn sleeping(heartbeats: Heartbeats) -> Scene {
    let mut scene = Scene::with_query(act::SLEEP);
    let limits = &mut scene.study.agreement.limits;
    limits.lease_ms = milliseconds(LEASE);
    limits.heartbeat_ms = milliseconds(HEARTBEAT);
    scene.conduct.heartbeats = heartbeats;
    scene
}

fn milliseconds(duration: Duration) -> Milliseconds {
    Milliseconds::new(u64::try_from(duration.as_millis()).expect("short"))
}

fn stop() {
    let told = sleeping(Heartbeats::Stop).play();
    told.assert_failed("stopped");
    // From the word to the end; the word itself waits for a heartbeat.
    let stop_to_end = told.stop_to_end.expect("stop was said");
    assert!(stop_to_end < HEARTBEAT, "{stop_to_end:?}");
    assert_eq!(told.receipts.len(), 3);
}

fn silence() {
    let told = sleeping(Heartbeats::Ignore).play();
    told.assert_failed("lease_expired");
    assert!(told.heartbeats > 0);
    assert!(told.running.expect("it ran") < LEASE + Duration::from_secs(1));
}

fn false_lease() {
    sleeping(Heartbeats::RenewFalsely).play().assert_failed("lease_expired");
}

/// Three leases long, and what ends it is the deadline.
fn renewed() {
    let mut scene = sleeping(Heartbeats::Renew);
    scene.study.agreement.limits.deadline_ms = milliseconds(LEASE * 3);
    let told = scene.play();
    told.assert_failed("deadline");
    assert!(told.running.expect("it ran") >= LEASE * 3);
    assert!(told.heartbeats >= 3 * 6, "{}", told.heartbeats);
}

fn deadline() {
    let mut scene = Scene::with_query(act::SLEEP);
    scene.study.agreement.limits.deadline_ms = Milliseconds::new(300);
    scene.play().assert_failed("deadline");
}

fn spinning() {
    let mut scene = Scene::with_query(act::SPIN);
    scene.study.agreement.limits.deadline_ms = Milliseconds::new(300);
    scene.play().assert_failed("deadline");
}
