//! Which logs to believe, and which witnesses must have cosigned (C2SP tlog-policy).

mod parse;
mod quorum;

pub use parse::{PolicyError, PolicyErrorKind};
pub use quorum::{PolicyWitness, Quorum, RuleError};

use crate::key::LogKey;
use crate::note::KeyName;

/// Most bytes in a policy file.
pub const MAX_POLICY_BYTES: usize = 64 * 1024;

/// Most logs, most witnesses and most groups in a policy; the specification wants at least 32.
pub const MAX_POLICY_ITEMS: usize = 64;

/// The logs to believe and the quorum of witnesses that their heads need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    quorum: Quorum,
}

/// A log in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLog {
    key: LogKey,
    url: Option<Vec<u8>>,
}

impl Policy {
    /// The logs in the order of the file; there may be none where the log is known otherwise.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The key of the log of this name.
    pub fn log(&self, origin: &KeyName) -> Option<&LogKey> {
        self.logs.iter().map(PolicyLog::key).find(|key| key.name() == origin)
    }

    /// The rule for cosignatures.
    pub const fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// Writes the policy file: logs, witnesses, groups, quorum.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for log in &self.logs {
            file.extend_from_slice(format!("log {}", log.key).as_bytes());
            quorum::write_url(&mut file, log.url());
        }
        self.quorum.write(&mut file);
        file
    }
}

impl PolicyLog {
    /// The log's key; its name is the origin.
    pub const fn key(&self) -> &LogKey {
        &self.key
    }

    /// Where to reach it, if said.
    pub fn url(&self) -> Option<&[u8]> {
        self.url.as_deref()
    }
}

#[cfg(test)]
mod tests;
