//! Mamba-2 layers (Dao and Gu, 2024), as families share them: the numbers that decide one, and what it computes.

use serde_json::Value as Json;

use super::activation;
use super::family::Encoding;
use super::{Fields, Layer, ModelConfig};
use crate::error::{Result, bail};
use crate::graph::{Builder, Linear, Value};
use crate::json;
use crate::kernels::{Activation, ConvShape, Gate, Norm, ScanShape};

/// The most values that a layer may keep, and that a row of it may have.
const MAX_VALUES: usize = 1 << 28;
/// The most that any number of a layer may be.
const MAX_NUMBER: u64 = 1 << 20;

/// The Mamba-2 layers of a model.
#[derive(Debug)]
pub(super) struct Mamba2 {
    /// What checkpoints call the module, behind the layer's name.
    pub module: &'static str,
    pub scan: ScanShape,
    /// Tokens that the convolution in front of the scan sees.
    pub taps: usize,
    /// What is applied behind the convolution.
    pub activation: Activation,
    pub conv_bias: bool,
    /// Biases of the projections in front of all and behind it.
    pub in_bias: bool,
    pub out_bias: bool,
    pub norm: GatedNorm,
    /// What the gate, `x`, `B`, `C` and the steps of time are multiplied by, if they are.
    pub factors: Option<[f32; 5]>,
}

/// How what the scan gives is normalised and gated: group by group, with a norm before or behind the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GatedNorm {
    Absent,
    BeforeGate,
    BehindGate,
}

impl Mamba2 {
    /// The keys `mamba_...` of layers of `inner` values.
    pub(super) fn read(f: Fields, inner: usize) -> Result<Self> {
        let heads = number(f, "mamba_n_heads", 128)?;
        let head_width = match f.get("mamba_d_head").and_then(Json::as_str) {
            Some("auto") => None,
            _ => f.integer("mamba_d_head", 1..=MAX_NUMBER)?,
        };
        let head_width = head_width.unwrap_or(inner / heads);
        if heads * head_width != inner {
            let name = f.name("mamba_n_heads");
            bail!(
                Malformed,
                "{name} is {heads}, and as many times mamba_d_head {head_width} is not {inner}, which mamba_d_ssm or mamba_expand says"
            );
        }
        // How many tokens others run at once.
        f.integer("mamba_chunk_size", 1..=MAX_NUMBER)?;
        let bias = f.flag("mamba_proj_bias")?.unwrap_or(false);
        let layer = Self {
            module: "mamba",
            scan: ScanShape {
                heads,
                head_width,
                groups: number(f, "mamba_n_groups", 1)?,
                state_width: number(f, "mamba_d_state", 256)?,
                limits: limits(f)?,
            },
            taps: f.integer("mamba_d_conv", 2..=64)?.unwrap_or(4),
            activation: Activation::Silu,
            conv_bias: holds(f, "mamba_conv_bias")?,
            in_bias: bias,
            out_bias: bias,
            norm: GatedNorm::BehindGate,
            factors: None,
        };
        layer.checked(f, ["mamba_n_heads", "mamba_n_groups"])
    }

    /// The layer, if its numbers of heads and groups, which have these names, go together.
    pub(super) fn checked(self, f: Fields, [heads, groups]: [&str; 2]) -> Result<Self> {
        let shape = &self.scan;
        if !shape.heads.is_multiple_of(shape.groups) {
            bail!(Malformed, "{} is {}, no multiple of {groups} {}", f.name(heads), shape.heads, shape.groups);
        }
        if [shape.state(), shape.row()].iter().any(|values| *values > MAX_VALUES) {
            bail!(Malformed, "{} is {}, too many with the widths of heads and states", f.name(heads), shape.heads);
        }
        Ok(self)
    }

    pub(super) fn encode(&self, e: &mut Encoding) {
        let ScanShape { heads, head_width, groups, state_width, limits } = self.scan;
        for number in [heads, head_width, groups, state_width, self.taps, self.norm as usize] {
            e.number(number);
        }
        for bias in [self.conv_bias, self.in_bias, self.out_bias] {
            e.number(bias.into());
        }
        e.text(activation::name(self.activation));
        limits.iter().chain(self.factors.iter().flatten()).for_each(|value| e.float(*value));
    }

    /// Channels of the convolution: `x` of all heads, then `B` and `C` of all groups.
    fn channels(&self) -> usize {
        self.scan.row()
    }

    /// What [`out`](Self::out) takes: `norm(scan(conv(x, B, C), steps) * silu(z))` of the projections of `n`.
    pub(super) fn mixed(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, n: Value) -> Value {
        let (shape, module) = (self.scan, self.module);
        let name = |part: &str| format!("{module}.{part}");
        let (inner, channels) = (shape.inner(), self.channels());
        let all = layer.linear(&name("in_proj"), c.hidden_size, inner + channels + shape.heads, self.in_bias);
        let z = g.linear(n, all.rows(0..inner));
        let x = g.linear(n, all.rows(inner..inner + channels));
        let steps = g.linear(n, all.rows(inner + channels..inner + channels + shape.heads).exact());
        let [z, x, steps] = self.multiplied(g, [z, x, steps]);

        let conv = ConvShape {
            row: channels,
            channels,
            taps: self.taps,
            x: 0,
            before: None,
            after: None,
            activation: Some(self.activation),
        };
        let weight = layer.weight(&name("conv1d.weight"), [channels, 1, self.taps]).as_matrix();
        let bias = self.conv_bias.then(|| layer.weight(&name("conv1d.bias"), [channels]));
        let x = g.short_conv(x, conv, weight, bias);
        let of_heads = ["A_log", "dt_bias", "D"].map(|part| layer.weight(&name(part), [shape.heads]));
        let y = g.selective_scan([x, steps], shape, of_heads);

        let norm = |g: &mut Builder, x| {
            let weight = layer.weight(&name("norm.weight"), [inner]);
            let weight = if shape.groups == 1 { weight } else { weight.in_rows(shape.groups).exact() };
            g.head_norm(x, Norm::rms(c.rms_norm_eps), Some(weight), None, inner / shape.groups)
        };
        match self.norm {
            GatedNorm::Absent => g.multiply(y, z, Gate::Silu),
            GatedNorm::BeforeGate => {
                let y = norm(g, y);
                g.multiply(y, z, Gate::Silu)
            }
            GatedNorm::BehindGate => {
                let y = g.multiply(y, z, Gate::Silu);
                norm(g, y)
            }
        }
    }

    /// The gate, `x`, `B` and `C`, and the steps of time, times their factors.
    fn multiplied(&self, g: &mut Builder, [gate, x, steps]: [Value; 3]) -> [Value; 3] {
        let Some(factors) = self.factors else { return [gate, x, steps] };
        let shared = self.scan.groups * self.scan.state_width;
        let of_x = vec![(self.scan.inner(), factors[1]), (shared, factors[2]), (shared, factors[3])];
        [g.scale(gate, factors[0]), g.scale_parts(x, of_x), g.scale(steps, factors[4])]
    }

    /// The projection behind all.
    pub(super) fn out(&self, c: &ModelConfig, layer: Layer) -> Linear {
        layer.linear(&format!("{}.out_proj", self.module), self.scan.inner(), c.hidden_size, self.out_bias)
    }
}

/// A number of a layer.
pub(super) fn number(f: Fields, key: &str, default: usize) -> Result<usize> {
    Ok(f.integer(key, 1..=MAX_NUMBER)?.unwrap_or(default))
}

/// A flag that holds where nothing is said; a `null` denies it.
pub(super) fn holds(f: Fields, key: &str) -> Result<bool> {
    Ok(f.flag(key)?.unwrap_or(!f.has(key)))
}

/// `time_step_limit`: the shortest and the longest step of time. Transformers holds those of a prompt within it, and those of the tokens
/// that follow one by one not; here a token is the same in either.
fn limits(f: Fields) -> Result<[f32; 2]> {
    const KEY: &str = "time_step_limit";
    if !f.has(KEY) {
        return Ok([0.0, f32::INFINITY]);
    }
    let infinite = |value: &Json| (json::not_finite(value) == Some("Infinity")).then_some(f64::INFINITY);
    let number = |value: &Json| value.as_f64().or_else(|| infinite(value));
    let numbers: Option<Vec<f64>> =
        f.get(KEY).and_then(Json::as_array).and_then(|list| list.iter().map(number).collect());
    match numbers.as_deref() {
        Some([least, most]) if least <= most => Ok([*least as f32, *most as f32]),
        _ => Err(f.wrong(KEY, "two numbers, the second one no smaller than the first")),
    }
}
