//! Rotary position embedding (Su et al., 2021) and its scalings, from `rope_theta` + `rope_scaling` (transformers 4)
//! or `rope_parameters` (transformers 5).
//!
//! Angles are computed in float32, as transformers computes them: at position 100,000 a float64 angle would differ in
//! the fourth digit from the one every checkpoint was trained and evaluated with.

use std::f64::consts::PI;

use super::fields::Fields;
use crate::error::{Result, bail, err};

/// Frequencies of the rotation of a head's `head_dim / 2` pairs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rope {
    inv_freq: Vec<f32>,
    /// Factor on cosines and sines (`YaRN`'s attention temperature).
    attention_factor: f32,
}

impl Rope {
    /// The rotation that `config` asks for. `default_theta` is the architecture's own.
    pub(crate) fn new(config: Fields, head_dim: usize, max_positions: usize) -> Result<Self> {
        let parameters = config.object("rope_parameters")?;
        let scaling = match config.object("rope_scaling")? {
            Some(scaling) => Some(scaling),
            None => parameters,
        };
        let theta = match parameters.map(|p| p.positive("rope_theta", 1e15)).transpose()?.flatten() {
            Some(theta) => theta,
            None => config.positive("rope_theta", 1e15)?.unwrap_or(10_000.0),
        };
        if theta <= 1.0 {
            bail!(Malformed, "config.json: rope_theta is {theta}, it must be greater than 1");
        }
        let plain: Vec<f32> =
            (0..head_dim / 2).map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / head_dim as f32)).collect();
        let Some(scaling) = scaling else { return Ok(Self { inv_freq: plain, attention_factor: 1.0 }) };
        // Older configs say `type`, newer ones `rope_type`; some carry both.
        let kind = scaling.text("rope_type")?.or(scaling.text("type")?).unwrap_or("default");
        match kind {
            "default" => Ok(Self { inv_freq: plain, attention_factor: 1.0 }),
            "linear" => {
                let factor = factor(scaling)? as f32;
                Ok(Self { inv_freq: plain.iter().map(|f| f / factor).collect(), attention_factor: 1.0 })
            }
            "llama3" => llama3(scaling, &plain, max_positions),
            "yarn" => yarn(scaling, &plain, theta, head_dim, max_positions),
            other => Err(err!(
                Unsupported,
                "config.json: rope scaling `{other}` is not supported (supported: default, linear, llama3, yarn)"
            )),
        }
    }

    /// Pairs that are rotated: `head_dim / 2`.
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

fn factor(scaling: Fields) -> Result<f64> {
    scaling.positive("factor", 1e9)?.ok_or_else(|| err!(Malformed, "config.json: rope scaling has no factor"))
}

fn original_positions(scaling: Fields, max_positions: usize) -> Result<f64> {
    Ok(scaling.integer("original_max_position_embeddings", 1..=1 << 40)?.unwrap_or(max_positions) as f64)
}

/// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between interpolated.
fn llama3(scaling: Fields, plain: &[f32], max_positions: usize) -> Result<Rope> {
    let factor = factor(scaling)? as f32;
    let low = scaling.positive("low_freq_factor", 1e9)?.unwrap_or(1.0) as f32;
    let high = scaling.positive("high_freq_factor", 1e9)?.unwrap_or(4.0) as f32;
    if high <= low {
        bail!(Malformed, "config.json: high_freq_factor {high} is not above low_freq_factor {low}");
    }
    let original = original_positions(scaling, max_positions)? as f32;
    let stretch = |frequency: f32| {
        let wavelength = 2.0 * PI as f32 / frequency;
        if wavelength > original / low {
            frequency / factor
        } else if wavelength < original / high {
            frequency
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            (1.0 - smooth) * frequency / factor + smooth * frequency
        }
    };
    Ok(Rope { inv_freq: plain.iter().copied().map(stretch).collect(), attention_factor: 1.0 })
}

/// `YaRN` (Peng et al., 2023): interpolate low frequencies, keep high ones, ramp between, and sharpen the softmax.
fn yarn(scaling: Fields, plain: &[f32], theta: f64, head_dim: usize, max_positions: usize) -> Result<Rope> {
    let original = original_positions(scaling, max_positions)?;
    let factor = scaling.positive("factor", 1e9)?.unwrap_or(max_positions as f64 / original);
    let mscale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
    let attention_factor = match (
        scaling.positive("attention_factor", 1e6)?,
        scaling.positive("mscale", 1e6)?,
        scaling.positive("mscale_all_dim", 1e6)?,
    ) {
        (Some(given), _, _) => given,
        (None, Some(m), Some(all)) => mscale(m) / mscale(all),
        _ => mscale(1.0),
    };
    let beta_fast = scaling.positive("beta_fast", 1e9)?.unwrap_or(32.0);
    let beta_slow = scaling.positive("beta_slow", 1e9)?.unwrap_or(1.0);
    let truncate = scaling.flag("truncate")?.unwrap_or(true);

    let dim = head_dim as f64;
    let correction = |rotations: f64| dim * (original / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (correction(beta_fast), correction(beta_slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let low = low.max(0.0) as f32;
    let mut high = high.min(dim - 1.0) as f32;
    // The singularity that the reference implementation steps around in the same way.
    #[allow(clippy::float_cmp, reason = "the ramp divides by their exact difference")]
    if low == high {
        high += 0.001;
    }
    let inv_freq = plain.iter().enumerate().map(|(i, frequency)| {
        let interpolated = ((i as f32 - low) / (high - low)).clamp(0.0, 1.0);
        let keep = 1.0 - interpolated;
        frequency / factor as f32 * (1.0 - keep) + frequency * keep
    });
    Ok(Rope { inv_freq: inv_freq.collect(), attention_factor: attention_factor as f32 })
}
