//! Files and folders of the people who run commands: written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use cordon_crypto::dsse::{Document, Envelope, Signed};
use cordon_dataset::{FileSink, FileSource, SealedFile};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest document that a command reads whole.
const MAX_DOCUMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Reads a file of bounded size.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        bail!("`{}` is over {MAX_DOCUMENT_BYTES} bytes", path.display());
    }
    Ok(bytes)
}

/// Where a program is: as named, or, if only a name is given, beside this program or in PATH.
pub fn program(named: &Path) -> PathBuf {
    let is_bare = named.components().count() == 1 && !named.is_absolute();
    if named.exists() || !is_bare {
        return named.to_owned();
    }
    let own = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = own.into_iter().chain(std::env::split_paths(&path));
    let found = folders.find_map(|folder| Some(folder.join(named)).filter(|file| file.is_file()));
    found.unwrap_or_else(|| named.to_owned())
}

/// Reads a program whole, wherever it is.
pub fn read_program(named: &Path) -> Result<Vec<u8>> {
    let path = program(named);
    fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Reads a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?)
        .with_context(|| format!("`{}` does not hold what was expected", path.display()))
}

/// Writes a file whole: beside it, to the disk, then in its place.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with_mode(path, bytes, 0o644)
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with_mode(path, bytes, 0o600)
}

/// Checks that nobody but its owner may read a file.
pub fn check_private(path: &Path) -> Result<()> {
    let metadata =
        fs::metadata(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("`{}` may be read by others (mode {mode:o}): run `chmod 600` on it", path.display());
    }
    Ok(())
}

/// Reads a signed document; its signature is for the caller to check.
pub fn read_envelope(path: &Path) -> Result<Envelope> {
    let bytes = read(path)?;
    Envelope::from_json(&bytes, bytes.len())
        .with_context(|| format!("`{}` holds no signed document", path.display()))
}

/// Reads a document that is signed by a key which it names itself: a card, an agreement. Whose
/// key that is, is for the caller to know.
pub fn read_signed<T: Document>(path: &Path) -> Result<Signed<T>> {
    let envelope = read_envelope(path)?;
    envelope
        .open(&envelope.claimed_signer())
        .with_context(|| format!("`{}` does not hold what was expected", path.display()))
}

/// Writes JSON for people to read, too.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    write(path, &bytes)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().context("not the name of a file")?.to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.new", std::process::id()));
    let done = (|| {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    })();
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done.with_context(|| format!("cannot write `{}`", path.display()))
}

/// A folder that gets its name when all is in it. Dropped before, it is removed; nothing but what
/// was made here ever is.
pub struct Staging {
    path: PathBuf,
    placed: bool,
}

impl Staging {
    /// Makes a folder beside where `out` is to be.
    pub fn beside(out: &Path) -> Result<Self> {
        let name = out.file_name().context("not the name of a folder")?.to_string_lossy();
        let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot make `{}`", parent.display()))?;
        let path = parent.join(format!(".{name}.{}.partial", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        Ok(Self { path, placed: false })
    }

    /// Where to write meanwhile.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, which nothing may have by now.
    pub fn place(mut self, out: &Path) -> Result<()> {
        fs::rename(&self.path, out).with_context(|| format!("cannot make `{}`", out.display()))?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A folder of sealed files.
pub struct SealedFolder(PathBuf);

impl SealedFolder {
    /// The folder at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_path_buf())
    }
}

impl FileSink for SealedFolder {
    fn create(&mut self, path: &str) -> io::Result<Box<dyn Write + Send>> {
        let path = self.0.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::create_new(path)?;
        Ok(Box::new(Durable(BufWriter::with_capacity(1 << 20, file))))
    }
}

/// Reaches the disk when it is flushed, which the writer does once, at the end.
struct Durable(BufWriter<File>);

impl Write for Durable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.0.get_ref().sync_all()
    }
}

impl FileSource for SealedFolder {
    fn paths(&self) -> io::Result<Vec<String>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let table = entry.file_name().to_string_lossy().into_owned();
            for file in fs::read_dir(entry.path())? {
                paths.push(format!("{table}/{}", file?.file_name().to_string_lossy()));
            }
        }
        Ok(paths)
    }

    fn open(&self, path: &str) -> io::Result<Option<Arc<dyn SealedFile>>> {
        match File::open(self.0.join(path)) {
            Ok(file) => Ok(Some(Arc::new(OnDisk(file)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

struct OnDisk(File);

impl SealedFile for OnDisk {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }
}
