//! What vendors publish and evidence needs: certificates, revocation lists, signed statements.
//!
//! Items are known by what they are, never by a name that came along: each is read, and its key
//! made from its contents. Nothing here is believed: verification checks every signature.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use cordon_crypto::sha256;
use cordon_types::{Sha256Digest, UnixSeconds, hex};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::rejection::{Rejection, RejectionCode};
use crate::snp::{self, Generation, SigningKey};

/// What an item is, and of whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CollateralKey {
    /// AMD's root of a product line (ARK).
    AmdRoot(Generation),
    /// What the root signed: ASK for the keys of chips, ASVK for loaded keys.
    AmdAuthority(Generation, SigningKey),
    /// The key of one chip at one set of versions, or a loaded key (VCEK, VLEK).
    AmdLeaf {
        /// Product line.
        generation: Generation,
        /// Which of the two.
        kind: SigningKey,
        /// The chip, as the certificate names it; nothing for a loaded key.
        hardware_id: Vec<u8>,
        /// Security versions, as in reports.
        tcb: snp::RawTcb,
    },
    /// The revocation list of AMD's root.
    AmdRevocations(Generation),
}

impl std::fmt::Display for CollateralKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AmdRoot(generation) => write!(f, "amd/{generation}/ark"),
            Self::AmdAuthority(generation, SigningKey::Vcek) => write!(f, "amd/{generation}/ask"),
            Self::AmdAuthority(generation, SigningKey::Vlek) => write!(f, "amd/{generation}/asvk"),
            Self::AmdLeaf { generation, kind: SigningKey::Vcek, hardware_id, tcb } => {
                write!(f, "amd/{generation}/vcek/{}/{tcb}", hex::encode(hardware_id))
            }
            Self::AmdLeaf { generation, kind: SigningKey::Vlek, tcb, .. } => {
                write!(f, "amd/{generation}/vlek/{tcb}")
            }
            Self::AmdRevocations(generation) => write!(f, "amd/{generation}/crl"),
        }
    }
}

impl cordon_types::LogSafe for CollateralKey {}

/// Items by their keys, and how far the vendors had counted when last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collateral {
    items: BTreeMap<CollateralKey, Vec<u8>>,
    seen: BTreeMap<CollateralKey, u64>,
}

/// What was used of it, for logs, results and the next verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// SHA-256 of each item.
    pub items: BTreeMap<CollateralKey, Sha256Digest>,
    /// How far its issuer had counted: what is older must never be accepted again.
    pub numbers: BTreeMap<CollateralKey, u64>,
    /// When the first of them ends.
    pub expires: Option<UnixSeconds>,
}

impl Collateral {
    /// No collateral in hand. Hardware evidence cannot be appraised with it.
    pub const fn none() -> Self {
        Self { items: BTreeMap::new(), seen: BTreeMap::new() }
    }

    /// Reads what a vendor's server, a firmware or a file gave: a certificate or revocation list
    /// (DER, or any number of them as PEM), or the table that AMD's firmware hands to guests.
    /// An item that is there already stays: what came first is the relying party's own.
    ///
    /// # Errors
    /// If a part of it is nothing that this version knows.
    pub fn add(&mut self, bytes: &[u8]) -> Result<Vec<CollateralKey>, Rejection> {
        let mut keys = Vec::new();
        for item in split(bytes)? {
            let key = recognised(&item)?;
            if let Entry::Vacant(place) = self.items.entry(key.clone()) {
                place.insert(item);
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// Refuses what its issuer had left behind when these numbers were seen.
    pub fn with_seen(mut self, seen: impl IntoIterator<Item = (CollateralKey, u64)>) -> Self {
        self.seen.extend(seen);
        self
    }

    /// The item with this key.
    pub fn get(&self, key: &CollateralKey) -> Option<&[u8]> {
        self.items.get(key).map(Vec::as_slice)
    }

    /// All of them.
    pub fn items(&self) -> impl Iterator<Item = (&CollateralKey, &[u8])> {
        self.items.iter().map(|(key, item)| (key, item.as_slice()))
    }

    /// Takes an item out: one that is no longer valid makes room for what evidence brings.
    pub fn remove(&mut self, key: &CollateralKey) -> Option<Vec<u8>> {
        self.items.remove(key)
    }

    /// This collateral, and what evidence carries where it has none itself.
    pub(crate) fn with_carried(&self, carried: Option<&[u8]>) -> Result<Self, Rejection> {
        let mut all = self.clone();
        if let Some(carried) = carried {
            all.add(carried)?;
        }
        Ok(all)
    }

    pub(crate) fn require(
        &self,
        key: &CollateralKey,
        role: &'static str,
    ) -> Result<&[u8], Rejection> {
        self.get(key).ok_or_else(|| missing(role, key))
    }

    /// Whether the issuer had counted no further than this when last seen.
    pub(crate) fn require_not_older(
        &self,
        key: &CollateralKey,
        role: &'static str,
        number: u64,
    ) -> Result<(), Rejection> {
        match self.seen.get(key) {
            Some(seen) if number < *seen => {
                let wanted = format_args!("{seen} or later");
                Err(Rejection::new(RejectionCode::CollateralRollback, role, number, wanted))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Used {
    pub(crate) fn note(&mut self, key: CollateralKey, item: &[u8], expires: Option<UnixSeconds>) {
        self.items.insert(key, sha256(&[item]));
        self.expires = match (self.expires, expires) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

pub(crate) fn missing(role: &'static str, wanted: impl std::fmt::Display) -> Rejection {
    Rejection::new(RejectionCode::CollateralMissing, role, "none", wanted)
}

/// The parts of what came: DER each.
fn split(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Rejection> {
    let refuse = |found: &dyn std::fmt::Display| {
        let wanted = "DER, PEM, or the certificate table of AMD's firmware";
        Rejection::new(RejectionCode::CollateralInvalid, "collateral", found, wanted)
    };
    if bytes.len() > MAX_COLLATERAL_BYTES {
        return Err(refuse(&format_args!("{} bytes", bytes.len())));
    }
    if bytes.windows(PEM_START.len()).any(|window| window == PEM_START) {
        let certificates = CertificateDer::pem_slice_iter(bytes)
            .map(|found| found.map(|der| der.as_ref().to_vec()));
        let lists = CertificateRevocationListDer::pem_slice_iter(bytes)
            .map(|found| found.map(|der| der.as_ref().to_vec()));
        let parts: Result<Vec<_>, _> = certificates.chain(lists).collect();
        let parts = parts.map_err(|_| refuse(&"broken PEM"))?;
        return if parts.is_empty() { Err(refuse(&"other PEM")) } else { Ok(parts) };
    }
    // A DER sequence starts so; the table starts with a name that does not.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.to_vec()]);
    }
    snp::certificate_table(bytes)
}

fn recognised(der: &[u8]) -> Result<CollateralKey, Rejection> {
    snp::recognised(der)
}

/// Larger than what all vendors give for one machine.
const MAX_COLLATERAL_BYTES: usize = 256 * 1024;
const PEM_START: &[u8] = b"-----BEGIN";
