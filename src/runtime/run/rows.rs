//! The rows that go into a run.

use std::ops::Range;

use crate::graph::{PerPart, Role};
use crate::runtime::stock::DeviceRows;

/// The rows that go into a run, or one request's part of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// Token ids.
    Ids(&'a [i64]),
    /// What passes a boundary, in this process: as many rows of each part.
    Parts(PerPart<PartRows<'a>>),
    /// Hidden states that another shard has left on the device: which row is the first one, and how many there are.
    Device(&'a DeviceRows, usize, usize),
}

/// The rows of one part of a boundary: `[rows, width]`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PartRows<'a> {
    pub role: Role,
    pub values: &'a [f32],
    pub width: usize,
}

impl PartRows<'_> {
    fn slice(&self, rows: &Range<usize>) -> Self {
        Self { values: &self.values[rows.start * self.width..rows.end * self.width], ..*self }
    }
}

/// As [`PartRows`], with memory of its own.
#[derive(Debug)]
pub(crate) struct OwnedPart {
    pub role: Role,
    pub values: Vec<f32>,
    pub width: usize,
}

impl OwnedPart {
    /// All its rows.
    pub(crate) fn rows(&self) -> PartRows<'_> {
        PartRows { role: self.role, values: &self.values, width: self.width }
    }
}

impl<'a> Rows<'a> {
    /// Hidden states alone.
    pub(crate) fn hidden(values: &'a [f32], width: usize) -> Self {
        Self::Parts(std::iter::once(PartRows { role: Role::HiddenStates, values, width }).collect())
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Parts(parts) => parts.first().map_or(0, |part| part.values.len() / part.width.max(1)),
            Self::Device(.., rows) => *rows,
        }
    }

    /// Some of the rows.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        match *self {
            Self::Ids(ids) => Self::Ids(&ids[rows]),
            Self::Parts(parts) => Self::Parts(parts.iter().map(|part| part.slice(&rows)).collect()),
            Self::Device(kept, first, _) => Self::Device(kept, first + rows.start, rows.len()),
        }
    }

    /// The token ids, if the rows are ids.
    pub(crate) fn ids(self) -> Option<&'a [i64]> {
        match self {
            Self::Ids(ids) => Some(ids),
            Self::Parts(..) | Self::Device(..) => None,
        }
    }

    /// The parts of a boundary, if they are in this process; else none.
    pub(crate) fn parts(self) -> PerPart<PartRows<'a>> {
        match self {
            Self::Parts(parts) => parts,
            Self::Ids(_) | Self::Device(..) => PerPart::default(),
        }
    }
}
