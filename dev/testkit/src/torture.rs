//! Torture: a broker is killed again and again while it releases keys, and must never have given
//! a key that its log does not tell of, nor pay one run twice.
//!
//! The broker is a process of its own (`torture broker`); the other two, its witnesses, and the
//! guards live here and survive it, so that what left the broker is known here whatever becomes
//! of it. A kill is `SIGKILL`: what the operating system has taken stays, as after a crash of the
//! program. A power failure, where the disk may lose what was not flushed, is not played.
//!
//! Two thirds of the kills hit a durable step: just before or just after one of the writes,
//! flushes and renames that a release makes, counted from outside by tracing the process. The
//! production code knows nothing of it. The others come at a random moment of a release.

mod campaign;
mod child;
mod disk;
mod remote;
mod tracer;
mod wire;

pub use campaign::{Campaign, Stage, Tally};
pub use child::serve;
