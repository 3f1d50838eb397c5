//! What goes into a run of a session and what comes out of it.

use std::ffi::CStr;
use std::ops::Range;

use crate::engine::memory::Reservation;
use crate::error::{Result, bail};
use crate::graph::names;
use crate::runtime::{DeviceRows, Tensor};

/// The rows of a run's input.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    Ids(&'a [i64]),
    /// `[rows, width]`.
    Hidden(&'a [f32], usize),
    /// Rows that another shard has left on the device: from this one on, so many.
    Kept(&'a DeviceRows, usize, usize),
}

/// What becomes of a run's results: hidden states of every row, or logits of those that are wanted.
#[derive(Debug)]
pub(crate) enum Out<'a> {
    /// They come to this process.
    Host(&'a mut [f32]),
    /// Hidden states stay on the device.
    Kept(&'a mut Kept),
    /// Of logits come as many of the largest as are asked for in this order, all where that cannot decide.
    Best(&'a [usize], &'a mut Vec<Best>),
}

/// A call's hidden states, on the device.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Rows of the whole call.
    pub total: usize,
    /// Those that are there.
    pub done: usize,
    pub rows: Option<DeviceRows>,
    pub memory: Option<Reservation>,
}

/// What is left of a token's logits.
#[derive(Debug)]
pub(crate) enum Best {
    /// The largest, ties with the last that counts included.
    Candidates(Vec<(u32, f32)>),
    /// All.
    Whole(Vec<f32>),
}

impl<'a> Rows<'a> {
    /// These of them.
    pub(crate) fn of(&self, rows: Range<usize>) -> Self {
        match *self {
            Self::Kept(kept, first, _) => Self::Kept(kept, first + rows.start, rows.len()),
            Self::Ids(ids) => Self::Ids(&ids[rows]),
            Self::Hidden(values, width) => Self::Hidden(&values[rows.start * width..rows.end * width], width),
        }
    }

    /// Token ids, if that is what they are.
    pub(crate) fn ids(self) -> Option<&'a [i64]> {
        match self {
            Self::Ids(ids) => Some(ids),
            Self::Hidden(..) | Self::Kept(..) => None,
        }
    }

    /// Hidden states of this process, likewise.
    pub(crate) fn hidden(self) -> Option<&'a [f32]> {
        match self {
            Self::Hidden(values, _) => Some(values),
            Self::Ids(_) | Self::Kept(..) => None,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Hidden(values, width) => values.len() / width,
            Self::Kept(.., rows) => *rows,
        }
    }

    /// What the session calls them, and them as a tensor.
    pub(crate) fn tensor(&self) -> Result<(&'static CStr, Tensor<'_>)> {
        Ok(match self {
            Self::Kept(..) => bail!(Internal, "rows on a device for a session that is not"),
            Self::Ids(ids) => (names::INPUT_IDS.c(), Tensor::new(ids, &[ids.len()])?),
            Self::Hidden(values, width) => {
                (names::HIDDEN_IN.c(), Tensor::new(values, &[values.len() / width, *width])?)
            }
        })
    }
}
