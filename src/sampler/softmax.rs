//! Sums over all logits: of what the softmax divides by, and of the spread of the logits.
//!
//! Each is one pass in float32 that the compiler vectorises, group by group; the groups' sums add up in float64. The
//! order is fixed, so the same logits give the same sums everywhere. A sum is off by some 1e-7 of itself.

use super::groups::GROUP;

/// Values that are computed side by side.
const LANES: usize = 8;

/// Below this, `exp2` counts as this: 1e-38, nothing beside the largest logit's 1.
const LOWEST: f32 = -126.0;

/// How logits become weights: `exp((logit - largest) / temperature)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) largest: f32,
    pub(super) temperature: f64,
    /// What the difference from the largest is multiplied by to be the binary logarithm of the weight.
    factor: f32,
}

impl Scale {
    /// Weights under `temperature`, where the largest logit has the weight 1.
    pub(super) fn new(largest: f32, temperature: f64) -> Self {
        Self { largest, temperature, factor: (std::f64::consts::LOG2_E / temperature) as f32 }
    }

    /// The weight's natural logarithm.
    pub(super) fn logarithm(self, logit: f32) -> f64 {
        (f64::from(logit) - f64::from(self.largest)) / self.temperature
    }

    /// The weight of a logit that is not above the largest.
    pub(super) fn weight(self, logit: f32) -> f32 {
        exp2([(logit - self.largest) * self.factor])[0]
    }

    /// The sum of the weights of the logits that are not below `floor`.
    pub(super) fn mass(self, logits: &[f32], floor: f32) -> f64 {
        // What is below the floor is as far below the largest as weighs nothing.
        let logarithm = |logit: f32| if logit >= floor { (logit - self.largest) * self.factor } else { LOWEST };
        sum(logits, |row| exp2(row.map(logarithm)))
    }
}

/// The standard deviation of the logits that are not minus infinity, of which `some` is one.
pub(super) fn deviation(logits: &[f32], some: f32) -> f64 {
    let count = sum(logits, |row| row.map(|logit| if logit == f32::NEG_INFINITY { 0.0 } else { 1.0 }));
    let mean = sum(logits, |row| row.map(|logit| if logit == f32::NEG_INFINITY { 0.0 } else { logit - some })) / count;
    // A second pass: the difference of two large sums would lose what is asked for.
    let mean = some + mean as f32;
    let squares = sum(logits, |row| {
        let off = row.map(|logit| if logit == f32::NEG_INFINITY { 0.0 } else { logit - mean });
        off.map(|off| off * off)
    });
    libm::sqrt(squares / count)
}

/// The sum of the `terms` of all values. A last row that is not full is filled with minus infinity, whose term is nothing.
fn sum(values: &[f32], terms: impl Fn([f32; LANES]) -> [f32; LANES]) -> f64 {
    let mut all = 0.0;
    for group in values.chunks(GROUP) {
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
        all += f64::from(sums.iter().sum::<f32>());
    }
    all
}

/// `2^x` for `x` up to 0, but for 2e-7 of it: by `2^n * 2^r`, where `r` is at most a half, in steps that vectors have. That of
/// `libm` takes longer than all else that is done to a token's logits.
///
/// Each step is done for all values before the next, which is how the compiler makes vectors of it.
fn exp2<const N: usize>(x: [f32; N]) -> [f32; N] {
    /// Added to a small float and subtracted again, it leaves the nearest integer, which is also in the last bits.
    const ROUND: f32 = 12_582_912.0;
    /// The polynomial with the least largest error that is 1 at 0, but for that 1.
    const SERIES: [f32; 5] = [1.321_867_2e-3, 9.671_698e-3, 5.550_893e-2, 2.402_223_8e-1, 6.931_469e-1];
    let x = x.map(|x| if x > LOWEST { x } else { LOWEST });
    let rounded = x.map(|x| x + ROUND);
    let r: [f32; N] = std::array::from_fn(|i| x[i] - (rounded[i] - ROUND));
    let mut series = [SERIES[0]; N];
    for term in &SERIES[1..] {
        series = std::array::from_fn(|i| series[i] * r[i] + term);
    }
    std::array::from_fn(|i| {
        let power = rounded[i].to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
        (series[i] * r[i] + 1.0) * f32::from_bits(power)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp2_is_that_of_libm() {
        for step in 0..=60_000_u16 {
            let x = -f32::from(step) / 500.0;
            let (ours, theirs) = (f64::from(exp2([x])[0]), libm::exp2(f64::from(x)));
            assert!((ours - theirs).abs() <= 2e-7 * theirs, "{x}: {ours} {theirs}");
        }
        assert!(exp2([f32::NEG_INFINITY, -1e30]).iter().all(|weight| *weight > 0.0 && *weight < 2e-38));
    }

    #[test]
    fn the_deviation_is_that_of_double_precision() {
        let mut logits: Vec<f32> =
            (0..1003_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 300.0 - 20.0).collect();
        for masked in [0, 1, 200] {
            logits[..masked].fill(f32::NEG_INFINITY);
            let rest = || logits[masked..].iter().map(|logit| f64::from(*logit));
            let mean = rest().sum::<f64>() / rest().count() as f64;
            let variance = rest().map(|logit| (logit - mean) * (logit - mean)).sum::<f64>() / rest().count() as f64;
            let ours = deviation(&logits, logits[masked]);
            assert!((ours - variance.sqrt()).abs() < 1e-6 * ours, "{ours} {variance}");
        }
    }
}
