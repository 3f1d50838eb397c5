//! Falcon-H1 (TII, 2025): attention and Mamba-2 (Dao and Gu, 2024) side by side in every layer, and a factor on almost every value, as
//! maximal update parametrisation (Yang et al., 2022) has them.

use std::sync::Arc;

use super::config::norm_eps;
use super::experts::factor;
use super::family::Encoding;
use super::layers::listed;
use super::mamba2::{self, GatedNorm, Mamba2};
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::{Activation, Gate};

pub(super) const FALCON_H1: Architecture = Architecture {
    model_type: "falcon_h1",
    name: "FalconH1ForCausalLM",
    covers: "Falcon-H1 (0.5B, 1.5B, 1.5B-Deep, 3B, 7B, 34B), Falcon-H1R, Falcon-H1-Tiny",
    honours: &[],
    family,
};

#[derive(Debug)]
struct FalconH1 {
    mamba: Mamba2,
    /// `embedding_multiplier` and `lm_head_multiplier`: of the embedding, and of the logits.
    embedding: f32,
    head: f32,
    /// `key_multiplier`.
    keys: f32,
    /// `attention_in_multiplier` and `attention_out_multiplier`.
    attention: [f32; 2],
    /// `ssm_in_multiplier` and `ssm_out_multiplier`.
    states: [f32; 2],
    /// `mlp_multipliers`: of the gate, and of all.
    mlp: [f32; 2],
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    for key in ["layer_types", "layers_block_type"] {
        listed(f, key, &["hybrid"])?;
    }
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 8192)?;
    if !f.has("num_key_value_heads") {
        c.kv_heads = 8;
    }
    c.rms_norm_eps = norm_eps(f, "rms_norm_eps", 1e-5)?;
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.mlp_bias = f.flag("mlp_bias")?.unwrap_or(false);

    let inner = match f.get("mamba_d_ssm") {
        None if f.has("mamba_d_ssm") => c.hidden_size * mamba2::number(f, "mamba_expand", 2)?,
        _ => mamba2::number(f, "mamba_d_ssm", 1024)?,
    };
    let norm = match (f.flag("mamba_rms_norm")?.unwrap_or(false), mamba2::holds(f, "mamba_norm_before_gate")?) {
        (false, _) => GatedNorm::Absent,
        (true, true) => GatedNorm::BeforeGate,
        (true, false) => GatedNorm::BehindGate,
    };
    let out_bias = f.flag("projectors_bias")?.unwrap_or(false);
    let one = |key| factor(f, key, 1.0);
    Ok(Arc::new(FalconH1 {
        mamba: Mamba2 { norm, out_bias, factors: factors(f, "ssm_multipliers")?, ..Mamba2::read(f, inner)? },
        embedding: one("embedding_multiplier")?,
        head: one("lm_head_multiplier")?,
        keys: one("key_multiplier")?,
        attention: [one("attention_in_multiplier")?, one("attention_out_multiplier")?],
        states: [one("ssm_in_multiplier")?, one("ssm_out_multiplier")?],
        mlp: factors(f, "mlp_multipliers")?.unwrap_or([1.0; 2]),
    }))
}

/// A list of `N` factors.
fn factors<const N: usize>(f: Fields, key: &str) -> Result<Option<[f32; N]>> {
    let Some(value) = f.get(key) else { return Ok(None) };
    let number = |value: &serde_json::Value| value.as_f64().filter(|number| number.abs() <= 1e9);
    let numbers: Option<Vec<f32>> =
        value.as_array().and_then(|list| list.iter().map(|value| number(value).map(|number| number as f32)).collect());
    let numbers = numbers.and_then(|numbers| <[f32; N]>::try_from(numbers).ok());
    numbers.map(Some).ok_or_else(|| f.wrong(key, &format!("a list of {N} numbers from -1e9 to 1e9")))
}

/// `factor * x`.
#[allow(clippy::float_cmp, reason = "times exactly one is the same")]
fn scaled(g: &mut Builder, x: Value, factor: f32) -> Value {
    if factor == 1.0 { x } else { g.scale(x, factor) }
}

impl Family for FalconH1 {
    fn encode(&self, e: &mut Encoding) {
        self.mamba.encode(e);
        let pairs = [self.attention, self.states, self.mlp];
        for factor in [self.embedding, self.head, self.keys].iter().chain(pairs.iter().flatten()) {
            e.float(*factor);
        }
    }

    fn embedded(&self, g: &mut Builder, _: &ModelConfig, x: Value) -> Value {
        scaled(g, x, self.embedding)
    }

    /// `x + mamba(n) + attention(n)` with `n = norm(x)`, then `x + mlp(norm(x))`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let n = g.rms_norm(x, &layer.name("input_layernorm.weight"), c.rms_norm_eps);
        let input = scaled(g, n, self.states[0]);
        let mixed = self.mamba.mixed(g, c, layer, input);
        let mixed = g.linear(mixed, self.mamba.out(c, layer));
        let x = g.add(x, mixed, self.states[1]);

        let mut attention = layer.attention(c);
        // A factor on every key is one on every score.
        attention.shape.scale *= self.keys;
        let input = scaled(g, n, self.attention[0]);
        let qkv = layer.qkv(g, c, input);
        let attended = g.attention(qkv, attention);
        let attended = g.linear(attended, layer.o_proj(c));
        let x = g.add(x, attended, self.attention[1]);

        let n = g.rms_norm(x, &layer.name("pre_ff_layernorm.weight"), c.rms_norm_eps);
        let y = self.mlp(g, c, layer, n);
        g.add(x, y, self.mlp[1])
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        g.rms_norm(x, "model.final_layernorm.weight", c.rms_norm_eps)
    }

    fn logits(&self, g: &mut Builder, _: &ModelConfig, logits: Value) -> Value {
        scaled(g, logits, self.head)
    }
}

impl FalconH1 {
    /// `down(silu(factor * gate(n)) * up(n))`.
    #[allow(clippy::float_cmp, reason = "times exactly one is the same")]
    fn mlp(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, n: Value) -> Value {
        let (hidden, inner) = (c.hidden_size, c.intermediate_size);
        let linear = |part, input, out| layer.linear(part, input, out, c.mlp_bias);
        let [gate, up] = ["feed_forward.gate_proj", "feed_forward.up_proj"].map(|part| linear(part, hidden, inner));
        let gated = if self.mlp[0] == 1.0 {
            g.gated(n, gate, up, Activation::Silu)
        } else {
            let (gate, up) = (g.linear(n, gate), g.linear(n, up));
            let gate = g.scale(gate, self.mlp[0]);
            g.multiply(up, gate, Gate::Silu)
        };
        g.linear(gated, linear("feed_forward.down_proj", inner, hidden))
    }
}
