use cordon_crypto::VerifyingKey;

/// The roots that signatures must lead to, per kind of TEE.
///
/// There are two ways to make one, and whoever looks for trouble can search for the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRoots {
    // INVARIANT: only `dangerous_development` sets it.
    software: Option<SoftwareRoot>,
}

/// The root key of one software TEE. A type of its own, so that no other root can stand in for
/// it and it can stand in for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftwareRoot(VerifyingKey);

impl TrustRoots {
    /// The pinned vendor roots. Evidence of the software TEE is refused, whoever signed it.
    pub const fn production() -> Self {
        Self { software: None }
    }

    /// Also accepts the software TEE whose launcher holds this root key. What it vouches for is
    /// not confidential: the operator of the machine reads all of it.
    pub const fn dangerous_development(root_key: VerifyingKey) -> Self {
        Self { software: Some(SoftwareRoot(root_key)) }
    }

    /// The software TEE's root, in development only.
    pub const fn software(&self) -> Option<&SoftwareRoot> {
        self.software.as_ref()
    }
}

impl SoftwareRoot {
    /// The launcher's public key.
    pub const fn key(&self) -> &VerifyingKey {
        &self.0
    }
}
