//! The development TEE: measures the guard, runs exactly those bytes, and answers its requests
//! for reports.
//!
//! **It protects nothing.** Whoever operates the machine reads the guard's memory and the root
//! key. It exists so that every step of Cordon runs on a laptop: the measurement, the binding,
//! and the refusal of another program are real, confidentiality is not. Brokers in production
//! have no root for it, and packages for release leave this crate out.
//!
//! [`launch`] copies the guard's bytes into a file in memory, seals it, hashes it and executes it,
//! so that what was measured is what runs. The guard gets two things and an empty environment:
//!
//! | descriptor | what |
//! |---|---|
//! | 0, standard input | the connection to its host |
//! | 1, standard output | the report socket: a frame of 64 bytes asks, a frame with a DSSE envelope of a [`SoftwareReport`](cordon_protocol::evidence::SoftwareReport) answers |
//! | 2, standard error | nothing: no word of a guard reaches a log |
//!
//! A guard is told apart from other processes by that socket alone; nobody else can ask.
//!
//! ```
//! use cordon_crypto::{SigningKey, SystemRandom};
//! use cordon_softtee::{SoftwareTee, measurement_of};
//!
//! let root = SigningKey::generate(&mut SystemRandom::new());
//! let tee = SoftwareTee::new(root, measurement_of(b"the guard"));
//! let evidence = tee.report(&[7; 64])?;
//! # let _ = evidence;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![expect(clippy::disallowed_methods, reason = "it reads guards and root keys: DESIGN §5")]

mod launch;
mod root;
#[expect(unsafe_code, reason = "two system calls that the standard library does not have")]
mod sys;
mod tee;

pub use launch::{Child, LaunchError, launch, launch_file};
pub use root::{RootKeyError, create_root_key, read_root_key};
pub use tee::{SoftwareTee, measurement_of};

/// What everybody who uses it is told.
pub const BANNER: &str = "SOFTWARE TEE: for development only, not confidential. \
     Whoever operates this machine can read everything that the guard reads.";
