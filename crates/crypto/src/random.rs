use cordon_types::{Nonce, Secret};

/// A source of random bytes, handed down by the program.
///
/// Pure crates take `&mut dyn Random`, so that tests can replay a run byte by byte.
pub trait Random {
    /// Fills `out`; a source that cannot must end the process rather than return.
    fn fill(&mut self, out: &mut [u8]);
}

impl dyn Random + '_ {
    /// A fresh nonce.
    pub fn nonce(&mut self) -> Nonce {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        Nonce::from_bytes(bytes)
    }

    /// A fresh 32-byte secret, written in place.
    pub fn secret(&mut self) -> Secret<32> {
        Secret::fill_with(|out| self.fill(out))
    }
}

/// The operating system's generator, through AWS-LC. Only programs make one.
#[derive(Default)]
pub struct SystemRandom(());

impl SystemRandom {
    /// Takes hold of the generator.
    pub const fn new() -> Self {
        Self(())
    }
}

impl Random for SystemRandom {
    fn fill(&mut self, out: &mut [u8]) {
        // AWS-LC blocks until the kernel is seeded and fails only if the system call is missing;
        // to go on without randomness would be worse than to stop.
        if aws_lc_rs::rand::fill(out).is_err() {
            std::process::abort();
        }
    }
}
