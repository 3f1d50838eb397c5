//! Llama (Touvron et al., 2023; Llama 3 herd, 2024).

use super::config::MAX_POSITIONS;
use super::layers::layer_types;
use super::{Architecture, Fields, ModelConfig, Range, attention};
use crate::error::Result;
use crate::graph::{Builder, HeadNorm, Linear, Value};

pub(super) const LLAMA: Architecture = Architecture { model_type: "llama", name: "LlamaForCausalLM", configure, block };

/// `attention_bias` puts a bias on q, k, v and o; `mlp_bias` on gate, up and down.
fn configure(f: Fields, c: &mut ModelConfig) -> Result<()> {
    no_window(f, c)?;
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.mlp_bias = f.flag("mlp_bias")?.unwrap_or(false);
    Ok(())
}

/// Transformers' Llama has no window, but its cache drops what lies before one all the same.
fn no_window(f: Fields, c: &ModelConfig) -> Result<()> {
    let window = f.integer_or_null("sliding_window", 1..=MAX_POSITIONS)?;
    if window.is_some_and(|window| window < c.max_positions) {
        return Err(f.unsupported("sliding_window", "Llama has none; for a window write model_type mistral"));
    }
    if layer_types(f, c.layers)?.is_some_and(|slides| slides.contains(&true)) {
        return Err(f.unsupported("layer_types", "no layer of Llama slides"));
    }
    Ok(())
}

/// Attention, then the MLP, each normed in front and added to the residual stream.
pub(super) fn block(g: &mut Builder, c: &ModelConfig, range: Range, layer: usize, x: Value) -> Value {
    let x = self_attention(g, c, range, layer, x, None);
    mlp(g, c, layer, x)
}

/// `x + o(attention(q(n), k(n), v(n)))` with `n = norm(x)`.
pub(super) fn self_attention(
    g: &mut Builder,
    c: &ModelConfig,
    range: Range,
    layer: usize,
    x: Value,
    head_norm: Option<HeadNorm>,
) -> Value {
    let name = |part: &str| format!("model.layers.{layer}.{part}");
    let (hidden, query, kv) = (c.hidden_size, c.heads * c.head_dim, c.kv_heads * c.head_dim);

    let normed = g.rms_norm(x, &name("input_layernorm.weight"), c.rms_norm_eps);
    let qkv = g.qkv(
        normed,
        [
            Linear::new(&name("self_attn.q_proj"), hidden, query, c.qkv_bias),
            Linear::new(&name("self_attn.k_proj"), hidden, kv, c.qkv_bias),
            Linear::new(&name("self_attn.v_proj"), hidden, kv, c.qkv_bias),
        ],
    );
    let attended = g.attention(qkv, attention(c, range, layer, head_norm));
    g.linear_onto(x, attended, Linear::new(&name("self_attn.o_proj"), query, hidden, c.o_bias))
}

/// `x + down(silu(gate(n)) * up(n))` with `n = norm(x)`.
pub(super) fn mlp(g: &mut Builder, c: &ModelConfig, layer: usize, x: Value) -> Value {
    let name = |part: &str| format!("model.layers.{layer}.{part}");
    let (hidden, inner) = (c.hidden_size, c.intermediate_size);

    let normed = g.rms_norm(x, &name("post_attention_layernorm.weight"), c.rms_norm_eps);
    let gated = g.swiglu(
        normed,
        Linear::new(&name("mlp.gate_proj"), hidden, inner, c.mlp_bias),
        Linear::new(&name("mlp.up_proj"), hidden, inner, c.mlp_bias),
    );
    g.linear_onto(x, gated, Linear::new(&name("mlp.down_proj"), inner, hidden, c.mlp_bias))
}
