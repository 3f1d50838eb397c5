//! The rows of several calls side by side.

use std::sync::Arc;

use crate::engine::memory::{Budget, Reservation};
use crate::error::{Error, Result, Site};
use crate::model::Rope;
use crate::runtime::{Angles, Batch, OwnedPart, PartRows, Rows, Segment};

/// A copy of several calls' rows, one call after another.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    ids: Vec<i64>,
    /// The rows of each part of a boundary.
    parts: Vec<OwnedPart>,
    _memory: Option<Reservation>,
}

impl Gathered {
    /// Copies the rows of `parts`, which are all ids or all the same parts of a boundary.
    pub(super) fn new<'a>(parts: &(impl Iterator<Item = Rows<'a>> + Clone), budget: &Arc<Budget>) -> Result<Self> {
        const WHAT: &str = "the batch's input";
        let ids = parts.clone().filter_map(Rows::ids).flatten().copied().collect();
        let values = |rows: Rows| -> usize { rows.parts().iter().map(|part| part.values.len()).sum() };
        let len: usize = parts.clone().map(values).sum();
        if len == 0 {
            return Ok(Self { ids, ..Self::default() });
        }
        let bytes = (len * size_of::<f32>()) as u64;
        let memory = budget.reserve(bytes, Site::Run, WHAT)?;
        let first = parts.clone().next().map(Rows::parts).unwrap_or_default();
        let mut gathered = Vec::new();
        for (index, PartRows { role, width, .. }) in first.iter().copied().enumerate() {
            let of_all = || parts.clone().filter_map(|rows| rows.parts().get(index).map(|part| part.values));
            let mut rows = Vec::new();
            rows.try_reserve_exact(of_all().map(<[f32]>::len).sum())
                .map_err(|_| Error::oom(Site::Run, "cpu", bytes, WHAT))?;
            of_all().for_each(|values| rows.extend_from_slice(values));
            gathered.push(OwnedPart { role, values: rows, width });
        }
        Ok(Self { ids, parts: gathered, _memory: Some(memory) })
    }

    /// The rows.
    pub(super) fn rows(&self) -> Rows<'_> {
        if self.ids.is_empty() {
            Rows::Parts(self.parts.iter().map(OwnedPart::rows).collect())
        } else {
            Rows::Ids(&self.ids)
        }
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
