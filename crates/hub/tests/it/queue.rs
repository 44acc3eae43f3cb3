//! The run queue: a run is with one host at a time, and it ends, whatever happens to its hosts.

use std::time::{Duration, Instant};

use cordon_crypto::sha256;
use cordon_hub::api::{Finish, Progress, RunState, RunStatus};
use cordon_hub::client::Client;
use cordon_hub::server::Hosts;
use cordon_protocol::RunId;
use cordon_protocol::message::Stage;
use reqwest::Method;

use crate::fixture::{
    BROKER, OTHER, RESEARCHER, STRANGER, agreement, public, register, request, run_id, sign,
    signed_request,
};
use crate::support::{Hub, code, refusal};

const NO_WAIT: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(20);
/// A claim lasts 30 seconds after the last word of its host.
const LEASE: Duration = Duration::from_secs(30);
const HOST: u8 = 30;
const OTHER_HOST: u8 = 31;

/// Makes a hub take requests of the researcher's agreement.
async fn prepare(hub: &Hub) {
    register(&hub.client(BROKER)).await;
    let signed = sign(agreement(), RESEARCHER);
    hub.client(RESEARCHER).put_document(signed.envelope()).await.expect("stored");
}

async fn hub() -> Hub {
    let hub = Hub::start().await;
    prepare(&hub).await;
    hub
}

/// A hub in which run 1 waits.
async fn hub_with_a_run() -> Hub {
    let hub = hub().await;
    submit(&hub, 1).await;
    hub
}

async fn submit(hub: &Hub, number: u8) -> RunStatus {
    hub.anonymous().submit_run(&signed_request(number)).await.expect("queued")
}

async fn claim(host: &Client) -> Option<RunId> {
    host.claim_run(NO_WAIT).await.expect("an answer").map(|claim| claim.run)
}

async fn status(hub: &Hub, number: u8) -> RunStatus {
    hub.anonymous().run(&run_id(number)).await.expect("a status")
}

fn progress(stage: Stage, bytes_read: u64) -> Progress {
    Progress { stage: Some(stage), bytes_read }
}

fn done() -> Finish {
    Finish { code: "ok".to_owned(), receipt: Some(sha256(&[b"a receipt"])), detail: None }
}

#[tokio::test]
async fn runs_go_to_hosts_in_order_and_each_to_one() {
    let hub = hub().await;
    for number in [1, 2] {
        let queued = submit(&hub, number).await;
        assert_eq!((queued.run, queued.state), (run_id(number), RunState::Queued));
        hub.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(submit(&hub, 1).await.revision, 1, "the same request twice is one run");

    let (host, other) = (hub.client(HOST), hub.client(OTHER_HOST));
    let first = host.claim_run(NO_WAIT).await.expect("an answer").expect("a run");
    assert_eq!(first.run, run_id(1));
    assert_eq!(&first.request, signed_request(1).envelope());
    assert_eq!(first.lease_ms.to_duration(), LEASE);
    assert_eq!(claim(&other).await, Some(run_id(2)));
    assert_eq!(claim(&host).await, None);
    assert_eq!(status(&hub, 1).await.state, RunState::Claimed);
}

#[tokio::test]
async fn a_host_that_waits_gets_a_run_when_it_comes() {
    let hub = hub().await;
    let host = hub.client(HOST);
    let begun = Instant::now();
    let waiting = tokio::spawn(async move { host.claim_run(LONG).await });
    tokio::task::yield_now().await;
    submit(&hub, 1).await;
    let claimed = waiting.await.expect("a host").expect("an answer").expect("a run");
    assert_eq!(claimed.run, run_id(1));
    assert!(begun.elapsed() < LONG);
}

#[tokio::test]
async fn watchers_hear_of_each_step_and_of_the_end() {
    let hub = hub_with_a_run().await;
    let (host, watcher) = (hub.client(HOST), hub.anonymous());
    assert_eq!(claim(&host).await, Some(run_id(1)));
    let claimed = status(&hub, 1).await;

    let begun = Instant::now();
    let watch = {
        let watcher = watcher.clone();
        tokio::spawn(async move { watcher.watch_run(&run_id(1), claimed.revision, LONG).await })
    };
    tokio::task::yield_now().await;
    host.report_progress(&run_id(1), progress(Stage::Running, 4096)).await.expect("noted");
    let running = watch.await.expect("a watcher").expect("a status");
    assert_eq!((running.stage, running.bytes_read), (Some(Stage::Running), 4096));

    // A host that repeats itself keeps its claim and wakes nobody.
    host.report_progress(&run_id(1), progress(Stage::Running, 4096)).await.expect("noted");
    assert_eq!(status(&hub, 1).await.revision, running.revision);

    host.finish_run(&run_id(1), &done()).await.expect("ended");
    host.finish_run(&run_id(1), &done()).await.expect("twice is once");
    let ended = watcher.watch_run(&run_id(1), running.revision, LONG).await.expect("a status");
    assert_eq!(ended.state, RunState::Finished);
    assert_eq!((ended.code, ended.receipt), (Some("ok".to_owned()), done().receipt));
    // Who waits for more of a run that has ended is answered at once.
    watcher.watch_run(&run_id(1), ended.revision, LONG).await.expect("a status");
    assert!(begun.elapsed() < LONG);
}

#[tokio::test]
async fn only_the_host_that_holds_a_run_speaks_for_it() {
    let hub = hub_with_a_run().await;
    let (host, other) = (hub.client(HOST), hub.client(OTHER_HOST));
    let report = progress(Stage::Running, 1);
    // Nobody holds it yet.
    assert_eq!(code(host.report_progress(&run_id(1), report).await), "claim_lost");
    assert_eq!(claim(&host).await, Some(run_id(1)));
    let before = status(&hub, 1).await;

    assert_eq!(code(other.report_progress(&run_id(1), report).await), "claim_lost");
    assert_eq!(code(other.finish_run(&run_id(1), &done()).await), "claim_lost");
    assert_eq!(code(host.finish_run(&run_id(2), &done()).await), "not_found");
    for (target, body) in [
        ("progress", serde_json::to_vec(&report).expect("json")),
        ("finish", serde_json::to_vec(&done()).expect("json")),
    ] {
        let target = format!("/v1/runs/{}/{target}", run_id(1).0.to_hex());
        let unsigned = hub.request(Method::PUT, &target).body(body).send().await;
        let refused = refusal(unsigned.expect("an answer")).await;
        assert_eq!(refused, (401, "signature_missing".to_owned()), "{target}");
    }
    assert_eq!(status(&hub, 1).await, before);

    host.finish_run(&run_id(1), &done()).await.expect("ended");
    let another = Finish::without_receipt("guard_crashed");
    assert_eq!(code(host.finish_run(&run_id(1), &another).await), "claim_lost");
    assert_eq!(code(other.finish_run(&run_id(1), &done()).await), "claim_lost");
    assert_eq!(code(host.report_progress(&run_id(1), report).await), "claim_lost");
    assert_eq!(status(&hub, 1).await.code.as_deref(), Some("ok"));
}

#[tokio::test]
async fn claims_are_for_listed_hosts_that_sign() {
    let hub = Hub::start_with(|config| config.hosts = Hosts::Listed([public(HOST)].into())).await;
    prepare(&hub).await;
    submit(&hub, 1).await;
    let unsigned = hub.request(Method::POST, "/v1/queue/claims").send().await;
    let refused = refusal(unsigned.expect("an answer")).await;
    assert_eq!(refused, (401, "signature_missing".to_owned()));
    for number in [STRANGER, BROKER, RESEARCHER, OTHER_HOST] {
        assert_eq!(code(hub.client(number).claim_run(NO_WAIT).await), "signer_unknown");
    }
    assert_eq!(claim(&hub.client(HOST)).await, Some(run_id(1)));
}

#[tokio::test]
async fn what_is_no_run_of_a_stored_agreement_is_not_queued() {
    let hub = Hub::start().await;
    register(&hub.client(BROKER)).await;
    let anybody = hub.anonymous();
    assert_eq!(code(anybody.submit_run(&signed_request(1)).await), "agreement_unknown");
    prepare(&hub).await;
    let of_another = sign(request(1), OTHER);
    assert_eq!(code(anybody.submit_run(&of_another).await), "not_yours");
    let post = |body: Vec<u8>| hub.request(Method::POST, "/v1/runs").body(body).send();
    let no_request = sign(agreement(), RESEARCHER).envelope().to_json();
    for body in [b"junk".to_vec(), no_request] {
        let refused = refusal(post(body).await.expect("an answer")).await;
        assert_eq!(refused, (422, "document_refused".to_owned()));
    }
    hub.clock.advance(Duration::from_secs(3_600));
    assert_eq!(code(anybody.submit_run(&signed_request(1)).await), "run_expired");
    assert_eq!(claim(&hub.client(HOST)).await, None);
    assert_eq!(code(anybody.run(&run_id(1)).await), "not_found");
}

#[tokio::test]
async fn a_run_whose_host_is_lost_before_evidence_goes_to_another() {
    let hub = hub_with_a_run().await;
    let (host, other) = (hub.client(HOST), hub.client(OTHER_HOST));
    assert_eq!(claim(&host).await, Some(run_id(1)));
    host.report_progress(&run_id(1), progress(Stage::Challenging, 0)).await.expect("noted");
    hub.clock.advance(LEASE - Duration::from_millis(1));
    assert_eq!(claim(&other).await, None, "the claim still holds");
    // A word in time renews it.
    host.report_progress(&run_id(1), progress(Stage::Challenging, 0)).await.expect("noted");
    hub.clock.advance(LEASE - Duration::from_millis(1));
    assert_eq!(claim(&other).await, None, "the claim was renewed");

    submit(&hub, 2).await;
    hub.clock.advance(Duration::from_millis(1));
    assert_eq!(claim(&other).await, Some(run_id(1)), "it has waited longest");
    assert_eq!(status(&hub, 1).await.stage, None);
    let late = host.report_progress(&run_id(1), progress(Stage::Attesting, 0)).await;
    assert_eq!(code(late), "claim_lost");
}

#[tokio::test]
async fn a_run_that_loses_its_host_three_times_is_given_up() {
    let hub = hub_with_a_run().await;
    let host = hub.client(HOST);
    for _ in 0..3 {
        assert_eq!(claim(&host).await, Some(run_id(1)));
        hub.clock.advance(LEASE);
    }
    // Who watches hears of it although no host asks for work any more.
    let lost = status(&hub, 1).await;
    assert_eq!((lost.state, lost.code.as_deref()), (RunState::Finished, Some("host_lost")));
    assert_eq!(claim(&host).await, None);
    assert_eq!(code(host.finish_run(&run_id(1), &done()).await), "claim_lost");
}

/// From evidence on, brokers may have granted keys to this guard and to no other.
#[tokio::test]
async fn a_run_that_may_have_keys_does_not_go_to_another_guard() {
    for stage in [Stage::Attesting, Stage::Running, Stage::Checking, Stage::Sealing] {
        let hub = hub_with_a_run().await;
        let host = hub.client(HOST);
        assert_eq!(claim(&host).await, Some(run_id(1)));
        host.report_progress(&run_id(1), progress(stage, 0)).await.expect("noted");
        hub.clock.advance(LEASE);
        assert_eq!(claim(&hub.client(OTHER_HOST)).await, None, "{stage:?}");
        assert_eq!(status(&hub, 1).await.code.as_deref(), Some("host_lost"), "{stage:?}");
    }
}

#[tokio::test]
async fn a_request_that_runs_out_in_the_queue_has_expired() {
    let hub = hub_with_a_run().await;
    hub.clock.advance(Duration::from_secs(3_599));
    assert_eq!(status(&hub, 1).await.state, RunState::Queued);
    hub.clock.advance(Duration::from_secs(1));
    let expired = status(&hub, 1).await;
    assert_eq!((expired.state, expired.code.as_deref()), (RunState::Finished, Some("run_expired")));
    assert_eq!(claim(&hub.client(HOST)).await, None);
    // A retry that comes late is told the same.
    assert_eq!(submit(&hub, 1).await, expired);
}

#[tokio::test]
async fn the_queue_outlives_the_hub() {
    let hub = hub().await;
    for number in [1, 2, 3] {
        submit(&hub, number).await;
        hub.clock.advance(Duration::from_millis(1));
    }
    let host = hub.client(HOST);
    assert_eq!(claim(&host).await, Some(run_id(1)));
    host.finish_run(&run_id(1), &done()).await.expect("ended");
    assert_eq!(claim(&host).await, Some(run_id(2)));
    host.report_progress(&run_id(2), progress(Stage::Attesting, 0)).await.expect("noted");

    let (folder, clock) = hub.stop().await;
    let hub = Hub::resume(folder, clock, |_| {}).await;
    let ended = status(&hub, 1).await;
    assert_eq!((ended.code.as_deref(), ended.receipt), (Some("ok"), done().receipt));
    // The host goes on where it was, and what it said before counts.
    let host = hub.client(HOST);
    assert_eq!(status(&hub, 2).await.stage, Some(Stage::Attesting));
    host.report_progress(&run_id(2), progress(Stage::Running, 7)).await.expect("still its own");
    assert_eq!(claim(&hub.client(OTHER_HOST)).await, Some(run_id(3)));
    hub.clock.advance(LEASE);
    assert_eq!(status(&hub, 2).await.code.as_deref(), Some("host_lost"));
}

#[tokio::test]
async fn the_queue_is_bounded_and_forgets_what_ended_first() {
    let hub = Hub::start_with(|config| {
        config.limits.waiting_runs = 1;
        config.limits.kept_runs = 2;
    })
    .await;
    prepare(&hub).await;
    submit(&hub, 1).await;
    let (host, anybody) = (hub.client(HOST), hub.anonymous());
    assert_eq!(code(anybody.submit_run(&signed_request(2)).await), "too_many");

    assert_eq!(claim(&host).await, Some(run_id(1)));
    host.finish_run(&run_id(1), &done()).await.expect("ended");
    submit(&hub, 2).await;
    assert_eq!(claim(&host).await, Some(run_id(2)));
    submit(&hub, 3).await;
    assert_eq!(code(anybody.run(&run_id(1)).await), "not_found", "the oldest end is forgotten");
    // What is waiting or with a host is never forgotten.
    host.claim_run(NO_WAIT).await.expect("an answer").expect("the third");
    assert_eq!(code(anybody.submit_run(&signed_request(4)).await), "too_many");
    assert_eq!(status(&hub, 2).await.state, RunState::Claimed);
}

#[tokio::test]
async fn reports_have_one_form() {
    let hub = hub_with_a_run().await;
    assert_eq!(claim(&hub.client(HOST)).await, Some(run_id(1)));
    let finish = |body: serde_json::Value| {
        let target = format!("/v1/runs/{}/finish", run_id(1).0.to_hex());
        hub.signed(HOST, Method::PUT, &target, body.to_string()).send()
    };
    let good = serde_json::to_value(done()).expect("json");
    for (member, value) in [
        ("code", "Not A Code".into()),
        ("code", "x".repeat(65).into()),
        ("detail", "two\nlines".into()),
        ("detail", "x".repeat(3_000).into()),
        ("receipt", "short".into()),
        ("colour", "red".into()),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        let refused = refusal(finish(bad).await.expect("an answer")).await;
        assert_eq!(refused, (400, "bad_request".to_owned()), "{member}");
    }
    let uppercase = format!("/v1/runs/{}/finish", run_id(1).0.to_hex().to_uppercase());
    let named = hub.signed(HOST, Method::PUT, &uppercase, good.to_string()).send().await;
    assert_eq!(refusal(named.expect("an answer")).await, (400, "bad_request".to_owned()));
    assert_eq!(status(&hub, 1).await.state, RunState::Claimed);
    assert_eq!(finish(good).await.expect("an answer").status().as_u16(), 204);
}
