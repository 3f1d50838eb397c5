//! The rows of several calls side by side.

use std::sync::Arc;

use crate::engine::memory::{Budget, Reservation};
use crate::error::{Error, Result, Site};
use crate::model::Rope;
use crate::runtime::{Angles, Batch, Rows, Segment};

/// A copy of several calls' rows, one call after another.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    ids: Vec<i64>,
    hidden: Vec<f32>,
    _memory: Option<Reservation>,
}

impl Gathered {
    /// Copies the rows of `parts`, which are all ids or all hidden states.
    pub(super) fn new<'a>(parts: impl Iterator<Item = Rows<'a>> + Clone, budget: &Arc<Budget>) -> Result<Self> {
        const WHAT: &str = "the batch's input";
        let ids = parts.clone().filter_map(Rows::ids).flatten().copied().collect();
        let hidden = parts.filter_map(Rows::hidden);
        let len: usize = hidden.clone().map(<[f32]>::len).sum();
        if len == 0 {
            return Ok(Self { ids, ..Self::default() });
        }
        let bytes = (len * size_of::<f32>()) as u64;
        let memory = budget.reserve(bytes, Site::Run, WHAT)?;
        let mut rows = Vec::new();
        rows.try_reserve_exact(len).map_err(|_| Error::oom(Site::Run, "cpu", bytes, WHAT))?;
        hidden.for_each(|values| rows.extend_from_slice(values));
        Ok(Self { ids, hidden: rows, _memory: Some(memory) })
    }

    /// The rows; hidden states are `width` wide.
    pub(super) fn rows(&self, width: usize) -> Rows<'_> {
        if self.ids.is_empty() { Rows::Hidden(&self.hidden, width) } else { Rows::Ids(&self.ids) }
    }
}

/// The segments, and how far each of the model's rotations turns each of their rows.
pub(super) fn rotated<'a>(ropes: &[Rope], segments: Vec<Segment<'a>>) -> Batch<'a> {
    let rows: usize = segments.iter().map(|segment| segment.rows().len()).sum();
    let angles = ropes.iter().map(|rope| {
        let count = rows * rope.pairs();
        let mut angles = Angles { cos: Vec::with_capacity(count), sin: Vec::with_capacity(count) };
        for segment in &segments {
            for position in segment.rows() {
                rope.rotation(position, segment.is_long, &mut angles.cos, &mut angles.sin);
            }
        }
        angles
    });
    Batch { angles: angles.collect(), segments }
}
