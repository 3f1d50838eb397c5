//! What a shard computes: the model's shape, the range of layers, and the graph of exactly these.

use crate::engine::options::ShardSpec;
use crate::error::{Result, bail};
use crate::graph::Graph;
use crate::model::{self, ModelConfig, Range};
use crate::source::{ModelFiles, OnTransfer, names};
use crate::weights::Catalogue;

/// The most bytes that a config.json may have; usual are a few kilobytes.
const CONFIG_LIMIT: u64 = 4 << 20;

/// What a shard computes, and of which model.
#[derive(Debug)]
pub(crate) struct Blueprint {
    pub config: ModelConfig,
    pub range: Range,
    pub graph: Graph,
}

impl Blueprint {
    /// The blueprint of the layers that `spec` names, as config.json has them.
    pub(crate) fn read(files: &dyn ModelFiles, spec: &ShardSpec, on: &mut OnTransfer<'_>) -> Result<Self> {
        let config = read_config(files, on)?;
        let range = range(spec, &config)?;
        let graph = model::graph(&config, range);
        Ok(Self { config, range, graph })
    }

    /// The blueprint of the layers that `spec` names, from files that are here. Without a `catalogue` config.json alone decides.
    pub(crate) fn read_here(
        files: &dyn ModelFiles,
        spec: &ShardSpec,
        catalogue: Option<&mut Catalogue>,
    ) -> Result<Self> {
        let blueprint = Self::read(files, spec, &mut |_| Ok(()))?;
        Ok(match catalogue {
            Some(catalogue) => blueprint.corrected_by(catalogue),
            None => blueprint,
        })
    }

    /// The blueprint, corrected by the tensors that the checkpoint holds.
    ///
    /// Whether the experts of a layer are stacked is not in config.json: transformers saves them one by one, or, with
    /// `save_original_format=False`, as it holds them.
    ///
    /// If config.json ties the output head to the embedding, this follows transformers 5:
    /// - If the checkpoint has both an output head and an embedding, the head is its own. In many such checkpoints the two are equal, and
    ///   then it makes no difference.
    /// - If the checkpoint has a head alone, the head is the embedding, too.
    pub(crate) fn corrected_by(mut self, catalogue: &mut Catalogue) -> Self {
        let stacked = model::STACKED_EXPERTS.iter().any(|end| catalogue.holds_any(end));
        let changes = stacked != self.config.stacked_experts;
        self.config.stacked_experts = stacked;
        let tied = self.config.tie_word_embeddings && catalogue.holds(model::HEAD);
        let embedding = self.config.names.embedding;
        if tied && self.range.is_first() && !catalogue.holds(embedding) {
            catalogue.alias(embedding, model::HEAD);
        }
        if changes || tied { self.with_range(self.range.start, self.range.end, Some(catalogue)) } else { self }
    }

    /// The blueprint of other layers of the model, of those in this one.
    pub(crate) fn with_range(&self, first: usize, last: usize, catalogue: Option<&Catalogue>) -> Self {
        let (mut config, range) = (self.config.clone(), Range { start: first, end: last, ..self.range });
        if config.tie_word_embeddings && range.is_last() && catalogue.is_some_and(|c| has_own_head(&config, range, c)) {
            config.tie_word_embeddings = false;
        }
        let graph = model::graph(&config, range);
        Self { config, range, graph }
    }
}

/// Whether the checkpoint of a model with a tied head has a head of its own all the same.
fn has_own_head(config: &ModelConfig, range: Range, catalogue: &Catalogue) -> bool {
    let one = range.is_first() && catalogue.are_one(model::HEAD, config.names.embedding);
    catalogue.holds(model::HEAD) && !one
}

/// The model's shape.
pub(crate) fn read_config(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<ModelConfig> {
    let content = files.read_required(names::CONFIG, CONFIG_LIMIT, on)?;
    model::read_config(&content).map_err(|e| e.within(files.describe()))
}

/// The layers that `spec` names of the model with `config`.
pub(crate) fn range(spec: &ShardSpec, config: &ModelConfig) -> Result<Range> {
    if spec.layer_count != 0 && spec.layer_count as usize != config.layers {
        bail!(
            InvalidArgument,
            "layer_count is {}, model `{}` has {} layers",
            spec.layer_count,
            spec.model,
            config.layers
        );
    }
    let end = if spec.last_layer == ShardSpec::LAST { config.layers - 1 } else { spec.last_layer as usize };
    let range = Range::new(spec.first_layer as usize, end, config.layers)?;
    model::check_cuts(config, range)?;
    Ok(range)
}
