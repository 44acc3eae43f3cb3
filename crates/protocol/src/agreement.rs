//! The agreement: everything that people approve and that the TEE later proves it runs.
//!
//! It is immutable. Its digest is what approvals sign, what the evidence binds and what every
//! grant names; any change is a new agreement. It embeds the keys of every party, so that the
//! guard needs no directory: each broker compares the entries with its own.

use std::collections::{BTreeMap, BTreeSet};

use cordon_crypto::dsse::Document;
use cordon_crypto::{RecipientKey, VerifyingKey};
use cordon_types::{
    AgreementName, ColumnName, DatasetId, Milliseconds, OutputColumn, ParameterName, PartyId,
    PersonId, ProgramName, Sha256Digest, StudyId, TableName, UnixSeconds,
};
use serde::{Deserialize, Serialize};

use crate::V1;
use crate::evidence::{SandboxLevel, TeeKind};
use crate::grant::KeyName;
use crate::party::{Profile, Role};
use crate::platform::ReleaseRule;
use crate::run::ParameterValue;

/// An agreement, signed by its requester.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Format version.
    pub v: V1,
    /// The study that this is a version of.
    pub study: StudyId,
    /// Name within the study.
    pub name: AgreementName,
    /// One line for people.
    pub title: String,
    /// Why.
    pub purpose: Purpose,
    /// `development` if any part of it is; production brokers refuse that.
    pub profile: Profile,
    /// Every data holder, sorted by party.
    pub holders: Vec<Holder>,
    /// Who may request runs; signs this agreement.
    pub requester: Person,
    /// Who may open results, sorted by party and person.
    pub recipients: Vec<Person>,
    /// What runs.
    pub program: Program,
    /// Where it may run.
    pub platform: Platform,
    /// What may leave.
    pub output: OutputPolicy,
    /// How many holders' brokers must cosign a log head before a grant or clearance takes effect.
    pub witness_quorum: u32,
    /// How often and how long.
    pub limits: Limits,
    /// Not valid before.
    pub not_before: UnixSeconds,
    /// Not valid from then on.
    pub not_after: UnixSeconds,
}

impl Document for Agreement {
    const PAYLOAD_TYPE: &'static str = "application/vnd.cordon.agreement.v1+json";
}

/// Why data is used, in the words that data protection officers need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purpose {
    /// The research question.
    pub statement: String,
    /// GA4GH DUO terms, for example `DUO:0000006`.
    pub duo: Vec<String>,
    /// Legal basis, for example `GDPR Art. 9(2)(j)`.
    pub legal_basis: String,
    /// References of ethics votes and data use agreements.
    pub references: Vec<String>,
}

/// A data holder's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The organisation.
    pub party: PartyId,
    /// Signs grants, leases and releases.
    pub broker_key: VerifyingKey,
    /// Origin of its log.
    pub log_origin: String,
    /// Signs its log's checkpoints.
    pub log_key: VerifyingKey,
    /// Cosigns the other holders' logs.
    pub witness_key: VerifyingKey,
    /// Opens result shares.
    pub box_key: RecipientKey,
    /// May sign its manifests.
    pub manifest_keys: Vec<VerifyingKey>,
    /// Its datasets, sorted by id.
    pub datasets: Vec<DatasetTerms>,
    /// Who must approve at its broker.
    pub approvals: ApprovalRule,
    /// Who gets review copies, sorted by person; empty if the gate suffices.
    pub reviewers: Vec<Person>,
}

/// One dataset, and what of it may be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetTerms {
    /// The dataset; grants pin the version.
    pub dataset: DatasetId,
    /// Digest of its `DatasetSchema`.
    pub schema: Sha256Digest,
    /// Tables and the columns whose keys may be released, sorted by table. The subject column of
    /// each table is always among them.
    pub columns: BTreeMap<TableName, Vec<ColumnName>>,
}

/// m distinct persons, together holding each of the roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// How many distinct persons.
    pub persons: u32,
    /// Each of these roles must be held by at least one of them.
    pub roles: Vec<Role>,
}

/// A person whose keys the agreement pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The organisation that the person acts for.
    pub party: PartyId,
    /// The person.
    pub person: PersonId,
    /// Signs for the person.
    pub signing_key: VerifyingKey,
    /// Opens boxes for the person.
    pub box_key: RecipientKey,
}

/// What runs: an engine, a query, and the tables that the query sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Name for people.
    pub name: ProgramName,
    /// SHA-256 of the engine's executable: the guard runs these bytes and no others.
    pub engine: Sha256Digest,
    /// One SQL statement; parameters as `$name`.
    pub query: String,
    /// The parameters and the values that a run may choose.
    pub parameters: BTreeMap<ParameterName, ParameterBound>,
    /// The tables that the query sees: each the union of one sealed table per source.
    pub tables: BTreeMap<TableName, Vec<TableSource>>,
    /// The columns that planning the query touches, per query table, sorted; planning again
    /// before a run must give the same.
    pub touched: BTreeMap<TableName, Vec<ColumnName>>,
    /// The columns of the result.
    pub result: Vec<ResultColumn>,
}

/// The values that a run request may choose for a parameter. More than one value makes results
/// comparable, so `cordon-govern` then insists on review of every output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterBound {
    /// The allowed values, all of one type, sorted and distinct.
    pub one_of: Vec<ParameterValue>,
}

/// One sealed table under a query table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSource {
    /// Whose.
    pub holder: PartyId,
    /// Which dataset.
    pub dataset: DatasetId,
    /// Which table in it.
    pub table: TableName,
}

/// A column of the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultColumn {
    /// Its name.
    pub name: OutputColumn,
    /// What it is to the gate.
    pub kind: ResultKind,
}

/// What a result column is to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultKind {
    /// A grouping key.
    Key,
    /// A count of rows or of patients.
    Count,
    /// A sum.
    Sum,
    /// A mean or another allow-listed statistic.
    Mean,
}

/// Where it may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// Accepted kinds of TEE, sorted.
    pub tees: Vec<TeeKind>,
    /// Accepted measurements of the guard, lower-case hex, sorted.
    pub measurements: Vec<String>,
    /// Accepted releases of the guard, sorted: each holder's reference values say what they
    /// measure as.
    pub releases: Vec<ReleaseRule>,
    /// The weakest confinement of the worker that is acceptable.
    pub sandbox: SandboxLevel,
}

/// What may leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputPolicy {
    /// The gate that judges the output in the guard.
    pub gate: Gate,
    /// Whether people must also look.
    pub review: Review,
    /// Most rows.
    pub max_rows: u32,
    /// Most bytes of the result document.
    pub max_bytes: u32,
}

/// The gates of this version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Gate {
    /// Aggregate tables: disclosure control by cell size.
    Table(TableGate),
}

/// Rules for aggregate tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableGate {
    /// Fewest patients behind a cell that is shown.
    pub min_cell: u32,
    /// What happens to a row with no patients.
    pub zeros: ZeroPolicy,
    /// Counts are rounded to a multiple of this; 1 rounds nothing.
    pub round_to: u32,
}

/// What happens to cells of no patients: an empty cell can itself disclose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroPolicy {
    /// Zeros are shown.
    Show,
    /// Zeros are suppressed like small cells.
    Suppress,
}

/// Whether people look at the output before it is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Review {
    /// A reviewer of each holder clears the sealed review copy.
    EachHolder,
    /// The agreement says that the gate suffices.
    GateSuffices,
}

/// How often and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Runs in all; each broker counts for itself.
    pub max_runs: u32,
    /// A run is killed after this.
    pub deadline_ms: Milliseconds,
    /// A lease lasts this long unless renewed.
    pub lease_ms: Milliseconds,
    /// The guard renews this often.
    pub heartbeat_ms: Milliseconds,
    /// Memory of the worker.
    pub memory_bytes: u64,
}

impl Agreement {
    /// The entry of a holder.
    pub fn holder(&self, party: &PartyId) -> Option<&Holder> {
        self.holders.iter().find(|h| h.party == *party)
    }

    /// The keys that a grant names for one dataset of a holder, no fewer and no more: of each of
    /// its tables that the program uses, the footer key and the keys of the agreed columns, in
    /// the order in which [`crate::grant::GrantedDataset::keys`] lists them. Empty if the program
    /// does not use the dataset; then a grant leaves it out.
    pub fn granted_keys(&self, holder: &PartyId, terms: &DatasetTerms) -> Vec<KeyName> {
        let sources = self.program.tables.values().flatten();
        let used: BTreeSet<_> = sources
            .filter(|s| s.holder == *holder && s.dataset == terms.dataset)
            .map(|s| &s.table)
            .collect();
        let mut keys = BTreeSet::new();
        for table in used {
            let columns = terms.columns.get(table).into_iter().flatten().cloned();
            for column in std::iter::once(None).chain(columns.map(Some)) {
                keys.insert(KeyName { table: table.clone(), column });
            }
        }
        keys.into_iter().collect()
    }
}
