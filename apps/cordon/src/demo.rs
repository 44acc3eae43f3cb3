//! `cordon demo`: the whole of a study on loopback, and the attacks that are refused.
//!
//! Hub and brokers are processes of their own, guards and engines too. Everything that people do
//! goes through the same functions as the commands; attackers have what real ones have.

mod attacks;
mod go;
mod guards;
mod place;
mod process;
mod report;
mod stage;
mod study;
mod work;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use cordon_softtee::BANNER;

use crate::clock::{now, rfc3339};
use crate::commands::shutdown;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use report::{Report, Story};
use stage::Stage;
use work::Done;

/// What the demo is run with.
#[derive(Args, Debug)]
pub struct DemoArguments {
    /// Where `report.json` and `report.html` go.
    #[arg(long, value_name = "DIR", default_value = "demo-out")]
    out: PathBuf,
    /// Leave hub, brokers and host running, their folders and keys under the report's folder, and
    /// print where they are.
    #[arg(long)]
    keep: bool,
    /// How many synthetic patients.
    #[arg(long, value_name = "N", default_value_t = 3000)]
    patients: u32,
}

/// Runs the demo.
///
/// # Errors
/// If the main job fails, or anything does not come out as expected.
pub fn run(arguments: &DemoArguments, output: Output) -> Outcome {
    crate::commands::wait_for(play(arguments, output))
}

async fn play(arguments: &DemoArguments, output: Output) -> Result<(), Failure> {
    let DemoArguments { out, keep, patients } = arguments;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make `{}`", out.display()))?;
    let temporary;
    let folder = if *keep {
        kept_folder(out)?
    } else {
        temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
        temporary.path().to_owned()
    };
    let begun = Instant::now();
    let mut shutdown = std::pin::pin!(shutdown()?);
    // Dropped when somebody interrupts: the services end then, and the folder with their keys goes.
    let (done, report) = tokio::select! {
        played = play_all(out, &folder, *patients, output) => played?,
        () = &mut shutdown => return Err(anyhow!("interrupted").into()),
    };
    report.write(out, &story(&done))?;
    show(&report, out, begun, output)?;
    if *keep {
        tell_what_runs(&done, &folder, output)?;
        shutdown.await;
    }
    if report.is_good() {
        return Ok(());
    }
    Err(Failure::verification(anyhow!("not all came out as expected")))
}

async fn play_all(
    out: &Path,
    folder: &Path,
    patients: u32,
    output: Output,
) -> Result<(Done, Report), Failure> {
    let mut stage = Stage::new(output);
    stage.say(&format!("{BANNER}\n"));
    let worked = work::work(&mut stage, folder, patients).await;
    let mut done = match worked {
        Ok(done) => done,
        Err(error) => {
            report::write_json(&stage.into_report(), out)?;
            return Err(error.context("the main job failed").into());
        }
    };
    stage.say(&format!("\n{}", table_text(&done)));
    stage.say("\nAttacks. Each must be refused, by whom it says:\n");
    attacks::attacks(&mut stage, &mut done).await?;
    Ok((done, stage.into_report()))
}

fn kept_folder(out: &Path) -> Result<PathBuf> {
    let folder = out.join("kept");
    if folder.exists() {
        anyhow::bail!("`{}` is there from an earlier demo: remove it first", folder.display());
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder.canonicalize()?)
}

fn story(done: &Done) -> Story {
    let agreement = done.agreement.value();
    Story {
        title: agreement.title.clone(),
        query: agreement.program.query.clone(),
        holders: agreement.holders.iter().map(|holder| holder.party.to_string()).collect(),
        table: done.table.clone(),
        agreement: done.agreement.digest().to_string(),
        min_cell: study::MIN_CELL,
        when: rfc3339(now()),
    }
}

fn table_text(done: &Done) -> String {
    let header: Vec<&str> = done.table.columns.iter().map(|column| column.name.as_str()).collect();
    let mut text = crate::output::table(header);
    for row in &done.table.rows {
        text.add_row(row.iter().map(report::shown));
    }
    text.to_string()
}

fn show(report: &Report, out: &Path, begun: Instant, output: Output) -> Outcome {
    let refused = report.attacks.iter().filter(|attack| attack.ok).count();
    let answer = serde_json::json!({
        "ok": report.is_good(), "steps": report.work.len(), "attacks": report.attacks.len(),
        "refused": refused, "report": out.join("report.html"),
    });
    output.show(&answer, || {
        format!(
            "\n{} steps, {refused} of {} attacks refused, {:.0} s. Report: {}",
            report.work.len(),
            report.attacks.len(),
            begun.elapsed().as_secs_f64(),
            out.join("report.html").display()
        )
    })
}

/// Everything is left running until somebody has seen enough.
fn tell_what_runs(done: &Done, folder: &Path, output: Output) -> Result<()> {
    let mut lines =
        vec![format!("\nStill running, with folders and keys in {}:", folder.display())];
    lines.push(format!("  hub        {}", done.place.hub_url));
    for hospital in &done.place.hospitals {
        lines.push(format!("  {:<10} {}", hospital.party, hospital.url()));
    }
    let first = done.place.hospital(0)?;
    lines.push(format!(
        "Try:  cordon study list --broker {} --as {}\nctrl-c ends it.",
        first.url(),
        first.folder.join("officer.key").display()
    ));
    output.note(&lines.join("\n"));
    Ok(())
}
