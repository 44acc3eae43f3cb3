//! The guard and the engine of the demo, and the TEE that starts guards: the genuine one, or one
//! in which a byte was changed.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use cordon_crypto::SigningKey;
use cordon_hub::host::{Guard, GuardLauncher};
use cordon_softtee::measurement_of;
use cordon_types::Secret;

use super::place::program;
use crate::ops::launcher::SoftwareLauncher;

/// Programs beside this one.
pub struct Guards {
    /// The guard's file.
    pub guard_path: PathBuf,
    /// The engine's file.
    pub engine_path: PathBuf,
    /// The engine's bytes.
    pub engine: Bytes,
    /// What the genuine guard is measured as.
    pub measurement: String,
    root: Secret<32>,
    /// What is started instead of the genuine guard.
    other: Mutex<Option<PathBuf>>,
}

impl Guards {
    /// Finds both programs in the folder of this one.
    ///
    /// # Errors
    /// If they were not built.
    pub fn find(root: &SigningKey) -> Result<Self> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let guard_path = own.with_file_name("cordon-enclave");
        let engine_path = own.with_file_name("cordon-engine-sql");
        let engine = program(&engine_path)?;
        let measurement = measurement_of(&program(&guard_path)?);
        let root = root.seed().duplicate();
        Ok(Self { guard_path, engine_path, engine, measurement, root, other: Mutex::default() })
    }

    /// From now on starts this program as the guard; `None` is the genuine one.
    pub fn start_instead(&self, other: Option<PathBuf>) {
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = other;
    }
}

impl GuardLauncher for Guards {
    fn launch(&self) -> io::Result<Guard> {
        let other = self.other.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let guard = other.unwrap_or_else(|| self.guard_path.clone());
        SoftwareLauncher::new(guard, &SigningKey::from_seed(self.root.duplicate())).launch()
    }
}
