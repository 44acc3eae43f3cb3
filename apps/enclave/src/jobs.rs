//! What the worker is told: a job to plan without keys, and the same to run with file keys.

use std::collections::BTreeMap;

use cordon_protocol::agreement::Agreement;
use cordon_protocol::dataset::{ManifestFile, aad_prefix, file_key};
use cordon_protocol::frame::MAX_FRAME_BYTES;
use cordon_protocol::grant::KeyName;
use cordon_protocol::worker::{
    Job, JobFile, JobKey, JobKeys, JobLimits, JobSource, MAX_JOB_KEYS, Mode, PlanReport,
};
use cordon_types::{PartyId, TableName};

use crate::failure::Code;
use crate::grants::Granted;
use crate::inputs::{Inputs, Source};
use crate::order::Order;

/// The job of planning: the same query, parameters and schemas, and no file.
pub(crate) fn plan_job(order: &Order, inputs: &Inputs) -> Result<Job, Code> {
    job(order, inputs, Mode::Plan, |_| Ok(Vec::new()))
}

/// Compares a plan with what people approved: the touched columns and the result's, exactly.
pub(crate) fn check_plan(agreement: &Agreement, plan: &PlanReport) -> Result<(), Code> {
    let program = &agreement.program;
    if plan.touched == program.touched && plan.result == program.result {
        Ok(())
    } else {
        Err(Code::PlanDiffers)
    }
}

/// The job of running, the files behind its numbers, and their keys.
pub(crate) struct RunJob<'a> {
    /// The job.
    pub job: Job,
    /// File number `n` is at index `n`.
    pub files: Vec<&'a ManifestFile>,
    /// Footer and agreed columns of each file.
    pub keys: JobKeys,
}

/// Derives the file keys and numbers the files. The column keys stay here.
pub(crate) fn run_job<'a>(
    order: &'a Order,
    inputs: &'a Inputs,
    granted: &[Granted],
) -> Result<RunJob<'a>, Code> {
    let granted: BTreeMap<&PartyId, &Granted> =
        granted.iter().map(|granted| (&granted.holder, granted)).collect();
    let mut files: Vec<&ManifestFile> = Vec::new();
    let mut keys = Vec::new();
    let job = job(order, inputs, Mode::Run, |source| {
        let granted = granted.get(&source.source.holder).ok_or(Code::GrantKeys)?;
        let mut numbered = Vec::with_capacity(source.table.files.len());
        for file in &source.table.files {
            let id = u32::try_from(files.len()).map_err(|_| Code::ManifestInvalid)?;
            numbered.push(job_file(id, source, file));
            file_keys(id, source, file, granted, &mut keys)?;
            files.push(file);
        }
        Ok(numbered)
    })?;
    Ok(RunJob { job, files, keys: JobKeys::new(keys) })
}

fn job<'a>(
    order: &'a Order,
    inputs: &'a Inputs,
    mode: Mode,
    mut files: impl FnMut(&Source<'a>) -> Result<Vec<JobFile>, Code>,
) -> Result<Job, Code> {
    let agreement = &order.agreement;
    let mut tables: BTreeMap<TableName, Vec<JobSource>> = BTreeMap::new();
    for (name, sources) in &agreement.program.tables {
        let mut listed = Vec::with_capacity(sources.len());
        for source in sources {
            let source = inputs.source(agreement, source).ok_or(Code::ManifestInvalid)?;
            let files = files(&source)?;
            listed.push(JobSource {
                holder: source.source.holder.clone(),
                schema: source.schema,
                columns: source.columns,
                files,
            });
        }
        tables.insert(name.clone(), listed);
    }
    Ok(Job {
        mode,
        query: agreement.program.query.clone(),
        parameters: order.request.parameters.clone(),
        tables,
        holders: agreement.holders.iter().map(|holder| holder.party.clone()).collect(),
        limits: limits(agreement),
    })
}

/// The query's memory is half of the worker's: the rest is for the engine itself, and a query
/// that outgrows its half ends with a code and not with a crash.
fn limits(agreement: &Agreement) -> JobLimits {
    JobLimits {
        memory_bytes: agreement.limits.memory_bytes / 2,
        max_rows: agreement.output.max_rows,
        max_output_bytes: max_output_bytes(agreement),
    }
}

/// The raw table carries the support of each row and is written less tightly than the result.
pub(crate) fn max_output_bytes(agreement: &Agreement) -> u32 {
    let columns = u32::try_from(agreement.program.result.len()).unwrap_or(u32::MAX);
    let holders = u32::try_from(agreement.holders.len()).unwrap_or(u32::MAX);
    let of_holder = columns.saturating_add(1).saturating_mul(SHARE_BYTES);
    let of_row = holders.saturating_mul(of_holder);
    let support = agreement.output.max_rows.saturating_mul(of_row);
    let limit = agreement.output.max_bytes.saturating_mul(4).saturating_add(support);
    let limit = limit.saturating_add(64 * 1024);
    limit.min(u32::try_from(MAX_FRAME_BYTES).unwrap_or(u32::MAX))
}

/// A share as text: three numbers below 2^53 and their names.
const SHARE_BYTES: u32 = 96;

fn job_file(id: u32, source: &Source<'_>, file: &ManifestFile) -> JobFile {
    let manifest = &source.offer.manifest;
    let prefix = aad_prefix(&manifest.holder, &manifest.dataset, manifest.version, &file.path);
    JobFile { id, size_bytes: file.size_bytes, rows: file.rows, aad_prefix: prefix }
}

fn file_keys(
    id: u32,
    source: &Source<'_>,
    file: &ManifestFile,
    granted: &Granted,
    keys: &mut Vec<JobKey>,
) -> Result<(), Code> {
    let mut add = |column: Option<u16>, name: KeyName| {
        let dataset = &source.source.dataset;
        let key = granted.key(dataset, &name).ok_or(Code::GrantKeys)?;
        if keys.len() >= MAX_JOB_KEYS {
            return Err(Code::ManifestInvalid);
        }
        keys.push(JobKey { file: id, column, key: file_key(key, &file.path) });
        Ok(())
    };
    let table = &source.source.table;
    add(None, KeyName { table: table.clone(), column: None })?;
    for column in &source.columns {
        let mut schema = source.schema.columns.iter();
        let index = schema.position(|found| found.name == *column);
        let index = index.and_then(|index| u16::try_from(index).ok());
        let index = index.ok_or(Code::ManifestInvalid)?;
        add(Some(index), KeyName { table: table.clone(), column: Some(column.clone()) })?;
    }
    Ok(())
}
