use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// `N` secret bytes: wiped when dropped, never printed, never copied by accident.
///
/// There is no `Clone`, `Debug`, `PartialEq` or `Serialize` on purpose. Whoever needs the bytes
/// says `expose`, which a reviewer can search for.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes the bytes and wipes the caller's copy.
    pub fn take(bytes: &mut [u8; N]) -> Self {
        let secret = Self(Box::new(*bytes));
        bytes.zeroize();
        secret
    }

    /// Wraps bytes; prefer [`Secret::take`] or [`Secret::fill_with`], which leave no copy behind.
    pub fn from_bytes(mut bytes: [u8; N]) -> Self {
        Self::take(&mut bytes)
    }

    /// Lets `fill` write the bytes in place, so that they are on the heap only.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0);
        secret
    }

    /// Copies `bytes`; `None` if there are not exactly `N`.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != N {
            return None;
        }
        Some(Self::fill_with(|out| out.copy_from_slice(bytes)))
    }

    /// The bytes, for the one call that needs them.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// A second copy, where two owners really need one each.
    pub fn duplicate(&self) -> Self {
        Self::fill_with(|out| out.copy_from_slice(self.expose()))
    }

    /// Compares in constant time.
    pub fn is_equal(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> std::fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({N} bytes)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_size_only() {
        let secret = Secret::from_bytes([0x42; 32]);
        assert_eq!(format!("{secret:?}"), "Secret(32 bytes)");
    }

    #[test]
    fn taking_bytes_wipes_the_source() {
        let mut source = [7u8; 16];
        let secret = Secret::take(&mut source);
        assert_eq!(source, [0; 16]);
        assert_eq!(secret.expose(), &[7; 16]);
        assert!(secret.is_equal(&secret.duplicate()));
        assert!(Secret::<16>::from_slice(&[7; 15]).is_none());
    }
}
