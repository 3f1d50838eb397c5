//! The rows that go into a run.

use std::ops::Range;

use crate::runtime::stock::DeviceRows;

/// The rows that go into a run, or one request's part of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// Token ids.
    Ids(&'a [i64]),
    /// Hidden states `[rows, width]` in this process.
    Hidden(&'a [f32], usize),
    /// Hidden states that another shard has left on the device: which row is the first one, and how many there are.
    Device(&'a DeviceRows, usize, usize),
}

impl<'a> Rows<'a> {
    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Hidden(values, width) => values.len() / width,
            Self::Device(.., rows) => *rows,
        }
    }

    /// Some of the rows.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        match *self {
            Self::Ids(ids) => Self::Ids(&ids[rows]),
            Self::Hidden(values, width) => Self::Hidden(&values[rows.start * width..rows.end * width], width),
            Self::Device(kept, first, _) => Self::Device(kept, first + rows.start, rows.len()),
        }
    }

    /// The token ids, if the rows are ids.
    pub(crate) fn ids(self) -> Option<&'a [i64]> {
        match self {
            Self::Ids(ids) => Some(ids),
            Self::Hidden(..) | Self::Device(..) => None,
        }
    }

    /// The hidden states, if they are in this process.
    pub(crate) fn hidden(self) -> Option<&'a [f32]> {
        match self {
            Self::Hidden(values, _) => Some(values),
            Self::Ids(_) | Self::Device(..) => None,
        }
    }
}
