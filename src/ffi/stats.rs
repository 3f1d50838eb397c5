//! Counters

use super::guard::guard;
use super::handle::{Out, borrow};
use super::objects::ortshard_engine;
use super::options::{Versioned, write};
use super::status::ortshard_status;

//# /** An ortshard_engine_stats ready to be filled. @since 0.1 */
//# #define ORTSHARD_ENGINE_STATS_INIT { sizeof(ortshard_engine_stats), 0, 0, 0, 0, 0 }

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

impl Versioned for ortshard_engine_stats {
    const NAME: &'static str = "ortshard_engine_stats";
}

/// What the engine has counted since it was created.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a bad struct_size. Threads: many at once. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_get_stats(
    engine: *const ortshard_engine,
    stats: *mut ortshard_engine_stats,
) -> ortshard_status {
    guard(|| {
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
