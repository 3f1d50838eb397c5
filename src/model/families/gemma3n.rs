//! Gemma 3n (Gemma team, 2025): of four streams of hidden states each layer predicts all, computes one, and corrects the others by what
//! came out (`AltUp`, Baykal et al., 2023). A layer adds a low-rank residual to its attention (`LAuReL`, Menghani et al., 2024), keeps
//! only the largest values of some MLPs, and gives what it makes of the token's per-layer embedding to the other streams.

use std::f32::consts::FRAC_1_SQRT_2;
use std::sync::Arc;

use super::activation::{self, activation};
use super::config::{MAX_POSITIONS, MAX_WIDTH};
use super::family::Encoding;
use super::layers::layer_types;
use super::per_layer::PerLayer;
use super::rope::{Rope, RopeDefaults};
use super::shared_rows::SharedRows;
use super::{Architecture, Boundary, Family, Fields, Layer, ModelConfig, Range};
use crate::error::{Result, bail};
use crate::graph::{Builder, Linear, Role, Value, Weight};
use crate::kernels::{Activation, Gate, Norm, Window};

pub(super) const GEMMA3N: Architecture = Architecture {
    model_type: "gemma3n_text",
    name: "Gemma3nForCausalLM",
    covers: "Gemma 3n, text-only",
    honours: &[INNER],
    family,
};

/// Where the rotations stand in [`ModelConfig::ropes`].
const FULL: usize = 0;
const SLIDING: usize = 1;
/// What config.json calls both kinds of layers.
const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];
/// A number, or one for each layer.
const INNER: &str = "intermediate_size";
/// Streams with a mean square below it are not made as large as the first one.
const LEAST_SQUARE: f32 = 1e-5;

#[derive(Debug)]
struct Gemma3n {
    activation: Activation,
    shared: SharedRows,
    per_layer: PerLayer,
    /// The inner width of each layer's MLP.
    inner: Vec<usize>,
    /// How many standard deviations above the mean the values lie that an MLP keeps; `None`: it keeps all.
    cutoffs: Vec<Option<f32>>,
    /// Streams of hidden states.
    streams: usize,
    /// Whether what a layer computes is multiplied by a weight for each column before its per-layer input is applied.
    scales_corrected: bool,
    laurel_rank: usize,
    /// `final_logit_softcapping`.
    logit_cap: Option<f32>,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 32_768)?;
    c.set_default(f, "head_dim", |c| &mut c.head_dim, 256)?;
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 2)?;
    c.tie_word_embeddings = f.flag("tie_word_embeddings")?.unwrap_or(true);
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);

    let given = layer_types(f, c.layers)?;
    let slides = given.unwrap_or_else(|| (1..=c.layers).map(|layer| !layer.is_multiple_of(5)).collect());
    let window = Window::Sliding(f.integer("sliding_window", 1..=MAX_POSITIONS)?.unwrap_or(512));
    c.windows = slides.iter().map(|slides| slides.then_some(window)).collect();
    let rope = |kind: usize, theta: f64, theta_key| {
        let defaults = RopeDefaults { theta, theta_key, ..RopeDefaults::default() };
        Rope::of_layers(f, KINDS[kind], c.head_dim, c.max_positions, defaults)
    };
    c.ropes = vec![rope(FULL, 1e6, "rope_theta")?, rope(SLIDING, 1e4, "rope_local_base_freq")?];
    if f.integer("altup_active_idx", 0..=MAX_WIDTH)?.unwrap_or(0) != 0 {
        return Err(f.unsupported("altup_active_idx", "layers compute the first stream"));
    }
    let Some(per_layer) = PerLayer::read(f, c, true)? else {
        return Err(f.unsupported("hidden_size_per_layer_input", "each layer takes some"));
    };
    let inner = inner(f, c.layers)?;
    c.intermediate_size = inner.iter().copied().max().unwrap_or(0);
    let cap = if f.has(CAP) { f.positive_or_null(CAP, 1e9)? } else { Some(30.0) };
    Ok(Arc::new(Gemma3n {
        activation: activation(f, "hidden_activation", Activation::GeluTanh)?,
        shared: SharedRows::read(f, &slides, 15)?,
        per_layer,
        inner,
        cutoffs: cutoffs(f, c.layers)?,
        streams: f.integer("altup_num_inputs", 2..=64)?.unwrap_or(4),
        scales_corrected: f.flag("altup_correct_scale")?.unwrap_or(true),
        laurel_rank: f.integer("laurel_rank", 1..=MAX_WIDTH)?.unwrap_or(64),
        logit_cap: cap.map(|cap| cap as f32),
    }))
}

const CAP: &str = "final_logit_softcapping";

/// The inner width of each layer's MLP.
fn inner(f: Fields, layers: usize) -> Result<Vec<usize>> {
    if !f.get(INNER).is_some_and(serde_json::Value::is_array) {
        return Ok(vec![f.required(INNER, 1..=MAX_WIDTH)?; layers]);
    }
    let each = f.integers(INNER, 1..=MAX_WIDTH)?.unwrap_or_default();
    if each.len() != layers {
        bail!(Malformed, "{} has {} entries, num_hidden_layers is {layers}", f.name(INNER), each.len());
    }
    Ok(each)
}

/// How many standard deviations above the mean a share of `activation_sparsity_pattern` of normally distributed values ends.
fn cutoffs(f: Fields, layers: usize) -> Result<Vec<Option<f32>>> {
    const KEY: &str = "activation_sparsity_pattern";
    let Some(given) = f.get(KEY) else {
        let sparse = if layers > 10 { 10 } else { 0 };
        return Ok((0..layers).map(|layer| (layer < sparse).then(|| quantile(0.95))).collect());
    };
    let wrong = || f.wrong(KEY, &format!("a list of {layers} numbers from 0 to below 1, one for each layer"));
    let shares = given.as_array().filter(|shares| shares.len() == layers).ok_or_else(wrong)?;
    let cutoff = |share: &serde_json::Value| {
        // As transformers has it: in float32, by its distance from the half.
        let share = share.as_f64().map(|share| share as f32).filter(|share| (0.0..1.0).contains(share));
        let twice = 2.0 * share.ok_or_else(wrong)? - 1.0;
        match share {
            Some(0.0) => Ok(None),
            _ if twice > -1.0 => Ok(Some(quantile(f64::midpoint(f64::from(twice), 1.0)))),
            _ => Err(wrong()),
        }
    };
    shares.iter().map(cutoff).collect()
}

/// Below which value the share `p` of a standard normal distribution lies, by Newton's method; `0 < p < 1`.
fn quantile(p: f64) -> f32 {
    let mut x = 0.0_f64;
    for _ in 0..64 {
        let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
        // The share between 0 and x is density * (x + x^3 / 3 + x^5 / (3 * 5) + ...).
        let (mut term, mut sum) = (x, x);
        for i in 1..200 {
            term *= x * x / f64::from(2 * i + 1);
            sum += term;
        }
        x -= (0.5 + density * sum - p) / density;
    }
    x as f32
}

impl Gemma3n {
    /// How much of each stream a token mixes: `tanh(router(norm(x) / width))`.
    fn modalities(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let normed = g.rms_norm(x, &layer.name("altup.router_norm.weight"), c.rms_norm_eps);
        let normed = g.scale(normed, 1.0 / c.hidden_size as f32);
        let routed = g.linear(normed, exact(layer, "altup.modality_router", c.hidden_size, self.streams));
        g.soft_cap(routed, 1.0)
    }

    /// `y + norm(right(left(y)))`.
    fn laurel(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, y: Value) -> Value {
        let low = g.linear(y, layer.linear("laurel.linear_left", c.hidden_size, self.laurel_rank, false));
        let high = g.linear(low, layer.linear("laurel.linear_right", self.laurel_rank, c.hidden_size, false));
        let normed = g.rms_norm(high, &layer.name("laurel.post_laurel_norm.weight"), c.rms_norm_eps);
        g.add(y, normed, 1.0)
    }

    fn attended(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, y: Value) -> Value {
        let mut attention = layer.attention_with_head_norms(c);
        attention.rope = if attention.shape.window.is_some() { SLIDING } else { FULL };
        attention.shape.scale = 1.0;
        let attended = self.shared.attended(g, c, layer, attention, y, true);
        let attended = g.linear(attended, layer.o_proj(c));
        g.rms_norm(attended, &layer.name("post_attention_layernorm.weight"), c.rms_norm_eps)
    }

    /// `norm(down(activation(sparse(gate(norm(y)))) * up(norm(y))))`.
    fn mlp(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, y: Value) -> Value {
        let inner = self.inner[layer.index];
        let n = g.rms_norm(y, &layer.name("pre_feedforward_layernorm.weight"), c.rms_norm_eps);
        let [gate, up] = ["mlp.gate_proj", "mlp.up_proj"].map(|part| layer.linear(part, c.hidden_size, inner, false));
        let gated = if let Some(cutoff) = self.cutoffs[layer.index] {
            let gate = g.linear(n, gate);
            let sparse = g.above_mean(gate, cutoff);
            let gate = g.activate(sparse, self.activation);
            let up = g.linear(n, up);
            g.multiply(up, gate, Gate::Plain)
        } else {
            g.gated(n, gate, up, self.activation)
        };
        let down = g.linear(gated, layer.linear("mlp.down_proj", inner, c.hidden_size, false));
        g.rms_norm(down, &layer.name("post_feedforward_layernorm.weight"), c.rms_norm_eps)
    }
}

/// `x` by a matrix of its own for each stream but the first, as large as `like`.
fn projected(g: &mut Builder, c: &ModelConfig, module: &str, stream: usize, x: Value, like: Value) -> Value {
    let linear = Linear::new(&format!("model.{module}.{}", stream - 1), c.hidden_size, c.hidden_size, false);
    let projected = g.linear(x, linear);
    g.match_rms(projected, like, LEAST_SQUARE)
}

/// A small matrix that decides how streams are mixed.
fn exact(layer: Layer, part: &str, input: usize, out: usize) -> Linear {
    let linear = layer.linear(part, input, out, false);
    Linear { weight: linear.weight.exact(), ..linear }
}

impl Family for Gemma3n {
    fn encode(&self, e: &mut Encoding) {
        e.text(activation::name(self.activation));
        self.shared.encode(e);
        self.per_layer.encode(e);
        for (inner, cutoff) in self.inner.iter().zip(&self.cutoffs) {
            e.number(*inner);
            e.number(cutoff.is_some().into());
            e.computed(cutoff.unwrap_or(0.0));
        }
        for number in [self.streams, self.scales_corrected.into(), self.laurel_rank] {
            e.number(number);
        }
        e.float(self.logit_cap.unwrap_or(0.0));
    }

    /// The first stream is the embedding, times the root of its width; the others are made of it.
    fn embedded(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        let x = g.scale(x, (c.hidden_size as f64).sqrt() as f32);
        self.per_layer.embed(g, c, x);
        let mut others = projected(g, c, "altup_projections", 1, x, x);
        for stream in 2..self.streams {
            let next = projected(g, c, "altup_projections", stream, x, x);
            others = g.join(others, next);
        }
        g.carry(Role::Streams, others);
        x
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let streams = g.carried(Role::Streams).unwrap_or_default();
        let modalities = self.modalities(g, c, layer, x);
        let count = self.streams;
        let mixing = g.linear(modalities, exact(layer, "altup.prediction_coefs", count, count * count));
        let [x, streams] = g.mix_streams([x, streams], mixing);

        let n = g.rms_norm(x, &layer.name("input_layernorm.weight"), c.rms_norm_eps);
        let low_rank = self.laurel(g, c, layer, n);
        let attended = self.attended(g, c, layer, n);
        let y = g.add(x, attended, 1.0);
        let y = g.add(y, low_rank, 1.0);
        let y = g.scale(y, FRAC_1_SQRT_2);
        let mlp = self.mlp(g, c, layer, y);
        let y = g.add(y, mlp, 1.0);

        let modalities = self.modalities(g, c, layer, y);
        let corrections = g.linear(modalities, exact(layer, "altup.correction_coefs", count, count));
        let [own, of_others] = [0..1, 1..count].map(|columns| g.columns(corrections, columns));
        let innovation = g.add(y, x, -1.0);
        let x = g.add_to_streams(x, innovation, Some(own));
        let streams = g.add_to_streams(streams, innovation, Some(of_others));

        let corrected = if self.scales_corrected {
            g.scale_columns(x, layer.weight("altup.correct_output_scale", [c.hidden_size]))
        } else {
            x
        };
        let input = self.per_layer.gated(g, c, layer, corrected, self.activation);
        let streams = g.add_to_streams(streams, input, None);
        g.carry(Role::Streams, streams);
        x
    }

    fn boundary(&self, c: &ModelConfig, layer: usize) -> Boundary {
        let parts = [
            (Role::HiddenStates, c.hidden_size),
            (Role::PerLayerInputs, self.per_layer.width_behind(c, layer)),
            (Role::Streams, (self.streams - 1) * c.hidden_size),
        ];
        Boundary { parts: parts.into_iter().collect(), refused: self.shared.refused_behind(layer) }
    }

    fn leave(&self, g: &mut Builder, c: &ModelConfig, range: Range) {
        self.per_layer.leave(g, c, range);
    }

    /// The norm of the mean of all streams, each of the others as large as the first one.
    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        let streams = g.carried(Role::Streams).unwrap_or_default();
        let streams = g.rows(streams);
        let mut sum = x;
        for stream in 1..self.streams {
            let own = g.columns(streams, (stream - 1) * c.hidden_size..stream * c.hidden_size);
            let own = projected(g, c, "altup_unembed_projections", stream, own, x);
            sum = g.add(sum, own, 1.0);
        }
        let mean = g.scale(sum, 1.0 / self.streams as f32);
        g.norm(mean, Norm::rms(c.rms_norm_eps), Some(Weight::new("model.norm.weight", [c.hidden_size])), None)
    }

    fn logits(&self, g: &mut Builder, _: &ModelConfig, logits: Value) -> Value {
        self.logit_cap.map_or(logits, |cap| g.soft_cap(logits, cap))
    }
}

#[cfg(test)]
mod tests {
    use super::quantile;

    /// As Python's `statistics.NormalDist().inv_cdf` has them.
    #[test]
    fn quantiles_of_the_normal_distribution() {
        let last = 1.0 - f64::from(f32::EPSILON) / 2.0;
        for (p, expected) in [
            (0.5, 0.0),
            (0.95, 1.644_853_627),
            (0.99, 2.326_347_874),
            (0.1, -1.281_551_566),
            (1e-6, -4.753_424_309),
            (last, 5.294_704_085),
        ] {
            let found = f64::from(quantile(p));
            assert!((found - expected).abs() < 1e-6, "{p}: {found}");
        }
    }
}
