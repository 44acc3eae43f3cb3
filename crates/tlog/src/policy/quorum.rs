use crate::key::WitnessKey;
use crate::note::SignatureLine;
use crate::policy::MAX_POLICY_ITEMS;

/// Which witnesses must have cosigned a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    pub(super) witnesses: Vec<PolicyWitness>,
    // INVARIANT: a group refers to earlier groups only, and each member is in one group only, so
    // that groups are trees and are evaluated in their order.
    pub(super) groups: Vec<Group>,
    pub(super) rule: Rule,
}

/// A witness in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    pub(super) name: Vec<u8>,
    pub(super) key: WitnessKey,
    pub(super) url: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub name: Vec<u8>,
    // INVARIANT: 1..=members.len().
    pub threshold: usize,
    pub members: Vec<Member>,
}

/// An index into the witnesses or the groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    None,
    Member(Member),
}

/// The witnesses and the threshold make no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No or too many witnesses.
    #[error("expected 1 to {MAX_POLICY_ITEMS} witnesses, found {found}")]
    Witnesses {
        /// Witnesses given; one more than the limit stands for all larger numbers.
        found: usize,
    },
    /// The threshold demands none or more than there are.
    #[error("expected a threshold from 1 to {witnesses}, found {threshold}")]
    Threshold {
        /// The threshold given.
        threshold: usize,
        /// Witnesses given.
        witnesses: usize,
    },
    /// Two witnesses have one public key or one name.
    #[error("witness {position} repeats the key or the name of an earlier one")]
    Repeated {
        /// The later one, from 0.
        position: usize,
    },
}

impl Quorum {
    /// At least `threshold` of these witnesses.
    ///
    /// # Errors
    /// If there are no or more than 64 witnesses, two share a key or a name, or the threshold is
    /// 0 or above their number.
    pub fn at_least(
        threshold: usize,
        witnesses: impl IntoIterator<Item = WitnessKey>,
    ) -> Result<Self, RuleError> {
        let keys = collect(witnesses)?;
        if threshold == 0 || threshold > keys.len() {
            return Err(RuleError::Threshold { threshold, witnesses: keys.len() });
        }
        for (position, key) in keys.iter().enumerate() {
            let repeats = |earlier: &WitnessKey| {
                earlier.public() == key.public() || earlier.name() == key.name()
            };
            if keys.iter().take(position).any(repeats) {
                return Err(RuleError::Repeated { position });
            }
        }
        let members = (0..keys.len()).map(Member::Witness).collect();
        let group = Group { name: GROUP_NAME.to_vec(), threshold, members };
        let witnesses = keys
            .into_iter()
            .map(|key| PolicyWitness { name: key.name().as_str().into(), key, url: None })
            .collect();
        Ok(Self { witnesses, groups: vec![group], rule: Rule::Member(Member::Group(0)) })
    }

    /// All of these witnesses.
    ///
    /// # Errors
    /// As [`Quorum::at_least`].
    pub fn all(witnesses: impl IntoIterator<Item = WitnessKey>) -> Result<Self, RuleError> {
        let keys = collect(witnesses)?;
        Self::at_least(keys.len(), keys)
    }

    /// No cosignatures at all: whoever holds the log's key can show each reader another history.
    pub const fn dangerous_development_none() -> Self {
        Self { witnesses: Vec::new(), groups: Vec::new(), rule: Rule::None }
    }

    /// Whether it demands nothing (`quorum none`).
    pub const fn is_none(&self) -> bool {
        matches!(self.rule, Rule::None)
    }

    /// The keys of all known witnesses, also of those that the rule does not need.
    pub fn witnesses(&self) -> impl Iterator<Item = &WitnessKey> {
        self.witnesses.iter().map(PolicyWitness::key)
    }

    /// All known witnesses with their names in the policy and their addresses.
    pub fn policy_witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Whether these witnesses meet the rule; keys that are not known do not count.
    pub fn is_met_by<'k>(&self, cosigned: impl IntoIterator<Item = &'k WitnessKey>) -> bool {
        let cosigned: Vec<&WitnessKey> = cosigned.into_iter().collect();
        let met = self.evaluate(
            |witness| cosigned.contains(&&witness.key),
            |group, members| members.iter().filter(|met| **met).count() >= group.threshold,
        );
        // `None` is the rule that demands nothing.
        met.unwrap_or(true)
    }

    /// The smallest number of witnesses that can meet the rule; 0 for `none`.
    pub fn fewest_witnesses(&self) -> usize {
        let fewest = self.evaluate(
            |_| 1,
            |group, members| {
                let mut members = members.to_vec();
                members.sort_unstable();
                members.iter().take(group.threshold).sum()
            },
        );
        fewest.unwrap_or(0)
    }

    /// The known witness that a signature line names, by name *and* id.
    pub(crate) fn witness_of(&self, line: &SignatureLine) -> Option<&WitnessKey> {
        self.witnesses().find(|key| key.id() == line.key_id() && key.name() == line.name())
    }

    /// Folds the rule from the witnesses up; `None` if there is no rule.
    fn evaluate<T: Copy>(
        &self,
        witness: impl Fn(&PolicyWitness) -> T,
        group: impl Fn(&Group, &[T]) -> T,
    ) -> Option<T> {
        let mut groups: Vec<T> = Vec::with_capacity(self.groups.len());
        let value = |groups: &[T], member: &Member| match *member {
            Member::Witness(index) => self.witnesses.get(index).map(&witness),
            Member::Group(index) => groups.get(index).copied(),
        };
        for each in &self.groups {
            let members: Vec<T> =
                each.members.iter().filter_map(|member| value(&groups, member)).collect();
            groups.push(group(each, &members));
        }
        match &self.rule {
            Rule::None => None,
            Rule::Member(member) => value(&groups, member),
        }
    }

    pub(super) fn write(&self, file: &mut Vec<u8>) {
        for witness in &self.witnesses {
            file.extend_from_slice(b"witness ");
            file.extend_from_slice(&witness.name);
            file.extend_from_slice(format!(" {}", witness.key).as_bytes());
            write_url(file, witness.url());
        }
        for group in &self.groups {
            file.extend_from_slice(b"group ");
            file.extend_from_slice(&group.name);
            file.extend_from_slice(format!(" {}", group.threshold).as_bytes());
            for member in &group.members {
                file.push(b' ');
                file.extend_from_slice(self.name_of(*member));
            }
            file.push(b'\n');
        }
        file.extend_from_slice(b"quorum ");
        file.extend_from_slice(match self.rule {
            Rule::None => NONE,
            Rule::Member(member) => self.name_of(member),
        });
        file.push(b'\n');
    }

    fn name_of(&self, member: Member) -> &[u8] {
        let name = match member {
            Member::Witness(index) => self.witnesses.get(index).map(PolicyWitness::name),
            Member::Group(index) => self.groups.get(index).map(|group| group.name.as_slice()),
        };
        name.unwrap_or(NONE)
    }
}

impl PolicyWitness {
    /// Its name in the policy, any bytes without white space.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its key.
    pub const fn key(&self) -> &WitnessKey {
        &self.key
    }

    /// Where to reach it, if said.
    pub fn url(&self) -> Option<&[u8]> {
        self.url.as_deref()
    }
}

fn collect(witnesses: impl IntoIterator<Item = WitnessKey>) -> Result<Vec<WitnessKey>, RuleError> {
    // One more than allowed is enough to see that there are too many.
    let keys: Vec<WitnessKey> = witnesses.into_iter().take(MAX_POLICY_ITEMS + 1).collect();
    if keys.is_empty() || keys.len() > MAX_POLICY_ITEMS {
        return Err(RuleError::Witnesses { found: keys.len() });
    }
    Ok(keys)
}

pub(super) fn write_url(file: &mut Vec<u8>, url: Option<&[u8]>) {
    if let Some(url) = url {
        file.push(b' ');
        file.extend_from_slice(url);
    }
    file.push(b'\n');
}

/// The predefined name of the rule that demands nothing.
pub(super) const NONE: &[u8] = b"none";

/// The name of the group that [`Quorum::at_least`] makes: no witness there can have it, since
/// they are named like their keys, and key names have no `+`.
const GROUP_NAME: &[u8] = b"+quorum";
