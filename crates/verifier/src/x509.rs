//! Certificates, checked over the bytes that came.
//!
//! Vendors' certificates are few and of one form each. What is read here is what they have: RSA-PSS
//! with SHA-384 by the vendor's authorities, and keys on P-384 or of 4,096 bits. Anything else is
//! refused.

use std::time::Duration;

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use cordon_types::UnixSeconds;
use x509_cert::certificate::Certificate as Parsed;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{DateTime, Decode as _, Encode as _, Reader as _, SliceReader};
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
        let all = self.parsed.tbs_certificate().extensions().map_or(&[][..], |all| all.as_slice());
        let mut found = all.iter().filter(|extension| extension.extn_id == oid);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.extn_value.as_bytes()),
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

    /// Whether it may issue certificates, and none but leaves if `leaves_only` (RFC 5280
    /// §4.2.1.9, §4.2.1.3).
    pub(crate) fn require_authority(&self, leaves_only: bool) -> Result<(), Rejection> {
        let constraints = self.extension(BASIC_CONSTRAINTS)?;
        let constraints = BasicConstraints::from_der(constraints)
            .map_err(|error| invalid(self.role, error.kind(), "basicConstraints"))?;
        let length = if leaves_only { Some(0) } else { None };
        if !constraints.ca || constraints.path_len_constraint != length {
            return Err(invalid(self.role, format_args!("{constraints:?}"), "an authority"));
        }
        let usage = self.extension(KEY_USAGE)?;
        let usage = KeyUsage::from_der(usage)
            .map_err(|error| invalid(self.role, error.kind(), "keyUsage"))?;
        if !usage.key_cert_sign() {
            return Err(invalid(self.role, format_args!("{usage:?}"), "a key that signs keys"));
        }
        Ok(())
    }

    /// Whether `issuer` signed it with RSA-PSS and SHA-384, and it says so.
    pub(crate) fn require_issued_by(&self, issuer: &Certificate<'_>) -> Result<(), Rejection> {
        let signed = Signed {
            role: self.role,
            content: self.signed,
            issuer: self.parsed.tbs_certificate().issuer(),
            algorithm: self.parsed.signature_algorithm(),
            signature: self.parsed.signature().as_bytes().unwrap_or_default(),
        };
        signed.require_by(issuer)
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
    fn require_by(&self, issuer: &Certificate<'_>) -> Result<(), Rejection> {
        if self.issuer != issuer.subject() {
            let (found, wanted) = (self.issuer.to_string(), issuer.subject().to_string());
            return Err(Rejection::new(RejectionCode::UnknownRoot, self.role, found, wanted));
        }
        let parameters = self.algorithm.parameters.as_ref().and_then(|value| value.to_der().ok());
        let accepted = parameters.is_some_and(|der| PSS_SHA384.contains(&der.as_slice()));
        if self.algorithm.oid != RSASSA_PSS || !accepted {
            let wanted = "RSA-PSS, SHA-384, salt of 48 bytes";
            return Err(invalid(self.role, self.algorithm.oid, wanted));
        }
        let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, issuer.key_of(&RSA_4096)?);
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
        signed.require_by(issuer)
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
