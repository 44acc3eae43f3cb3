//! The root key in its file: one line, for its owner only.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use cordon_crypto::{Random, SigningKey};
use cordon_types::{Secret, hex};
use zeroize::Zeroizing;

/// Why there is no root key.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// Reading or writing failed.
    #[error("cannot use root key file `{}`", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read it.
    #[error("root key file `{}` has mode {mode:03o}, expected 600", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a root key.
    #[error("root key file `{}` is not `{PREFIX}` and 64 lower-case hex digits", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// Makes a root key and writes it to a new file with mode 600.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn create_root_key(path: &Path, random: &mut dyn Random) -> Result<SigningKey, RootKeyError> {
    let failed = |source| RootKeyError::Io { path: path.to_owned(), source };
    let key = SigningKey::generate(random);
    let text =
        Zeroizing::new(format!("{PREFIX}{}\n", *Zeroizing::new(hex::encode(key.seed().expose()))));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(key)
}

/// Reads a root key.
///
/// # Errors
/// If the file cannot be read, is not for its owner only, or holds something else.
pub fn read_root_key(path: &Path) -> Result<SigningKey, RootKeyError> {
    let failed = |source| RootKeyError::Io { path: path.to_owned(), source };
    let malformed = || RootKeyError::Malformed { path: path.to_owned() };
    let file = File::open(path).map_err(failed)?;
    // Of the open file, not of the path: nobody can exchange it in between.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(RootKeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES + 1));
    let limit = u64::try_from(FILE_BYTES + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_string(&mut text).map_err(failed)?;
    let digits = text.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix('\n'));
    let mut seed = digits.and_then(hex::decode_array::<32>).ok_or_else(malformed)?;
    Ok(SigningKey::from_seed(Secret::take(&mut seed)))
}

const PREFIX: &str = "cordon-softtee-root-v1 ";
const FILE_BYTES: usize = PREFIX.len() + 64 + 1;

#[cfg(test)]
mod tests {
    use cordon_crypto::SystemRandom;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[test]
    fn a_root_key_comes_back_and_is_for_its_owner_only() {
        let folder = folder();
        let path = folder.path().join("root.key");
        let made = create_root_key(&path, &mut SystemRandom::new()).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let read = read_root_key(&path).expect("read");
        assert_eq!(made.verifying_key(), read.verifying_key());
    }

    #[test]
    fn an_existing_root_key_is_not_replaced() {
        let folder = folder();
        let path = folder.path().join("root.key");
        let made = create_root_key(&path, &mut SystemRandom::new()).expect("made");
        assert!(create_root_key(&path, &mut SystemRandom::new()).is_err());
        assert_eq!(read_root_key(&path).expect("read").verifying_key(), made.verifying_key());
    }

    #[test]
    fn a_root_key_that_others_may_read_is_refused() {
        let folder = folder();
        let path = folder.path().join("root.key");
        create_root_key(&path, &mut SystemRandom::new()).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        assert!(matches!(read_root_key(&path), Err(RootKeyError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn other_files_are_no_root_keys() {
        let folder = folder();
        let path = folder.path().join("root.key");
        let good = format!("{PREFIX}{}\n", "ab".repeat(32));
        for other in [
            String::new(),
            "ab".repeat(32),
            good.to_uppercase(),
            good.trim_end().to_owned(),
            format!("{good}\n"),
            good.repeat(2),
        ] {
            fs::write(&path, &other).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
            assert!(matches!(read_root_key(&path), Err(RootKeyError::Malformed { .. })), "{other}");
        }
    }
}
