//! Which tensor a model's head is: its own, or the embedding's.

use super::options::ShardSpec;
use super::shard::inspect;
use crate::error::{ErrorKind, Result};
use crate::graph::Graph;
use crate::model::{self, ModelConfig, Range};
use crate::source::ModelFiles;
use crate::weights;

/// The graph of layers `range`, and `config`, once the checkpoint is known: `holds` tells whether it has a tensor.
///
/// A checkpoint may hold a head although config.json ties it to the embedding. Then that is the head, as transformers 5
/// has it. Where the two are equal, as in many such checkpoints, it makes no difference.
pub(super) fn settle(
    mut config: ModelConfig,
    range: Range,
    graph: Graph,
    holds: impl FnOnce(&str) -> Result<bool>,
) -> Result<(ModelConfig, Graph)> {
    if !(config.tie_word_embeddings && range.is_last() && holds(model::HEAD)?) {
        return Ok((config, graph));
    }
    config.tie_word_embeddings = false;
    let graph = model::graph(&config, range)?;
    Ok((config, graph))
}

/// What `spec` names, as far as files that are here tell; where they do not, the head is as config.json says.
pub(super) fn inspect_here(files: &dyn ModelFiles, spec: &ShardSpec) -> Result<(ModelConfig, Range, Graph)> {
    let (config, range, graph) = inspect(files, spec, &mut |_| Ok(()))?;
    let (config, graph) =
        settle(config, range, graph, |name| match weights::holds(files, None, name, &mut |_| Ok(())) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Offline) => Ok(false),
            known => known,
        })?;
    Ok((config, range, graph))
}
