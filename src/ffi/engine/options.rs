//! Engine and shard spec
//!
//! A model is a folder, or a name. Files of a model that is a name come from the hub's cache and, if they are missing
//! there, from the hub; or, with a fetch callback, from wherever the host program keeps them.
//!
//! An engine keeps one shard resident and replaces it as a transaction. Programs that run several shards in one
//! process use one engine for each.

use std::ffi::{c_char, c_void};
use std::path::PathBuf;
use std::sync::Arc;

use crate::ffi::basics::constants::{
    ORTSHARD_DTYPE_AUTO, ORTSHARD_DTYPE_F16, ORTSHARD_DTYPE_F32, ORTSHARD_DTYPE_INT8, ORTSHARD_PRECISION_AUTO,
    ORTSHARD_PRECISION_EXACT, ORTSHARD_PRECISION_INT4, ORTSHARD_PRECISION_INT4_FINE, ORTSHARD_PRECISION_INT8,
};
use crate::ffi::engine::fetch::HostFetch;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::strings::optional;
use crate::ffi::frame::versioned::{initial, read};
use crate::ffi::host::device;
use crate::{EngineOptions, Fetch, KvType, PackCache, Precision, SourceOptions};

/// Brings one file of a model here and writes its local path, NUL-terminated UTF-8, to `path`, which has room for
/// `capacity` bytes (4096). `revision` may be NULL.
///
/// Returns ORTSHARD_OK; ORTSHARD_ERROR_NOT_FOUND if the model has no such file; or another status for a failure, which
/// the loading function then returns. Called from any thread that loads, from several at once. It must return normally
/// (no longjmp, no C++ exception), and must not free engines, shards or requests; loading, running and clearing return
/// INVALID_STATE from there. The file must stay as it is while the model is in use.
///
/// A shard keeps the callback, since it may be loaded again. So what `user_data` points to must live until the engine,
/// all references to its shards and all requests on these are freed.
pub type ortshard_fetch_callback = Option<
    unsafe extern "C" fn(
        model: *const c_char,
        revision: *const c_char,
        file: *const c_char,
        path: *mut c_char,
        capacity: usize,
        user_data: *mut c_void,
    ) -> ortshard_status,
>;

/// How an engine runs shards. All zero but struct_size: the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_engine_options {
    /// sizeof(ortshard_engine_options).
    pub struct_size: usize,
    /// Where shards run: an ORTSHARD_DEVICE_* constant.
    pub device: i32,
    /// Which device of that kind, from 0.
    pub device_index: u32,
    /// Not 0: a device that is not there, or that cannot run a shard, is an error. 0: the processor takes its place,
    /// and the log and the shard's description say so.
    pub require_device: i32,
    /// How weights are kept: an ORTSHARD_PRECISION_* constant.
    pub precision: i32,
    /// Bytes that the engine's weights, KV caches, outputs and runs may take together. 0: no limit.
    ///
    /// What does not fit is OUT_OF_MEMORY before it is used. Under a limit the runs of a shard go one at a time, in
    /// pieces of as many tokens as fit.
    pub memory_limit: u64,
    /// Not 0: another shard is loaded in place of the present one instead of beside it, for when both do not fit.
    ///
    /// The present one's memory is given back first. If the new one fails, it is loaded again and its requests go on
    /// as if nothing had been; if the new one succeeds, they are stale.
    pub release_first: i32,
    /// Not 0: no socket is opened; what is neither a folder nor in the cache is OFFLINE. Also by the environment's
    /// HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE.
    pub offline: i32,
    /// The hub's cache, as UTF-8. NULL: as the environment says (HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME,
    /// XDG_CACHE_HOME, with `~` and variables in them replaced), else ~/.cache/huggingface/hub.
    pub cache_dir: *const c_char,
    /// Brings the files of models that are no folders, instead of the hub. NULL: the hub and its cache.
    pub fetch: ortshard_fetch_callback,
    /// Passed on to `fetch`, which says how long it must live.
    pub fetch_user_data: *mut c_void,
    /// The folder where quantised shards are kept between loads, as UTF-8. NULL: the environment's ORTSHARD_CACHE, else
    /// $XDG_CACHE_HOME/ortshard, else ~/.cache/ortshard. Empty: none, weights are quantised into memory at each load.
    /// Its files may be deleted at any time.
    pub pack_cache: *const c_char,
    /// Bytes that the folder may take; the shards not used for longest make room. 0: 64 GiB.
    pub pack_cache_limit: u64,
    /// Not 0: shards on the processor run in stock operators, those that ONNX Runtime brings, as they do on other
    /// devices, instead of this library's native ones. A reference to compare with: slower, with a copy of the weights,
    /// exact ones as float32, and with results that differ in the last bits. Needs ONNX Runtime 1.24, and KV caches in
    /// float32.
    pub stock_operators: i32,
    /// What the KV caches of requests hold: ORTSHARD_DTYPE_AUTO (or 0), _F32, _F16 or _INT8. AUTO is what the device
    /// computes in: float32 on the processor; on CUDA the checkpoint's own type, bfloat16 where that is float32.
    ///
    /// _F16 takes half the memory of _F32. A value beyond 65504 in magnitude, the largest there is, becomes that;
    /// infinities and NaNs stay what they are. _INT8 is 8 bits, and one float32 scale for each head's key or value of
    /// one token: little more than a quarter of the memory. A row with a value that is not finite becomes NaNs. Both
    /// are for native operators only, and on CUDA _F32 is refused too: UNSUPPORTED.
    pub kv_type: i32,
    /// Requests whose KV caches are made side by side where shards run in stock operators (on CUDA), so that
    /// ortshard_batch_infer() runs their next tokens together. Their memory is taken at once, for requests of one
    /// capacity. 0: 1. Native operators run any requests together.
    pub batch_slots: u32,
    /// Not 0: decode steps on CUDA are launched operator by operator instead of captured as a CUDA graph and replayed.
    /// For hosts that use CUDA from other threads meanwhile: while a request's first step is captured, CUDA refuses
    /// their allocations.
    pub no_graph_capture: i32,
}

initial!(ortshard_engine_options, ortshard_engine_options_init);

/// # Safety
/// `options` is NULL or as the header says.
pub(in crate::ffi) unsafe fn engine_options(options: *const ortshard_engine_options) -> Result<EngineOptions, Failure> {
    // SAFETY: the caller's promise.
    let options = unsafe { read(options) }?;
    Ok(EngineOptions {
        device: device::from_code(options.device, options.device_index)?,
        require_device: options.require_device != 0,
        precision: precision(options.precision)?,
        stock_operators: options.stock_operators != 0,
        memory_limit: options.memory_limit,
        release_first: options.release_first != 0,
        // SAFETY: as above.
        source: unsafe { source(&options) }?,
        // SAFETY: as above.
        pack_cache: unsafe { pack_cache(options.pack_cache) }?,
        pack_cache_limit: options.pack_cache_limit,
        kv_type: kv_type(options.kv_type)?,
        batch_slots: options.batch_slots,
        no_graph_capture: options.no_graph_capture != 0,
    })
}

/// # Safety
/// The options are as the header says.
unsafe fn source(options: &ortshard_engine_options) -> Result<SourceOptions, Failure> {
    // SAFETY: the caller's promise.
    let cache_dir = unsafe { optional(options.cache_dir, "options->cache_dir") }?.map(PathBuf::from);
    let host =
        options.fetch.map(|fetch| -> Arc<dyn Fetch> { Arc::new(HostFetch::new(fetch, options.fetch_user_data)) });
    Ok(SourceOptions { offline: options.offline != 0, cache_dir, host, ..SourceOptions::default() })
}

/// # Safety
/// `folder` is NULL or as the header says.
unsafe fn pack_cache(folder: *const c_char) -> Result<PackCache, Failure> {
    // SAFETY: the caller's promise.
    Ok(match unsafe { optional(folder, "options->pack_cache") }? {
        None => PackCache::Default,
        Some("") => PackCache::Off,
        Some(folder) => PackCache::Folder(folder.into()),
    })
}

fn precision(code: i32) -> Result<Precision, Failure> {
    match code {
        ORTSHARD_PRECISION_AUTO => Ok(Precision::Auto),
        ORTSHARD_PRECISION_EXACT => Ok(Precision::Exact),
        ORTSHARD_PRECISION_INT8 => Ok(Precision::Int8),
        ORTSHARD_PRECISION_INT4 => Ok(Precision::Int4),
        ORTSHARD_PRECISION_INT4_FINE => Ok(Precision::Int4Fine),
        _ => Err(Failure::invalid(format!("precision is {code}, not an ORTSHARD_PRECISION_* constant"))),
    }
}

fn kv_type(code: i32) -> Result<KvType, Failure> {
    match code {
        ORTSHARD_DTYPE_AUTO => Ok(KvType::Auto),
        ORTSHARD_DTYPE_F32 => Ok(KvType::F32),
        ORTSHARD_DTYPE_F16 => Ok(KvType::F16),
        ORTSHARD_DTYPE_INT8 => Ok(KvType::Int8),
        _ => Err(Failure::invalid(format!("kv_type is {code}, not ORTSHARD_DTYPE_AUTO, _F32, _F16 or _INT8"))),
    }
}
