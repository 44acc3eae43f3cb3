//! Platform configuration registers: banks, selections and values.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use cordon_types::hex;
use serde::{Serialize, Serializer};

use super::wire::{Reader, SHA256, SHA384, malformed};
use crate::rejection::Rejection;

/// Registers of a TPM for PCs (TCG PC Client Platform TPM Profile §4.6): 0 to 23.
const REGISTERS: u32 = 24;
/// One bit for each.
const BITMAP_BYTES: u8 = 3;
/// No TPM has more banks.
const MAX_BANKS: u32 = 16;

/// A bank of registers: all that are extended with one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bank {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
}

impl Bank {
    /// Bytes of a register.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }

    /// The hash's number in the TCG's registry.
    pub const fn algorithm(self) -> u16 {
        match self {
            Self::Sha256 => SHA256,
            Self::Sha384 => SHA384,
        }
    }

    /// Its name: `sha256`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
        }
    }

    /// The hash of these parts, one after the other.
    pub(crate) fn hash(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = digest::Context::new(match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
        });
        parts.iter().for_each(|part| context.update(part));
        context.finish().as_ref().to_vec()
    }

    fn of(algorithm: u16) -> Option<Self> {
        [Self::Sha256, Self::Sha384].into_iter().find(|bank| bank.algorithm() == algorithm)
    }
}

impl Serialize for Bank {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Which registers a quote is about: TPML_PCR_SELECTION (part 2, §10.9.7).
pub(super) type Selection = BTreeMap<Bank, BTreeSet<u32>>;

/// Reads a selection, each bank once.
pub(super) fn selection(reader: &mut Reader<'_>) -> Result<Selection, Rejection> {
    const FIELD: &str = "quote.pcr_selection";
    let count = reader.u32(FIELD)?;
    if count > MAX_BANKS {
        let found = format_args!("{count} banks");
        return Err(malformed(FIELD, found, format_args!("at most {MAX_BANKS}")));
    }
    let mut selection = Selection::new();
    for _ in 0..count {
        let algorithm = reader.u16(FIELD)?;
        let bank = Bank::of(algorithm).ok_or_else(|| {
            malformed(FIELD, format_args!("bank {algorithm:#06x}"), "SHA-256 or SHA-384")
        })?;
        let size = reader.u8(FIELD)?;
        if size != BITMAP_BYTES {
            return Err(malformed(
                FIELD,
                format_args!("a bitmap of {size} bytes"),
                format_args!("{BITMAP_BYTES} bytes"),
            ));
        }
        let [first, second, third] = *reader.array(FIELD)?;
        let bits = u32::from_le_bytes([first, second, third, 0]);
        let registers = (0..REGISTERS).filter(|index| bits >> index & 1 == 1).collect();
        if selection.insert(bank, registers).is_some() {
            return Err(malformed(FIELD, format_args!("bank {} twice", bank.as_str()), "once"));
        }
    }
    Ok(selection)
}

/// Values of registers of one bank, as somebody says that they are. A quote proves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrValues {
    bank: Bank,
    values: BTreeMap<u32, Vec<u8>>,
}

impl PcrValues {
    /// Takes values by their registers' indices.
    ///
    /// # Errors
    /// If there is no such register, one comes twice, or a value is not of the bank's length.
    pub fn new(
        bank: Bank,
        values: impl IntoIterator<Item = (u32, Vec<u8>)>,
    ) -> Result<Self, Rejection> {
        const FIELD: &str = "pcr_values";
        let mut all = BTreeMap::new();
        for (index, value) in values {
            if index >= REGISTERS {
                return Err(malformed(FIELD, format_args!("register {index}"), "0 to 23"));
            }
            if value.len() != bank.size_bytes() {
                let found = format_args!("{} bytes for register {index}", value.len());
                return Err(malformed(FIELD, found, format_args!("{} bytes", bank.size_bytes())));
            }
            if all.insert(index, value).is_some() {
                return Err(malformed(FIELD, format_args!("register {index} twice"), "once"));
            }
        }
        Ok(Self { bank, values: all })
    }

    /// Their bank.
    pub const fn bank(&self) -> Bank {
        self.bank
    }

    /// The values by their registers' indices.
    pub const fn values(&self) -> &BTreeMap<u32, Vec<u8>> {
        &self.values
    }

    /// What a quote of exactly these registers is about.
    pub(super) fn selection(&self) -> Selection {
        Selection::from([(self.bank, self.values.keys().copied().collect())])
    }

    /// What a quote has of these values: the hash of its signature over all of them, the lowest
    /// register first (part 3, §18.4.1).
    pub(super) fn digest(&self) -> Vec<u8> {
        Bank::Sha256.hash(&self.values.values().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// For people and machines: `"7" -> "00…"`.
    pub(super) fn in_hex(&self) -> BTreeMap<u32, String> {
        self.values.iter().map(|(index, value)| (*index, hex::encode(value))).collect()
    }
}
