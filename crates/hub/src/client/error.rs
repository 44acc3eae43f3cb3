use std::time::Duration;

use cordon_crypto::dsse::EnvelopeError;

/// Why a call to the hub failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The hub's address.
    #[error("not a hub's address: expected {expected}")]
    Url {
        /// What it should be.
        expected: &'static str,
    },
    /// Certificates or TLS cannot be set up.
    #[error("cannot set up the HTTPS client")]
    Setup(#[source] reqwest::Error),
    /// The call needs a signature and the client has no key.
    #[error("cannot {operation}: expected a client with a signing key")]
    NoIdentity {
        /// What was to be done.
        operation: &'static str,
    },
    /// No connection, or it broke off.
    #[error("cannot {operation}: the hub cannot be reached")]
    Unreachable {
        /// What was to be done.
        operation: &'static str,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The deadline passed, retries included.
    #[error("cannot {operation}: no success within {} ms", within.as_millis())]
    Deadline {
        /// What was to be done.
        operation: &'static str,
        /// How long was tried.
        within: Duration,
        /// Whether an attempt may have arrived.
        reached: bool,
        /// The last failure, if an attempt failed before the deadline.
        #[source]
        last: Option<Box<ClientError>>,
    },
    /// The hub said no.
    #[error("cannot {operation}: the hub answers `{code}` ({status}){}", detail_text(detail))]
    Refused {
        /// What was to be done.
        operation: &'static str,
        /// HTTP status.
        status: u16,
        /// The problem's stable code, or `unknown`.
        code: String,
        /// What the hub expected and found.
        detail: Option<String>,
    },
    /// The hub's answer is not what the interface says. It may be broken, or lie.
    #[error("cannot {operation}: expected {expected} from the hub")]
    Unexpected {
        /// What was to be done.
        operation: &'static str,
        /// What the answer should be.
        expected: &'static str,
    },
    /// A document is not what it should be.
    #[error("the hub's document is refused")]
    Document(#[source] EnvelopeError),
    /// A local file cannot be read or written.
    #[error("cannot {operation}: a local file failed")]
    File {
        /// What was to be done.
        operation: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A message cannot be sent: it is too large or has no JSON form.
    #[error("cannot send a message of {size} bytes: expected at most {limit}")]
    MessageTooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// `reply_to` names no mailbox.
    #[error(transparent)]
    MailboxName(#[from] crate::api::MailboxNameError),
    /// Nobody answered a message in time.
    #[error("no answer from `{to}` within {} ms", within.as_millis())]
    NoAnswer {
        /// Whom it was sent to.
        to: crate::MailboxName,
        /// How long it was waited for.
        within: Duration,
    },
    /// The answer to a message does not parse.
    #[error("the answer from `{to}` is malformed")]
    MalformedAnswer {
        /// Whom the message was sent to.
        to: crate::MailboxName,
        /// Why; position only.
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// The stable code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Deadline { last: Some(last), .. } => last.code(),
            _ => None,
        }
    }

    /// Whether it is certain that the hub has got nothing.
    pub fn has_not_reached_the_hub(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.is_connect(),
            Self::Deadline { reached, .. } => !reached,
            _ => false,
        }
    }

    /// Whether the same call may succeed later: the hub was not reached, or was in trouble.
    pub fn is_for_now(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Deadline { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }

    /// Whether the hub has nothing of this name.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some("not_found")
    }
}

fn detail_text(detail: &Option<String>) -> String {
    detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default()
}
