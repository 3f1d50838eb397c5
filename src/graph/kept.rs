//! What a layer keeps between tokens.

use crate::kernels::Window;

/// What an operation keeps of the tokens of a request, from one run to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A row for each token, or for those of a window: for each of `heads` heads a key and, unless `value_width` is 0, a value. Of
    /// latent attention that is a latent and what its key has behind it.
    Rows {
        /// The layer, by its number in the whole model.
        layer: usize,
        heads: usize,
        key_width: usize,
        value_width: usize,
        /// The tokens that one sees; `None`: all.
        window: Option<Window>,
    },
    /// A fixed number of float32 values, whatever the number of tokens: the last inputs of a convolution, the matrix of a linear
    /// attention. Each token changes them, so a request cannot go back but to a position at which they were put aside.
    State { values: usize },
}

impl Kept {
    /// The window of rows, if they have one.
    pub(crate) fn window(self) -> Option<Window> {
        match self {
            Self::Rows { window, .. } => window,
            Self::State { .. } => None,
        }
    }
}
