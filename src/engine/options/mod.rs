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
    /// Whether a device that is missing or cannot run a shard is an error. If this is not set, the processor takes the device's place,
    /// and the log says so.
    pub require_device: bool,
    /// Whether shards on the processor run in stock operators, those that ONNX Runtime brings, as they do on other devices, and not
    /// in this library's native ones.
    ///
    /// The stock operators are a reference to compare with. They are slower and keep a copy of the weights, exact ones as float32.
    /// Their results differ from the native ones in the last bits, also between ways to cut a prompt into chunks. They need ONNX
    /// Runtime 1.24, and KV caches in float32.
    pub stock_operators: bool,
    /// How weights are kept.
    pub precision: Precision,
    /// Where quantised weights are kept from one load to the next.
    pub pack_cache: PackCache,
    /// Bytes that the folder of [`pack_cache`](Self::pack_cache) may take. The shards that have not been used for longest make room.
    /// 0: 64 GiB.
    pub pack_cache_limit: u64,
    /// How the KV caches of requests are kept. Only the native operators take F16 and int8, and CUDA takes only
    /// [`Auto`](KvType::Auto), the checkpoint's own type.
    pub kv_type: KvType,
    /// How many requests of one capacity get their KV caches side by side with the stock operators, so that
    /// [`infer_batch`](super::infer_batch) runs their next tokens together. The memory of all these caches is taken at once. 0: 1.
    /// The native operators run any requests together.
    pub batch_slots: u32,
    /// Whether decode steps on CUDA are launched one operator at a time, and not captured as a CUDA graph and replayed. This is for
    /// hosts that use CUDA from other threads: while a request's first step is captured, CUDA refuses their allocations.
    pub no_graph_capture: bool,
    /// Bytes that the engine's weights, KV caches and runs may take together. 0: no limit.
    ///
    /// Big blocks are reserved against the limit before they are used, and ONNX Runtime's memory is capped. So what does not fit is
    /// an [`OutOfMemory`](crate::ErrorKind::OutOfMemory) error, not a dead process. Under a limit a shard's runs go one at a time, in
    /// pieces of as many tokens as fit.
    pub memory_limit: u64,
    /// Whether another shard is loaded in place of the resident one instead of beside it.
    ///
    /// This is for two shards that do not both fit. The old shard's memory is given back first. If the new shard cannot be loaded,
    /// the old one is loaded again, and its requests go on as if nothing had happened. Otherwise its requests are stale.
    pub release_first: bool,
    /// Where the files of a model come from if it is not a folder.
    pub source: SourceOptions,
}

/// Tokens that a KV cache has room for if [`RequestOptions::capacity`] is 0 and the model allows as many.
pub(crate) const DEFAULT_CAPACITY: usize = 4096;
/// Tokens per run if [`RequestOptions::prefill_chunk`] is 0.
pub(crate) const DEFAULT_CHUNK: usize = 512;

/// Options of a [`Request`](super::Request).
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestOptions {
    /// Tokens the KV cache has room for. 0: the model's maximum, at most 4,096.
    pub capacity: u32,
    /// Tokens per run of a long prompt. 0: 512. Every size gives the same bits; a smaller one needs less memory.
    pub prefill_chunk: u32,
    /// Whether the request keeps no KV cache between calls. Each call computes everything anew in a passing cache, with the same bits,
    /// and takes time in proportion to all tokens so far.
    ///
    /// The request keeps its input instead: 8 bytes a token on a shard that takes ids, 4 x `hidden_size` on others. For a few layers
    /// with narrow heads that can be more than the cache. The request's state cannot be exported or imported.
    pub no_cache: bool,
    /// Whether the request rotates positions as in long texts from its first token on, in a model that rotates short texts in another
    /// way ([`ShardInfo::short_context`](super::ShardInfo::short_context)). If this is not set, the first run decides: its tokens are
    /// a short text or a long one. So a long prompt that comes in several calls needs this, and so does a text that has grown from
    /// short to long, which must be run again from its first token. In other models it changes nothing.
    pub long_context: bool,
    /// Tokens between two states that are put aside to go back to, in a model whose layers have some that no request can go back
    /// with: convolutions, linear attention. 0: 256. What lies between them is run again after a
    /// [`truncate`](super::Request::truncate) to there. When [`snapshot_bytes`](Self::snapshot_bytes) are full, every second one makes
    /// room, and the interval doubles.
    pub snapshot_interval: u32,
    /// Bytes that states may take which are put aside at intervals. 0: as many as eight of them take; fewer than one takes: none are.
    /// Three more are always there. The memory is reserved when the request is made.
    pub snapshot_bytes: u64,
}
