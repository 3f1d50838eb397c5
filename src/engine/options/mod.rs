//! What a caller can choose.

mod device;
mod kv_type;
mod pack_cache;
mod precision;
mod spec;
mod target;

pub use device::{Device, DeviceInfo};
pub use kv_type::KvType;
pub use pack_cache::PackCache;
pub use precision::Precision;
pub use spec::ShardSpec;
pub(crate) use target::Target;

use crate::source::SourceOptions;

/// Options of an [`Engine`](super::Engine).
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct EngineOptions {
    /// Where shards run.
    pub device: Device,
    /// Whether a device that is not there, or that cannot run a shard, is an error instead of a logged fall-back to the
    /// processor.
    pub require_device: bool,
    /// Whether shards on the processor run in ONNX Runtime's own operators, as they do on other devices, instead of this
    /// library's.
    ///
    /// A reference to compare with: it is slower, and keeps a copy of the weights, exact ones as float32. Its results differ
    /// from the usual ones in the last bits, also between ways to cut a prompt into chunks. Needs ONNX Runtime 1.24, and KV
    /// caches in float32.
    pub stock_operators: bool,
    /// How weights are kept.
    pub precision: Precision,
    /// Where quantised weights are kept from one load to the next.
    pub pack_cache: PackCache,
    /// Bytes that the folder of [`pack_cache`](Self::pack_cache) may take; the shards not used for longest make room. 0: 64 GiB.
    pub pack_cache_limit: u64,
    /// How the KV caches of requests are kept. F16 and int8 are for the processor's own operators only, and on CUDA float32 is
    /// refused too: [`Auto`](KvType::Auto) takes what the checkpoint has.
    pub kv_type: KvType,
    /// Requests whose KV caches are made side by side on a device other than the processor (and with
    /// [`stock_operators`](Self::stock_operators)), so that [`infer_batch`](super::infer_batch) runs their next tokens together.
    /// Their memory is taken at once, for requests of one capacity. 0: 1. The processor's own operators run any requests
    /// together.
    pub batch_slots: u32,
    /// Whether decode steps on CUDA are launched one operator at a time instead of captured as a CUDA graph and replayed. For
    /// hosts that use CUDA from other threads meanwhile: while a request's first step is captured, CUDA refuses their allocations.
    pub no_graph_capture: bool,
    /// Bytes that the engine's weights, KV caches and runs may take together. 0: no limit.
    ///
    /// Big blocks are reserved against it before they are used, and ONNX Runtime's memory is capped, so what does not
    /// fit is an [`OutOfMemory`](crate::ErrorKind::OutOfMemory), not a dead process. Under a limit a shard's runs go
    /// one at a time, in pieces of as many tokens as fit.
    pub memory_limit: u64,
    /// Whether another shard is loaded in place of the resident one instead of beside it.
    ///
    /// For when both do not fit. The old shard's memory is given back first; if the new one fails, the old one is
    /// loaded again and its requests go on as if nothing had been. If the new one succeeds, they are stale.
    pub release_first: bool,
    /// Where the files of models that are no folders come from.
    pub source: SourceOptions,
}

/// Tokens that a KV cache has room for where [`RequestOptions::capacity`] is 0 and the model allows as many.
pub(crate) const DEFAULT_CAPACITY: usize = 4096;
/// Tokens per run where [`RequestOptions::prefill_chunk`] is 0.
pub(crate) const DEFAULT_CHUNK: usize = 512;

/// Options of a [`Request`](super::Request).
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestOptions {
    /// Tokens the KV cache has room for. 0: the model's maximum, at most 4,096.
    pub capacity: u32,
    /// Tokens per run of a long prompt. 0: 512. Any size gives the same bits; smaller needs less memory.
    pub prefill_chunk: u32,
    /// Whether the request keeps no KV cache between calls. Each call computes everything anew in a cache that it gives
    /// back, with the same bits, and takes time in proportion to all tokens so far.
    ///
    /// The request keeps its input instead: 8 bytes a token on a shard that takes ids, 4 x `hidden_size` on others,
    /// which for a few layers with narrow heads can be more than the cache. Its state cannot be exported or imported.
    pub no_cache: bool,
}
