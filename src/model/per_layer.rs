//! Per-layer embeddings (Gemma 3n, Gemma 4): each token has, besides its embedding, something of its own for every layer, which the
//! first shard finds and every boundary passes on.

use std::f32::consts::FRAC_1_SQRT_2;

use super::config::MAX_WIDTH;
use super::family::Encoding;
use super::{Fields, Layer, ModelConfig, Range};
use crate::error::{Result, bail};
use crate::graph::{Builder, Linear, Role, Value, Weight};
use crate::kernels::{Activation, Gate, Norm};

/// What tokens give to each layer.
#[derive(Debug)]
pub(super) struct PerLayer {
    /// Values for a layer.
    pub width: usize,
    /// Rows of the table.
    pub vocabulary: usize,
    /// Whether tokens that have no row get the first one.
    pub first_for_others: bool,
}

/// What config.json calls a layer's width, and the rows of the table.
const WIDTH: &str = "hidden_size_per_layer_input";
pub(super) const ROWS: &str = "vocab_size_per_layer_input";
/// Values for all layers of a token: far above any model's.
const MOST: usize = 1 << 24;

impl PerLayer {
    /// Those that config.json has, unless they have no width.
    pub(super) fn read(f: Fields, c: &ModelConfig, first_for_others: bool) -> Result<Option<Self>> {
        let width = f.integer(WIDTH, 0..=MAX_WIDTH)?.unwrap_or(256);
        let vocabulary = f.integer(ROWS, 1..=1 << 24)?.unwrap_or(262_144);
        if width * c.layers > MOST {
            bail!(Malformed, "{} is {width}: {} layers have more than {MOST} values", f.name(WIDTH), c.layers);
        }
        Ok((width > 0).then_some(Self { width, vocabulary, first_for_others }))
    }

    pub(super) fn encode(&self, e: &mut Encoding) {
        for number in [self.width, self.vocabulary, self.first_for_others.into()] {
            e.number(number);
        }
    }

    /// Carries `(norm(project(x)) + table[ids]) / sqrt(2)`, all layers side by side; `x` is the embedding.
    pub(super) fn embed(&self, g: &mut Builder, c: &ModelConfig, x: Value) {
        let (width, all) = (self.width, c.layers * self.width);
        let projected = g.linear(x, Linear::new("model.per_layer_model_projection", c.hidden_size, all, false));
        let projected = g.scale(projected, (c.hidden_size as f64).powf(-0.5) as f32);
        let scale = Weight::new("model.per_layer_projection_norm.weight", [width]);
        let projected = g.head_norm(projected, Norm::rms(c.rms_norm_eps), Some(scale), None, width);
        // It is as large as all else together, and a text reads a few rows of it: it stays in its file, as it is stored.
        let table = Weight::new("model.embed_tokens_per_layer.weight", [self.vocabulary, all]).in_place();
        let own = if self.first_for_others { g.embed_or_first(table) } else { g.embed(table) };
        let sum = g.add(projected, own, (width as f64).sqrt() as f32);
        let inputs = g.scale(sum, FRAC_1_SQRT_2);
        g.carry(Role::PerLayerInputs, inputs);
    }

    /// `norm(project(activation(gate(x)) * input))`, with the layer's own input.
    pub(super) fn gated(
        &self,
        g: &mut Builder,
        c: &ModelConfig,
        layer: Layer,
        x: Value,
        activation: Activation,
    ) -> Value {
        let gate = g.linear(x, layer.linear("per_layer_input_gate", c.hidden_size, self.width, false));
        let gate = g.activate(gate, activation);
        let input = self.input(g, c, layer);
        let gated = g.multiply(gate, input, Gate::Plain);
        let y = g.linear(gated, layer.linear("per_layer_projection", self.width, c.hidden_size, false));
        g.rms_norm(y, &layer.name("post_per_layer_input_norm.weight"), c.rms_norm_eps)
    }

    /// What is carried for `layer`.
    fn input(&self, g: &mut Builder, c: &ModelConfig, layer: Layer) -> Value {
        let carried = g.carried(Role::PerLayerInputs).unwrap_or_default();
        let first = c.layers - carried.width / self.width;
        let at = (layer.index - first) * self.width;
        g.columns(carried, at..at + self.width)
    }

    /// The values that pass the boundary behind `layer`.
    pub(super) fn width_behind(&self, c: &ModelConfig, layer: usize) -> usize {
        (c.layers - 1 - layer) * self.width
    }

    /// Leaves out what the layers of the shard have taken.
    pub(super) fn leave(&self, g: &mut Builder, c: &ModelConfig, range: Range) {
        let carried = g.carried(Role::PerLayerInputs).unwrap_or_default();
        let behind = self.width_behind(c, range.end);
        let rest = g.columns(carried, carried.width - behind..carried.width);
        g.carry(Role::PerLayerInputs, rest);
    }
}
