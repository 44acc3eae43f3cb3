//! Approvals: whether enough people of this holder said yes to exactly this digest.

use std::collections::{BTreeMap, BTreeSet};

use cordon_crypto::dsse::Signed;
use cordon_protocol::Approval;
use cordon_protocol::decision::Verdict;
use cordon_protocol::party::Role;
use cordon_types::{PersonId, Sha256Digest, UnixSeconds};

use crate::document;
use crate::{Directory, Recognized};

/// Enough people of this holder approved this agreement. Only [`evaluate`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    agreement: Sha256Digest,
    by: Vec<PersonId>,
    until: UnixSeconds,
}

/// Where an agreement stands with the people of this holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everybody who must has approved it.
    Approved(Approved),
    /// Somebody has rejected it: it never becomes active.
    Rejected {
        /// Who.
        by: PersonId,
    },
    /// Approvals are missing.
    Missing(Missing),
}

/// What is missing, and why what is there does not count.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Missing {
    /// How many more persons.
    pub persons: u32,
    /// Roles that nobody who approved holds.
    pub roles: Vec<Role>,
    /// Approvals that do not count, and why.
    pub disregarded: Vec<String>,
}

/// Whether persons of this role approve agreements.
pub const fn may_approve(role: Role) -> bool {
    match role {
        Role::Steward | Role::DataProtectionOfficer | Role::SecurityOfficer => true,
        Role::Reviewer | Role::Researcher | Role::Auditor | Role::Administrator => false,
    }
}

/// Judges the decisions of this holder's people by the agreement's rule for this holder.
///
/// `decisions` are those that the broker stored, the latest of each person; each is checked
/// again, against the directory as it is now and the clock.
pub fn evaluate(
    agreement: &Recognized,
    directory: &Directory,
    decisions: &[Signed<Approval>],
    now: UnixSeconds,
) -> Standing {
    let mut disregarded = Vec::new();
    let mut counted: BTreeMap<&PersonId, (&BTreeSet<Role>, UnixSeconds)> = BTreeMap::new();
    for decision in decisions {
        let value = decision.value();
        let person = match document::check_decision(agreement, directory, decision) {
            Ok(person) => person,
            Err(error) => {
                disregarded.push(format!("`{}`: {error}", value.person));
                continue;
            }
        };
        match value.verdict {
            // A rejection is for good: it does not expire, and no later approval undoes it.
            Verdict::Reject => return Standing::Rejected { by: value.person.clone() },
            Verdict::Approve => match document::check_validity(value.issued, value.expires, now) {
                Ok(()) => {
                    let until = value.expires;
                    let slot = counted.entry(&value.person).or_insert((&person.roles, until));
                    slot.1 = slot.1.max(until);
                }
                Err(error) => disregarded.push(format!("`{}`: {error}", value.person)),
            },
        }
    }
    let rule = &agreement.own_holder().approvals;
    let persons = u32::try_from(counted.len()).unwrap_or(u32::MAX);
    let held: BTreeSet<Role> =
        counted.values().flat_map(|(roles, _)| roles.iter().copied()).collect();
    let roles: Vec<Role> = rule.roles.iter().copied().filter(|role| !held.contains(role)).collect();
    if persons < rule.persons || !roles.is_empty() {
        let persons = rule.persons.saturating_sub(persons);
        return Standing::Missing(Missing { persons, roles, disregarded });
    }
    Standing::Approved(Approved {
        agreement: agreement.agreement().digest(),
        by: counted.keys().map(|person| (*person).clone()).collect(),
        until: counted.values().map(|(_, until)| *until).min().unwrap_or(now),
    })
}

impl Approved {
    /// What was approved.
    pub const fn agreement(&self) -> Sha256Digest {
        self.agreement
    }

    /// By whom, sorted.
    pub fn by(&self) -> &[PersonId] {
        &self.by
    }

    /// When the first of the approvals expires: until then it holds at least.
    pub const fn until(&self) -> UnixSeconds {
        self.until
    }
}

impl Missing {
    /// What is missing, in plain words, one thing a line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match self.persons {
            0 => {}
            1 => lines.push("the approval of 1 more person is missing".to_owned()),
            more => lines.push(format!("the approvals of {more} more persons are missing")),
        }
        lines.extend(self.roles.iter().map(|role| format!("approval by a {role} is missing")));
        lines.extend(self.disregarded.iter().map(|why| format!("does not count: {why}")));
        lines
    }
}

impl Standing {
    /// Whether it is approved now.
    pub const fn approved(&self) -> Option<&Approved> {
        match self {
            Self::Approved(approved) => Some(approved),
            Self::Rejected { .. } | Self::Missing(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
