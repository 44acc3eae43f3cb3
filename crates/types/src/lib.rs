//! The vocabulary that every crate shares: identifiers, digests, time, and secrets.
//!
//! Nothing here does any work. A value of one of these types is well formed, because the only
//! way to make one is to parse it; two values that mean different things have different types.
//! This crate must never see a clock, a file or a source of randomness.
//!
//! ```
//! use cordon_types::{PartyId, Sha256Digest};
//!
//! let party: PartyId = "hospital-a".parse()?;
//! assert_eq!(party.as_str(), "hospital-a");
//! assert!("Hospital A".parse::<PartyId>().is_err());
//!
//! let digest = Sha256Digest::from_bytes([7; 32]);
//! assert_eq!(digest.to_string().parse::<Sha256Digest>()?, digest);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod bytes;
mod digest;
mod id;
mod log_safe;
mod secret;
mod time;

pub mod hex;

pub use bytes::Base64Bytes;
pub use digest::{Nonce, Sha256Digest};
pub use id::{
    AgreementName, ColumnName, DatasetId, IdError, KeyId, OutputColumn, ParameterName, PartyId,
    PersonId, ProgramName, StudyId, TableName,
};
pub use log_safe::LogSafe;
pub use secret::Secret;
pub use time::{Milliseconds, UnixMillis, UnixSeconds};
