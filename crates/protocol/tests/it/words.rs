//! Every enum whose variants are single words, and how they are spelled.

use cordon_protocol::agreement::{ResultKind, Review, ZeroPolicy};
use cordon_protocol::dataset::ColumnType;
use cordon_protocol::decision::Verdict;
use cordon_protocol::entry::{Action, Decision};
use cordon_protocol::evidence::{SandboxLevel, TeeKind};
use cordon_protocol::grant::LeaseVerdict;
use cordon_protocol::message::Stage;
use cordon_protocol::party::{Profile, Role};
use cordon_protocol::release::Assurance;
use cordon_protocol::worker::{FailureCode, Mode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The variants of an enum; it does not compile if one is missing.
macro_rules! every {
    ($name:ident: $($variant:ident)*) => {{
        fn every(value: $name) -> $name {
            match value { $($name::$variant => value),* }
        }
        spelled(stringify!($name), &[$(every($name::$variant)),*])
    }};
}

/// One line per enum.
pub fn listed() -> String {
    [
        every!(Action: LogStarted PartyEnrolled PersonEnrolled DatasetPublished AgreementProposed
            ApprovalGiven ApprovalRejected StudyStopped EvidenceAppraised GrantIssued GrantRefused
            LeaseRevoked OutputHeld OutputReviewed OutputCleared OutputRefused BudgetCharged
            KeyChanged ConfigChanged MessageRefused),
        every!(Assurance: None MeasuredBoot Hardware),
        every!(ColumnType: Boolean Int32 Int64 Float64 Decimal Date Timestamp Text),
        every!(Decision: Permit Deny),
        every!(FailureCode: BadJob QueryInvalid QueryForbidden ShapeRefused ColumnNotAgreed
            ParameterInvalid DataInvalid MemoryExceeded OutputTooLarge ReadFailed Internal),
        every!(LeaseVerdict: Go Stop),
        every!(Mode: Plan Run),
        every!(Profile: Development Production),
        every!(ResultKind: Key Count Sum Mean),
        every!(Review: EachHolder GateSuffices),
        every!(Role: Steward DataProtectionOfficer SecurityOfficer Reviewer Researcher Auditor
            Administrator),
        every!(SandboxLevel: Seccomp Namespaces NamespacesLandlock),
        every!(Stage: Planning Challenging Attesting Running Checking Sealing),
        every!(TeeKind: Software SevSnp Tdx Sgx Nitro AzureSnp AzureTdx Tpm),
        every!(Verdict: Approve Reject),
        every!(ZeroPolicy: Show Suppress),
    ]
    .concat()
}

/// Writes the variants down and checks that nothing else reads as one.
fn spelled<T: Serialize + DeserializeOwned + PartialEq>(name: &str, variants: &[T]) -> String {
    let mut line = format!("{name}:");
    for variant in variants {
        let json = serde_json::to_string(variant).expect("a word");
        assert!(serde_json::from_str::<T>(&json).expect("a word reads back") == *variant);
        let word = json.trim_matches('"');
        for other in [
            format!("\"{word}x\""),
            format!("\"{}\"", word.to_uppercase()),
            format!("\" {word}\""),
            format!("{{\"{word}\":0}}"),
            format!("[\"{word}\"]"),
            "\"\"".into(),
            "0".into(),
            "null".into(),
        ] {
            assert!(serde_json::from_str::<T>(&other).is_err(), "{name} takes {other}");
        }
        line.push(' ');
        line.push_str(word);
    }
    line.push('\n');
    line
}
