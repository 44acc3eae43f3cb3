//! One valid value of every document, message and frame. All bytes follow from fixed seeds.

mod documents;
mod messages;

use cordon_crypto::dsse::{Document, Envelope, Signed};
use cordon_crypto::{Label, Random, RecipientKey, RecipientSecret, SealedBox, SigningKey};
use cordon_protocol::run::RunId;
use cordon_types::{Nonce, Secret, Sha256Digest, UnixSeconds};

pub use self::documents::{evidence, grant};
use crate::format::{Format, signer};

/// Every format.
pub fn all() -> Vec<Format> {
    let mut formats = documents::all();
    formats.extend(messages::all());
    formats
}

/// 2023-11-14T22:13:20Z.
pub const ISSUED: UnixSeconds = UnixSeconds::new(1_700_000_000);
/// The context of every box here.
pub const BOX_CONTEXT: &[&[u8]] = &[b"sample"];
/// What every box here holds.
pub const BOX_CONTENT: &[u8] = &[0x6b; 32];

/// A signing key from its seed.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Secret::from_bytes([seed; 32]))
}

/// Opens the boxes that are sealed with [`sealed`].
pub fn box_secret(seed: u8) -> RecipientSecret {
    RecipientSecret::from_seed(Secret::from_bytes([seed; 32]))
}

fn box_key(seed: u8) -> RecipientKey {
    box_secret(seed).public_key()
}

fn digest(seed: u8) -> Sha256Digest {
    Sha256Digest::from_bytes([seed; 32])
}

fn nonce(seed: u8) -> Nonce {
    Nonce::from_bytes([seed; 32])
}

fn run() -> RunId {
    RunId(digest(0xa1))
}

/// Parses an identifier of any kind.
fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("an identifier")
}

/// A box that [`box_secret`] of this seed opens.
pub fn sealed(label: Label, seed: u8) -> SealedBox {
    box_key(seed)
        .seal(label, BOX_CONTEXT, BOX_CONTENT, &mut Counted(seed))
        .expect("a box that can be sealed")
}

fn envelope<T: Document>(document: T) -> Envelope {
    Signed::sign(document, &signer()).expect("a sample can be signed").envelope().clone()
}

/// Random bytes for tests: each the successor of the one before.
pub struct Counted(pub u8);

impl Random for Counted {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}
