//! Every use of a key in Cordon: signatures, sealing, derivation, canonical documents.
//!
//! `aws-lc-rs` does the arithmetic, `hpke` the hybrid key encapsulation. This crate decides how
//! they are used, once: each key has one purpose, named by [`Label`]; each ciphertext is bound
//! to its context; each document has exactly one encoding. It must never see a clock or a file,
//! and it takes randomness as an argument: [`SystemRandom`] is made by programs and handed down.
//!
//! ```
//! use cordon_crypto::{Random, SigningKey, SystemRandom};
//!
//! let mut random = SystemRandom::new();
//! let key = SigningKey::generate(&mut random);
//! let signature = key.sign(b"message");
//! key.verifying_key().verify(b"message", &signature)?;
//! assert!(key.verifying_key().verify(b"another", &signature).is_err());
//! # Ok::<(), cordon_crypto::SignatureError>(())
//! ```
#![forbid(unsafe_code)]

mod aead;
mod derive;
mod hash;
mod label;
mod random;
mod recipient;
mod sign;

pub mod canonical;
pub mod dsse;
pub mod oaep;
pub mod stream;

pub use aead::{AeadError, AeadKey};
pub use derive::{commitment, derive, mac, mac_matches, xor_join, xor_split};
pub use hash::{Sha256Writer, labelled_digest, sha256, sha512};
pub use label::Label;
pub use random::{Random, SystemRandom};
pub use recipient::{BoxError, RecipientKey, RecipientSecret, SUITE_XWING_AES256, SealedBox};
pub use sign::{Signature, SignatureError, SigningKey, VerifyingKey};
