//! `cordon dataset`: seal, publish, inspect.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Subcommand};
use cordon_crypto::SystemRandom;
use cordon_crypto::dsse::Signed;
use cordon_dataset::{DatasetVersion, Summary, verify_files};
use cordon_protocol::Manifest;
use cordon_protocol::party::PartyCard;
use cordon_types::{ColumnName, DatasetId, TableName};
use serde_json::json;

use super::people::{AtBroker, Hub};
use super::service::stop_on_signals;
use super::{view, wait_for};
use crate::clock::{now, rfc3339};
use crate::failure::{Failure, Outcome};
use crate::files::{self, SealedFolder};
use crate::keyfile::{self, Purpose};
use crate::ops::holder;
use crate::ops::refusals::Tolerance;
use crate::ops::seal::{Sealing, TableInput, TableSource, ndjson_files, seal};
use crate::output::{Output, table};

pub const EXAMPLE: &str = "Example:\n  cordon dataset inspect sealed/registry-1";

/// The name of the subject column in the views that come along.
const SUBJECT: &str = "subject";

/// What is done with a dataset.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Seal FHIR records through views, or CSV files, under a fresh key.
    #[command(after_help = "Example:\n  \
        cordon dataset seal --card broker/card.json --manifest-key broker.manifest.key \\\n    \
        --subject-key broker.subject.key --dataset registry --version 1 \\\n    \
        --view patient --view condition --input export/ --out sealed/registry-1")]
    Seal(SealArguments),
    /// Hand a sealed dataset to the hub, and its key to your broker.
    #[command(after_help = "Example:\n  \
        cordon dataset publish sealed/registry-1 --hub https://hub.example \\\n    \
        --broker http://127.0.0.1:8701 --as steward.key")]
    Publish(PublishArguments),
    /// Show what a manifest says: schema and digests; needs no key. With `--json` also the
    /// commitments to the keys of the columns.
    #[command(after_help = EXAMPLE)]
    Inspect(InspectArguments),
}

/// What is sealed, with which keys.
#[derive(Args, Debug)]
pub struct SealArguments {
    /// Your broker's card: the key is sealed to it.
    #[arg(long, value_name = "CARD")]
    card: PathBuf,
    /// Signs the manifest; must be on the card.
    #[arg(long, value_name = "FILE")]
    manifest_key: PathBuf,
    /// Makes pseudonyms of patients.
    #[arg(long, value_name = "FILE")]
    subject_key: PathBuf,
    /// The dataset.
    #[arg(long, value_name = "ID")]
    dataset: DatasetId,
    /// Its version, counted from 1.
    #[arg(long, value_name = "N")]
    version: NonZeroU32,
    /// A ViewDefinition, or the name of one that comes along; each makes a table.
    #[arg(long = "view", value_name = "VIEW", requires = "input")]
    views: Vec<PathBuf>,
    /// FHIR NDJSON: a file, or a folder with a Bulk Data export.
    #[arg(long, value_name = "NDJSON")]
    input: Option<PathBuf>,
    /// A CSV file; it makes a table of its file's name.
    #[arg(long = "csv", value_name = "FILE", required_unless_present = "views")]
    csv: Vec<PathBuf>,
    /// The column that names the patient [default: subject].
    #[arg(long, value_name = "COLUMN")]
    subject: Option<ColumnName>,
    /// A new folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Stop at the first record that is refused.
    #[arg(long, conflicts_with = "max_rejected")]
    strict: bool,
    /// Seal nothing if more records of a table than this are refused.
    #[arg(long, value_name = "PERCENT", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(0..=100))]
    max_rejected: u8,
    /// Seal a table even if it has no rows.
    #[arg(long)]
    allow_empty: bool,
}

/// What is published, and where.
#[derive(Args, Debug)]
pub struct PublishArguments {
    /// A folder of `cordon dataset seal`.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    hub: Hub,
    #[command(flatten)]
    at: AtBroker,
}

/// What is looked at.
#[derive(Args, Debug)]
pub struct InspectArguments {
    /// A folder of `cordon dataset seal`.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Compare every file with the manifest, too.
    #[arg(long)]
    verify: bool,
    /// The holder's card: the manifest must be signed by a key on it.
    #[arg(long, value_name = "CARD")]
    card: Option<PathBuf>,
}

/// Does it.
pub fn run(command: Command, output: Output) -> Outcome {
    match command {
        Command::Seal(arguments) => seal_dataset(arguments, output),
        Command::Publish(arguments) => wait_for(publish(arguments, output)),
        Command::Inspect(arguments) => inspect(&arguments, output),
    }
}

fn seal_dataset(arguments: SealArguments, output: Output) -> Outcome {
    let card: Signed<PartyCard> = files::read_signed(&arguments.card)?;
    let mut random = SystemRandom::new();
    let manifest_key = keyfile::read(&arguments.manifest_key, Purpose::Manifest)?;
    let manifest_key = cordon_crypto::SigningKey::from_seed(manifest_key);
    if !card.value().manifest_keys.contains(&manifest_key.verifying_key()) {
        let error = "the card does not list this manifest key: the broker would refuse the dataset";
        return Err(Failure::refused(anyhow::anyhow!(error)));
    }
    let subject_key = keyfile::read(&arguments.subject_key, Purpose::Subject)?;
    let sealing = Sealing {
        id: DatasetVersion {
            holder: card.value().party.clone(),
            dataset: arguments.dataset.clone(),
            version: arguments.version.get(),
        },
        tables: inputs(&arguments)?,
        manifest_key: &manifest_key,
        subject_key: &subject_key,
        broker: card.value(),
        tolerance: Tolerance {
            strict: arguments.strict,
            max_rejected: arguments.max_rejected,
            allow_empty: arguments.allow_empty,
        },
        stop: stop_on_signals()?,
    };
    let progress = output.bytes_bar(0);
    let sealed = seal(&sealing, &arguments.out, now(), &mut random, &progress);
    progress.finish_and_clear();
    let sealed = sealed?;
    for report in sealed.reports.iter().filter(|report| report.is_notable()) {
        output.note(&format!("warning: {report}"));
    }
    // Each file was read back after it was written.
    show(&sealed.manifest, None, output)
}

fn inputs(arguments: &SealArguments) -> Result<Vec<TableInput>> {
    let subject = arguments.subject.clone().map_or_else(|| SUBJECT.parse(), Ok)?;
    let mut tables = Vec::new();
    if let Some(input) = &arguments.input {
        let files = ndjson_files(input)?;
        for path in &arguments.views {
            let source = TableSource::View {
                view: view::read(path)?,
                files: files.clone(),
                subject: subject.clone(),
            };
            tables.push(TableInput { name: table_name(path)?, source });
        }
    }
    for file in &arguments.csv {
        let source = TableSource::Csv { file: file.clone(), subject: subject.clone() };
        tables.push(TableInput { name: table_name(file)?, source });
    }
    let mut names = BTreeSet::new();
    match tables.iter().find(|table| !names.insert(&table.name)) {
        Some(twice) => {
            bail!("two tables would be called `{}`: rename one of the files", twice.name)
        }
        None => Ok(tables),
    }
}

/// A table is named after the file that it comes from.
fn table_name(path: &Path) -> Result<TableName> {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let name = stem.to_lowercase().replace('-', "_");
    name.parse().with_context(|| format!("`{name}` cannot be the name of a table: rename the file"))
}

async fn publish(arguments: PublishArguments, output: Output) -> Outcome {
    let (person, staff) = arguments.at.connect()?;
    let hub = arguments.hub.connect(&person).await?;
    let progress = output.bytes_bar(0);
    let recorded = holder::publish(&staff, &hub, &arguments.folder, &progress).await?;
    progress.finish_and_clear();
    output.show(&recorded, || format!("published {}", recorded.digest))
}

fn inspect(arguments: &InspectArguments, output: Output) -> Outcome {
    let manifest = holder::manifest(&arguments.folder)?;
    if let Some(card) = &arguments.card {
        let card: Signed<PartyCard> = files::read_signed(card)?;
        let card = card.value();
        let own = card.party == manifest.value().holder
            && card.manifest_keys.contains(&manifest.signer());
        if !own {
            let error =
                anyhow!("the manifest is not signed by a key on the card of `{}`", card.party);
            return Err(Failure::verification(error));
        }
    }
    let mut verified = None;
    if arguments.verify {
        verify_files(manifest.value(), &SealedFolder::new(&arguments.folder))
            .map_err(Failure::verification)?;
        verified = Some(manifest.value().tables.iter().map(|table| table.files.len()).sum());
    }
    show(&manifest, verified, output)
}

fn show(manifest: &Signed<Manifest>, verified: Option<usize>, output: Output) -> Outcome {
    let summary = Summary::of(manifest.value());
    let (digest, signer) = (manifest.digest(), manifest.signer());
    let answer = json!({
        "manifest": digest, "signed_by": signer, "files_verified": verified, "dataset": summary,
    });
    output.show(&answer, || {
        let mut rows = table(["table", "column", "type", "nullable", "rows"]);
        for sealed in &summary.tables {
            for column in &sealed.columns {
                let kind = serde_json::to_value(column.kind).unwrap_or_default();
                rows.add_row([
                    sealed.name.to_string(),
                    column.name.to_string(),
                    kind.as_str().unwrap_or_default().to_owned(),
                    column.nullable.to_string(),
                    sealed.rows.to_string(),
                ]);
            }
        }
        let mut files = table(["file", "rows", "bytes", "ciphertext"]);
        for file in summary.tables.iter().flat_map(|sealed| &sealed.files) {
            files.add_row([
                file.path.clone(),
                file.rows.to_string(),
                file.size_bytes.to_string(),
                file.sha256.to_string(),
            ]);
        }
        let rejected: u64 = summary.tables.iter().map(|sealed| sealed.rejected).sum();
        let verified = verified.map_or(String::new(), |files| format!(", {files} files verified"));
        let fingerprint = signer.fingerprint();
        format!(
            "{} / {} version {}, sealed {}\nmanifest   {digest}\nsigned by  {fingerprint}\n\
             {} bytes of ciphertext{verified}, {rejected} records rejected\n{rows}\n{files}",
            summary.holder,
            summary.dataset,
            summary.version,
            rfc3339(summary.created),
            summary.size_bytes
        )
    })
}
