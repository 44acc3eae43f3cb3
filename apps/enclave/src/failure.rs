//! Why a run came to nothing: stable codes, and never a word made from data.

use cordon_crypto::dsse::Envelope;
use cordon_protocol::worker::FailureCode;

/// The end of a run without a result.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What everybody may know.
    pub code: Code,
    /// A broker's signed refusal, if that is why.
    pub refusal: Option<Box<Envelope>>,
    /// What to change, for the author of a query: only of planning, before any key is asked for.
    pub detail: Option<String>,
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self { code, refusal: None, detail: None }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident, $text:literal;)*) => {
        /// Stable codes, as they stand in receipts.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($(#[$doc])* $name,)*
            /// The worker says that it could not.
            Worker(FailureCode),
            /// The gate lets nothing out.
            Gate(&'static str),
            /// A broker refused, with this code.
            Broker(String),
        }

        impl Code {
            /// The code as text: lower case with underscores.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Worker(code) => code.as_str(),
                    Self::Gate(code) => code,
                    Self::Broker(code) => code,
                }
            }

            #[cfg(test)]
            pub const PLAIN: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

codes! {
    /// The first frame is no start.
    BadStart, "bad_start";
    /// The agreement is not signed by its requester.
    AgreementSignature, "agreement_signature";
    /// The agreement does not hold together.
    AgreementInvalid, "agreement_invalid";
    /// The run request is not signed by the agreement's requester.
    RequestSignature, "request_signature";
    /// The run request is for another agreement or audience.
    RequestInvalid, "request_invalid";
    /// A parameter is missing, unknown or not among the agreed values.
    ParameterOutOfBounds, "parameter_out_of_bounds";
    /// The engine is not the agreed one.
    WrongEngine, "wrong_engine";
    /// No worker can be confined here.
    SandboxUnavailable, "sandbox_unavailable";
    /// A worker can be confined less than agreed only.
    SandboxTooWeak, "sandbox_too_weak";
    /// There is no evidence to be had here.
    NoEvidence, "no_evidence";
    /// The agreement does not name this kind of TEE.
    TeeNotAgreed, "tee_not_agreed";
    /// A manifest is not of a dataset and holder of the agreement, or does not hold together.
    ManifestInvalid, "manifest_invalid";
    /// A manifest is not signed by one of the holder's manifest keys.
    ManifestSignature, "manifest_signature";
    /// A dataset has another schema than the agreed one.
    SchemaNotAgreed, "schema_not_agreed";
    /// Planning the query gives other columns than the agreement pins.
    PlanDiffers, "plan_differs";
    /// A grant is not signed by the holder's broker.
    GrantSignature, "grant_signature";
    /// A grant is for another holder, run, evidence or guard.
    GrantContext, "grant_context";
    /// A grant names other keys than the agreed ones.
    GrantKeys, "grant_keys";
    /// A grant is not in the holder's log, or not witnessed as agreed.
    GrantNotLogged, "grant_not_logged";
    /// The keys of a grant do not open.
    GrantBox, "grant_box";
    /// A key is not the one that the manifest commits to.
    GrantCommitment, "grant_commitment";
    /// A broker said stop.
    Stopped, "stopped";
    /// A broker did not renew its lease in time.
    LeaseExpired, "lease_expired";
    /// A broker did not answer in time.
    BrokerSilent, "broker_silent";
    /// The host closed the connection or takes nothing any more.
    HostGone, "host_gone";
    /// The host sent what nobody asked for.
    HostMisbehaved, "host_misbehaved";
    /// The worker could not be started.
    WorkerNotStarted, "worker_not_started";
    /// The worker asked for what it may not have, or sent what is no message.
    WorkerMisbehaved, "worker_misbehaved";
    /// The worker crashed or was killed.
    WorkerCrashed, "worker_crashed";
    /// The worker ended without an answer.
    WorkerEnded, "worker_ended";
    /// The worker made a forbidden system call.
    WorkerForbidden, "worker_forbidden_call";
    /// The worker used up its processor time.
    WorkerCpuLimit, "worker_cpu_limit";
    /// The run took longer than agreed.
    Deadline, "deadline";
    /// The worker's table is not of the agreed form.
    OutputMalformed, "output_malformed";
    /// The result has more rows or bytes than agreed.
    OutputTooLarge, "output_too_large";
    /// A key of the agreement cannot be sealed to, or a document has no canonical form.
    CannotSeal, "cannot_seal";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_have_one_form() {
        let mut codes: Vec<_> = Code::PLAIN.iter().map(Code::as_str).collect();
        assert!(codes.iter().all(|c| c.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Code::PLAIN.len());
    }
}
