//! A challenge that only the TPM with an endorsement key and an attestation key can answer: what
//! TPM2_MakeCredential does (part 1, §24; part 3, §12.6), on the relying party's side.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac};
use cordon_crypto::{Random, oaep};
use cordon_types::Secret;

use super::key::{Name, P256_BYTES, PublicArea, SigningKey};
use crate::rejection::{Rejection, RejectionCode};

/// What a TPM is given for TPM2_ActivateCredential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// TPM2B_ID_OBJECT: the secret, encrypted, and a MAC over it and the attestation key's name.
    pub blob: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET: the seed of both, for the endorsement key.
    pub encrypted_seed: Vec<u8>,
}

/// Hides `secret` so that only the TPM that holds `endorsement_key` uncovers it, and only if it holds
/// an object with the name `attestation_key`, too. Whose TPM that is says the endorsement key's
/// certificate, which is not looked at here.
///
/// `random` gives the seed, and the ephemeral key on P-256; the salt of RSA-OAEP is drawn by AWS-LC.
///
/// # Errors
/// [`RejectionCode::AttestationKeyUnfit`] if it is no endorsement key.
pub fn make_credential(
    endorsement_key: &PublicArea<'_>,
    attestation_key: &Name,
    secret: &Secret<32>,
    random: &mut dyn Random,
) -> Result<Credential, Rejection> {
    let sealed = match endorsement_key.require_endorsement_key()? {
        SigningKey::Rsa2048(modulus) => {
            let seed = random.secret();
            let sealed = oaep::seal(modulus, IDENTITY, seed.expose()).ok();
            sealed.map(|sealed| (seed, sealed))
        }
        SigningKey::P256(point) => shared_seed(point, random),
    };
    let sealed = sealed.and_then(|(seed, sealed)| {
        let blob = protect(&seed, attestation_key, secret)?;
        Some(Credential { blob: sized(&blob), encrypted_seed: sized(&sealed) })
    });
    sealed.ok_or_else(|| {
        Rejection::new(
            RejectionCode::AttestationKeyUnfit,
            "endorsement_key",
            "a key that nothing can be encrypted to",
            "an RSA key of 2048 bits or a key on P-256",
        )
    })
}

/// The purpose in the seed's encryption, with the zero that ends it.
const IDENTITY: &[u8] = b"IDENTITY\0";

/// The seed that both ends of a key agreement know (part 1, §C.6.1), and the ephemeral point.
fn shared_seed(
    point: &[u8; 1 + 2 * P256_BYTES],
    random: &mut dyn Random,
) -> Option<(Secret<32>, Vec<u8>)> {
    // Of 2^32 numbers one is too large to be a key.
    let ephemeral = (0..4)
        .find_map(|_| PrivateKey::from_private_key(&ECDH_P256, random.secret().expose()).ok())?;
    let public = ephemeral.compute_public_key().ok()?;
    let coordinates = |point: &[u8]| {
        let (x, y) = point.get(1..)?.split_at_checked(P256_BYTES)?;
        Some((x.to_vec(), y.to_vec()))
    };
    let (x, y) = coordinates(public.as_ref())?;
    let (peer_x, _) = coordinates(point)?;
    let peer = UnparsedPublicKey::new(&ECDH_P256, point);
    let seed = agree(&ephemeral, peer, (), |shared_x| {
        // KDFe (part 1, §11.4.10.3).
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&1_u32.to_be_bytes(), shared_x, IDENTITY, &x, &peer_x] {
            context.update(part);
        }
        Secret::from_slice(context.finish().as_ref()).ok_or(())
    });
    Some((seed.ok()?, [sized(&x), sized(&y)].concat()))
}

/// The identity object: a MAC, and the secret encrypted with a key that no other name leads to.
fn protect(seed: &Secret<32>, name: &Name, secret: &Secret<32>) -> Option<Vec<u8>> {
    let storage = kdfa(seed, b"STORAGE\0", name.as_bytes(), 128);
    let key = UnboundCipherKey::new(&AES_128, storage.expose().get(..16)?).ok()?;
    let mut identity = sized(secret.expose());
    // The key is used once: the vector of zeros is the specification's.
    let zeros = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    EncryptingKey::cfb128(key).ok()?.less_safe_encrypt(&mut identity, zeros).ok()?;
    let integrity = kdfa(seed, b"INTEGRITY\0", &[], 256);
    let key = hmac::Key::new(hmac::HMAC_SHA256, integrity.expose());
    let mac = hmac::sign(&key, &[identity.as_slice(), name.as_bytes()].concat());
    Some([sized(mac.as_ref()), identity].concat())
}

/// KDFa with SHA-256, for at most 256 bits (part 1, §11.4.10.2).
fn kdfa(seed: &Secret<32>, label: &[u8], context: &[u8], bits: u32) -> Secret<32> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, seed.expose());
    let mut mac = hmac::Context::with_key(&key);
    for part in [&1_u32.to_be_bytes(), label, context, &bits.to_be_bytes()] {
        mac.update(part);
    }
    Secret::fill_with(|out| out.copy_from_slice(mac.sign().as_ref()))
}

/// TPM2B: what is put in one is far shorter than 64 KiB.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes(), bytes].concat()
}
