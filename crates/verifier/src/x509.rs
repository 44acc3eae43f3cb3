//! Certificates, checked over the bytes that came.
//!
//! Vendors' certificates are few and of one form each. What is read here is what they have: RSA-PSS
//! or ECDSA on P-384, each with SHA-384, by the vendor's authorities, and keys on P-384 or of 4,096 bits. Anything else is
//! refused.

use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey, VerificationAlgorithm,
};
use cordon_types::UnixSeconds;
use x509_cert::certificate::{Certificate as Parsed, Version};
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{DateTime, Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;

use crate::rejection::{Rejection, RejectionCode};

/// Far larger than any certificate of a vendor.
const MAX_CERTIFICATE_BYTES: usize = 8 * 1024;
/// AMD's lists have a few entries; room for thousands.
const MAX_LIST_BYTES: usize = 128 * 1024;

/// A certificate that can be read. Nothing in it is believed yet.
#[derive(Clone, Debug)]
pub(crate) struct Certificate<'a> {
    /// What is signed, as it came.
    signed: &'a [u8],
    parsed: Parsed,
    /// What it is in the chain, for reasons: `vcek`.
    role: &'static str,
}

impl<'a> Certificate<'a> {
    /// Reads DER with nothing after it.
    pub(crate) fn parse(der: &'a [u8], role: &'static str) -> Result<Self, Rejection> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            let found = format_args!("{} bytes", der.len());
            return Err(invalid(
                role,
                found,
                format_args!("at most {MAX_CERTIFICATE_BYTES} bytes"),
            ));
        }
        let wanted = "a DER certificate and nothing after it";
        let parsed = Parsed::from_der(der).map_err(|error| invalid(role, error.kind(), wanted))?;
        let signed = signed_part(der).map_err(|error| invalid(role, error.kind(), wanted))?;
        if parsed.signature_algorithm() != parsed.tbs_certificate().signature() {
            return Err(invalid(role, "two signature algorithms", "the same inside and outside"));
        }
        Ok(Self { signed, parsed, role })
    }

    pub(crate) const fn role(&self) -> &'static str {
        self.role
    }

    pub(crate) fn subject(&self) -> &Name {
        self.parsed.tbs_certificate().subject()
    }

    /// The subject's only common name, if it has exactly one that is text.
    pub(crate) fn common_name(&self) -> Option<String> {
        common_name(self.subject())
    }

    /// The key, as its algorithm encodes it.
    pub(crate) fn key_of(&self, algorithm: &KeyKind) -> Result<&[u8], Rejection> {
        let info = self.parsed.tbs_certificate().subject_public_key_info();
        let curve = info.algorithm.parameters.as_ref();
        let curve = curve.and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
        let fits = info.algorithm.oid == algorithm.algorithm && curve == algorithm.curve;
        let bytes = info.subject_public_key.as_bytes();
        match bytes.filter(|bytes| fits && algorithm.sizes.contains(&bytes.len())) {
            Some(bytes) => Ok(bytes),
            None => Err(invalid(self.role, info.algorithm.oid, algorithm.name)),
        }
    }

    /// DER of the whole key, algorithm included: what is pinned.
    pub(crate) fn key_info(&self) -> Result<Vec<u8>, Rejection> {
        let info = self.parsed.tbs_certificate().subject_public_key_info();
        info.to_der().map_err(|error| invalid(self.role, error.kind(), "a key"))
    }

    /// The contents of the extension with this name, if it stands there exactly once.
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Result<&[u8], Rejection> {
        self.only_extension(oid).map(|extension| extension.extn_value.as_bytes())
    }

    fn only_extension(&self, oid: ObjectIdentifier) -> Result<&Extension, Rejection> {
        let all = self.parsed.tbs_certificate().extensions().map_or(&[][..], |all| all.as_slice());
        let mut found = all.iter().filter(|extension| extension.extn_id == oid);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(invalid(self.role, format_args!("no extension {oid}"), "one")),
            (Some(_), Some(_)) => Err(invalid(self.role, format_args!("{oid} twice"), "once")),
        }
    }

    /// Names of all extensions, in their order.
    pub(crate) fn extensions(&self) -> impl Iterator<Item = ObjectIdentifier> {
        let all = self.parsed.tbs_certificate().extensions();
        all.into_iter().flatten().map(|extension| extension.extn_id)
    }

    /// Big-endian bytes, without leading zeros.
    pub(crate) fn serial(&self) -> &[u8] {
        significant(self.parsed.tbs_certificate().serial_number().as_bytes())
    }

    /// Until when it is valid.
    pub(crate) fn not_after(&self) -> UnixSeconds {
        seconds(&self.parsed.tbs_certificate().validity().not_after)
    }

    /// The issuer's only common name, if it has exactly one that is text.
    pub(crate) fn issuer_common_name(&self) -> Option<String> {
        common_name(self.parsed.tbs_certificate().issuer())
    }

    /// Whether it is valid at `now` (RFC 5280 §4.1.2.5: both ends included).
    pub(crate) fn require_valid_at(&self, now: UnixSeconds) -> Result<(), Rejection> {
        let validity = self.parsed.tbs_certificate().validity();
        let window = (&validity.not_before, &validity.not_after);
        require_within(RejectionCode::CertificateTime, self.role, window, now)
    }

    /// Whether each extension stands there once, and none is critical that is not read here: who
    /// does not know such an extension must refuse (RFC 5280 §4.2).
    pub(crate) fn require_known_extensions(&self) -> Result<(), Rejection> {
        if self.parsed.tbs_certificate().version() != Version::V3 {
            return Err(invalid(self.role, "an old version", "version 3"));
        }
        let all = self.parsed.tbs_certificate().extensions().map_or(&[][..], |all| all.as_slice());
        for extension in all {
            self.only_extension(extension.extn_id)?;
            if extension.critical && ![BASIC_CONSTRAINTS, KEY_USAGE].contains(&extension.extn_id) {
                let found = format_args!("critical extension {}", extension.extn_id);
                return Err(invalid(self.role, found, "only critical extensions that are known"));
            }
        }
        Ok(())
    }

    /// Whether it is of an authority that may stand above `below` further authorities (RFC 5280
    /// §6.1.4, steps k to n).
    pub(crate) fn require_authority(&self, below: usize) -> Result<(), Rejection> {
        let constraints = self.basic_constraints()?;
        if !constraints.ca || !self.only_extension(BASIC_CONSTRAINTS)?.critical {
            return Err(invalid(self.role, "no authority", "critical basicConstraints, CA:TRUE"));
        }
        if let Some(longest) = constraints.path_len_constraint
            && usize::from(longest) < below
        {
            let wanted = format_args!("at most {longest}");
            return Err(invalid(self.role, format_args!("{below} authorities below it"), wanted));
        }
        if !self.key_usage()?.key_cert_sign() {
            return Err(invalid(self.role, "a key for other uses", "keyUsage keyCertSign"));
        }
        Ok(())
    }

    /// Whether it is of a key that signs, but neither is nor can pass for an authority.
    pub(crate) fn require_signer(&self) -> Result<(), Rejection> {
        if self.basic_constraints()?.ca {
            return Err(invalid(self.role, "an authority", "basicConstraints, CA:FALSE"));
        }
        let usage = self.key_usage()?;
        if !usage.digital_signature() || usage.key_cert_sign() {
            let wanted = "keyUsage digitalSignature without keyCertSign";
            return Err(invalid(self.role, "a key for other uses", wanted));
        }
        Ok(())
    }

    fn basic_constraints(&self) -> Result<BasicConstraints, Rejection> {
        BasicConstraints::from_der(self.extension(BASIC_CONSTRAINTS)?)
            .map_err(|error| invalid(self.role, error.kind(), "basicConstraints"))
    }

    fn key_usage(&self) -> Result<KeyUsage, Rejection> {
        KeyUsage::from_der(self.extension(KEY_USAGE)?)
            .map_err(|error| invalid(self.role, error.kind(), "keyUsage"))
    }

    /// Whether it names itself as its issuer.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.parsed.tbs_certificate().issuer() == self.subject()
    }

    /// Whether `issuer` signed it with ECDSA on P-384 and SHA-384, and it says so.
    pub(crate) fn require_issued_by_p384(&self, issuer: &Certificate<'_>) -> Result<(), Rejection> {
        self.signed().require_by_p384(issuer)
    }

    /// Whether `issuer` signed it with RSA-PSS and SHA-384, and it says so.
    pub(crate) fn require_issued_by(&self, issuer: &Certificate<'_>) -> Result<(), Rejection> {
        self.signed().require_by_rsa(issuer)
    }

    fn signed(&self) -> Signed<'_> {
        Signed {
            role: self.role,
            content: self.signed,
            issuer: self.parsed.tbs_certificate().issuer(),
            algorithm: self.parsed.signature_algorithm(),
            signature: self.parsed.signature().as_bytes().unwrap_or_default(),
        }
    }
}

/// What an authority signed.
struct Signed<'a> {
    role: &'static str,
    content: &'a [u8],
    issuer: &'a Name,
    algorithm: &'a AlgorithmIdentifierOwned,
    signature: &'a [u8],
}

impl Signed<'_> {
    fn require_by_rsa(&self, issuer: &Certificate<'_>) -> Result<(), Rejection> {
        self.require_named(issuer)?;
        let parameters = self.algorithm.parameters.as_ref().and_then(|value| value.to_der().ok());
        let accepted = parameters.is_some_and(|der| PSS_SHA384.contains(&der.as_slice()));
        if self.algorithm.oid != RSASSA_PSS || !accepted {
            let wanted = "RSA-PSS, SHA-384, salt of 48 bytes";
            return Err(invalid(self.role, self.algorithm.oid, wanted));
        }
        self.require_signature(issuer, &RSA_PSS_2048_8192_SHA384, issuer.key_of(&RSA_4096)?)
    }

    fn require_by_p384(&self, issuer: &Certificate<'_>) -> Result<(), Rejection> {
        self.require_named(issuer)?;
        // RFC 5758 §3.2: without parameters.
        if self.algorithm.oid != ECDSA_WITH_SHA384 || self.algorithm.parameters.is_some() {
            return Err(invalid(self.role, self.algorithm.oid, "ECDSA with SHA-384"));
        }
        self.require_signature(issuer, &ECDSA_P384_SHA384_ASN1, issuer.key_of(&P_384)?)
    }

    fn require_named(&self, issuer: &Certificate<'_>) -> Result<(), Rejection> {
        if self.issuer == issuer.subject() {
            return Ok(());
        }
        let (found, wanted) = (self.issuer.to_string(), issuer.subject().to_string());
        Err(Rejection::new(RejectionCode::UnknownRoot, self.role, found, wanted))
    }

    fn require_signature(
        &self,
        issuer: &Certificate<'_>,
        algorithm: &'static dyn VerificationAlgorithm,
        key: &[u8],
    ) -> Result<(), Rejection> {
        let key = UnparsedPublicKey::new(algorithm, key);
        key.verify(self.content, self.signature).map_err(|_| {
            let wanted = format_args!("one by `{}`", issuer.role);
            let found = "a signature that does not verify";
            Rejection::new(RejectionCode::BadSignature, self.role, found, wanted)
        })
    }
}

/// A revocation list that can be read (RFC 5280 §5). Nothing in it is believed yet.
#[derive(Clone, Debug)]
pub(crate) struct RevocationList<'a> {
    signed: &'a [u8],
    parsed: CertificateList,
    role: &'static str,
}

impl<'a> RevocationList<'a> {
    /// Reads DER with nothing after it.
    pub(crate) fn parse(der: &'a [u8], role: &'static str) -> Result<Self, Rejection> {
        let refuse = |found: &dyn std::fmt::Display| {
            let wanted = "a DER revocation list and nothing after it";
            Rejection::new(RejectionCode::CollateralInvalid, role, found, wanted)
        };
        if der.len() > MAX_LIST_BYTES {
            return Err(refuse(&format_args!("{} bytes", der.len())));
        }
        let parsed = CertificateList::from_der(der).map_err(|error| refuse(&error.kind()))?;
        let signed = signed_part(der).map_err(|error| refuse(&error.kind()))?;
        if parsed.signature_algorithm != parsed.tbs_cert_list.signature {
            return Err(refuse(&"two signature algorithms"));
        }
        // A list of changes only, or of some certificates only, says so in a critical extension.
        let extensions = parsed.tbs_cert_list.crl_extensions.iter().flatten();
        let entries = parsed.tbs_cert_list.revoked_certificates.iter().flatten();
        let of_entries = entries.flat_map(|entry| entry.crl_entry_extensions.iter().flatten());
        if let Some(critical) = extensions.chain(of_entries).find(|extension| extension.critical) {
            return Err(refuse(&format_args!("critical extension {}", critical.extn_id)));
        }
        Ok(Self { signed, parsed, role })
    }

    /// Whether `issuer` signed it, and it is of that issuer.
    pub(crate) fn require_issued_by(&self, issuer: &Certificate<'_>) -> Result<(), Rejection> {
        let signed = Signed {
            role: self.role,
            content: self.signed,
            issuer: &self.parsed.tbs_cert_list.issuer,
            algorithm: &self.parsed.signature_algorithm,
            signature: self.parsed.signature.as_bytes().unwrap_or_default(),
        };
        signed.require_by_rsa(issuer)
    }

    /// Whether it counts at `now`. One without an end never does: it would hide all newer ones.
    pub(crate) fn require_valid_at(&self, now: UnixSeconds) -> Result<(), Rejection> {
        let list = &self.parsed.tbs_cert_list;
        let Some(next) = &list.next_update else {
            let code = RejectionCode::CollateralTime;
            return Err(Rejection::new(code, self.role, "no next update", "one"));
        };
        require_within(RejectionCode::CollateralTime, self.role, (&list.this_update, next), now)
    }

    /// Until when it counts, if it says so.
    pub(crate) fn next_update(&self) -> Option<UnixSeconds> {
        self.parsed.tbs_cert_list.next_update.as_ref().map(seconds)
    }

    /// Counts the lists of its issuer (RFC 5280 §5.2.3).
    pub(crate) fn number(&self) -> Result<u64, Rejection> {
        let all = self.parsed.tbs_cert_list.crl_extensions.iter().flatten();
        let mut found = all.filter(|extension| extension.extn_id == CRL_NUMBER);
        let number = match (found.next(), found.next()) {
            (Some(one), None) => u64::from_der(one.extn_value.as_bytes()).ok(),
            _ => None,
        };
        number.ok_or_else(|| {
            let wanted = "the number of the list";
            Rejection::new(RejectionCode::CollateralInvalid, self.role, "none, or two", wanted)
        })
    }

    /// Whether the certificate stands on it.
    pub(crate) fn require_not_revoked(
        &self,
        certificate: &Certificate<'_>,
    ) -> Result<(), Rejection> {
        let mut entries = self.parsed.tbs_cert_list.revoked_certificates.iter().flatten();
        let serial = certificate.serial();
        if entries.any(|entry| significant(entry.serial_number.as_bytes()) == serial) {
            let found = format_args!("serial {}", cordon_types::hex::encode(serial));
            let code = RejectionCode::CertificateRevoked;
            return Err(Rejection::new(code, certificate.role, found, "a key that is not revoked"));
        }
        Ok(())
    }

    /// The issuer's only common name.
    pub(crate) fn issuer_common_name(&self) -> Option<String> {
        common_name(&self.parsed.tbs_cert_list.issuer)
    }
}

/// Both ends included.
fn require_within(
    code: RejectionCode,
    role: &'static str,
    (from, to): (&Time, &Time),
    now: UnixSeconds,
) -> Result<(), Rejection> {
    if (seconds(from)..=seconds(to)).contains(&now) {
        return Ok(());
    }
    let wanted = format_args!("{} to {}", from.to_date_time(), to.to_date_time());
    Err(Rejection::new(code, role, shown(now), wanted))
}

/// A time for people: RFC 3339.
pub(crate) fn shown(time: UnixSeconds) -> String {
    let moment = DateTime::from_unix_duration(Duration::from_secs(time.get()));
    moment.map_or_else(|_| time.get().to_string(), |moment| moment.to_string())
}

fn seconds(time: &Time) -> UnixSeconds {
    UnixSeconds::new(time.to_unix_duration().as_secs())
}

fn significant(mut bytes: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// The only common name, if there is exactly one and it is text.
fn common_name(name: &Name) -> Option<String> {
    const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
    let mut found = name.iter().filter(|part| part.oid == COMMON_NAME);
    let (only, more) = (found.next()?, found.next());
    let text = only.value.decode_as::<String>().ok();
    text.filter(|_| more.is_none())
}

const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");

/// One kind of public key.
pub(crate) struct KeyKind {
    algorithm: ObjectIdentifier,
    curve: Option<ObjectIdentifier>,
    /// Bytes of its encoding.
    sizes: std::ops::RangeInclusive<usize>,
    name: &'static str,
}

/// RFC 8017 §A.1.1: modulus and exponent.
pub(crate) const RSA_4096: KeyKind = KeyKind {
    algorithm: ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"),
    curve: None,
    sizes: 524..=528,
    name: "an RSA key of 4096 bits",
};

/// RFC 5480 §2.2: an uncompressed point.
pub(crate) const P_384: KeyKind = KeyKind {
    algorithm: ObjectIdentifier::new_unwrap("1.2.840.10045.2.1"),
    curve: Some(ObjectIdentifier::new_unwrap("1.3.132.0.34")),
    sizes: 97..=97,
    name: "a key on P-384",
};

const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// RSASSA-PSS-params (RFC 8017 §A.2.3) with SHA-384, MGF1 with SHA-384, a salt of 48 bytes. The
/// trailer field is the default, and some issuers spell it out.
const PSS_SHA384: [&[u8]; 2] = [
    b"\x30\x34\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
      \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\
      \x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
      \xa2\x03\x02\x01\x30",
    b"\x30\x39\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
      \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\
      \x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
      \xa2\x03\x02\x01\x30\xa3\x03\x02\x01\x01",
];

/// The first part of the outer sequence, with its header.
fn signed_part(der: &[u8]) -> x509_cert::der::Result<&[u8]> {
    let mut outer = SliceReader::new(der)?;
    let header = x509_cert::der::Header::decode(&mut outer)?;
    let inside = outer.read_slice(header.length())?;
    SliceReader::new(inside)?.tlv_bytes()
}

fn invalid(
    role: &'static str,
    found: impl std::fmt::Display,
    wanted: impl std::fmt::Display,
) -> Rejection {
    Rejection::new(RejectionCode::CertificateInvalid, role, found, wanted)
}
