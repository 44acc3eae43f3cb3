//! Random numbers of one patient.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The stream of one patient: it depends on nothing but seed and number.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64, patient: u32) -> Dice {
        let mut key = *b"cordon/synth/v1                 ";
        let (_, tail) = key.split_at_mut(20);
        let words = seed.to_le_bytes().into_iter().chain(patient.to_le_bytes());
        tail.iter_mut().zip(words).for_each(|(to, from)| *to = from);
        Dice(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        // 53 bits: every value is exact.
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in `0..bound`; 0 for a bound of 0. The bias is below 2^-32 here.
    pub fn below(&mut self, bound: i64) -> i64 {
        let bound = bound.max(1);
        ((self.0.next_u64() >> 32) as i64 * bound) >> 32
    }

    /// Uniform in `least..=most`.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        least + self.below(most - least + 1)
    }

    /// Exponential with this rate.
    pub fn exponential(&mut self, rate: f64) -> f64 {
        -ln(1.0 - self.unit()) / rate
    }

    /// Standard normal, near enough: the sum of twelve uniforms. Unlike ln and
    /// cosine, sums are the same on every machine.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T], default: T) -> T {
        let index = self.below(from.len() as i64) as usize;
        from.get(index).copied().unwrap_or(default)
    }
}

/// The natural logarithm in (0, 1], by operations that are the same everywhere.
fn ln(mut x: f64) -> f64 {
    let mut halvings = 0.0;
    while x < 0.5 {
        x *= 2.0;
        halvings += 1.0;
    }
    let ratio = (x - 1.0) / (x + 1.0);
    let mut power = ratio;
    let mut sum = 0.0;
    for odd in (1..60).step_by(2) {
        sum += power / f64::from(odd);
        power *= ratio * ratio;
    }
    2.0 * sum - halvings * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_the_library_to_the_last_digits() {
        for x in [1.0, 0.999, 0.75, 0.5, 0.4999, 0.1, 1e-9, 1e-16] {
            assert!((ln(x) - f64::ln(x)).abs() < 1e-14 * f64::ln(x).abs().max(1.0), "{x}");
        }
    }

    #[test]
    fn draws_have_their_mean_and_range() {
        let mut dice = Dice::new(1, 2);
        let mean =
            |draw: &mut dyn FnMut() -> f64| (0..20_000).map(|_| draw()).sum::<f64>() / 20_000.0;
        assert!((mean(&mut || dice.exponential(0.5)) - 2.0).abs() < 0.06);
        assert!(mean(&mut || dice.normal()).abs() < 0.03);
        assert!((mean(&mut || dice.between(3, 5) as f64) - 4.0).abs() < 0.03);
        assert!((0..1_000).all(|_| (3..=5).contains(&dice.between(3, 5))));
        assert_eq!(dice.below(0), 0);
    }

    #[test]
    fn streams_differ_by_seed_and_by_patient() {
        let first = |seed, patient| Dice::new(seed, patient).0.next_u64();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(1, 3));
        assert_ne!(first(1, 2), first(2, 2));
        assert_ne!(first(1 << 32, 0), first(0, 1));
    }
}
