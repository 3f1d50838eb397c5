//! What a model says about itself, without touching weights or ONNX Runtime: its shape and its tokenizer.

use std::path::Path;

use crate::engine::Engine;
use crate::engine::load::{OnProgress, Report, Stage};
use crate::engine::options::ShardSpec;
use crate::engine::shard::read_config;
use crate::error::Result;
use crate::source::{self, Folder, ModelFiles, OnTransfer};
use crate::tokenizer::{self, Tokenizer};

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
    /// The ids that end a sequence, in `generation_config.json`, else in `config.json`: none, one or several.
    pub eos_ids: Vec<u32>,
}

impl ModelInfo {
    /// Reads config.json of the folder `model`, and `generation_config.json` if there is one. For a model that is no
    /// folder: [`Engine::model_info`].
    pub fn read(model: &Path) -> Result<Self> {
        Self::of(&Folder::open(model)?, &mut |_| Ok(()))
    }

    fn of(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<Self> {
        let config = read_config(files, on)?;
        Ok(Self {
            n_layers: config.layers as u32,
            hidden_size: config.hidden_size as u32,
            vocab_size: config.vocab_size as u32,
            max_positions: config.max_positions as u32,
            eos_ids: tokenizer::declared_eos(files, on)?,
            architecture: config.architecture.to_owned(),
        })
    }
}

impl Engine {
    /// The shape of the model of `spec`, found as the files of a shard are: in a folder, in the hub's cache, at the
    /// hub, or by the host. The layers of `spec` do not matter.
    ///
    /// Fetches config.json and `generation_config.json` at most. `progress` may cancel that.
    pub fn model_info(&self, spec: &ShardSpec, progress: Option<&mut OnProgress<'_>>) -> Result<ModelInfo> {
        let mut report = Report::new(progress);
        report.stage(Stage::Inspect)?;
        ModelInfo::of(&*self.files(spec)?, &mut |_| report.waiting())
    }

    /// The tokenizer of the model of `spec`, found as [`model_info`](Self::model_info) finds config.json.
    ///
    /// Fetches the files that [`Tokenizer::open`] names at most, none beyond the sizes told there. What the cache does
    /// not hold when the network is off counts as not there, but for `tokenizer.json` itself.
    pub fn tokenizer(&self, spec: &ShardSpec, progress: Option<&mut OnProgress<'_>>) -> Result<Tokenizer> {
        let mut report = Report::new(progress);
        report.stage(Stage::Fetch)?;
        Tokenizer::of(&*self.files(spec)?, &mut |now| report.fetched(now))
    }

    fn files(&self, spec: &ShardSpec) -> Result<Box<dyn ModelFiles>> {
        source::open(&spec.model, spec.revision.as_deref(), &self.options.source)
    }
}
