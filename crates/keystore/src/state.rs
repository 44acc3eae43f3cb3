use serde::{Deserialize, Serialize};

/// The state of a dataset version's key (NIST SP 800-57 part 1 §7, without the states of keys
/// that protect new data: a version key protects its own version and nothing else).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Deposited and checked; not yet logged, so not yet granted.
    PreActive,
    /// May be granted.
    Active,
    /// Not granted until resumed.
    Suspended,
    /// Superseded; not granted any more.
    Deactivated,
    /// Perhaps known to others; never granted again, its data must be sealed anew.
    Compromised,
    /// Gone, for good. A tombstone remains.
    Destroyed,
}

/// A change of state other than destruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// The deposit was logged.
    Activate,
    /// Stop granting for now.
    Suspend,
    /// Grant again.
    Resume,
    /// Stop granting for good: there is a newer version.
    Deactivate,
    /// Stop granting for good: it may be known.
    Compromise,
}

impl KeyState {
    /// The state after `transition`; `None` if there is no such way.
    pub const fn after(self, transition: Transition) -> Option<Self> {
        match (self, transition) {
            (Self::PreActive, Transition::Activate) | (Self::Suspended, Transition::Resume) => {
                Some(Self::Active)
            }
            (Self::Active, Transition::Suspend) => Some(Self::Suspended),
            (Self::Active, Transition::Deactivate) => Some(Self::Deactivated),
            (Self::Active | Self::Suspended | Self::Deactivated, Transition::Compromise) => {
                Some(Self::Compromised)
            }
            (
                Self::PreActive
                | Self::Active
                | Self::Suspended
                | Self::Deactivated
                | Self::Compromised
                | Self::Destroyed,
                _,
            ) => None,
        }
    }

    /// Whether the key may be destroyed: never while it can be granted, or could be again.
    pub const fn may_be_destroyed(self) -> bool {
        matches!(self, Self::PreActive | Self::Deactivated | Self::Compromised)
    }

    /// The state as it stands in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreActive => "pre_active",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
        }
    }
}

impl std::fmt::Display for KeyState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl cordon_types::LogSafe for KeyState {}

#[cfg(test)]
mod tests {
    use super::*;
    use KeyState::*;
    use Transition::*;

    #[test]
    fn only_the_ways_of_the_table_exist() {
        let states = [PreActive, Active, Suspended, Deactivated, Compromised, Destroyed];
        let transitions = [Activate, Suspend, Resume, Deactivate, Compromise];
        let found: Vec<_> = states
            .iter()
            .flat_map(|from| transitions.iter().map(move |by| (*from, *by)))
            .filter_map(|(from, by)| from.after(by).map(|to| (from, by, to)))
            .collect();
        let expected = [
            (PreActive, Activate, Active),
            (Active, Suspend, Suspended),
            (Active, Deactivate, Deactivated),
            (Active, Compromise, Compromised),
            (Suspended, Resume, Active),
            (Suspended, Compromise, Compromised),
            (Deactivated, Compromise, Compromised),
        ];
        assert_eq!(found, expected);
        let destroyable: Vec<_> = states.into_iter().filter(|s| s.may_be_destroyed()).collect();
        assert_eq!(destroyable, [PreActive, Deactivated, Compromised]);
    }
}
