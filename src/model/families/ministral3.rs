//! Ministral 3 (Mistral AI, 2025): Mistral's block, with queries that grow with the position beyond the length of the first training,
//! as in Llama 4.

use std::sync::Arc;

use super::family::Encoding;
use super::layers::{layer_types, on_all, sliding_window};
use super::{Architecture, Family, Fields, Layer, ModelConfig, llama, rope};
use crate::error::{Result, bail};
use crate::graph::{Builder, Temperature, Value};

pub(super) const MINISTRAL3: Architecture = Architecture {
    model_type: "ministral3",
    name: "Ministral3ForCausalLM",
    covers: "Ministral 3, text-only",
    honours: &[],
    family,
};

#[derive(Debug)]
struct Ministral3 {
    temperature: Option<Temperature>,
}

/// Eight key-value heads of 128 by default, and a window on all layers or, where `sliding_window` is absent or null, on none.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    if !f.has("num_key_value_heads") {
        c.kv_heads = 8;
    }
    if !f.has("head_dim") {
        c.head_dim = 128;
    }
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 262_144)?;
    let window = if f.has("sliding_window") { sliding_window(f, 1)? } else { None };
    if layer_types(f, c.layers)?.is_some_and(|slides| slides.contains(&window.is_none())) {
        return Err(f.unsupported("layer_types", "all layers of Ministral 3 slide, or none (sliding_window)"));
    }
    c.windows = on_all(c.layers, window);
    if f.get("rope_parameters").or(f.get("rope_scaling")).is_none() {
        bail!(Malformed, "{} is missing", f.name("rope_parameters"));
    }
    let (beta, period) = rope::query_growth(f, c.max_positions)?;
    let temperature = (beta != 0.0).then_some(Temperature { beta, period, shift: 0.0 });
    Ok(Arc::new(Ministral3 { temperature }))
}

impl Family for Ministral3 {
    fn encode(&self, e: &mut Encoding) {
        e.float(self.temperature.map_or(0.0, |temperature| temperature.beta));
        e.float(self.temperature.map_or(0.0, |temperature| temperature.period));
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let mut attention = layer.attention(c);
        attention.temperature = self.temperature;
        llama::block(g, c, layer, attention, x)
    }
}
