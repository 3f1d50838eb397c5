//! KV caches on a device. They lie side by side in slots, so that the next tokens of several requests can be one run.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Budget, Reservation};
use crate::error::{Result, Site};
use crate::runtime::{CacheShape, DeviceCache, DeviceMemory};

/// The slots of a shard's requests.
#[derive(Debug)]
pub(crate) struct Slots {
    /// How many slots are made together.
    together: usize,
    slabs: Mutex<Vec<Weak<Slab>>>,
}

/// Slots that lie side by side.
#[derive(Debug)]
struct Slab {
    cache: DeviceCache,
    taken: Mutex<Vec<bool>>,
    _memory: Reservation,
}

/// A request's slot. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct Slot {
    slab: Arc<Slab>,
    index: usize,
}

impl Slots {
    /// Slots of which `together`, at least one, are made at once.
    pub(crate) fn new(together: usize) -> Self {
        Self { together: together.max(1), slabs: Mutex::default() }
    }

    /// A slot of zeros for a cache of `shape`, whatever number of slots `shape` has: the first free slot, or the first of a new slab.
    /// The memory of a whole slab is taken from `budget`.
    pub(crate) fn take(&self, memory: &Arc<DeviceMemory>, shape: CacheShape, budget: &Arc<Budget>) -> Result<Slot> {
        let shape = CacheShape { slots: self.together, ..shape };
        let mut slabs = self.slabs.lock();
        slabs.retain(|slab| slab.strong_count() > 0);
        for slab in slabs.iter().filter_map(Weak::upgrade).filter(|slab| slab.cache.shape() == shape) {
            let free = slab.taken.lock().iter().position(|taken| !taken);
            if let Some(index) = free {
                slab.taken.lock()[index] = true;
                let slot = Slot { slab, index };
                slot.cache().clear(index)?;
                return Ok(slot);
            }
        }
        let reserved = budget.reserve(shape.bytes()? as u64, Site::Kv, "a request's KV cache")?;
        let cache = DeviceCache::new(memory, shape)?;
        let mut taken = vec![false; self.together];
        taken[0] = true;
        let slab = Arc::new(Slab { cache, taken: Mutex::new(taken), _memory: reserved });
        slabs.push(Arc::downgrade(&slab));
        Ok(Slot { slab, index: 0 })
    }
}

impl Slot {
    /// The cache that the slot is in.
    pub(crate) fn cache(&self) -> &DeviceCache {
        &self.slab.cache
    }

    /// The index of the slot in its cache.
    pub(crate) fn index(&self) -> usize {
        self.index
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slab.taken.lock()[self.index] = false;
    }
}
