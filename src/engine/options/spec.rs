//! Which shard of which model.

/// Which shard of which model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShardSpec {
    /// A model folder with config.json, safetensors files and, for text, tokenizer.json; or the name of a model on the hub, `name` or
    /// `org/name`. The files of a model on the hub come from the hub's cache, and from the hub if the cache does not have them.
    pub model: String,
    /// Branch, tag or commit of a model on the hub. `None`: `main`.
    pub revision: Option<String>,
    /// First layer, from 0.
    pub first_layer: u32,
    /// Last layer, **inclusive**. [`ShardSpec::LAST`]: the model's last.
    pub last_layer: u32,
    /// Layers of the whole model. 0: as config.json says. Any other number than the model's is an error.
    pub layer_count: u32,
}

impl ShardSpec {
    /// Stands for the model's last layer.
    pub const LAST: u32 = u32::MAX;

    /// All layers of `model`.
    pub fn whole(model: impl Into<String>) -> Self {
        Self::layers(model, 0, Self::LAST)
    }

    /// Layers `first..=last` of `model`.
    pub fn layers(model: impl Into<String>, start: u32, end: u32) -> Self {
        Self { model: model.into(), revision: None, first_layer: start, last_layer: end, layer_count: 0 }
    }
}
