use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use cordon_types::{Secret, Sha256Digest};
use subtle::ConstantTimeEq;

use crate::label::{Label, framed};
use crate::random::Random;

struct ThirtyTwo;

impl KeyType for ThirtyTwo {
    fn len(&self) -> usize {
        32
    }
}

/// Derives a key for one purpose and context: HKDF-SHA-256 (RFC 5869) with an empty salt and
/// the framed label and context as `info`. The input secrets are uniformly random, so the
/// extract step needs no salt (RFC 5869 §3.1).
pub fn derive(secret: &Secret<32>, label: Label, context: &[&[u8]]) -> Secret<32> {
    let info = framed(label, context);
    let prk = Salt::new(HKDF_SHA256, &[]).extract(secret.expose());
    Secret::fill_with(|out| {
        let info = [info.as_slice()];
        let filled = prk.expand(&info, ThirtyTwo).and_then(|okm| okm.fill(out));
        // 32 bytes are far below HKDF's limit of 255 blocks, so neither step can fail.
        if filled.is_err() {
            std::process::abort();
        }
    })
}

/// HMAC-SHA-256 over framed parts, under a key that serves this label only.
pub fn mac(secret: &Secret<32>, label: Label, parts: &[&[u8]]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&key, &framed(label, parts)).as_ref());
    out
}

/// Whether `tag` is the [`mac`] of the parts, in constant time.
pub fn mac_matches(secret: &Secret<32>, label: Label, parts: &[&[u8]], tag: &[u8; 32]) -> bool {
    mac(secret, label, parts).ct_eq(tag).into()
}

/// A public value that only this key has. AES-GCM ciphertexts can open under two keys; whoever
/// receives a key compares this commitment first.
pub fn commitment(secret: &Secret<32>) -> Sha256Digest {
    Sha256Digest::from_bytes(mac(secret, Label::KeyCommitment, &[]))
}

/// Splits a secret into `count` shares whose XOR it is; any `count - 1` of them say nothing.
///
/// `count` of zero gives no shares.
pub fn xor_split(secret: &Secret<32>, count: usize, random: &mut dyn Random) -> Vec<Secret<32>> {
    let Some(random_shares) = count.checked_sub(1) else {
        return Vec::new();
    };
    let mut shares: Vec<Secret<32>> = (0..random_shares).map(|_| random.secret()).collect();
    let last = xor_join(shares.iter().chain([secret]));
    shares.push(last);
    shares
}

/// The XOR of all shares.
pub fn xor_join<'a>(shares: impl IntoIterator<Item = &'a Secret<32>>) -> Secret<32> {
    Secret::fill_with(|out| {
        for share in shares {
            for (byte, part) in out.iter_mut().zip(share.expose()) {
                *byte ^= part;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn labels_and_context_separate_keys() {
        let secret = Secret::from_bytes([1; 32]);
        let base = derive(&secret, Label::ColumnKey, &[b"ab", b"c"]);
        assert!(base.is_equal(&derive(&secret, Label::ColumnKey, &[b"ab", b"c"])));
        assert!(!base.is_equal(&derive(&secret, Label::ColumnKey, &[b"a", b"bc"])));
        assert!(!base.is_equal(&derive(&secret, Label::ColumnKey, &[b"abc"])));
        assert!(!base.is_equal(&derive(&secret, Label::FooterKey, &[b"ab", b"c"])));
    }

    #[test]
    fn all_shares_join_and_one_missing_does_not() {
        let secret = Secret::from_bytes([9; 32]);
        let mut random = SystemRandom::new();
        for count in 1..=5 {
            let shares = xor_split(&secret, count, &mut random);
            assert_eq!(shares.len(), count);
            assert!(xor_join(&shares).is_equal(&secret));
            assert!(!xor_join(&shares[1..]).is_equal(&secret));
        }
        assert!(xor_split(&secret, 0, &mut random).is_empty());
    }

    /// RFC 5869, appendix A.3: SHA-256, no salt, no info. Our `derive` always has a label, so the
    /// vector goes to the primitive that it stands on.
    #[test]
    fn hkdf_matches_rfc_5869_a3() {
        let prk = Salt::new(HKDF_SHA256, &[]).extract(&[0x0b; 22]);
        let mut okm = [0; 32];
        prk.expand(&[], ThirtyTwo).unwrap().fill(&mut okm).unwrap();
        assert_eq!(
            cordon_types::hex::encode(&okm),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        );
    }
}
