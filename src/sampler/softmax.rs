//! Sums over all logits: of what the softmax divides by, and of the spread of the logits.
//!
//! Each is one pass in float32 that the compiler vectorises, group by group; the groups' sums add up in float64. The
//! order is fixed, so the same logits give the same sums everywhere. A sum is off by some 1e-7 of itself.

use super::groups::GROUP;

/// Values that are computed side by side.
const LANES: usize = 8;

/// Below this, `exp` counts as this: 1e-38, nothing beside the largest logit's 1.
const LOWEST: f32 = -87.0;

/// How logits become weights: `exp((logit - largest) / temperature)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) largest: f32,
    pub(super) temperature: f64,
    /// 1 / temperature.
    factor: f32,
}

impl Scale {
    /// Weights under `temperature`, where the largest logit has the weight 1.
    pub(super) fn new(largest: f32, temperature: f64) -> Self {
        Self { largest, temperature, factor: (1.0 / temperature) as f32 }
    }

    /// The weight's logarithm.
    pub(super) fn logarithm(self, logit: f32) -> f32 {
        (logit - self.largest) * self.factor
    }

    /// The weight of a logit that is not above the largest.
    pub(super) fn weight(self, logit: f32) -> f32 {
        exp([self.logarithm(logit)])[0]
    }

    /// The sum of the weights of the logits that are not below `floor`.
    pub(super) fn mass(self, logits: &[f32], floor: f32) -> f64 {
        // What is below the floor is as far below the largest as weighs nothing.
        sum(logits, |row| exp(row.map(|logit| if logit >= floor { self.logarithm(logit) } else { LOWEST })))
    }
}

/// The standard deviation of the logits that are not minus infinity, of which there is at least one. `largest` is one
/// of them.
pub(super) fn deviation(logits: &[f32], largest: f32) -> f64 {
    // From the largest, as near to zero as the logits themselves are to each other.
    let below = |logit: f32| if logit == f32::NEG_INFINITY { 0.0 } else { logit - largest };
    let count = sum(logits, |row| row.map(|logit| if logit == f32::NEG_INFINITY { 0.0 } else { 1.0 }));
    let mean = sum(logits, |row| row.map(below)) / count;
    // A second pass: the difference of two large sums would lose what is asked for.
    let from_mean = mean as f32;
    let off = |logit: f32| if logit == f32::NEG_INFINITY { 0.0 } else { logit - largest - from_mean };
    let squares = sum(logits, |row| row.map(|logit| off(logit) * off(logit)));
    libm::sqrt(squares / count)
}

/// The sum of the `terms` of all values, which a last row that is not full takes as minus infinity. The term of that is nothing.
fn sum(values: &[f32], terms: impl Fn([f32; LANES]) -> [f32; LANES]) -> f64 {
    let group = |group: &[f32]| {
        let mut sums = [0.0; LANES];
        let mut add = |row| sums.iter_mut().zip(terms(row)).for_each(|(sum, term)| *sum += term);
        let (rows, rest) = group.as_chunks::<LANES>();
        for row in rows {
            add(*row);
        }
        if !rest.is_empty() {
            let mut row = [f32::NEG_INFINITY; LANES];
            row[..rest.len()].copy_from_slice(rest);
            add(row);
        }
        f64::from(sums.iter().sum::<f32>())
    };
    values.chunks(GROUP).map(group).sum()
}

/// `e^x` for `x` up to 0, but for 1e-7 of it: by `2^n * e^r`, where `r` is at most half of ln 2, in steps that vectors
/// have. That of `libm` takes longer than all else that is done to a token's logits.
///
/// Each step is done for all values before the next, which is how the compiler makes vectors of it.
fn exp<const N: usize>(x: [f32; N]) -> [f32; N] {
    /// Added to a small float and subtracted again, it leaves the nearest integer, which is also in the last bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const SERIES: [f32; 6] = [1.987_569_2e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let x = x.map(|x| if x > LOWEST { x } else { LOWEST });
    let rounded = x.map(|x| x * std::f32::consts::LOG2_E + ROUND);
    let r: [f32; N] = std::array::from_fn(|i| {
        let n = rounded[i] - ROUND;
        x[i] - n * LN_2[0] - n * LN_2[1]
    });
    let mut series = [SERIES[0]; N];
    for term in &SERIES[1..] {
        series = std::array::from_fn(|i| series[i] * r[i] + term);
    }
    std::array::from_fn(|i| {
        let power = rounded[i].to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
        (series[i] * r[i] * r[i] + r[i] + 1.0) * f32::from_bits(power)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_that_of_libm() {
        for step in 0..=60_000_u16 {
            let x = -f32::from(step) / 700.0;
            let (ours, theirs) = (f64::from(exp([x])[0]), libm::exp(f64::from(x)));
            assert!((ours - theirs).abs() <= 2e-7 * theirs, "{x}: {ours} {theirs}");
        }
        assert!(exp([f32::NEG_INFINITY, -1e30]).iter().all(|weight| *weight > 0.0 && *weight < 2e-38));
    }
}
