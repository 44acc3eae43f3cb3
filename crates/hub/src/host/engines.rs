use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cordon_crypto::{Sha256Writer, sha256};
use cordon_types::Sha256Digest;

use crate::client::{Client, ClientError};

/// Largest engine: a SQL engine with debug information is some 300 MB.
const MAX_ENGINE_BYTES: u64 = 1 << 30;
/// Engines that are kept in memory between runs: reading and hashing one takes longer than the
/// rest of starting a run.
const KEPT_ENGINES: usize = 2;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A file or folder cannot be read.
    #[error("cannot read an engine")]
    Io(#[source] io::Error),
    /// The file has changed since the host started.
    #[error("an engine file has changed: expected `{expected}`, found `{found}`")]
    Changed {
        /// The digest that the file had.
        expected: Sha256Digest,
        /// The digest that it has.
        found: Sha256Digest,
    },
    /// Neither the host nor the hub has it.
    #[error("the hub does not give the engine")]
    Hub(#[source] ClientError),
}

/// Engines by digest. The guard checks the digest; here it only makes errors clear.
pub(super) struct Engines {
    files: BTreeMap<Sha256Digest, PathBuf>,
    kept: Arc<Mutex<Vec<(Sha256Digest, Bytes)>>>,
}

impl Engines {
    /// Hashes the given files and those in the given folders. Blocks.
    pub(super) fn scan(paths: &[PathBuf]) -> Result<Self, EngineError> {
        let mut files = BTreeMap::new();
        for path in paths {
            if path.is_dir() {
                for entry in std::fs::read_dir(path).map_err(EngineError::Io)? {
                    let path = entry.map_err(EngineError::Io)?.path();
                    if path.is_file() {
                        files.insert(hash(&path)?, path);
                    }
                }
            } else {
                files.insert(hash(path)?, path.clone());
            }
        }
        Ok(Self { files, kept: Arc::default() })
    }

    /// The engine's bytes.
    pub(super) async fn get(
        &self,
        digest: Sha256Digest,
        client: &Client,
    ) -> Result<Bytes, EngineError> {
        if let Some(bytes) = self.kept(digest) {
            return Ok(bytes);
        }
        let bytes = match self.files.get(&digest).cloned() {
            None => client.object(&digest, MAX_ENGINE_BYTES).await.map_err(EngineError::Hub)?,
            Some(path) => tokio::task::spawn_blocking(move || read(&path, digest))
                .await
                .unwrap_or_else(|error| Err(EngineError::Io(io::Error::other(error))))?,
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.iter().any(|(kept, _)| *kept == digest) {
            kept.insert(0, (digest, bytes.clone()));
            kept.truncate(KEPT_ENGINES);
        }
        Ok(bytes)
    }

    fn kept(&self, digest: Sha256Digest) -> Option<Bytes> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(kept, _)| *kept == digest).map(|(_, bytes)| bytes.clone())
    }
}

fn hash(path: &Path) -> Result<Sha256Digest, EngineError> {
    let mut hasher = Sha256Writer::new();
    let mut file = File::open(path).map_err(EngineError::Io)?;
    io::copy(&mut file, &mut hasher).map_err(EngineError::Io)?;
    Ok(hasher.finish())
}

fn read(path: &Path, expected: Sha256Digest) -> Result<Bytes, EngineError> {
    let bytes = std::fs::read(path).map_err(EngineError::Io)?;
    let found = sha256(&[&bytes]);
    if found == expected { Ok(bytes.into()) } else { Err(EngineError::Changed { expected, found }) }
}
