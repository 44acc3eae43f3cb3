//! The key life cycle, and the key process that stands between the broker service and its keys.
//!
//! A party's root key is sealed by a passphrase or a key file. It wraps one random key-encryption
//! key per dataset version, kept in a file of its own, and that wraps the version key: destroying
//! the file destroys the version, also in every backup of the database. The root also seals the
//! broker's own keys, of which the box secret never leaves this crate.
//!
//! What a key process must never be is an unwrap service: then whoever took the broker service
//! over would have every key. Each request for keys or shares therefore carries the whole context
//! that it is for, with proof that exactly this context is in the party's log under a head that
//! the other holders' witnesses cosigned, and the answer is sealed to the one whom the context
//! names. See [`Keystore::grant`] and [`Keystore::release`]; `logged.rs` lists the checks.
//!
//! A store opens, works and closes:
//!
//! ```
//! use cordon_crypto::{SigningKey, SystemRandom};
//! use cordon_keystore::{Credential, Identity, Keystore};
//! use cordon_protocol::party::Profile;
//!
//! # let folder = std::env::temp_dir().join(format!("cordon-keystore-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let mut random = SystemRandom::new();
//! let administrator = SigningKey::generate(&mut random).verifying_key();
//! let credential = Credential::create_key_file(&folder.join("root.key"), &mut random)?;
//! let identity = Identity {
//!     party: "hospital-a".parse()?,
//!     profile: Profile::Production,
//!     log_origin: "broker.hospital-a.example/log".to_owned(),
//!     administrators: vec![administrator],
//! };
//! let public = Keystore::initialise(&folder.join("keys"), identity, &credential, &mut random)?;
//!
//! let store = Keystore::open(&folder.join("keys"), &credential)?;
//! assert_eq!(store.public(), &public);
//! assert!(store.status().is_empty());
//! # drop(store);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Deliberate limits
//! - The key process believes the broker service about evidence, policy, approvals and time. What
//!   it enforces is that nothing is released unseen: the log records it, witnesses cosigned that
//!   log, and only agreed keys go out.
//! - Parties that witness must be enrolled by an administrator whose key the store was made with.
//! - Root keys in hardware come with their issue; [`Credential`] is where they plug in.
#![expect(clippy::disallowed_methods, reason = "keys lie in files: DESIGN §5")]
#![forbid(unsafe_code)]

mod cache;
mod deposit;
mod directory;
mod files;
mod header;
mod lifecycle;
mod logged;
mod record;
mod refusal;
mod release;
mod root;
mod state;
mod store;

pub mod process;

#[cfg(test)]
mod testing;

pub use deposit::DepositRequest;
pub use files::FileError;
pub use header::Identity;
pub use record::{RecordError, VersionStatus, key_digest};
pub use refusal::{DocumentKind, KeyPart, KeyText, Refusal};
pub use release::{GrantRequest, ReleaseRequest};
pub use root::{Credential, MAX_PASSPHRASE_BYTES, MIN_PASSPHRASE_BYTES, RootError};
pub use state::{KeyState, Transition};
pub use store::{Keystore, KeystoreError, PublicParts, ServiceKeys, StoreError};
