//! The main job: from sealed records to a table that the researcher may see, and its proof.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cordon_clinical::synth::{DEFAULT_SITES, Generator, Truth};
use cordon_clinical::views;
use cordon_crypto::SystemRandom;
use cordon_crypto::dsse::Signed;
use cordon_dataset::DatasetVersion;
use cordon_protocol::Agreement;
use cordon_protocol::decision::Verdict;
use cordon_protocol::table::{Cell, ResultTable};
use indicatif::ProgressBar;

use super::go;
use super::place::{Hospital, Place};
use super::stage::Stage;
use super::study::{self, CODES, DATASET, MIN_CELL, QUERY, Started, TABLES};
use crate::clock::now;
use crate::ops::audit::{LogSource, log_keys, verify};
use crate::ops::refusals::Tolerance;
use crate::ops::seal::{Sealing, TableInput, TableSource, seal};
use crate::ops::stop::Stop;
use crate::ops::{holder, hub, result, synth};

/// The same patients in every demo.
const SEED: u64 = 2026;
/// A head is cosigned within a moment of its entries.
const COSIGNED: Duration = Duration::from_secs(20);

/// What the main job leaves for the attacks.
pub struct Done {
    /// Everything that runs.
    pub place: Place,
    /// The agreement.
    pub agreement: Signed<Agreement>,
    /// Its run.
    pub run: Started,
    /// The cleared result.
    pub table: ResultTable,
}

/// Does the whole job in `folder`.
///
/// # Errors
/// The first step that fails.
pub async fn work(stage: &mut Stage, folder: &Path, patients: u32) -> Result<Done> {
    let patients_folder = folder.join("patients");
    let truth = stage
        .work(
            &format!("{patients} synthetic patients at three hospitals"),
            "made by a fixed seed; what there is to find is known",
            async { make_patients(&patients_folder, patients) },
        )
        .await?;
    let place = stage
        .work(
            "a hub, three brokers, a host; cards exchanged",
            "each hospital has keys of its own and knows the others by theirs",
            open(folder),
        )
        .await?;
    stage
        .work(
            "each hospital seals its FHIR records",
            "one key per column and file, made at the hospital; no value is left in clear",
            async { tokio::task::block_in_place(|| seal_all(&place, &patients_folder)) },
        )
        .await?;
    stage
        .work(
            "sealed datasets published",
            "ciphertext goes to the hub, the version key to the hospital's own broker only",
            publish(&place),
        )
        .await?;
    let agreement = stage
        .work(
            "the researcher proposes a study",
            "the query is planned without data; the agreement names the columns it touches",
            propose(&place),
        )
        .await?;
    stage
        .work(
            "two persons of each hospital approve it",
            "what they sign is the digest of the whole agreement, at their own broker",
            approve(&place, &agreement),
        )
        .await?;
    let run = stage
        .work(
            "the run: attested, granted, computed, checked, sealed",
            "one evidence over three nonces; keys go to this guard, this run, these columns",
            run(&place, &agreement),
        )
        .await?;
    stage
        .work(
            "a reviewer of each hospital looks and clears",
            "until then no broker opens its share of the result key",
            review(&place, &run),
        )
        .await?;
    let table = stage
        .work(
            "the researcher joins three shares and opens the table",
            "every number equals the planted truth, and small groups are withheld",
            open_result(&place, &agreement, &run, &truth),
        )
        .await?;
    stage
        .work(
            "an auditor verifies all three logs from their files",
            "keys are all it takes; every entry, every hash, cosigned by the other hospitals",
            audit(&place, &agreement),
        )
        .await?;
    second_opinion(stage, &place).await?;
    Ok(Done { place, agreement, run, table })
}

fn make_patients(folder: &Path, patients: u32) -> Result<(Truth, String)> {
    let generator = Generator::new(SEED, patients, DEFAULT_SITES)?;
    let truth = synth::write(&generator, folder, &ProgressBar::hidden())?;
    let resources = truth.sites.values().flat_map(|site| site.resources.values());
    let said = format!(
        "{} FHIR resources, {} people known to two hospitals",
        resources.sum::<u64>(),
        truth.people.shared
    );
    Ok((truth, said))
}

async fn open(folder: &Path) -> Result<(Place, String)> {
    let place = Place::open(folder, DEFAULT_SITES).await?;
    place.ready().await?;
    let said = format!("hub {}; {} brokers cosign each other's logs", place.hub_url, 3);
    Ok((place, said))
}

fn seal_all(place: &Place, patients: &Path) -> Result<((), String)> {
    let (mut rows, mut bytes, mut columns) = (0, 0, 0);
    for hospital in &place.hospitals {
        let records = patients.join(hospital.party.as_str());
        let tables = TABLES.map(|name| table(name, &records)).into_iter().collect::<Result<_>>()?;
        let sealing = Sealing {
            id: DatasetVersion {
                holder: hospital.party.clone(),
                dataset: DATASET.parse()?,
                version: 1,
            },
            tables,
            manifest_key: &hospital.manifest_key,
            subject_key: &hospital.subject_key,
            broker: hospital.card.value(),
            tolerance: Tolerance { strict: true, max_rejected: 0, allow_empty: false },
            stop: Stop::default(),
        };
        let random = &mut SystemRandom::new();
        let sealed =
            seal(&sealing, &sealed_folder(hospital), now(), random, &ProgressBar::hidden())?;
        for table in &sealed.manifest.value().tables {
            columns += table.columns.len();
            rows += table.rows;
            bytes += table.files.iter().map(|file| file.size_bytes).sum::<u64>();
        }
    }
    Ok(((), format!("{rows} rows, {columns} column keys, {} KiB of ciphertext", bytes / 1024)))
}

fn table(name: &str, records: &Path) -> Result<TableInput> {
    let view = views::find(name).with_context(|| format!("no view `{name}`"))?;
    let file = records.join(format!("{}.ndjson", view.resource));
    let source = TableSource::View {
        view: view.json.as_bytes().to_vec(),
        files: vec![file],
        subject: "subject".parse()?,
    };
    Ok(TableInput { name: name.parse()?, source })
}

fn sealed_folder(hospital: &Hospital) -> PathBuf {
    hospital.folder.join("sealed")
}

async fn publish(place: &Place) -> Result<((), String)> {
    for hospital in &place.hospitals {
        let steward = &hospital.steward;
        let client = hub::signing_as(&place.hub_url, None, steward)?;
        hub::register(&client, steward, now()).await?;
        let (staff, folder) = (hospital.staff(steward)?, sealed_folder(hospital));
        holder::publish(&staff, &client, &folder, &ProgressBar::hidden()).await?;
    }
    Ok(((), "three brokers checked the manifest's commitment to every column key".to_owned()))
}

async fn propose(place: &Place) -> Result<(Signed<Agreement>, String)> {
    let draft = study::draft(place, "diabetes-by-decade", QUERY)?;
    let agreement = study::complete(place, &draft).await?;
    study::submit(place, &agreement).await?;
    let touched = agreement.value().program.touched.iter();
    let touched: Vec<String> = touched
        .flat_map(|(table, columns)| columns.iter().map(move |column| format!("{table}.{column}")))
        .collect();
    let said = format!("{} touches {}", short(&agreement.digest()), touched.join(", "));
    Ok((agreement, said))
}

async fn approve(place: &Place, agreement: &Signed<Agreement>) -> Result<((), String)> {
    study::approve(place, agreement).await?;
    for hospital in &place.hospitals {
        let view = hospital.staff(&hospital.officer)?.agreement(agreement.digest()).await?;
        ensure!(
            view.missing.is_empty(),
            "{} waits for {}",
            hospital.party,
            view.missing.join(", ")
        );
    }
    Ok(((), "steward and data protection officer at each, 6 signatures".to_owned()))
}

async fn run(place: &Place, agreement: &Signed<Agreement>) -> Result<(Started, String)> {
    let started = study::start(place, agreement).await?;
    let status = study::ended(place, started.run).await?;
    match status.code.as_deref() {
        Some("ok") => {}
        code => bail!("the run ended with {}", code.unwrap_or("no code")),
    }
    let said = format!(
        "run {}: 3 grants, {} KiB of ciphertext read, result sealed",
        short(&started.run.0),
        status.bytes_read / 1024
    );
    Ok((started, said))
}

async fn review(place: &Place, run: &Started) -> Result<((), String)> {
    for hospital in &place.hospitals {
        study::decide(hospital, run.run, Verdict::Approve).await?;
    }
    Ok(((), "each opened the copy that the guard sealed to them, and signed `approve`".to_owned()))
}

async fn open_result(
    place: &Place,
    agreement: &Signed<Agreement>,
    run: &Started,
    truth: &Truth,
) -> Result<(ResultTable, String)> {
    let table = study::open(place, agreement, run.run).await?.table;
    let planted = planted(truth)?;
    let (mut equal, mut withheld) = (0, 0);
    for row in &table.rows {
        let [key, count] = row.as_slice() else { bail!("a row of another shape") };
        let decade = match key {
            Cell::Integer(decade) => *decade,
            Cell::Suppressed => {
                withheld += 1;
                continue;
            }
            other => bail!("a decade is expected, found {other:?}"),
        };
        let there = planted.get(&decade).copied().unwrap_or_default();
        match count {
            Cell::Integer(found) => {
                ensure!(u64::try_from(*found) == Ok(there), "{decade}: {found}, planted {there}");
                ensure!(there >= u64::from(MIN_CELL), "{decade}: {found} patients are shown");
                equal += 1;
            }
            Cell::Suppressed => withheld += 1,
            other => bail!("{decade}: {other:?}"),
        }
    }
    ensure!(equal > 0, "nothing is shown");
    let said = format!("{equal} numbers equal the truth; groups withheld: {withheld}");
    Ok((table, said))
}

/// Patients with the diagnosis of the run by decade of birth, over all hospitals.
fn planted(truth: &Truth) -> Result<BTreeMap<i64, u64>> {
    let mut planted = BTreeMap::new();
    for site in truth.sites.values() {
        let condition = site.conditions.get(CODES[0]).context("no such diagnosis was planted")?;
        for (decade, count) in condition.by_sex_and_decade.values().flatten() {
            *planted.entry(*decade).or_default() += count;
        }
    }
    Ok(planted)
}

async fn audit(place: &Place, agreement: &Signed<Agreement>) -> Result<((), String)> {
    let mut said = Vec::new();
    for hospital in &place.hospitals {
        let (key, _) = log_keys(hospital.card.value())?;
        let quorum = result::quorum(agreement.value(), &hospital.party)?;
        let source = LogSource::Folder(hospital.broker_folder());
        let deadline = tokio::time::Instant::now() + COSIGNED;
        let audited = loop {
            match verify(&source, &key, &quorum) {
                Ok(audited) => break audited,
                // The newest head may be on its way to its witnesses.
                Err(_) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error.context(hospital.party.to_string())),
            }
        };
        said.push(format!("{} {} entries", hospital.party, audited.entries.len()));
    }
    Ok(((), said.join(", ")))
}

/// The same logs by a program that is not ours, where Go is installed.
async fn second_opinion(stage: &mut Stage, place: &Place) -> Result<()> {
    let folder = place.folder.join("go");
    let Some(verifier) = go::find(&folder) else {
        stage.say("--  Go's own log code would check the logs, too: skipped, Go is not installed");
        return Ok(());
    };
    stage
        .work(
            "Go's x/mod/sumdb verifies the same logs",
            "a program that nobody here wrote comes to the same roots",
            async {
                tokio::task::block_in_place(|| {
                    let program = verifier.build()?;
                    for hospital in &place.hospitals {
                        let (key, _) = log_keys(hospital.card.value())?;
                        let log = hospital.broker_folder().join("log");
                        program.verify(&log, &key.to_string())?;
                    }
                    Ok(((), "checkpoint signatures, every inclusion proof, every tile".to_owned()))
                })
            },
        )
        .await
}

/// The first characters of a digest, for lines that people read.
pub fn short(digest: &cordon_types::Sha256Digest) -> String {
    digest.to_hex().chars().take(12).collect()
}
