//! Every code of a refusal, with the sentence that everybody may read.

use std::fmt;

use cordon_types::LogSafe;
use cordon_verifier::RejectionCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $sentence:literal;)*) => {
        /// Stable codes of refusals. Only ever added to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
            /// The verifier refused the evidence; its own codes apply.
            Evidence(RejectionCode),
        }

        impl Code {
            /// All codes of this crate; those of evidence are [`RejectionCode::ALL`].
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as text: lower case with underscores.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Evidence(code) => code.as_str(),
                }
            }

            /// One public sentence without details.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)*
                    Self::Evidence(code) => code.sentence(),
                }
            }
        }
    };
}

codes! {
    // The agreement itself.
    /// Not signed by the requester that it names.
    AgreementSigner, "agreement_signer",
        "The agreement is not signed by the requester that it names.";
    /// A text is empty, too long, or holds characters that do not show.
    AgreementText, "agreement_text",
        "A text of the agreement is empty, too long, or holds characters that do not show.";
    /// A list is not sorted, repeats something, or is too short or too long.
    AgreementList, "agreement_list",
        "A list of the agreement is not in order, repeats something, or has the wrong length.";
    /// Two parties have the same name, or a person is in the wrong place.
    AgreementParties, "agreement_parties",
        "The agreement names a party or a person twice, or in a place that is not theirs.";
    /// One key stands for two things.
    AgreementKeyReused, "agreement_key_reused",
        "The agreement uses one key for two purposes.";
    /// A log's name cannot be used.
    AgreementLog, "agreement_log",
        "The agreement names a log by a name that is malformed or used twice.";
    /// The columns are not exactly those that the program touches.
    AgreementColumns, "agreement_columns",
        "The agreed columns are not exactly those that the program touches.";
    /// A table of the program comes from a dataset that is not agreed.
    AgreementSources, "agreement_sources",
        "A table of the program does not come from the agreed datasets.";
    /// A bound of a parameter is malformed.
    AgreementParameters, "agreement_parameters",
        "A parameter's allowed values are malformed.";
    /// The result has no columns that a gate can judge.
    AgreementResult, "agreement_result",
        "The columns of the result are malformed.";
    /// The platform is malformed.
    AgreementPlatform, "agreement_platform",
        "The agreement does not say properly where the program may run.";
    /// The software TEE in an agreement about patient data.
    AgreementSoftwareTee, "agreement_software_tee",
        "An agreement of profile production cannot allow the software TEE.";
    /// A number is outside its range.
    AgreementLimits, "agreement_limits",
        "A limit of the agreement is outside its range.";
    /// The smallest cell is too small.
    AgreementMinCell, "agreement_min_cell",
        "The agreement would show groups of too few patients.";
    /// Parameters vary and nobody reviews.
    AgreementReview, "agreement_review",
        "Results of different parameters can be compared, so people must review each output.";
    /// The reviewers do not fit the rule for reviews.
    AgreementReviewers, "agreement_reviewers",
        "The agreement does not name reviewers as its rule for reviews demands.";
    /// The rule for approvals cannot be met, or is met by nobody in particular.
    AgreementApprovals, "agreement_approvals",
        "The agreement's rule for approvals is malformed.";
    /// The number of witnesses is impossible, below a majority, or none.
    AgreementQuorum, "agreement_quorum",
        "The agreement demands less than a majority of the other holders as witnesses, or too many.";
    /// The validity is malformed.
    AgreementTime, "agreement_time",
        "The agreement's time of validity is malformed.";

    // The agreement and this broker.
    /// This broker is not among the holders.
    NotAHolder, "not_a_holder",
        "This broker's party is not a data holder of the agreement.";
    /// A key in the agreement is not the one that was enrolled.
    DirectoryMismatch, "directory_mismatch",
        "The agreement names keys that this broker has not enrolled.";
    /// Somebody of this name, or with this key, is enrolled already.
    DirectoryConflict, "directory_conflict",
        "Somebody of this name, or with this key, is enrolled already.";
    /// Development meets production.
    ProfileMismatch, "profile_mismatch",
        "The agreement is of another profile than this broker.";
    /// The dataset is not what was agreed.
    DatasetMismatch, "dataset_mismatch",
        "The dataset is not of the agreed schema, or not signed by an agreed key.";

    // Signed documents.
    /// Cannot be opened.
    DocumentInvalid, "document_invalid",
        "The signed document cannot be read, or its signature does not hold.";
    /// Signed by nobody who is enrolled.
    SignerUnknown, "signer_unknown",
        "The document is not signed by anybody whom this broker knows.";
    /// Signed by somebody else than it says.
    SignerMismatch, "signer_mismatch",
        "The document is not signed by the person whom it names.";
    /// The role is missing.
    RoleMissing, "role_missing",
        "The person's role does not permit this.";
    /// For another broker.
    WrongAudience, "wrong_audience",
        "The document is addressed to another broker.";
    /// About something else.
    WrongSubject, "wrong_subject",
        "The document is about another study, agreement or run.";
    /// Signed in the future, or expired.
    DocumentTime, "document_time",
        "The document is from the future, has expired, or lasts too long.";
    /// The requester's own.
    SelfApproval, "self_approval",
        "The requester of a study can neither approve it nor review its results.";

    // The run request.
    /// Not signed by the agreement's requester.
    RequestSigner, "request_signer",
        "The run is not requested by the requester of the agreement.";
    /// Not for exactly the holders.
    RequestAudience, "request_audience",
        "The run request is not addressed to exactly the holders of the agreement.";
    /// Another agreement.
    RequestAgreement, "request_agreement",
        "The run request is about another agreement.";
    /// A parameter outside its bounds.
    RequestParameters, "request_parameters",
        "The run's parameters are not among the agreed values.";
    /// Not in its time.
    RequestNotFresh, "request_not_fresh",
        "The run request is from the future, has expired, or lasts too long.";
    /// The challenge is too old.
    ChallengeExpired, "challenge_expired",
        "The guard took too long to answer the challenge.";
    /// No challenge is open: evidence that was used before, or never asked for.
    NotChallenged, "not_challenged",
        "No challenge is open for this run: each nonce counts once.";
    /// The run's keys went to another guard.
    OtherGuard, "other_guard",
        "The keys of this run were granted to another guard.";

    // Conditions of the policy.
    /// Before its time.
    AgreementNotYetValid, "agreement_not_yet_valid",
        "The agreement is not valid yet.";
    /// After its time.
    AgreementExpired, "agreement_expired",
        "The agreement is no longer valid.";
    /// Approvals are missing.
    ApprovalsMissing, "approvals_missing",
        "Not everybody who must approve the agreement has done so.";
    /// Somebody said no.
    ApprovalRejected, "approval_rejected",
        "A person of this data holder has rejected the agreement.";
    /// Stopped.
    StudyStopped, "study_stopped",
        "A person of this data holder has stopped the study.";
    /// No runs left.
    RunsSpent, "runs_spent",
        "All runs of the agreement are spent.";
    /// A key may not be used.
    KeyNotActive, "key_not_active",
        "A key of an agreed dataset is not active.";
    /// Time runs backwards.
    ClockSetBack, "clock_set_back",
        "The broker's clock is behind its own log.";
    /// The own log may have been set back.
    LogNotCurrent, "log_not_current",
        "The broker does not know yet whether its log is the newest one.";
    /// Too few witnesses answer.
    WitnessesMissing, "witnesses_missing",
        "Too few witnesses of the broker's log can be reached.";
    /// The run failed.
    RunFailed, "run_failed",
        "The run ended without a result.";
    /// No gate judged.
    GateMissing, "gate_missing",
        "The receipt does not say that the agreed gate judged the result.";
    /// Too large.
    OutputTooLarge, "output_too_large",
        "The result is larger than agreed.";
    /// Nobody looked yet.
    ReviewsMissing, "reviews_missing",
        "A reviewer of this data holder has not cleared the result yet.";
    /// A reviewer said no.
    ReviewRejected, "review_rejected",
        "A reviewer of this data holder withholds the result.";
    /// A rule of the holder's own.
    HolderRule, "holder_rule",
        "A rule of this data holder forbids it.";
    /// The policy did not work.
    PolicyError, "policy_error",
        "The policy could not be evaluated, so the answer is no.";

    // The receipt.
    /// Not signed by the run's guard.
    ReceiptSigner, "receipt_signer",
        "The receipt is not signed by the guard that got the keys.";
    /// Not about what was granted.
    ReceiptMismatch, "receipt_mismatch",
        "The receipt does not match what this broker granted.";
    /// Another share.
    ShareMismatch, "share_mismatch",
        "The share of the result key is not the one that the receipt names.";
    /// A copy is missing, or another.
    ReviewCopyMismatch, "review_copy_mismatch",
        "The reviewers' copies are not those that the receipt names.";
}

impl Code {
    /// The code of this text, if there is one.
    pub fn parse(text: &str) -> Option<Self> {
        let own = Self::ALL.iter().copied().find(|code| code.as_str() == text);
        own.or_else(|| {
            let evidence = RejectionCode::ALL.iter().find(|code| code.as_str() == text);
            evidence.map(|code| Self::Evidence(*code))
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl LogSafe for Code {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_sentences_are_sentences() {
        let evidence = RejectionCode::ALL.iter().map(|code| Code::Evidence(*code));
        let all: Vec<Code> = Code::ALL.iter().copied().chain(evidence).collect();
        let texts: BTreeSet<_> = all.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), all.len());
        for code in all {
            assert_eq!(Code::parse(code.as_str()), Some(code));
            let is_code = |b: u8| b.is_ascii_lowercase() || b == b'_';
            assert!(code.as_str().bytes().all(is_code), "{code}");
            let sentence = code.sentence();
            assert!(sentence.ends_with('.') && !sentence.contains('`'), "{code}");
        }
        assert_eq!(Code::parse("ok"), None);
    }
}
