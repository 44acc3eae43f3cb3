use std::collections::BTreeMap;
use std::str::FromStr;

use cordon_crypto::VerifyingKey;

use crate::key::{LogKey, VkeyError, WitnessKey};
use crate::policy::quorum::{Group, Member, NONE, Rule};
use crate::policy::{MAX_POLICY_BYTES, MAX_POLICY_ITEMS, Policy, PolicyLog, PolicyWitness, Quorum};
use crate::text::parse_decimal;

/// Why a policy file is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy line {line} is refused")]
pub struct PolicyError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub kind: PolicyErrorKind,
}

/// What is wrong with a line of a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyErrorKind {
    /// More bytes than any policy has.
    #[error("policy of {found} bytes is above the limit of {MAX_POLICY_BYTES}")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// The last line does not end in LF.
    #[error("the last line does not end in a line break")]
    UnfinishedLine,
    /// A control character other than tab and LF.
    #[error("found the control character {byte:#04x}")]
    ControlCharacter {
        /// The character.
        byte: u8,
    },
    /// Not one of the four keywords.
    #[error("expected `log`, `witness`, `group` or `quorum`")]
    Keyword,
    /// Too few or too many items follow the keyword.
    #[error("expected `{expected}`")]
    Form {
        /// The form of such a line.
        expected: &'static str,
    },
    /// A key is malformed or of another type.
    #[error("the key is refused")]
    Key(#[source] VkeyError),
    /// A public key that an earlier line has, under whatever name.
    #[error("the public key is that of an earlier line")]
    RepeatedKey,
    /// Two logs with one origin.
    #[error("an earlier log has the same name")]
    RepeatedOrigin,
    /// A name that is defined already, or `none`.
    #[error("the name `{}` is already defined", .name.escape_ascii())]
    RepeatedName {
        /// The name.
        name: Vec<u8>,
    },
    /// A name that no earlier line defines.
    #[error("the name `{}` is not defined above", .name.escape_ascii())]
    UnknownName {
        /// The name.
        name: Vec<u8>,
    },
    /// A name that is in a group already.
    #[error("`{}` is already a member of a group", .name.escape_ascii())]
    AlreadyMember {
        /// The name.
        name: Vec<u8>,
    },
    /// A threshold that is no number or does not fit the members.
    #[error("expected `all`, `any` or a number from 1 to {members}")]
    Threshold {
        /// Members of the group.
        members: usize,
    },
    /// More items of one sort than are accepted.
    #[error("more than {MAX_POLICY_ITEMS} of this kind")]
    TooMany,
    /// A second quorum line.
    #[error("the quorum is already defined")]
    RepeatedQuorum,
    /// No quorum line.
    #[error("expected a `quorum` line")]
    NoQuorum,
    /// `quorum none` outside development.
    #[error("`quorum none` is allowed in development only")]
    QuorumNone,
}

impl Policy {
    /// Reads a policy file. `quorum none` is refused.
    ///
    /// # Errors
    /// The first line that is wrong. Beyond the specification, a key may not be both a log's and
    /// a witness's, nor may two logs have one origin.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        parse(bytes, false)
    }

    /// Reads a policy file and accepts `quorum none`, with which nobody checks the log.
    ///
    /// # Errors
    /// As [`Policy::parse`], but for `quorum none`.
    pub fn parse_dangerous_development(bytes: &[u8]) -> Result<Self, PolicyError> {
        parse(bytes, true)
    }
}

fn parse(bytes: &[u8], accepts_none: bool) -> Result<Policy, PolicyError> {
    let at = |line: usize| move |kind| PolicyError { line, kind };
    if bytes.len() > MAX_POLICY_BYTES {
        return Err(at(1)(PolicyErrorKind::TooLarge { found: bytes.len() }));
    }
    let mut parser = Parser { accepts_none, ..Parser::default() };
    let mut last = 1;
    for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\n");
        let line = line.ok_or_else(|| at(number)(PolicyErrorKind::UnfinishedLine))?;
        parser.line(line).map_err(at(number))?;
        last = number;
    }
    parser.finish().map_err(at(last))
}

#[derive(Default)]
struct Parser {
    accepts_none: bool,
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    rule: Option<Rule>,
    names: BTreeMap<Vec<u8>, Definition>,
}

struct Definition {
    member: Member,
    joined_a_group: bool,
}

impl Parser {
    fn line(&mut self, line: &[u8]) -> Result<(), PolicyErrorKind> {
        let is_control = |byte: &&u8| byte.is_ascii_control() && **byte != b'\t';
        if let Some(byte) = line.iter().find(is_control) {
            return Err(PolicyErrorKind::ControlCharacter { byte: *byte });
        }
        let items: Vec<&[u8]> = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|item| !item.is_empty())
            .collect();
        match items.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", rest @ ..] => self.log(rest),
            [b"witness", rest @ ..] => self.witness(rest),
            [b"group", rest @ ..] => self.group(rest),
            [b"quorum", rest @ ..] => self.quorum(rest),
            [_, ..] => Err(PolicyErrorKind::Keyword),
        }
    }

    fn log(&mut self, items: &[&[u8]]) -> Result<(), PolicyErrorKind> {
        let ([vkey], url) = split_url(items, LOG_FORM)?;
        let key: LogKey = parse_vkey(vkey)?;
        if self.logs.len() == MAX_POLICY_ITEMS {
            return Err(PolicyErrorKind::TooMany);
        }
        self.check_new_key(key.public())?;
        if self.logs.iter().any(|log| log.key.name() == key.name()) {
            return Err(PolicyErrorKind::RepeatedOrigin);
        }
        self.logs.push(PolicyLog { key, url });
        Ok(())
    }

    fn witness(&mut self, items: &[&[u8]]) -> Result<(), PolicyErrorKind> {
        let ([name, vkey], url) = split_url(items, WITNESS_FORM)?;
        let key: WitnessKey = parse_vkey(vkey)?;
        if self.witnesses.len() == MAX_POLICY_ITEMS {
            return Err(PolicyErrorKind::TooMany);
        }
        self.check_new_key(key.public())?;
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(PolicyWitness { name: name.to_vec(), key, url });
        Ok(())
    }

    fn group(&mut self, items: &[&[u8]]) -> Result<(), PolicyErrorKind> {
        let [name, threshold, names @ ..] = items else {
            return Err(PolicyErrorKind::Form { expected: GROUP_FORM });
        };
        if names.is_empty() {
            return Err(PolicyErrorKind::Form { expected: GROUP_FORM });
        }
        if self.groups.len() == MAX_POLICY_ITEMS {
            return Err(PolicyErrorKind::TooMany);
        }
        let threshold = match *threshold {
            b"all" => Some(names.len()),
            b"any" => Some(1),
            number => std::str::from_utf8(number)
                .ok()
                .and_then(parse_decimal)
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| (1..=names.len()).contains(number)),
        };
        let threshold = threshold.ok_or(PolicyErrorKind::Threshold { members: names.len() })?;
        let members = names.iter().map(|name| self.join(name)).collect::<Result<_, _>>()?;
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { name: name.to_vec(), threshold, members });
        Ok(())
    }

    fn quorum(&mut self, items: &[&[u8]]) -> Result<(), PolicyErrorKind> {
        let [name] = items else {
            return Err(PolicyErrorKind::Form { expected: QUORUM_FORM });
        };
        if self.rule.is_some() {
            return Err(PolicyErrorKind::RepeatedQuorum);
        }
        self.rule = match self.names.get(*name) {
            Some(definition) => Some(Rule::Member(definition.member)),
            None if *name != NONE => {
                return Err(PolicyErrorKind::UnknownName { name: name.to_vec() });
            }
            None if self.accepts_none => Some(Rule::None),
            None => return Err(PolicyErrorKind::QuorumNone),
        };
        Ok(())
    }

    fn finish(self) -> Result<Policy, PolicyErrorKind> {
        let rule = self.rule.ok_or(PolicyErrorKind::NoQuorum)?;
        let quorum = Quorum { witnesses: self.witnesses, groups: self.groups, rule };
        Ok(Policy { logs: self.logs, quorum })
    }

    /// One key pair has one use: not two logs, not two witnesses, not one of each.
    fn check_new_key(&self, key: &VerifyingKey) -> Result<(), PolicyErrorKind> {
        let mut logs = self.logs.iter().map(|log| log.key.public());
        let mut witnesses = self.witnesses.iter().map(|witness| witness.key.public());
        if logs.any(|known| known == key) || witnesses.any(|known| known == key) {
            return Err(PolicyErrorKind::RepeatedKey);
        }
        Ok(())
    }

    fn define(&mut self, name: &[u8], member: Member) -> Result<(), PolicyErrorKind> {
        if name == NONE || self.names.contains_key(name) {
            return Err(PolicyErrorKind::RepeatedName { name: name.to_vec() });
        }
        self.names.insert(name.to_vec(), Definition { member, joined_a_group: false });
        Ok(())
    }

    fn join(&mut self, name: &[u8]) -> Result<Member, PolicyErrorKind> {
        let definition = self.names.get_mut(name);
        let definition =
            definition.ok_or_else(|| PolicyErrorKind::UnknownName { name: name.to_vec() })?;
        if std::mem::replace(&mut definition.joined_a_group, true) {
            return Err(PolicyErrorKind::AlreadyMember { name: name.to_vec() });
        }
        Ok(definition.member)
    }
}

/// Exactly `N` items and perhaps a URL.
fn split_url<'l, const N: usize>(
    items: &[&'l [u8]],
    expected: &'static str,
) -> Result<([&'l [u8]; N], Option<Vec<u8>>), PolicyErrorKind> {
    let form = || PolicyErrorKind::Form { expected };
    let (needed, rest) = items.split_first_chunk::<N>().ok_or_else(form)?;
    match rest {
        [] => Ok((*needed, None)),
        [url] => Ok((*needed, Some(url.to_vec()))),
        _ => Err(form()),
    }
}

fn parse_vkey<K: FromStr<Err = VkeyError>>(vkey: &[u8]) -> Result<K, PolicyErrorKind> {
    std::str::from_utf8(vkey)
        .map_err(|_| VkeyError::Form)
        .and_then(str::parse)
        .map_err(PolicyErrorKind::Key)
}

const LOG_FORM: &str = "log <vkey> [<url>]";
const WITNESS_FORM: &str = "witness <name> <vkey> [<url>]";
const GROUP_FORM: &str = "group <name> all|any|<number> <member>…";
const QUORUM_FORM: &str = "quorum <name>|none";
