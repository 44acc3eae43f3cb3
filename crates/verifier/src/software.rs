//! Evidence of the software TEE: a report that the launcher's root key signed.
//!
//! It has no chain, no collateral and no time of its own; freshness is the nonce alone. The
//! envelope's JSON has one accepted spelling, so that evidence has one digest.

use cordon_crypto::dsse::{Document as _, Envelope, EnvelopeError};
use cordon_protocol::evidence::{Evidence, SoftwareReport, TeeKind};
use cordon_protocol::release::Assurance;
use cordon_types::{UnixSeconds, hex};

use crate::collateral::{Collateral, Used};
use crate::rejection::{Rejection, RejectionCode};
use crate::roots::TrustRoots;
use crate::verify::{EvidenceVerifier, Genuine, PlatformClaims, ReportData};

/// The software TEE, for development.
pub(crate) struct SoftwareVerifier;

impl EvidenceVerifier for SoftwareVerifier {
    fn kind(&self) -> TeeKind {
        TeeKind::Software
    }

    fn verify(
        &self,
        evidence: &Evidence,
        _collateral: &Collateral,
        roots: &TrustRoots,
        _now: UnixSeconds,
        report_data: &ReportData,
    ) -> Result<Genuine, Rejection> {
        // Before a byte of it is read: where there is no root, there is nothing to verify.
        let Some(root) = roots.software() else {
            return Err(Rejection::new(
                RejectionCode::SoftwareTeeRefused,
                "tee",
                evidence.tee,
                "a hardware TEE",
            ));
        };
        if let Some(collateral) = &evidence.collateral {
            return Err(Rejection::new(
                RejectionCode::CollateralUnexpected,
                "collateral",
                format_args!("{} bytes", collateral.as_slice().len()),
                "none",
            ));
        }
        let bytes = evidence.evidence.as_slice();
        let envelope = Envelope::from_json(bytes, MAX_ENVELOPE_BYTES).map_err(refused)?;
        if envelope.to_json() != bytes {
            let found = "another spelling of the same envelope";
            return Err(malformed("evidence", found, "the one spelling of an envelope"));
        }
        let report: SoftwareReport = envelope.open(root.key()).map_err(refused)?.into_value();
        report_data.require(report.report_data.as_slice(), "report.report_data")?;
        if hex::decode_array::<32>(&report.measurement).is_none() {
            let wanted = "64 lower-case hex digits";
            return Err(malformed("report.measurement", report.measurement, wanted));
        }
        Ok(Genuine {
            measurement: report.measurement,
            assurance: Assurance::None,
            platform: PlatformClaims::Software,
            used: Used::default(),
        })
    }
}

fn refused(error: EnvelopeError) -> Rejection {
    let expected = SoftwareReport::PAYLOAD_TYPE;
    match error {
        EnvelopeError::WrongSigner { expected, found } => {
            Rejection::new(RejectionCode::UnknownRoot, "evidence.keyid", found, expected)
        }
        EnvelopeError::BadSignature(key) => Rejection::new(
            RejectionCode::BadSignature,
            "evidence.sig",
            "a signature that does not verify",
            format_args!("one by `{key}`"),
        ),
        EnvelopeError::TooLarge { size, limit } => Rejection::new(
            RejectionCode::TooLarge,
            "evidence",
            format_args!("{size} bytes"),
            format_args!("at most {limit} bytes"),
        ),
        EnvelopeError::WrongType { .. } => {
            malformed("evidence.payloadType", "another type of document", expected)
        }
        EnvelopeError::Malformed(_) => malformed("evidence", "no DSSE envelope", "one"),
        EnvelopeError::Payload { source, .. } => malformed("evidence.payload", source, expected),
    }
}

fn malformed(
    field: &'static str,
    found: impl std::fmt::Display,
    wanted: impl std::fmt::Display,
) -> Rejection {
    Rejection::new(RejectionCode::Malformed, field, found, wanted)
}

/// The largest report in base64, its type and its signature.
const MAX_ENVELOPE_BYTES: usize = SoftwareReport::MAX_BYTES * 2;
