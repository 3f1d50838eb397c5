//! A request's KV cache: mapped memory for this library's operators, a slot on the session's device for ONNX Runtime's.

use parking_lot::Mutex;

use super::budget::Reservation;
use super::slots::Slot;
use crate::error::{Result, bail};
use crate::kv::KvCache;
use crate::runtime::Segment;

/// A request's KV cache, and what it has taken from the budget.
#[derive(Debug)]
pub(crate) enum KvStore {
    Mapped { cache: KvCache, _memory: Reservation },
    Device(Slot),
}

/// Where a request keeps its KV cache: empty once the shard is retired, and between the calls of a request without one.
pub(crate) type KvCell = Mutex<Option<KvStore>>;

impl KvStore {
    /// The request's part of a run: `tokens` rows that continue `position` cached ones.
    pub(crate) fn segment(&mut self, position: usize, tokens: usize) -> Segment<'_> {
        match self {
            Self::Mapped { cache, .. } => {
                let (capacity, kind) = (cache.capacity(), cache.row_type());
                Segment::new(cache.bytes(), kind, capacity, position, tokens)
            }
            Self::Device(slot) => Segment::on_device(slot.cache(), slot.index(), position, tokens),
        }
    }

    /// Copies the first `tokens` rows of every head of `other`.
    pub(crate) fn copy(&mut self, other: &Self, tokens: usize) -> Result<()> {
        match (self, other) {
            (Self::Mapped { cache: to, .. }, Self::Mapped { cache: from, .. }) => {
                to.copy(from, tokens);
                Ok(())
            }
            (Self::Device(to), Self::Device(from)) => to.cache().copy(to.index(), from.cache(), from.index(), tokens),
            (to, from) => {
                let mut rows = Vec::new();
                from.read(tokens, &mut rows)?;
                to.write(tokens, &rows)
            }
        }
    }

    /// Appends the first `tokens` rows of every head, `[layers, 2, kv_heads, tokens]` rows as they lie in the cache.
    pub(crate) fn read(&self, tokens: usize, to: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Mapped { cache, .. } => {
                cache.heads(tokens).for_each(|head| to.extend_from_slice(head));
                Ok(())
            }
            Self::Device(slot) => slot.cache().read(slot.index(), tokens, to),
        }
    }

    /// Takes what [`read`](Self::read) gave.
    pub(crate) fn write(&mut self, tokens: usize, from: &[u8]) -> Result<()> {
        match self {
            Self::Mapped { cache, .. } => {
                let mut rows = from;
                for head in cache.heads_mut(tokens) {
                    let Some((own, rest)) = rows.split_at_checked(head.len()) else {
                        bail!(Internal, "{} bytes are not {tokens} tokens of a KV cache", from.len());
                    };
                    head.copy_from_slice(own);
                    rows = rest;
                }
                Ok(())
            }
            Self::Device(slot) => slot.cache().write(slot.index(), tokens, from),
        }
    }
}
