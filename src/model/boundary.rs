//! Between which layers a model may be cut, and what passes there.

use super::{ModelConfig, Range};
use crate::error::{Result, bail};
use crate::graph::{PerPart, Role};

/// The place behind a layer that is not the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boundary {
    /// What passes it: the role and the width of each part, in the order of roles.
    pub parts: PerPart<(Role, usize)>,
    /// Why the model cannot be cut here, as the end of a sentence that begins with "the model cannot be cut here, since".
    pub refused: Option<String>,
}

impl Boundary {
    /// One that hidden states alone pass.
    pub(crate) fn hidden_states(width: usize) -> Self {
        Self { parts: std::iter::once((Role::HiddenStates, width)).collect(), refused: None }
    }
}

/// The boundary behind `layer`, which is not the last.
pub(crate) fn boundary(config: &ModelConfig, layer: usize) -> Boundary {
    config.family.boundary(config, layer)
}

/// Whether a shard may end at `layer`.
pub(crate) fn may_end_at(config: &ModelConfig, layer: usize) -> bool {
    layer + 1 >= config.layers || boundary(config, layer).refused.is_none()
}

/// The shortest range with `layer` in it that the model may be cut into.
pub(crate) fn cut_around(config: &ModelConfig, layer: usize) -> Range {
    let start = (0..=layer).rev().find(|start| *start == 0 || may_end_at(config, start - 1)).unwrap_or(0);
    let end = (layer..config.layers).find(|end| may_end_at(config, *end)).unwrap_or(layer);
    Range { start, end, layers: config.layers }
}

/// Refuses a range at whose ends the model cannot be cut, and names the nearest cuts that can be.
pub(crate) fn check_cuts(config: &ModelConfig, range: Range) -> Result<()> {
    let first = range.start.checked_sub(1).map(|layer| (layer, format!("first_layer {}", range.start)));
    let last = (!range.is_last()).then(|| (range.end, format!("last_layer {}", range.end)));
    for (layer, what) in [first, last].into_iter().flatten() {
        let Some(why) = boundary(config, layer).refused else { continue };
        let before = (0..layer).rev().find(|layer| may_end_at(config, *layer));
        let behind = (layer + 1..config.layers - 1).find(|layer| may_end_at(config, *layer));
        let cuts: Vec<String> = before.into_iter().chain(behind).map(|cut| format!("behind layer {cut}")).collect();
        let cuts = match &cuts[..] {
            [] => "it can be cut nowhere".to_owned(),
            cuts => format!("the nearest cuts are {}", cuts.join(" and ")),
        };
        bail!(InvalidArgument, "{what}: the model cannot be cut behind layer {layer}, since {why}; {cuts}");
    }
    Ok(())
}
