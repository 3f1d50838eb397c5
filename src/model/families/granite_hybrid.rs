//! Granite 4 (IBM, 2025): Granite 3 with Mamba-2 (Dao and Gu, 2024) in place of most attention layers, no rotation in the others, and
//! an MLP beside the experts, or alone.

use std::sync::Arc;

use super::experts::{self, Experts};
use super::family::Encoding;
use super::granite::{self, Factors};
use super::layers::listed;
use super::mamba2::{self, Mamba2};
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::{Result, bail};
use crate::graph::{Builder, Value};
use crate::kernels::Activation;

pub(super) const GRANITE_HYBRID: Architecture = Architecture {
    model_type: "granitemoehybrid",
    name: "GraniteMoeHybridForCausalLM",
    covers: "Granite 4.0 (Micro, H-Micro, H-Tiny, H-Small, 350M, 1B and their H models)",
    honours: &[],
    family,
};

#[derive(Debug)]
struct GraniteHybrid {
    factors: Factors,
    mamba: Mamba2,
    /// Whether each layer is one of them.
    is_mamba: Vec<bool>,
    /// `position_embedding_type`: whether attention rotates.
    rotates: bool,
    /// `shared_intermediate_size`: the inner width of the MLP.
    shared: usize,
    /// Beside the MLP.
    experts: Option<Experts>,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    let factors = Factors::read(f, c)?;
    c.set_default(f, "intermediate_size", |c| &mut c.intermediate_size, 11_008)?;
    let experts = granite::experts(f, c, factors.residual, 0)?;
    let inner = c.hidden_size * mamba2::number(f, "mamba_expand", 2)?;
    Ok(Arc::new(GraniteHybrid {
        factors,
        mamba: Mamba2::read(f, inner)?,
        is_mamba: is_mamba(f, c.layers)?,
        rotates: f.get("position_embedding_type").is_some_and(|kind| *kind == "rope"),
        shared: f.integer("shared_intermediate_size", 1..=experts::MAX_NUMBER)?.unwrap_or(1024),
        experts: (experts.count > 0).then_some(experts),
    }))
}

/// The kind of each layer, under either of two keys, and by the names of either version.
fn is_mamba(f: Fields, layers: usize) -> Result<Vec<bool>> {
    const KINDS: [&str; 4] = ["mamba", "linear_attention", "attention", "full_attention"];
    let [types, blocks] = ["layer_types", "layers_block_type"].map(|key| listed(f, key, &KINDS));
    let is_mamba = |kinds: Vec<usize>| kinds.into_iter().map(|kind| kind < 2).collect::<Vec<_>>();
    let (types, blocks) = (types?.map(is_mamba), blocks?.map(is_mamba));
    if let (Some(types), Some(blocks)) = (&types, &blocks)
        && types != blocks
    {
        bail!(Malformed, "{} is another list than layer_types; keep the right one", f.name("layers_block_type"));
    }
    let key = if types.is_some() { "layer_types" } else { "layers_block_type" };
    let kinds = types.or(blocks).unwrap_or_else(|| vec![true; layers]);
    if kinds.len() != layers {
        bail!(Malformed, "{} has {} entries, num_hidden_layers is {layers}", f.name(key), kinds.len());
    }
    Ok(kinds)
}

impl Family for GraniteHybrid {
    fn encode(&self, e: &mut Encoding) {
        self.factors.encode(e);
        self.mamba.encode(e);
        e.number(self.is_mamba.len());
        self.is_mamba.iter().for_each(|is| e.number((*is).into()));
        e.number(self.rotates.into());
        e.number(self.shared);
        if let Some(experts) = &self.experts {
            experts.encode(e);
        }
    }

    fn embedded(&self, g: &mut Builder, _: &ModelConfig, x: Value) -> Value {
        g.scale(x, self.factors.embedding)
    }

    /// `x + residual * mamba(norm(x))` or the same of attention, then `x + residual * (mlp(norm(x)) + experts(norm(x)))`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let residual = self.factors.residual;
        let n = g.rms_norm(x, &layer.name("input_layernorm.weight"), c.rms_norm_eps);
        let x = if self.is_mamba.get(layer.index).is_some_and(|is| *is) {
            let mixed = self.mamba.mixed(g, c, layer, n);
            let mixed = g.linear(mixed, self.mamba.out(c, layer));
            g.add(x, mixed, residual)
        } else {
            let mut attention = layer.attention(c);
            if !self.rotates {
                attention.shape.rotary_pairs = 0;
            }
            self.factors.attention(g, c, layer, attention, x, n)
        };

        let n = g.rms_norm(x, &layer.name("post_attention_layernorm.weight"), c.rms_norm_eps);
        let both = layer.linear("shared_mlp.input_linear", c.hidden_size, 2 * self.shared, false);
        let gated = g.gated(n, both.rows(0..self.shared), both.rows(self.shared..2 * self.shared), Activation::Silu);
        let y = g.linear(gated, layer.linear("shared_mlp.output_linear", self.shared, c.hidden_size, false));
        let x = g.add(x, y, residual);
        self.experts.as_ref().map_or(x, |experts| experts.onto(g, c, layer, x, n))
    }

    fn logits(&self, g: &mut Builder, _: &ModelConfig, logits: Value) -> Value {
        g.scale(logits, 1.0 / self.factors.logits)
    }
}
