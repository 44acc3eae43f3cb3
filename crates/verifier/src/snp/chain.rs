//! AMD's chain: root (ARK), signing authority (ASK) and the key of one chip at one set of firmware
//! versions (VCEK). AMD 57230 (VCEK certificate and KDS interface).

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use cordon_crypto::sha256;
use cordon_types::{Sha256Digest, UnixSeconds};
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier};

use super::report::{Generation, RawTcb, Report};
use crate::rejection::{Rejection, RejectionCode};
use crate::x509::{Certificate, P_384};

/// The certificates of one report, DER. Genuine chains come from AMD's key server.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    /// AMD's root key of the product line.
    pub ark: &'a [u8],
    /// What the root signed.
    pub ask: &'a [u8],
    /// The key of the chip, which the authority signed.
    pub vcek: &'a [u8],
}

/// A key of a chip that leads to a pinned root.
#[derive(Clone, Debug)]
pub struct ChipKey {
    generation: Generation,
    point: Vec<u8>,
    tcb: RawTcb,
    /// 64 bytes, or the 8 that Turin has.
    hardware_id: Vec<u8>,
}

impl<'a> Chain<'a> {
    /// Finds the three among certificates that came in any order, by their names. Names prove
    /// nothing: [`Chain::verify`] does.
    ///
    /// # Errors
    /// If one is missing, or cannot be read, or stands there twice.
    pub fn of(certificates: &'a [Vec<u8>]) -> Result<Self, Rejection> {
        let mut named = Vec::with_capacity(certificates.len());
        for der in certificates {
            let name = Certificate::parse(der, "collateral")?.common_name().unwrap_or_default();
            named.push((name, der.as_slice()));
        }
        let only = |role: &'static str, is_it: &dyn Fn(&str) -> bool| {
            let mut found = named.iter().filter(|(name, _)| is_it(name));
            match (found.next(), found.next()) {
                (Some((_, der)), None) => Ok(*der),
                (None, _) => Err(missing(role, "none")),
                (Some(_), Some(_)) => Err(missing(role, "more than one")),
            }
        };
        Ok(Self {
            ark: only("ark", &|name| name.starts_with("ARK-"))?,
            ask: only("ask", &|name| name.starts_with("SEV-") && name != CHIP_NAME)?,
            vcek: only("vcek", &|name| name == CHIP_NAME)?,
        })
    }

    /// Follows the chain to the pinned root of its product line at `now`.
    ///
    /// # Errors
    /// The first certificate that cannot be read, is not valid at `now`, is not signed by the one
    /// above it, or is not what its place demands.
    pub fn verify(&self, now: UnixSeconds) -> Result<ChipKey, Rejection> {
        let ark = Certificate::parse(self.ark, "ark")?;
        let ask = Certificate::parse(self.ask, "ask")?;
        let vcek = Certificate::parse(self.vcek, "vcek")?;
        // The root is known by its key; its certificate only carries names and dates.
        let generation = pinned(&ark)?;
        for certificate in [&ark, &ask, &vcek] {
            certificate.require_valid_at(now)?;
        }
        ark.require_issued_by(&ark)?;
        require_name(&ask, &format!("SEV-{}", product(generation)))?;
        ask.require_issued_by(&ark)?;
        require_name(&vcek, CHIP_NAME)?;
        vcek.require_issued_by(&ask)?;

        require_only_known(&vcek, generation)?;
        require_product(&vcek, generation)?;
        Ok(ChipKey {
            generation,
            point: vcek.key_of(&P_384)?.to_vec(),
            tcb: tcb(&vcek, generation)?,
            hardware_id: hardware_id(&vcek, generation)?,
        })
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
            Rejection::new(RejectionCode::BadSignature, "report.signature", found, "one by `vcek`")
        })?;
        if let Some(named) = report.generation
            && named != self.generation
        {
            let (found, wanted) = (product(named), product(self.generation));
            return Err(Rejection::new(RejectionCode::WrongProduct, "report.cpuid", found, wanted));
        }
        if report.reported_tcb != self.tcb {
            return Err(Rejection::new(
                RejectionCode::TcbMismatch,
                "report.reported_tcb",
                cordon_types::hex::encode(&report.reported_tcb.0),
                format_args!("{}, as the VCEK says", cordon_types::hex::encode(&self.tcb.0)),
            ));
        }
        let (named, rest) = report.chip_id().split_at(self.hardware_id.len());
        if named != self.hardware_id || rest.iter().any(|byte| *byte != 0) {
            return Err(Rejection::new(
                RejectionCode::WrongChip,
                "report.chip_id",
                cordon_types::hex::encode(report.chip_id()),
                cordon_types::hex::encode(&self.hardware_id),
            ));
        }
        Ok(())
    }
}

/// The name of the certificate of every chip.
const CHIP_NAME: &str = "SEV-VCEK";

fn missing(role: &'static str, found: &str) -> Rejection {
    Rejection::new(RejectionCode::CollateralMissing, role, found, "one certificate")
}

/// The product line whose root this is.
fn pinned(ark: &Certificate<'_>) -> Result<Generation, Rejection> {
    let digest = sha256(&[&ark.key_info()?]);
    let found = ROOTS.iter().find(|(_, root)| *root == digest);
    found.map(|(generation, _)| *generation).ok_or_else(|| {
        let wanted = "AMD's root key of Milan, Genoa or Turin";
        Rejection::new(RejectionCode::UnknownRoot, "ark", digest, wanted)
    })
}

pub(super) fn product(generation: Generation) -> &'static str {
    match generation {
        Generation::Milan => "Milan",
        Generation::Genoa => "Genoa",
        Generation::Turin => "Turin",
    }
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
fn require_only_known(vcek: &Certificate<'_>, generation: Generation) -> Result<(), Rejection> {
    let spare: &[u32] = match generation {
        Generation::Milan | Generation::Genoa => &[4, 5, 6, 7],
        Generation::Turin => &[5, 6, 7],
    };
    let spares = spare.iter().map(|arc| svn_extension(*arc));
    let parts = layout(generation).iter().map(|(arc, _)| svn_extension(*arc));
    let mut known: Vec<_> = [STRUCT_VERSION, PRODUCT_NAME, HARDWARE_ID]
        .into_iter()
        .chain(spares)
        .chain(parts)
        .collect();
    let mut found: Vec<_> = vcek.extensions().collect();
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
    let wanted = format_args!("the {} extensions of {}", known.len(), product(generation));
    Err(Rejection::new(RejectionCode::CertificateInvalid, "vcek", found, wanted))
}

/// `Milan-B0`, `Turin`: the product line, then perhaps a stepping.
fn require_product(vcek: &Certificate<'_>, generation: Generation) -> Result<(), Rejection> {
    let bytes = vcek.extension(PRODUCT_NAME)?;
    let name = Ia5StringRef::from_der(bytes).ok();
    let name = name.as_ref().map_or("no text", |name| name.as_str());
    if name.split('-').next() == Some(product(generation)) {
        return Ok(());
    }
    let wanted = product(generation);
    Err(Rejection::new(RejectionCode::WrongProduct, "vcek.product_name", name, wanted))
}

/// The versions that the key stands for, laid out as reports of its product line have them.
fn tcb(vcek: &Certificate<'_>, generation: Generation) -> Result<RawTcb, Rejection> {
    let mut tcb = [0; 8];
    for (arc, place) in layout(generation) {
        let bytes = vcek.extension(svn_extension(*arc))?;
        tcb[*place] = u8::from_der(bytes).map_err(|error| {
            let wanted = "an integer of one byte";
            let code = RejectionCode::CertificateInvalid;
            Rejection::new(code, "vcek.security_version", error.kind(), wanted)
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

/// The chip: raw bytes, 64 of them or, on Turin, 8.
fn hardware_id(vcek: &Certificate<'_>, generation: Generation) -> Result<Vec<u8>, Rejection> {
    let wanted = match generation {
        Generation::Milan | Generation::Genoa => 64,
        Generation::Turin => 8,
    };
    let bytes = vcek.extension(HARDWARE_ID)?;
    if bytes.len() == wanted && bytes.iter().any(|byte| *byte != 0) {
        return Ok(bytes.to_vec());
    }
    let (found, wanted) = (cordon_types::hex::encode(bytes), format_args!("{wanted} bytes"));
    Err(Rejection::new(RejectionCode::CertificateInvalid, "vcek.hardware_id", found, wanted))
}

const STRUCT_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.1");
const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const SVN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3");
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");

fn svn_extension(arc: u32) -> ObjectIdentifier {
    // One arc more than a name that is far below the limit.
    SVN.push_arc(arc).unwrap_or(SVN)
}

/// SHA-256 of the public keys of AMD's roots, as `openssl x509 -pubkey` and DER give them, from
/// the chains that AMD publishes for each product line.
const ROOTS: [(Generation, Sha256Digest); 3] = [
    (
        Generation::Milan,
        Sha256Digest::from_bytes([
            0x9f, 0x05, 0x6b, 0xee, 0x44, 0x37, 0x7e, 0x29, 0x30, 0x8c, 0xb5, 0xff, 0xa8, 0x95,
            0xbd, 0xfb, 0x62, 0xd1, 0x88, 0x81, 0xfa, 0x6b, 0xed, 0x8d, 0x6f, 0x07, 0x5b, 0x02,
            0x04, 0x08, 0x9c, 0xb9,
        ]),
    ),
    (
        Generation::Genoa,
        Sha256Digest::from_bytes([
            0x42, 0x9a, 0x69, 0xc9, 0x42, 0x2a, 0xa2, 0x58, 0xee, 0x4d, 0x8d, 0xb5, 0xfc, 0xda,
            0x9c, 0x64, 0x70, 0xef, 0x15, 0xf8, 0xcd, 0x5a, 0x9c, 0xeb, 0xd6, 0xcb, 0xc7, 0xd9,
            0x0b, 0x86, 0x38, 0x31,
        ]),
    ),
    (
        Generation::Turin,
        Sha256Digest::from_bytes([
            0x4f, 0x12, 0x54, 0x10, 0x56, 0x3a, 0x2a, 0xb9, 0xa5, 0x03, 0x56, 0xf9, 0x24, 0x3f,
            0x6f, 0xe0, 0xb6, 0xf7, 0x3d, 0xe9, 0x86, 0x03, 0xf5, 0x3f, 0x90, 0x33, 0x9c, 0x70,
            0xe9, 0xd7, 0xad, 0x08,
        ]),
    ),
];
