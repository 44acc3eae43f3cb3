//! The short form of `cargo xtask torture kill`.

use cordon_testkit::torture::{Campaign, Stage, Task};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_anywhere_gives_nothing_without_an_entry_and_pays_no_run_twice() {
    let program = env!("CARGO_BIN_EXE_torture").into();
    let campaign = Campaign { program, kills: 24, seed: 1 };
    let tally = campaign.run(|_| {}).await.unwrap();
    assert!(tally.is_clean(), "{tally}");
    assert_eq!(tally.kills, 24);
    for task in [Task::Grant, Task::Clearance] {
        // Kills that all come too early, or all too late, test nothing.
        let nothing = tally.died_at(task, Stage::NothingRecorded);
        assert!(nothing > 0, "{tally}");
        assert!(tally.kills / 2 > nothing + tally.died_at(task, Stage::Sent), "{tally}");
    }
    assert!(tally.kills_at_start > 0, "{tally}");
}
