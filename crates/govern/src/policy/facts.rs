//! What a policy is asked about, as typed values.

use std::fmt;

use cedar_policy::RestrictedExpression;
use cordon_protocol::Agreement;
use cordon_protocol::agreement::{Gate, Review};
use cordon_protocol::evidence::{SandboxLevel, TeeKind};
use cordon_protocol::release::Assurance;
use cordon_protocol::run::RunId;
use cordon_types::{PartyId, Sha256Digest, UnixSeconds};

use crate::Recognized;

/// How this broker is, when it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerState {
    /// The time of the newest entry of its log: its clock must not be behind.
    pub last_entry: UnixSeconds,
    /// Whether it has heard from its witnesses, since it started, that its log is not older than
    /// what they cosigned (DESIGN invariant 13).
    pub log_current: bool,
    /// How many of the other holders' brokers cosign its heads at present.
    pub witnesses_ready: u32,
}

/// A value that a policy can look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Bool(bool),
    Long(i64),
    Text(String),
    Set(Vec<String>),
}

/// One question to the policy. Facts are named `principal.tee`, `context.now`, ….
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub action: &'static str,
    /// Type and name of who asks.
    pub principal: (&'static str, String),
    pub agreement: String,
    facts: Vec<(&'static str, &'static str, Fact)>,
}

/// What the evidence shows of the guard.
#[derive(Clone, Debug)]
pub(crate) struct GuardFacts {
    pub tee: TeeKind,
    pub measurement: String,
    pub assurance: Assurance,
    pub sandbox: SandboxLevel,
}

#[derive(Clone, Debug)]
pub(crate) struct GrantFacts {
    pub now: UnixSeconds,
    pub approved: bool,
    pub rejected: bool,
    pub study_stopped: bool,
    pub request_issued: UnixSeconds,
    pub request_not_after: UnixSeconds,
    pub runs_used: u32,
    pub datasets: Vec<String>,
    pub keys_active: bool,
    pub broker: BrokerState,
}

#[derive(Clone, Debug)]
pub(crate) struct ClearanceFacts {
    pub now: UnixSeconds,
    pub rejected: bool,
    pub study_stopped: bool,
    pub sealed: bool,
    pub gates: Vec<String>,
    pub size_bytes: u64,
    pub reviews: usize,
    pub review_rejected: bool,
    pub earlier_releases: u32,
    pub broker: BrokerState,
}

impl Fact {
    pub fn expression(&self) -> RestrictedExpression {
        match self {
            Self::Bool(value) => RestrictedExpression::new_bool(*value),
            Self::Long(value) => RestrictedExpression::new_long(*value),
            Self::Text(value) => RestrictedExpression::new_string(value.clone()),
            Self::Set(values) => RestrictedExpression::new_set(
                values.iter().map(|value| RestrictedExpression::new_string(value.clone())),
            ),
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Long(value) => value.fmt(f),
            Self::Text(value) => write!(f, "`{value}`"),
            Self::Set(values) => write!(f, "[{}]", values.join(", ")),
        }
    }
}

impl Question {
    pub fn grant(
        agreement: &Recognized,
        key: String,
        guard: &GuardFacts,
        facts: &GrantFacts,
    ) -> Self {
        let mut question = Self::new("grant", ("Guard", key), agreement);
        let assurance = guard.assurance.as_str();
        question.add(
            "principal",
            [
                ("tee", Fact::Text(guard.tee.to_string())),
                ("measurement", Fact::Text(guard.measurement.clone())),
                ("assurance", Fact::Text(assurance.to_owned())),
                ("sandbox", rank(guard.sandbox)),
            ],
        );
        question.add(
            "context",
            [
                ("now", time(facts.now)),
                ("profile", Fact::Text(agreement.profile().to_string())),
                ("holder", Fact::Text(agreement.party().to_string())),
                ("approved", Fact::Bool(facts.approved)),
                ("rejected", Fact::Bool(facts.rejected)),
                ("study_stopped", Fact::Bool(facts.study_stopped)),
                ("request_issued", time(facts.request_issued)),
                ("request_not_after", time(facts.request_not_after)),
                ("runs_used", Fact::Long(facts.runs_used.into())),
                ("datasets", Fact::Set(facts.datasets.clone())),
                ("keys_active", Fact::Bool(facts.keys_active)),
            ],
        );
        question.add_broker(&facts.broker);
        question
    }

    pub fn clear(agreement: &Recognized, run: RunId, facts: &ClearanceFacts) -> Self {
        let mut question = Self::new("clear", ("Run", run.to_string()), agreement);
        let reviews = i64::try_from(facts.reviews).unwrap_or(i64::MAX);
        question.add(
            "context",
            [
                ("now", time(facts.now)),
                ("profile", Fact::Text(agreement.profile().to_string())),
                ("holder", Fact::Text(agreement.party().to_string())),
                ("rejected", Fact::Bool(facts.rejected)),
                ("study_stopped", Fact::Bool(facts.study_stopped)),
                ("sealed", Fact::Bool(facts.sealed)),
                ("gates", Fact::Set(facts.gates.clone())),
                ("size_bytes", long(facts.size_bytes)),
                ("reviews", Fact::Long(reviews)),
                ("review_rejected", Fact::Bool(facts.review_rejected)),
                ("earlier_releases", Fact::Long(facts.earlier_releases.into())),
            ],
        );
        question.add_broker(&facts.broker);
        question
    }

    /// The facts about one of `principal`, `resource`, `context`.
    pub fn part(&self, prefix: &str) -> impl Iterator<Item = (&'static str, &Fact)> {
        let wanted = move |(part, _, _): &&(&str, &str, Fact)| *part == prefix;
        self.facts.iter().filter(wanted).map(|(_, name, fact)| (*name, fact))
    }

    /// A fact by its full name.
    pub fn get(&self, name: &str) -> Option<&Fact> {
        let (part, name) = name.split_once('.')?;
        self.facts.iter().find(|(p, n, _)| (*p, *n) == (part, name)).map(|(_, _, fact)| fact)
    }

    /// Replaces a fact by its full name.
    #[cfg(test)]
    pub fn set(&mut self, name: &str, fact: Fact) {
        let (part, name) = name.split_once('.').expect("a full name");
        let found = self.facts.iter_mut().find(|(p, n, _)| (*p, *n) == (part, name));
        found.expect("a fact").2 = fact;
    }

    fn new(
        action: &'static str,
        principal: (&'static str, String),
        recognized: &Recognized,
    ) -> Self {
        let agreement = recognized.agreement().digest().to_string();
        let mut question = Self { action, principal, agreement, facts: Vec::new() };
        question.add_agreement(recognized.value());
        question
    }

    fn add_agreement(&mut self, agreement: &Agreement) {
        let person = |party: &PartyId, person: &dyn fmt::Display| format!("{party}/{person}");
        let requester = &agreement.requester;
        let recipients = agreement.recipients.iter().map(|p| person(&p.party, &p.person));
        let holders = agreement.holders.iter().map(|holder| holder.party.to_string());
        let tees = agreement.platform.tees.iter().map(ToString::to_string);
        let Gate::Table(gate) = &agreement.output.gate;
        let review = match agreement.output.review {
            Review::EachHolder => true,
            Review::GateSuffices => false,
        };
        self.add(
            "resource",
            [
                ("study", Fact::Text(agreement.study.to_string())),
                ("name", Fact::Text(agreement.name.to_string())),
                ("profile", Fact::Text(agreement.profile.to_string())),
                ("duo", Fact::Set(agreement.purpose.duo.clone())),
                ("legal_basis", Fact::Text(agreement.purpose.legal_basis.clone())),
                ("holders", Fact::Set(holders.collect())),
                ("requester", Fact::Text(person(&requester.party, &requester.person))),
                ("recipients", Fact::Set(recipients.collect())),
                ("engine", digest(agreement.program.engine)),
                ("tees", Fact::Set(tees.collect())),
                ("measurements", Fact::Set(agreement.platform.measurements.clone())),
                ("sandbox", rank(agreement.platform.sandbox)),
                ("min_cell", Fact::Long(gate.min_cell.into())),
                ("review", Fact::Bool(review)),
                ("witness_quorum", Fact::Long(agreement.witness_quorum.into())),
                ("max_runs", Fact::Long(agreement.limits.max_runs.into())),
                ("max_bytes", Fact::Long(agreement.output.max_bytes.into())),
                ("not_before", time(agreement.not_before)),
                ("not_after", time(agreement.not_after)),
            ],
        );
    }

    fn add_broker(&mut self, broker: &BrokerState) {
        self.add(
            "context",
            [
                ("last_entry", time(broker.last_entry)),
                ("log_current", Fact::Bool(broker.log_current)),
                ("witnesses_ready", Fact::Long(broker.witnesses_ready.into())),
            ],
        );
    }

    fn add<const N: usize>(&mut self, part: &'static str, facts: [(&'static str, Fact); N]) {
        self.facts.extend(facts.map(|(name, fact)| (part, name, fact)));
    }
}

fn long(value: u64) -> Fact {
    Fact::Long(i64::try_from(value).unwrap_or(i64::MAX))
}

fn time(time: UnixSeconds) -> Fact {
    long(time.get())
}

fn digest(digest: Sha256Digest) -> Fact {
    Fact::Text(digest.to_string())
}

/// Levels as numbers, weakest first, as the schema says.
fn rank(level: SandboxLevel) -> Fact {
    Fact::Long(match level {
        SandboxLevel::Seccomp => 0,
        SandboxLevel::Namespaces => 1,
        SandboxLevel::NamespacesLandlock => 2,
    })
}
