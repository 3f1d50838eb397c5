//! What a model folder says about its model, without touching weights or ONNX Runtime.

use std::path::Path;

use super::shard::read_config;
use crate::error::Result;
use crate::source::Folder;
use crate::tokenizer;

/// The shape of a model, from its config.json.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The architecture, such as `LlamaForCausalLM`.
    pub architecture: String,
    /// Number of layers; the last one's index is one less.
    pub n_layers: u32,
    /// Width of hidden states.
    pub hidden_size: u32,
    /// Number of token ids.
    pub vocab_size: u32,
    /// The longest sequence the model allows.
    pub max_positions: u32,
    /// The ids that end a sequence, in `generation_config.json` and `config.json`: none, one or several.
    pub eos_ids: Vec<u32>,
}

impl ModelInfo {
    /// Reads config.json of the folder `model`, and `generation_config.json` if there is one.
    pub fn read(model: &Path) -> Result<Self> {
        let config = read_config(&Folder::open(model)?, &mut |_| Ok(()))?;
        Ok(Self {
            n_layers: config.layers as u32,
            hidden_size: config.hidden_size as u32,
            vocab_size: config.vocab_size as u32,
            max_positions: config.max_positions as u32,
            eos_ids: tokenizer::declared_eos(model)?,
            architecture: config.architecture,
        })
    }
}
