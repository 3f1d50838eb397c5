//! Phi 1, 1.5 and 2 (Gunasekar et al., 2023): attention and MLP side by side on one layer norm, a bias everywhere, an MLP without a
//! gate, and part of each head rotated.

use std::sync::Arc;

use super::activation::{self, activation};
use super::config::norm_eps;
use super::family::Encoding;
use super::layers::no_window;
use super::plain::{layer_norm, mlp};
use super::rope::RopeDefaults;
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::{Activation, Norm};

pub(super) const PHI: Architecture =
    Architecture { model_type: "phi", name: "PhiForCausalLM", covers: "Phi-1, Phi-1.5, Phi-2", honours: &[], family };

#[derive(Debug)]
struct Phi {
    activation: Activation,
    /// `qk_layernorm`: query and key heads are normalised.
    head_norms: bool,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    no_window(f, c)?;
    c.rms_norm_eps = norm_eps(f, "layer_norm_eps", 1e-5)?;
    c.rope = RopeDefaults { partial: Some(0.5), ..RopeDefaults::default() };
    (c.qkv_bias, c.head_bias) = (true, true);
    Ok(Arc::new(Phi {
        activation: activation(f, "hidden_act", Activation::GeluTanh)?,
        head_norms: f.flag("qk_layernorm")?.unwrap_or(false),
    }))
}

impl Family for Phi {
    fn encode(&self, e: &mut Encoding) {
        e.text(activation::name(self.activation));
        e.number(self.head_norms.into());
    }

    /// `x + dense(attention(q(n), k(n), v(n))) + fc2(gelu(fc1(n)))` with `n = norm(x)`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let (hidden, inner) = (c.hidden_size, c.intermediate_size);
        let normed = layer_norm(g, c, x, &layer.name("input_layernorm"));
        let [mut query, mut key, value] = layer.qkv(g, c, normed);
        if self.head_norms {
            [query, key] = [(query, "q"), (key, "k")].map(|(x, which)| {
                let [weight, bias] = ["weight", "bias"]
                    .map(|part| layer.weight(&format!("self_attn.{which}_layernorm.{part}"), [c.head_dim]));
                g.head_norm(x, Norm::layer(c.rms_norm_eps), Some(weight), Some(bias), c.head_dim)
            });
        }
        let attended = g.attention([query, key, value], layer.attention(c));
        let x = g.linear_onto(x, attended, layer.linear("self_attn.dense", c.heads * c.head_dim, hidden, true));
        let (up, down) = (layer.linear("mlp.fc1", hidden, inner, true), layer.linear("mlp.fc2", inner, hidden, true));
        mlp(g, x, normed, up, self.activation, down)
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        layer_norm(g, c, x, "model.final_layernorm")
    }
}
