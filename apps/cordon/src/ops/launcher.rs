//! Guards in the development TEE, for a host.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use cordon_crypto::SigningKey;
use cordon_hub::host::{Guard, GuardLauncher, GuardProcess};
use cordon_softtee::{Child, launch_file};
use cordon_types::Secret;

/// Starts guards in the software TEE: not confidential.
pub struct SoftwareLauncher {
    /// The guard's executable; measured at every launch.
    pub guard: PathBuf,
    /// Seed of the TEE's root key.
    pub root: Arc<Secret<32>>,
}

impl SoftwareLauncher {
    /// Launches `guard` under this root.
    pub fn new(guard: PathBuf, root: &SigningKey) -> Self {
        Self { guard, root: Arc::new(root.seed().duplicate()) }
    }
}

impl GuardLauncher for SoftwareLauncher {
    fn launch(&self) -> io::Result<Guard> {
        let (socket, guards_end) = UnixStream::pair()?;
        let root = SigningKey::from_seed(self.root.duplicate());
        let child = launch_file(&self.guard, root, guards_end).map_err(io::Error::other)?;
        Ok(Guard { socket, process: Box::new(Process(child)) })
    }
}

struct Process(Child);

impl GuardProcess for Process {
    fn kill(&mut self) {
        // It has ended already if this fails.
        let _ = self.0.kill();
    }

    fn wait(&mut self) {
        let _ = self.0.wait();
    }
}
