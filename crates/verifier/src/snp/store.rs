//! Which certificates a report needs, and how they are known.

use cordon_types::hex;

use super::chain;
use super::report::{Generation, Report, SigningKey};
use crate::collateral::{Collateral, CollateralKey, missing};
use crate::rejection::{Rejection, RejectionCode};
use crate::x509::{Certificate, RevocationList};

/// The certificates of one report, with their keys.
pub(super) struct Found<'a> {
    pub ark: (CollateralKey, &'a [u8]),
    pub authority: (CollateralKey, &'a [u8]),
    pub leaf: (CollateralKey, &'a [u8]),
}

/// What a report needs: one list for each product line that it may be of. A report of version 2
/// does not say; it takes the line whose root signed.
///
/// # Errors
/// If it is no report.
pub fn needs(report: &[u8]) -> Result<Vec<Vec<CollateralKey>>, Rejection> {
    let report = Report::parse(report)?;
    let of = |generation| {
        vec![
            leaf_key(&report, generation),
            CollateralKey::AmdAuthority(generation, report.key.signing_key),
            CollateralKey::AmdRoot(generation),
            CollateralKey::AmdRevocations(generation),
        ]
    };
    Ok(candidates(&report).into_iter().map(of).collect())
}

fn candidates(report: &Report<'_>) -> Vec<Generation> {
    match report.generation {
        Some(generation) => vec![generation],
        None => Generation::ALL.to_vec(),
    }
}

fn leaf_key(report: &Report<'_>, generation: Generation) -> CollateralKey {
    let kind = report.key.signing_key;
    let hardware_id = match kind {
        SigningKey::Vcek => &report.chip_id()[..chain::hardware_id_bytes(generation)],
        SigningKey::Vlek => &[],
    };
    let (hardware_id, tcb) = (hardware_id.to_vec(), report.reported_tcb);
    CollateralKey::AmdLeaf { generation, kind, hardware_id, tcb }
}

/// Finds them. The leaf is the one of this chip and these versions or, failing that, the only one
/// in hand: then the reason is not that it is missing but in what it differs.
pub(super) fn certificates<'a>(
    report: &Report<'_>,
    collateral: &'a Collateral,
) -> Result<Found<'a>, Rejection> {
    let kind = report.key.signing_key;
    let wanted: Vec<_> =
        candidates(report).into_iter().map(|line| leaf_key(report, line)).collect();
    let exact = wanted.iter().find_map(|key| Some((key.clone(), collateral.get(key)?)));
    let leaf = exact.or_else(|| {
        let mut others = collateral.items().filter(
            |(key, _)| matches!(key, CollateralKey::AmdLeaf { kind: found, .. } if *found == kind),
        );
        let (only, more) = (others.next()?, others.next());
        more.is_none().then(|| (only.0.clone(), only.1))
    });
    let leaf = leaf.ok_or_else(|| {
        let names = wanted.iter().map(ToString::to_string).collect::<Vec<_>>();
        missing(kind.as_str(), names.join(" or "))
    })?;
    let CollateralKey::AmdLeaf { generation, .. } = &leaf.0 else {
        return Err(missing(kind.as_str(), "a key of AMD's"));
    };
    let authority = CollateralKey::AmdAuthority(*generation, kind);
    let ark = CollateralKey::AmdRoot(*generation);
    let role = match kind {
        SigningKey::Vcek => "ask",
        SigningKey::Vlek => "asvk",
    };
    Ok(Found {
        authority: (authority.clone(), collateral.require(&authority, role)?),
        ark: (ark.clone(), collateral.require(&ark, "ark")?),
        leaf,
    })
}

/// What a certificate or revocation list of AMD's is, by what it says. That proves nothing.
pub(crate) fn recognised(der: &[u8]) -> Result<CollateralKey, Rejection> {
    let certificate = match Certificate::parse(der, "collateral") {
        Ok(certificate) => certificate,
        Err(error) => {
            // Neither: then the certificate's reason is the one to show.
            let list = RevocationList::parse(der, "collateral").map_err(|_| error)?;
            let name = list.issuer_common_name().unwrap_or_default();
            let line = name.strip_prefix("ARK-").and_then(generation);
            return line.map(CollateralKey::AmdRevocations).ok_or_else(|| unknown(&name));
        }
    };
    let name = certificate.common_name().unwrap_or_default();
    for kind in [SigningKey::Vcek, SigningKey::Vlek] {
        if name == kind.certificate_name() {
            let issuer = certificate.issuer_common_name().unwrap_or_default();
            let line = issuer.strip_prefix(authority_prefix(kind)).and_then(generation);
            let generation = line.ok_or_else(|| unknown(&issuer))?;
            return Ok(CollateralKey::AmdLeaf {
                generation,
                kind,
                hardware_id: match kind {
                    SigningKey::Vcek => chain::hardware_id(&certificate, generation)?,
                    SigningKey::Vlek => Vec::new(),
                },
                tcb: chain::tcb(&certificate, generation)?,
            });
        }
    }
    if let Some(line) = name.strip_prefix("ARK-").and_then(generation) {
        return Ok(CollateralKey::AmdRoot(line));
    }
    let authority = [SigningKey::Vlek, SigningKey::Vcek].into_iter().find_map(|kind| {
        let line = name.strip_prefix(authority_prefix(kind)).and_then(generation)?;
        Some(CollateralKey::AmdAuthority(line, kind))
    });
    authority.ok_or_else(|| unknown(&name))
}

/// The name of an authority, before the product line.
pub(super) const fn authority_prefix(kind: SigningKey) -> &'static str {
    match kind {
        SigningKey::Vcek => "SEV-",
        SigningKey::Vlek => "SEV-VLEK-",
    }
}

fn generation(name: &str) -> Option<Generation> {
    Generation::ALL.into_iter().find(|generation| generation.as_str() == name)
}

fn unknown(name: &str) -> Rejection {
    let wanted = "a certificate or revocation list of AMD's for Milan, Genoa or Turin";
    Rejection::new(RejectionCode::CollateralInvalid, "collateral", format_args!("`{name}`"), wanted)
}

/// The parts of the table that firmware hands to guests (GHCB specification §4.1.8.1): entries of a
/// name, an offset and a length, the last of them zeros. What a part is its contents tell.
pub(crate) fn certificate_table(table: &[u8]) -> Result<Vec<Vec<u8>>, Rejection> {
    const ENTRY_BYTES: usize = 24;
    const MAX_ENTRIES: usize = 16;
    let refuse = |found: &dyn std::fmt::Display| {
        let wanted = "a certificate table";
        Rejection::new(RejectionCode::CollateralInvalid, "collateral", found, wanted)
    };
    let mut parts = Vec::new();
    for entry in table.chunks_exact(ENTRY_BYTES).take(MAX_ENTRIES) {
        if entry.iter().all(|byte| *byte == 0) {
            return if parts.is_empty() { Err(refuse(&"an empty table")) } else { Ok(parts) };
        }
        let number = |at: usize| {
            let bytes = entry.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(usize::MAX, |bytes| u32::from_le_bytes(bytes) as usize)
        };
        let (start, size) = (number(16), number(20));
        let part = table.get(start..start.saturating_add(size)).filter(|part| !part.is_empty());
        let shown = || hex::encode(entry);
        parts.push(part.ok_or_else(|| refuse(&format_args!("entry {}", shown())))?.to_vec());
    }
    Err(refuse(&format_args!("{} bytes without an end of the list", table.len())))
}
