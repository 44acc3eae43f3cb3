//! The attestation report of SEV-SNP, from the bytes that the firmware signed (AMD 56860 rev 1.58,
//! table 23).
//!
//! Every byte is either a field or reserved, and reserved bytes are zero: a report that says
//! something which this version does not know is refused, and no byte can be changed unnoticed.

use crate::rejection::{Rejection, RejectionCode};

/// Bytes of a report, signature included.
pub const REPORT_BYTES: usize = 1_184;
/// Bytes that the signature covers: all before it.
const SIGNED_BYTES: usize = 0x2a0;
/// Each of r and s: 48 bytes little-endian, then zeros.
const SCALAR_FIELD_BYTES: usize = 72;
const SCALAR_BYTES: usize = 48;

/// A report whose every byte has been looked at. Nothing in it is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    raw: &'a [u8; REPORT_BYTES],
    /// Layout: 2, 3 or 5.
    pub version: u32,
    /// Security version of the guest, as its identity block says.
    pub guest_svn: u32,
    /// What the guest was launched with.
    pub policy: Policy,
    /// Product line that signed, where the report says it (version 3 and later).
    pub generation: Option<Generation>,
    /// Privilege level that asked for it: 0 is the highest.
    pub vmpl: u32,
    /// Features of the machine.
    pub platform: Platform,
    /// Which key signed, and whether an author key did.
    pub key: KeyInfo,
    /// Versions that the signing key stands for.
    pub reported_tcb: RawTcb,
    /// Versions that run now.
    pub current_tcb: RawTcb,
    /// Versions below which the platform cannot go back.
    pub committed_tcb: RawTcb,
    /// Versions that ran when the guest was launched.
    pub launch_tcb: RawTcb,
    /// Firmware that runs now, and firmware that is committed: major, minor, build.
    pub current_version: (u8, u8, u8),
    /// Likewise, committed.
    pub committed_version: (u8, u8, u8),
}

/// A product line, as the processor's family and model tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generation {
    /// Zen 3, EPYC 7003.
    Milan,
    /// Zen 4, EPYC 9004 and 8004 (Genoa, Bergamo, Siena).
    Genoa,
    /// Zen 5, EPYC 9005.
    Turin,
}

impl Generation {
    /// All that this version knows.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// As AMD's certificates and key server name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }
}

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Eight bytes of security versions; what each means depends on the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawTcb(pub [u8; 8]);

impl std::fmt::Display for RawTcb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&cordon_types::hex::encode(&self.0))
    }
}

/// The guest policy, bit by bit (56860 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy(u64);

/// Features of the machine (56860 table 23, PLATFORM_INFO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform(u64);

/// Who signed (56860 table 23, at 048h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// An author key signed the identity key.
    pub has_author_key: bool,
    /// What signed the report.
    pub signing_key: SigningKey,
}

/// The key that signed a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SigningKey {
    /// Of this chip.
    Vcek,
    /// Of a cloud provider, loaded into the chip.
    Vlek,
}

impl SigningKey {
    /// The name of its certificate.
    pub const fn certificate_name(self) -> &'static str {
        match self {
            Self::Vcek => "SEV-VCEK",
            Self::Vlek => "SEV-VLEK",
        }
    }

    /// Its role in reasons.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }
}

impl Policy {
    /// Whether the host may read the guest's memory.
    pub const fn allows_debugging(self) -> bool {
        self.bit(19)
    }

    /// Whether the guest may be moved by a migration agent.
    pub const fn allows_migration(self) -> bool {
        self.bit(18)
    }

    /// Whether it may run on processors with SMT.
    pub const fn allows_smt(self) -> bool {
        self.bit(16)
    }

    /// Whether it may run on one socket only.
    pub const fn is_single_socket(self) -> bool {
        self.bit(20)
    }

    /// Whether memory must be encrypted with AES-256-XTS.
    pub const fn demands_aes_256_xts(self) -> bool {
        self.bit(22)
    }

    /// The oldest firmware interface that it accepts: major, minor.
    pub const fn minimum_abi(self) -> (u8, u8) {
        ((self.0 >> 8) as u8, self.0 as u8)
    }

    /// All bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    const fn bit(self, index: u32) -> bool {
        self.0 >> index & 1 == 1
    }
}

impl Platform {
    /// SMT is on.
    pub const fn has_smt(self) -> bool {
        self.0 & 1 == 1
    }

    /// All memory is encrypted transparently.
    pub const fn encrypts_memory(self) -> bool {
        self.0 >> 1 & 1 == 1
    }

    /// Power readings are off.
    pub const fn has_rapl_off(self) -> bool {
        self.0 >> 3 & 1 == 1
    }

    /// Ciphertext is hidden from the host.
    pub const fn hides_ciphertext(self) -> bool {
        self.0 >> 4 & 1 == 1
    }

    /// The firmware has looked for memory that answers under two addresses (BadRAM).
    pub const fn has_checked_aliases(self) -> bool {
        self.0 >> 5 & 1 == 1
    }

    /// All bits.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl<'a> Report<'a> {
    /// Reads a report.
    ///
    /// # Errors
    /// If it has another size, an unknown version, product, key or algorithm, or a reserved byte
    /// that is not zero.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Rejection> {
        let raw: &[u8; REPORT_BYTES] = bytes.try_into().map_err(|_| {
            let found = format_args!("{} bytes", bytes.len());
            malformed("report", found, format_args!("{REPORT_BYTES} bytes"))
        })?;
        let fields = Fields(raw);
        let version = fields.u32(0x000);
        if !matches!(version, 2 | 3 | 5) {
            return Err(malformed("report.version", version, "2, 3 or 5"));
        }
        let algorithm = fields.u32(0x034);
        if algorithm != ECDSA_P384_SHA384 {
            let wanted = format_args!("{ECDSA_P384_SHA384}, ECDSA P-384 with SHA-384");
            return Err(malformed("report.signature_algo", algorithm, wanted));
        }
        let generation = generation(&fields, version)?;
        let report = Self {
            raw,
            version,
            guest_svn: fields.u32(0x004),
            policy: policy(&fields)?,
            generation,
            vmpl: vmpl(&fields)?,
            platform: platform(&fields)?,
            key: key_info(&fields)?,
            current_tcb: fields.tcb(0x038),
            reported_tcb: fields.tcb(0x180),
            committed_tcb: fields.tcb(0x1e0),
            launch_tcb: fields.tcb(0x1f0),
            current_version: fields.firmware(0x1e8),
            committed_version: fields.firmware(0x1ec),
        };
        let reserved = [
            ("report.reserved_04c", 0x04c..0x050),
            ("report.reserved_18b", 0x18b..0x1a0),
            ("report.reserved_1eb", 0x1eb..0x1ec),
            ("report.reserved_1ef", 0x1ef..0x1f0),
            ("report.reserved_208", 0x208..0x2a0),
            ("report.signature.r", 0x2a0 + SCALAR_BYTES..0x2a0 + SCALAR_FIELD_BYTES),
            (
                "report.signature.s",
                0x2a0 + SCALAR_FIELD_BYTES + SCALAR_BYTES..0x2a0 + 2 * SCALAR_FIELD_BYTES,
            ),
            ("report.signature.reserved", 0x2a0 + 2 * SCALAR_FIELD_BYTES..REPORT_BYTES),
        ];
        for (field, range) in reserved {
            fields.zero(field, range)?;
        }
        // An author's digest without the flag says nothing, and would be taken for something.
        if !report.key.has_author_key {
            fields.zero("report.author_key_digest", 0x110..0x140)?;
        }
        if version < 3 {
            fields.zero("report.cpuid", 0x188..0x18b)?;
        }
        if version < 5 {
            fields.zero("report.mitigation_vectors", 0x1f8..0x208)?;
        }
        Ok(report)
    }

    /// What the guest had bound into it.
    pub fn report_data(&self) -> &[u8] {
        &self.raw[0x050..0x090]
    }

    /// What was launched.
    pub fn measurement(&self) -> &[u8] {
        &self.raw[0x090..0x0c0]
    }

    /// What the host gave it at launch.
    pub fn host_data(&self) -> &[u8] {
        &self.raw[0x0c0..0x0e0]
    }

    /// Digest of the key that signed the guest's identity, or zeros.
    pub fn id_key_digest(&self) -> &[u8] {
        &self.raw[0x0e0..0x110]
    }

    /// Digest of the key that signed that key, or zeros.
    pub fn author_key_digest(&self) -> &[u8] {
        &self.raw[0x110..0x140]
    }

    /// The chip, or zeros where the machine hides it.
    pub fn chip_id(&self) -> &[u8] {
        &self.raw[0x1a0..0x1e0]
    }

    /// Whether a migration agent is bound to the guest.
    pub fn has_migration_agent(&self) -> bool {
        self.raw[0x160..0x180].iter().any(|byte| *byte != 0xff)
    }

    /// What the signature covers.
    pub fn signed(&self) -> &[u8] {
        &self.raw[..SIGNED_BYTES]
    }

    /// The signature as ECDSA wants it: r and s, big-endian.
    pub fn signature(&self) -> [u8; 2 * SCALAR_BYTES] {
        let mut signature = [0; 2 * SCALAR_BYTES];
        let (r, s) = signature.split_at_mut(SCALAR_BYTES);
        for (scalar, start) in [(r, SIGNED_BYTES), (s, SIGNED_BYTES + SCALAR_FIELD_BYTES)] {
            scalar.copy_from_slice(&self.raw[start..start + SCALAR_BYTES]);
            scalar.reverse();
        }
        signature
    }
}

/// ECDSA with P-384 and SHA-384 (56860 §10.1).
const ECDSA_P384_SHA384: u32 = 1;

fn generation(fields: &Fields<'_>, version: u32) -> Result<Option<Generation>, Rejection> {
    if version < 3 {
        return Ok(None);
    }
    let (family, model) = (fields.0[0x188], fields.0[0x189]);
    match (family, model) {
        (0x19, 0x00..=0x0f) => Ok(Some(Generation::Milan)),
        (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Ok(Some(Generation::Genoa)),
        (0x1a, 0x00..=0x11) => Ok(Some(Generation::Turin)),
        _ => Err(malformed(
            "report.cpuid",
            format_args!("family {family:#x}, model {model:#x}"),
            "Milan, Genoa or Turin",
        )),
    }
}

fn policy(fields: &Fields<'_>) -> Result<Policy, Rejection> {
    const MUST_BE_ONE: u64 = 1 << 17;
    const KNOWN: u64 = (1 << 26) - 1;
    let bits = fields.u64(0x008);
    if bits & MUST_BE_ONE == 0 || bits & !KNOWN != 0 {
        return Err(malformed(
            "report.policy",
            format_args!("{bits:#x}"),
            "known bits, bit 17 set",
        ));
    }
    Ok(Policy(bits))
}

fn platform(fields: &Fields<'_>) -> Result<Platform, Rejection> {
    const KNOWN: u64 = 0b1011_1111;
    let bits = fields.u64(0x040);
    if bits & !KNOWN != 0 {
        return Err(malformed("report.platform_info", format_args!("{bits:#x}"), "known bits"));
    }
    Ok(Platform(bits))
}

fn vmpl(fields: &Fields<'_>) -> Result<u32, Rejection> {
    match fields.u32(0x030) {
        vmpl @ 0..=3 => Ok(vmpl),
        // What the host asks for on behalf of the guest; nobody in the guest has seen it.
        other => Err(malformed("report.vmpl", format_args!("{other:#x}"), "0 to 3")),
    }
}

fn key_info(fields: &Fields<'_>) -> Result<KeyInfo, Rejection> {
    let bits = fields.u32(0x048);
    let refuse = |wanted| Err(malformed("report.key_info", format_args!("{bits:#x}"), wanted));
    if bits >> 5 != 0 {
        return refuse("known bits");
    }
    if bits >> 1 & 1 == 1 {
        return refuse("a signature: the chip's key is masked");
    }
    let signing_key = match bits >> 2 & 7 {
        0 => SigningKey::Vcek,
        1 => SigningKey::Vlek,
        _ => return refuse("signed by VCEK or VLEK"),
    };
    Ok(KeyInfo { has_author_key: bits & 1 == 1, signing_key })
}

/// Fields by their offsets.
struct Fields<'a>(&'a [u8; REPORT_BYTES]);

impl Fields<'_> {
    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        std::array::from_fn(|index| self.0[offset + index])
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }

    fn tcb(&self, offset: usize) -> RawTcb {
        RawTcb(self.array(offset))
    }

    /// Major, minor, build.
    fn firmware(&self, offset: usize) -> (u8, u8, u8) {
        let [build, minor, major] = self.array(offset);
        (major, minor, build)
    }

    fn zero(&self, field: &'static str, range: std::ops::Range<usize>) -> Result<(), Rejection> {
        match self.0[range.clone()].iter().position(|byte| *byte != 0) {
            None => Ok(()),
            Some(at) => {
                let byte = self.0[range.start + at];
                let found = format_args!("{byte:#04x} at {:#x}", range.start + at);
                Err(malformed(field, found, "zeros"))
            }
        }
    }
}

fn malformed(
    field: &'static str,
    found: impl std::fmt::Display,
    wanted: impl std::fmt::Display,
) -> Rejection {
    Rejection::new(RejectionCode::Malformed, field, found, wanted)
}
