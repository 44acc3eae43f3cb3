//! The log's folder: tiles and bundles, the head as it was signed, the checkpoint as published.
//!
//! Every file is written beside its place and moved there, so that nobody reads a half. Heads are
//! flushed to the disk before they are moved, and their folder after it: what was signed is known
//! to the next start. Tiles are not: each has one content for ever, which follows from the
//! database, and what a power failure took of them is written again before the next head.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cordon_tlog::SignedCheckpoint;
use cordon_tlog::tile::{LogFile, TilePath, TileSource};

use super::LogError;
use crate::files::{flush_folder, place, place_unflushed};

/// The head that was signed last.
const HEAD: &str = "head";
/// What the world sees: a head with its cosignatures.
const CHECKPOINT: &str = "checkpoint";

/// The folder of one log.
#[derive(Clone, Debug)]
pub(super) struct LogFolder(PathBuf);

impl LogFolder {
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        fs::create_dir_all(path).map_err(at(path))?;
        Ok(Self(path.to_owned()))
    }

    /// Writes the files of a batch, in their order. They are not flushed: the entries are in the
    /// database, durably, and a start makes of them again what is missing or was torn.
    pub(super) fn write_tiles(&self, tiles: &[LogFile]) -> Result<(), LogError> {
        for tile in tiles {
            let path = self.0.join(tile.path.to_string());
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(at(folder))?;
            }
            place_unflushed(&path, &tile.bytes).map_err(at(&path))?;
        }
        Ok(())
    }

    /// Keeps a head that is about to be shown to witnesses.
    pub(super) fn write_head(&self, head: &SignedCheckpoint) -> Result<(), LogError> {
        self.replace(HEAD, head)
    }

    /// Shows a head to the world.
    pub(super) fn write_checkpoint(&self, head: &SignedCheckpoint) -> Result<(), LogError> {
        self.replace(CHECKPOINT, head)
    }

    /// The head that was signed last, if ever.
    pub(super) fn read_head(&self) -> Result<Option<SignedCheckpoint>, LogError> {
        let Some(bytes) = self.read(HEAD)? else { return Ok(None) };
        SignedCheckpoint::parse(&bytes).map(Some).map_err(|error| LogError::damaged(&error))
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

    fn replace(&self, name: &str, head: &SignedCheckpoint) -> Result<(), LogError> {
        let path = self.0.join(name);
        place(&path, head.to_string().as_bytes()).map_err(at(&path))?;
        flush_folder(&self.0).map_err(at(&self.0))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        let path = self.0.join(name);
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

fn at(path: &Path) -> impl Fn(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| LogError::File { path: path.clone(), source }
}
