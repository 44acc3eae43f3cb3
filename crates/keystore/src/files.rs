//! Files of the key store: written whole or not at all, readable by their owner only.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", .path.display())]
pub struct FileError {
    /// What was to be done.
    pub action: &'static str,
    /// With which file or folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Gives an [`io::Error`] the name of its file.
pub(crate) fn at<'p>(action: &'static str, path: &'p Path) -> impl Fn(io::Error) -> FileError + 'p {
    move |source| FileError { action, path: path.to_owned(), source }
}

/// Makes a folder of mode 0700 and its missing parents; one that exists must be as private.
pub(crate) fn private_folder(path: &Path) -> Result<(), FileError> {
    let fail = at("make the folder", path);
    if !path.is_dir() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(&fail)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
    }
    let mode = std::fs::metadata(path).map_err(&fail)?.mode();
    refuse_shared(mode).map_err(fail)
}

/// Writes a file so that after a crash either the old or the new one is there, whole: temporary
/// file, `fsync`, rename, `fsync` of the folder. Only one process may write in the folder.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary_name(path);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary).map_err(at("create", &temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at("write", &temporary))?;
    std::fs::rename(&temporary, path).map_err(at("replace", path))?;
    sync_parent(path)
}

/// Reads a private file of at most `limit` bytes; `None` if there is none.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    let fail = at("read", path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let facts = file.metadata().map_err(&fail)?;
    if !facts.is_file() || facts.len() > limit {
        let text = format!("expected a file of at most {limit} bytes");
        return Err(fail(io::Error::new(io::ErrorKind::InvalidData, text)));
    }
    refuse_shared(facts.mode()).map_err(&fail)?;
    let mut bytes = Vec::new();
    // One byte more than allowed shows a file that grows under our eyes.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(&fail)?;
    if bytes.len() as u64 > limit {
        return Err(fail(io::ErrorKind::InvalidData.into()));
    }
    Ok(Some(bytes))
}

/// Overwrites a file with zeros and removes it, each durably. Missing is done.
///
/// On journalling and flash storage an overwritten block may survive somewhere: what was wrapped
/// under the file's content is safe only as far as that medium is. `SECURITY.md` says so.
pub(crate) fn shred(path: &Path) -> Result<(), FileError> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return sync_parent(path),
        Err(error) => return Err(at("open", path)(error)),
    };
    let size = file.metadata().map_err(at("inspect", path))?.len();
    let zeros = vec![0; usize::try_from(size).unwrap_or(0)];
    file.write_all(&zeros).and_then(|()| file.sync_all()).map_err(at("overwrite", path))?;
    std::fs::remove_file(path).map_err(at("remove", path))?;
    sync_parent(path)
}

/// Names in a folder, sorted; none if there is no folder. Temporary files of a write that was cut
/// short are removed: nothing refers to them.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, FileError> {
    let fail = at("list", folder);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(&fail)?.file_name();
        let name = name.into_string().map_err(|_| {
            fail(io::Error::new(io::ErrorKind::InvalidData, "a name is not valid UTF-8"))
        })?;
        if is_temporary(&name) {
            shred(&folder.join(&name))?;
        } else {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Makes what was renamed or removed in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(at("sync the folder", path))
}

fn sync_parent(path: &Path) -> Result<(), FileError> {
    match path.parent() {
        // A bare name stands in the current folder.
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Keys are nobody else's business: no bits for group and others.
fn refuse_shared(mode: u32) -> io::Result<()> {
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let text = format!("mode {:03o} lets others in, expected 600 or 700", mode & 0o777);
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(TEMPORARY);
    path.with_file_name(name)
}

/// Whether a name is one that [`temporary_name`] gives. No name that we keep ends so.
fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY)
}

const TEMPORARY: &str = "~new";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_replaced_file_is_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(read(&path, 2).is_err());
        assert!(read(&folder.path().join("missing"), 3).unwrap().is_none());
    }

    /// `cordon init party --key-file root.key` failed after it had made the file.
    #[test]
    fn the_folder_of_a_bare_name_is_the_current_one() {
        sync_parent(Path::new("root.key")).unwrap();
        sync_parent(Path::new("/")).unwrap();
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"one").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&path, 3).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_write_that_was_cut_short_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"one").unwrap();
        std::fs::write(temporary_name(&path), b"tw").unwrap();
        assert_eq!(names(folder.path()).unwrap(), ["file"]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"one");
    }

    #[test]
    fn shredding_twice_is_as_good_as_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"secret").unwrap();
        shred(&path).unwrap();
        assert!(!path.exists());
        shred(&path).unwrap();
    }
}
