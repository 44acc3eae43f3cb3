//! What this crate does with keys, against published vectors and an implementation that is not
//! ours.
//!
//! The vectors are read from the packages that ship them. `cargo xtask test` installs those of
//! Python and names their interpreter in `CORDON_PEERS_PYTHON`; without it these tests fail.
#![expect(clippy::disallowed_methods, reason = "tests read vectors and start a peer")]

mod canonical;
mod derivation;
mod gcm;
mod hpke;
mod interop;
mod peers;
mod signatures;
