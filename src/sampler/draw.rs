//! The random stream, and the draw from the candidates.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// `2^53`, the denominator of every uniform draw.
const UNIT: u64 = 1 << 53;

/// The random stream of a seed.
#[derive(Debug, Clone)]
pub(super) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `seed`, at its start.
    pub(super) fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// How many words of 4 bytes have been drawn.
    pub(super) fn drawn(&self) -> u128 {
        self.0.get_word_pos()
    }

    /// Goes where so many words have been drawn.
    pub(super) fn go_to(&mut self, drawn: u128) {
        self.0.set_word_pos(drawn);
    }

    /// The candidate, in increasing order of id, with the largest `p / q`, compared as `ln p - ln q`.
    pub(super) fn draw(&mut self, temperature: f64, largest: f32, candidates: impl Iterator<Item = (u32, f32)>) -> u32 {
        let (mut best, mut best_score) = (0, f64::NEG_INFINITY);
        for (id, logit) in candidates {
            let uniform = 2 * (self.0.next_u64() >> 12) + 1;
            let weight = (f64::from(logit) - f64::from(largest)) / temperature;
            // Two logarithms are expensive, and almost every candidate can be ruled out without them: as q >= 1 - u, `-ln
            // q` is at most ln 2 times the bits that `1 - u` lacks. The margin covers rounding.
            let lacking_bits = (UNIT - uniform).leading_zeros() - UNIT.leading_zeros();
            if weight + f64::from(lacking_bits) * std::f64::consts::LN_2 + 1e-9 < best_score {
                continue;
            }
            let q = -libm::log(uniform as f64 / UNIT as f64);
            let score = weight - libm::log(q);
            if score > best_score {
                (best, best_score) = (id, score);
            }
        }
        best
    }
}
