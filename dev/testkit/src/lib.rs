//! Fixtures for tests, benches and torture: three hospitals with real brokers, a researcher, and a
//! guard played by the test, all within one process and without a hub.
//!
//! Everything cryptographic is real: keys, signatures, sealed tables, evidence of the software
//! TEE, logs that witness each other. Only transport is not: brokers call each other directly.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use cordon_testkit::world::{Terms, World};
//!
//! let world = World::start().await?;
//! let agreement = world.agree(Terms::default()).await?;
//! let guard = world.guard(&agreement)?;
//! let grants = guard.attest(&world).await?;
//! assert_eq!(grants.len(), 3);
//! # Ok(())
//! # }
//! ```
#![expect(clippy::disallowed_methods, reason = "tests read clocks and files")]

pub mod go;
pub mod guard;
pub mod holder;
pub mod measure;
pub mod person;
pub mod torture;
pub mod world;

use std::time::{SystemTime, UNIX_EPOCH};

use cordon_types::UnixSeconds;

/// Now.
pub fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds::new(since.as_secs())
}
