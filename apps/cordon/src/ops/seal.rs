//! Sealing: FHIR or CSV in, a folder of ciphertext and a signed manifest out.
//!
//! Rows go from the parser to the encrypting writer in batches of bounded size. Nothing is
//! written in clear, not even in passing, and the folder gets its name only when it is whole.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use arrow::datatypes::{DataType, FieldRef, Schema, TimeUnit};
use cordon_clinical::keys::KeyPolicy;
use cordon_clinical::table::{Lines, ViewRunner};
use cordon_clinical::view::CompiledView;
use cordon_crypto::dsse::Signed;
use cordon_crypto::{Label, Random, SigningKey, mac, sha256};
use cordon_dataset::{DatasetSealer, DatasetVersion, Layout, SealedTable, column_type, deposit};
use cordon_protocol::Manifest;
use cordon_protocol::dataset::{ColumnSchema, ColumnType, TableSchema};
use cordon_protocol::party::PartyCard;
use cordon_types::{ColumnName, Secret, Sha256Digest, TableName, UnixSeconds};
use indicatif::ProgressBar;

use super::csv::{CsvInput, seal_csv};
use super::open_table::OpenTable;
use super::refusals::{Place, TableReport, Tolerance, Unusable};
use super::stop::Stop;
use crate::files::{self, Staging};

/// Rows are handed to the writer when they reach this size.
pub(super) const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// What a holder seals, and with which keys.
pub struct Sealing<'a> {
    /// Whose, which dataset, which version.
    pub id: DatasetVersion,
    /// The tables.
    pub tables: Vec<TableInput>,
    /// Signs the manifest.
    pub manifest_key: &'a SigningKey,
    /// Makes pseudonyms of patients; the same key gives the same pseudonyms, so that versions
    /// and tables of one holder join.
    pub subject_key: &'a Secret<32>,
    /// The holder's own broker, which gets the version key.
    pub broker: &'a PartyCard,
    /// How many records may be refused before nothing is sealed.
    pub tolerance: Tolerance,
    /// Ends the work when somebody asks for that.
    pub stop: Stop,
}

/// One table to be.
pub struct TableInput {
    /// Its name.
    pub name: TableName,
    /// Where its rows come from.
    pub source: TableSource,
}

/// Where rows come from.
pub enum TableSource {
    /// A ViewDefinition over FHIR NDJSON files.
    View {
        /// The view, as JSON.
        view: Vec<u8>,
        /// The files.
        files: Vec<PathBuf>,
        /// The column that names the patient.
        subject: ColumnName,
    },
    /// A CSV file.
    Csv {
        /// The file.
        file: PathBuf,
        /// The column that names the patient; its values become pseudonyms.
        subject: ColumnName,
    },
}

/// What was sealed.
pub struct Sealed {
    /// The signed manifest.
    pub manifest: Signed<Manifest>,
    /// What was made of each table's records.
    pub reports: Vec<TableReport>,
}

/// Seals all tables into the new folder `out`.
///
/// # Errors
/// If the input cannot be read, too many records are refused, or the disk is full; then `out` is
/// not there.
pub fn seal(
    sealing: &Sealing<'_>,
    out: &Path,
    now: UnixSeconds,
    random: &mut dyn Random,
    progress: &ProgressBar,
) -> Result<Sealed> {
    if out.exists() {
        bail!("`{}` is there already: a version is sealed once", out.display());
    }
    let staging = Staging::beside(out)?;
    let sealed = seal_into(sealing, staging.path(), now, random, progress)?;
    staging.place(out)?;
    Ok(sealed)
}

fn seal_into(
    sealing: &Sealing<'_>,
    folder: &Path,
    now: UnixSeconds,
    random: &mut dyn Random,
    progress: &ProgressBar,
) -> Result<Sealed> {
    progress.set_length(input_bytes(&sealing.tables));
    let sealer = DatasetSealer::new(sealing.id.clone(), random.secret(), Layout::default())?;
    let mut tables = Vec::with_capacity(sealing.tables.len());
    let mut reports = Vec::with_capacity(sealing.tables.len());
    for input in &sealing.tables {
        progress.set_message(input.name.to_string());
        let table = match &input.source {
            TableSource::View { view, files, subject } => {
                let input = ViewInput { name: &input.name, view, files, subject };
                seal_view(sealing, &sealer, &input, folder, progress)
            }
            TableSource::Csv { file, subject } => {
                let input = CsvInput { name: &input.name, file, subject };
                seal_csv(sealing, &sealer, &input, folder, progress)
            }
        };
        let (table, report) = table.with_context(|| format!("table `{}`", input.name))?;
        tables.push(table);
        reports.push(report);
    }
    let manifest = Signed::sign(sealer.manifest(tables, now)?, sealing.manifest_key)?;
    let party = &sealing.broker.party;
    let deposit =
        deposit(&manifest, sealer.version_key(), party, &sealing.broker.box_key, now, random)?;
    let deposit = Signed::sign(deposit, sealing.manifest_key)?.envelope().clone();
    files::write(&folder.join("manifest.json"), &manifest.envelope().to_json())?;
    files::write_private(&folder.join("deposit.json"), &deposit.to_json())?;
    Ok(Sealed { manifest, reports })
}

fn seal_view(
    sealing: &Sealing<'_>,
    sealer: &DatasetSealer,
    input: &ViewInput<'_>,
    folder: &Path,
    progress: &ProgressBar,
) -> Result<(SealedTable, TableReport)> {
    let compiled = CompiledView::parse(input.view)?;
    let pseudonym = |kind: &str, id: &str| subject_pseudonym(sealing.subject_key, kind, id);
    let mut runner = ViewRunner::new(&compiled, KeyPolicy::Keyed(&pseudonym));
    let schema = table_schema(input.name, input.subject, sha256(&[input.view]), &runner.schema())?;
    let mut table = OpenTable::new(sealing.tolerance, sealer, schema, folder)?;
    let mut cut = None;
    let files =
        input.files.iter().filter(|path| !is_of_another_resource(path, compiled.resource()));
    for path in files {
        let file: Arc<Path> = path.as_path().into();
        let lines_before = runner.report().lines;
        let mut lines = Lines::new(open(path)?);
        let read = |error| anyhow::Error::new(error).context(format!("`{}`", path.display()));
        while let Some(line) = lines.next_line().map_err(read)? {
            sealing.stop.check()?;
            progress.inc(line.len() as u64);
            let is_whole = line.ends_with(b"\n");
            let rows_before = runner.report().rows;
            let pushed = runner.push_line(line);
            let number = runner.report().lines - lines_before;
            match pushed {
                Ok(()) => table.came_from(rows_before, runner.report().rows, &file, number),
                Err(error) => {
                    if !is_whole && error.code() == "not_json" {
                        cut.get_or_insert_with(|| Place { file: path.clone(), line: number });
                    }
                    table.reject(path, number, error.code(), error.into())?;
                }
            }
            if let Some(rows) = runner.take_batch(BATCH_BYTES) {
                table.write_with_subjects(&rows)?;
            }
        }
    }
    if let Some(rows) = runner.finish_batch() {
        table.write_with_subjects(&rows)?;
    }
    let report = runner.report();
    let finished = table.finish(report.resources + report.rejected_lines())?;
    // However few are refused: nobody knows how many are missing behind them.
    cut.map_or(Ok(finished), |place| Err(Unusable::Cut(place).into()))
}

/// What [`TableSource::View`] holds.
struct ViewInput<'a> {
    name: &'a TableName,
    view: &'a [u8],
    files: &'a [PathBuf],
    subject: &'a ColumnName,
}

/// The sealed schema of a table that has this Arrow schema.
pub(super) fn table_schema(
    name: &TableName,
    subject: &ColumnName,
    source: Sha256Digest,
    arrow: &Schema,
) -> Result<TableSchema> {
    let column = |field: &FieldRef| {
        let kind = match field.data_type() {
            DataType::Dictionary(_, value) => column_type(value),
            DataType::Utf8View | DataType::LargeUtf8 => column_type(&DataType::Utf8),
            // More digits would be cut in sealing.
            DataType::Decimal128(_, ..=4) => Some(ColumnType::Decimal),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Some(ColumnType::Timestamp),
            other => column_type(other),
        };
        let kind = kind.with_context(|| {
            format!(
                "column `{}` is of type {}, which cannot be sealed",
                field.name(),
                field.data_type()
            )
        })?;
        let name: ColumnName = field.name().parse()?;
        let nullable = name != *subject;
        Ok(ColumnSchema { name, kind, nullable })
    };
    let columns = arrow.fields().iter().map(column).collect::<Result<_>>()?;
    Ok(TableSchema { name: name.clone(), source, subject: subject.clone(), columns })
}

/// The pseudonym of a resource: HMAC under the holder's key, 128 bits kept.
pub(super) fn subject_pseudonym(key: &Secret<32>, kind: &str, id: &str) -> [u8; 16] {
    let tag = mac(key, Label::SubjectPseudonym, &[kind.as_bytes(), id.as_bytes()]);
    let mut kept = [0; 16];
    kept.copy_from_slice(&tag[..16]);
    kept
}

/// The NDJSON files of a folder (a Bulk Data export), or the one file.
pub fn ndjson_files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    let entries =
        fs::read_dir(path).with_context(|| format!("cannot list `{}`", path.display()))?;
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_some_and(|e| e == "ndjson") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("no `.ndjson` file in `{}`", path.display());
    }
    Ok(files)
}

/// Bulk Data names files after the resource that they hold: `Patient.ndjson`,
/// `Patient.000.ndjson`. A file that is named after another one need not be read.
fn is_of_another_resource(path: &Path, wanted: &str) -> bool {
    const NAMED: [&str; 6] = [
        "Patient",
        "Encounter",
        "Condition",
        "Observation",
        "MedicationRequest",
        "ExplanationOfBenefit",
    ];
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    stem != wanted && NAMED.contains(&stem)
}

pub(super) fn open(path: &Path) -> Result<impl BufRead> {
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

fn input_bytes(tables: &[TableInput]) -> u64 {
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |m| m.len());
    let of = |table: &TableInput| match &table.source {
        TableSource::View { view, files, .. } => match CompiledView::parse(view) {
            Ok(view) => {
                files.iter().filter(|f| !is_of_another_resource(f, view.resource())).map(size).sum()
            }
            Err(_) => 0,
        },
        TableSource::Csv { file, .. } => size(file),
    };
    tables.iter().map(of).sum()
}
