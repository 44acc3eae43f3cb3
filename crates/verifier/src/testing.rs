//! A valid case, to be changed in one place and signed again.

use cordon_crypto::dsse::Signed;
use cordon_crypto::{RecipientSecret, SigningKey, sha256};
use cordon_protocol::evidence::{
    Evidence, PartyNonce, RuntimeData, SandboxLevel, SoftwareReport, TeeKind, binding,
};
use cordon_protocol::{RunId, V1};
use cordon_types::{Nonce, PartyId, Secret, UnixSeconds};

use crate::collateral::Collateral;
use crate::rejection::{Rejection, RejectionCode};
use crate::roots::TrustRoots;
use crate::verify::{Expected, Verified, verify};

pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_700_000_000);

pub(crate) fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Secret::from_bytes([seed; 32]))
}

pub(crate) fn party(name: &str) -> PartyId {
    name.parse().expect("a party")
}

pub(crate) fn nonce_of(party: &str) -> Nonce {
    Nonce::from_bytes(*sha256(&[b"nonce", party.as_bytes()]).as_bytes())
}

pub(crate) fn measurement() -> String {
    "ab".repeat(32)
}

/// Evidence for the brokers of three hospitals, and what the second of them expects.
pub(crate) struct Case {
    pub runtime: RuntimeData,
    /// The bytes that travel, if not those of `runtime`.
    pub raw: Option<Vec<u8>>,
    /// The bytes that the report binds, if not `raw`.
    pub bound: Option<Vec<u8>>,
    pub report: SoftwareReport,
    pub root: SigningKey,
    pub roots: TrustRoots,
    pub expected_party: PartyId,
    pub expected_nonce: Nonce,
    pub holders: Vec<PartyId>,
    pub run: RunId,
    pub weakest_sandbox: SandboxLevel,
}

impl Case {
    pub fn valid() -> Self {
        let holders = ["hospital-a", "hospital-b", "hospital-c"].map(party).to_vec();
        let bound =
            |party: &PartyId| PartyNonce { party: party.clone(), nonce: nonce_of(party.as_str()) };
        let run = RunId(sha256(&[b"run"]));
        let root = signing_key(1);
        Self {
            runtime: RuntimeData {
                v: V1,
                run,
                agreement: sha256(&[b"agreement"]),
                nonces: holders.iter().map(bound).collect(),
                guard_signing_key: signing_key(3).verifying_key(),
                guard_box_key: RecipientSecret::from_seed(Secret::from_bytes([4; 32])).public_key(),
                engine: sha256(&[b"engine"]),
                sandbox: SandboxLevel::Namespaces,
            },
            raw: None,
            bound: None,
            report: SoftwareReport {
                v: V1,
                measurement: measurement(),
                report_data: Vec::new().into(),
            },
            roots: TrustRoots::dangerous_development(root.verifying_key()),
            root,
            expected_party: party("hospital-b"),
            expected_nonce: nonce_of("hospital-b"),
            holders,
            run,
            weakest_sandbox: SandboxLevel::Namespaces,
        }
    }

    /// The evidence, bound and signed; `report.report_data` of the case wins if it is set.
    pub fn evidence(&self) -> Evidence {
        let raw = match &self.raw {
            Some(raw) => raw.clone(),
            None => self.runtime.to_bytes().expect("canonical"),
        };
        let mut report = self.report.clone();
        if report.report_data.as_slice().is_empty() {
            let bound = self.bound.as_ref().unwrap_or(&raw);
            report.report_data = binding(bound).as_slice().into();
        }
        let signed = Signed::sign(report, &self.root).expect("signs");
        Evidence {
            tee: TeeKind::Software,
            evidence: signed.envelope().to_json().into(),
            collateral: None,
            runtime_data: raw.into(),
        }
    }

    pub fn verify(&self) -> Result<Verified, Rejection> {
        self.verify_evidence(&self.evidence())
    }

    pub fn verify_evidence(&self, evidence: &Evidence) -> Result<Verified, Rejection> {
        let expected = Expected {
            party: &self.expected_party,
            nonce: &self.expected_nonce,
            holders: &self.holders,
            run: self.run,
            agreement: sha256(&[b"agreement"]),
            engine: sha256(&[b"engine"]),
            weakest_sandbox: self.weakest_sandbox,
        };
        verify(evidence, &Collateral::none(), &self.roots, NOW, &expected)
    }
}

/// The code of a case that differs from a valid one by `change`.
pub(crate) fn refused(change: impl FnOnce(&mut Case)) -> RejectionCode {
    let mut case = Case::valid();
    change(&mut case);
    case.verify().expect_err("must be refused").code
}
