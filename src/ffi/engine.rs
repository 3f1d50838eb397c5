//! Engine and shard spec
//!
//! A model is a folder, or a name. Files of a model that is a name come from the hub's cache and, if they are missing
//! there, from the hub; or, with a fetch callback, from wherever the host program keeps them.
//!
//! An engine keeps one shard resident and replaces it as a transaction. Programs that run several shards in one
//! process use one engine for each.

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::device;
use super::fetch::HostFetch;
use super::guard::guard;
use super::handle::{Out, borrow, free, give, give_shared};
use super::objects::{ortshard_engine, ortshard_shard};
use super::options::{Options, Versioned, init, read};
use super::status::{Failure, ortshard_status};
use super::strings::{optional, text};
use super::tensor::{ORTSHARD_DTYPE_AUTO, ORTSHARD_DTYPE_F16, ORTSHARD_DTYPE_F32, ORTSHARD_DTYPE_INT8};
use crate::{
    Engine, EngineOptions, Fetch, KvType, PackCache, Precision, Progress, Shard, ShardSpec, SourceOptions, Stage,
};

/// The best for the device; on the processor, ORTSHARD_PRECISION_EXACT.
pub const ORTSHARD_PRECISION_AUTO: i32 = 0;
/// The checkpoint's own bf16, fp16 or f32 weights, in float32 arithmetic; on CUDA in that of their own type, f32 in bf16.
pub const ORTSHARD_PRECISION_EXACT: i32 = 1;
/// 8 bits a weight, one scale for 128 of a row: nearly exact.
pub const ORTSHARD_PRECISION_INT8: i32 = 2;
/// 4 bits a weight, one scale for 128 of a row: the fastest and smallest.
pub const ORTSHARD_PRECISION_INT4: i32 = 3;
/// 4 bits a weight, one scale for 32 of a row: closer to exact, a tenth slower.
pub const ORTSHARD_PRECISION_INT4_FINE: i32 = 4;

/// cbindgen:ignore
pub const ORTSHARD_LAST_LAYER: u32 = ShardSpec::LAST;

/// Reading config.json.
pub const ORTSHARD_STAGE_INSPECT: i32 = 1;
/// Finding the files that hold the shard's tensors, and bringing those that are not here.
pub const ORTSHARD_STAGE_FETCH: i32 = 2;
/// Mapping weights.
pub const ORTSHARD_STAGE_WEIGHTS: i32 = 3;
/// Quantising them, where the precision asks for it and the cache of packed shards does not have them.
pub const ORTSHARD_STAGE_PACK: i32 = 4;
/// Creating the ONNX Runtime session.
pub const ORTSHARD_STAGE_SESSION: i32 = 5;
/// Done. Comes last and once.
pub const ORTSHARD_STAGE_READY: i32 = 6;

//# /** Default ortshard_engine_options. @since 0.1 */
//# #define ORTSHARD_ENGINE_OPTIONS_INIT \
//#     { sizeof(ortshard_engine_options), 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0 }
//#
//# /** Stands for a model's last layer in ortshard_shard_spec. */
//# #define ORTSHARD_LAST_LAYER UINT32_MAX
//#
//# /** An ortshard_shard_spec of all layers; set its `model`. @since 0.1 */
//# #define ORTSHARD_SHARD_SPEC_INIT { sizeof(ortshard_shard_spec), NULL, NULL, 0, ORTSHARD_LAST_LAYER, 0 }

/// Brings one file of a model here and writes its local path, NUL-terminated UTF-8, to `path`, which has room for
/// `capacity` bytes (4096). `revision` may be NULL.
///
/// Returns ORTSHARD_OK; ORTSHARD_ERROR_NOT_FOUND if the model has no such file; or another status for a failure, which
/// the loading function then returns. Called from any thread that loads, from several at once. It must return normally
/// (no longjmp, no C++ exception), and must not free engines, shards or requests; loading, running and clearing return
/// INVALID_STATE from there. The file must stay as it is while the model is in use.
///
/// A shard keeps the callback, since it may be loaded again. So what `user_data` points to must live until the engine, all
/// references to its shards and all requests on these are freed.
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
    /// Not 0: a device that is not there, or that cannot run a shard, is an error. 0: the processor takes its place, and
    /// the log and the shard's description say so.
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
    /// Not 0: shards on the processor run in ONNX Runtime's own operators, as they do on other devices, instead of this
    /// library's. A reference to compare with: slower, with a copy of the weights, exact ones as float32, and with results
    /// that differ in the last bits. Needs ONNX Runtime 1.24, and KV caches in float32.
    pub stock_operators: i32,
    /// What the KV caches of requests hold: ORTSHARD_DTYPE_AUTO (or 0), _F32, _F16 or _INT8. AUTO is what the device
    /// computes in: float32 on the processor; on CUDA the checkpoint's own type, bfloat16 where that is float32.
    ///
    /// _F16 takes half the memory of _F32. A value beyond 65504 in magnitude, the largest there is, becomes that;
    /// infinities and NaNs stay what they are. _INT8 is 8 bits, and one float32 scale for each head's key or value of one
    /// token: little more than a quarter of the memory. A row with a value that is not finite becomes NaNs. Both are for
    /// the processor's own operators only, and on CUDA _F32 is refused too: UNSUPPORTED.
    pub kv_type: i32,
    /// Requests whose KV caches are made side by side where shards run in ONNX Runtime's own operators (on CUDA), so that
    /// ortshard_batch_infer() runs their next tokens together. Their memory is taken at once, for requests of one capacity.
    /// 0: 1. The processor's own operators run any requests together.
    pub batch_slots: u32,
    /// Not 0: decode steps on CUDA are launched operator by operator instead of captured as a CUDA graph and replayed. For
    /// hosts that use CUDA from other threads meanwhile: while a request's first step is captured, CUDA refuses their
    /// allocations.
    pub no_graph_capture: i32,
}

impl Versioned for ortshard_engine_options {
    const NAME: &'static str = "ortshard_engine_options";
}

impl Options for ortshard_engine_options {
    const DEFAULT: Self = Self {
        struct_size: size_of::<Self>(),
        device: 0,
        device_index: 0,
        require_device: 0,
        precision: 0,
        memory_limit: 0,
        release_first: 0,
        offline: 0,
        cache_dir: std::ptr::null(),
        fetch: None,
        fetch_user_data: std::ptr::null_mut(),
        pack_cache: std::ptr::null(),
        pack_cache_limit: 0,
        stock_operators: 0,
        kv_type: 0,
        batch_slots: 0,
        no_graph_capture: 0,
    };
}

/// Which layers of which model. Start from ORTSHARD_SHARD_SPEC_INIT: the layers are taken as they stand, zero is
/// layer 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_shard_spec {
    /// sizeof(ortshard_shard_spec).
    pub struct_size: usize,
    /// The model's folder or its name on the hub (`name` or `org/name`), as UTF-8. Read during the call only.
    pub model: *const c_char,
    /// Branch, tag or commit of a model on the hub. NULL: "main".
    pub revision: *const c_char,
    /// The first layer, from 0.
    pub first_layer: u32,
    /// The last layer, INCLUSIVE: 0 and 3 are four layers. ORTSHARD_LAST_LAYER: the model's last.
    pub last_layer: u32,
    /// Layers of the whole model, to check that the right model is there: another number is an error. 0: no check.
    pub n_layers: u32,
}

impl Versioned for ortshard_shard_spec {
    const NAME: &'static str = "ortshard_shard_spec";
}

impl Options for ortshard_shard_spec {
    const DEFAULT: Self = Self {
        struct_size: size_of::<Self>(),
        model: std::ptr::null(),
        revision: std::ptr::null(),
        first_layer: 0,
        last_layer: ORTSHARD_LAST_LAYER,
        n_layers: 0,
    };
}

/// How far loading is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_progress {
    /// The size that the library knows; later fields are not there.
    pub struct_size: usize,
    /// An ORTSHARD_STAGE_* constant; they come in order.
    pub stage: i32,
    /// Bytes of files brought here (FETCH) or of weights mapped (later) so far.
    pub bytes_done: u64,
    /// Bytes in all; 0 while that is not known.
    pub bytes_total: u64,
    /// Tensors mapped so far.
    pub tensors_done: u64,
    /// Tensors in all; 0 while that is not known.
    pub tensors_total: u64,
}

/// Is told about each step of loading; `progress` lives for the length of the call. Returns 0 to go on, anything else
/// to cancel.
///
/// Called from the thread that called the loading function. Loading or clearing on the same engine returns INVALID_STATE
/// from there, since it would wait for itself; an engine that is freed there goes when the loading function returns. It
/// must return normally (no longjmp, no C++ exception).
pub type ortshard_progress_callback =
    Option<unsafe extern "C" fn(progress: *const ortshard_progress, user_data: *mut c_void) -> i32>;

/// Fills `options`, of `struct_size` bytes, with defaults, for languages without ORTSHARD_ENGINE_OPTIONS_INIT.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a bad size. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_options_init(
    options: *mut ortshard_engine_options,
    struct_size: usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    guard(|| unsafe { init(options, struct_size) })
}

/// Fills `spec`, of `struct_size` bytes, with ORTSHARD_SHARD_SPEC_INIT, for languages without macros.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a bad size. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_shard_spec_init(
    spec: *mut ortshard_shard_spec,
    struct_size: usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    guard(|| unsafe { init(spec, struct_size) })
}

/// Creates an engine without a shard. NULL `options`: the defaults. Loads ONNX Runtime if no call has yet.
///
/// Errors: those of ortshard_runtime_load(); DEVICE_UNAVAILABLE if the device is required; UNSUPPORTED for a kv_type that
/// the operators it asks for do not have; INVALID_ARGUMENT for an option that is none; VERSION_MISMATCH; NULL_ARGUMENT.
/// Threads: any. Ownership: free `*engine` with ortshard_engine_free(). @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_create(
    options: *const ortshard_engine_options,
    engine: *mut *mut ortshard_engine,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(engine, "engine") }?;
        // SAFETY: as above.
        let options = unsafe { read(options) }?;
        out.set(give(Engine::new(EngineOptions {
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
        })?));
        Ok(())
    })
}

/// Frees an engine, and its shard once no request and no reference holds it. NULL is ignored. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_free(engine: *mut ortshard_engine) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(engine, "engine") });
}

/// Makes the shard that `spec` names the engine's shard and gives a reference to it.
///
/// If it is resident already, nothing happens: the same layers of the same folder, however its path is spelled, with the
/// model's own weights, and the files as they were. Of a model that is a name, the name and the revision count. Otherwise
/// the shard is built beside the present one, which is replaced when the new one is ready: after any failure the old shard
/// is still there. Requests on a replaced shard go on working, and keep it in memory until they are freed; with the
/// option release_first they become stale instead.
///
/// A relative path means what it means now, whatever the working directory is later.
///
/// `progress`, unless NULL, is called after each step with `user_data`.
///
/// Errors: NOT_FOUND for a folder, model, file or tensor that is missing; MALFORMED and UNSUPPORTED for a model that
/// cannot be run; OUT_OF_RANGE for layers that the model does not have, or a first_layer after last_layer;
/// INVALID_ARGUMENT if n_layers is not the model's, if the model is the path of a file, or for a bad revision or one of a
/// folder; OFFLINE for files that are not in the cache when the network is off; HASH_MISMATCH for a download that is
/// not what the hub promised; what the fetch callback returned; CANCELLED by `progress`; OUT_OF_MEMORY (site LOAD);
/// DEVICE_UNAVAILABLE if the device is required and takes no part of the shard; INVALID_STATE from a callback of a load
/// on this engine; IO; ONNXRUNTIME; INVALID_UTF8; VERSION_MISMATCH; NULL_ARGUMENT.
/// Threads: many at once; loading happens one after another. Ownership: free `*shard` with ortshard_shard_free().
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_ensure_shard(
    engine: *const ortshard_engine,
    spec: *const ortshard_shard_spec,
    progress: ortshard_progress_callback,
    user_data: *mut c_void,
    shard: *mut *mut ortshard_shard,
) -> ortshard_status {
    let load = |engine: &Engine, progress: Told<'_>| {
        // SAFETY: the header's contract.
        Ok(engine.ensure_shard(&unsafe { shard_spec(spec) }?, progress)?)
    };
    // SAFETY: as above.
    guard(|| unsafe { give_loaded(engine, progress, user_data, shard, load) })
}

/// Gives a reference to the engine's shard, or NULL (and ORTSHARD_OK) if it has none.
///
/// Errors: NULL_ARGUMENT.
/// Threads: many at once. Ownership: free `*shard` with ortshard_shard_free(). @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_current_shard(
    engine: *const ortshard_engine,
    shard: *mut *mut ortshard_shard,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(shard, "shard") }?;
        // SAFETY: as above.
        if let Some(current) = unsafe { borrow(engine, "engine") }?.current_shard() {
            out.set(give_shared(current));
        }
        Ok(())
    })
}

/// Gives back the memory of the engine's shard: its weights, its session, and the KV caches of the requests on it. The
/// engine can load again.
///
/// Handles on the shard and its requests stay valid and are freed as usual; their calls return STALE_SHARD. Until it is
/// freed, a request keeps its last output and, if it was made with no_cache, its input. Shards that were replaced before
/// are not the engine's any more: they and their requests go on working, and keep their memory until they are freed.
///
/// Errors: INVALID_STATE from a callback of a load on this engine; NULL_ARGUMENT.
/// Threads: many at once; waits for a load and for runs in progress. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_clear(engine: *const ortshard_engine) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        Ok(unsafe { borrow(engine, "engine") }?.clear()?)
    })
}

/// Deletes every quantised shard from the engine's cache of them. Shards in use go on working.
///
/// `freed`, unless NULL, gets the bytes of the files. Errors: NULL_ARGUMENT. Threads: any. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_clear_pack_cache(
    engine: *const ortshard_engine,
    freed: *mut u64,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let bytes = unsafe { borrow(engine, "engine") }?.clear_pack_cache();
        // SAFETY: as above.
        if let Ok(freed) = unsafe { Out::new(freed, "freed") } {
            freed.set(bytes);
        }
        Ok(())
    })
}

/// Who is told how far loading is.
pub(super) type Told<'a> = Option<&'a mut dyn FnMut(&Progress) -> ControlFlow<()>>;

/// The frame of the functions that load a shard: `load` makes it the engine's, `shard` becomes a reference to it.
///
/// # Safety
/// The arguments are as the header says.
pub(super) unsafe fn give_loaded(
    engine: *const ortshard_engine,
    progress: ortshard_progress_callback,
    user_data: *mut c_void,
    shard: *mut *mut ortshard_shard,
    load: impl FnOnce(&Engine, Told<'_>) -> Result<Arc<Shard>, Failure>,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::handle(shard, "shard") }?;
    // SAFETY: as above.
    let engine = unsafe { borrow(engine, "engine") }?;
    // SAFETY: as above.
    out.set(give_shared(unsafe { reporting(progress, user_data, |progress| load(&engine, progress)) }?));
    Ok(())
}

/// Calls `load` with the caller's progress callback, if there is one.
///
/// # Safety
/// The callback and its `user_data` are as the header says.
pub(super) unsafe fn reporting<T>(
    callback: ortshard_progress_callback,
    user_data: *mut c_void,
    load: impl FnOnce(Told<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Some(callback) = callback else { return load(None) };
    let mut tell = |now: &Progress| {
        let now = describe(now);
        // SAFETY: the callback is called as the header says, in the caller's thread and call.
        match unsafe { callback(&raw const now, user_data) } {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    };
    load(Some(&mut tell))
}

/// # Safety
/// `spec` is NULL or as the header says.
pub(super) unsafe fn shard_spec(spec: *const ortshard_shard_spec) -> Result<ShardSpec, Failure> {
    if spec.is_null() {
        return Err(Failure::null("spec"));
    }
    // SAFETY: the caller's promise.
    let spec = unsafe { read(spec) }?;
    Ok(ShardSpec {
        // SAFETY: as above.
        model: unsafe { text(spec.model, "spec->model") }?.to_owned(),
        first_layer: spec.first_layer,
        last_layer: spec.last_layer,
        n_layers: spec.n_layers,
        // SAFETY: as above.
        revision: unsafe { optional(spec.revision, "spec->revision") }?.map(str::to_owned),
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

fn describe(progress: &Progress) -> ortshard_progress {
    ortshard_progress {
        struct_size: size_of::<ortshard_progress>(),
        stage: match progress.stage {
            Stage::Inspect => ORTSHARD_STAGE_INSPECT,
            Stage::Fetch => ORTSHARD_STAGE_FETCH,
            Stage::Weights => ORTSHARD_STAGE_WEIGHTS,
            Stage::Pack => ORTSHARD_STAGE_PACK,
            Stage::Session => ORTSHARD_STAGE_SESSION,
            Stage::Ready => ORTSHARD_STAGE_READY,
        },
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
        tensors_done: progress.tensors_done as u64,
        tensors_total: progress.tensors_total as u64,
    }
}
