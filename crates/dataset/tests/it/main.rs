//! Sealed tables as their users see them: sealing, opening with some keys, and every way in which
//! files can be other than the manifest says.

mod keys;
mod sealing;
mod support;
mod tampering;
