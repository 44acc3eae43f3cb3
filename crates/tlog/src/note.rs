//! Signed notes: text and signatures over it (C2SP signed-note).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cordon_crypto::Signature;
use cordon_types::hex;

use crate::key::LogKey;

/// Most bytes in a note: 64 signature lines of 5 kB, as post-quantum ones may have, fit.
pub const MAX_NOTE_BYTES: usize = 384 * 1024;

/// Most signatures on a note. The specification demands at least 16; a head carries one per
/// signature type of its log and one per witness.
pub const MAX_SIGNATURES: usize = 64;

/// Most bytes in a key name: ML-DSA-44 cosignatures write its length in one byte.
pub const MAX_NAME_BYTES: usize = 255;

/// The name of a key, by custom a URL without scheme; a log's origin is its key's name.
///
/// Not empty, no Unicode spaces or control characters, no `+`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// Four bytes that, with the name, say which key signed. It identifies and commits to nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteKeyId([u8; 4]);

/// One signature on a note, of any type, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine {
    name: KeyName,
    key_id: NoteKeyId,
    // INVARIANT: not empty.
    signature: Vec<u8>,
}

/// A text with signatures, none of them verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    // INVARIANT: ends in LF and has no other control characters.
    text: String,
    signatures: Vec<SignatureLine>,
}

/// Why a note is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// More bytes than any note has.
    #[error("note of {found} bytes is above the limit of {MAX_NOTE_BYTES}")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// Not text.
    #[error("note is not valid UTF-8 at byte {position}")]
    NotUtf8 {
        /// Where.
        position: usize,
    },
    /// A control character other than LF.
    #[error("note has a control character at byte {position}")]
    ControlCharacter {
        /// Where.
        position: usize,
    },
    /// The text does not end in LF.
    #[error("note text does not end in a line break")]
    UnfinishedText,
    /// No blank line separates text and signatures.
    #[error("note has no blank line before its signatures")]
    NoBlankLine,
    /// No signature follows the blank line.
    #[error("note has no signatures")]
    NoSignatures,
    /// More signatures than are accepted.
    #[error("note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// The last signature line does not end in LF.
    #[error("the last signature line does not end in a line break")]
    UnfinishedSignature,
    /// A line is no signature line.
    #[error("signature {position}: expected `— <name> <base64>`")]
    SignatureLine {
        /// Which signature, from 0.
        position: usize,
    },
    /// Nobody we know signed it.
    #[error("note has no signature by `{name}`")]
    NotSigned {
        /// The key that was looked for.
        name: KeyName,
    },
    /// A signature that names a known key was not made by it, or not over this text.
    #[error("the signature by `{name}` does not verify")]
    BadSignature {
        /// The known key.
        name: KeyName,
    },
}

/// The text is not a key name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a key name of 1 to {MAX_NAME_BYTES} bytes without spaces, control characters or `+`"
)]
pub struct KeyNameError;

impl KeyName {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(text: &str) -> Result<Self, KeyNameError> {
        let length_fits = (1..=MAX_NAME_BYTES).contains(&text.len());
        let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        if length_fits && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(KeyNameError)
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl NoteKeyId {
    /// Wraps the raw bytes.
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for NoteKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for NoteKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl SignatureLine {
    /// Puts a line together; the signature's bytes are those after the key id.
    pub(crate) fn new(name: KeyName, key_id: NoteKeyId, signature: Vec<u8>) -> Self {
        Self { name, key_id, signature }
    }

    /// The name of the key that claims to have signed.
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id of that key.
    pub const fn key_id(&self) -> NoteKeyId {
        self.key_id
    }

    /// The bytes after the key id; what they mean depends on the key.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Reads `— <name> <base64>`, without the line break.
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        let name = name.parse().ok()?;
        let bytes = STANDARD.decode(encoded).ok()?;
        let (key_id, signature) = bytes.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self { name, key_id: NoteKeyId(*key_id), signature: signature.to_vec() })
    }
}

impl fmt::Display for SignatureLine {
    /// Writes the line with its line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key_id.0.as_slice(), &self.signature].concat();
        writeln!(f, "{SIGNATURE_PREFIX}{} {}", self.name, STANDARD.encode(bytes))
    }
}

impl Note {
    /// Makes a note without signatures, to be signed.
    ///
    /// # Errors
    /// If `text` does not end in LF, has other control characters, or is too large.
    pub fn new(text: String) -> Result<Self, NoteError> {
        check_size(text.len())?;
        check_characters(&text)?;
        if text.ends_with('\n') {
            Ok(Self { text, signatures: Vec::new() })
        } else {
            Err(NoteError::UnfinishedText)
        }
    }

    /// Reads a note with at least one signature; verifies none.
    ///
    /// # Errors
    /// If the bytes are not a note in its one canonical spelling.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        check_size(bytes.len())?;
        let note = utf8(bytes)?;
        check_characters(note)?;
        // The text may have blank lines of its own: it ends at the last one.
        let end = note.rfind("\n\n").ok_or(NoteError::NoBlankLine)? + 1;
        let (text, signatures) = note.split_at(end);
        let signatures = parse_lines(&signatures[1..])?;
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// What is signed, with its final line break. Not verified.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in their order. Not verified.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// The text, once it is known that `key` signed it.
    ///
    /// # Errors
    /// If there is no signature by `key`, or one that does not verify.
    pub fn verify(&self, key: &LogKey) -> Result<&str, NoteError> {
        let mut signed = false;
        for line in self.by(key.name(), key.id()) {
            let bad = || NoteError::BadSignature { name: key.name().clone() };
            let signature: [u8; 64] = line.signature.as_slice().try_into().map_err(|_| bad())?;
            key.public()
                .verify(self.text.as_bytes(), &Signature::from_bytes(signature))
                .map_err(|_| bad())?;
            signed = true;
        }
        if signed { Ok(&self.text) } else { Err(NoteError::NotSigned { name: key.name().clone() }) }
    }

    /// Lines that name this key, by name *and* id.
    pub(crate) fn by(&self, name: &KeyName, id: NoteKeyId) -> impl Iterator<Item = &SignatureLine> {
        self.signatures.iter().filter(move |line| line.key_id == id && line.name == *name)
    }

    /// Adds a signature.
    ///
    /// # Errors
    /// If the note has [`MAX_SIGNATURES`] already, or would be too large.
    pub(crate) fn push(&mut self, line: SignatureLine) -> Result<(), NoteError> {
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        check_size(self.to_string().len() + line.to_string().len())?;
        self.signatures.push(line);
        Ok(())
    }

    /// Removes the lines that name this key.
    pub(crate) fn remove(&mut self, name: &KeyName, id: NoteKeyId) {
        self.signatures.retain(|line| line.key_id != id || line.name != *name);
    }
}

impl fmt::Display for Note {
    /// Writes the note as [`Note::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| write!(f, "{line}"))
    }
}

/// Reads signature lines alone, as a witness answers them.
///
/// # Errors
/// If the bytes are not one or more signature lines.
pub fn parse_signature_lines(bytes: &[u8]) -> Result<Vec<SignatureLine>, NoteError> {
    check_size(bytes.len())?;
    let text = utf8(bytes)?;
    check_characters(text)?;
    parse_lines(text)
}

fn parse_lines(text: &str) -> Result<Vec<SignatureLine>, NoteError> {
    if text.is_empty() {
        return Err(NoteError::NoSignatures);
    }
    let lines = text.strip_suffix('\n').ok_or(NoteError::UnfinishedSignature)?;
    if lines.split('\n').count() > MAX_SIGNATURES {
        return Err(NoteError::TooManySignatures);
    }
    lines
        .split('\n')
        .enumerate()
        .map(|(position, line)| {
            SignatureLine::parse(line).ok_or(NoteError::SignatureLine { position })
        })
        .collect()
}

fn check_size(found: usize) -> Result<(), NoteError> {
    if found > MAX_NOTE_BYTES { Err(NoteError::TooLarge { found }) } else { Ok(()) }
}

fn utf8(bytes: &[u8]) -> Result<&str, NoteError> {
    std::str::from_utf8(bytes).map_err(|error| NoteError::NotUtf8 { position: error.valid_up_to() })
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    match text.bytes().position(|byte| byte < 0x20 && byte != b'\n') {
        Some(position) => Err(NoteError::ControlCharacter { position }),
        None => Ok(()),
    }
}

/// U+2014 and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

#[cfg(test)]
mod tests;
