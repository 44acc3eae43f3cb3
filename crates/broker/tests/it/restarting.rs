//! What a restart, a crash, and an old backup leave.

use std::path::Path;

use cordon_broker::setup::SetupError;
use cordon_testkit::world::{Terms, World};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    // The key store insists on folders that nobody else can read.
    let mode = std::fs::metadata(from).unwrap().permissions();
    std::fs::set_permissions(to, mode).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_loses_nothing_and_gives_the_same_grant() {
    let mut world = World::start().await.unwrap();
    let agreement = world.agree(Terms { max_runs: 1, ..Terms::default() }).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let before = guard.attest(&world).await.unwrap();
    world.stop_broker(0).await.unwrap();
    world.start_broker(0).await.unwrap();
    let after = guard.attest(&world).await.unwrap();
    let party = &world.holders[0].party;
    assert_eq!(before[party].envelope(), after[party].envelope());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_broker_on_the_same_folder_is_an_error() {
    let world = World::start().await.unwrap();
    let root = world.tee_root.verifying_key();
    let second = world.holders[0].start(None, None, root).await;
    let error = second.map(|_| ()).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(SetupError::Store(_))), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_backup_cannot_give_back_a_spent_run() {
    let mut world = World::start().await.unwrap();
    let agreement = world.agree(Terms { max_runs: 1, ..Terms::default() }).await.unwrap();
    world.stop_broker(0).await.unwrap();
    let folder = world.holders[0].folder.clone();
    let backup = world.root.path().join("backup");
    copy(&folder, &backup);
    world.start_broker(0).await.unwrap();
    world.guard(&agreement).unwrap().attest(&world).await.unwrap();
    world.stop_broker(0).await.unwrap();

    std::fs::remove_dir_all(&folder).unwrap();
    copy(&backup, &folder);
    world.start_broker(0).await.unwrap();
    let failed = world.running[0].as_mut().unwrap().failed().await;
    let SetupError::Fatal(fatal) = failed else { panic!("{failed}") };
    assert!(fatal.to_string().contains("old backup"), "{fatal}");
    let guard = world.guard(&agreement).unwrap();
    let refused = guard.attest(&world).await.unwrap_err().to_string();
    assert!(["log_not_current", "witnesses_missing"].contains(&refused.as_str()), "{refused}");
}

/// The answer of the grant got lost with the broker, and with it the challenge, which it keeps in
/// memory only: the guard's message comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_gets_its_grant_from_a_broker_that_was_restarted() {
    let mut world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let data = guard.runtime_data(guard.challenge(&world).await.unwrap());
    let evidence = guard.evidence(&data).unwrap();
    let party = world.holders[0].party.clone();
    let first = guard.ask_grant(&world, &party, &evidence).await.unwrap();
    world.stop_broker(0).await.unwrap();
    world.start_broker(0).await.unwrap();
    let again = guard.ask_grant(&world, &party, &evidence).await.unwrap();
    assert_eq!(first.envelope(), again.envelope());
    assert_eq!(world.broker(0).agreement(agreement.digest()).await.unwrap().runs, 1);
    // Evidence that nothing was granted for is worth nothing to it.
    let party = world.holders[1].party.clone();
    world.stop_broker(1).await.unwrap();
    world.start_broker(1).await.unwrap();
    let refused = guard.ask_grant(&world, &party, &evidence).await.unwrap_err();
    assert!(refused.to_string().contains("not_challenged"), "{refused}");
}

/// A clearance is in the database and its entry not yet cosigned when the broker ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finishes_a_clearance_once() {
    let mut world = World::start().await.unwrap();
    let agreement = world.agree(Terms::default()).await.unwrap();
    let guard = world.guard(&agreement).unwrap();
    let grants = guard.attest(&world).await.unwrap();
    let delivery = guard.deliver(&grants).unwrap();
    let witness = world.holders[2].party.clone();
    let held = world.direct.hold(&witness, world.broker(2));
    let party = world.holders[0].party.clone();
    guard.hand_over(&world, &party, &delivery).await.unwrap();
    let waits = async || Ok(world.broker(0).run(guard.run()).await?.code == "waits_for_witnesses");
    world.until("the clearance is recorded", waits).await.unwrap();
    assert!(world.broker(0).release(guard.run()).await.unwrap().is_none());
    world.stop_broker(0).await.unwrap();

    held.send_replace(true);
    world.start_broker(0).await.unwrap();
    let released = async || Ok(world.broker(0).release(guard.run()).await?.is_some());
    world.until("the release", released).await.unwrap();
    let first = world.broker(0).release(guard.run()).await.unwrap();
    world.stop_broker(0).await.unwrap();
    world.start_broker(0).await.unwrap();
    assert!(!world.broker(0).tend_outputs().await.unwrap());
    assert_eq!(world.broker(0).release(guard.run()).await.unwrap(), first);
}
