//! Memory estimate
//!
//! What a shard will take, before it is loaded: from config.json and the headers of its files alone.

use crate::ffi::basics::objects::ortshard_engine;
use crate::ffi::engine::spec::{ortshard_shard_spec, shard_spec};
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::guard::on;
use crate::ffi::frame::handle::borrow;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::versioned::{initial, write};

constants! {
    /// What stands for no layer.
    enum nameless {
        /// In ortshard_engine_estimate: not even one layer fits.
        ORTSHARD_NO_LAYER = -1,
    }
}

/// Memory that a shard and requests on it take, in bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_engine_estimate {
    /// Set to sizeof(ortshard_engine_estimate) before the call.
    pub struct_size: usize,
    /// The weights, as stored: pages of files, shared by all processes that map them. On a device that is not the
    /// processor, and with stock_operators, also the copies that ONNX Runtime keeps.
    pub weight_bytes: u64,
    /// The KV caches of all the requests, and what they keep besides of layers with a state of fixed size: those states,
    /// as many as are put aside by default, and the input.
    pub kv_bytes: u64,
    /// Activations of one run, of up to 512 tokens or as many as the engine's memory_limit has room for, and its
    /// output: the last token's logits, or all hidden states.
    pub run_bytes: u64,
    /// The most that the engine holds while it loads: what it holds now (if it releases first, without its shard), the
    /// weights, the passing copies of those that are copied and, under a memory_limit, the activations, which are
    /// reserved then.
    pub load_peak_bytes: u64,
    /// Weights, KV caches and one run.
    pub total_bytes: u64,
    /// The last layer (INCLUSIVE) of the largest range from the spec's first layer on that can be loaded and used
    /// within the engine's memory_limit or, without one, in what the machine has available; ORTSHARD_NO_LAYER if none
    /// can.
    pub largest_last_layer: i64,
    /// Bytes of weights that one token reads: of an embedding a row, of experts those that it passes.
    pub token_bytes: u64,
}

initial!(ortshard_engine_estimate, ortshard_engine_estimate_init);

/// Estimates the memory of the shard that `spec` names and of `requests` requests on it, of `context` tokens each.
///
/// Loads nothing, takes no memory, opens no socket, and waits for no run. Of a model that is a name, config.json must
/// be in the hub's cache; with a fetch callback that is asked instead. Where the files of the weights are not there,
/// config.json's dtype decides.
///
/// Errors: NOT_FOUND, MALFORMED, UNSUPPORTED, OUT_OF_RANGE, INVALID_ARGUMENT as for ortshard_engine_ensure_shard();
/// OFFLINE if config.json is not here; what the fetch callback returned; IO.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_get_estimate(
    engine: *const ortshard_engine,
    spec: *const ortshard_shard_spec,
    context: u32,
    requests: u32,
    estimate: *mut ortshard_engine_estimate,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(estimate, "estimate") }?;
        // SAFETY: as above.
        let engine = unsafe { borrow(engine, "engine") }?;
        // SAFETY: as above.
        let found = engine.estimate(&unsafe { shard_spec(spec) }?, context, requests)?;
        let estimate = ortshard_engine_estimate {
            struct_size: 0,
            weight_bytes: found.weight_bytes,
            kv_bytes: found.kv_bytes,
            run_bytes: found.run_bytes,
            load_peak_bytes: found.load_peak_bytes,
            total_bytes: found.total_bytes,
            largest_last_layer: found.largest_last_layer.map_or(i64::from(ORTSHARD_NO_LAYER), i64::from),
            token_bytes: found.token_bytes,
        };
        // SAFETY: as above.
        unsafe { write(&out, estimate) }
    })
}
