//! Torture: a broker is killed again and again while it grants keys and while it clears outputs.
//! It must never have given a key or a share of a result that its log does not tell of, nor pay
//! one run twice, nor clear two outputs of it, nor lose one.
//!
//! The broker is a process of its own (`torture broker`); the other two, its witnesses, and the
//! guards live here and survive it, so that what left the broker is known here whatever becomes
//! of it. A kill is `SIGKILL`: what the operating system has taken stays, as after a crash of the
//! program. A power failure, where the disk may lose what was not flushed, is not played.
//!
//! Two thirds of the kills hit a durable step: just before or just after one of the writes,
//! flushes and renames that the task makes, counted from outside by tracing the process. The
//! production code knows nothing of it. The others come at a random moment of the task.

mod campaign;
mod child;
mod clearances;
mod disk;
mod field;
mod grants;
mod remote;
mod tally;
mod tracer;
mod wire;

pub use campaign::Campaign;
pub use child::serve;
pub use tally::{Stage, Tally, Task};
