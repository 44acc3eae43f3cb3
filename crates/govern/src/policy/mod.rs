//! The policy that permits or forbids: Cedar, with a schema.
//!
//! Each condition is a `forbid … unless` with its code; one `permit` per action allows what no
//! condition forbids. The built-in conditions cannot be taken away; a data holder can add
//! forbids of its own. Everything is validated strictly against the schema when it is loaded: a
//! misspelt attribute is an error then, not a condition that never applies. Cedar skips a forbid
//! that fails to evaluate, so any error makes the answer no (keys.md §4).

mod facts;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::str::FromStr as _;

use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicyId, PolicySet, Request, Schema, ValidationMode, Validator,
};
use cordon_crypto::sha256;
use cordon_types::Sha256Digest;

use crate::Code;
use crate::denial::printable;

pub use facts::BrokerState;
pub(crate) use facts::{ClearanceFacts, Fact, GrantFacts, GuardFacts, Question};

/// Longest text of a holder's own rules.
pub const MAX_RULES_BYTES: usize = 64 * 1024;
/// Most rules of a holder's own.
pub const MAX_RULES: usize = 64;
/// Deepest nesting of brackets and `if`s in a holder's own rules: the parser recurses, and a stack
/// of 2 MiB ends before 200.
pub const MAX_RULE_DEPTH: usize = 32;

/// The rules of a holder come after the built-in conditions, of which there are fewer.
const BUILT_IN_ORDER: usize = 1_000;

/// A loaded, validated policy.
#[derive(Debug)]
pub struct Policy {
    set: PolicySet,
    schema: Schema,
    authorizer: Authorizer,
    conditions: HashMap<PolicyId, Condition>,
    digest: Sha256Digest,
}

/// Why a policy cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The rules are too many or too long.
    #[error("expected at most {MAX_RULES} rules in {MAX_RULES_BYTES} bytes")]
    TooLarge,
    /// The rules are nested too deeply.
    #[error("expected brackets and `if`s nested at most {MAX_RULE_DEPTH} deep")]
    TooDeep,
    /// Not Cedar.
    #[error("the rules do not parse: {0}")]
    Syntax(String),
    /// A rule that permits, or a template: rules of a holder only forbid.
    #[error("rule {0} is not a plain `forbid`: only forbids can be added")]
    NotAForbid(usize),
    /// A rule without a name for denials.
    #[error("rule {0} has no `@code(\"…\")`: 1 to 63 of `a-z 0-9 _`")]
    NoCode(usize),
    /// A rule that does not fit the schema, or can never apply.
    #[error("the rules do not fit the schema: {0}")]
    Invalid(String),
    /// The built-in policy is broken. A bug.
    #[error("the built-in policy is broken: {0}")]
    BuiltIn(String),
}

/// What a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing forbids it.
    Permit,
    /// These conditions failed, the most important first. Never empty.
    Deny(Vec<Failed>),
}

/// A condition that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its public code.
    pub code: Code,
    /// What was wanted and found: for owner and auditor.
    pub reason: String,
}

#[derive(Clone, Debug)]
struct Condition {
    order: usize,
    code: Code,
    name: String,
    wanted: String,
    shows: Vec<String>,
}

impl Policy {
    /// The built-in conditions alone.
    ///
    /// # Errors
    /// [`PolicyError::BuiltIn`], which a test rules out.
    pub fn built_in() -> Result<Self, PolicyError> {
        Self::with_rules("")
    }

    /// The built-in conditions and a holder's own forbids.
    ///
    /// Each must have `@code("…")`, and may have `@wanted("…")` and `@shows("context.now …")`,
    /// which go into reasons. Its public code is always `holder_rule`.
    ///
    /// # Errors
    /// If a rule does not parse, does not fit the schema, can never apply, or is not a forbid.
    pub fn with_rules(rules: &str) -> Result<Self, PolicyError> {
        let broken = |error: &dyn std::fmt::Display| PolicyError::BuiltIn(one_line(error));
        let (schema, _warnings) =
            Schema::from_cedarschema_str(SCHEMA).map_err(|error| broken(&error))?;
        let parsed = PolicySet::from_str(BUILT_IN).map_err(|error| broken(&error))?;
        let mut set = PolicySet::new();
        let mut conditions = HashMap::new();
        for (order, policy) in in_order(&parsed).into_iter().enumerate() {
            let name = policy.annotation("id").ok_or_else(|| broken(&"a policy without id"))?;
            let id = PolicyId::new(format!("cordon_{name}"));
            if policy.effect() == Effect::Forbid {
                let condition = Condition::built_in(order, policy)
                    .ok_or_else(|| broken(&format!("`{name}` without a known code")))?;
                conditions.insert(id.clone(), condition);
            }
            set.add(policy.new_id(id)).map_err(|error| broken(&error))?;
        }

        if rules.len() > MAX_RULES_BYTES {
            return Err(PolicyError::TooLarge);
        }
        if nesting(rules) > MAX_RULE_DEPTH {
            return Err(PolicyError::TooDeep);
        }
        let own =
            PolicySet::from_str(rules).map_err(|error| PolicyError::Syntax(one_line(&error)))?;
        if own.policies().count() > MAX_RULES {
            return Err(PolicyError::TooLarge);
        }
        if own.templates().next().is_some() {
            return Err(PolicyError::NotAForbid(1));
        }
        for (index, policy) in in_order(&own).into_iter().enumerate() {
            if policy.effect() != Effect::Forbid {
                return Err(PolicyError::NotAForbid(index + 1));
            }
            let condition = Condition::own(BUILT_IN_ORDER + index, policy)
                .ok_or(PolicyError::NoCode(index + 1))?;
            let id = PolicyId::new(format!("own_{index}"));
            conditions.insert(id.clone(), condition);
            let added = set.add(policy.new_id(id));
            added.map_err(|error| PolicyError::Invalid(one_line(&error)))?;
        }

        let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
        if !result.validation_passed_without_warnings() {
            let mut lines: Vec<String> =
                result.validation_errors().map(|error| one_line(error)).collect();
            lines.extend(result.validation_warnings().map(|warning| one_line(warning)));
            return Err(PolicyError::Invalid(lines.join("; ")));
        }
        let parts = [SCHEMA, BUILT_IN, rules].map(|part| sha256(&[part.as_bytes()]));
        Ok(Self {
            set,
            schema,
            authorizer: Authorizer::new(),
            conditions,
            digest: sha256(&[parts[0].as_bytes(), parts[1].as_bytes(), parts[2].as_bytes()]),
        })
    }

    /// Names schema, conditions and rules: what a grant says permitted it.
    pub const fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// The conditions, built-in ones first: name and what they want.
    pub fn conditions(&self) -> Vec<(&str, &str)> {
        let mut all: Vec<&Condition> = self.conditions.values().collect();
        all.sort_by_key(|condition| condition.order);
        all.into_iter().map(|c| (c.name.as_str(), c.wanted.as_str())).collect()
    }

    pub(crate) fn decide(&self, question: &Question) -> Verdict {
        let (request, entities) = match self.request(question) {
            Ok(request) => request,
            Err(reason) => return Verdict::Deny(vec![Failed { code: Code::PolicyError, reason }]),
        };
        let response = self.authorizer.is_authorized(&request, &self.set, &entities);
        let mut failed = Vec::new();
        // A forbid that fails to evaluate is skipped by Cedar: then nobody knows, so the answer
        // is no.
        for error in response.diagnostics().errors() {
            failed.push(Failed { code: Code::PolicyError, reason: one_line(error) });
        }
        let matched = response.diagnostics().reason();
        let mut conditions: Vec<&Condition> =
            matched.filter_map(|id| self.conditions.get(id)).collect();
        conditions.sort_by_key(|condition| condition.order);
        failed.extend(
            conditions.into_iter().map(|condition| Failed {
                code: condition.code,
                reason: condition.explain(question),
            }),
        );
        match (response.decision(), failed.is_empty()) {
            (Decision::Allow, true) => Verdict::Permit,
            (Decision::Allow | Decision::Deny, false) => Verdict::Deny(failed),
            (Decision::Deny, true) => {
                let reason = "no policy permits this action".to_owned();
                Verdict::Deny(vec![Failed { code: Code::PolicyError, reason }])
            }
        }
    }

    fn request(&self, question: &Question) -> Result<(Request, Entities), String> {
        let uid = |name: &str, id: &str| {
            let name = EntityTypeName::from_str(name).map_err(|error| one_line(&error))?;
            Ok::<_, String>(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
        };
        let (principal_type, principal_id) = &question.principal;
        let principal = uid(principal_type, principal_id)?;
        let resource = uid("Agreement", &question.agreement)?;
        let entity = |uid: &EntityUid, prefix: &str| {
            let attributes = question.part(prefix).map(|(n, f)| (n.to_owned(), f.expression()));
            let attributes: HashMap<_, _> = attributes.collect();
            Entity::new(uid.clone(), attributes, HashSet::new()).map_err(|error| one_line(&error))
        };
        let entities = [entity(&principal, "principal")?, entity(&resource, "resource")?];
        let entities = Entities::from_entities(entities, Some(&self.schema))
            .map_err(|error| one_line(&error))?;
        let context = question.part("context").map(|(n, f)| (n.to_owned(), f.expression()));
        let context = Context::from_pairs(context).map_err(|error| one_line(&error))?;
        let action = uid("Action", question.action)?;
        let request = Request::new(principal, action, resource, context, Some(&self.schema))
            .map_err(|error| one_line(&error))?;
        Ok((request, entities))
    }
}

impl Condition {
    /// A built-in condition; its code must be one of ours.
    fn built_in(order: usize, policy: &cedar_policy::Policy) -> Option<Self> {
        let name = policy.annotation("code")?;
        Some(Self::new(order, Code::parse(name)?, name, policy))
    }

    /// A condition of a holder's own, whose name only owner and auditor see.
    fn own(order: usize, policy: &cedar_policy::Policy) -> Option<Self> {
        let name = policy.annotation("code")?;
        let is_code = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let is_name = (1..=63).contains(&name.len()) && name.bytes().all(is_code);
        is_name.then(|| Self::new(order, Code::HolderRule, name, policy))
    }

    fn new(order: usize, code: Code, name: &str, policy: &cedar_policy::Policy) -> Self {
        let text = |key| policy.annotation(key).unwrap_or_default();
        let wanted = match text("wanted") {
            "" => "that this rule does not apply",
            wanted => wanted,
        };
        Self {
            order,
            code,
            name: name.to_owned(),
            wanted: one_line(&wanted),
            shows: text("shows").split_whitespace().map(printable).collect(),
        }
    }

    fn explain(&self, question: &Question) -> String {
        let mut line = format!("{}: wanted {}", self.name, self.wanted);
        for (index, shown) in self.shows.iter().enumerate() {
            let separator = if index == 0 { "; found " } else { ", " };
            let value = question.get(shown).map_or("nothing".to_owned(), Fact::to_string);
            // Writing to a string does not fail.
            let _ = write!(line, "{separator}{shown} = {value}");
        }
        line
    }
}

/// Policies in the order of their text: Cedar numbers them `policy0`, `policy1`, …
fn in_order(set: &PolicySet) -> Vec<&cedar_policy::Policy> {
    let number = |policy: &cedar_policy::Policy| {
        let id: &str = policy.id().as_ref();
        id.strip_prefix("policy").and_then(|n| n.parse::<usize>().ok()).unwrap_or(usize::MAX)
    };
    let sorted: BTreeMap<_, _> = set.policies().map(|policy| (number(policy), policy)).collect();
    sorted.into_values().collect()
}

/// How deeply brackets and `if`s are nested, outside of texts and comments. An `if` counts until
/// its rule ends: what belongs to it is not known before parsing.
fn nesting(rules: &str) -> usize {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let (mut brackets, mut ifs, mut deepest) = (0_usize, 0, 0);
    let mut rest = rules.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'(' | b'[' | b'{' => brackets += 1,
            b')' | b']' | b'}' => brackets = brackets.saturating_sub(1),
            b';' => ifs = 0,
            b'/' if after.starts_with(b"/") => {
                let end = after.iter().position(|byte| *byte == b'\n');
                rest = end.map_or(&[], |end| &after[end..]);
            }
            b'"' => {
                while let [byte, after @ ..] = rest {
                    rest = if *byte == b'\\' { after.get(1..).unwrap_or(&[]) } else { after };
                    if *byte == b'"' {
                        break;
                    }
                }
            }
            byte if is_word(*byte) => {
                let end = after.iter().position(|byte| !is_word(*byte)).unwrap_or(after.len());
                ifs += usize::from(*byte == b'i' && &after[..end] == b"f");
                rest = &after[end..];
            }
            _ => {}
        }
        deepest = deepest.max(brackets + ifs);
    }
    deepest
}

fn one_line(error: &dyn std::fmt::Display) -> String {
    printable(&error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

const SCHEMA: &str = include_str!("cordon.cedarschema");
const BUILT_IN: &str = include_str!("built_in.cedar");

#[cfg(test)]
mod tests;
