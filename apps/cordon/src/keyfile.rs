//! Keys of organisations in files of their own: one line, readable by the owner only.
//!
//! The line says what the key is for, so that one cannot be taken for another.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cordon_crypto::{Random, SigningKey};
use cordon_types::{Secret, hex};
use zeroize::Zeroizing;

use crate::files;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signs manifests of sealed datasets.
    Manifest,
    /// Makes pseudonyms of patients.
    Subject,
    /// Signs a host's requests to the hub.
    Host,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Subject => "subject",
            Self::Host => "host",
        }
    }
}

/// Reads a key.
///
/// # Errors
/// If the file is not there, is readable by others, or holds a key for another purpose.
pub fn read(path: &Path, purpose: Purpose) -> Result<Secret<32>> {
    files::check_private(path)?;
    let bytes = Zeroizing::new(files::read(path)?);
    let prefix = prefix(purpose);
    let digits = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.strip_prefix(prefix.as_str())?.strip_suffix('\n'));
    let mut key = digits.and_then(hex::decode_array::<32>).with_context(|| {
        format!(
            "`{}` holds no {} key: expected `{prefix}` and 64 hex digits",
            path.display(),
            purpose.word()
        )
    })?;
    Ok(Secret::take(&mut key))
}

/// Reads a key, or makes one if the file is not there.
///
/// # Errors
/// As [`read`], or if the file cannot be written.
pub fn read_or_make(path: &Path, purpose: Purpose, random: &mut dyn Random) -> Result<Secret<32>> {
    if path.exists() {
        return read(path, purpose);
    }
    let key = random.secret();
    let digits = Zeroizing::new(hex::encode(key.expose()));
    let line = Zeroizing::new(format!("{}{}\n", prefix(purpose), *digits));
    files::write_private(path, line.as_bytes())?;
    Ok(key)
}

/// Reads a signing key, or makes one if the file is not there.
///
/// # Errors
/// As [`read_or_make`].
pub fn signing_key(path: &Path, purpose: Purpose, random: &mut dyn Random) -> Result<SigningKey> {
    if purpose == Purpose::Subject {
        bail!("a subject key makes pseudonyms and signs nothing");
    }
    Ok(SigningKey::from_seed(read_or_make(path, purpose, random)?))
}

fn prefix(purpose: Purpose) -> String {
    format!("cordon-{}-key-v1 ", purpose.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_crypto::SystemRandom;

    #[test]
    fn a_key_comes_back_for_its_purpose_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("subject.key");
        let made = read_or_make(&path, Purpose::Subject, &mut SystemRandom::new()).unwrap();
        assert!(made.is_equal(&read(&path, Purpose::Subject).unwrap()));
        let again = read_or_make(&path, Purpose::Subject, &mut SystemRandom::new()).unwrap();
        assert!(made.is_equal(&again));
        let other = read(&path, Purpose::Manifest).unwrap_err().to_string();
        assert!(other.contains("holds no manifest key"), "{other}");
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.key");
        read_or_make(&path, Purpose::Host, &mut SystemRandom::new()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = read(&path, Purpose::Host).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }
}
