//! The log's folder: tiles and bundles, the head as it was signed, the checkpoint as published.
//!
//! Tiles and checkpoint are written beside their place and moved there, so that nobody reads a
//! half. They are not flushed: each follows from the database and the newest head, and what a
//! power failure took of them is written again.
//!
//! Heads are flushed to the disk before anybody sees them: what was signed is known to the next
//! start. They take turns in two files, each written over what it held: making and moving a new
//! file for every head took a tenth of the time of a release. A crash tears at most the head that
//! nobody has seen, the one before it stands in the other file, and a head that is torn does not
//! verify.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cordon_tlog::tile::{LogFile, TilePath, TileSource};
use cordon_tlog::{LogKey, SignedCheckpoint, VerifiedCheckpoint};

use super::LogError;
use crate::files::{place_unflushed, write_whole};

/// The two heads that were signed last.
const HEADS: [&str; 2] = ["head.0", "head.1"];
/// What the world sees: a head with its cosignatures.
const CHECKPOINT: &str = "checkpoint";

/// The folder of one log.
#[derive(Clone, Debug)]
pub(super) struct LogFolder {
    path: PathBuf,
    /// Which of [`HEADS`] is written next.
    turn: Arc<AtomicUsize>,
}

impl LogFolder {
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        fs::create_dir_all(path).map_err(at(path))?;
        Ok(Self { path: path.to_owned(), turn: Arc::default() })
    }

    /// Writes the files of a batch, in their order. They are not flushed: the entries are in the
    /// database, durably, and a start makes of them again what is missing or was torn.
    pub(super) fn write_tiles(&self, tiles: &[LogFile]) -> Result<(), LogError> {
        for tile in tiles {
            let path = self.path.join(tile.path.to_string());
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(at(folder))?;
            }
            place_unflushed(&path, &tile.bytes).map_err(at(&path))?;
            if tile.path.is_full() {
                remove_partial(&path)?;
            }
        }
        Ok(())
    }

    /// Keeps a head that is about to be shown to witnesses.
    pub(super) fn write_head(&self, head: &SignedCheckpoint) -> Result<(), LogError> {
        let turn = self.turn.load(Ordering::Acquire);
        let path = self.path.join(HEADS[turn % HEADS.len()]);
        self.overwrite(&path, head.to_string().as_bytes()).map_err(at(&path))?;
        self.turn.store(turn + 1, Ordering::Release);
        Ok(())
    }

    /// Shows a head to the world.
    pub(super) fn write_checkpoint(&self, head: &SignedCheckpoint) -> Result<(), LogError> {
        let path = self.path.join(CHECKPOINT);
        place_unflushed(&path, head.to_string().as_bytes()).map_err(at(&path))
    }

    /// The head that was signed last, if ever. The next one is written over the other.
    pub(super) fn read_head(&self, own: &LogKey) -> Result<Option<VerifiedCheckpoint>, LogError> {
        let mut newest: Option<VerifiedCheckpoint> = None;
        let mut torn = None;
        for (slot, name) in HEADS.into_iter().enumerate() {
            let Some(bytes) = self.read(name)? else { continue };
            let parsed = SignedCheckpoint::parse(&bytes).map_err(|error| LogError::damaged(&error));
            let verified =
                parsed.and_then(|head| head.verify(own).map_err(|error| LogError::damaged(&error)));
            match verified {
                Ok(head) if newest.as_ref().is_none_or(|other| other.size() < head.size()) => {
                    newest = Some(head);
                    self.turn.store(slot + 1, Ordering::Release);
                }
                Ok(_) => {}
                Err(error) => torn = Some(error),
            }
        }
        match (newest, torn) {
            // Each file is made whole, so that one of two is always good: somebody damaged them.
            (None, Some(error)) => Err(error),
            (newest, _) => Ok(newest),
        }
    }

    /// A file that anybody may have.
    pub(super) fn read_public(&self, path: &str) -> Result<Option<Vec<u8>>, LogError> {
        if path == CHECKPOINT {
            return self.read(CHECKPOINT);
        }
        // Only exact tile paths name files: there is no way out of the folder.
        let Ok(tile) = path.parse::<TilePath>() else { return Ok(None) };
        self.read(&tile.to_string())
    }

    /// Writes a file whole the first time, later over what it held, and flushes it.
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = match OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return write_whole(path, bytes);
            }
            Err(error) => return Err(error),
        };
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_data()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }
}

impl TileSource for LogFolder {
    type Error = LogError;

    fn read_tile(&mut self, path: &TilePath) -> Result<Option<Vec<u8>>, LogError> {
        self.read(&path.to_string())
    }
}

/// The partial files of a tile that is full now: whoever wants one takes the beginning of the full
/// one (C2SP tlog-tiles, "Partial Tiles").
fn remove_partial(full: &Path) -> Result<(), LogError> {
    let mut name = full.file_name().unwrap_or_default().to_owned();
    name.push(".p");
    let folder = full.with_file_name(name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&folder)(error)),
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| LogError::File { path: path.clone(), source }
}
