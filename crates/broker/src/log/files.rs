//! The log's folder: tiles and bundles, the head as it was signed, the checkpoint as published.
//!
//! Every file is written beside its place, flushed to the disk, and moved there; then the folder
//! is flushed. A tile has one content for ever, so that writing it again changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cordon_tlog::SignedCheckpoint;
use cordon_tlog::tile::{LogFile, TilePath, TileSource};

use super::LogError;
use crate::files::{flush_folder, place};

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

    /// Writes the files of a batch, in their order.
    pub(super) fn write_tiles(&self, tiles: &[LogFile]) -> Result<(), LogError> {
        let mut folders = BTreeSet::new();
        for tile in tiles {
            let path = self.0.join(tile.path.to_string());
            if let Some(folder) = path.parent() {
                if !folder.exists() {
                    fs::create_dir_all(folder).map_err(at(folder))?;
                    // The new folders' own entries: from the log's folder down.
                    folders.extend(
                        folder
                            .ancestors()
                            .take_while(|f| f.starts_with(&self.0))
                            .map(Path::to_owned),
                    );
                }
                folders.insert(folder.to_owned());
            }
            place(&path, &tile.bytes).map_err(at(&path))?;
        }
        folders.iter().try_for_each(|folder| flush_folder(folder).map_err(at(folder)))
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
