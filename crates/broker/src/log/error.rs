//! Why the log does not do what was asked, and what must stop it for good.

use std::error::Error;
use std::path::PathBuf;

use cordon_types::PartyId;

/// Why the log does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database failed.
    #[error("the log's entries cannot be read or written")]
    Database(#[from] sqlx::Error),
    /// An entry is larger than a log can hold.
    #[error("a log entry has {found} bytes, expected at most 65535")]
    EntryTooLarge {
        /// Its size.
        found: usize,
    },
    /// A file or folder failed.
    #[error("cannot use `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Names of logs and witnesses are key names.
    #[error("a log's origin cannot be used as the name of a key")]
    Name,
    /// The witnesses did not answer.
    #[error("the other holders' brokers did not cosign the log within {seconds} s")]
    NotCosigned {
        /// How long was waited.
        seconds: u64,
    },
    /// What is on the disk is not what was written.
    #[error("the log on the disk is damaged: {0}")]
    Damaged(String),
    /// It must not go on.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The broker ends.
    #[error("the log is closed")]
    Closed,
}

/// Why a log must not sign anything any more. The broker ends; people must look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The database is older than the head that was signed last.
    #[error(
        "the database holds {found} log entries, but a head over {signed} was signed: this is an \
         old backup; restore the newest one"
    )]
    DatabaseBehind {
        /// Entries in the database.
        found: u64,
        /// Entries under the signed head.
        signed: u64,
    },
    /// The database holds other entries than were signed.
    #[error(
        "the database's first {size} log entries are not those that were signed: one was changed"
    )]
    DatabaseChanged {
        /// Entries under the signed head.
        size: u64,
    },
    /// A witness cosigned more than there is.
    #[error(
        "this log has {own} entries, but `{witness}` cosigned a head over {cosigned}: this is an \
         old backup; restore the newest one"
    )]
    BehindWitness {
        /// Who.
        witness: PartyId,
        /// Entries here.
        own: u64,
        /// Entries there.
        cosigned: u64,
    },
    /// A witness cosigned another history.
    #[error("`{witness}` cosigned another history of this log at size {size}")]
    Forked {
        /// Who.
        witness: PartyId,
        /// Where they differ.
        size: u64,
    },
}

impl LogError {
    /// Whether the same may succeed later.
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::NotCosigned { .. } | Self::Closed)
    }

    /// What reading back came to, with all causes.
    pub(super) fn damaged(error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self::Damaged(text)
    }
}
