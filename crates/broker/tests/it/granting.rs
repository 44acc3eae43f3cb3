//! Keys in.

use cordon_crypto::dsse::Signed;
use cordon_protocol::evidence::RuntimeData;
use cordon_protocol::grant::LeaseVerdict;
use cordon_protocol::message::ToBroker;
use cordon_protocol::run::{ParameterValue, RunRequest};
use cordon_protocol::{Agreement, LogEntry};
use cordon_testkit::guard::{Guard, another, ask};
use cordon_testkit::world::{Terms, World};
use cordon_tlog::{LogKey, Quorum, WitnessKey, verify_proof};

fn quorum(agreement: &Agreement, index: usize) -> Quorum {
    let others = agreement.holders.iter().enumerate().filter(|(i, _)| *i != index);
    let keys = others.map(|(_, holder)| {
        let name = cordon_protocol::party::witness_name(&holder.log_origin).parse().unwrap();
        WitnessKey::new(name, holder.witness_key)
    });
    Quorum::all(keys).unwrap()
}

async fn code_of<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attested_guard_gets_the_agreed_keys_with_a_proof_that_anybody_can_check() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let grants = guard.attest(&world).await.unwrap();
    for (index, holder) in world.holders.iter().enumerate() {
        let grant = &grants[&holder.party];
        // Footer and three columns, 32 bytes each, derived from the version key that this test
        // knows; and not the version key itself.
        let keys = guard.open(grant).unwrap();
        assert_eq!(keys.len(), 4 * 32);
        let table = "visit".parse().unwrap();
        let footer = cordon_protocol::dataset::footer_key(&holder.version_key, &table);
        assert_eq!(keys[..32], footer.expose()[..]);
        assert!(!keys.chunks(32).any(|key| key == holder.version_key.expose()));

        let terms = &agreement.value().holders[index];
        let log = LogKey::new(terms.log_origin.parse().unwrap(), terms.log_key);
        let (proof, entry) = (&grant.value().proof, grant.value().entry.as_slice());
        verify_proof(proof.as_bytes(), entry, &log, &quorum(agreement.value(), index)).unwrap();
        let entry: LogEntry = serde_json::from_slice(entry).unwrap();
        assert_eq!(entry.run, Some(guard.run()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_same_grant_and_spends_once_and_another_guard_gets_none() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms { max_runs: 1, ..Terms::default() }).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let first = guard.attest(&world).await.unwrap();
    let again = guard.attest(&world).await.unwrap();
    for (party, grant) in &first {
        assert_eq!(grant.envelope(), again[party].envelope());
    }
    let view = world.broker(0).agreement(agreement.digest()).await.unwrap();
    assert_eq!(view.runs, 1);

    let other = Guard::for_request(&world, &agreement, guard.request.clone()).unwrap();
    assert_eq!(code_of(other.attest(&world).await).await, "other_guard");
    let next = world.guard(&agreement).unwrap();
    assert_eq!(code_of(next.attest(&world).await).await, "runs_spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_run_goes_to_one_of_many_that_ask_at_once() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms { max_runs: 3, ..Terms::default() }).await.unwrap();
    let party = world.holders[0].party.clone();
    let mut guards = Vec::new();
    for _ in 0..24 {
        let guard = world.guard(&agreement).unwrap();
        let evidence = guard.evidence(&guard.runtime_data(guard.challenge(&world).await.unwrap()));
        guards.push((guard, evidence.unwrap()));
    }
    let asks = guards.iter().map(|(guard, evidence)| guard.ask_grant(&world, &party, evidence));
    let granted = futures_util::future::join_all(asks).await;
    assert_eq!(granted.iter().filter(|grant| grant.is_ok()).count(), 3);
    let view = world.broker(0).agreement(agreement.digest()).await.unwrap();
    assert_eq!(view.runs, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_counts_once_for_its_own_run_and_nonce() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let party = &world.holders[0].party;

    // While its run goes on, it gets what it got, for the same guard.
    let guard = world.guard(&agreement).unwrap();
    let evidence =
        guard.evidence(&guard.runtime_data(guard.challenge(&world).await.unwrap())).unwrap();
    let mut grants = std::collections::BTreeMap::new();
    for holder in &world.holders {
        let grant = guard.ask_grant(&world, &holder.party, &evidence).await.unwrap();
        grants.insert(holder.party.clone(), grant);
    }
    let again = guard.ask_grant(&world, party, &evidence).await.unwrap();
    assert_eq!(grants[party].envelope(), again.envelope());

    // Replayed after the run: its nonce was used.
    let delivery = guard.deliver(&grants).unwrap();
    guard.hand_over(&world, party, &delivery).await.unwrap();
    assert_eq!(code_of(guard.ask_grant(&world, party, &evidence).await).await, "not_challenged");

    // Replayed after a new challenge: another nonce is wanted.
    guard.challenge(&world).await.unwrap();
    assert_eq!(code_of(guard.ask_grant(&world, party, &evidence).await).await, "not_fresh");

    // Of another run.
    let other = world.guard(&agreement).unwrap();
    other.challenge(&world).await.unwrap();
    let message = ToBroker::Grant { run: other.run(), evidence };
    let refused = code_of(ask(&world, party, message).await).await;
    assert!(["wrong_run", "not_fresh"].contains(&refused.as_str()), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_of_the_binding_is_checked() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let party = &world.holders[0].party;
    type Change = fn(&mut RuntimeData);
    let cases: [(&str, Change); 6] = [
        ("not_fresh", |data| data.nonces[0].nonce = another(data.nonces[0].nonce)),
        ("wrong_holders", |data| data.nonces.truncate(2)),
        ("wrong_agreement", |data| data.agreement = data.engine),
        ("wrong_run", |data| data.run = cordon_protocol::RunId(data.engine)),
        ("wrong_engine", |data| data.engine = data.agreement),
        ("not_fresh", |data| data.nonces.swap(0, 1)),
    ];
    for (number, (expected, change)) in cases.into_iter().enumerate() {
        let guard = world.guard(&agreement).unwrap();
        let mut data = guard.runtime_data(guard.challenge(&world).await.unwrap());
        change(&mut data);
        let evidence = guard.evidence(&data).unwrap();
        let refused = code_of(guard.ask_grant(&world, party, &evidence).await).await;
        // Swapped nonces are out of order, and so not the holders of the agreement.
        let swapped = number == 5 && refused == "wrong_holders";
        assert!(refused == expected || swapped, "case {number}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_over_other_data_or_by_another_root_is_refused() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let party = &world.holders[0].party;
    let guard = world.guard(&agreement).unwrap();
    let data = guard.runtime_data(guard.challenge(&world).await.unwrap());
    let mut evidence = guard.evidence(&data).unwrap();
    let mut other = data.clone();
    other.guard_signing_key = world.researcher.signing.verifying_key();
    evidence.runtime_data = other.to_bytes().unwrap().into();
    assert_eq!(code_of(guard.ask_grant(&world, party, &evidence).await).await, "not_bound");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_outside_the_agreement_are_refused() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let party = &world.holders[0].party;
    let good = world.guard(&agreement).unwrap().request.value().clone();
    type Change = fn(&mut RunRequest);
    let cases: [(&str, Change); 4] = [
        ("request_parameters", |request| {
            let days = request.parameters.values_mut().next().unwrap();
            *days = ParameterValue::Integer(6);
        }),
        ("request_parameters", |request| request.parameters.clear()),
        ("request_audience", |request| request.audience.truncate(2)),
        ("request_not_fresh", |request| request.not_after = request.issued),
    ];
    for (expected, change) in cases {
        let mut request = good.clone();
        change(&mut request);
        let request = Signed::sign(request, &world.researcher.signing).unwrap();
        let message = ToBroker::Challenge { request: request.envelope().clone() };
        assert_eq!(code_of(ask(&world, party, message).await).await, expected);
    }
    let stolen = Signed::sign(good, &world.holders[0].steward.signing).unwrap();
    let message = ToBroker::Challenge { request: stolen.envelope().clone() };
    assert_eq!(code_of(ask(&world, party, message).await).await, "request_signer");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_all_approvals_there_are_no_keys() {
    let world = World::start().await.unwrap();
    let agreement = world.agreement(&Terms::default()).unwrap();
    for index in 0..3 {
        world.broker(index).propose(agreement.envelope()).await.unwrap();
    }
    world.approve(1, &agreement).await.unwrap();
    world.approve(2, &agreement).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    assert_eq!(code_of(guard.attest(&world).await).await, "approvals_missing");
}

/// Also that a run which one holder cannot grant costs no other holder's runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_comes_too_early_is_refused_before_it_is_spent_anywhere() {
    let world = World::start().await.unwrap();
    let agreement = world.agreement(&Terms { max_runs: 1, ..Terms::default() }).unwrap();
    for index in 0..3 {
        world.broker(index).propose(agreement.envelope()).await.unwrap();
    }
    world.approve(0, &agreement).await.unwrap();
    world.approve(1, &agreement).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    assert_eq!(code_of(guard.challenge(&world).await).await, "approvals_missing");
    let recorded = world.until("the refusal", async || {
        let refusals = world.broker(2).refusals().await?;
        Ok(refusals.iter().any(|refusal| {
            refusal.code == "approvals_missing"
                && refusal.run == Some(guard.run())
                && refusal.reasons.iter().any(|reason| reason.contains("steward"))
        }))
    });
    recorded.await.unwrap();

    world.approve(2, &agreement).await.unwrap();
    guard.attest(&world).await.unwrap();
    for index in 0..3 {
        let view = world.broker(index).agreement(agreement.digest()).await.unwrap();
        assert_eq!(view.runs, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_leases_and_grants_at_once() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    guard.attest(&world).await.unwrap();
    let party = &world.holders[1].party;
    assert_eq!(guard.beat(&world, party).await.unwrap().verdict, LeaseVerdict::Go);
    world.stop_study(1, &agreement.value().study).await.unwrap();
    assert_eq!(guard.beat(&world, party).await.unwrap().verdict, LeaseVerdict::Stop);
    assert_eq!(guard.beat(&world, party).await.unwrap().verdict, LeaseVerdict::Stop);
    // One holder's stop is that holder's; the others' guards end with the run.
    let other = &world.holders[0].party;
    assert_eq!(guard.beat(&world, other).await.unwrap().verdict, LeaseVerdict::Go);
    assert_eq!(code_of(guard.attest(&world).await).await, "study_stopped");
    let next = world.guard(&agreement).unwrap();
    assert_eq!(code_of(next.attest(&world).await).await, "study_stopped");
    let refusals = world.broker(1).refusals().await.unwrap();
    let revoked = refusals.iter().filter(|r| r.code == "study_stopped" && r.reasons.is_empty());
    assert_eq!(revoked.count(), 1, "the end of a lease is recorded once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_of_somebody_else_is_no_heartbeat() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    guard.attest(&world).await.unwrap();
    let other = Guard::for_request(&world, &agreement, guard.request.clone()).unwrap();
    let refused = code_of(other.beat(&world, &world.holders[0].party).await).await;
    assert_eq!(refused, "unsigned");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_witnesses_mean_no_keys_and_nothing_lost() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let evidence =
        guard.evidence(&guard.runtime_data(guard.challenge(&world).await.unwrap())).unwrap();
    let party = &world.holders[0].party;
    world.direct.remove(&world.holders[2].party);
    // The broker learns of it with its next head.
    let second =
        world.agreement(&Terms { study: "second".to_owned(), ..Terms::default() }).unwrap();
    world.broker(0).propose(second.envelope()).await.unwrap();
    world
        .until("the broker notices", async || {
            let parties = [world.holders[2].party.clone()];
            Ok(world.broker(0).log().answering(&parties) == 0)
        })
        .await
        .unwrap();
    assert_eq!(code_of(guard.ask_grant(&world, party, &evidence).await).await, "witnesses_missing");
    let view = world.broker(0).agreement(agreement.digest()).await.unwrap();
    assert_eq!(view.runs, 0, "a refusal spends nothing");

    world.direct.add(&world.holders[2].party, world.broker(2));
    let guard = world.guard(&agreement).unwrap();
    guard.attest(&world).await.unwrap();
}

/// A proof takes as long as witnesses take: who presses stop meanwhile is heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_cosignatures_are_awaited_holds_the_keys_back() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    // All that is in the log by now is cosigned, and every witness has answered.
    world.guard(&agreement).unwrap().attest(&world).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let evidence =
        guard.evidence(&guard.runtime_data(guard.challenge(&world).await.unwrap())).unwrap();
    let (party, witness) = (&world.holders[0].party, &world.holders[2].party);
    let witness = world.direct.hold(witness, world.broker(2));
    let stop = async {
        let recorded = async || {
            let view = world.broker(0).agreement(agreement.digest()).await?;
            Ok(view.runs == 2)
        };
        world.until("the grant is recorded", recorded).await?;
        world.stop_study(0, &agreement.value().study).await.unwrap();
        witness.send_replace(true);
        anyhow::Ok(())
    };
    let (asked, stopped) = tokio::join!(guard.ask_grant(&world, party, &evidence), stop);
    assert_eq!(code_of(asked).await, "study_stopped");
    stopped.unwrap();
}

/// Run requests are public: whoever has one can ask for challenges and send evidence, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_the_run_request_voids_no_nonce() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let evidence =
        guard.evidence(&guard.runtime_data(guard.challenge(&world).await.unwrap())).unwrap();
    let party = &world.holders[0].party;

    let stranger = Guard::for_request(&world, &agreement, guard.request.clone()).unwrap();
    for _ in 0..20 {
        let _ = stranger.challenge(&world).await;
    }
    let mut junk = evidence.clone();
    junk.runtime_data = b"junk".to_vec().into();
    assert_eq!(code_of(stranger.ask_grant(&world, party, &junk).await).await, "not_fresh");
    guard.ask_grant(&world, party, &evidence).await.unwrap();
}
