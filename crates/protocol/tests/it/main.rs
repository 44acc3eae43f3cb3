//! The wire formats as a whole: golden files fix each of them, and no bytes from outside make a
//! reader panic or accept a second spelling.
//!
//! `samples` holds one valid value of everything that crosses a boundary; the other modules take
//! them as data, so that a new document is one more line there. After a change that is meant,
//! `UPDATE_EXPECT=1` writes the golden files again.
#![expect(clippy::disallowed_methods, reason = "a test reads the sources of the crate")]

mod envelopes;
mod format;
mod frames;
mod golden;
mod hostile;
mod json;
mod limits;
mod samples;
mod words;
