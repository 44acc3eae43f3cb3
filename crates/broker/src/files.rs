//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file beside its place, flushes it to the disk, and moves it there. The folder is left
/// to the caller to flush, who may have written several.
pub(crate) fn place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_and_move(path, bytes, File::sync_all)
}

/// Likewise for a file that can be made again: after a power failure it may be missing or torn.
pub(crate) fn place_unflushed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_and_move(path, bytes, |_| Ok(()))
}

fn write_and_move(
    path: &Path,
    bytes: &[u8],
    flush: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    flush(&file)?;
    fs::rename(&temporary, path)
}

/// Flushes a folder: names in it are on the disk then.
pub(crate) fn flush_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Flushes the folder that holds `path`; a bare name stands in the current one.
pub(crate) fn flush_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => flush_folder(parent),
        _ => flush_folder(Path::new(".")),
    }
}

/// Both, for a single file.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    place(path, bytes)?;
    flush_parent(path)
}
