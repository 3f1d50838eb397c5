//! An engine's counters.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Site};

/// What an [`Engine`](super::Engine) has counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStats {
    /// Shards made resident.
    pub shards_loaded: u64,
    /// Tokens run through the engine's shards. Each call of a request without a KV cache runs all tokens so far.
    pub tokens: u64,
    /// Out-of-memory errors while loading.
    pub out_of_memory_load: u64,
    /// Out-of-memory errors while reserving a KV cache.
    pub out_of_memory_kv: u64,
    /// Out-of-memory errors in a run.
    pub out_of_memory_run: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    loaded: AtomicU64,
    tokens: AtomicU64,
    oom: [AtomicU64; 3],
}

impl Counters {
    pub(crate) fn loaded(&self) {
        self.loaded.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn tokens(&self, tokens: usize) {
        self.tokens.fetch_add(tokens as u64, Ordering::Relaxed);
    }

    /// Counts and logs `error` if memory ran out.
    pub(crate) fn record(&self, error: &Error) {
        let Some(oom) = error.out_of_memory() else { return };
        let index = match oom.site {
            Site::Load => 0,
            Site::Kv => 1,
            Site::Run => 2,
        };
        self.oom[index].fetch_add(1, Ordering::Relaxed);
        log::error!(
            "out of memory: device {}, site {}, {} bytes: {}",
            oom.device,
            oom.site,
            oom.requested,
            error.chain()
        );
    }

    pub(crate) fn read(&self) -> EngineStats {
        let [load, kv, run] = [0, 1, 2].map(|i| self.oom[i].load(Ordering::Relaxed));
        EngineStats {
            shards_loaded: self.loaded.load(Ordering::Relaxed),
            tokens: self.tokens.load(Ordering::Relaxed),
            out_of_memory_load: load,
            out_of_memory_kv: kv,
            out_of_memory_run: run,
        }
    }
}
