//! What a quote says, for people and for machines.

use std::collections::BTreeMap;

use cordon_types::hex;
use serde::Serialize;

use super::quote::Examined;
use super::registers::Bank;

/// What a quote says that its key signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The name of the attestation key, where its public area was seen.
    pub attestation_key: Option<String>,
    /// Its algorithm.
    pub key_algorithm: &'static str,
    /// What the TPM was asked to bind.
    pub extra_data: String,
    /// The hash of the registers.
    pub bank: Bank,
    /// The registers, by their indices.
    pub registers: BTreeMap<u32, String>,
    /// Milliseconds that the TPM ran since it was cleared.
    pub clock_ms: u64,
    /// Whether no later clock was ever seen.
    pub clock_safe: bool,
    /// How often the TPM was reset.
    pub reset_count: u32,
    /// How often it was resumed or restarted since then.
    pub restart_count: u32,
    /// The TPM's firmware, as its vendor numbers it, in hex.
    pub firmware: String,
}

impl Claims {
    pub(super) fn of(examined: &Examined<'_>, key_algorithm: &'static str) -> Self {
        let (quote, registers) = (examined.quote(), examined.registers());
        Self {
            attestation_key: examined.signer().map(ToString::to_string),
            key_algorithm,
            extra_data: hex::encode(quote.extra_data()),
            bank: registers.bank(),
            registers: registers.in_hex(),
            clock_ms: quote.clock_ms,
            clock_safe: quote.safe,
            reset_count: quote.reset_count,
            restart_count: quote.restart_count,
            firmware: format!("{:016x}", quote.firmware),
        }
    }
}
