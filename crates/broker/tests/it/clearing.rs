//! Results out.

use std::collections::BTreeMap;

use cordon_broker::api::RunState;
use cordon_crypto::dsse::Signed;
use cordon_crypto::{AeadKey, Label, commitment, xor_join};
use cordon_protocol::agreement::Review;
use cordon_protocol::decision::Verdict;
use cordon_protocol::entry::Action;
use cordon_protocol::release::{Outcome, Receipt};
use cordon_protocol::{Release, ReviewDecision, V1};
use cordon_testkit::guard::{Delivery, Guard};
use cordon_testkit::holder::nonce;
use cordon_testkit::now;
use cordon_testkit::world::{Terms, World};
use cordon_types::Secret;

async fn delivered(world: &World, terms: Terms) -> (Guard, Delivery) {
    let agreement = world.agree(terms).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let grants = guard.attest(world).await.unwrap();
    let delivery = guard.deliver(&grants).unwrap();
    for holder in &world.holders {
        guard.hand_over(world, &holder.party, &delivery).await.unwrap();
    }
    (guard, delivery)
}

async fn state(world: &World, index: usize, guard: &Guard) -> RunState {
    world.broker(index).run(guard.run()).await.unwrap().state
}

async fn wait_for(world: &World, index: usize, guard: &Guard, wanted: RunState) {
    world
        .until("the run's state", async || Ok(state(world, index, guard).await == wanted))
        .await
        .unwrap();
}

async fn review(
    world: &World,
    index: usize,
    guard: &Guard,
    delivery: &Delivery,
    verdict: Verdict,
) -> Result<(), cordon_broker::service::ServiceError> {
    let reviewer = &world.holders[index].reviewer;
    let decision = ReviewDecision {
        v: V1,
        run: guard.run(),
        receipt: delivery.receipt.payload_digest(),
        audience: world.holders[index].party.clone(),
        person: reviewer.person.clone(),
        verdict,
        nonce: nonce(),
        issued: now(),
    };
    let decision = reviewer.sign(decision).unwrap();
    world.broker(index).decide_review(&decision).await.map(|_| ())
}

async fn release(world: &World, index: usize, guard: &Guard) -> Signed<Release> {
    let key = world.holders[index].card.value().broker_key;
    let mut found = None;
    world
        .until("a release", async || {
            found = world.broker(index).release(guard.run()).await.unwrap();
            Ok(found.is_some())
        })
        .await
        .unwrap();
    found.unwrap().open(&key).unwrap()
}

fn outcome(delivery: &Delivery) -> cordon_protocol::release::SealedOutcome {
    let receipt = delivery.receipt.open::<Receipt>(&delivery.receipt.claimed_signer()).unwrap();
    match receipt.into_value().outcome {
        Outcome::Sealed(outcome) => outcome,
        Outcome::Failed { code } => panic!("{code}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_opens_with_the_shares_of_all_and_of_no_fewer() {
    let world = World::start().await.unwrap();
    let (guard, delivery) = delivered(&world, Terms::default()).await;
    let mut shares = Vec::new();
    for index in 0..3 {
        let release = release(&world, index, &guard).await;
        let context = cordon_crypto::dsse::document_digest(&release.value().context).unwrap();
        let sealed = &release.value().sealed_shares[0];
        let share =
            world.researcher.boxes.open(Label::ReleaseBox, &[context.as_bytes()], sealed).unwrap();
        shares.push(Secret::<32>::from_slice(&share).unwrap());
    }
    let outcome = outcome(&delivery);
    assert_ne!(commitment(&xor_join(&shares[..2])), outcome.key_commitment);
    let key = xor_join(&shares);
    assert_eq!(commitment(&key), outcome.key_commitment);
    let run = guard.run();
    let place: [&[u8]; 1] = [run.0.as_bytes()];
    AeadKey::new(&key).open(Label::SealedResult, &place, &delivery.sealed).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cleared_before_a_reviewer_of_the_holder_has_looked() {
    let world = World::start().await.unwrap();
    let terms = Terms { review: Review::EachHolder, ..Terms::default() };
    let (guard, delivery) = delivered(&world, terms).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(state(&world, 0, &guard).await, RunState::Held);
    let view = world.broker(0).review(guard.run()).await.unwrap();
    assert_eq!(view.copies.len(), 1, "each broker keeps its own reviewers' copies only");
    assert_eq!(view.copies[0].party, world.holders[0].party);

    review(&world, 0, &guard, &delivery, Verdict::Approve).await.unwrap();
    wait_for(&world, 0, &guard, RunState::Cleared).await;
    // The others' decisions are their own.
    assert_eq!(state(&world, 1, &guard).await, RunState::Held);
    review(&world, 1, &guard, &delivery, Verdict::Reject).await.unwrap();
    wait_for(&world, 1, &guard, RunState::Withheld).await;
    assert!(world.broker(1).release(guard.run()).await.unwrap().is_none());
    // Who has decided cannot decide again.
    assert!(review(&world, 1, &guard, &delivery, Verdict::Approve).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_holds_an_output_back_that_nobody_has_cleared() {
    let mut world = World::start().await.unwrap();
    let terms = Terms { review: Review::EachHolder, ..Terms::default() };
    let (guard, delivery) = delivered(&world, terms).await;
    world.stop_study(0, &guard.agreement.value().study).await.unwrap();
    review(&world, 0, &guard, &delivery, Verdict::Approve).await.unwrap();
    world
        .until("the refusal", async || {
            let refusals = world.broker(0).refusals().await?;
            Ok(refusals.iter().any(|r| r.code == "study_stopped" && r.run == Some(guard.run())))
        })
        .await
        .unwrap();
    let refused = async |world: &World| {
        let refusals = world.broker(0).refusals().await.unwrap();
        refusals.iter().filter(|refusal| refusal.run == Some(guard.run())).count()
    };
    assert_eq!(refused(&world).await, 1);
    let view = world.broker(0).run(guard.run()).await.unwrap();
    assert_eq!((view.state, view.code.as_str()), (RunState::Withheld, "study_stopped"));

    // That is final: a restart does not decide it again.
    world.stop_broker(0).await.unwrap();
    world.start_broker(0).await.unwrap();
    assert!(!world.broker(0).tend_outputs().await.unwrap());
    assert_eq!(refused(&world).await, 1);
    assert!(world.broker(0).release(guard.run()).await.unwrap().is_none());
}

/// The share is opened, and the hub is away: then somebody presses stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_holds_a_release_back_that_has_not_left() {
    let mut world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let delivery = guard.deliver(&guard.attest(&world).await.unwrap()).unwrap();
    world.stop_broker(0).await.unwrap();
    // Nobody listens there.
    world.start_broker_with_hub(0, Some("http://127.0.0.1:9")).await.unwrap();
    guard.hand_over(&world, &world.holders[0].party, &delivery).await.unwrap();
    let waits = async || Ok(world.broker(0).run(guard.run()).await?.code == "waits_for_hub");
    world.until("the release waits", waits).await.unwrap();
    world.stop_study(0, &agreement.value().study).await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while state(&world, 0, &guard).await != RunState::Withheld {
        // The hub is tried for some seconds at a time.
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(world.broker(0).run(guard.run()).await.unwrap().code, "study_stopped");

    // The hub is back.
    world.stop_broker(0).await.unwrap();
    world.start_broker(0).await.unwrap();
    assert!(!world.broker(0).tend_outputs().await.unwrap());
    assert_eq!(state(&world, 0, &guard).await, RunState::Withheld);
    assert!(world.broker(0).release(guard.run()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_and_shares_that_do_not_fit_are_refused() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let grants = guard.attest(&world).await.unwrap();
    let party = &world.holders[0].party;
    let code = |result: anyhow::Result<()>| result.unwrap_err().to_string();

    // Another guard's signature.
    let other = Guard::for_request(&world, &agreement, guard.request.clone()).unwrap();
    let forged = other.deliver(&grants).unwrap();
    assert_eq!(code(guard.hand_over(&world, party, &forged).await), "receipt_signer");

    // Another broker's share.
    let mut swapped = guard.deliver(&grants).unwrap();
    let theirs = swapped.shares[&world.holders[1].party].clone();
    swapped.shares.insert(party.clone(), theirs);
    assert_eq!(code(guard.hand_over(&world, party, &swapped).await), "share_mismatch");

    // Without the copy of its reviewer.
    let terms = Terms { review: Review::EachHolder, study: "other".to_owned(), ..Terms::default() };
    let reviewed = world.agree(terms).await.unwrap();
    let second = world.guard(&reviewed).unwrap();
    let mut stripped = second.deliver(&second.attest(&world).await.unwrap()).unwrap();
    let copies = std::mem::take(&mut stripped.reviews);
    assert_eq!(code(second.hand_over(&world, party, &stripped).await), "review_copy_mismatch");
    stripped.reviews = copies;
    second.hand_over(&world, party, &stripped).await.unwrap();

    // A grant fewer.
    let fewer: BTreeMap<_, _> =
        grants.iter().skip(1).map(|(p, g)| (p.clone(), g.clone())).collect();
    let fewer = guard.deliver(&fewer).unwrap();
    assert_eq!(code(guard.hand_over(&world, party, &fewer).await), "receipt_mismatch");

    // The first honest receipt counts; a second one does not replace it.
    let good = guard.deliver(&grants).unwrap();
    guard.hand_over(&world, party, &good).await.unwrap();
    guard.hand_over(&world, party, &good).await.unwrap();
    let second = guard.deliver(&grants).unwrap();
    assert_eq!(code(guard.hand_over(&world, party, &second).await), "exists");
    // Of mail, too, the log says what was refused.
    world
        .until("the refusal is in the log", async || {
            let refusals = world.broker(0).refusals().await?;
            let newest = refusals.first().map(|newest| (newest.code.as_str(), newest.action));
            Ok(newest == Some(("exists", Action::MessageRefused))
                && refusals[0].run == Some(guard.run()))
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_recorded_and_releases_nothing() {
    let world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let grants = guard.attest(&world).await.unwrap();
    let outcome = Outcome::Failed { code: "gate_small_cells".to_owned() };
    let receipt = guard.receipt(&grants, outcome).unwrap();
    let delivery =
        Delivery { receipt, sealed: Vec::new(), shares: BTreeMap::new(), reviews: Vec::new() };
    guard.hand_over(&world, &world.holders[0].party, &delivery).await.unwrap();
    let view = world.broker(0).run(guard.run()).await.unwrap();
    assert_eq!((view.state, view.code.as_str()), (RunState::Failed, "gate_small_cells"));
    assert!(world.broker(0).release(guard.run()).await.unwrap().is_none());
}

/// A clearance takes effect when its entry is cosigned; a stop until then is in time.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a test looks at what is on the disk")]
async fn a_stop_while_cosignatures_are_awaited_holds_the_output_back() {
    let world = World::start().await.unwrap();
    let terms = Terms { review: Review::EachHolder, ..Terms::default() };
    let (guard, delivery) = delivered(&world, terms).await;
    let witness = &world.holders[2].party;
    let witness = world.direct.hold(witness, world.broker(2));
    review(&world, 0, &guard, &delivery, Verdict::Approve).await.unwrap();
    let entries = world.holders[0].folder.join("log/tile/entries/000.p");
    let cleared = async || {
        let files = std::fs::read_dir(&entries)?;
        let bundles = files.map(|file| std::fs::read(file?.path()));
        let bundles = bundles.collect::<std::io::Result<Vec<_>>>()?;
        Ok(bundles.iter().any(|bytes| bytes.windows(14).any(|part| part == b"output.cleared")))
    };
    world.until("the clearance is recorded", cleared).await.unwrap();
    world.stop_study(0, &guard.agreement.value().study).await.unwrap();
    witness.send_replace(true);
    wait_for(&world, 0, &guard, RunState::Withheld).await;
    assert!(world.broker(0).release(guard.run()).await.unwrap().is_none());
}
