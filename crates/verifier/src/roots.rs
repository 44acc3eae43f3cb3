use std::borrow::Cow;

use cordon_crypto::VerifyingKey;

use crate::snp::{AMD_ROOTS, AmdRoot};

/// The roots that signatures must lead to, per kind of TEE.
///
/// What weakens them says so in its name, so that whoever looks for trouble can search for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRoots {
    // INVARIANT: only `dangerous_development` sets it.
    software: Option<SoftwareRoot>,
    vendors: VendorRoots,
}

/// Root keys of the vendors of hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorRoots {
    /// AMD's, by product line.
    pub amd: Cow<'static, [AmdRoot]>,
}

/// The root key of one software TEE. A type of its own, so that no other root can stand in for
/// it and it can stand in for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftwareRoot(VerifyingKey);

impl VendorRoots {
    /// The genuine ones, compiled in.
    pub const fn pinned() -> Self {
        Self { amd: Cow::Borrowed(&AMD_ROOTS) }
    }
}

impl TrustRoots {
    /// The pinned vendor roots. Evidence of the software TEE is refused, whoever signed it.
    pub const fn production() -> Self {
        Self { software: None, vendors: VendorRoots::pinned() }
    }

    /// Also accepts the software TEE whose launcher holds this root key. What it vouches for is
    /// not confidential: the operator of the machine reads all of it.
    pub const fn dangerous_development(root_key: VerifyingKey) -> Self {
        Self { software: Some(SoftwareRoot(root_key)), vendors: VendorRoots::pinned() }
    }

    /// Trusts other vendors than the genuine ones: whoever holds these keys can make evidence of
    /// anything. For tests of what genuine hardware does not do on demand.
    pub const fn dangerous_vendors(vendors: VendorRoots) -> Self {
        Self { software: None, vendors }
    }

    /// The software TEE's root, in development only.
    pub const fn software(&self) -> Option<&SoftwareRoot> {
        self.software.as_ref()
    }

    /// The vendors' roots.
    pub const fn vendors(&self) -> &VendorRoots {
        &self.vendors
    }

    /// AMD's roots.
    pub fn amd(&self) -> &[AmdRoot] {
        &self.vendors.amd
    }
}

impl SoftwareRoot {
    /// The launcher's public key.
    pub const fn key(&self) -> &VerifyingKey {
        &self.0
    }
}
