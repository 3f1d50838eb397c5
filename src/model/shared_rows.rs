//! Layers that read the keys and values of an earlier layer (Gemma 3n, Gemma 4): the last ones of a model, each those of the last layer
//! of its kind that has its own.

use super::family::Encoding;
use super::{Fields, Layer, ModelConfig};
use crate::error::{Result, bail};
use crate::graph::{Attention, Builder, Value};
use crate::kernels::Norm;

const KEY: &str = "num_kv_shared_layers";

/// For each layer the one whose keys and values it reads, if those are not its own.
#[derive(Debug)]
pub(super) struct SharedRows(Vec<Option<usize>>);

impl SharedRows {
    /// `num_kv_shared_layers`, where layers are of two kinds: those for which `slides` is true, and others.
    pub(super) fn read(f: Fields, slides: &[bool], default: usize) -> Result<Self> {
        let layers = slides.len();
        let shared = f.integer(KEY, 0..=layers as u64)?.unwrap_or(default);
        let Some(first) = layers.checked_sub(shared).filter(|first| *first > 0) else {
            bail!(Unsupported, "{} is {shared} of {layers} layers: none would have keys and values", f.name(KEY));
        };
        let source = |layer: usize| {
            let last = (0..first).rev().find(|earlier| slides[*earlier] == slides[layer]);
            match last {
                Some(source) => Ok((layer >= first).then_some(source)),
                None => bail!(
                    Malformed,
                    "{} is {shared}: no layer of the kind of layer {layer} (layer_types) would have keys and values",
                    f.name(KEY)
                ),
            }
        };
        (0..layers).map(source).collect::<Result<_>>().map(Self)
    }

    pub(super) fn encode(&self, e: &mut Encoding) {
        e.number(self.0.iter().flatten().count());
    }

    /// Whether `layer` reads those of another one.
    pub(super) fn is_reader(&self, layer: Layer) -> bool {
        self.0[layer.index].is_some()
    }

    /// Why a model cannot be cut behind `layer`, if it cannot.
    pub(super) fn refused_behind(&self, layer: usize) -> Option<String> {
        let mut readers = self.0.iter().enumerate().filter_map(|(reader, source)| Some((reader, (*source)?)));
        let (reader, source) = readers.find(|(reader, source)| *source <= layer && layer < *reader)?;
        Some(format!("layer {reader} reads the keys and values of layer {source}"))
    }

    /// Attention of `x`, with values that are normalised, too; with keys that are the values where the layer has no projection for them.
    pub(super) fn attended(
        &self,
        g: &mut Builder,
        c: &ModelConfig,
        layer: Layer,
        mut attention: Attention,
        x: Value,
        has_values: bool,
    ) -> Value {
        let project = |g: &mut Builder, part, heads| {
            g.linear(x, layer.linear(part, c.hidden_size, heads * c.head_dim, c.qkv_bias))
        };
        if let Some(source) = self.0[layer.index] {
            attention.key_norm = None;
            let queries = project(g, "self_attn.q_proj", c.heads);
            return g.attention_to(queries, source, attention);
        }
        let [q, k, v] = if has_values {
            layer.qkv(g, c, x)
        } else {
            let [q, k] = [("self_attn.q_proj", c.heads), ("self_attn.k_proj", c.kv_heads)]
                .map(|(part, heads)| project(g, part, heads));
            [q, k, k]
        };
        let v = g.head_norm(v, Norm::rms(c.rms_norm_eps), None, None, c.head_dim);
        g.attention([q, k, v], attention)
    }
}
