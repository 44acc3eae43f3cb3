//! Public areas of a TPM's keys (part 2, §12.2.4), their names, and what a key may be used for.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use cordon_crypto::sha256;
use cordon_types::hex;

use super::wire::{AES, CFB, ECC, ECDSA, NIST_P256, NULL, RSA, RSASSA, Reader, SHA256, malformed};
use crate::rejection::{Rejection, RejectionCode};

/// Bytes of an RSA modulus.
pub(super) const RSA_BYTES: usize = 256;
/// Bytes of a coordinate on P-256.
pub(super) const P256_BYTES: usize = 32;
/// What vendors use, and what a TPM writes as zero.
const EXPONENT: u32 = 65_537;

/// The name of an object: `000b`, then the SHA-256 of its public area (part 1, §16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name([u8; 34]);

impl Name {
    /// Bytes of a name.
    pub const BYTES: usize = 34;

    /// A name that was kept.
    ///
    /// # Errors
    /// If it does not start with `000b`.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Result<Self, Rejection> {
        match bytes {
            [high, low, ..] if [high, low] == SHA256.to_be_bytes() => Ok(Self(bytes)),
            _ => Err(malformed("name", hex::encode(&bytes), "000b and a digest")),
        }
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// What an object may be used for: TPMA_OBJECT (part 2, §8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(u32);

impl Attributes {
    /// All bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether these bits are all set, or none of them, as named; otherwise what is wrong.
    fn lacks(self, set: &[(u32, &'static str)], clear: &[(u32, &'static str)]) -> Option<String> {
        let has = |bit: u32| self.0 >> bit & 1 == 1;
        let missing = set.iter().find(|(bit, _)| !has(*bit)).map(|(_, name)| format!("not {name}"));
        missing
            .or_else(|| clear.iter().find(|(bit, _)| has(*bit)).map(|(_, name)| (*name).to_owned()))
    }
}

const FIXED_TPM: (u32, &str) = (1, "fixedTPM");
const FIXED_PARENT: (u32, &str) = (4, "fixedParent");
const SENSITIVE_DATA_ORIGIN: (u32, &str) = (5, "sensitiveDataOrigin");
const RESTRICTED: (u32, &str) = (16, "restricted");
const DECRYPT: (u32, &str) = (17, "decrypt");
const SIGN: (u32, &str) = (18, "sign");
/// Bits that have a meaning: all but 0, 3, 12 to 15, and those from 20 on.
const KNOWN: u32 = 0x000f_0ff6;

/// A public key that signs quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKey {
    /// RSA of 2,048 bits, exponent 65,537; RSASSA with SHA-256. The modulus, big-endian.
    Rsa2048([u8; RSA_BYTES]),
    /// ECDSA on P-256 with SHA-256. The uncompressed point.
    P256([u8; 1 + 2 * P256_BYTES]),
}

impl SigningKey {
    /// An RSA key.
    ///
    /// # Errors
    /// If it is not one of 2,048 bits with the exponent 65,537.
    pub fn rsa(modulus: &[u8], exponent: u32) -> Result<Self, Rejection> {
        if exponent != EXPONENT {
            return Err(malformed("key.exponent", exponent, EXPONENT));
        }
        match <[u8; RSA_BYTES]>::try_from(modulus) {
            // Exactly 2,048 bits, and odd, as a product of two primes is.
            Ok(modulus) if modulus[0] >= 0x80 && modulus[RSA_BYTES - 1] & 1 == 1 => {
                Ok(Self::Rsa2048(modulus))
            }
            _ => {
                let found = format_args!("{} bytes", modulus.len());
                Err(malformed("key.modulus", found, "an odd number of exactly 2048 bits"))
            }
        }
    }

    /// A key on P-256, from coordinates that may have lost leading zeros.
    ///
    /// # Errors
    /// If it is no point of the curve.
    pub fn p256(x: &[u8], y: &[u8]) -> Result<Self, Rejection> {
        let mut point = [0; 1 + 2 * P256_BYTES];
        let (form, coordinates) = point.split_at_mut(1);
        form.fill(0x04);
        let (left, right) = coordinates.split_at_mut(P256_BYTES);
        for (coordinate, from) in [(left, x), (right, y)] {
            let padding = coordinate.len().checked_sub(from.len());
            let Some(place) = padding.and_then(|padding| coordinate.get_mut(padding..)) else {
                let found = format_args!("a coordinate of {} bytes", from.len());
                return Err(malformed("key.point", found, format_args!("{P256_BYTES} bytes")));
            };
            place.copy_from_slice(from);
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        if key.parse().is_err() {
            return Err(malformed("key.point", "a point off the curve", "a point on P-256"));
        }
        Ok(Self::P256(point))
    }

    /// Whether the key signed this, by a signature in the form of its algorithm.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Rsa2048(modulus) => {
                let [_, exponent @ ..] = EXPONENT.to_be_bytes();
                let key = RsaPublicKeyComponents { n: modulus.as_slice(), e: exponent.as_slice() };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
        };
        verified.is_ok()
    }

    /// For people: `rsa-2048`.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa2048(_) => "rsa-2048",
            Self::P256(_) => "ecdsa-p256",
        }
    }
}

/// The public area of a key on P-256 or of RSA with 2,048 bits: TPMT_PUBLIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicArea<'a> {
    raw: &'a [u8],
    attributes: Attributes,
    /// Whether it protects others by AES-128-CFB, as endorsement and storage keys do.
    protects: bool,
    /// Whether its scheme is bound: RSASSA or ECDSA, with SHA-256.
    has_scheme: bool,
    key: SigningKey,
}

impl<'a> PublicArea<'a> {
    /// Reads a public area, with nothing after it.
    ///
    /// # Errors
    /// If it is cut, too long, or of an algorithm, size or bit that is not known here.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Rejection> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u16("public.type")?;
        reader.exactly("public.name_algorithm", SHA256, "SHA-256")?;
        let attributes = reader.u32("public.attributes")?;
        if attributes & !KNOWN != 0 {
            return Err(malformed(
                "public.attributes",
                format_args!("{attributes:#010x}"),
                "known bits",
            ));
        }
        let policy = reader.sized("public.policy", 32)?;
        if !matches!(policy.len(), 0 | 32) {
            return Err(malformed(
                "public.policy",
                format_args!("{} bytes", policy.len()),
                "0 or 32 bytes",
            ));
        }
        let (signs_with, key): (_, fn(&mut Reader<'_>) -> _) = match kind {
            RSA => (RSASSA, rsa),
            ECC => (ECDSA, ecc),
            other => {
                return Err(malformed(
                    "public.type",
                    format_args!("{other:#06x}"),
                    "an RSA or ECC key",
                ));
            }
        };
        let protects = symmetric(&mut reader)?;
        let has_scheme = scheme(&mut reader, signs_with)?;
        let key = key(&mut reader)?;
        reader.end("public")?;
        Ok(Self { raw: bytes, attributes: Attributes(attributes), protects, has_scheme, key })
    }

    /// Its name, by which a TPM knows it and an enrolment names it.
    pub fn name(&self) -> Name {
        let mut name = [0; Name::BYTES];
        let (algorithm, digest) = name.split_at_mut(2);
        algorithm.copy_from_slice(&SHA256.to_be_bytes());
        digest.copy_from_slice(sha256(&[self.raw]).as_bytes());
        Name(name)
    }

    /// What it may be used for.
    pub const fn attributes(&self) -> Attributes {
        self.attributes
    }

    /// The bare key, whatever it is for: to compare with a certificate.
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The key, if it signs nothing but what its TPM wrote itself, was made there and cannot leave
    /// it. That *a* TPM did all this is known only when the name is enrolled.
    ///
    /// # Errors
    /// [`RejectionCode::AttestationKeyUnfit`].
    pub fn require_attestation_key(&self) -> Result<&SigningKey, Rejection> {
        const SET: &[(u32, &str)] =
            &[FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN, RESTRICTED, SIGN];
        let wrong = self.attributes.lacks(SET, &[DECRYPT]);
        let wrong = wrong.or_else(|| (!self.has_scheme).then(|| "no scheme".to_owned()));
        match wrong.or_else(|| self.protects.then(|| "a symmetric cipher".to_owned())) {
            None => Ok(&self.key),
            Some(wrong) => Err(Rejection::new(
                RejectionCode::AttestationKeyUnfit,
                "public.attributes",
                wrong,
                "a restricted signing key, fixed to its TPM and made there",
            )),
        }
    }

    /// The key, if it protects secrets for its TPM alone, as endorsement keys do. Whose TPM it is,
    /// only its certificate says.
    ///
    /// # Errors
    /// [`RejectionCode::AttestationKeyUnfit`].
    pub fn require_endorsement_key(&self) -> Result<&SigningKey, Rejection> {
        const SET: &[(u32, &str)] =
            &[FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN, RESTRICTED, DECRYPT];
        let wrong = self.attributes.lacks(SET, &[SIGN]);
        match wrong.or_else(|| (!self.protects).then(|| "no AES-128-CFB".to_owned())) {
            None => Ok(&self.key),
            Some(wrong) => Err(Rejection::new(
                RejectionCode::AttestationKeyUnfit,
                "endorsement_key.attributes",
                wrong,
                "a restricted decryption key, fixed to its TPM and made there",
            )),
        }
    }
}

/// TPMT_SYM_DEF_OBJECT: nothing, or AES-128-CFB.
fn symmetric(reader: &mut Reader<'_>) -> Result<bool, Rejection> {
    const FIELD: &str = "public.symmetric";
    match reader.u16(FIELD)? {
        NULL => Ok(false),
        AES => {
            reader.exactly(FIELD, 128, "bits")?;
            reader.exactly(FIELD, CFB, "CFB")?;
            Ok(true)
        }
        other => Err(malformed(FIELD, format_args!("{other:#06x}"), "none or AES-128-CFB")),
    }
}

/// TPMT_RSA_SCHEME or TPMT_ECC_SCHEME: nothing, or the one that is known.
fn scheme(reader: &mut Reader<'_>, known: u16) -> Result<bool, Rejection> {
    const FIELD: &str = "public.scheme";
    match reader.u16(FIELD)? {
        NULL => Ok(false),
        found if found == known => {
            reader.exactly(FIELD, SHA256, "SHA-256")?;
            Ok(true)
        }
        other => Err(malformed(FIELD, format_args!("{other:#06x}"), format_args!("{known:#06x}"))),
    }
}

fn rsa(reader: &mut Reader<'_>) -> Result<SigningKey, Rejection> {
    reader.exactly("public.key_bits", 2048, "bits")?;
    let exponent = match reader.u32("public.exponent")? {
        0 => EXPONENT,
        written => written,
    };
    SigningKey::rsa(reader.sized("public.modulus", RSA_BYTES)?, exponent)
}

fn ecc(reader: &mut Reader<'_>) -> Result<SigningKey, Rejection> {
    reader.exactly("public.curve", NIST_P256, "P-256")?;
    reader.exactly("public.kdf", NULL, "none")?;
    let x = reader.sized("public.x", P256_BYTES)?;
    let y = reader.sized("public.y", P256_BYTES)?;
    SigningKey::p256(x, y)
}
