//! What the heads of an attention look like.

use super::super::norm::Norm;

/// Which values of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rotation {
    /// Value `i` and value `i + rotary_pairs`, the "rotate half" form of most checkpoints.
    Halves,
    /// Neighbours, value `2 i` and value `2 i + 1` (GLM, Cohere, Llama 4).
    Interleaved,
}

/// Which of the tokens up to its own a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// The last ones, so many: at position `p` those at `p - w + 1 ..= p`.
    Sliding(usize),
    /// Those of its own part of the text, whose parts have so many: at position `p` those at `p - p % w ..= p` (Llama 4).
    Chunked(usize),
}

impl Window {
    /// The most tokens that one sees.
    pub fn size(self) -> usize {
        let (Self::Sliding(size) | Self::Chunked(size)) = self;
        size
    }

    /// The first position that the token at `position` sees. It never lies before that of an earlier token.
    pub fn first(self, position: usize) -> usize {
        match self {
            Self::Sliding(size) => (position + 1).saturating_sub(size),
            Self::Chunked(size) => position - position % size.max(1),
        }
    }
}

/// What the heads look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`. Head `h` reads key head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Values of a head of queries and keys, and of values unless they are part of the keys.
    pub head_dim: usize,
    /// Pairs of a head's values that are rotated, the rest passes: `head_dim / 2` in most models, 0 for none.
    pub rotary_pairs: usize,
    /// Which values make a pair.
    pub rotation: Rotation,
    /// With `Some(n)` a key's first `n` values are not rotated, and are the value as well: a latent that is kept once for both
    /// (`DeepSeek` V2). What is rotated lies behind it, in queries too.
    pub latent: Option<usize>,
    /// Multiplies the scores: `1 / sqrt(head_dim)` in most models.
    pub scale: f32,
    /// The keys that a query sees, if not all up to its own.
    pub window: Option<Window>,
    /// With `Some(cap)` a score `s` becomes `cap * tanh(s / cap)` (Gemma 2).
    pub soft_cap: Option<f32>,
    /// Every head of queries and keys is normalised so before it is rotated, if at all (Qwen 3).
    pub head_norm: Option<Norm>,
    /// The norm comes after the rotation instead (`HunYuan`).
    pub norm_after_rotation: bool,
}

impl AttentionShape {
    /// Values of a head of the result.
    #[must_use]
    pub const fn value_dim(&self) -> usize {
        match self.latent {
            None => self.head_dim,
            Some(latent) => latent,
        }
    }

    /// Values of the two rows of a head and token that are kept: of its key and its value, or of its latent and what the key has behind
    /// that.
    #[must_use]
    pub const fn kept_widths(&self) -> [usize; 2] {
        match self.latent {
            None => [self.head_dim; 2],
            Some(latent) => [latent, self.head_dim - latent],
        }
    }
}
