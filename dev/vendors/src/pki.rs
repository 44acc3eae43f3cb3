//! Keys, certificates and revocation lists as a vendor issues them (RFC 5280). Each field may be
//! changed before the whole is signed.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA384, RsaKeyPair,
};
use base64::Engine as _;

use crate::der;

/// A key pair of one of the kinds that vendors use.
pub enum Key {
    /// RSA.
    Rsa(RsaKeyPair),
    /// ECDSA on P-256, as PKCS#8.
    P256(Vec<u8>),
    /// ECDSA on P-384, as PKCS#8.
    P384(Vec<u8>),
}

impl Key {
    /// A new RSA key of 4,096 bits, as AMD's authorities have. Takes a second.
    pub fn rsa_4096() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa4096).expect("a key"))
    }

    /// A new RSA key of 2,048 bits, as TPMs have.
    pub fn rsa_2048() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))
    }

    /// A new key on P-256.
    pub fn p256() -> Self {
        Self::P256(ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING))
    }

    /// A new key on P-384.
    pub fn p384() -> Self {
        Self::P384(ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING))
    }

    /// The public key: an uncompressed point, or RSAPublicKey of RFC 8017.
    pub fn public(&self) -> Vec<u8> {
        let of = |algorithm, pkcs8: &[u8]| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).expect("a key");
            pair.public_key().as_ref().to_vec()
        };
        match self {
            Self::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Self::P256(pkcs8) => of(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8),
            Self::P384(pkcs8) => of(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8),
        }
    }

    /// SubjectPublicKeyInfo.
    pub fn info(&self) -> Vec<u8> {
        let ec = |curve| der::sequence(&[der::oid("1.2.840.10045.2.1"), der::oid(curve)]);
        let algorithm = match self {
            Self::Rsa(_) => der::sequence(&[der::oid("1.2.840.113549.1.1.1"), der::null()]),
            Self::P256(_) => ec("1.2.840.10045.3.1.7"),
            Self::P384(_) => ec("1.3.132.0.34"),
        };
        der::sequence(&[algorithm, der::bits(&self.public())])
    }

    /// The algorithm of its signatures on certificates: RSA-PSS with SHA-384, or ECDSA with the
    /// hash of its curve's length.
    pub fn algorithm(&self) -> Vec<u8> {
        match self {
            Self::Rsa(_) => {
                let sha384 = der::sequence(&[der::oid("2.16.840.1.101.3.4.2.2"), der::null()]);
                let mgf = der::sequence(&[der::oid("1.2.840.113549.1.1.8"), sha384.clone()]);
                let parameters = der::sequence(&[
                    der::explicit(0, &sha384),
                    der::explicit(1, &mgf),
                    der::explicit(2, &der::number(48)),
                ]);
                der::sequence(&[der::oid("1.2.840.113549.1.1.10"), parameters])
            }
            Self::P256(_) => der::sequence(&[der::oid("1.2.840.10045.4.3.2")]),
            Self::P384(_) => der::sequence(&[der::oid("1.2.840.10045.4.3.3")]),
        }
    }

    /// Signs as certificates are signed.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => rsa(pair, &RSA_PSS_SHA384, message),
            Self::P256(pkcs8) => sign(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, message),
            Self::P384(pkcs8) => sign(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8, message),
        }
    }

    /// Signs as evidence is signed: r and s of full length, or RSA with PKCS#1 and SHA-256.
    pub fn sign_raw(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => rsa(pair, &RSA_PKCS1_SHA256, message),
            Self::P256(pkcs8) => sign(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, message),
            Self::P384(pkcs8) => sign(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8, message),
        }
    }
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Vec<u8> {
    let pair = EcdsaKeyPair::generate(algorithm).expect("a key");
    pair.to_pkcs8v1().expect("its encoding").as_ref().to_vec()
}

fn sign(algorithm: &'static EcdsaSigningAlgorithm, pkcs8: &[u8], message: &[u8]) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).expect("a key");
    pair.sign(&SystemRandom::new(), message).expect("signs").as_ref().to_vec()
}

fn rsa(
    pair: &RsaKeyPair,
    encoding: &'static dyn aws_lc_rs::signature::RsaEncoding,
    message: &[u8],
) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature).expect("signs");
    signature
}

/// An extension: name, whether it is critical, the contents of its OCTET STRING.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Dotted name.
    pub oid: &'static str,
    /// Whether who does not know it must refuse.
    pub critical: bool,
    /// What it holds.
    pub value: Vec<u8>,
}

impl Extension {
    /// One that may be ignored.
    pub fn new(oid: &'static str, value: Vec<u8>) -> Self {
        Self { oid, critical: false, value }
    }

    /// basicConstraints of an authority.
    pub fn authority(path_length: Option<u64>) -> Self {
        let length = path_length.map(der::number).unwrap_or_default();
        let value = der::sequence(&[der::boolean(true), length]);
        Self { oid: "2.5.29.19", critical: true, value }
    }

    /// basicConstraints of what is no authority.
    pub fn end_entity() -> Self {
        Self { oid: "2.5.29.19", critical: true, value: der::sequence(&[]) }
    }

    /// keyUsage, from the bits of its first byte: 0x80 signs, 0x06 issues certificates and lists.
    pub fn key_usage(bits: u8) -> Self {
        let unused = u8::try_from(bits.trailing_zeros()).expect("small");
        Self { oid: "2.5.29.15", critical: true, value: der::tlv(0x03, &[unused, bits]) }
    }

    fn encode(&self) -> Vec<u8> {
        let critical = if self.critical { der::boolean(true) } else { Vec::new() };
        der::sequence(&[der::oid(self.oid), critical, der::octets(&self.value)])
    }
}

/// A name of these parts: dotted type and text.
pub fn name(parts: &[(&str, &str)]) -> Vec<u8> {
    let part =
        |(oid, text): &(&str, &str)| der::set(&[der::sequence(&[der::oid(oid), der::utf8(text)])]);
    der::sequence(&parts.iter().map(part).collect::<Vec<_>>())
}

/// A name with a common name only.
pub fn common_name(text: &str) -> Vec<u8> {
    name(&[("2.5.4.3", text)])
}

/// A certificate that is not signed yet.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Big-endian.
    pub serial: Vec<u8>,
    /// DER of the issuer's name.
    pub issuer: Vec<u8>,
    /// DER of its own name.
    pub subject: Vec<u8>,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds.
    pub not_after: u64,
    /// SubjectPublicKeyInfo.
    pub key: Vec<u8>,
    /// In their order.
    pub extensions: Vec<Extension>,
}

impl Certificate {
    /// Signs it. DER.
    pub fn sign(&self, by: &Key) -> Vec<u8> {
        self.sign_as(by, &by.algorithm())
    }

    /// Signs it and says that it did so with this algorithm.
    pub fn sign_as(&self, by: &Key, algorithm: &[u8]) -> Vec<u8> {
        let validity = der::sequence(&[der::time(self.not_before), der::time(self.not_after)]);
        let mut parts = vec![
            der::explicit(0, &der::number(2)),
            der::integer(&self.serial),
            algorithm.to_vec(),
            self.issuer.clone(),
            validity,
            self.subject.clone(),
            self.key.clone(),
        ];
        if !self.extensions.is_empty() {
            let all: Vec<_> = self.extensions.iter().map(Extension::encode).collect();
            parts.push(der::explicit(3, &der::sequence(&all)));
        }
        signed(&der::sequence(&parts), by, algorithm)
    }

    /// Replaces the contents of an extension.
    ///
    /// # Panics
    /// If it has none of that name.
    pub fn set_extension(&mut self, oid: &str, value: Vec<u8>) {
        let mut all = self.extensions.iter_mut();
        all.find(|extension| extension.oid == oid).expect("that extension").value = value;
    }
}

/// A revocation list that is not signed yet (RFC 5280 §5).
#[derive(Clone, Debug)]
pub struct RevocationList {
    /// DER of the issuer's name.
    pub issuer: Vec<u8>,
    /// Unix seconds.
    pub this_update: u64,
    /// Unix seconds; lists of vendors have one.
    pub next_update: Option<u64>,
    /// Serials, big-endian.
    pub revoked: Vec<Vec<u8>>,
    /// In their order.
    pub extensions: Vec<Extension>,
}

impl RevocationList {
    /// The extension that counts lists.
    pub fn number(number: u64) -> Extension {
        Extension::new("2.5.29.20", der::number(number))
    }

    /// Signs it. DER.
    pub fn sign(&self, by: &Key) -> Vec<u8> {
        let algorithm = by.algorithm();
        let mut parts = vec![
            der::number(1),
            algorithm.clone(),
            self.issuer.clone(),
            der::time(self.this_update),
        ];
        parts.extend(self.next_update.map(der::time));
        if !self.revoked.is_empty() {
            let entry = |serial: &Vec<u8>| {
                der::sequence(&[der::integer(serial), der::time(self.this_update)])
            };
            parts.push(der::sequence(&self.revoked.iter().map(entry).collect::<Vec<_>>()));
        }
        if !self.extensions.is_empty() {
            let all: Vec<_> = self.extensions.iter().map(Extension::encode).collect();
            parts.push(der::explicit(0, &der::sequence(&all)));
        }
        signed(&der::sequence(&parts), by, &algorithm)
    }
}

fn signed(content: &[u8], by: &Key, algorithm: &[u8]) -> Vec<u8> {
    der::sequence(&[content.to_vec(), algorithm.to_vec(), der::bits(&by.sign(content))])
}

/// PEM of one block.
pub fn pem(label: &str, contents: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(contents);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
