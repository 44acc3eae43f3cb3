//! How much of the confinement is in force.

use cordon_types::LogSafe;
use std::fmt;
use std::str::FromStr;

/// What holds a worker, weakest first; each says what it adds.
///
/// Every level has its own process, the limits, an empty environment, no open files but the
/// socket, no privileges and the deadline. The order is total, so that an agreement can name
/// the least it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SandboxLevel {
    /// Nothing else: the engine may use network and files like any process of an unprivileged
    /// user.
    None,
    /// A system call allow-list: no sockets, no new processes or programs, nothing written.
    /// Files that everybody may read stay readable.
    Seccomp,
    /// Also Landlock: no file but the C library can be opened.
    SeccompLandlock,
    /// The allow-list within new user, pid, mount, network, ipc and host name namespaces whose
    /// root holds the C library and nothing else.
    Namespaces,
    /// Both of them.
    NamespacesLandlock,
}

impl SandboxLevel {
    /// All levels, weakest first.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Seccomp,
        Self::SeccompLandlock,
        Self::Namespaces,
        Self::NamespacesLandlock,
    ];

    /// The stable name, as in evidence and agreements.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Seccomp => "seccomp",
            Self::SeccompLandlock => "seccomp-landlock",
            Self::Namespaces => "namespaces",
            Self::NamespacesLandlock => "namespaces-landlock",
        }
    }

    pub(crate) const fn has_seccomp(self) -> bool {
        !matches!(self, Self::None)
    }

    pub(crate) const fn has_landlock(self) -> bool {
        matches!(self, Self::SeccompLandlock | Self::NamespacesLandlock)
    }

    pub(crate) const fn has_namespaces(self) -> bool {
        matches!(self, Self::Namespaces | Self::NamespacesLandlock)
    }
}

impl fmt::Display for SandboxLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl LogSafe for SandboxLevel {}

impl FromStr for SandboxLevel {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        Self::ALL.into_iter().find(|level| level.as_str() == name).ok_or(UnknownLevel)
    }
}

/// The name is none of a [`SandboxLevel`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown sandbox level, expected `none`, `seccomp`, `seccomp-landlock`, `namespaces` or `namespaces-landlock`"
)]
pub struct UnknownLevel;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_in_the_order_of_all() {
        assert!(SandboxLevel::ALL.is_sorted());
    }

    #[test]
    fn names_come_back_and_others_are_refused() {
        for level in SandboxLevel::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
        }
        for other in ["", "None", "namespace", "namespaces ", "landlock"] {
            assert_eq!(other.parse::<SandboxLevel>(), Err(UnknownLevel));
        }
    }

    #[test]
    fn every_level_but_the_weakest_filters_system_calls() {
        for level in SandboxLevel::ALL {
            assert_eq!(level.has_seccomp(), level > SandboxLevel::None);
        }
    }
}
