//! Sealing: FHIR or CSV in, a folder of ciphertext and a signed manifest out.
//!
//! Rows go from the parser to the encrypting writer in batches of bounded size. Nothing is
//! written in clear, not even in passing, and the folder gets its name only when it is whole.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use arrow::array::{Array as _, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, FieldRef, Schema, TimeUnit};
use cordon_clinical::keys::KeyPolicy;
use cordon_clinical::table::{Lines, ViewRunner};
use cordon_clinical::view::CompiledView;
use cordon_crypto::dsse::Signed;
use cordon_crypto::{Label, Random, SigningKey, mac, sha256};
use cordon_dataset::{
    DatasetSealer, DatasetVersion, Layout, SealedTable, TableWriter, column_type, deposit,
};
use cordon_protocol::Manifest;
use cordon_protocol::dataset::{ColumnSchema, ColumnType, TableSchema};
use cordon_protocol::party::PartyCard;
use cordon_types::{ColumnName, Secret, Sha256Digest, TableName, UnixSeconds};
use indicatif::ProgressBar;

use crate::files::{self, SealedFolder};

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
    /// Refuse the whole input at the first record that cannot be read.
    pub strict: bool,
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
}

/// Seals all tables into the new folder `out`.
///
/// # Errors
/// If the input cannot be read, `strict` finds a bad record, or the disk is full; then `out` is
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
    let partial = out.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)
            .with_context(|| format!("cannot clear `{}`", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("cannot make `{}`", partial.display()))?;
    let done = seal_into(sealing, &partial, now, random, progress);
    if done.is_err() {
        let _ = fs::remove_dir_all(&partial);
        return done;
    }
    fs::rename(&partial, out).with_context(|| format!("cannot make `{}`", out.display()))?;
    done
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
    for input in &sealing.tables {
        progress.set_message(input.name.to_string());
        let table = match &input.source {
            TableSource::View { view, files, subject } => {
                seal_view(sealing, &sealer, &input.name, view, files, subject, folder, progress)
            }
            TableSource::Csv { file, subject } => {
                super::csv::seal_csv(sealing, &sealer, &input.name, file, subject, folder, progress)
            }
        };
        tables.push(table.with_context(|| format!("table `{}`", input.name))?);
    }
    let manifest = Signed::sign(sealer.manifest(tables, now)?, sealing.manifest_key)?;
    let party = &sealing.broker.party;
    let deposit =
        deposit(&manifest, sealer.version_key(), party, &sealing.broker.box_key, now, random)?;
    let deposit = Signed::sign(deposit, sealing.manifest_key)?.envelope().clone();
    files::write(&folder.join("manifest.json"), &manifest.envelope().to_json())?;
    files::write_private(&folder.join("deposit.json"), &deposit.to_json())?;
    Ok(Sealed { manifest })
}

#[expect(clippy::too_many_arguments, reason = "one call; a struct would only rename them")]
fn seal_view(
    sealing: &Sealing<'_>,
    sealer: &DatasetSealer,
    name: &TableName,
    view: &[u8],
    files: &[PathBuf],
    subject: &ColumnName,
    folder: &Path,
    progress: &ProgressBar,
) -> Result<SealedTable> {
    let compiled = CompiledView::parse(view)?;
    let pseudonym = |kind: &str, id: &str| subject_pseudonym(sealing.subject_key, kind, id);
    let mut runner = ViewRunner::new(&compiled, KeyPolicy::Keyed(&pseudonym));
    let schema = table_schema(name, subject, sha256(&[view]), &runner.schema())?;
    let mut table = OpenTable::new(sealer, schema, folder)?;
    for path in files {
        if is_of_another_resource(path, compiled.resource()) {
            continue;
        }
        let mut lines = Lines::new(open(path)?);
        let read = |error| anyhow::Error::new(error).context(format!("`{}`", path.display()));
        while let Some(line) = lines.next_line().map_err(read)? {
            progress.inc(line.len() as u64);
            if let Err(error) = runner.push_line(line)
                && sealing.strict
            {
                return Err(error).with_context(|| format!("`{}`", path.display()));
            }
            if let Some(rows) = runner.take_batch(BATCH_BYTES) {
                table.write(&rows)?;
            }
        }
    }
    if let Some(rows) = runner.finish_batch() {
        table.write(&rows)?;
    }
    table.finish(runner.report().rejected_lines())
}

/// A table that is being written: rows without a subject are counted as rejected, since nobody
/// could tell whose they are.
pub(super) struct OpenTable {
    writer: TableWriter,
    folder: SealedFolder,
    subject: usize,
    without_subject: u64,
}

impl OpenTable {
    pub(super) fn new(sealer: &DatasetSealer, schema: TableSchema, folder: &Path) -> Result<Self> {
        let subject = schema.columns.iter().position(|c| c.name == schema.subject);
        let subject = subject.with_context(|| format!("no column `{}`", schema.subject))?;
        let folder = SealedFolder::new(folder);
        Ok(Self { writer: sealer.table(schema)?, folder, subject, without_subject: 0 })
    }

    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let subjects = rows.column(self.subject);
        let present: BooleanArray =
            (0..rows.num_rows()).map(|row| Some(subjects.is_valid(row))).collect();
        self.without_subject += subjects.null_count() as u64;
        let rows = filter_record_batch(rows, &present)?;
        let wanted = self.writer.arrow_schema().clone();
        let columns = rows
            .columns()
            .iter()
            .zip(wanted.fields())
            .map(|(column, field)| cast(column, field.data_type()));
        let rows = RecordBatch::try_new(wanted.clone(), columns.collect::<Result<_, _>>()?)?;
        Ok(self.writer.write(&rows, &mut self.folder)?)
    }

    pub(super) fn finish(mut self, rejected: u64) -> Result<SealedTable> {
        let rejected = rejected + self.without_subject;
        let written = self.writer.finish(rejected, &mut self.folder)?;
        Ok(written.prove(&self.folder, &[])?)
    }
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
