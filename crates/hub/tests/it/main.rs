//! Hub and client on loopback; a hub that lies; a host with guards that this program plays.
#![expect(clippy::disallowed_methods, reason = "tests read and write files")]

mod cards;
mod documents;
mod durability;
mod fixture;
mod hostile;
mod lies;
mod limits;
mod mailboxes;
mod objects;
mod queue;
mod signatures;
mod support;
