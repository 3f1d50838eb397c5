//! What a model family is to the rest of the library.

use std::fmt::Debug;
use std::sync::Arc;

use super::fields::Fields;
use super::{Boundary, ModelConfig, Range};
use crate::error::Result;
use crate::graph::{Attention, Builder, Linear, Value, Weight};
use crate::kernels::{Activation, AttentionShape, Norm, Rotation};

/// A family as config.json names it.
pub(crate) struct Architecture {
    /// `model_type` in config.json.
    pub model_type: &'static str,
    /// The name of its class in transformers.
    pub name: &'static str,
    /// Published models, for the lists in the documents. Those whose config.json differs in values only need no class of their own.
    #[cfg_attr(not(test), expect(dead_code, reason = "the documents are made from it, by a test"))]
    pub covers: &'static str,
    /// Keys that other families are refused with, or that all others read as one number, and this one reads on its own.
    pub honours: &'static [&'static str],
    /// Reads the keys that this family treats in its own way, into the numbers that all share and into its own.
    pub family: fn(Fields, &mut ModelConfig) -> Result<Arc<dyn Family>>,
}

/// What one model family computes its own way. Where nothing is said it is as in Llama.
pub(crate) trait Family: Debug + Send + Sync {
    /// The numbers of config.json that only this family has, for the [identity](crate::engine) of what is computed: whoever adds
    /// one decides whether it changes a result.
    fn encode(&self, to: &mut Encoding);

    /// The embedding as the first layer takes it.
    fn embedded(&self, _: &mut Builder, _: &ModelConfig, x: Value) -> Value {
        x
    }

    /// One layer applied to `x`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value;

    /// What passes the boundary behind `layer`, which is not the last, and whether the model may be cut there.
    fn boundary(&self, c: &ModelConfig, _layer: usize) -> Boundary {
        Boundary::hidden_states(c.hidden_size)
    }

    /// Makes of what the shard's layers have carried, besides hidden states, what passes the boundary behind the shard.
    fn leave(&self, _: &mut Builder, _: &ModelConfig, _: Range) {}

    /// The norm in front of the head.
    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        g.rms_norm(x, "model.norm.weight", c.rms_norm_eps)
    }

    /// The logits as the output head gives them.
    fn logits(&self, _: &mut Builder, _: &ModelConfig, logits: Value) -> Value {
        logits
    }
}

/// One layer of a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer {
    /// Its number in the whole model.
    pub index: usize,
    /// What the checkpoint calls the module that holds the layers.
    pub module: &'static str,
    /// Rows and columns of the blocks of its linear layers, if they are stored as eight-bit floats.
    pub blocks: Option<[usize; 2]>,
}

impl Layer {
    /// The full name of the layer's module or tensor `part`.
    pub(crate) fn name(self, part: &str) -> String {
        format!("{}.{}.{part}", self.module, self.index)
    }

    /// The linear layer `part`.
    pub(crate) fn linear(self, part: &str, input: usize, out: usize, bias: bool) -> Linear {
        let linear = Linear::new(&self.name(part), input, out, bias);
        Linear { weight: self.stored(linear.weight), ..linear }
    }

    /// The matrix of a linear layer as the checkpoint stores those.
    pub(crate) fn stored(self, weight: Weight) -> Weight {
        if let Some(blocks) = self.blocks { weight.fp8(blocks) } else { weight }
    }

    /// The tensor `part`.
    pub(crate) fn weight(self, part: &str, shape: impl Into<Vec<usize>>) -> Weight {
        Weight::new(self.name(part), shape)
    }

    /// The query, key and value projections of `x`, each a tensor of its own.
    pub(crate) fn qkv(self, g: &mut Builder, c: &ModelConfig, x: Value) -> [Value; 3] {
        let (hidden, query, kv) = (c.hidden_size, c.heads * c.head_dim, c.kv_heads * c.head_dim);
        g.qkv(
            x,
            [
                self.linear("self_attn.q_proj", hidden, query, c.qkv_bias),
                self.linear("self_attn.k_proj", hidden, kv, c.qkv_bias),
                self.linear("self_attn.v_proj", hidden, kv, c.qkv_bias),
            ],
        )
    }

    /// The attention that most families share: the model's first rotation, the layer's window, `1 / sqrt(head_dim)`, and no more.
    pub(crate) fn attention(self, c: &ModelConfig) -> Attention {
        self.attention_rotated(c, 0)
    }

    /// The same with the rotation `c.ropes[rope]`. A layer without any sets `shape.rotary_pairs` to 0.
    pub(crate) fn attention_rotated(self, c: &ModelConfig, rope: usize) -> Attention {
        let shape = AttentionShape {
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            rotary_pairs: c.ropes.get(rope).map_or(0, super::Rope::pairs),
            rotation: Rotation::Halves,
            latent: None,
            scale: 1.0 / (c.head_dim as f32).sqrt(),
            window: c.windows.get(self.index).copied().flatten(),
            soft_cap: None,
            head_norm: None,
            norm_after_rotation: false,
        };
        Attention {
            layer: self.index,
            shape,
            rope,
            border: c.ropes.get(rope).and_then(super::Rope::border),
            query_norm: None,
            key_norm: None,
            sinks: None,
            temperature: None,
        }
    }

    /// The attention that most families share, with norms on each query and key head, as Qwen3 has them.
    pub(crate) fn attention_with_head_norms(self, c: &ModelConfig) -> Attention {
        let mut attention = self.attention(c);
        attention.shape.head_norm = Some(Norm::rms(c.rms_norm_eps));
        attention.query_norm = Some(self.weight("self_attn.q_norm.weight", [c.head_dim]));
        attention.key_norm = Some(self.weight("self_attn.k_norm.weight", [c.head_dim]));
        attention
    }

    /// The projection behind the attention.
    pub(crate) fn o_proj(self, c: &ModelConfig) -> Linear {
        self.linear("self_attn.o_proj", c.heads * c.head_dim, c.hidden_size, c.o_bias)
    }

    /// The MLP's first half: `activation(gate(x)) * up(x)`.
    pub(crate) fn gated(self, g: &mut Builder, c: &ModelConfig, x: Value, activation: Activation) -> Value {
        let linear = |part| self.linear(part, c.hidden_size, c.intermediate_size, c.mlp_bias);
        g.gated(x, linear("mlp.gate_proj"), linear("mlp.up_proj"), activation)
    }

    /// The same with gate and up as the halves of one tensor.
    pub(crate) fn gated_fused(self, g: &mut Builder, c: &ModelConfig, x: Value, activation: Activation) -> Value {
        let inner = c.intermediate_size;
        let fused = self.linear("mlp.gate_up_proj", c.hidden_size, 2 * inner, c.mlp_bias);
        g.gated(x, fused.rows(0..inner), fused.rows(inner..2 * inner), activation)
    }

    /// The MLP's second half.
    pub(crate) fn down_proj(self, c: &ModelConfig) -> Linear {
        self.linear("mlp.down_proj", c.intermediate_size, c.hidden_size, c.mlp_bias)
    }
}

/// Bytes that say what is computed, field by field: what the identity of a shard is made of.
#[derive(Debug, Default)]
pub(crate) struct Encoding(pub Vec<u8>);

impl Encoding {
    /// 8 bytes, little-endian.
    pub(crate) fn number(&mut self, number: usize) {
        self.0.extend_from_slice(&(number as u64).to_le_bytes());
    }

    /// The number of its bytes, and these.
    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    /// The bits of a number as float32.
    pub(crate) fn float(&mut self, value: f32) {
        self.number(value.to_bits() as usize);
    }

    /// A number that was computed: its bits as float32 but for the last 8, so that it is the same whatever system's `pow` and `log`
    /// it comes from.
    pub(crate) fn computed(&mut self, value: f32) {
        self.number((value.to_bits().saturating_add(1 << 7) >> 8) as usize);
    }
}
