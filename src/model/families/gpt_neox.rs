//! GPT-NeoX (Black et al., 2022) and Pythia (Biderman et al., 2023): attention and MLP side by side, each on a layer norm of its own;
//! query, key and value of a head in one fused layer, head by head; and part of each head rotated.

use std::sync::Arc;

use super::activation::{self, activation};
use super::config::{Names, norm_eps};
use super::family::Encoding;
use super::layers::no_window;
use super::plain::{layer_norm, mlp};
use super::rope::RopeDefaults;
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::{Result, bail};
use crate::graph::{Builder, Value};
use crate::kernels::Activation;

pub(super) const GPT_NEOX: Architecture = Architecture {
    model_type: "gpt_neox",
    name: "GPTNeoXForCausalLM",
    covers: "GPT-NeoX 20B, Pythia, Dolly v2, RedPajama-INCITE",
    honours: &[],
    family,
};

#[derive(Debug)]
struct GptNeoX {
    activation: Activation,
    /// `use_parallel_residual`: the MLP reads what the attention reads, not what comes of it.
    parallel: bool,
}

/// Each head has a key and a value of its own, and all heads together are as wide as a hidden state.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    no_window(f, c)?;
    c.kv_heads = c.heads;
    if c.heads * c.head_dim != c.hidden_size {
        bail!(
            Malformed,
            "config.json: num_attention_heads {} x head_dim {} is not hidden_size {}",
            c.heads,
            c.head_dim,
            c.hidden_size
        );
    }
    c.names = Names { embedding: "gpt_neox.embed_in.weight", layers: "gpt_neox.layers" };
    c.rms_norm_eps = norm_eps(f, "layer_norm_eps", 1e-5)?;
    c.rope = RopeDefaults {
        theta_key: "rotary_emb_base",
        partial: Some(0.25),
        partial_key: "rotary_pct",
        ..RopeDefaults::default()
    };
    let bias = f.flag("attention_bias")?.unwrap_or(true);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    Ok(Arc::new(GptNeoX {
        activation: activation(f, "hidden_act", Activation::Gelu)?,
        parallel: f.flag("use_parallel_residual")?.unwrap_or(true),
    }))
}

impl Family for GptNeoX {
    fn encode(&self, e: &mut Encoding) {
        e.text(activation::name(self.activation));
        e.number(self.parallel.into());
    }

    /// `y = x + dense(attention(qkv(norm(x))))`, then `y + mlp(norm(x))`, or `y + mlp(norm(y))` where they are not parallel.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let (hidden, inner) = (c.hidden_size, c.intermediate_size);
        let normed = layer_norm(g, c, x, &layer.name("input_layernorm"));
        let fused = g.linear(normed, layer.linear("attention.query_key_value", hidden, 3 * hidden, c.qkv_bias));
        let qkv = g.split_heads(fused, c.heads);
        let attended = g.attention(qkv, layer.attention(c));
        let y = g.linear_onto(x, attended, layer.linear("attention.dense", hidden, hidden, c.o_bias));

        let read = if self.parallel { x } else { y };
        let normed = layer_norm(g, c, read, &layer.name("post_attention_layernorm"));
        let up = layer.linear("mlp.dense_h_to_4h", hidden, inner, true);
        let down = layer.linear("mlp.dense_4h_to_h", inner, hidden, true);
        mlp(g, y, normed, up, self.activation, down)
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        layer_norm(g, c, x, "gpt_neox.final_layer_norm")
    }
}
