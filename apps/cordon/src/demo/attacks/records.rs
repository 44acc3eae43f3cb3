//! Whoever has a broker's disk: an entry of its log is edited, an old backup is put back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::demo::place::Hospital;
use crate::demo::stage::{Seen, Stage};
use crate::demo::study::start;
use crate::demo::work::Done;
use crate::ops::audit::{LogSource, log_keys, verify};
use crate::ops::result::quorum;

/// The other hospitals tell a broker of its newest head as soon as they are asked.
const NOTICED: Duration = Duration::from_secs(30);

/// The last attacks: a broker is killed for them.
///
/// # Errors
/// If that broker does not start again.
pub async fn attacks(stage: &mut Stage, done: &mut Done) -> Result<()> {
    stage
        .attack(
            "an entry of a log is edited on the disk",
            "the auditor is told which entry does not lead to the signed root",
            async { edited(done) },
        )
        .await;
    stage
        .attack(
            "an old backup of a broker is put back",
            "its witnesses know a newer head: the broker ends with code 4 and grants nothing",
            restored(done),
        )
        .await;
    Ok(())
}

fn edited(done: &Done) -> Result<Seen> {
    let hospital = done.place.hospital(0)?;
    let copy = done.place.folder.join("edited-log");
    copy_folder(&hospital.broker_folder().join("log"), &copy)?;
    let mut edited = 0;
    for bundle in bundles(&copy.join("tile/entries"))? {
        let mut bytes = fs::read(&bundle)?;
        // An approval becomes a rejection.
        let at = bytes.windows(APPROVED.len()).position(|found| found == APPROVED);
        if let Some(place) = at.and_then(|at| bytes.get_mut(at..at + APPROVED.len())) {
            place.copy_from_slice(REFUSED);
            fs::write(&bundle, bytes)?;
            edited += 1;
        }
    }
    ensure!(edited > 0, "the log has no approval to edit");
    let (key, _) = log_keys(hospital.card.value())?;
    let quorum = quorum(done.agreement.value(), &hospital.party)?;
    Ok(match verify(&LogSource::Folder(copy), &key, &quorum) {
        Ok(_) => Seen { ok: false, observed: "the log verifies".to_owned() },
        Err(error) => {
            let observed = format!("cordon audit verify: {error:#}");
            Seen { ok: observed.contains("entry"), observed }
        }
    })
}

/// What an entry says, and what a forger with an editor makes of it, of the same length.
const APPROVED: &[u8] = br#""action":"approval.given""#;
const REFUSED: &[u8] = br#""action":"approval.taken""#;

fn bundles(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    Ok(found)
}

async fn restored(done: &mut Done) -> Result<Seen> {
    let backup = done.place.folder.join("backup");
    let current = done.place.folder.join("current");
    let (hub, root) = (done.place.hub_url.clone(), done.place.tee_root.clone());
    let hospital = done.place.hospitals.first_mut().context("there are no hospitals")?;
    let folder = hospital.broker_folder();
    hospital.take_broker()?.kill().await?;
    copy_folder(&folder, &backup)?;

    // Life goes on: a run, and its grant is in the log.
    restart(hospital, &hub, &root).await?;
    done.place.ready().await?;
    let started = start(&done.place, &done.agreement).await?;
    crate::demo::study::end_code(&done.place, started.run).await?;

    let hospital = done.place.hospitals.first_mut().context("there are no hospitals")?;
    hospital.take_broker()?.kill().await?;
    fs::rename(&folder, &current)?;
    fs::rename(&backup, &folder)?;
    let begun = restart(hospital, &hub, &root).await;
    let seen = match begun {
        Ok(()) => {
            let (code, said) = hospital.take_broker()?.ends(NOTICED).await?;
            let ok = code == Some(4) && said.contains("old backup");
            let code = code.map_or("no code".to_owned(), |code| format!("code {code}"));
            Seen { ok, observed: format!("broker of {} ends with {code}: {said}", hospital.party) }
        }
        Err(error) => bail!("the broker does not even start: {error:#}"),
    };
    fs::remove_dir_all(&folder)?;
    fs::rename(&current, &folder)?;
    restart(hospital, &hub, &root).await?;
    Ok(seen)
}

/// Starts a broker again. The system may need a moment to let go of its folder.
async fn restart(hospital: &mut Hospital, hub: &str, root: &str) -> Result<()> {
    const TRIES: u32 = 50;
    let mut result = hospital.start(hub, Some(root)).await;
    for _ in 0..TRIES {
        match &result {
            Err(error) if error.to_string().contains("another") => {}
            _ => break,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        result = hospital.start(hub, Some(root)).await;
    }
    result
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => {
                fs::copy(entry.path(), &target)?;
            }
        }
    }
    Ok(())
}
