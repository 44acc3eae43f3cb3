//! Why evidence is refused: for machines, for people, and what to do about it.

use std::fmt;

use cordon_types::LogSafe;
use serde::{Serialize, Serializer};

/// A refusal of evidence. Everything in it comes from evidence, expectations and policy: no
/// record and no key is near this crate, so all of it may be shown to owner and auditor.
/// Everybody else gets the code and its [`RejectionCode::sentence`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{stage} refused `{field}`: found {found}, wanted {wanted}")]
pub struct Rejection {
    /// Stable code.
    pub code: RejectionCode,
    /// Which part of the work refused.
    pub stage: Stage,
    /// What was looked at, in the words of its format: `runtime_data.nonces`.
    pub field: &'static str,
    /// What was there.
    pub found: String,
    /// What should have been there.
    pub wanted: String,
    /// One public sentence without details.
    pub sentence: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Rejection {
    pub(crate) fn new(
        code: RejectionCode,
        field: &'static str,
        found: impl fmt::Display,
        wanted: impl fmt::Display,
    ) -> Self {
        Self {
            code,
            stage: code.stage(),
            field,
            found: shortened(found.to_string()),
            wanted: shortened(wanted.to_string()),
            sentence: code.sentence(),
            remedy: code.remedy(),
        }
    }
}

/// The part of verification or appraisal that refused, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading the evidence.
    Parse,
    /// Signatures up to a trusted root.
    Chain,
    /// Whether a key in the chain was revoked.
    Revocation,
    /// Whether it answers our challenge.
    Freshness,
    /// Versions of firmware and microcode.
    Tcb,
    /// What it is bound to: run, agreement, keys.
    Binding,
    /// Who it is: the measurement.
    Identity,
    /// What our policy accepts.
    Policy,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parse => "parse",
            Self::Chain => "chain",
            Self::Revocation => "revocation",
            Self::Freshness => "freshness",
            Self::Tcb => "tcb",
            Self::Binding => "binding",
            Self::Identity => "identity",
            Self::Policy => "policy",
        })
    }
}

impl LogSafe for Stage {}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $stage:ident, $sentence:literal, $remedy:literal;)*) => {
        /// Stable codes of refusals. Only ever added to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum RejectionCode {
            $($(#[$doc])* $name,)*
        }

        impl RejectionCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as text: lower case with underscores.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The stage that refuses so.
            pub const fn stage(self) -> Stage {
                match self { $(Self::$name => Stage::$stage,)* }
            }

            /// One public sentence without details.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// What to do about it.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    /// Over a size limit.
    TooLarge, "evidence_too_large", Parse,
        "The evidence is larger than any genuine one.",
        "Check that host and hub deliver evidence unchanged.";
    /// Not of the form that its kind has.
    Malformed, "evidence_malformed", Parse,
        "The evidence cannot be read.",
        "Check that guard and broker are of the same release.";
    /// The runtime data is not a canonical document.
    RuntimeDataMalformed, "runtime_data_malformed", Parse,
        "The evidence does not say in the agreed form what it binds.",
        "Check that guard and broker are of the same release.";
    /// Collateral came along that this kind of TEE does not have.
    CollateralUnexpected, "collateral_unexpected", Parse,
        "The evidence carries collateral that its kind of TEE does not have.",
        "Check that guard and broker are of the same release.";
    /// The software TEE, where hardware is demanded.
    SoftwareTeeRefused, "software_tee_refused", Chain,
        "The software TEE protects nothing, and this broker accepts hardware only.",
        "Run the guard in a hardware TEE; only a broker initialised for development takes the software TEE.";
    /// Signed by a root that is not trusted.
    UnknownRoot, "unknown_root", Chain,
        "The evidence is not signed by a root that this broker trusts.",
        "Enrol the root of the platform, if it is genuine.";
    /// The signature does not verify.
    BadSignature, "bad_signature", Chain,
        "The signature of the evidence does not verify.",
        "Collect the evidence again; if it stays so, somebody changes it on the way.";
    /// A certificate that cannot be read, or is not of the form that its place demands.
    CertificateInvalid, "certificate_invalid", Chain,
        "A certificate of the evidence is not what its vendor issues.",
        "Fetch the certificates of this machine again.";
    /// What is needed to verify is not in hand.
    CollateralMissing, "collateral_missing", Chain,
        "What is needed to verify the evidence is not in hand.",
        "Fetch the certificates of this machine.";
    /// Before or after the time that a certificate names.
    CertificateTime, "certificate_time", Chain,
        "A certificate of the evidence is not valid now.",
        "Check the clocks, or fetch the certificates of this machine again.";
    /// The report and its certificates are of different product lines.
    WrongProduct, "wrong_product", Chain,
        "The evidence and its certificates are of different processors.",
        "Fetch the certificates of this machine again.";
    /// The certificate is of another chip.
    WrongChip, "wrong_chip", Chain,
        "The certificate is of another chip than the evidence.",
        "Fetch the certificate of this chip.";
    /// The signing key stands for other firmware than the report.
    TcbMismatch, "tcb_mismatch", Tcb,
        "The signing key stands for other firmware versions than the evidence.",
        "Fetch the certificate of the firmware versions that the evidence reports.";
    /// The report is about other runtime data.
    NotBound, "not_bound", Binding,
        "The TEE's report was made for other keys or another run.",
        "Collect the evidence again; if it stays so, somebody exchanges it on the way.";
    /// Another run.
    WrongRun, "wrong_run", Binding,
        "The evidence is about another run.",
        "Start a guard for this run.";
    /// Another agreement.
    WrongAgreement, "wrong_agreement", Binding,
        "The evidence is about another agreement.",
        "Start a guard for this agreement.";
    /// Another engine.
    WrongEngine, "wrong_engine", Binding,
        "The guard would start another engine than the one that was agreed.",
        "Give the host the engine whose digest the agreement names.";
    /// The challenges in it are not sorted, or not those of the agreement's holders.
    WrongHolders, "wrong_holders", Binding,
        "The evidence does not answer exactly the holders of the agreement.",
        "Start a guard for this agreement.";
    /// Our challenge is not in it.
    NotFresh, "not_fresh", Freshness,
        "The evidence does not answer this broker's challenge.",
        "Ask for a new challenge; evidence cannot be used twice.";
    /// The worker would be confined less than agreed.
    SandboxTooWeak, "sandbox_too_weak", Policy,
        "The worker would be confined less than the agreement demands.",
        "Use a host whose kernel grants the agreed confinement.";
    /// The policy does not take this kind of TEE.
    TeeNotAccepted, "tee_not_accepted", Policy,
        "The agreement does not name this kind of TEE.",
        "Run the guard on a platform that the agreement names.";
    /// The measurement is not among the reference values.
    WrongMeasurement, "wrong_measurement", Identity,
        "The guard is not a program that was approved.",
        "Run the released guard, or agree on the measurement of this one.";
}

impl fmt::Display for RejectionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RejectionCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl LogSafe for RejectionCode {}

/// Cuts what an attacker may have made long; at a character, since it is for people.
fn shortened(mut text: String) -> String {
    if text.chars().count() > MAX_DETAIL_CHARS {
        text = text.chars().take(MAX_DETAIL_CHARS).collect();
        text.push('…');
    }
    text
}

/// A digest of 64 bytes in hex and some words fit.
const MAX_DETAIL_CHARS: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_stable_in_form() {
        let mut codes: Vec<_> = RejectionCode::ALL.iter().map(|code| code.as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), RejectionCode::ALL.len());
        for code in codes {
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
        }
        for code in RejectionCode::ALL {
            assert!(code.sentence().ends_with('.') && code.remedy().ends_with('.'), "{code}");
        }
    }

    #[test]
    fn what_an_attacker_wrote_is_cut() {
        let rejection =
            Rejection::new(RejectionCode::Malformed, "evidence", "é".repeat(10_000), "less");
        assert_eq!(rejection.found.chars().count(), MAX_DETAIL_CHARS + 1);
    }
}
