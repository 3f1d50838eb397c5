//! What goes into a request's call and what comes out of it.

use ndarray::ArrayView2;

use super::frame::Frame;
use crate::error::{Result, err};
use crate::runtime::Rows;

/// What a shard takes.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Token ids, for a shard that starts at layer 0.
    Ids(&'a [i64]),
    /// The previous shard's hidden states `[tokens, hidden_size]`, for any other whose boundary has no other part.
    Hidden(ArrayView2<'a, f32>),
    /// What the previous shard has sent as a frame.
    Frame(&'a Frame<'a>),
}

impl<'a> Input<'a> {
    /// The input as the rows of a run. Whether a frame is the right one is not looked at.
    pub(crate) fn rows(self) -> Result<Rows<'a>> {
        match self {
            Self::Ids(ids) => Ok(Rows::Ids(ids)),
            Self::Hidden(hidden) => match hidden.to_slice() {
                Some(values) => Ok(Rows::hidden(values, hidden.ncols())),
                None => Err(err!(InvalidArgument, "input: hidden states are not contiguous rows")),
            },
            Self::Frame(_) => Err(err!(Internal, "a frame that nobody has checked")),
        }
    }
}

/// Which logits the last shard gives. Other shards give all hidden states whatever is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Logits {
    /// The logits of the last token: `[1, vocab_size]`.
    #[default]
    Last,
    /// The logits of every token: `[tokens, vocab_size]`.
    All,
    /// None: `[0, vocab_size]`. Fills the KV cache only.
    None,
}

/// What a shard gives, borrowed until the request's next call.
#[derive(Debug, Clone, Copy)]
pub enum Output<'a> {
    /// Hidden states `[tokens, hidden_size]` for the next shard.
    Hidden(ArrayView2<'a, f32>),
    /// Logits `[rows, vocab_size]`.
    Logits(ArrayView2<'a, f32>),
}

impl<'a> Output<'a> {
    /// The values, whichever they are.
    pub fn values(self) -> ArrayView2<'a, f32> {
        match self {
            Self::Hidden(values) | Self::Logits(values) => values,
        }
    }
}
