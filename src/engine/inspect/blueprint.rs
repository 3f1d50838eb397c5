//! Which tensors a model's embedding and head are, where config.json ties the two.

use crate::engine::options::ShardSpec;
use crate::engine::shard::inspect;
use crate::error::Result;
use crate::graph::Graph;
use crate::model::{self, ModelConfig, Range};
use crate::source::ModelFiles;
use crate::weights::Catalogue;

/// The graph of layers `range`, and `config`, once it is known what the checkpoint holds.
///
/// As transformers 5 has it, where config.json ties the head to the embedding:
/// - a head that is there beside the embedding is the head. Where the two are equal, as in many such checkpoints, it makes
///   no difference;
/// - a head that is there alone is the embedding, too.
pub(crate) fn settle(
    mut config: ModelConfig,
    range: Range,
    graph: Graph,
    catalogue: &mut Catalogue,
) -> (ModelConfig, Graph) {
    if !(config.tie_word_embeddings && catalogue.holds(model::HEAD)) {
        return (config, graph);
    }
    if range.is_first() && !catalogue.holds(model::EMBEDDING) {
        catalogue.alias(model::EMBEDDING, model::HEAD);
        return (config, graph);
    }
    if !range.is_last() {
        return (config, graph);
    }
    config.tie_word_embeddings = false;
    let graph = model::graph(&config, range);
    (config, graph)
}

/// What `spec` names, as far as files that are here tell; where there is no `catalogue`, the head is as config.json says.
pub(crate) fn inspect_here(
    files: &dyn ModelFiles,
    spec: &ShardSpec,
    catalogue: Option<&mut Catalogue>,
) -> Result<(ModelConfig, Range, Graph)> {
    let (config, range, graph) = inspect(files, spec, &mut |_| Ok(()))?;
    let (config, graph) = match catalogue {
        Some(catalogue) => settle(config, range, graph, catalogue),
        None => (config, graph),
    };
    Ok((config, range, graph))
}
