//! Why evidence is refused: for machines, for people, and what to do about it.

use std::borrow::Cow;
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
    pub remedy: Cow<'static, str>,
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
            remedy: Cow::Borrowed(code.remedy()),
        }
    }

    /// A remedy for this very case: "TDX module SVN is 6, needs 11: update the TDX module".
    pub(crate) fn with_remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = Cow::Owned(shortened(remedy.to_string()));
        self
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
    /// Nobody has said which platforms are good enough.
    PlatformPolicyMissing, "platform_policy_missing", Policy,
        "The data holder has not said which platforms it accepts.",
        "Have the security officer sign a platform policy.";
    /// The policy does not take this kind of TEE.
    TeeNotAccepted, "tee_not_accepted", Policy,
        "The agreement does not name this kind of TEE.",
        "Run the guard on a platform that the agreement names.";
    /// Collateral that cannot be read, or that its issuer did not sign.
    CollateralInvalid, "collateral_invalid", Chain,
        "The collateral of the evidence is not what its vendor issues.",
        "Fetch the collateral again.";
    /// The enclave that signs for others is not the vendor's, or not in the state that the vendor names.
    QuotingEnclaveRefused, "quoting_enclave_refused", Chain,
        "The enclave that vouches for the evidence is not the vendor's.",
        "Repair the platform's quoting service, and collect the evidence again.";
    /// The attestation key is not of the kind that can be believed.
    AttestationKeyUnfit, "attestation_key_unfit", Chain,
        "The attestation key could sign what its TPM has not seen.",
        "Make an attestation key that is restricted, fixed to its TPM, and made there.";
    /// The attestation key is not the one that hardware or enrolment vouches for.
    AttestationKeyUnknown, "attestation_key_unknown", Chain,
        "Nothing vouches for the attestation key.",
        "Enrol the machine's attestation key, or collect the evidence on the machine that it names.";
    /// A key in the chain was revoked by its issuer.
    CertificateRevoked, "certificate_revoked", Revocation,
        "A key of the evidence was revoked by its vendor.",
        "Do not use this machine; ask its vendor.";
    /// Collateral before or after the time that it names, or without an end.
    CollateralTime, "collateral_time", Revocation,
        "The vendor's collateral is not valid now.",
        "Check the clocks, and fetch the collateral again.";
    /// Older collateral than was seen before.
    CollateralRollback, "collateral_rollback", Revocation,
        "The vendor's collateral is older than what this broker has seen.",
        "Fetch the collateral again; if it stays so, somebody withholds the newer.";
    /// The chip is on the relying party's own deny list, or not on its allow list.
    ChipRefused, "chip_refused", Revocation,
        "This machine is not one that the data holder accepts.",
        "Run the guard on another machine, or have the security officer accept this one.";
    /// Below the floor.
    TcbTooOld, "tcb_too_old", Tcb,
        "The platform's firmware or microcode is older than the data holder accepts.",
        "Update the platform's firmware.";
    /// The vendor knows no such state, or one older than all that it lists.
    TcbUnknown, "tcb_unknown", Tcb,
        "The vendor lists no level of security that the platform reaches.",
        "Update the platform's firmware.";
    /// The vendor gives the platform's state a name that is not accepted.
    TcbStatusRefused, "tcb_status_refused", Tcb,
        "The vendor says that the platform needs an update or another configuration.",
        "Update or configure the platform as the vendor's advisories say.";
    /// A security advisory that is not accepted concerns the platform.
    AdvisoryRefused, "advisory_refused", Tcb,
        "A security advisory that the data holder does not accept concerns the platform.",
        "Update the platform as the advisory says.";
    /// Firmware that can still be rolled back.
    TcbProvisional, "tcb_provisional", Tcb,
        "The platform runs firmware that is not committed, or less than is committed.",
        "Commit the firmware, and restart the platform.";
    /// A debugger may look inside.
    DebugEnabled, "debug_enabled", Policy,
        "The evidence is of a TEE that the host can look into.",
        "Start the guard without debugging.";
    /// It may be moved to another machine.
    MigrationEnabled, "migration_enabled", Policy,
        "The TEE may be moved to a machine that nobody has verified.",
        "Start the guard without migration.";
    /// Asked from a level that does not hold the guard.
    PrivilegeRefused, "privilege_refused", Policy,
        "The evidence was asked for from a privilege level that is not accepted.",
        "Start the guard at the accepted privilege level.";
    /// A feature of the platform is on, or off, against the policy.
    ConfigurationRefused, "configuration_refused", Policy,
        "The platform is configured in a way that the data holder does not accept.",
        "Configure the platform as the data holder's policy says.";
    /// The evidence says itself that it is too old.
    TooOld, "evidence_too_old", Freshness,
        "The evidence is older than is accepted.",
        "Collect the evidence again; check the clocks.";
    /// A counter of the platform went back.
    CounterWentBack, "counter_went_back", Freshness,
        "The platform's counters went back: it is an old state, or another machine.",
        "Collect the evidence again on the machine that was enrolled.";
    /// It answers nobody's challenge.
    Unbound, "unbound", Freshness,
        "The evidence answers no challenge.",
        "Collect the evidence for a nonce of this broker.";
    /// The log of events does not lead to the measured values.
    EventLogMismatch, "event_log_mismatch", Identity,
        "The log of what was started does not lead to what was measured.",
        "Collect evidence and event log again on the same machine.";
    /// Signed by somebody else than the policy names.
    WrongSigner, "wrong_signer", Identity,
        "The guard was signed by somebody whom the data holder does not accept.",
        "Run the released guard.";
    /// An older version than is accepted.
    GuardTooOld, "guard_too_old", Identity,
        "The guard is older than the data holder accepts.",
        "Run a newer release of the guard.";
    /// Launched with other configuration than agreed.
    WrongLaunchData, "wrong_launch_data", Identity,
        "The guard was launched with other configuration than the data holder accepts.",
        "Launch the guard with the released configuration.";
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
