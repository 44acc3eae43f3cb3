//! Look-alikes of the vendors of TEEs, and where genuine evidence lies. For tests only.
//!
//! A look-alike makes what its vendor makes: certificates, revocation lists, signed collateral and
//! evidence, all valid under roots of its own. A test takes a valid case, changes one thing, signs
//! again, and sees exactly one check fail.
#![forbid(unsafe_code)]

pub mod amd;
pub mod aws;
pub mod cbor;
pub mod der;
pub mod genuine;
pub mod pki;
pub mod tpm;
