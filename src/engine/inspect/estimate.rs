//! Predicts the memory of a shard from config.json and the tensor headers alone.

use super::blueprint::Blueprint;
use crate::engine::memory::{ROWS, input_bytes, run_bytes, run_within};
use crate::engine::options::{DEFAULT_CHUNK, Device, EngineOptions, ShardSpec, Target};
use crate::engine::session::copied_bytes;
use crate::error::{ErrorKind, Result};
use crate::graph::{Graph, Output, Weight};
use crate::kept::{Density, KeptShape, Room};
use crate::kernels::Dtype;
use crate::model::{StoredDtype, may_end_at};
use crate::runtime;
use crate::source::{self, FileState, ModelFiles, SourceOptions};
use crate::weights::{self, Catalogue, WeightTable};

/// Memory that a shard and requests on it take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The weights, as stored or, in another precision, as packed. They are pages of files, which processes that map the same files
    /// share. The stock operators, so all devices but the processor, also keep copies, which are included.
    pub weight_bytes: u64,
    /// The KV caches of all the requests, when full, and their recurrent states: of a model that has such, also the input that a request
    /// keeps to come back to them.
    pub kv_bytes: u64,
    /// The activations of one run, and the request's output: the last token's logits, or all hidden states. A run has up to 512
    /// tokens, or as many as the engine's limit has room for.
    pub run_bytes: u64,
    /// The most that is held while the shard loads: what the engine holds now (with
    /// [`release_first`](crate::EngineOptions::release_first) without the resident shard), the weights and, under a limit, the
    /// activations, which are reserved then. If the weights are copied, a passing copy and one more of the largest tensor come on
    /// top.
    pub load_peak_bytes: u64,
    /// Weights, KV caches and one run.
    pub total_bytes: u64,
    /// Bytes of weights that one token reads: of an embedding a row, of experts those that it passes.
    pub token_bytes: u64,
    /// The last layer (inclusive) of the largest range, from the spec's first layer on, that fits into memory: into the engine's
    /// limit or, without a limit, into what the device has available. `None` if not even one layer fits.
    pub largest_last_layer: Option<u32>,
}

/// What an estimate needs to know of the engine.
pub(crate) struct Situation<'e> {
    pub options: &'e EngineOptions,
    pub target: &'e Target,
    pub limit: Option<u64>,
    /// Bytes that stay reserved while another shard is loaded.
    pub held: u64,
}

/// Predicts the memory of `requests` requests of `context` tokens each on the shard of `spec`; `sources` are offline.
pub(crate) fn estimate(
    engine: &Situation,
    sources: &SourceOptions,
    spec: &ShardSpec,
    context: u32,
    requests: u32,
) -> Result<Estimate> {
    let files = source::open(&spec.model, spec.revision.as_deref(), sources)?;
    let mut catalogue = Catalogue::here(&*files)?;
    let blueprint = Blueprint::read_here(&*files, spec, catalogue.as_mut())?;
    let (first, layers) = (blueprint.range.start, blueprint.range.layers);
    let mut headers = Headers::new(&*files, catalogue.as_ref());
    let mut estimate = engine.predict(&mut headers, &blueprint, context, requests)?;

    // The machine's available memory does not include what the engine holds already.
    let (room, held) = match engine.limit {
        Some(limit) => (limit, 0),
        // If the system does not say how much is available, all layers fit.
        None => (Some(available(engine.target)).filter(|available| *available > 0).unwrap_or(u64::MAX), engine.held),
    };
    let within = |estimate: &Estimate| estimate.total_bytes.max(estimate.load_peak_bytes - held) <= room;
    let mut fits = |last: usize| {
        if last == blueprint.range.end {
            return Ok(within(&estimate));
        }
        let blueprint = blueprint.with_range(first, last, catalogue.as_ref());
        match engine.predict(&mut headers, &blueprint, context, requests) {
            Ok(of_range) => Ok(within(&of_range)),
            // More layers may have some that stock operators cannot compute: that range does not load.
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(false),
            Err(error) => Err(error),
        }
    };
    // More layers take more memory, so that the ranges are halved until it is known where memory ends. Mostly all fit.
    let ends: Vec<usize> = (first..layers).filter(|end| may_end_at(&blueprint.config, *end)).collect();
    let (mut least, mut most) = if fits(layers - 1)? { (ends.len(), ends.len()) } else { (0, ends.len() - 1) };
    while least < most {
        let middle = usize::midpoint(least, most);
        if fits(ends[middle])? { least = middle + 1 } else { most = middle }
    }
    estimate.largest_last_layer = least.checked_sub(1).map(|last| ends[last] as u32);
    Ok(estimate)
}

/// Bytes of memory that are free where shards on `target` run; 0 if unknown.
fn available(target: &Target) -> u64 {
    match target.device {
        Device::Cuda(index) => runtime::gpus().get(index as usize).map_or(0, |gpu| gpu.free),
        Device::Auto | Device::Cpu | Device::CoreMl => runtime::memory().1,
    }
}

impl Situation<'_> {
    /// The estimate of one range, without the largest one.
    pub(super) fn predict(
        &self,
        headers: &mut Headers,
        blueprint: &Blueprint,
        context: u32,
        requests: u32,
    ) -> Result<Estimate> {
        let Blueprint { config, graph, .. } = blueprint;
        let precision = self.options.precision;
        let wanted = graph.weights();
        let table = headers.of(&wanted)?;
        let said = config.dtype.map(|dtype| match dtype {
            StoredDtype::F32 => Dtype::F32,
            StoredDtype::F16 => Dtype::F16,
            StoredDtype::Bf16 => Dtype::BF16,
        });
        let stored = table.and_then(|table| table.dtype_of(&wanted)).or(said);
        let bytes = |weight: &Weight| match table.and_then(|table| table.get(&weight.name)) {
            Some(stored) => stored.len(),
            None => weight.stored_bytes(said.map_or(4, Dtype::size)),
        };
        let weight_bytes = precision.bytes(&wanted, bytes);
        let token_bytes = graph.token_bytes(&|weight| precision.bytes(&[weight], bytes));
        let dtype = self.target.dtype(stored);
        let copies = copied_bytes(self.target, dtype, precision.blocks(), graph, config, table)?;
        let (copied, passing) = copies.unwrap_or_default();
        let weight_bytes = weight_bytes + copied;
        let kept = KeptShape::new(graph, self.options.kv_type.rows());
        let kv_bytes = if copies.is_some() {
            let together = u64::from(self.options.batch_slots.max(1));
            let token = kept.values_per_token() * dtype.size() as u64;
            token.saturating_mul(context.into()).saturating_mul(u64::from(requests).next_multiple_of(together))
        } else {
            native_kv_bytes(&kept, graph, context, requests)
        };
        let held = self.held;
        let scratch = |rows| if copies.is_some() { 0 } else { precision.scratch_bytes(graph, rows) };
        let (rows, arena) = if let Some(limit) = self.limit {
            run_within(self.target, graph, scratch, limit.saturating_sub(held + weight_bytes + passing))
        } else {
            let rows = ROWS.min(context.max(1) as usize);
            (rows, run_bytes(graph, rows))
        };
        let activations = arena + scratch(rows);
        let reserved = if self.limit.is_some() { activations } else { 0 };
        let run_bytes = activations + output_bytes(graph, context);
        Ok(Estimate {
            weight_bytes,
            kv_bytes,
            run_bytes,
            load_peak_bytes: held + weight_bytes + passing + reserved,
            total_bytes: weight_bytes.saturating_add(kv_bytes).saturating_add(run_bytes),
            token_bytes,
            largest_last_layer: None,
        })
    }
}

/// Bytes of the native KV caches of `requests` requests of `context` tokens on a shard of `graph`, which keep what `kept` says.
pub(super) fn native_kv_bytes(kept: &KeptShape, graph: &Graph, context: u32, requests: u32) -> u64 {
    let capacity = context as usize;
    let input = if kept.has_states() { input_bytes(&graph.input.widths(), capacity) } else { 0 };
    let room = Room { capacity, chunk: DEFAULT_CHUNK, snapshots: Density::default() };
    kept.bytes(room).saturating_add(input).saturating_mul(requests.into())
}

/// Bytes of what a request of `context` tokens gets: the last token's logits, or all hidden states.
pub(super) fn output_bytes(graph: &Graph, context: u32) -> u64 {
    let values = match &graph.output {
        Output::Logits(logits) => logits.width,
        parts @ Output::Parts(_) => context as usize * parts.widths().iter().map(|(_, width)| width).sum::<usize>(),
    };
    (values * size_of::<f32>()) as u64
}

/// The headers of the checkpoint's files, read once each.
pub(super) struct Headers<'f> {
    files: &'f dyn ModelFiles,
    catalogue: Option<&'f Catalogue>,
    /// The tensors that were asked for.
    known: WeightTable,
}

impl<'f> Headers<'f> {
    pub(super) fn new(files: &'f dyn ModelFiles, catalogue: Option<&'f Catalogue>) -> Self {
        Self { files, catalogue, known: WeightTable::default() }
    }

    /// The tensors `wanted` among others, if the files that hold them are here.
    fn of(&mut self, wanted: &[&Weight]) -> Result<Option<&WeightTable>> {
        let Some(catalogue) = self.catalogue else { return Ok(None) };
        let new: Vec<&Weight> =
            wanted.iter().copied().filter(|weight| self.known.get(&weight.name).is_none()).collect();
        if new.is_empty() {
            return Ok(Some(&self.known));
        }
        for file in catalogue.files(&new)? {
            if !matches!(self.files.audit(file)?, FileState::Present { .. }) {
                return Ok(None);
            }
        }
        match weights::load(self.files, catalogue, &new, &mut |_| Ok(())) {
            Ok(table) => {
                self.known.extend(table);
                Ok(Some(&self.known))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Offline) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
