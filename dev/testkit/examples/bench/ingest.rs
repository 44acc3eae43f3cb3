//! FHIR NDJSON through ViewDefinitions to sealed Parquet, by the program that people run:
//! `cordon dataset seal` with all views that come along, at two sizes of input, so that it shows
//! whether memory grows with it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordon_testkit::measure::{Cost, Report, Target, Watch, peak_memory};

/// Patients of the two inputs.
const SIZES: [u32; 2] = [5_000, 20_000];
const REPETITIONS: usize = 5;
/// Views of the pack; two of them read the same file.
const VIEWS: [&str; 7] = [
    "patient",
    "encounter",
    "condition",
    "observation",
    "medication",
    "claim_line",
    "claim_diagnosis",
];
const MEGABYTE: f64 = 1e6;
const MEBIBYTE: f64 = 1_048_576.0;

pub fn run(programs: &Path) -> Result<Report> {
    let place = tempfile::tempdir()?;
    let cordon = Cordon { program: &programs.join("cordon"), place: place.path() };
    cordon.holder()?;
    let mut report = Report::new("ingest");
    for patients in SIZES {
        let input = format!("input-{patients}");
        cordon.run(&format!("synth --patients {patients} --seed 1 --sites one --out {input}"))?;
        let megabytes = size(&place.path().join(&input).join("one"))? as f64 / MEGABYTE;
        let (mut per_core, mut per_second, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for repetition in 0..=REPETITIONS {
            let (cost, peak) = cordon.run(&format!(
                "dataset seal --card broker/card.json --manifest-key broker.manifest.key \
                 --subject-key broker.subject.key --dataset registry --version 1 \
                 --view {} --input {input}/one --out sealed",
                VIEWS.join(" --view ")
            ))?;
            std::fs::remove_dir_all(place.path().join("sealed"))?;
            // The first one reads the input from the disk.
            if repetition > 0 {
                per_core.push(megabytes / cost.cpu.as_secs_f64());
                per_second.push(megabytes / cost.seconds());
                memory.push(peak as f64 / MEBIBYTE);
            }
        }
        let what = format!("{patients} patients, {megabytes:.0} MB");
        let target = Target::AtLeast(100.0);
        report.add(format!("{what}: per processor second"), "MB/s", &per_core, target);
        report.add(format!("{what}: per second"), "MB/s", &per_second, Target::None);
        report.add(format!("{what}: peak memory"), "MiB", &memory, Target::AtMost(300.0));
    }
    report.note(
        "bytes are those of the NDJSON files, each counted once, though the claims are read by two \
         views; processor time is user and system of the whole command",
    );
    report.note(format!("{} views, {REPETITIONS} repetitions, release profile", VIEWS.len()));
    Ok(report)
}

struct Cordon<'a> {
    program: &'a Path,
    place: &'a Path,
}

impl Cordon<'_> {
    /// Keys and card of a data holder.
    fn holder(&self) -> Result<()> {
        self.run(
            "init person --party hospital-a --person admin --out admin.key --card admin.json",
        )?;
        self.run(
            "init party --party hospital-a --profile development --log-origin hospital-a.example/log \
             --folder broker --key-file root.key --administrator admin.json",
        )?;
        Ok(())
    }

    /// Runs a command to its end; what it took, and its peak memory in bytes.
    fn run(&self, arguments: &str) -> Result<(Cost, u64)> {
        const LOOK: Duration = Duration::from_millis(2);
        let watch = Watch::start();
        let mut child = Command::new(self.program)
            .args(arguments.split_whitespace())
            .current_dir(self.place)
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.program.display()))?;
        let mut peak = 0;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            // It only grows: what it was last is what it was.
            peak = peak_memory(child.id()).unwrap_or(peak).max(peak);
            std::thread::sleep(LOOK);
        };
        ensure!(status.success(), "`cordon {arguments}` failed");
        Ok((watch.read(), peak))
    }
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "ndjson") {
            bytes += entry.metadata()?.len();
        }
    }
    ensure!(bytes > 0, "no input in `{}`", folder.display());
    Ok(bytes)
}
