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
    ALPHA, ATTENTION, BETA_FAST, BETA_SLOW, FACTOR, HIGH_FREQ, LONG_FACTOR, LOW_FREQ, MSCALE, MSCALE_ALL, ORIGINAL,
    PARTIAL, Parameters, SHORT_FACTOR, THETA, TRUNCATE,
};

pub(crate) use defaults::{KINDS_WITH_PROPORTIONAL, Kind, RopeDefaults};

// Limits far beyond any model.
const MAX_THETA: f64 = 1e15;
const MAX_FACTOR: f64 = 1e9;
const MAX_POSITIONS: f64 = 1e12;

/// The rotation of a head's pairs: of all `head_dim / 2`, or of the first ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rope {
    /// The only frequencies, or those of short texts.
    short: Frequencies,
    /// Those of texts with more tokens than a border (`LongRoPE`).
    long: Option<(usize, Frequencies)>,
}

/// How fast each pair turns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Frequencies {
    /// The angle of each pair at position 1.
    pub inv_freq: Vec<f32>,
    /// Factor on cosines and sines (`YaRN`'s attention temperature).
    pub attention_factor: f32,
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
        parameters.tell_unread(kind);
        let theta = match kind {
            Kind::Alpha => stretched(parameters, head_dim)?,
            _ => parameters.theta(MAX_THETA)?,
        };
        // Values of a head that are rotated. With an odd number the last pair takes one more, as in transformers.
        let part = if kind == Kind::Proportional { 1.0 } else { parameters.partial(kind)? };
        let dim = (head_dim as f64 * part) as usize;
        // The pairs' wavelengths over a full turn.
        let periods: Vec<f32> =
            (0..dim.div_ceil(2)).map(|i| (theta as f32).powf((2 * i) as f32 / dim as f32)).collect();
        let rope = match kind {
            // No text is longer than the model's maximum, from which on the dynamic kind scales.
            Kind::Default | Kind::Dynamic | Kind::Alpha => Self::unscaled(periods.iter().map(|period| 1.0 / period)),
            Kind::Proportional => proportional(parameters, &periods)?,
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
            Kind::LongRope => longrope(parameters, &periods, max_positions)?,
        };
        if !rope.sets().flat_map(|set| &set.inv_freq).all(|frequency| frequency.is_finite()) {
            bail!(Malformed, "config.json: rope_theta {theta} and what scales it give frequencies that are not finite");
        }
        Ok(rope)
    }

    fn unscaled(inv_freq: impl Iterator<Item = f32>) -> Self {
        Self::scaled(inv_freq, 1.0)
    }

    fn scaled(inv_freq: impl Iterator<Item = f32>, attention_factor: f32) -> Self {
        Self { short: Frequencies { inv_freq: inv_freq.collect(), attention_factor }, long: None }
    }

    /// Pairs of a head that are rotated.
    pub(crate) fn pairs(&self) -> usize {
        self.short.inv_freq.len()
    }

    /// How many tokens a text may have before it takes other frequencies; `None`: any number.
    pub(crate) fn border(&self) -> Option<usize> {
        self.long.as_ref().map(|(border, _)| *border)
    }

    /// The frequencies, and those of long texts.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &Frequencies> {
        std::iter::once(&self.short).chain(self.long.as_ref().map(|(_, long)| long))
    }

    /// Appends the cosines and sines of one position of a text, [`pairs`](Self::pairs) of each.
    pub(crate) fn rotation(&self, position: usize, is_long: bool, cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        let set = self.long.as_ref().filter(|_| is_long).map_or(&self.short, |(_, long)| long);
        for frequency in &set.inv_freq {
            let angle = position as f32 * frequency;
            cos.push(angle.cos() * set.attention_factor);
            sin.push(angle.sin() * set.attention_factor);
        }
    }
}

/// How much queries grow with the position (`llama_4_scaling_beta`), and from which length on.
pub(crate) fn query_growth(config: Fields, max_positions: usize) -> Result<(f32, f32)> {
    let parameters = Parameters::new(config, RopeDefaults::default())?;
    let original = match parameters.kind()? {
        Kind::Llama3 | Kind::Yarn => original_positions(&parameters, max_positions)?,
        _ => parameters.required(&ORIGINAL, MAX_POSITIONS)?,
    };
    Ok((parameters.growth()? as f32, original as f32))
}

/// What scores are multiplied by besides, in a rotation with `mscale_all_dim` (`DeepSeek` V2): `YaRN`'s factor for all values of a head,
/// of queries and of keys. The [rotation](Rope)'s own factor is divided by it.
pub(crate) fn score_factor(config: Fields, defaults: RopeDefaults) -> Result<f64> {
    let parameters = Parameters::new(config, defaults)?;
    if parameters.kind()? == Kind::Default || parameters.is_true(&MSCALE_ALL) != Some(true) {
        return Ok(1.0);
    }
    let (factor, all) = (parameters.required(&FACTOR, MAX_FACTOR)?, parameters.number(&MSCALE_ALL)?.unwrap_or(0.0));
    let scale = temperature(factor, all);
    if !(scale * scale).is_finite() {
        return Err(parameters.wrong(&MSCALE_ALL, "such that scores stay finite"));
    }
    Ok(scale * scale)
}

/// `YaRN`'s factor on queries and on keys.
fn temperature(factor: f64, m: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 }
}

fn original_positions(parameters: &Parameters, max_positions: usize) -> Result<f64> {
    Ok(parameters.original(MAX_POSITIONS)?.unwrap_or(max_positions as f64))
}

/// The base of a rotation that is stretched once and for all by `alpha`, where that is there.
fn stretched(parameters: &Parameters, head_dim: usize) -> Result<f64> {
    let theta = parameters.theta(MAX_THETA)?;
    if parameters.is_true(&ALPHA) != Some(true) {
        return Ok(theta);
    }
    let dim = head_dim as f64;
    let base = theta * parameters.required(&ALPHA, MAX_FACTOR)?.powf(dim / (dim - 2.0));
    if base > 0.0 && base <= MAX_THETA {
        return Ok(base);
    }
    Err(parameters
        .wrong(&ALPHA, &format!("such that the base of heads of {head_dim} is above 0 and at most {MAX_THETA}")))
}

/// Gemma 4: a part of a head's pairs turns as where all do, and the others stand still, wherever they lie in the head.
fn proportional(parameters: &Parameters, periods: &[f32]) -> Result<Rope> {
    let factor = parameters.positive(&FACTOR, MAX_FACTOR)?.unwrap_or(1.0) as f32;
    let turning = (parameters.part()? * (2 * periods.len()) as f64 / 2.0) as usize;
    let frequency = |(i, period): (usize, &f32)| if i < turning { 1.0 / period / factor } else { 0.0 };
    Ok(Rope::unscaled(periods.iter().enumerate().map(frequency)))
}

/// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between interpolated.
fn llama3(parameters: &Parameters, periods: &[f32], max_positions: usize) -> Result<Rope> {
    let factor = parameters.required(&FACTOR, MAX_FACTOR)? as f32;
    let low = parameters.required(&LOW_FREQ, MAX_FACTOR)?;
    let high = parameters.required(&HIGH_FREQ, MAX_FACTOR)?;
    // Llama 4 has no waves in between.
    if high < low {
        return Err(parameters.wrong(&HIGH_FREQ, &format!("at least low_freq_factor {low}")));
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
    Ok(Rope::scaled(inv_freq, attention_factor as f32))
}

/// `LongRoPE` (Ding et al., 2024): a factor for each pair's wavelength, one for short texts and one for long ones.
fn longrope(parameters: &Parameters, periods: &[f32], max_positions: usize) -> Result<Rope> {
    let original = original_positions(parameters, max_positions)?;
    let border = original as usize;
    if border == 0 {
        return Err(parameters.wrong(&ORIGINAL, "at least 1"));
    }
    let factor = parameters.positive_or_null(&FACTOR, MAX_FACTOR)?.unwrap_or(max_positions as f64 / original);
    let attention_factor = match parameters.positive_or_null(&ATTENTION, MAX_FACTOR)? {
        Some(given) => given,
        None if factor <= 1.0 => 1.0,
        None if original <= 1.0 => return Err(parameters.wrong(&ORIGINAL, "above 1")),
        None => (1.0 + factor.ln() / original.ln()).sqrt(),
    };
    let rope = |key| {
        let factors = parameters.numbers(key, periods.len(), MAX_FACTOR)?;
        let inv_freq = factors.into_iter().zip(periods).map(|(factor, period)| 1.0 / (factor as f32 * period));
        Ok(Rope::scaled(inv_freq, attention_factor as f32))
    };
    let (short, long) = (rope(&SHORT_FACTOR)?, rope(&LONG_FACTOR)?);
    // No text is longer than the model's maximum.
    Ok(Rope { long: (border < max_positions).then_some((border, long.short)), ..short })
}

/// `YaRN`'s factor on cosines and sines.
fn attention_factor(parameters: &Parameters, factor: f64) -> Result<f64> {
    if let Some(given) = parameters.positive_or_null(&ATTENTION, MAX_FACTOR)? {
        return Ok(given);
    }
    let scale = |m: f64| temperature(factor, m);
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
