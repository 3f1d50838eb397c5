//! What a model says about itself, without touching weights or ONNX Runtime: its shape and its tokenizer.

use std::path::Path;

use super::blueprint::read_config;
use super::sampling::published_sampling;
use crate::error::Result;
use crate::sampler::SamplerOptions;
use crate::source::{Folder, ModelFiles, OnTransfer};
use crate::tokenizer;

/// The shape of a model, from its config.json.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The architecture, such as `LlamaForCausalLM`.
    pub architecture: String,
    /// Number of layers; the last one's index is one less.
    pub layer_count: u32,
    /// Width of hidden states.
    pub hidden_size: u32,
    /// Number of token ids.
    pub vocab_size: u32,
    /// The longest sequence the model allows.
    pub max_positions: u32,
    /// The ids that end a sequence, in `generation_config.json`, else in `config.json`: none, one or several.
    pub eos_ids: Vec<u32>,
}

impl ModelInfo {
    /// Reads config.json of the folder `model`, and `generation_config.json` if there is one. For a model that is no
    /// folder: [`Engine::model_info`](crate::Engine::model_info).
    pub fn read(model: &Path) -> Result<Self> {
        Self::of(&Folder::open(model)?, &mut |_| Ok(()))
    }

    /// How the folder `model` wants its tokens chosen: the options that its `generation_config.json` asks for, as transformers'
    /// `generate` reads it, among them the tokens that end a text. Of the random stream it says nothing. For a model that is no
    /// folder: [`Engine::published_sampling`](crate::Engine::published_sampling).
    ///
    /// # Errors
    /// `Unsupported`, naming the key, for a way to choose that this library does not know; `Malformed`.
    pub fn published_sampling(model: &Path) -> Result<SamplerOptions> {
        published_sampling(&Folder::open(model)?, &mut |_| Ok(()))
    }

    /// The shape of the model of `files`.
    pub(crate) fn of(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<Self> {
        let config = read_config(files, on)?;
        Ok(Self {
            layer_count: config.layers as u32,
            hidden_size: config.hidden_size as u32,
            vocab_size: config.vocab_size as u32,
            max_positions: config.max_positions as u32,
            eos_ids: tokenizer::declared_eos(files, on)?,
            architecture: config.architecture.to_owned(),
        })
    }
}
