//! Rotary position embedding (Su et al., 2021) and its scalings.
//!
//! Angles are computed in float32, as transformers computes them: at position 100,000 a float64 angle would differ in
//! the fourth digit from the one every checkpoint was trained and evaluated with. So are the frequencies, in the order in
//! which torch rounds: `a / x` of a number and a tensor is `a * (1 / x)` there.

mod defaults;
mod parameters;
#[cfg(test)]
mod tests;

use std::f64::consts::TAU;

use super::fields::Fields;
use crate::error::{Result, bail};
use parameters::{
    ATTENTION, BETA_FAST, BETA_SLOW, FACTOR, HIGH_FREQ, Kind, LOW_FREQ, MSCALE, MSCALE_ALL, ORIGINAL, PARTIAL,
    Parameters, THETA, TRUNCATE,
};

pub(crate) use defaults::RopeDefaults;

// Limits far beyond any model.
const MAX_THETA: f64 = 1e15;
const MAX_FACTOR: f64 = 1e9;
const MAX_POSITIONS: f64 = 1e12;

/// Frequencies of the rotation of a head's pairs: of all `head_dim / 2`, or of the first ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rope {
    inv_freq: Vec<f32>,
    /// Factor on cosines and sines (`YaRN`'s attention temperature).
    attention_factor: f32,
}

impl Rope {
    /// The rotation that `config` asks for, of a family with these `defaults`.
    pub(crate) fn new(config: Fields, head_dim: usize, max_positions: usize, defaults: RopeDefaults) -> Result<Self> {
        Self::of(&Parameters::new(config, defaults)?, head_dim, max_positions)
    }

    /// The rotation of the layers of one kind, such as `full_attention`, in a family in which each kind has its own.
    pub(crate) fn of_layers(
        config: Fields,
        kind: &'static str,
        head_dim: usize,
        max_positions: usize,
        defaults: RopeDefaults,
    ) -> Result<Self> {
        Self::of(&Parameters::of_layers(config, kind, defaults)?, head_dim, max_positions)
    }

    /// The rotation with these `parameters`.
    fn of(parameters: &Parameters, head_dim: usize, max_positions: usize) -> Result<Self> {
        let kind = parameters.kind()?;
        let theta = parameters.theta(MAX_THETA)?;
        // Values of a head that are rotated. With an odd number the last pair takes one more, as in transformers.
        let dim = (head_dim as f64 * parameters.partial(kind)?) as usize;
        // The pairs' wavelengths over a full turn.
        let periods: Vec<f32> =
            (0..dim.div_ceil(2)).map(|i| (theta as f32).powf((2 * i) as f32 / dim as f32)).collect();
        let rope = match kind {
            Kind::Default => Self::unscaled(periods.iter().map(|period| 1.0 / period)),
            Kind::Linear => {
                let factor = parameters.required(&FACTOR, MAX_FACTOR)? as f32;
                Self::unscaled(periods.iter().map(|period| 1.0 / period / factor))
            }
            Kind::Llama3 => llama3(parameters, &periods, max_positions)?,
            Kind::Yarn if !dim.is_multiple_of(2) => {
                return Err(
                    parameters.wrong(&PARTIAL, &format!("such that it gives an even part of {head_dim} values"))
                );
            }
            Kind::Yarn => yarn(parameters, &periods, theta, max_positions)?,
        };
        if !rope.inv_freq.iter().all(|frequency| frequency.is_finite()) {
            bail!(Malformed, "config.json: rope_theta {theta} and what scales it give frequencies that are not finite");
        }
        Ok(rope)
    }

    fn unscaled(inv_freq: impl Iterator<Item = f32>) -> Self {
        Self { inv_freq: inv_freq.collect(), attention_factor: 1.0 }
    }

    /// Pairs of a head that are rotated.
    pub(crate) fn pairs(&self) -> usize {
        self.inv_freq.len()
    }

    /// The angle of each pair at position 1.
    pub(crate) fn frequencies(&self) -> &[f32] {
        &self.inv_freq
    }

    /// The factor on cosines and sines.
    pub(crate) fn attention_factor(&self) -> f32 {
        self.attention_factor
    }

    /// Appends the cosines and sines of one position, [`pairs`](Self::pairs) of each.
    pub(crate) fn rotation(&self, position: usize, cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        for frequency in &self.inv_freq {
            let angle = position as f32 * frequency;
            cos.push(angle.cos() * self.attention_factor);
            sin.push(angle.sin() * self.attention_factor);
        }
    }
}

fn original_positions(parameters: &Parameters, max_positions: usize) -> Result<f64> {
    Ok(parameters.positive(&ORIGINAL, MAX_POSITIONS)?.unwrap_or(max_positions as f64))
}

/// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between interpolated.
fn llama3(parameters: &Parameters, periods: &[f32], max_positions: usize) -> Result<Rope> {
    let factor = parameters.required(&FACTOR, MAX_FACTOR)? as f32;
    let low = parameters.required(&LOW_FREQ, MAX_FACTOR)?;
    let high = parameters.required(&HIGH_FREQ, MAX_FACTOR)?;
    if high <= low {
        return Err(parameters.wrong(&HIGH_FREQ, &format!("above low_freq_factor {low}")));
    }
    let original = original_positions(parameters, max_positions)?;
    let (longest, shortest) = ((original / low) as f32, (original / high) as f32);
    let stretch = |period: &f32| {
        let frequency = 1.0 / period;
        let wavelength = 1.0 / frequency * TAU as f32;
        if wavelength > longest {
            frequency / factor
        } else if wavelength < shortest {
            frequency
        } else {
            let smooth = (1.0 / wavelength * original as f32 - low as f32) / (high - low) as f32;
            (1.0 - smooth) * frequency / factor + smooth * frequency
        }
    };
    Ok(Rope::unscaled(periods.iter().map(stretch)))
}

/// `YaRN` (Peng et al., 2023): interpolate low frequencies, keep high ones, ramp between, and sharpen the softmax.
fn yarn(parameters: &Parameters, periods: &[f32], theta: f64, max_positions: usize) -> Result<Rope> {
    if theta <= 1.0 {
        return Err(parameters.wrong(&THETA, "above 1, as yarn needs it"));
    }
    let original = original_positions(parameters, max_positions)?;
    let factor = if parameters.is_null(&FACTOR) {
        max_positions as f64 / original
    } else {
        parameters.required(&FACTOR, MAX_FACTOR)?
    };
    let attention_factor = attention_factor(parameters, factor)?;
    let rotations = |key, default| match parameters.is_true(key) {
        Some(true) => parameters.required(key, MAX_FACTOR),
        _ => Ok(default),
    };
    let (fast, slow) = (rotations(&BETA_FAST, 32.0)?, rotations(&BETA_SLOW, 1.0)?);

    let dim = 2.0 * periods.len() as f64;
    let correction = |rotations: f64| dim * (original / (rotations * TAU)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (correction(fast), correction(slow));
    if parameters.is_true(&TRUNCATE).unwrap_or(true) {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
    // The singularity that the reference implementation steps around in the same way.
    #[allow(clippy::float_cmp, reason = "the ramp divides by their exact difference")]
    if low == high {
        high += 0.001;
    }
    let inv_freq = periods.iter().enumerate().map(|(i, period)| {
        let interpolated = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
        let keep = 1.0 - interpolated;
        1.0 / (factor as f32 * period) * (1.0 - keep) + 1.0 / period * keep
    });
    Ok(Rope { inv_freq: inv_freq.collect(), attention_factor: attention_factor as f32 })
}

/// `YaRN`'s factor on cosines and sines.
fn attention_factor(parameters: &Parameters, factor: f64) -> Result<f64> {
    if !parameters.is_null(&ATTENTION)
        && let Some(given) = parameters.positive(&ATTENTION, MAX_FACTOR)?
    {
        return Ok(given);
    }
    let scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
    // Each counts only beside the other.
    if !(parameters.is_true(&MSCALE) == Some(true) && parameters.is_true(&MSCALE_ALL) == Some(true)) {
        return Ok(scale(1.0));
    }
    let (one, all) = (parameters.number(&MSCALE)?, parameters.number(&MSCALE_ALL)?);
    let ratio = scale(one.unwrap_or(1.0)) / scale(all.unwrap_or(1.0));
    if !(ratio > 0.0 && ratio.is_finite()) {
        return Err(parameters.wrong(&MSCALE, "such that it gives a factor above 0 with mscale_all_dim"));
    }
    Ok(ratio)
}
