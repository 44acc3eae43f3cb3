//! An AMD of our own: roots, authorities, chips, revocation lists and reports of SEV-SNP (AMD
//! 57230, 56860).

use crate::der;
use crate::pki::{Certificate, Extension, Key, RevocationList, name, pem};

/// A product line, as far as its certificates and reports differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// As certificates name it.
    pub name: &'static str,
    /// As a chip's certificate names it.
    pub product_name: &'static str,
    /// Family and model, for reports of version 3 and later.
    pub cpuid: [u8; 3],
    /// Bytes of the chip's name in its certificate.
    pub hardware_id_bytes: usize,
    /// Last arc of the extension, and place in the eight bytes of a report.
    pub layout: &'static [(u64, usize)],
}

/// Zen 3.
pub const MILAN: Line = Line {
    name: "Milan",
    product_name: "Milan-B0",
    cpuid: [0x19, 0x01, 0x01],
    hardware_id_bytes: 64,
    layout: &[(1, 0), (2, 1), (3, 6), (8, 7)],
};

/// Zen 4.
pub const GENOA: Line =
    Line { name: "Genoa", product_name: "Genoa", cpuid: [0x19, 0x11, 0x01], ..MILAN };

/// Zen 5.
pub const TURIN: Line = Line {
    name: "Turin",
    product_name: "Turin",
    cpuid: [0x1a, 0x02, 0x01],
    hardware_id_bytes: 8,
    layout: &[(9, 0), (1, 1), (2, 2), (3, 3), (8, 7)],
};

/// The authorities of one product line.
pub struct Amd {
    /// Whose.
    pub line: Line,
    /// Signs the authorities and the revocation list.
    pub ark_key: Key,
    /// Signs the keys of chips.
    pub ask_key: Key,
    /// Signs the keys that are loaded into chips.
    pub asvk_key: Key,
}

/// One chip with the firmware that it runs.
pub struct Chip {
    /// Signs reports.
    pub key: Key,
    /// 64 bytes; on Turin, 8 and then zeros.
    pub id: [u8; 64],
    /// As in reports.
    pub tcb: [u8; 8],
}

/// Certificates of a chip that are in order, DER.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The root.
    pub ark: Vec<u8>,
    /// ASK, or ASVK.
    pub authority: Vec<u8>,
    /// VCEK, or VLEK.
    pub leaf: Vec<u8>,
    /// The list of the root.
    pub crl: Vec<u8>,
}

/// When everything is valid: a year on either side.
pub const NOW: u64 = 1_800_000_000;
const YEAR: u64 = 365 * 86_400;
/// When the list was issued.
pub const CRL_ISSUED: u64 = NOW - 86_400;
/// Until when it counts.
pub const CRL_ENDS: u64 = NOW + 30 * 86_400;
/// The list's number.
pub const CRL_NUMBER: u64 = 7;

/// Names the product.
pub const PRODUCT_NAME: &str = "1.3.6.1.4.1.3704.1.2";
/// Names the chip.
pub const HARDWARE_ID: &str = "1.3.6.1.4.1.3704.1.4";
/// Names the provider whose loaded key it is.
pub const PROVIDER: &str = "1.3.6.1.4.1.3704.1.5";

impl Amd {
    /// New keys. Takes seconds.
    pub fn new(line: Line) -> Self {
        Self { line, ark_key: Key::rsa_4096(), ask_key: Key::rsa_4096(), asvk_key: Key::rsa_4096() }
    }

    /// A chip of this line.
    pub fn chip(&self) -> Chip {
        let mut id = [0; 64];
        let used = &mut id[..self.line.hardware_id_bytes];
        used.fill(0xc7);
        let mut tcb = [0; 8];
        for (index, (_, place)) in self.line.layout.iter().enumerate() {
            tcb[*place] = 3 + u8::try_from(index).expect("few") * 60;
        }
        Chip { key: Key::p384(), id, tcb }
    }

    /// The root's certificate, to be signed by itself.
    pub fn ark(&self) -> Certificate {
        let mut ark = self.certificate("ARK-", "ARK-", &self.ark_key, &[1, 0, 0]);
        ark.extensions = vec![Extension::key_usage(0x06), Extension::authority(None)];
        ark
    }

    /// The authority of chips, to be signed by the root.
    pub fn ask(&self) -> Certificate {
        let mut ask = self.certificate("ARK-", "SEV-", &self.ask_key, &[1, 0, 1]);
        ask.extensions = vec![Extension::authority(Some(0)), Extension::key_usage(0x04)];
        ask
    }

    /// The authority of loaded keys, to be signed by the root.
    pub fn asvk(&self) -> Certificate {
        let mut asvk = self.certificate("ARK-", "SEV-VLEK-", &self.asvk_key, &[1, 0, 2]);
        asvk.extensions = vec![Extension::authority(Some(0)), Extension::key_usage(0x04)];
        asvk
    }

    /// The certificate of a chip's key, to be signed by the authority.
    pub fn vcek(&self, chip: &Chip) -> Certificate {
        let mut vcek = self.certificate("SEV-", "SEV-VCEK", &chip.key, &[0]);
        vcek.subject = self.name("SEV-VCEK");
        vcek.extensions = self.versions(chip);
        let id = chip.id[..self.line.hardware_id_bytes].to_vec();
        vcek.extensions.push(Extension::new(HARDWARE_ID, id));
        vcek
    }

    /// The certificate of a key that a provider loads into its chips.
    pub fn vlek(&self, chip: &Chip) -> Certificate {
        let mut vlek = self.certificate("SEV-VLEK-", "SEV-VLEK", &chip.key, &[0]);
        vlek.subject = self.name("SEV-VLEK");
        vlek.extensions = self.versions(chip);
        vlek.extensions.push(Extension::new(PROVIDER, der::ia5("Example Cloud")));
        vlek
    }

    /// The list of the root: revokes nothing that is in use.
    pub fn crl(&self) -> RevocationList {
        RevocationList {
            issuer: self.name(&format!("ARK-{}", self.line.name)),
            this_update: CRL_ISSUED,
            next_update: Some(CRL_ENDS),
            revoked: vec![vec![9, 9, 9]],
            extensions: vec![RevocationList::number(CRL_NUMBER)],
        }
    }

    /// All certificates of a chip, with its own key.
    pub fn certificates(&self, chip: &Chip) -> Certificates {
        Certificates {
            ark: self.ark().sign(&self.ark_key),
            authority: self.ask().sign(&self.ark_key),
            leaf: self.vcek(chip).sign(&self.ask_key),
            crl: self.crl().sign(&self.ark_key),
        }
    }

    /// All certificates of a chip, with a loaded key.
    pub fn loaded_certificates(&self, chip: &Chip) -> Certificates {
        Certificates {
            authority: self.asvk().sign(&self.ark_key),
            leaf: self.vlek(chip).sign(&self.asvk_key),
            ..self.certificates(chip)
        }
    }

    /// A report of the newest layout that is in order; its signature is still zeros.
    pub fn report(&self, chip: &Chip, report_data: &[u8; 64], measurement: &[u8; 48]) -> Report {
        let mut report = Report([0; 1_184]);
        report.put(0x000, &5_u32.to_le_bytes());
        // ABI 1.55, SMT allowed, and the bit that is always one.
        report.put(0x008, &(0x3_0000_u64 | 0x0137).to_le_bytes());
        report.put(0x034, &1_u32.to_le_bytes());
        // SMT, ECC, ciphertext hiding, alias check.
        report.put(0x040, &0b11_0101_u64.to_le_bytes());
        report.put(0x050, report_data);
        report.put(0x090, measurement);
        report.put(0x160, &[0xff; 32]);
        for place in [0x038, 0x180, 0x1e0, 0x1f0] {
            report.put(place, &chip.tcb);
        }
        report.put(0x188, &self.line.cpuid);
        report.put(0x1a0, &chip.id);
        // Build, minor, major.
        report.put(0x1e8, &[5, 55, 1]);
        report.put(0x1ec, &[5, 55, 1]);
        report
    }

    fn versions(&self, chip: &Chip) -> Vec<Extension> {
        let mut extensions = vec![
            Extension::new("1.3.6.1.4.1.3704.1.1", der::number(1)),
            Extension::new(PRODUCT_NAME, der::ia5(self.line.product_name)),
        ];
        let known = |arc: u64| self.line.layout.iter().find(|(named, _)| *named == arc);
        // Turin has one part more, and no `.3.4`.
        let is_turin = self.line.hardware_id_bytes == 8;
        for arc in (1..=9).filter(|arc| if is_turin { *arc != 4 } else { *arc != 9 }) {
            let version = known(arc).map_or(0, |(_, place)| chip.tcb[*place]);
            let oid = SVN_NAMES[usize::try_from(arc).expect("small") - 1];
            extensions.push(Extension::new(oid, der::number(version.into())));
        }
        extensions
    }

    fn certificate(&self, issuer: &str, subject: &str, key: &Key, serial: &[u8]) -> Certificate {
        Certificate {
            serial: serial.to_vec(),
            issuer: self.name(&format!("{issuer}{}", self.line.name)),
            subject: self.name(&format!("{subject}{}", self.line.name)),
            not_before: NOW - YEAR,
            not_after: NOW + YEAR,
            key: key.info(),
            extensions: Vec::new(),
        }
    }

    /// AMD's own name with another common name.
    pub fn name(&self, common_name: &str) -> Vec<u8> {
        name(&[("2.5.4.11", "Engineering"), ("2.5.4.6", "US"), ("2.5.4.3", common_name)])
    }
}

/// `.3.1` to `.3.9`: one version each.
pub const SVN_NAMES: [&str; 9] = [
    "1.3.6.1.4.1.3704.1.3.1",
    "1.3.6.1.4.1.3704.1.3.2",
    "1.3.6.1.4.1.3704.1.3.3",
    "1.3.6.1.4.1.3704.1.3.4",
    "1.3.6.1.4.1.3704.1.3.5",
    "1.3.6.1.4.1.3704.1.3.6",
    "1.3.6.1.4.1.3704.1.3.7",
    "1.3.6.1.4.1.3704.1.3.8",
    "1.3.6.1.4.1.3704.1.3.9",
];

impl Certificates {
    /// Root and authority as AMD's key server gives them: PEM, the authority first.
    pub fn chain_pem(&self) -> Vec<u8> {
        [pem("CERTIFICATE", &self.authority), pem("CERTIFICATE", &self.ark)].concat().into_bytes()
    }

    /// The table that firmware hands to the guest (GHCB specification §4.1.8.1).
    pub fn table(&self, loaded: bool) -> Vec<u8> {
        let leaf = if loaded { VLEK_GUID } else { VCEK_GUID };
        let parts = [
            (ARK_GUID, &self.ark),
            (ASK_GUID, &self.authority),
            (leaf, &self.leaf),
            (CRL_GUID, &self.crl),
        ];
        let mut place = u32::try_from((parts.len() + 1) * 24).expect("small");
        let (mut table, mut contents) = (Vec::new(), Vec::new());
        for (guid, part) in parts {
            let size = u32::try_from(part.len()).expect("small");
            table.extend(guid);
            table.extend(place.to_le_bytes());
            table.extend(size.to_le_bytes());
            contents.extend(part);
            place += size;
        }
        table.extend([0; 24]);
        [table, contents].concat()
    }
}

/// Which part it is; readers go by what a part is, not by its name. First three groups
/// little-endian.
pub const ARK_GUID: [u8; 16] = *b"\xa4\x06\xb4\xc0\x03\xa8\x52\x49\x97\x43\x3f\xb6\x01\x4c\xd0\xae";
/// Likewise, for ASK and ASVK.
pub const ASK_GUID: [u8; 16] = *b"\x79\xb3\xb7\x4a\xac\xbb\xe4\x4f\xa0\x2f\x05\xae\xf3\x27\xc7\x82";
/// Likewise, for a chip's own key.
pub const VCEK_GUID: [u8; 16] =
    *b"\x8d\x75\xda\x63\x64\xe6\x64\x45\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd";
/// Likewise, for a loaded key.
pub const VLEK_GUID: [u8; 16] =
    *b"\xc2\x4b\x07\xa8\x5a\xa2\x3e\x48\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1";
/// Likewise, for the revocation list.
pub const CRL_GUID: [u8; 16] = *b"\xc3\x1b\xf8\x92\x11\x58\x3d\x4d\x97\xff\xd1\x9f\x88\xdc\x67\xea";

/// A report, byte by byte.
#[derive(Clone, Debug)]
pub struct Report(pub [u8; 1_184]);

impl Report {
    /// Overwrites bytes from this place on.
    pub fn put(&mut self, place: usize, bytes: &[u8]) {
        self.0[place..place + bytes.len()].copy_from_slice(bytes);
    }

    /// Changes some bits of eight bytes.
    pub fn change(&mut self, place: usize, change: impl Fn(u64) -> u64) {
        let bits = u64::from_le_bytes(self.0[place..place + 8].try_into().expect("eight"));
        self.put(place, &change(bits).to_le_bytes());
    }

    /// Signs it as a chip does: r and s little-endian, each in 72 bytes.
    pub fn sign(mut self, key: &Key) -> Vec<u8> {
        let signature = key.sign_raw(&self.0[..0x2a0]);
        for (part, place) in signature.chunks(48).zip([0x2a0, 0x2a0 + 72]) {
            let reversed: Vec<_> = part.iter().rev().copied().collect();
            self.put(place, &reversed);
        }
        self.0.to_vec()
    }
}
