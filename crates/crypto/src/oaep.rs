//! RSA-OAEP with SHA-256, for keys that speak nothing newer: endorsement keys of TPMs.

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::signature::RsaPublicKeyComponents;

/// The key cannot be encrypted to, or the message is too long for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing can be encrypted to this rsa key")]
pub struct OaepError;

/// Encrypts a message to an RSA key with the exponent 65,537 (RFC 8017 §7.1.1). AWS-LC draws the salt:
/// it takes none from outside.
///
/// # Errors
/// If AWS-LC does not accept the modulus, big-endian without leading zeros, or the message is too long.
pub fn seal(modulus: &[u8], label: &[u8], message: &[u8]) -> Result<Vec<u8>, OaepError> {
    let key = RsaPublicKeyComponents { n: modulus, e: [1_u8, 0, 1].as_slice() };
    let key: PublicEncryptingKey = key.try_into().map_err(|_| OaepError)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| OaepError)?;
    let mut sealed = vec![0; key.ciphertext_size()];
    let written = key.encrypt(&OAEP_SHA256_MGF1SHA256, message, &mut sealed, Some(label));
    let size = written.map_err(|_| OaepError)?.len();
    sealed.truncate(size);
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};
    use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};

    use super::*;

    #[test]
    fn only_the_key_opens_it_and_only_with_its_label() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        // After the headers of RSAPublicKey, and a zero.
        let modulus = pair.public_key().as_ref()[9..265].to_vec();
        let sealed = seal(&modulus, b"label", b"message").expect("sealed");
        let private = PrivateDecryptingKey::from_pkcs8(pair.as_der().expect("DER").as_ref());
        let private = OaepPrivateDecryptingKey::new(private.expect("a key")).expect("a key");
        let mut out = [0; 256];
        let mut open = |label: &[u8]| {
            let opened = private.decrypt(&OAEP_SHA256_MGF1SHA256, &sealed, &mut out, Some(label));
            opened.map(|opened| opened.to_vec()).ok()
        };
        assert_eq!(open(b"label").as_deref(), Some(b"message".as_slice()));
        assert_eq!(open(b"another"), None);
        assert_eq!(seal(&[0; 256], b"label", b"message"), Err(OaepError));
        assert_eq!(seal(&modulus, b"label", &[0; 191]), Err(OaepError));
    }
}
