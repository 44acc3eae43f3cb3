//! The short form of `cargo xtask torture kill`.

use cordon_testkit::torture::{Campaign, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_anywhere_gives_no_key_without_an_entry_and_pays_no_run_twice() {
    let program = env!("CARGO_BIN_EXE_torture").into();
    let campaign = Campaign { program, kills: 12, seed: 1 };
    let tally = campaign.run(|_| {}).await.unwrap();
    assert!(tally.is_clean(), "{tally}");
    assert_eq!(tally.kills, 12);
    // Kills that all come too early, or all too late, test nothing.
    let died_at = |stage: Stage| tally.stages.get(&stage).copied().unwrap_or_default();
    assert!(died_at(Stage::NothingRecorded) > 0, "{tally}");
    assert!(tally.kills > died_at(Stage::NothingRecorded) + died_at(Stage::Sent), "{tally}");
    assert!(tally.kills_at_start > 0, "{tally}");
}
