//! Counters

use crate::ffi::basics::objects::ortshard_engine;
use crate::ffi::frame::guard::on;
use crate::ffi::frame::handle::borrow;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::versioned::{initial, write};

/// What an engine has counted since it was created.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_engine_stats {
    /// Set to sizeof(ortshard_engine_stats) before the call.
    pub struct_size: usize,
    /// Shards loaded.
    pub shards_loaded: u64,
    /// Tokens run through its shards.
    pub tokens: u64,
    /// Times that memory ran out while a shard was loaded.
    pub out_of_memory_load: u64,
    /// Times that memory ran out while a KV cache was reserved.
    pub out_of_memory_kv: u64,
    /// Times that memory ran out in a run.
    pub out_of_memory_run: u64,
}

initial!(ortshard_engine_stats, ortshard_engine_stats_init);

/// What the engine has counted since it was created.
///
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_get_stats(
    engine: *const ortshard_engine,
    stats: *mut ortshard_engine_stats,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(stats, "stats") }?;
        // SAFETY: as above.
        let stats = unsafe { borrow(engine, "engine") }?.stats();
        let stats = ortshard_engine_stats {
            struct_size: 0,
            shards_loaded: stats.shards_loaded,
            tokens: stats.tokens,
            out_of_memory_load: stats.out_of_memory_load,
            out_of_memory_kv: stats.out_of_memory_kv,
            out_of_memory_run: stats.out_of_memory_run,
        };
        // SAFETY: as above.
        unsafe { write(&out, stats) }
    })
}
