//! EXAONE 4 (LG AI Research, 2025): `OLMo` 2's block, with a norm of each query and key head; where some layers slide, the others see
//! everything and know no positions.

use std::sync::Arc;

use super::layers::{sliding_window, windows};
use super::{Architecture, Family, Fields, Layer, ModelConfig, family::Encoding, olmo};
use crate::error::Result;
use crate::graph::{Builder, Value};

pub(super) const EXAONE4: Architecture =
    Architecture { model_type: "exaone4", name: "Exaone4ForCausalLM", covers: "EXAONE 4.0", honours: &[], family };

#[derive(Debug)]
struct Exaone4 {
    /// `sliding_window` is there: only layers that slide are rotated, be there any or not.
    hybrid: bool,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 32)?;
    let window = sliding_window(f, 4096)?;
    let slides = if window.is_some() && f.get("layer_types").is_none() { pattern(f, c.layers)? } else { Vec::new() };
    c.windows = windows(f, c.layers, window, |layer| slides[layer])?;
    Ok(Arc::new(Exaone4 { hybrid: window.is_some() }))
}

/// Which layers slide by `sliding_window_pattern`: with 4, or `LLLG`, all but every fourth.
fn pattern(f: Fields, layers: usize) -> Result<Vec<bool>> {
    const KEY: &str = "sliding_window_pattern";
    if !f.get(KEY).is_some_and(serde_json::Value::is_string) {
        let period = f.integer(KEY, 1..=1 << 20)?.unwrap_or(4);
        return Ok((1..=layers).map(|layer| !layer.is_multiple_of(period)).collect());
    }
    let pattern = f.text(KEY)?.unwrap_or_default();
    let sound = !pattern.is_empty() && pattern.chars().all(|kind| matches!(kind, 'L' | 'G'));
    if !sound {
        return Err(f.wrong(KEY, "letters L and G"));
    }
    let slides: Vec<bool> = pattern.chars().cycle().take(layers).map(|kind| kind == 'L').collect();
    // Some say that the last layer sees everything in any case, some that it does as the pattern says.
    if slides.last() == Some(&true) {
        return Err(f.unsupported(KEY, "its last layer must be G; write layer_types"));
    }
    Ok(slides)
}

impl Family for Exaone4 {
    fn encode(&self, e: &mut Encoding) {
        e.number(self.hybrid.into());
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let mut attention = layer.attention_with_head_norms(c);
        if self.hybrid && attention.shape.window.is_none() {
            attention.shape.rotary_pairs = 0;
        }
        let qkv = layer.qkv(g, c, x);
        olmo::block(g, c, layer, attention, qkv, x)
    }
}
