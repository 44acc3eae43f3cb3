//! AMD's chain: root (ARK), signing authority (ASK) and the key of one chip at one set of firmware
//! versions (VCEK); or another authority (ASVK) and a key that a provider loads into its chips
//! (VLEK). AMD 57230 (VCEK certificate and KDS interface).

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use cordon_crypto::sha256;
use cordon_types::{Sha256Digest, UnixSeconds};
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier};

use super::report::{Generation, RawTcb, Report, SigningKey};
use super::store::authority_prefix;
use crate::rejection::{Rejection, RejectionCode};
use crate::x509::{Certificate, P_384, RevocationList};

/// The certificates of one report. Genuine ones come from AMD's key server, or from the firmware.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    /// AMD's root key of the product line.
    ark: Certificate<'a>,
    /// What the root signed: ASK, or ASVK for loaded keys.
    authority: Certificate<'a>,
    /// The key of the chip, or the loaded one, which the authority signed.
    leaf: Certificate<'a>,
    kind: SigningKey,
}

/// A root key that is trusted for one product line: SHA-256 of its SubjectPublicKeyInfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmdRoot {
    /// The line.
    pub generation: Generation,
    /// Of the key.
    pub digest: Sha256Digest,
}

/// A key of a chip that leads to a trusted root.
#[derive(Clone, Debug)]
pub struct ChipKey {
    generation: Generation,
    kind: SigningKey,
    point: Vec<u8>,
    tcb: RawTcb,
    /// 64 bytes, or the 8 that Turin has. A loaded key is of no one chip.
    hardware_id: Option<Vec<u8>>,
}

impl<'a> Chain<'a> {
    /// Reads the three, DER, of a key of this kind.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn parse(
        ark: &'a [u8],
        authority: &'a [u8],
        leaf: &'a [u8],
        kind: SigningKey,
    ) -> Result<Self, Rejection> {
        let role = match kind {
            SigningKey::Vcek => "ask",
            SigningKey::Vlek => "asvk",
        };
        Ok(Self {
            ark: Certificate::parse(ark, "ark")?,
            authority: Certificate::parse(authority, role)?,
            leaf: Certificate::parse(leaf, kind.as_str())?,
            kind,
        })
    }

    /// Follows the chain to a trusted root of its product line at `now`.
    ///
    /// # Errors
    /// The first certificate that is not valid at `now`, is not signed by the one above it, or is
    /// not what its place demands.
    pub fn verify(&self, roots: &[AmdRoot], now: UnixSeconds) -> Result<ChipKey, Rejection> {
        let Self { ark, authority, leaf, kind } = self;
        // The root is known by its key; its certificate only carries names and dates.
        let generation = trusted(ark, roots)?;
        for certificate in [ark, authority, leaf] {
            certificate.require_valid_at(now)?;
        }
        ark.require_authority(1)?;
        ark.require_issued_by(ark)?;
        require_name(authority, &format!("{}{generation}", authority_prefix(*kind)))?;
        authority.require_authority(0)?;
        authority.require_issued_by(ark)?;
        require_name(leaf, kind.certificate_name())?;
        leaf.require_issued_by(authority)?;

        require_only_known(leaf, generation, *kind)?;
        require_product(leaf, generation)?;
        Ok(ChipKey {
            generation,
            kind: *kind,
            point: leaf.key_of(&P_384)?.to_vec(),
            tcb: tcb(leaf, generation)?,
            hardware_id: match kind {
                SigningKey::Vcek => Some(hardware_id(leaf, generation)?),
                SigningKey::Vlek => None,
            },
        })
    }

    /// Checks the authority against the root's revocation list at `now`: number of the list, and
    /// until when it counts. Keys of chips all have serial 0: AMD revokes authorities only, and
    /// single keys are for the relying party's own deny list.
    ///
    /// # Errors
    /// If the list cannot be read, does not count now, is not of this root, or names the authority.
    pub fn require_not_revoked(
        &self,
        list: &[u8],
        now: UnixSeconds,
    ) -> Result<(u64, Option<UnixSeconds>), Rejection> {
        let list = RevocationList::parse(list, "crl")?;
        list.require_issued_by(&self.ark)?;
        list.require_valid_at(now)?;
        list.require_not_revoked(&self.authority)?;
        Ok((list.number()?, list.next_update()))
    }

    /// Until when each is valid: root, authority, leaf.
    pub fn ends(&self) -> [UnixSeconds; 3] {
        [&self.ark, &self.authority, &self.leaf].map(Certificate::not_after)
    }
}

impl ChipKey {
    /// Its product line.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether this very key signed the report, and stands for the versions and the chip that the
    /// report names.
    ///
    /// # Errors
    /// If not.
    pub fn require_signed(&self, report: &Report<'_>) -> Result<(), Rejection> {
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &self.point);
        key.verify(report.signed(), &report.signature()).map_err(|_| {
            let found = "a signature that does not verify";
            let wanted = format_args!("one by `{}`", self.kind.as_str());
            Rejection::new(RejectionCode::BadSignature, "report.signature", found, wanted)
        })?;
        if report.key.signing_key != self.kind {
            let (found, wanted) = (report.key.signing_key.as_str(), self.kind.as_str());
            let code = RejectionCode::WrongProduct;
            return Err(Rejection::new(code, "report.key_info", found, wanted));
        }
        if let Some(named) = report.generation
            && named != self.generation
        {
            let (found, wanted) = (named, self.generation);
            return Err(Rejection::new(RejectionCode::WrongProduct, "report.cpuid", found, wanted));
        }
        if report.reported_tcb != self.tcb {
            let wanted = format_args!("{}, as the {} says", self.tcb, self.kind.as_str());
            let (code, found) = (RejectionCode::TcbMismatch, report.reported_tcb);
            return Err(Rejection::new(code, "report.reported_tcb", found, wanted));
        }
        let Some(hardware_id) = &self.hardware_id else { return Ok(()) };
        let (named, rest) = report.chip_id().split_at(hardware_id.len());
        if named != hardware_id || rest.iter().any(|byte| *byte != 0) {
            return Err(Rejection::new(
                RejectionCode::WrongChip,
                "report.chip_id",
                cordon_types::hex::encode(report.chip_id()),
                cordon_types::hex::encode(hardware_id),
            ));
        }
        Ok(())
    }
}

/// The product line that this root is trusted for.
fn trusted(ark: &Certificate<'_>, roots: &[AmdRoot]) -> Result<Generation, Rejection> {
    let digest = sha256(&[&ark.key_info()?]);
    let found = roots.iter().find(|root| root.digest == digest);
    found.map(|root| root.generation).ok_or_else(|| {
        let wanted = "AMD's root key of Milan, Genoa or Turin";
        Rejection::new(RejectionCode::UnknownRoot, "ark", digest, wanted)
    })
}

fn require_name(certificate: &Certificate<'_>, wanted: &str) -> Result<(), Rejection> {
    let found = certificate.common_name();
    if found.as_deref() == Some(wanted) {
        return Ok(());
    }
    let found = found.unwrap_or_else(|| "no single common name".to_owned());
    Err(Rejection::new(RejectionCode::CertificateInvalid, certificate.role(), found, wanted))
}

/// A chip's certificate has the extensions of its product line, each once, and no others: an
/// unknown one might take back what the others say.
fn require_only_known(
    leaf: &Certificate<'_>,
    generation: Generation,
    kind: SigningKey,
) -> Result<(), Rejection> {
    let spare: &[u32] = match generation {
        Generation::Milan | Generation::Genoa => &[4, 5, 6, 7],
        Generation::Turin => &[5, 6, 7],
    };
    let spares = spare.iter().map(|arc| svn_extension(*arc));
    let parts = layout(generation).iter().map(|(arc, _)| svn_extension(*arc));
    let owner = match kind {
        SigningKey::Vcek => HARDWARE_ID,
        SigningKey::Vlek => PROVIDER,
    };
    let mut known: Vec<_> =
        [STRUCT_VERSION, PRODUCT_NAME, owner].into_iter().chain(spares).chain(parts).collect();
    let mut found: Vec<_> = leaf.extensions().collect();
    known.sort_unstable();
    found.sort_unstable();
    if found == known {
        return Ok(());
    }
    let differs = found.iter().find(|oid| !known.contains(oid));
    let found = match differs {
        Some(unknown) => format!("extension {unknown}"),
        None => format!("{} extensions", found.len()),
    };
    let wanted = format_args!("the {} extensions of {generation}", known.len());
    Err(Rejection::new(RejectionCode::CertificateInvalid, leaf.role(), found, wanted))
}

/// `Milan-B0`, `Turin`: the product line, then perhaps a stepping.
fn require_product(leaf: &Certificate<'_>, generation: Generation) -> Result<(), Rejection> {
    let bytes = leaf.extension(PRODUCT_NAME)?;
    let name = Ia5StringRef::from_der(bytes).ok();
    let name = name.as_ref().map_or("no text", |name| name.as_str());
    if name.split('-').next() == Some(generation.as_str()) {
        return Ok(());
    }
    Err(Rejection::new(RejectionCode::WrongProduct, "product_name", name, generation))
}

/// The versions that the key stands for, laid out as reports of its product line have them.
pub(super) fn tcb(leaf: &Certificate<'_>, generation: Generation) -> Result<RawTcb, Rejection> {
    let mut tcb = [0; 8];
    for (arc, place) in layout(generation) {
        let bytes = leaf.extension(svn_extension(*arc))?;
        tcb[*place] = u8::from_der(bytes).map_err(|error| {
            let wanted = "an integer of one byte";
            let code = RejectionCode::CertificateInvalid;
            Rejection::new(code, "security_version", error.kind(), wanted)
        })?;
    }
    Ok(RawTcb(tcb))
}

/// Last arc of the extension, and place in the eight bytes of a report.
pub(super) const fn layout(generation: Generation) -> &'static [(u32, usize)] {
    match generation {
        // Boot loader, TEE, SNP firmware, microcode.
        Generation::Milan | Generation::Genoa => &[(1, 0), (2, 1), (3, 6), (8, 7)],
        // FMC before them.
        Generation::Turin => &[(9, 0), (1, 1), (2, 2), (3, 3), (8, 7)],
    }
}

/// Bytes of a chip's name in its certificate.
pub(super) const fn hardware_id_bytes(generation: Generation) -> usize {
    match generation {
        Generation::Milan | Generation::Genoa => 64,
        Generation::Turin => 8,
    }
}

/// The chip: raw bytes.
pub(super) fn hardware_id(
    vcek: &Certificate<'_>,
    generation: Generation,
) -> Result<Vec<u8>, Rejection> {
    let wanted = hardware_id_bytes(generation);
    let bytes = vcek.extension(HARDWARE_ID)?;
    if bytes.len() == wanted && bytes.iter().any(|byte| *byte != 0) {
        return Ok(bytes.to_vec());
    }
    let (found, wanted) = (cordon_types::hex::encode(bytes), format_args!("{wanted} bytes"));
    Err(Rejection::new(RejectionCode::CertificateInvalid, "hardware_id", found, wanted))
}

const STRUCT_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.1");
const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const SVN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3");
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const PROVIDER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");

fn svn_extension(arc: u32) -> ObjectIdentifier {
    // One arc more than a name that is far below the limit.
    SVN.push_arc(arc).unwrap_or(SVN)
}

/// SHA-256 of the public keys of AMD's roots, as `openssl x509 -pubkey` and DER give them, from
/// the chains that AMD publishes for each product line.
pub const AMD_ROOTS: [AmdRoot; 3] = [
    AmdRoot {
        generation: Generation::Milan,
        digest: Sha256Digest::from_bytes([
            0x9f, 0x05, 0x6b, 0xee, 0x44, 0x37, 0x7e, 0x29, 0x30, 0x8c, 0xb5, 0xff, 0xa8, 0x95,
            0xbd, 0xfb, 0x62, 0xd1, 0x88, 0x81, 0xfa, 0x6b, 0xed, 0x8d, 0x6f, 0x07, 0x5b, 0x02,
            0x04, 0x08, 0x9c, 0xb9,
        ]),
    },
    AmdRoot {
        generation: Generation::Genoa,
        digest: Sha256Digest::from_bytes([
            0x42, 0x9a, 0x69, 0xc9, 0x42, 0x2a, 0xa2, 0x58, 0xee, 0x4d, 0x8d, 0xb5, 0xfc, 0xda,
            0x9c, 0x64, 0x70, 0xef, 0x15, 0xf8, 0xcd, 0x5a, 0x9c, 0xeb, 0xd6, 0xcb, 0xc7, 0xd9,
            0x0b, 0x86, 0x38, 0x31,
        ]),
    },
    AmdRoot {
        generation: Generation::Turin,
        digest: Sha256Digest::from_bytes([
            0x4f, 0x12, 0x54, 0x10, 0x56, 0x3a, 0x2a, 0xb9, 0xa5, 0x03, 0x56, 0xf9, 0x24, 0x3f,
            0x6f, 0xe0, 0xb6, 0xf7, 0x3d, 0xe9, 0x86, 0x03, 0xf5, 0x3f, 0x90, 0x33, 0x9c, 0x70,
            0xe9, 0xd7, 0xad, 0x08,
        ]),
    },
];
