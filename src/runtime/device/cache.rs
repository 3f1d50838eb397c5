//! The KV caches of requests on a session's device.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::error::{Result, Site, bail, err};
use crate::kernels::Dtype;
use crate::runtime::device::memory::{DeviceBlock, DeviceMemory};
use crate::runtime::run::tensor::TensorMut;
use crate::runtime::stock::DecodeStep;

const WHAT: &str = "a KV cache";

/// A block with a slot for each of several requests. ONNX Runtime's attention reads and writes it in place: it has a
/// tensor `[slots, kv_heads, capacity, head_dim]` for each layer's keys, and one for its values. The tokens of
/// neighbouring slots can run together, as a part of each of these tensors.
///
/// Rows in a slot have the order of those in the [KV cache](crate::kept::KeptState) of native operators, so that a
/// state can move between the two. Each slot has an owner, who writes it through a shared reference to the block.
#[derive(Debug)]
pub(crate) struct DeviceCache {
    /// The decode steps of the slots' requests, while they do not run. They are bound to the block, so they are
    /// dropped before it.
    steps: Mutex<Vec<DecodeStep>>,
    block: DeviceBlock,
    shape: CacheShape,
}

/// The shape of a [`DeviceCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheShape {
    pub dtype: Dtype,
    pub layers: usize,
    pub slots: usize,
    pub kv_heads: usize,
    /// The most tokens of a slot.
    pub capacity: usize,
    pub head_dim: usize,
}

impl CacheShape {
    /// Bytes of one token in one head.
    fn row(self) -> usize {
        self.head_dim * self.dtype.size()
    }

    /// Bytes of one head of a slot.
    fn head(self) -> usize {
        self.capacity * self.row()
    }

    /// Bytes of all slots.
    pub(crate) fn bytes(self) -> Result<usize> {
        [self.slots, self.kv_heads, self.capacity, self.row()]
            .into_iter()
            .try_fold(self.layers * 2, usize::checked_mul)
            .filter(|bytes| isize::try_from(*bytes).is_ok())
            .ok_or_else(|| err!(OutOfRange, "a KV cache of {} tokens is larger than any memory", self.capacity))
    }
}

impl DeviceCache {
    /// A block of slots, all zeros.
    pub(crate) fn new(memory: &Arc<DeviceMemory>, shape: CacheShape) -> Result<Self> {
        let bytes = shape.bytes()?;
        let block = DeviceBlock::new(memory, bytes, Site::Kv, WHAT)?;
        block.clear(0, bytes)?;
        Ok(Self { steps: Mutex::default(), block, shape })
    }

    /// The shape of the block.
    pub(crate) fn shape(&self) -> CacheShape {
        self.shape
    }

    /// The decode steps that are kept here.
    pub(in crate::runtime) fn steps(&self) -> MutexGuard<'_, Vec<DecodeStep>> {
        self.steps.lock()
    }

    /// The tensors of `slots`: each layer's keys, then its values.
    pub(in crate::runtime) fn tensors(&self, slots: Range<usize>) -> Result<Vec<TensorMut<'_>>> {
        let CacheShape { dtype, layers, kv_heads, capacity, head_dim, .. } = self.shape;
        let shape = [slots.len(), kv_heads, capacity, head_dim];
        (0..2 * layers).map(|part| self.block.tensor(self.at(part, slots.start, 0), dtype.into(), &shape)).collect()
    }

    /// The first byte of a head, of the keys or values `part`.
    fn at(&self, part: usize, slot: usize, head: usize) -> usize {
        let CacheShape { slots, kv_heads, .. } = self.shape;
        ((part * slots + slot) * kv_heads + head) * self.shape.head()
    }

    /// The first byte of each head of `slot`, in the order of layers, keys before values.
    fn heads(&self, slot: usize) -> impl Iterator<Item = usize> {
        let (parts, heads) = (2 * self.shape.layers, self.shape.kv_heads);
        (0..parts).flat_map(move |part| (0..heads).map(move |head| self.at(part, slot, head)))
    }

    /// Fills `slot` with zeros.
    pub(crate) fn clear(&self, slot: usize) -> Result<()> {
        let bytes = self.shape.kv_heads * self.shape.head();
        (0..2 * self.shape.layers).try_for_each(|part| self.block.clear(self.at(part, slot, 0), bytes))
    }

    /// Copies the first `tokens` rows of every head of `other`'s slot `from` to `slot`.
    pub(crate) fn copy(&self, slot: usize, other: &Self, from: usize, tokens: usize) -> Result<()> {
        let bytes = tokens * self.shape.row();
        self.heads(slot)
            .zip(other.heads(from))
            .try_for_each(|(to, from)| self.block.copy(to, &other.block, from, bytes))
    }

    /// Bytes of `tokens` tokens in all layers.
    pub(crate) fn state_bytes(&self, tokens: usize) -> usize {
        2 * self.shape.layers * self.shape.kv_heads * tokens * self.shape.row()
    }

    /// Appends the rows `tokens` of every head of one layer of `slot`: `[2, kv_heads, tokens, head_dim]`.
    pub(crate) fn read(&self, slot: usize, layer: usize, tokens: Range<usize>, to: &mut Vec<u8>) -> Result<()> {
        for head in self.heads_of(slot, layer) {
            let at = to.len();
            to.resize(at + tokens.len() * self.shape.row(), 0);
            self.block.read(head + tokens.start * self.shape.row(), &mut to[at..])?;
        }
        Ok(())
    }

    /// Writes to `slot` what [`read`](Self::read) has given.
    pub(crate) fn write(&self, slot: usize, layer: usize, tokens: Range<usize>, from: &[u8]) -> Result<()> {
        let (bytes, first) = (tokens.len() * self.shape.row(), tokens.start * self.shape.row());
        if from.len() != 2 * self.shape.kv_heads * bytes {
            bail!(Internal, "{} bytes are not {} tokens of a layer's KV cache", from.len(), tokens.len());
        }
        self.heads_of(slot, layer)
            .zip(from.chunks_exact(bytes.max(1)))
            .try_for_each(|(head, rows)| self.block.write(head + first, rows))
    }

    /// The first byte of each head of one layer of `slot`, keys first.
    fn heads_of(&self, slot: usize, layer: usize) -> impl Iterator<Item = usize> {
        self.heads(slot).skip(2 * layer * self.shape.kv_heads).take(2 * self.shape.kv_heads)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;
    use crate::error::Site;
    use crate::runtime::device::placement;
    use crate::runtime::{Provider, Runtime};

    const LAYERS: usize = 2;
    const KV_HEADS: usize = 3;
    const HEAD_DIM: usize = 16;
    const TOKEN: usize = LAYERS * 2 * KV_HEADS * HEAD_DIM * 4;

    fn read(cache: &DeviceCache, slot: usize, tokens: usize, to: &mut Vec<u8>) {
        (0..LAYERS).for_each(|layer| cache.read(slot, layer, 0..tokens, to).unwrap());
    }

    fn write(cache: &DeviceCache, slot: usize, tokens: usize, from: &[u8]) {
        for (layer, rows) in from.chunks_exact((from.len() / LAYERS).max(1)).enumerate() {
            cache.write(slot, layer, 0..tokens, rows).unwrap();
        }
    }

    /// The processor's memory as a device's; `None` if ONNX Runtime is too old for devices.
    fn memory(limit: Option<u64>) -> Option<Arc<DeviceMemory>> {
        if let Err(error) = placement::known(Runtime::get().unwrap()) {
            crate::testing::skipped(&error.to_string());
            return None;
        }
        Some(DeviceMemory::new(&Provider::Cpu, limit).unwrap())
    }

    fn cache(memory: &Arc<DeviceMemory>, slots: usize, capacity: usize) -> Result<DeviceCache> {
        let shape =
            CacheShape { dtype: Dtype::F32, layers: LAYERS, slots, kv_heads: KV_HEADS, capacity, head_dim: HEAD_DIM };
        DeviceCache::new(memory, shape)
    }

    fn rows(cache: &DeviceCache, slot: usize, tokens: usize) -> Vec<u8> {
        let mut rows = Vec::new();
        read(cache, slot, tokens, &mut rows);
        rows
    }

    #[test]
    fn rows_move_between_slots_of_any_capacity() {
        let Some(memory) = memory(None) else { return };
        let (small, large) = (cache(&memory, 2, 5).unwrap(), cache(&memory, 3, 9).unwrap());
        let sent: Vec<u8> = (0..5 * TOKEN).map(|i| (i % 251) as u8 + 1).collect();
        write(&small, 1, 5, &sent);
        large.copy(2, &small, 1, 5).unwrap();
        assert_eq!((rows(&small, 1, 5), rows(&large, 2, 5)), (sent.clone(), sent.clone()));
        for (cache, slot) in [(&small, 0), (&large, 0), (&large, 1)] {
            assert!(rows(cache, slot, 5).iter().all(|byte| *byte == 0), "its neighbours are as they were");
        }
        // Each head's rows lie at its own place, with zeros behind them.
        let (head, row) = (HEAD_DIM * 4, 9 * HEAD_DIM * 4);
        let whole = rows(&large, 2, 9);
        for (index, all) in whole.chunks_exact(row).enumerate() {
            let (used, free) = all.split_at(5 * head);
            assert_eq!(used, &sent[index * 5 * head..][..5 * head]);
            assert!(free.iter().all(|byte| *byte == 0));
        }
        // Writing fewer rows leaves the others unchanged.
        write(&small, 1, 2, &sent[..2 * TOKEN]);
        assert_eq!(rows(&small, 1, 5)[2 * head..5 * head], sent[2 * head..5 * head]);
        assert!(rows(&small, 1, 0).is_empty());
        write(&small, 1, 0, &[]);
        // A cleared slot leaves its neighbours alone.
        write(&small, 0, 5, &sent);
        small.clear(1).unwrap();
        assert_eq!((rows(&small, 0, 5), rows(&small, 1, 5)), (sent, vec![0; 5 * TOKEN]));
    }

    #[test]
    fn a_full_device_is_out_of_memory_for_kv_and_what_is_dropped_is_given_back() {
        let Some(memory) = memory(Some(64 * TOKEN as u64)) else { return };
        let held = cache(&memory, 1, 40).unwrap();
        write(&held, 0, 40, &vec![7; 40 * TOKEN]);
        for _ in 0..3 {
            let error = cache(&memory, 2, 20).unwrap_err();
            let oom = error.out_of_memory().unwrap();
            assert_eq!((oom.site, oom.device.as_str()), (Site::Kv, "cpu"), "{}", error.chain());
            assert_eq!(oom.requested, (40 * TOKEN) as u64, "{}", error.chain());
        }
        assert!(rows(&held, 0, 40).iter().all(|byte| *byte == 7));
        drop(held);
        // All of the memory again, in other pieces: the arena has kept nothing. And the old content cannot be seen.
        let pieces = [cache(&memory, 1, 20).unwrap(), cache(&memory, 3, 10).unwrap()];
        assert!(pieces.iter().flat_map(|piece| rows(piece, 0, 10)).all(|byte| byte == 0));
    }
}
