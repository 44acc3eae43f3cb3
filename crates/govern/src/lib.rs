//! Who may do what: agreements, approvals, policy, and the two decisions, grant and clearance.
//!
//! A broker brings facts (documents, evidence, its records, its clock) and gets decisions. This
//! crate never sees a file, a database, a socket, a clock or a source of randomness, and it never
//! holds a key of data. What was checked has a type that only the check makes:
//!
//! | proof | made by | says |
//! |---|---|---|
//! | [`CheckedAgreement`] | [`CheckedAgreement::check`] | signed by its requester, and makes sense |
//! | [`Recognized`] | [`compare_with_directory`] | its keys are those that this broker enrolled |
//! | [`Approved`] | [`approval::evaluate`] | enough people of this holder approved this digest |
//! | [`Verdict::Permit`](policy::Verdict) | [`policy::Policy`] | no condition forbids it |
//! | [`grant::Session`] | [`grant::Session::challenge`] … `grant` | request, evidence, policy, log, in this order |
//! | [`clearance::Session`] | [`clearance::Session::receive`] … `release` | receipt, reviews, policy, log, in this order |
//!
//! A no is a [`Denial`]: a stable [`Code`] and a public sentence for everybody, reasons for owner
//! and auditor, and the log entry to record, since refusals are recorded too.
//!
//! # What the broker still has to do itself
//! Make nonces of documents count once; spend a run in the same transaction that stores the
//! grant's record and its entry; and tell the truth about its records. Whether *data* may be
//! touched is decided a second time in the key process, which trusts none of this.
#![forbid(unsafe_code)]

pub mod agreement;
pub mod approval;
pub mod clearance;
pub mod directory;
pub mod document;
pub mod grant;
pub mod policy;

mod code;
mod denial;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod testing;

pub use agreement::{
    AgreementError, Change, CheckedAgreement, Recognized, check_dataset, compare_with_directory,
    diff,
};
pub use approval::Approved;
pub use code::Code;
pub use denial::{Denial, RecordError};
pub use directory::{Directory, DirectoryError, EnrolledPerson};
pub use policy::{BrokerState, Policy, PolicyError};
