//! Files that survive a crash: what has been acknowledged is on the disk, what is half-written
//! is recognised and dropped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use cordon_crypto::sha256;

/// Suffix of a file that [`replace`] has not yet put in place.
const TEMPORARY: &str = "tmp";
/// First bytes of a checked file.
const MAGIC: &[u8; 8] = b"CORDON1\n";
const HEADER_BYTES: usize = MAGIC.len() + 32;

/// Writes `path` anew or in place of an old file, atomically: temporary file, sync, rename, sync
/// of the folder. A crash leaves the old content or the new.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_added_extension(TEMPORARY);
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder_of(path)
}

/// Writes a new file under its final name, headed by its digest: one journal commit instead of
/// the two of write-and-rename. A crash leaves a file that [`read_checked`] tells from a whole
/// one. Without `durable` the content survives the process, but not the machine.
pub(crate) fn create_checked(path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let written = (|| {
        let mut whole = Vec::with_capacity(HEADER_BYTES + content.len());
        whole.extend_from_slice(MAGIC);
        whole.extend_from_slice(sha256(&[content]).as_bytes());
        whole.extend_from_slice(content);
        file.write_all(&whole)?;
        if durable {
            file.sync_all()?;
            sync_folder_of(path)?;
        }
        Ok(())
    })();
    if written.is_err() {
        // The caller gets the error; a leftover would be refused by its checksum anyway.
        let _ = fs::remove_file(path);
    }
    written
}

/// Reads a file of [`create_checked`]; `None` if it is not whole.
pub(crate) fn read_checked(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut whole = fs::read(path)?;
    if whole.len() < HEADER_BYTES {
        return Ok(None);
    }
    let content = whole.split_off(HEADER_BYTES);
    let expected = [MAGIC.as_slice(), sha256(&[&content]).as_bytes()].concat();
    Ok((whole == expected).then_some(content))
}

/// Likewise, for its owner only if it is made here.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    sync_folder_of(path)
}

/// Makes a folder and its parents durable.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    sync_folder_of(path)
}

/// Makes the entries of the folder that holds `path` durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        // A bare name stands in the current folder.
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The names in a folder, sorted, without what [`replace`] left behind; those are removed.
/// A missing folder is empty. Names that are not UTF-8 are none of ours.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if Path::new(&name).extension().is_some_and(|e| e == TEMPORARY) {
            fs::remove_file(entry.path())?;
        } else {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_written_file_is_told_from_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.msg");
        create_checked(&path, b"hello", true).unwrap();
        assert_eq!(read_checked(&path).unwrap().unwrap(), b"hello");
        assert!(create_checked(&path, b"again", true).is_err(), "never overwrites");
        assert_eq!(read_checked(&path).unwrap().unwrap(), b"hello");
        let whole = [MAGIC.as_slice(), sha256(&[b"hello"]).as_bytes(), b"hello"].concat();
        for cut in 0..whole.len() {
            let torn = folder.path().join(format!("torn-{cut}"));
            fs::write(&torn, &whole[..cut]).unwrap();
            assert_eq!(read_checked(&torn).unwrap(), None, "{cut}");
        }
    }

    #[test]
    fn replacing_leaves_no_temporary_file_and_listing_removes_one() {
        let folder = tempfile::tempdir().unwrap();
        replace(&folder.path().join("a.json"), b"1").unwrap();
        replace(&folder.path().join("a.json"), b"2").unwrap();
        fs::write(folder.path().join("b.json.tmp"), b"half").unwrap();
        assert_eq!(list(folder.path()).unwrap(), ["a.json"]);
        assert!(!folder.path().join("b.json.tmp").exists());
        assert_eq!(fs::read(folder.path().join("a.json")).unwrap(), b"2");
        assert!(list(&folder.path().join("missing")).unwrap().is_empty());
    }
}
