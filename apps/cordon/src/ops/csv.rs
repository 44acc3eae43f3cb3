//! Sealing a CSV file: the schema is inferred from all of it, patients become pseudonyms.

use std::path::Path;

use anyhow::{Context as _, Result};
use cordon_clinical::csv::{CsvColumn, CsvOptions, CsvReader, CsvSchema, CsvType, infer};
use cordon_clinical::keys::KeyPolicy;
use cordon_clinical::view::ColumnKind;
use cordon_crypto::{canonical, sha256};
use cordon_dataset::{DatasetSealer, SealedTable};
use cordon_types::{ColumnName, TableName};
use indicatif::ProgressBar;

use super::open_table::OpenTable;
use super::refusals::{Renamed, TableReport, first_rejected};
use super::seal::{BATCH_BYTES, Sealing, open, subject_pseudonym, table_schema};

/// Identifiers in the subject column count as those of FHIR patients, so that a CSV table joins
/// with tables made by views.
const PATIENT: &str = "Patient";
/// Digits after the point that a sealed decimal keeps.
const SEALED_SCALE: u8 = 4;

/// What [`super::seal::TableSource::Csv`] holds.
pub(super) struct CsvInput<'a> {
    pub(super) name: &'a TableName,
    pub(super) file: &'a Path,
    pub(super) subject: &'a ColumnName,
}

/// Seals one file in two passes, both streaming: one to see what its columns are, one to seal.
pub(super) fn seal_csv(
    sealing: &Sealing<'_>,
    sealer: &DatasetSealer,
    input: &CsvInput<'_>,
    folder: &Path,
    progress: &ProgressBar,
) -> Result<(SealedTable, TableReport)> {
    let CsvInput { name, file, subject } = *input;
    let within = || format!("`{}`", file.display());
    let open = || Ok::<_, anyhow::Error>(sealing.stop.reads(open(file)?));
    // All records: a type that holds for the first thousand only would refuse the rest later.
    let inferred =
        infer(open()?, CsvOptions::default().delimiter, u64::MAX).with_context(within)?;
    let schema = sealed_schema(&inferred, subject).with_context(within)?;
    let source = sha256(&[&canonical::to_canonical(&schema.to_json())?]);
    let table = table_schema(name, subject, source, &schema.arrow())?;
    let mut table = OpenTable::new(sealing.tolerance, sealer, table, folder)?;

    let max_errors = if sealing.tolerance.strict { 0 } else { u64::MAX };
    let options = CsvOptions { max_errors, ..CsvOptions::default() };
    let pseudonym = |kind: &str, id: &str| subject_pseudonym(sealing.subject_key, kind, id);
    let input = progress.wrap_read(open()?);
    let mut reader = CsvReader::new(input, &schema, options, KeyPolicy::Keyed(&pseudonym))
        .with_context(within)?;
    while let Some(rows) = reader.next_batch(BATCH_BYTES).with_context(within)? {
        table.write(&rows)?;
    }
    let read = reader.report();
    let report = table.report_mut();
    report.rejected.clone_from(&read.rejected);
    report.first_rejected = first_rejected(file, &read.first_rejected);
    report.renamed = renamed(&schema);
    table.finish(read.rows + read.rejected.values().sum::<u64>())
}

fn renamed(schema: &CsvSchema) -> Vec<Renamed> {
    let renamed = schema.columns().iter().filter(|column| column.name != column.header);
    renamed
        .map(|column| Renamed { header: column.header.clone(), column: column.name.clone() })
        .collect()
}

/// The inferred schema with the subject as a key, and decimals that a sealed column would cut
/// as floats.
fn sealed_schema(inferred: &CsvSchema, subject: &ColumnName) -> Result<CsvSchema> {
    let mut columns = inferred.columns().to_vec();
    for column in &mut columns {
        if let CsvType::Value(ColumnKind::Decimal { scale, .. }) = column.column_type
            && scale > SEALED_SCALE
        {
            column.column_type = CsvType::Value(ColumnKind::Float64);
        }
    }
    let found = columns.iter_mut().find(|column| column.name == subject.as_str());
    let found = found.with_context(|| {
        let names: Vec<_> =
            inferred.columns().iter().map(|c: &CsvColumn| c.name.as_str()).collect();
        format!("no column `{subject}` to name the patient: there are `{}`", names.join("`, `"))
    })?;
    found.column_type = CsvType::Key { resource: PATIENT.to_owned() };
    // A record without one is refused by its line.
    found.nullable = false;
    Ok(CsvSchema::new(columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(file: &str, subject: &str) -> Result<CsvSchema> {
        let inferred = infer(file.as_bytes(), b',', u64::MAX).unwrap();
        sealed_schema(&inferred, &subject.parse().unwrap())
    }

    #[test]
    fn the_subject_is_a_key_and_fine_decimals_are_floats() {
        let schema = schema("mrn,dose,latitude\n17,1.25,52.520008\n", "mrn").unwrap();
        let kinds: Vec<_> = schema.columns().iter().map(|c| c.column_type.clone()).collect();
        assert_eq!(kinds[0], CsvType::Key { resource: PATIENT.into() });
        assert!(matches!(kinds[1], CsvType::Value(ColumnKind::Decimal { scale: 2, .. })));
        assert_eq!(kinds[2], CsvType::Value(ColumnKind::Float64));
    }

    #[test]
    fn a_missing_subject_is_named_with_the_columns_that_there_are() {
        let error = schema("mrn,dose\n1,2\n", "patient").unwrap_err().to_string();
        assert!(error.contains("`patient`") && error.contains("`mrn`, `dose`"), "{error}");
    }
}
