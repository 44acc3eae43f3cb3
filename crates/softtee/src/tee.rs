use cordon_crypto::dsse::{EnvelopeError, Signed};
use cordon_crypto::{SigningKey, VerifyingKey, sha256};
use cordon_protocol::V1;
use cordon_protocol::evidence::{Evidence, RuntimeData, SoftwareReport, TeeKind, binding};

/// The measurement of a guard: SHA-256 of its executable, lower-case hex.
pub fn measurement_of(guard: &[u8]) -> String {
    sha256(&[guard]).to_hex()
}

/// The root of one software TEE and what it measured: signs reports.
pub struct SoftwareTee {
    root: SigningKey,
    measurement: String,
}

impl SoftwareTee {
    /// A TEE that runs the guard of this measurement.
    pub fn new(root: SigningKey, measurement: String) -> Self {
        Self { root, measurement }
    }

    /// What it measured.
    pub fn measurement(&self) -> &str {
        &self.measurement
    }

    /// The key that development brokers trust.
    pub fn root_key(&self) -> VerifyingKey {
        self.root.verifying_key()
    }

    /// Signs 64 bytes of the guard's choice: the envelope's JSON.
    ///
    /// # Errors
    /// If the report is over its limit, which it never is.
    pub fn report(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, EnvelopeError> {
        let report = SoftwareReport {
            v: V1,
            measurement: self.measurement.clone(),
            report_data: report_data.as_slice().into(),
        };
        Ok(Signed::sign(report, &self.root)?.envelope().to_json())
    }

    /// Whole evidence for this runtime data, without a guard: for tests and benches of brokers.
    ///
    /// # Errors
    /// As [`SoftwareTee::report`].
    pub fn evidence(&self, runtime_data: &RuntimeData) -> Result<Evidence, EnvelopeError> {
        let runtime_data = runtime_data.to_bytes().map_err(|source| EnvelopeError::Payload {
            payload_type: <RuntimeData as cordon_crypto::dsse::Document>::PAYLOAD_TYPE,
            source,
        })?;
        Ok(Evidence {
            tee: TeeKind::Software,
            evidence: self.report(&binding(&runtime_data))?.into(),
            collateral: None,
            runtime_data: runtime_data.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_the_sha256_of_the_bytes() {
        // FIPS 180-4, the message "abc".
        assert_eq!(
            measurement_of(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
