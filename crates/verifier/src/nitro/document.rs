//! The document: a COSE_Sign1 (RFC 9052 §4.2) around a map of CBOR, as the Nitro security module
//! makes it (AWS, "Cryptographic attestation", attestation_process.md §3).
//!
//! One value has one encoding here: definite lengths, shortest integers, nothing twice, nothing
//! after the end. So no byte can be changed unnoticed, and no other reader sees another document.

use std::collections::BTreeMap;

use ciborium::Value;
use cordon_types::{UnixMillis, hex};

use crate::rejection::{Rejection, RejectionCode};

/// Bytes of the largest document: all members at their limits take 11 KiB, genuine ones 5.
pub const MAX_DOCUMENT_BYTES: usize = 16 * 1024;
/// Bytes of a PCR: all documents are of SHA-384.
pub const PCR_BYTES: usize = 48;
/// Bytes of one certificate.
const MAX_CERTIFICATE_BYTES: usize = 1024;
/// Genuine bundles have four: root, region, zone, instance.
pub(super) const MAX_AUTHORITIES: usize = 6;
const MAX_PUBLIC_KEY_BYTES: usize = 1024;
const MAX_USER_DATA_BYTES: usize = 512;
/// Genuine ones have 39.
const MAX_MODULE_ID_BYTES: usize = 128;
/// The security module has PCRs 0 to 31.
const MAX_PCR: u8 = 31;
/// Image, kernel and application.
const MEASURED: std::ops::RangeInclusive<u8> = 0..=2;
/// An envelope nests three deep with its tag, a payload two.
const MAX_DEPTH: usize = 8;
/// COSE_Sign1.
const TAG: u64 = 18;
/// `{1: -35}`: signed with ECDSA and SHA-384 (RFC 9053 §2.1), and nothing else.
const PROTECTED: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];
/// r, then s.
pub(super) const SIGNATURE_BYTES: usize = 96;

/// An attestation document whose every byte has been looked at. Nothing in it is believed yet:
/// [`Document::verify`] says whether AWS vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    module_id: String,
    timestamp: UnixMillis,
    pcrs: BTreeMap<u8, [u8; PCR_BYTES]>,
    certificate: Vec<u8>,
    cabundle: Vec<Vec<u8>>,
    public_key: Option<Vec<u8>>,
    user_data: Option<Vec<u8>>,
    nonce: Option<Vec<u8>>,
    signed: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
}

impl Document {
    /// Reads a document, with or without the tag of its envelope.
    ///
    /// # Errors
    /// If it is larger than [`MAX_DOCUMENT_BYTES`], or not exactly of the form and within the
    /// limits that AWS gives.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejection> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            let found = format_args!("{} bytes", bytes.len());
            let wanted = format_args!("at most {MAX_DOCUMENT_BYTES} bytes");
            return Err(Rejection::new(RejectionCode::TooLarge, "document", found, wanted));
        }
        let envelope = match only_encoding(bytes, "document")? {
            Value::Tag(TAG, inner) => *inner,
            untagged => untagged,
        };
        let wanted = "COSE_Sign1: protected, unprotected, payload, signature";
        let Value::Array(parts) = envelope else {
            return Err(malformed("document", kind(&envelope), wanted));
        };
        let [protected, unprotected, payload, signature] =
            <[Value; 4]>::try_from(parts).map_err(|parts| {
                malformed("document", format_args!("{} parts", parts.len()), wanted)
            })?;

        let protected = byte_string(protected, "document.protected")?;
        if protected != PROTECTED {
            let wanted = format_args!("{}: ES384 and nothing else", hex::encode(&PROTECTED));
            return Err(malformed("document.protected", hex::encode(&protected), wanted));
        }
        // What nobody signed could only mislead: another algorithm, another key.
        if unprotected != Value::Map(Vec::new()) {
            return Err(malformed("document.unprotected", kind(&unprotected), "an empty map"));
        }
        let signature = byte_string(signature, "document.signature")?;
        let signature = <[u8; SIGNATURE_BYTES]>::try_from(signature).map_err(|found| {
            let found = format_args!("{} bytes", found.len());
            malformed("document.signature", found, format_args!("{SIGNATURE_BYTES} bytes"))
        })?;
        let payload = byte_string(payload, "document.payload")?;
        Self::of(&payload, signature)
    }

    fn of(payload: &[u8], signature: [u8; SIGNATURE_BYTES]) -> Result<Self, Rejection> {
        let mut members = Members::of(only_encoding(payload, "payload")?)?;
        let document = Self {
            module_id: module_id(members.take("module_id", "payload.module_id")?)?,
            timestamp: timestamp(members.take("timestamp", "payload.timestamp")?)?,
            pcrs: pcrs(members.take("pcrs", "payload.pcrs")?)?,
            certificate: certificate(
                members.take("certificate", "payload.certificate")?,
                "payload.certificate",
            )?,
            cabundle: cabundle(members.take("cabundle", "payload.cabundle")?)?,
            public_key: members.option("public_key", "payload.public_key", MAX_PUBLIC_KEY_BYTES)?,
            user_data: members.option("user_data", "payload.user_data", MAX_USER_DATA_BYTES)?,
            nonce: members.option("nonce", "payload.nonce", MAX_USER_DATA_BYTES)?,
            signed: signed(payload)?,
            signature,
        };
        let digest = members.take("digest", "payload.digest")?;
        if digest.as_text() != Some("SHA384") {
            let found = digest.as_text().unwrap_or(kind(&digest));
            return Err(malformed("payload.digest", found, "`SHA384`"));
        }
        members.require_empty()?;
        Ok(document)
    }

    /// Who made it: instance and enclave, `i-0123456789abcdef0-enc0123456789abcdef`.
    pub fn module_id(&self) -> &str {
        &self.module_id
    }

    /// When it was made, by the security module's clock.
    pub const fn timestamp(&self) -> UnixMillis {
        self.timestamp
    }

    /// The platform configuration registers by index, those that were never written included: 0 is
    /// the image, 1 kernel and boot, 2 the application, 3 the instance's role, 4 the instance, 8
    /// who signed the image.
    pub const fn pcrs(&self) -> &BTreeMap<u8, [u8; PCR_BYTES]> {
        &self.pcrs
    }

    /// The certificate of the key that signed it, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The authorities above it, root first, DER.
    pub fn cabundle(&self) -> &[Vec<u8>] {
        &self.cabundle
    }

    /// The key that the enclave had bound into it, in whatever encoding.
    pub fn public_key(&self) -> Option<&[u8]> {
        self.public_key.as_deref()
    }

    /// What the enclave had bound into it.
    pub fn user_data(&self) -> Option<&[u8]> {
        self.user_data.as_deref()
    }

    /// The challenge that the enclave had bound into it.
    pub fn nonce(&self) -> Option<&[u8]> {
        self.nonce.as_deref()
    }

    /// Whether the host can read the enclave's console: then PCRs 0 to 2 are zero. No image has a
    /// digest of zeros, so one that is zero suffices.
    pub fn is_debug(&self) -> bool {
        MEASURED.clone().any(|index| {
            self.pcrs.get(&index).is_none_or(|value| value.iter().all(|byte| *byte == 0))
        })
    }

    /// What the signature covers: Sig_structure (RFC 9052 §4.4).
    pub(super) fn signed(&self) -> &[u8] {
        &self.signed
    }

    pub(super) const fn signature(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.signature
    }
}

/// Members of the payload that nobody has looked at.
struct Members(BTreeMap<String, Value>);

impl Members {
    fn of(payload: Value) -> Result<Self, Rejection> {
        let Value::Map(entries) = payload else {
            return Err(malformed("payload", kind(&payload), "a map"));
        };
        let mut members = BTreeMap::new();
        for (name, value) in entries {
            let Value::Text(name) = name else {
                return Err(malformed("payload", kind(&name), "names that are text"));
            };
            if members.contains_key(&name) {
                return Err(malformed("payload", format_args!("{name} twice"), "once"));
            }
            members.insert(name, value);
        }
        Ok(Self(members))
    }

    fn take(&mut self, name: &str, field: &'static str) -> Result<Value, Rejection> {
        self.0.remove(name).ok_or_else(|| malformed(field, "nothing", "a value"))
    }

    /// Bytes that may be absent. The security module writes null for what was not given; AWS's text
    /// forbids that, and leaves the member out.
    fn option(
        &mut self,
        name: &str,
        field: &'static str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Rejection> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let bytes = byte_string(value, field)?;
                require_size(bytes.len(), 0..=limit, field)?;
                Ok(Some(bytes))
            }
        }
    }

    fn require_empty(&self) -> Result<(), Rejection> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(unknown) => Err(malformed("payload", unknown, "the members that AWS names")),
        }
    }
}

/// Decodes what is the only encoding of its value. `ciborium` takes more than one, but writes one:
/// what it would not write so is refused.
fn only_encoding(bytes: &[u8], field: &'static str) -> Result<Value, Rejection> {
    let wanted = "CBOR in its shortest form with nothing after it";
    let value = ciborium::de::from_reader_with_recursion_limit(bytes, MAX_DEPTH)
        .map_err(|_| malformed(field, "what cannot be read", wanted))?;
    if encode(&value, field)? != bytes {
        return Err(malformed(field, "another encoding", wanted));
    }
    Ok(value)
}

fn encode(value: &Value, field: &'static str) -> Result<Vec<u8>, Rejection> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out)
        .map_err(|_| malformed(field, "a value without encoding", "CBOR"))?;
    Ok(out)
}

/// Sig_structure over the bytes that came; both headers of ours are checked to be these.
fn signed(payload: &[u8]) -> Result<Vec<u8>, Rejection> {
    let parts = vec![
        Value::Text("Signature1".to_owned()),
        Value::Bytes(PROTECTED.to_vec()),
        Value::Bytes(Vec::new()),
        Value::Bytes(payload.to_vec()),
    ];
    encode(&Value::Array(parts), "payload")
}

fn module_id(value: Value) -> Result<String, Rejection> {
    let field = "payload.module_id";
    let Value::Text(text) = value else {
        return Err(malformed(field, kind(&value), "text"));
    };
    require_size(text.len(), 1..=MAX_MODULE_ID_BYTES, field)?;
    // It is shown to people.
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed(field, "other characters", "visible ASCII"));
    }
    Ok(text)
}

fn timestamp(value: Value) -> Result<UnixMillis, Rejection> {
    let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
    let exact = number.filter(|number| *number != 0 && UnixMillis::new(*number).get() == *number);
    exact.map(UnixMillis::new).ok_or_else(|| {
        malformed("payload.timestamp", kind(&value), "milliseconds, more than 0 and below 2^53")
    })
}

fn pcrs(value: Value) -> Result<BTreeMap<u8, [u8; PCR_BYTES]>, Rejection> {
    let field = "payload.pcrs";
    let Value::Map(entries) = value else {
        return Err(malformed(field, kind(&value), "a map"));
    };
    let mut pcrs = BTreeMap::new();
    for (index, value) in entries {
        let index = index.as_integer().and_then(|index| u8::try_from(index).ok());
        let Some(index) = index.filter(|index| *index <= MAX_PCR) else {
            return Err(malformed(field, "another index", format_args!("0 to {MAX_PCR}")));
        };
        let value = <[u8; PCR_BYTES]>::try_from(byte_string(value, field)?).map_err(|found| {
            let found = format_args!("{} bytes at index {index}", found.len());
            malformed(field, found, format_args!("{PCR_BYTES} bytes, as SHA-384 has"))
        })?;
        if pcrs.insert(index, value).is_some() {
            return Err(malformed(field, format_args!("index {index} twice"), "once"));
        }
    }
    match MEASURED.clone().find(|index| !pcrs.contains_key(index)) {
        None => Ok(pcrs),
        Some(missing) => Err(malformed(field, format_args!("no index {missing}"), "0, 1 and 2")),
    }
}

fn cabundle(value: Value) -> Result<Vec<Vec<u8>>, Rejection> {
    let field = "payload.cabundle";
    let Value::Array(values) = value else {
        return Err(malformed(field, kind(&value), "an array"));
    };
    if values.is_empty() || values.len() > MAX_AUTHORITIES {
        let found = format_args!("{} certificates", values.len());
        return Err(malformed(field, found, format_args!("1 to {MAX_AUTHORITIES}")));
    }
    values.into_iter().map(|value| certificate(value, field)).collect()
}

fn certificate(value: Value, field: &'static str) -> Result<Vec<u8>, Rejection> {
    let bytes = byte_string(value, field)?;
    require_size(bytes.len(), 1..=MAX_CERTIFICATE_BYTES, field)?;
    Ok(bytes)
}

fn byte_string(value: Value, field: &'static str) -> Result<Vec<u8>, Rejection> {
    value.into_bytes().map_err(|value| malformed(field, kind(&value), "a byte string"))
}

fn require_size(
    size: usize,
    wanted: std::ops::RangeInclusive<usize>,
    field: &'static str,
) -> Result<(), Rejection> {
    if wanted.contains(&size) {
        return Ok(());
    }
    let wanted = format_args!("{} to {} bytes", wanted.start(), wanted.end());
    Err(malformed(field, format_args!("{size} bytes"), wanted))
}

/// What a value is, for reasons: the value itself may be long.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "an integer",
        Value::Bytes(_) => "a byte string",
        Value::Float(_) => "a float",
        Value::Text(_) => "text",
        Value::Bool(_) => "a boolean",
        Value::Null => "null",
        Value::Tag(..) => "another tag",
        Value::Array(_) => "an array",
        Value::Map(_) => "a map",
        // `Value` is not ours, and may get more.
        _ => "another kind of value",
    }
}

fn malformed(
    field: &'static str,
    found: impl std::fmt::Display,
    wanted: impl std::fmt::Display,
) -> Rejection {
    Rejection::new(RejectionCode::Malformed, field, found, wanted)
}
