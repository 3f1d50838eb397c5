//! Qwen3-Next (Qwen team, 2025) and Qwen3.5 (2026): most layers keep a matrix for each head, by the gated delta rule (Yang et al., 2024),
//! and the others have attention with a gate on what it gives. Qwen3-Next and the larger models of Qwen3.5 have experts.

use std::sync::Arc;

use super::family::Encoding;
use super::gemma2::norm;
use super::layers::kinds;
use super::qwen_moe::{self, Sparse};
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::{Result, bail};
use crate::graph::{Builder, Value, Weight};
use crate::kernels::{Activation, ConvShape, DeltaShape, Gate, Norm};

pub(super) const QWEN3_NEXT: Architecture = Architecture {
    model_type: "qwen3_next",
    name: "Qwen3NextForCausalLM",
    covers: "Qwen3-Next-80B-A3B, Qwen3-Coder-Next",
    honours: &[],
    family: qwen3_next,
};

pub(super) const QWEN3_5: Architecture = Architecture {
    model_type: "qwen3_5_text",
    name: "Qwen3_5ForCausalLM",
    covers: "the language models of Qwen3.5, Qwen3.6 and Qwen3.8",
    honours: &[],
    family: qwen3_5,
};

pub(super) const QWEN3_5_MOE: Architecture = Architecture {
    model_type: "qwen3_5_moe_text",
    name: "Qwen3_5MoeForCausalLM",
    covers: "the language models of Qwen3.5, Qwen3.6 and Qwen3.8 with experts",
    honours: &[],
    family: qwen3_5_moe,
};

const LINEAR: &str = "linear_attention";
const FULL: &str = "full_attention";

#[derive(Debug)]
struct Qwen3Next {
    /// Whether each layer keeps matrices.
    linear: Vec<bool>,
    delta: DeltaShape,
    /// `linear_conv_kernel_dim`: tokens that the convolution in front of the delta rule sees.
    taps: usize,
    /// Whether projections that lie head by head in one tensor are made at once, as Qwen3-Next has them.
    fused: bool,
    /// `attention_bias`.
    bias: bool,
    sparse: Option<Sparse>,
}

fn qwen3_next(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 2)?;
    let sparse = Sparse::read(f, ["num_experts"; 2], [512, 10, 512], Some(512), true)?;
    configure(f, c, Some(sparse), true)
}

fn qwen3_5(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 4)?;
    configure(f, c, None, false)
}

/// All layers have experts, whose weights add up to one.
fn qwen3_5_moe(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 2)?;
    let experts = qwen_moe::experts(f, ["num_experts"; 2], [256, 8, 512], Some(512), true)?;
    let sparse = Sparse::everywhere(experts);
    c.intermediate_size = sparse.experts.inner;
    configure(f, c, Some(sparse), false)
}

/// What all have in common.
fn configure(f: Fields, c: &mut ModelConfig, sparse: Option<Sparse>, fused: bool) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    c.set_default(f, "head_dim", |c| &mut c.head_dim, 256)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 32_768)?;
    c.rope.partial = Some(0.25);
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    c.o_bias = bias;
    let number = |key, default: usize| Ok(f.integer(key, 1..=1 << 14)?.unwrap_or(default));
    let delta = DeltaShape {
        key_heads: number("linear_num_key_heads", 16)?,
        value_heads: number("linear_num_value_heads", 32)?,
        key_width: number("linear_key_head_dim", 128)?,
        value_width: number("linear_value_head_dim", 128)?,
        eps: 1e-6,
    };
    if !delta.value_heads.is_multiple_of(delta.key_heads) {
        let (name, value) = (f.name("linear_num_value_heads"), delta.value_heads);
        bail!(Malformed, "{name} is {value}, no multiple of linear_num_key_heads {}", delta.key_heads);
    }
    if [delta.state(), delta.row()].iter().any(|values| *values > 1 << 28) {
        bail!(Malformed, "{} is too large with the widths of its heads", f.name("linear_num_value_heads"));
    }
    let linear = if let Some(kinds) = kinds(f, c.layers, &[LINEAR, FULL, "attention"])? {
        kinds.iter().map(|kind| *kind == 0).collect()
    } else {
        let interval = f.integer("full_attention_interval", 1..=1 << 20)?.unwrap_or(4);
        (0..c.layers).map(|layer| !(layer + 1).is_multiple_of(interval)).collect()
    };
    let taps = f.integer("linear_conv_kernel_dim", 2..=64)?.unwrap_or(4);
    Ok(Arc::new(Qwen3Next { linear, delta, taps, fused, bias, sparse }))
}

impl Qwen3Next {
    /// `x + out(norm(delta(conv(q, k, v))) * silu(z))` of the projections of `n`.
    fn linear_attention(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value, n: Value) -> Value {
        let shape = self.delta;
        let [qkv, z, b, a] = if self.fused { self.fused_inputs(g, c, layer, n) } else { self.inputs(g, c, layer, n) };
        let conv = ConvShape {
            row: shape.row(),
            channels: shape.row(),
            taps: self.taps,
            x: 0,
            before: None,
            after: None,
            activation: Some(Activation::Silu),
        };
        let weight = layer.weight("linear_attn.conv1d.weight", [shape.row(), 1, self.taps]).as_matrix();
        let qkv = g.short_conv(qkv, conv, weight, None);
        let of_heads = |part: &str| layer.weight(part, [shape.value_heads]);
        let factors = [of_heads("linear_attn.A_log"), of_heads("linear_attn.dt_bias")];
        let attended = g.gated_delta([qkv, b, a], shape, factors);
        let weight = layer.weight("linear_attn.norm.weight", [shape.value_width]);
        let attended = g.head_norm(attended, Norm::rms(c.rms_norm_eps), Some(weight), None, shape.value_width);
        let attended = g.multiply(attended, z, Gate::Silu);
        let width = shape.value_heads * shape.value_width;
        g.linear_onto(x, attended, layer.linear("linear_attn.out_proj", width, c.hidden_size, false))
    }

    /// Each projection as a tensor of its own: queries, keys and values; the gate; and what decides how much is corrected and forgotten.
    fn inputs(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, n: Value) -> [Value; 4] {
        let DeltaShape { value_heads, value_width, .. } = self.delta;
        let linear = |part: &str, out| layer.linear(&format!("linear_attn.in_proj_{part}"), c.hidden_size, out, false);
        let qkv = g.linear(n, linear("qkv", self.delta.row()));
        let z = g.linear(n, linear("z", value_heads * value_width));
        let [b, a] = ["b", "a"].map(|part| g.linear(n, linear(part, value_heads).exact()));
        [qkv, z, b, a]
    }

    /// The same with two tensors for all of them, key head by key head.
    fn fused_inputs(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, n: Value) -> [Value; 4] {
        let DeltaShape { key_heads, value_heads, key_width, value_width, .. } = self.delta;
        let linear = |part: &str, out| layer.linear(&format!("linear_attn.in_proj_{part}"), c.hidden_size, out, false);
        let together = value_heads / key_heads;
        let values = together * value_width;
        let qkvz = g.linear(n, linear("qkvz", self.delta.row() + value_heads * value_width));
        let parts = [key_width, key_width, values, values];
        let [qkv, z] = g.split_in_two(qkvz, key_heads, &parts, 3, ["qkv", "gate"]);
        let ba = g.linear(n, linear("ba", 2 * value_heads).exact());
        let [b, a] = g.split_in_two(ba, key_heads, &[together; 2], 1, ["corrections", "decays"]);
        [qkv, z, b, a]
    }

    /// `x + o(attention(q, k, v) * sigmoid(gate))`, where one projection gives each head's query and gate.
    fn attention(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value, n: Value) -> Value {
        let linear = |part, out| layer.linear(part, c.hidden_size, out, self.bias);
        let (query, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let queries = g.linear(n, linear("self_attn.q_proj", 2 * query));
        let [q, gate] = g.split_in_two(queries, c.heads, &[c.head_dim; 2], 1, ["query", "gate"]);
        let (k, v) = (g.linear(n, linear("self_attn.k_proj", kv)), g.linear(n, linear("self_attn.v_proj", kv)));
        let mut attention = layer.attention_with_head_norms(c);
        attention.shape.head_norm = Some(norm(c));
        let attended = g.attention([q, k, v], attention);
        let attended = g.multiply(attended, gate, Gate::Sigmoid);
        g.linear_onto(x, attended, layer.o_proj(c))
    }
}

impl Family for Qwen3Next {
    fn encode(&self, e: &mut Encoding) {
        e.number(self.linear.len());
        self.linear.iter().for_each(|is| e.number((*is).into()));
        let DeltaShape { key_heads, value_heads, key_width, value_width, eps } = self.delta;
        for number in [key_heads, value_heads, key_width, value_width] {
            e.number(number);
        }
        e.float(eps);
        for number in [self.taps, self.fused.into(), self.bias.into()] {
            e.number(number);
        }
        if let Some(sparse) = &self.sparse {
            sparse.encode(e);
        }
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let scale = |name: &str| Some(layer.weight(name, [c.hidden_size]));
        let n = g.norm(x, norm(c), scale("input_layernorm.weight"), None);
        let is_linear = self.linear.get(layer.index).is_some_and(|is| *is);
        let x = if is_linear { self.linear_attention(g, c, layer, x, n) } else { self.attention(g, c, layer, x, n) };
        let n = g.norm(x, norm(c), scale("post_attention_layernorm.weight"), None);
        if let Some(sparse) = self.sparse.as_ref().filter(|sparse| sparse.has(layer.index)) {
            return sparse.experts.onto(g, c, layer, x, n);
        }
        let gated = layer.gated(g, c, n, Activation::Silu);
        g.linear_onto(x, gated, layer.down_proj(c))
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        g.norm(x, norm(c), Some(Weight::new("model.norm.weight", [c.hidden_size])), None)
    }
}
