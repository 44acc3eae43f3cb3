//! A look-alike TPM 2.0: it quotes what a test tells it to, with any field changed before it signs.

use aws_lc_rs::digest::{SHA256, SHA384, digest};

use crate::pki::Key;

/// TPMA_OBJECT of a fit attestation key: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth,
/// restricted, sign.
pub const ATTESTATION_KEY: u32 = 0x0005_0072;

/// TPMS_ATTEST of a quote, part by part.
#[derive(Clone, Debug)]
pub struct Attest {
    /// `ff544347`.
    pub magic: u32,
    /// `8018`.
    pub kind: u16,
    /// The qualified name of the key.
    pub signer: Vec<u8>,
    /// The challenge.
    pub extra_data: Vec<u8>,
    /// Milliseconds.
    pub clock: u64,
    /// Resets.
    pub reset_count: u32,
    /// Restarts.
    pub restart_count: u32,
    /// Whether the clock is sure: 0 or 1.
    pub safe: u8,
    /// Version.
    pub firmware: u64,
    /// Number of banks, hash and bitmap of each.
    pub selection: Vec<(u16, Vec<u8>)>,
    /// Hash of the registers.
    pub pcr_digest: Vec<u8>,
}

impl Attest {
    /// A valid quote over registers of the SHA-256 bank.
    pub fn new(extra_data: &[u8], registers: &[(u32, Vec<u8>)]) -> Self {
        let mut bitmap = vec![0; 3];
        for (index, _) in registers {
            bitmap[*index as usize / 8] |= 1 << (index % 8);
        }
        let values: Vec<u8> = registers.iter().flat_map(|(_, value)| value.clone()).collect();
        Self {
            magic: 0xff54_4347,
            kind: 0x8018,
            signer: [&[0, 0x0b], [0x51; 32].as_slice()].concat(),
            extra_data: extra_data.to_vec(),
            clock: 1_000_000,
            reset_count: 7,
            restart_count: 3,
            safe: 1,
            firmware: 0x2019_1023_0016_3636,
            selection: vec![(0x000b, bitmap)],
            pcr_digest: digest(&SHA256, &values).as_ref().to_vec(),
        }
    }

    /// As a TPM encodes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.magic.to_be_bytes());
        out.extend(self.kind.to_be_bytes());
        out.extend(sized(&self.signer));
        out.extend(sized(&self.extra_data));
        out.extend(self.clock.to_be_bytes());
        out.extend(self.reset_count.to_be_bytes());
        out.extend(self.restart_count.to_be_bytes());
        out.push(self.safe);
        out.extend(self.firmware.to_be_bytes());
        out.extend((self.selection.len() as u32).to_be_bytes());
        for (hash, bitmap) in &self.selection {
            out.extend(hash.to_be_bytes());
            out.push(bitmap.len() as u8);
            out.extend(bitmap);
        }
        out.extend(sized(&self.pcr_digest));
        out
    }
}

/// TPMT_PUBLIC of a signing key with these attributes.
pub fn public_area(key: &Key, attributes: u32) -> Vec<u8> {
    let (kind, scheme): (u16, u16) = match key {
        Key::Rsa(_) => (0x0001, 0x0014),
        Key::P256(_) | Key::P384(_) => (0x0023, 0x0018),
    };
    let mut out = Vec::new();
    out.extend(kind.to_be_bytes());
    out.extend([0x00, 0x0b]);
    out.extend(attributes.to_be_bytes());
    // No policy, no cipher; a scheme with SHA-256.
    out.extend([0, 0, 0x00, 0x10]);
    out.extend(scheme.to_be_bytes());
    out.extend([0x00, 0x0b]);
    let public = key.public();
    match key {
        Key::Rsa(_) => {
            // RSAPublicKey: headers and a zero, the modulus, then the exponent 65,537.
            out.extend([0x08, 0x00, 0, 0, 0, 0]);
            out.extend(sized(&public[9..265]));
        }
        Key::P256(_) | Key::P384(_) => {
            let (x, y) = public[1..].split_at((public.len() - 1) / 2);
            out.extend([0x00, 0x03, 0x00, 0x10]);
            out.extend([sized(x), sized(y)].concat());
        }
    }
    out
}

/// TPMT_SIGNATURE over a quote.
pub fn sign(key: &Key, attest: &[u8]) -> Vec<u8> {
    signature(key, &key.sign_raw(attest))
}

/// TPMT_SIGNATURE of a bare one.
pub fn signature(key: &Key, raw: &[u8]) -> Vec<u8> {
    match key {
        Key::Rsa(_) => [&[0x00, 0x14, 0x00, 0x0b], sized(raw).as_slice()].concat(),
        Key::P256(_) | Key::P384(_) => {
            let (r, s) = raw.split_at(raw.len() / 2);
            [vec![0x00, 0x18, 0x00, 0x0b], sized(r), sized(s)].concat()
        }
    }
}

/// TPM2B.
pub fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat()
}

/// One event of a log, part by part.
#[derive(Clone, Debug)]
pub struct Event {
    /// Index as the log has it.
    pub register: u32,
    /// `EV_…`.
    pub kind: u32,
    /// Hash and digest.
    pub digests: Vec<(u16, Vec<u8>)>,
    /// Its data.
    pub data: Vec<u8>,
}

impl Event {
    /// One whose digests are those of its data, in SHA-256 and SHA-384.
    pub fn new(register: u32, kind: u32, data: &[u8]) -> Self {
        let of = |algorithm| digest(algorithm, data).as_ref().to_vec();
        let digests = vec![(0x000b, of(&SHA256)), (0x000c, of(&SHA384))];
        Self { register, kind, digests, data: data.to_vec() }
    }

    /// TCG_PCR_EVENT2.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.register.to_le_bytes());
        out.extend(self.kind.to_le_bytes());
        out.extend((self.digests.len() as u32).to_le_bytes());
        for (hash, digest) in &self.digests {
            out.extend(hash.to_le_bytes());
            out.extend(digest);
        }
        out.extend((self.data.len() as u32).to_le_bytes());
        out.extend(&self.data);
        out
    }
}

/// The first event of a log: the hashes of all others, with their lengths.
pub fn log_header(hashes: &[(u16, u16)]) -> Vec<u8> {
    let mut event = b"Spec ID Event03\0".to_vec();
    event.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    event.extend((hashes.len() as u32).to_le_bytes());
    for (hash, size) in hashes {
        event.extend(hash.to_le_bytes());
        event.extend(size.to_le_bytes());
    }
    event.push(0);
    let mut out = vec![0, 0, 0, 0, 3, 0, 0, 0];
    out.extend([0; 20]);
    out.extend((event.len() as u32).to_le_bytes());
    out.extend(event);
    out
}

/// A log with digests of SHA-256 and SHA-384.
pub fn log(events: &[Event]) -> Vec<u8> {
    let events = events.iter().flat_map(Event::encode);
    log_header(&[(0x000b, 32), (0x000c, 48)]).into_iter().chain(events).collect()
}
