//! Evidence of this machine, whatever its TEE.
//!
//! The guard chooses 64 bytes, and the TEE that it runs in signs them together with what it
//! measured of the guard. [`probe`] finds the TEE; the rest of the guard does not know which it
//! is. A kind of TEE is an [`Attester`] *value*; there are no features.
//!
//! What this crate must never do: make evidence itself, or believe it. It passes bytes between
//! the guard and the TEE; brokers verify them with `cordon-verifier`.
//!
//! ```
//! use std::os::unix::net::UnixStream;
//!
//! use cordon_attester::{Attester, SoftwareTee};
//! use cordon_protocol::evidence::TeeKind;
//! use cordon_protocol::frame;
//!
//! // The launcher's end of the socket answers one request.
//! let (guard, mut launcher) = UnixStream::pair()?;
//! let launcher = std::thread::spawn(move || {
//!     let report_data = frame::read_bytes(&mut launcher, 64)?;
//!     frame::write_bytes(&mut launcher, &[b"signed: ".as_slice(), &report_data].concat())
//! });
//! let report = SoftwareTee::new(guard)?.report(&[7; 64])?;
//! assert_eq!(report.tee, TeeKind::Software);
//! assert_eq!(report.evidence, [b"signed: ".as_slice(), &[7; 64]].concat());
//! # launcher.join().expect("launcher")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

use std::io;

use cordon_crypto::canonical::CanonicalError;
use cordon_protocol::evidence::{Evidence, RuntimeData, TeeKind, binding};
use cordon_protocol::frame::FrameError;

mod software;

pub use software::SoftwareTee;

/// A TEE, seen from inside.
pub trait Attester {
    /// Its kind.
    fn kind(&self) -> TeeKind;

    /// Has the TEE sign these bytes and what it measured.
    ///
    /// # Errors
    /// [`AttestError`] if it does not answer.
    fn report(&mut self, report_data: &[u8; 64]) -> Result<Report, AttestError>;
}

/// What a TEE answers, in its own format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kind of TEE.
    pub tee: TeeKind,
    /// The evidence.
    pub evidence: Vec<u8>,
    /// Collateral that the TEE gave along.
    pub collateral: Option<Vec<u8>>,
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// No TEE that this version knows.
    #[error("no tee found: expected the software tee's socket as standard output")]
    NoTee,
    /// The TEE's interface could not be opened.
    #[error("cannot open the interface of tee `{tee}`")]
    Open {
        /// The kind.
        tee: TeeKind,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The TEE did not answer as it should.
    #[error("tee `{tee}` gave no report")]
    Report {
        /// The kind.
        tee: TeeKind,
        /// Why.
        #[source]
        source: FrameError,
    },
    /// The runtime data has no canonical form.
    #[error("runtime data has no canonical form")]
    RuntimeData(#[source] CanonicalError),
}

/// Finds the TEE that this program runs in.
///
/// # Errors
/// [`AttestError::NoTee`] where there is none that this version knows. Then there is no evidence,
/// and no broker will release a key.
pub fn probe() -> Result<Box<dyn Attester>, AttestError> {
    // Hardware comes before software here, so that a guard in a real TEE never asks a launcher.
    match SoftwareTee::inherited()? {
        Some(tee) => Ok(Box::new(tee)),
        None => Err(AttestError::NoTee),
    }
}

/// Collects evidence that binds `runtime_data` (DESIGN invariant 5).
///
/// # Errors
/// [`AttestError`] if the TEE does not answer.
pub fn collect(
    attester: &mut dyn Attester,
    runtime_data: &RuntimeData,
) -> Result<Evidence, AttestError> {
    let runtime_data = runtime_data.to_bytes().map_err(AttestError::RuntimeData)?;
    let report = attester.report(&binding(&runtime_data))?;
    Ok(Evidence {
        tee: report.tee,
        evidence: report.evidence.into(),
        collateral: report.collateral.map(Into::into),
        runtime_data: runtime_data.into(),
    })
}
