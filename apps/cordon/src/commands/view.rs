//! `cordon view`: SQL on FHIR over your own clear records.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use cordon_clinical::table::RunReport;
use cordon_clinical::view::CompiledView;
use serde_json::{Value, json};

use crate::failure::Outcome;
use crate::files;
use crate::ops::view::{self, Format};
use crate::output::Output;

pub const EXAMPLE: &str = "Example:\n  \
    cordon view run --view patient --input Patient.ndjson --format csv";

/// What is done with a view.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a view. A rejected view, or a record that it fails on, exits 3.
    #[command(after_help = EXAMPLE)]
    Run(RunArguments),
}

/// Which view, over what.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// A ViewDefinition, or the name of one that comes along: patient, encounter, condition,
    /// observation, medication, claim_line, claim_diagnosis.
    #[arg(long, value_name = "VIEW")]
    view: PathBuf,
    /// The records.
    #[arg(long, value_name = "NDJSON")]
    input: PathBuf,
    /// How the table is written.
    #[arg(long, value_enum)]
    format: Format,
    /// Where it goes [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Does it.
pub fn run(command: Command, output: Output) -> Outcome {
    let Command::Run(arguments) = command;
    let view = CompiledView::parse(&read(&arguments.view)?)?;
    for warning in view.warnings() {
        output.note(&format!("warning: {} at `{}`", warning.message, warning.pointer));
    }
    let within = || format!("`{}`", arguments.input.display());
    let file = File::open(&arguments.input).with_context(within)?;
    let progress = output.bytes_bar(file.metadata().with_context(within)?.len());
    let input = BufReader::with_capacity(1 << 20, file);
    let format = arguments.format;
    let report = match &arguments.out {
        Some(path) => {
            let report = into_file(path, |out| view::run(&view, input, out, format, &progress))?;
            progress.finish_and_clear();
            return output.show(&summary(&report), || text(&report));
        }
        None if format == Format::Parquet && io::stdout().is_terminal() => {
            let advice = "parquet is not for terminals: name a file with `--out`";
            return Err(anyhow::anyhow!(advice).into());
        }
        None => {
            let out = BufWriter::with_capacity(1 << 20, io::stdout());
            view::run(&view, input, out, format, &progress)?
        }
    };
    // Standard output holds the table.
    progress.finish_and_clear();
    let said = if output.is_json() { summary(&report).to_string() } else { text(&report) };
    output.note(&said);
    Ok(())
}

/// The text of a view: a file, or one of those that come along.
pub fn read(view: &Path) -> Result<Vec<u8>> {
    let packed = view.to_str().and_then(cordon_clinical::views::find);
    match packed {
        Some(packed) if !view.exists() => Ok(packed.json.as_bytes().to_vec()),
        None if !view.exists() => {
            let names: Vec<_> =
                cordon_clinical::views::pack().iter().map(|packed| packed.name).collect();
            anyhow::bail!(
                "there is no file `{}`, and no view of that name comes along: there are {}",
                view.display(),
                names.join(", ")
            )
        }
        _ => files::read(view),
    }
}

/// Writes a file that appears only when it is whole.
fn into_file<T>(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<T>) -> Result<T> {
    let partial = path.with_added_extension("partial");
    let within = || format!("cannot write `{}`", path.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial).with_context(within)?);
    let done = write(&mut out).and_then(|done| {
        out.flush().with_context(within)?;
        std::fs::rename(&partial, path).with_context(within)?;
        Ok(done)
    });
    if done.is_err() {
        // A leftover is overwritten the next time anyway.
        let _ = std::fs::remove_file(&partial);
    }
    done
}

fn summary(report: &RunReport) -> Value {
    json!({
        "lines": report.lines, "resources": report.resources, "filtered": report.filtered,
        "other_types": report.other_types, "rows": report.rows,
        "incomplete_dates": report.incomplete_dates, "rounded_decimals": report.rounded_decimals,
    })
}

fn text(report: &RunReport) -> String {
    let RunReport { rows, resources, other_types, .. } = report;
    format!("{rows} rows from {resources} resources; {other_types} of other types")
}
