//! The attestation result as EAR claims (draft-ietf-rats-ear-04, JSON serialisation).

use cordon_types::UnixSeconds;
use serde_json::{Map, Value, json};

use crate::verify::Verified;

/// The profile that our results follow (EAR §3).
pub const EAR_PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

/// The tiers of trustworthiness, best first (EAR §3.2). What would be contraindicated is a
/// [`crate::Rejection`] and never stands in a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The policy holds without reservation.
    Affirming,
    /// Tolerated, with a reservation that the reasons name.
    Warning,
}

impl Tier {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Affirming => "affirming",
            Self::Warning => "warning",
        }
    }
}

/// One claim of the trustworthiness vector (draft-ietf-rats-ar4si §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    InstanceIdentity,
    Configuration,
    Executables,
    Hardware,
    RuntimeOpaque,
}

impl Claim {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InstanceIdentity => "instance-identity",
            Self::Configuration => "configuration",
            Self::Executables => "executables",
            Self::Hardware => "hardware",
            Self::RuntimeOpaque => "runtime-opaque",
        }
    }
}

/// The result as a JSON object.
pub(crate) fn claims(
    verified: &Verified,
    vector: &[(Claim, i8)],
    status: Tier,
    policy: &str,
    notices: &[String],
    (issued, expires): (UnixSeconds, UnixSeconds),
) -> Map<String, Value> {
    let runtime = verified.runtime_data();
    let used = &verified.genuine().used;
    let items: Map<_, _> =
        used.items.iter().map(|(key, digest)| (key.to_string(), json!(digest))).collect();
    let vector: Map<_, _> =
        vector.iter().map(|(claim, value)| (claim.as_str().to_owned(), json!(value))).collect();
    let submod = json!({
        "ear_status": status.as_str(),
        "ear_trustworthiness_vector": vector,
        "ear_appraisal_policy_ids": [policy],
        "cordon.tee-kind": verified.tee().as_str(),
        "cordon.assurance": verified.genuine().assurance.as_str(),
        "cordon.platform": verified.genuine().platform,
        "cordon.collateral": { "items": items, "earliest-expiry": used.expires },
        "cordon.notices": notices,
        "cordon.measurement.launch": verified.genuine().measurement,
        "cordon.evidence-hash": verified.evidence_digest(),
        "cordon.bound-key": {
            "signing": runtime.guard_signing_key,
            "box": cordon_crypto::sha256(&[runtime.guard_box_key.as_bytes()]),
        },
        "cordon.run": runtime.run,
        "cordon.agreement": runtime.agreement,
        "cordon.engine": runtime.engine,
        "cordon.sandbox": runtime.sandbox,
    });
    let claims = json!({
        "eat_profile": EAR_PROFILE,
        "iat": issued,
        "exp": expires,
        "eat_nonce": verified.nonce().to_hex(),
        "ear_verifier_id": {
            "developer": "cordon",
            "build": concat!("cordon-verifier ", env!("CARGO_PKG_VERSION")),
        },
        "cordon.relying-party": verified.party(),
        "submods": { "cpu": submod },
    });
    match claims {
        Value::Object(claims) => claims,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}
