//! From a draft to an agreement: look up everybody's keys, plan the query without data, pin what
//! it touches, sign.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use cordon_crypto::dsse::Signed;
use cordon_crypto::{canonical, sha256};
use cordon_protocol::agreement::{
    Agreement, ApprovalRule, DatasetTerms, Gate, Holder, Limits, OutputPolicy, ParameterBound,
    Person, Platform, Program, Purpose, Review, TableGate, TableSource, ZeroPolicy,
};
use cordon_protocol::dataset::TableSchema;
use cordon_protocol::evidence::{SandboxLevel, TeeKind};
use cordon_protocol::message::MAX_REVIEW_BYTES;
use cordon_protocol::party::{PartyCard, PersonCard, Profile};
use cordon_protocol::run::ParameterValue;
use cordon_protocol::worker::{Job, JobLimits, JobSource, Mode, PlanReport};
use cordon_protocol::{Manifest, V1};
use cordon_types::{
    AgreementName, ColumnName, DatasetId, Milliseconds, ParameterName, PartyId, PersonId,
    ProgramName, Sha256Digest, StudyId, TableName, UnixSeconds,
};
use serde::{Deserialize, Serialize};

use crate::person::{PersonKeys, named};

/// What a researcher writes: `study.json`. All that is not in it has a safe default or is looked
/// up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// The study.
    pub study: StudyId,
    /// This version of it.
    pub name: AgreementName,
    /// One line for people.
    pub title: String,
    /// Why.
    pub purpose: Purpose,
    /// One SQL statement; parameters as `$name`.
    pub query: String,
    /// The values that runs may choose, by parameter.
    #[serde(default)]
    pub parameters: BTreeMap<ParameterName, Vec<ParameterValue>>,
    /// The tables that the query sees.
    pub tables: BTreeMap<TableName, Vec<TableSource>>,
    /// Who may open the result; the requester always may.
    #[serde(default)]
    pub recipients: Vec<NamedPerson>,
    /// Who must approve at each holder.
    pub approvals: ApprovalRule,
    /// `each_holder`, or `gate_suffices` where the agreement says so.
    #[serde(default = "review_by_default")]
    pub review: Review,
    /// Each holder's reviewers, where outputs are reviewed.
    #[serde(default)]
    pub reviewers: Vec<NamedPerson>,
    /// Fewest patients behind a cell.
    #[serde(default = "min_cell_by_default")]
    pub min_cell: u32,
    /// Whether cells of no patients are shown.
    #[serde(default = "zeros_by_default")]
    pub zeros: ZeroPolicy,
    /// Counts are rounded to a multiple of this.
    #[serde(default = "one")]
    pub round_to: u32,
    /// How many runs.
    #[serde(default = "one")]
    pub max_runs: u32,
    /// For how many days.
    #[serde(default = "days_by_default")]
    pub valid_days: u32,
    /// A run is killed after this.
    #[serde(default = "deadline_by_default")]
    pub deadline_seconds: u32,
    /// Memory of the worker in MiB.
    #[serde(default = "memory_by_default")]
    pub memory_mib: u32,
    /// How many brokers must cosign each log head; all other holders unless it says less.
    #[serde(default)]
    pub witness_quorum: Option<u32>,
}

/// A person by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedPerson {
    /// The organisation.
    pub party: PartyId,
    /// The person.
    pub person: PersonId,
}

fn review_by_default() -> Review {
    Review::EachHolder
}
fn zeros_by_default() -> ZeroPolicy {
    ZeroPolicy::Suppress
}
fn min_cell_by_default() -> u32 {
    11
}
fn one() -> u32 {
    1
}
fn days_by_default() -> u32 {
    90
}
fn deadline_by_default() -> u32 {
    600
}
fn memory_by_default() -> u32 {
    512
}

/// What a draft is completed with.
pub struct Known<'a> {
    /// Cards of the holders.
    pub parties: &'a [Signed<PartyCard>],
    /// Cards of recipients and reviewers.
    pub people: &'a [Signed<PersonCard>],
    /// The newest manifest of each dataset.
    pub manifests: &'a [Signed<Manifest>],
    /// The engine's executable.
    pub engine: &'a [u8],
    /// Measurements of the guards that may run it.
    pub measurements: &'a [String],
}

/// How long a lease lasts and how often it is renewed: any party stops a run within one lease.
const LEASE_MS: u64 = 4_000;
const HEARTBEAT_MS: u64 = 1_000;
/// Most rows and bytes of a result that people can review.
const MAX_ROWS: u32 = 5_000;
const MAX_RESULT_BYTES: u32 = 1_048_576;
/// Planning needs little memory and no data.
const PLAN_MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// Completes and signs an agreement.
///
/// # Errors
/// If somebody or something is not known, or the query cannot be planned; the planner says what
/// to change.
pub fn propose(
    draft: &Draft,
    known: &Known<'_>,
    requester: &PersonKeys,
    now: UnixSeconds,
) -> Result<Signed<Agreement>> {
    let schemas = Schemas::of(draft, known)?;
    let plan = plan(draft, known.engine, &schemas)?;
    let holders = holders(draft, known, &schemas, &plan)?;
    let development = holders.iter().any(|(_, profile)| *profile == Profile::Development);
    let holders: Vec<Holder> = holders.into_iter().map(|(holder, _)| holder).collect();
    let others = u32::try_from(holders.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let copies = holders.iter().map(|holder| holder.reviewers.len()).max().unwrap_or_default();
    let max_bytes = MAX_RESULT_BYTES.min(u32::try_from(MAX_REVIEW_BYTES / copies.max(1))?);
    let mut recipients = vec![requester.in_agreement()];
    for person in &draft.recipients {
        recipients.push(look_up(known, person)?);
    }
    recipients.sort_by(|a, b| (&a.party, &a.person).cmp(&(&b.party, &b.person)));
    recipients.dedup();
    let bound = |values: &Vec<ParameterValue>| {
        let one_of: BTreeSet<_> = values.iter().cloned().collect();
        ParameterBound { one_of: one_of.into_iter().collect() }
    };
    let mut measurements = known.measurements.to_vec();
    measurements.sort();
    measurements.dedup();
    let mut tables = draft.tables.clone();
    tables.values_mut().for_each(|sources| sources.sort());
    let agreement = Agreement {
        v: V1,
        study: draft.study.clone(),
        name: draft.name.clone(),
        title: draft.title.clone(),
        purpose: draft.purpose.clone(),
        profile: if development { Profile::Development } else { Profile::Production },
        holders,
        requester: requester.in_agreement(),
        recipients,
        program: Program {
            name: "sql".parse::<ProgramName>()?,
            engine: sha256(&[known.engine]),
            query: draft.query.clone(),
            parameters: draft.parameters.iter().map(|(n, v)| (n.clone(), bound(v))).collect(),
            tables,
            touched: plan.touched,
            result: plan.result,
        },
        platform: Platform {
            tees: vec![TeeKind::Software],
            measurements,
            releases: Vec::new(),
            sandbox: SandboxLevel::Namespaces,
        },
        output: OutputPolicy {
            gate: Gate::Table(TableGate {
                min_cell: draft.min_cell,
                zeros: draft.zeros,
                round_to: draft.round_to,
            }),
            review: draft.review,
            max_rows: MAX_ROWS,
            max_bytes,
        },
        witness_quorum: draft.witness_quorum.unwrap_or(others),
        limits: Limits {
            max_runs: draft.max_runs,
            deadline_ms: Milliseconds::new(u64::from(draft.deadline_seconds) * 1000),
            lease_ms: Milliseconds::new(LEASE_MS),
            heartbeat_ms: Milliseconds::new(HEARTBEAT_MS),
            memory_bytes: u64::from(draft.memory_mib) * 1024 * 1024,
        },
        not_before: now,
        not_after: now.plus_seconds(u64::from(draft.valid_days) * 86_400),
    };
    Ok(Signed::sign(agreement, &requester.signing)?)
}

/// The schemas under the query's tables.
struct Schemas {
    /// Per query table and source, in the agreement's order.
    tables: BTreeMap<TableName, Vec<(TableSource, TableSchema)>>,
    /// Digest of each dataset's whole schema.
    digests: BTreeMap<(PartyId, DatasetId), Sha256Digest>,
}

impl Schemas {
    fn of(draft: &Draft, known: &Known<'_>) -> Result<Self> {
        let mut tables = BTreeMap::new();
        let mut digests = BTreeMap::new();
        for (name, sources) in &draft.tables {
            let mut sources = sources.clone();
            sources.sort();
            let mut schemas = Vec::with_capacity(sources.len());
            for source in sources {
                let of_source = |m: &&Signed<Manifest>| {
                    m.value().holder == source.holder && m.value().dataset == source.dataset
                };
                let manifest = known
                    .manifests
                    .iter()
                    .filter(of_source)
                    .max_by_key(|m| m.value().version)
                    .with_context(|| {
                        format!("`{}` has published no dataset `{}`", source.holder, source.dataset)
                    })?;
                let schema = manifest.value().schema();
                let digest = sha256(&[&canonical::to_canonical(&schema)?]);
                digests.insert((source.holder.clone(), source.dataset.clone()), digest);
                let table = schema.tables.into_iter().find(|t| t.name == source.table);
                let table = table.with_context(|| {
                    format!("dataset `{}` has no table `{}`", source.dataset, source.table)
                })?;
                schemas.push((source, table));
            }
            tables.insert(name.clone(), schemas);
        }
        Ok(Self { tables, digests })
    }
}

/// Runs the engine in plan mode, confined as it will be later, with schemas and no data.
fn plan(draft: &Draft, engine: &[u8], schemas: &Schemas) -> Result<PlanReport> {
    let source = |(source, schema): &(TableSource, TableSchema)| JobSource {
        holder: source.holder.clone(),
        schema: schema.clone(),
        columns: schema.columns.iter().map(|c| c.name.clone()).collect(),
        files: Vec::new(),
    };
    let tables = schemas.tables.iter();
    let mut parameters = BTreeMap::new();
    for (name, values) in &draft.parameters {
        let value = values.first().with_context(|| format!("parameter `{name}` has no value"))?;
        parameters.insert(name.clone(), value.clone());
    }
    let job = Job {
        mode: Mode::Plan,
        query: draft.query.clone(),
        parameters,
        tables: tables.map(|(n, s)| (n.clone(), s.iter().map(source).collect())).collect(),
        holders: holder_ids(draft).into_iter().collect(),
        limits: JobLimits {
            memory_bytes: PLAN_MEMORY_BYTES,
            max_rows: MAX_ROWS,
            max_output_bytes: MAX_RESULT_BYTES,
        },
    };
    super::plan::plan(engine, &job)
}

fn holder_ids(draft: &Draft) -> BTreeSet<PartyId> {
    draft.tables.values().flatten().map(|source| source.holder.clone()).collect()
}

fn holders(
    draft: &Draft,
    known: &Known<'_>,
    schemas: &Schemas,
    plan: &PlanReport,
) -> Result<Vec<(Holder, Profile)>> {
    let mut holders = Vec::new();
    for party in holder_ids(draft) {
        let card = known.parties.iter().find(|c| c.value().party == party);
        let card = card.with_context(|| format!("the card of `{party}` is not known"))?.value();
        let mut datasets: BTreeMap<DatasetId, BTreeMap<TableName, BTreeSet<ColumnName>>> =
            BTreeMap::new();
        for (name, sources) in &schemas.tables {
            let touched = plan.touched.get(name).context("the plan leaves out a table")?;
            for (source, _) in sources.iter().filter(|(s, _)| s.holder == party) {
                let tables = datasets.entry(source.dataset.clone()).or_default();
                tables.entry(source.table.clone()).or_default().extend(touched.iter().cloned());
            }
        }
        let terms = datasets.into_iter().map(|(dataset, tables)| {
            let columns = |(t, c): (TableName, BTreeSet<ColumnName>)| (t, c.into_iter().collect());
            let schema = schemas.digests.get(&(party.clone(), dataset.clone())).copied();
            Ok(DatasetTerms {
                schema: schema.context("a dataset without a schema")?,
                dataset,
                columns: tables.into_iter().map(columns).collect(),
            })
        });
        let mut reviewers = Vec::new();
        if draft.review == Review::EachHolder {
            for person in draft.reviewers.iter().filter(|r| r.party == party) {
                reviewers.push(look_up(known, person)?);
            }
            if reviewers.is_empty() {
                bail!(
                    "`{party}` has no reviewer: name one, or let the agreement say `gate_suffices`"
                );
            }
            reviewers.sort_by(|a, b| a.person.cmp(&b.person));
        }
        let holder = Holder {
            party: party.clone(),
            broker_key: card.broker_key,
            log_origin: card.log_origin.clone(),
            log_key: card.log_key,
            witness_key: card.witness_key,
            box_key: card.box_key.clone(),
            manifest_keys: card.manifest_keys.clone(),
            datasets: terms.collect::<Result<_>>()?,
            approvals: draft.approvals.clone(),
            reviewers,
        };
        holders.push((holder, card.profile));
    }
    Ok(holders)
}

fn look_up(known: &Known<'_>, wanted: &NamedPerson) -> Result<Person> {
    let card = known
        .people
        .iter()
        .map(Signed::value)
        .find(|card| card.party == wanted.party && card.person == wanted.person);
    let card = card.with_context(|| {
        format!("the card of `{}/{}` is not known", wanted.party, wanted.person)
    })?;
    Ok(named(card))
}
