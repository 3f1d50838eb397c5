//! What a shard will take, from config.json and the tensor headers alone.

use super::Engine;
use super::head::inspect_here;
use super::options::ShardSpec;
use super::precision::Precision;
use super::shard::{ROWS, run_bytes};
use crate::error::{ErrorKind, Result};
use crate::graph::{Graph, Weight};
use crate::kv::KvShape;
use crate::model::{ModelConfig, Range};
use crate::source::{self, ModelFiles, SourceOptions};
use crate::weights;

/// Memory that a shard and requests on it take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The weights, as stored or, in another precision, as packed: file pages, shared with other processes that map the same files.
    pub weight_bytes: u64,
    /// The KV caches of all the requests, when full.
    pub kv_bytes: u64,
    /// Activations of one run of up to 512 tokens, and the request's output.
    pub run_bytes: u64,
    /// The most that is held while loading: the weights, and the shard before unless it is released first.
    pub load_peak_bytes: u64,
    /// Weights, KV caches and one run.
    pub total_bytes: u64,
    /// The last layer (inclusive) of the largest range from the spec's first layer on whose total fits into the
    /// memory: the engine's limit, or what the machine has available without one. `None` if not even one layer does.
    pub largest_end_layer: Option<u32>,
}

impl Engine {
    /// Predicts the memory of `requests` requests of `context` tokens each on the shard of `spec`. Reads config.json and
    /// the headers of the files that hold the shard's tensors; where those are not there, config.json's dtype decides.
    pub fn estimate(&self, spec: &ShardSpec, context: u32, requests: u32) -> Result<Estimate> {
        // Whatever the engine may do, an estimate opens no socket.
        let sources = SourceOptions { offline: true, ..self.options.source.clone() };
        let files = source::open(&spec.model, spec.revision.as_deref(), &sources)?;
        let (config, range, graph) = inspect_here(&*files, spec)?;
        let tokens = u64::from(context) * u64::from(requests);
        let parts = parts(&*files, &config, range, &graph, tokens, context, self.options.precision)?;
        let [weight_bytes, kv_bytes, run_bytes] = parts;
        let held = if self.options.release_first { 0 } else { self.budget.used() };

        let room = self.budget.limit().unwrap_or_else(available);
        let mut largest_end_layer = None;
        for end in range.start..range.layers {
            let spec = ShardSpec { end_layer: end as u32, ..spec.clone() };
            let (config, range, graph) = inspect_here(&*files, &spec)?;
            let parts = self::parts(&*files, &config, range, &graph, tokens, context, self.options.precision)?;
            if parts.iter().sum::<u64>() > room {
                break;
            }
            largest_end_layer = Some(end as u32);
        }
        Ok(Estimate {
            weight_bytes,
            kv_bytes,
            run_bytes,
            load_peak_bytes: held + weight_bytes,
            total_bytes: parts.iter().sum(),
            largest_end_layer,
        })
    }
}

/// Bytes of weights, KV caches and a run.
fn parts(
    files: &dyn ModelFiles,
    config: &ModelConfig,
    range: Range,
    graph: &Graph,
    tokens: u64,
    context: u32,
    precision: Precision,
) -> Result<[u64; 3]> {
    let wanted = graph.weights();
    let table = match weights::load(files, None, &wanted, &mut |_| Ok(())) {
        Ok(table) => Some(table),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Offline) => None,
        Err(error) => return Err(error),
    };
    let stored = |weight: &Weight| match table.as_ref().and_then(|table| table.get(&weight.name)) {
        Some(stored) => stored.len(),
        None => weight.shape.iter().product::<usize>() as u64 * config.dtype.map_or(4, |dtype| dtype.size() as u64),
    };
    let weights = precision.bytes(&wanted, stored);
    let kv = KvShape { layers: range.len(), kv_heads: config.kv_heads, head_dim: config.head_dim };
    let rows = ROWS.min(context.max(1) as usize);
    let output = if range.is_last() { config.vocab_size } else { context as usize * config.hidden_size };
    Ok([
        weights,
        kv.bytes_per_token().saturating_mul(tokens),
        run_bytes(graph, rows) + (output * size_of::<f32>()) as u64,
    ])
}

/// Memory the machine has available; as good as unlimited where the system does not say.
fn available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.map_or(u64::MAX, |kilobytes| kilobytes * 1024)
}
