//! A request's key-value cache.

use memmap2::MmapMut;

use crate::error::{Error, Result, Site, err};
use crate::kernels::RowType;

/// Keys and values of every layer of a shard for one request, one block of memory.
///
/// Layout `[layers, 2, kv_heads, capacity]` rows of `head_dim` values each, kept as the shape's [`RowType`] says: a head's rows
/// lie one after another, which is how attention walks them. The block is reserved when the request is made, so a run never has
/// to allocate for it. It is mapped, not allocated: its pages are committed as rows are first written, and all given back when it
/// is dropped, whatever the allocator would do with so large a block.
#[derive(Debug)]
pub(crate) struct KvCache {
    memory: MmapMut,
    shape: KvShape,
    capacity: usize,
}

/// The shape of one token's rows in all layers of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KvShape {
    pub layers: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub rows: RowType,
}

impl KvShape {
    /// Bytes that one token takes.
    pub(crate) fn bytes_per_token(self) -> u64 {
        (self.layers * 2 * self.kv_heads * self.rows.bytes(self.head_dim)) as u64
    }

    /// Keys and values of one token.
    pub(crate) fn values_per_token(self) -> u64 {
        (self.layers * 2 * self.kv_heads * self.head_dim) as u64
    }
}

impl KvCache {
    /// Room for `capacity` tokens.
    pub(crate) fn new(shape: KvShape, capacity: usize) -> Result<Self> {
        let bytes = shape
            .bytes_per_token()
            .checked_mul(capacity as u64)
            .filter(|bytes| isize::try_from(*bytes).is_ok())
            .ok_or_else(|| err!(OutOfRange, "a KV cache of {capacity} tokens is larger than any memory"))?;
        let memory = MmapMut::map_anon(bytes as usize).map_err(|e| {
            Error::oom(Site::Kv, "cpu", bytes, format!("a KV cache of {capacity} tokens"))
                .with_source(err!(Io, "mapping memory").with_source(e))
        })?;
        Ok(Self { memory, shape, capacity })
    }

    /// Tokens it has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// What its rows are kept as.
    pub(crate) fn row_type(&self) -> RowType {
        self.shape.rows
    }

    /// Copies the first `tokens` rows of every head of `other`, which has the same shape.
    pub(crate) fn copy(&mut self, other: &Self, tokens: usize) {
        for (to, from) in self.heads_mut(tokens).zip(other.heads(tokens)) {
            to.copy_from_slice(from);
        }
    }

    /// The first `tokens` rows of every head, one after another: `[layers, 2, kv_heads, tokens]`.
    pub(crate) fn heads(&self, tokens: usize) -> impl Iterator<Item = &[u8]> {
        let row = self.shape.rows.bytes(self.shape.head_dim);
        self.memory.chunks_exact(self.capacity * row).map(move |head| &head[..tokens * row])
    }

    /// As [`heads`](Self::heads), to be written.
    pub(crate) fn heads_mut(&mut self, tokens: usize) -> impl Iterator<Item = &mut [u8]> {
        let row = self.shape.rows.bytes(self.shape.head_dim);
        self.memory.chunks_exact_mut(self.capacity * row).map(move |head| &mut head[..tokens * row])
    }

    /// The whole block.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}
