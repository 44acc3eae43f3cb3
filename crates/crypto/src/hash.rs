use aws_lc_rs::digest;
use cordon_types::Sha256Digest;

use crate::label::{Label, framed};

/// SHA-256 over the concatenation of `parts`.
pub fn sha256(parts: &[&[u8]]) -> Sha256Digest {
    let mut hasher = Sha256Writer::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

/// SHA-256 over a label and parts, framed so that no two inputs collide.
pub fn labelled_digest(label: Label, parts: &[&[u8]]) -> Sha256Digest {
    sha256(&[&framed(label, parts)])
}

/// SHA-512 over the concatenation of `parts`.
pub fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    let mut context = digest::Context::new(&digest::SHA512);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 64];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// SHA-256 over bytes that come piece by piece; also a [`std::io::Write`].
pub struct Sha256Writer(digest::Context);

impl Sha256Writer {
    /// Starts with no bytes.
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Sha256Digest {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        Sha256Digest::from_bytes(out)
    }
}

impl Default for Sha256Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl std::io::Write for Sha256Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
