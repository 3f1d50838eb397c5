//! A request's key-value cache on a session's device.

use std::sync::Arc;

use half::{bf16, f16};

use super::device_memory::{DeviceBlock, DeviceMemory};
use super::tensor::TensorMut;
use crate::error::{Result, bail, err};
use crate::kernels::Dtype;

/// Keys and values as ONNX Runtime's attention reads and writes them in place: a tensor `[1, kv_heads, capacity, head_dim]` for
/// each layer's keys, and one for its values.
///
/// They are made once, in one block of memory, so a run has nothing to make or to copy. The block is laid out like the
/// [cache](crate::kv::KvCache) of this library's own operators, so that state moves between them.
#[derive(Debug)]
pub(crate) struct DeviceCache {
    // Before the block that they lie in.
    tensors: Vec<TensorMut<'static>>,
    block: DeviceBlock,
    /// Heads of all layers, of keys and of values.
    heads: usize,
    capacity: usize,
    /// Bytes of a token's row in one head.
    row: usize,
}

impl DeviceCache {
    /// Room for `capacity` tokens of `layers` layers.
    pub(crate) fn new(
        memory: &Arc<DeviceMemory>,
        dtype: Dtype,
        layers: usize,
        kv_heads: usize,
        capacity: usize,
        head_dim: usize,
    ) -> Result<Self> {
        let (heads, row) = (layers * 2 * kv_heads, head_dim * dtype.size());
        let bytes = heads.checked_mul(row).and_then(|token| token.checked_mul(capacity));
        let bytes = bytes.filter(|bytes| isize::try_from(*bytes).is_ok());
        let bytes =
            bytes.ok_or_else(|| err!(OutOfRange, "a KV cache of {capacity} tokens is larger than any memory"))?;
        let mut block = DeviceBlock::new(memory, bytes)?;
        let shape = [1, kv_heads, capacity, head_dim];
        let tensors = match dtype {
            Dtype::F32 => block.tensors::<f32>(&shape),
            Dtype::F16 => block.tensors::<f16>(&shape),
            Dtype::BF16 => block.tensors::<bf16>(&shape),
        }?;
        Ok(Self { tensors, block, heads, capacity, row })
    }

    /// Tokens it has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Each layer's keys, then its values.
    pub(super) fn tensors(&mut self) -> &mut [TensorMut<'static>] {
        &mut self.tensors
    }

    /// Copies the first `tokens` rows of every head of `other`.
    pub(crate) fn copy(&mut self, other: &Self, tokens: usize) -> Result<()> {
        let (to, from) = (self.capacity * self.row, other.capacity * other.row);
        (0..self.heads).try_for_each(|head| self.block.copy(head * to, &other.block, head * from, tokens * self.row))
    }

    /// Appends the first `tokens` rows of every head: `[layers, 2, kv_heads, tokens, head_dim]`.
    pub(crate) fn read(&self, tokens: usize, to: &mut Vec<u8>) -> Result<()> {
        for head in 0..self.heads {
            let at = to.len();
            to.resize(at + tokens * self.row, 0);
            self.block.read(head * self.capacity * self.row, &mut to[at..])?;
        }
        Ok(())
    }

    /// Takes what [`read`](Self::read) gave.
    pub(crate) fn write(&mut self, tokens: usize, from: &[u8]) -> Result<()> {
        if from.len() != self.heads * tokens * self.row {
            bail!(Internal, "{} bytes are not {tokens} tokens of a KV cache", from.len());
        }
        let head = self.capacity * self.row;
        from.chunks_exact((tokens * self.row).max(1))
            .enumerate()
            .try_for_each(|(index, rows)| self.block.write(index * head, rows))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;
    use crate::error::Site;
    use crate::runtime::{Provider, Runtime, placement};

    const LAYERS: usize = 2;
    const KV_HEADS: usize = 3;
    const HEAD_DIM: usize = 16;
    const TOKEN: usize = LAYERS * 2 * KV_HEADS * HEAD_DIM * 4;

    /// The processor's memory as a device's; none where ONNX Runtime is too old for devices.
    fn memory(limit: Option<u64>) -> Option<Arc<DeviceMemory>> {
        placement::known(Runtime::get().unwrap()).ok()?;
        Some(DeviceMemory::new(&Provider::Cpu, limit).unwrap())
    }

    fn cache(memory: &Arc<DeviceMemory>, capacity: usize) -> Result<DeviceCache> {
        DeviceCache::new(memory, Dtype::F32, LAYERS, KV_HEADS, capacity, HEAD_DIM)
    }

    fn rows(cache: &DeviceCache, tokens: usize) -> Vec<u8> {
        let mut rows = Vec::new();
        cache.read(tokens, &mut rows).unwrap();
        rows
    }

    #[test]
    fn rows_move_between_caches_of_any_capacity() {
        let Some(memory) = memory(None) else { return };
        let (mut small, mut large) = (cache(&memory, 5).unwrap(), cache(&memory, 9).unwrap());
        let sent: Vec<u8> = (0..5 * TOKEN).map(|i| (i % 251) as u8 + 1).collect();
        small.write(5, &sent).unwrap();
        large.copy(&small, 5).unwrap();
        assert_eq!((rows(&small, 5), rows(&large, 5)), (sent.clone(), sent.clone()));
        // Each head's rows lie at its own place, with zeros behind them.
        let (head, row) = (HEAD_DIM * 4, 9 * HEAD_DIM * 4);
        let whole = rows(&large, 9);
        for (index, all) in whole.chunks_exact(row).enumerate() {
            let (used, free) = all.split_at(5 * head);
            assert_eq!(used, &sent[index * 5 * head..][..5 * head]);
            assert!(free.iter().all(|byte| *byte == 0));
        }
        // Fewer rows than it has leave the others as they were.
        small.write(2, &sent[..2 * TOKEN]).unwrap();
        assert_eq!(rows(&small, 5)[2 * head..5 * head], sent[2 * head..5 * head]);
        assert!(rows(&small, 0).is_empty());
        small.write(0, &[]).unwrap();
    }

    #[test]
    fn a_full_device_is_out_of_memory_for_kv_and_what_is_dropped_is_given_back() {
        let Some(memory) = memory(Some(64 * TOKEN as u64)) else { return };
        let mut held = cache(&memory, 40).unwrap();
        held.write(40, &vec![7; 40 * TOKEN]).unwrap();
        for _ in 0..3 {
            let error = cache(&memory, 40).unwrap_err();
            let oom = error.out_of_memory().unwrap();
            assert_eq!((oom.site, oom.device.as_str()), (Site::Kv, "cpu"), "{}", error.chain());
            assert_eq!(oom.requested, (40 * TOKEN) as u64, "{}", error.chain());
        }
        assert!(rows(&held, 40).iter().all(|byte| *byte == 7));
        drop(held);
        // All of it again, in other pieces: the arena has kept nothing. And nothing of what was there is to be seen.
        let pieces = [cache(&memory, 20).unwrap(), cache(&memory, 30).unwrap()];
        assert!(pieces.iter().flat_map(|piece| rows(piece, 20)).all(|byte| byte == 0));
    }
}
