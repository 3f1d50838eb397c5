//! What a caller can ask about a shard.

use crate::engine::inspect::Blueprint;
use crate::engine::io::Logits;
use crate::engine::options::{Device, Target};
use crate::engine::recipe::Loaded;
use crate::kept::KeptShape;
use crate::kernels::{Dtype, Layout, Packing};

/// What a shard is, and what memory it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardInfo {
    /// The model's architecture, such as `LlamaForCausalLM`.
    pub architecture: String,
    /// First layer, from 0.
    pub first_layer: u32,
    /// Last layer, **inclusive**.
    pub last_layer: u32,
    /// Layers of the whole model.
    pub layer_count: u32,
    /// Whether the shard starts at layer 0 and takes token ids, not hidden states.
    pub is_first: bool,
    /// Whether the shard ends at the last layer and gives logits, not hidden states.
    pub is_last: bool,
    /// Width of hidden states.
    pub hidden_size: u32,
    /// Number of token ids, and width of logits.
    pub vocab_size: u32,
    /// The longest sequence the model allows.
    pub max_positions: u32,
    /// Element type of most weights, as stored or packed.
    pub weight_type: WeightType,
    /// Bytes of weights, as stored.
    pub weight_bytes: u64,
    /// Bytes of KV cache that a token takes.
    pub kv_bytes_per_token: u64,
    /// The device that the shard runs on.
    pub device: Device,
    /// The device that [`EngineOptions::device`](super::EngineOptions::device) or `ORTSHARD_DEVICE` asked for. If this is neither
    /// [`Auto`](Device::Auto) nor [`device`](Self::device), the processor has taken that device's place.
    pub requested_device: Device,
    /// Nodes of the shard's graph, as ONNX Runtime has placed them.
    pub nodes: u32,
    /// Nodes that run on the processor. On another device these are the nodes that its execution provider does not take.
    pub cpu_nodes: u32,
    /// How many tokens a text may have for the model to rotate its positions as in short texts; longer ones are rotated at other
    /// frequencies, all their tokens (`LongRoPE`). 0: the model makes no difference. See
    /// [`RequestOptions::long_context`](super::RequestOptions::long_context).
    pub short_context: u32,
    /// Parts that come in at a time: 1 for ids and for hidden states alone.
    pub input_parts: u32,
    /// Parts that come out at a time: 1 for logits and for hidden states alone.
    pub output_parts: u32,
}

/// Element type of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightType {
    /// 32 bit floating point.
    F32,
    /// IEEE 16 bit floating point.
    F16,
    /// The upper half of an F32.
    Bf16,
    /// 8 bits, and a scale for each block of weights.
    Int8,
    /// 4 bits, and a scale for each block of weights.
    Int4,
    /// Four-bit floats, and a scale for each 32 of a row, as the checkpoint has them.
    Mxfp4,
    /// Eight-bit floats, and a scale for each block of rows and columns, as the checkpoint has them.
    Fp8,
}

impl ShardInfo {
    /// The info of the shard of `blueprint`, which is `loaded`.
    pub(crate) fn new(blueprint: &Blueprint, loaded: &Loaded, kept: &KeptShape, target: &Target) -> Self {
        let Blueprint { config, range, graph } = blueprint;
        let Loaded { session, weights, .. } = loaded;
        Self {
            architecture: config.architecture.to_owned(),
            first_layer: range.start as u32,
            last_layer: range.end as u32,
            layer_count: range.layers as u32,
            is_first: range.is_first(),
            is_last: range.is_last(),
            hidden_size: config.hidden_size as u32,
            vocab_size: config.vocab_size as u32,
            max_positions: config.max_positions as u32,
            weight_type: match weights.layout() {
                Some(Layout::Rows(Dtype::F16)) => WeightType::F16,
                Some(Layout::Rows(Dtype::BF16)) => WeightType::Bf16,
                Some(Layout::Rows(Dtype::F32)) | None => WeightType::F32,
                Some(Layout::Tiles(Packing::Int4 | Packing::Int4Fine)) => WeightType::Int4,
                Some(Layout::Mxfp4(_) | Layout::Scales) => WeightType::Mxfp4,
                Some(Layout::Fp8(_)) => WeightType::Fp8,
                Some(Layout::Tiles(Packing::Int8 | Packing::Int8Fine)) => WeightType::Int8,
            },
            weight_bytes: weights.bytes(),
            kv_bytes_per_token: session.kv_bytes_per_token(kept),
            device: session.device,
            requested_device: target.requested,
            nodes: session.placement.nodes as u32,
            cpu_nodes: session.placement.cpu_nodes as u32,
            short_context: config.border().unwrap_or(0) as u32,
            input_parts: graph.input.widths().len().max(1) as u32,
            output_parts: graph.output.tensors().len() as u32,
        }
    }
    /// The `[rows, width]` of what a call of so many tokens gives.
    pub(crate) fn output_shape(&self, tokens: usize, logits: Logits) -> (usize, usize) {
        match (self.is_last, logits) {
            (false, _) => (tokens, self.hidden_size as usize),
            (true, Logits::Last) => (1, self.vocab_size as usize),
            (true, Logits::All) => (tokens, self.vocab_size as usize),
            (true, Logits::None) => (0, self.vocab_size as usize),
        }
    }
}
