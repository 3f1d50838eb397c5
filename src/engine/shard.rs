//! A loaded range of layers.

use std::path::Path;
use std::sync::{Arc, Weak};

use once_cell::sync::OnceCell;
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};

use super::budget::{Budget, Reservation};
use super::cache::KvRows;
use super::callout;
use super::checkpoint::Checkpoint;
use super::device::Target;
use super::head;
use super::options::{EngineOptions, ShardSpec, Stage};
use super::precision::Packer;
use super::progress::Report;
use super::session::Session;
use super::shard_info::ShardInfo;
use super::slots::Slots;
use super::stats::Counters;
use crate::error::{Result, Site, bail, err};
use crate::graph::Graph;
use crate::kv::KvShape;
use crate::model::{self, ModelConfig, Range};
use crate::source::{self, ModelFiles, OnTransfer, names};
use crate::weights::{self, WeightTable};

/// A config.json is a few kilobytes.
const CONFIG_LIMIT: u64 = 4 << 20;

/// Layers `start..=end` of a model, ready to run. Share it between threads and requests.
///
/// What it computes never changes. Its memory may go before its handles do: when the engine is cleared, or gives the
/// memory to another shard first, the shard is *retired* and calls on it return
/// [`StaleShard`](crate::ErrorKind::StaleShard).
#[derive(Debug)]
pub struct Shard {
    info: ShardInfo,
    config: ModelConfig,
    graph: Graph,
    kv: KvShape,
    /// Held for reading by every run, so that whoever takes the memory away waits for runs in progress.
    residence: RwLock<Residence>,
    /// Where those of requests on another device get theirs.
    slots: Slots,
    /// The KV caches of its requests, to be given back when it retires.
    caches: Mutex<Vec<Weak<CacheSlot>>>,
    fingerprint: OnceCell<[u8; 32]>,
    source: Checkpoint,
    packer: Packer,
    target: Target,
    /// Under a memory limit runs go one at a time: the arena has room for one.
    turn: Option<Mutex<()>>,
    pub(super) budget: Arc<Budget>,
    pub(super) counters: Arc<Counters>,
}

/// Where a request keeps its KV cache; empty once the shard is retired.
pub(super) type CacheSlot = Mutex<Option<Cache>>;

/// A KV cache and the bytes it took from the budget.
#[derive(Debug)]
pub(super) struct Cache {
    pub rows: KvRows,
    _memory: Option<Reservation>,
}

/// Whether a shard's memory is there.
#[derive(Debug)]
enum Residence {
    Here(Box<Loaded>),
    /// Given up for another shard that is being built; it may come back.
    Suspended,
    /// Given up to be built again, which failed; the next call tries once more.
    Lost,
    /// Gone for good.
    Retired,
}

/// The parts of a shard that take memory.
#[derive(Debug)]
pub(super) struct Loaded {
    pub session: Session,
    pub weights: Arc<WeightTable>,
    memory: Reservation,
}

impl Shard {
    /// Reads, checks and builds what `spec` names, with the model's own weights or those of `checkpoint`.
    pub(super) fn load(
        spec: &ShardSpec,
        checkpoint: Option<&Path>,
        options: &EngineOptions,
        target: &Target,
        budget: &Arc<Budget>,
        counters: &Arc<Counters>,
        report: &mut Report,
    ) -> Result<Self> {
        report.stage(Stage::Inspect)?;
        let files = source::open(&spec.model, spec.revision.as_deref(), &options.source)?;
        let (config, range, graph) = inspect(&*files, spec, &mut |_| report.waiting())?;
        report.stage(Stage::Fetch)?;
        let mut source = match checkpoint {
            None => Checkpoint::of(files, report)?,
            Some(path) => Checkpoint::at(path, report)?,
        };
        let (config, graph) = head::settle(config, range, graph, source.catalogue())?;
        source.catalogue().tell_unused(&graph.weights());
        let packer = Packer::new(options, &spec.model, range);
        let loaded = Loaded::build(&source, &packer, target, &graph, &config, budget, report)?;
        let kv = options.kv_type.shape(&config, range);
        let info = ShardInfo::new(&config, range, &loaded, kv, target);
        report.stage(Stage::Ready)?;
        Ok(Self {
            info,
            config,
            graph,
            kv,
            residence: RwLock::new(Residence::Here(Box::new(loaded))),
            slots: Slots::new(options.batch_slots as usize),
            caches: Mutex::new(Vec::new()),
            fingerprint: OnceCell::new(),
            source,
            packer,
            target: *target,
            turn: budget.limit().map(|_| Mutex::new(())),
            budget: Arc::clone(budget),
            counters: Arc::clone(counters),
        })
    }

    /// What it is and takes.
    pub fn info(&self) -> &ShardInfo {
        &self.info
    }

    /// Saves the shard as a standard ONNX model: `path`, and its weights in `path` + `.data` beside it, as float32 or, in
    /// another precision, matrices as the shard's own codes and scales.
    ///
    /// The file uses ONNX operators and ONNX Runtime's own contributed ones, so stock ONNX Runtime loads it; from 1.24 on if
    /// weights have 8 bits. Both files appear complete or not at all; existing ones are replaced.
    pub fn export_onnx(&self, path: &Path) -> Result<()> {
        let info = &self.info;
        let metadata = [
            ("architecture", info.architecture.clone()),
            ("start_layer", info.start_layer.to_string()),
            ("end_layer", info.end_layer.to_string()),
            ("n_layers", info.n_layers.to_string()),
        ];
        let blocks = self.packer.blocks();
        self.with(|loaded| super::export::write(path, &self.graph, &self.config, &loaded.weights, blocks, &metadata))
    }

    /// Saves the shard's tensors, in their stored dtype and under the graph's names, as the safetensors file `path`.
    pub(super) fn save_checkpoint(&self, path: &Path) -> Result<()> {
        self.with(|loaded| {
            let wanted = self.graph.weights();
            if self.packer.changes() {
                weights::save(&self.source.load(&wanted, &mut Report::silent())?, &wanted, path)
            } else {
                weights::save(&loaded.weights, &wanted, path)
            }
        })
    }

    /// Calls `work` with the shard's memory, which stays until it returns.
    pub(super) fn with<T>(&self, work: impl FnOnce(&Loaded) -> Result<T>) -> Result<T> {
        callout::refuse_inside()?;
        if matches!(&*self.residence.read(), Residence::Lost) {
            self.rebuild()?;
        }
        match &*self.residence.read() {
            Residence::Here(loaded) => {
                let _turn = self.turn.as_ref().map(Mutex::lock);
                work(loaded)
            }
            Residence::Suspended | Residence::Lost | Residence::Retired => Err(err!(
                StaleShard,
                "layers {}..={} are no longer loaded: the engine was cleared or holds another shard",
                self.info.start_layer,
                self.info.end_layer
            )),
        }
    }

    /// A KV cache for `capacity` tokens, given back when the shard retires.
    pub(super) fn new_cache(&self, capacity: usize) -> Result<Arc<CacheSlot>> {
        let cache = self.with(|loaded| {
            let (rows, memory) = loaded.session.new_rows(self.kv, capacity, &self.slots, &self.budget)?;
            Ok(Cache { rows, _memory: memory })
        })?;
        let slot = Arc::new(Mutex::new(Some(cache)));
        let mut caches = self.caches.lock();
        caches.retain(|cache| cache.strong_count() > 0);
        caches.push(Arc::downgrade(&slot));
        Ok(slot)
    }

    /// Bytes that [`suspend`](Self::suspend) would give back to the budget.
    pub(super) fn own_bytes(&self) -> u64 {
        self.with(|loaded| Ok(loaded.memory.bytes() + loaded.session.bytes())).unwrap_or(0)
    }

    /// Gives the weights and the session back, after the runs in progress, but keeps the requests' caches.
    pub(super) fn suspend(&self) {
        *self.residence.write() = Residence::Suspended;
    }

    /// Builds what [`suspend`](Self::suspend) gave back.
    pub(super) fn resume(&self) -> Result<()> {
        let loaded = self.build()?;
        *self.residence.write() = Residence::Here(Box::new(loaded));
        Ok(())
    }

    fn build(&self) -> Result<Loaded> {
        let (source, packer, target, report) = (&self.source, &self.packer, &self.target, &mut Report::silent());
        let loaded = Loaded::build(source, packer, target, &self.graph, &self.config, &self.budget, report)?;
        // The requests' caches are where it was.
        if loaded.session.device != self.info.device {
            bail!(DeviceUnavailable, "the shard ran on {}, which cannot be used any more", self.info.device);
        }
        Ok(loaded)
    }

    /// Whether a run failed for want of memory that was there before, so that it is worth to [`rebuild`](Self::rebuild).
    pub(super) fn is_broken(&self) -> bool {
        match &*self.residence.read() {
            Residence::Here(loaded) => self.target.rebuilds && loaded.session.is_broken(),
            Residence::Lost => true,
            Residence::Suspended | Residence::Retired => false,
        }
    }

    /// Gives a broken session back and makes it anew, with what it took from the device. Requests keep their caches.
    pub(super) fn rebuild(&self) -> Result<()> {
        let mut residence = self.residence.write();
        match &*residence {
            Residence::Here(loaded) if loaded.session.is_broken() => {
                let (start, end) = (self.info.start_layer, self.info.end_layer);
                log::warn!("layers {start}..={end} are loaded again: memory ran out that was there before");
            }
            Residence::Lost => {}
            // Another call was first.
            Residence::Here(_) | Residence::Suspended | Residence::Retired => return Ok(()),
        }
        *residence = Residence::Lost;
        *residence = Residence::Here(Box::new(self.build()?));
        Ok(())
    }

    /// Gives all memory back, after the runs in progress. Requests on it are stale from now on.
    pub(super) fn retire(&self) {
        *self.residence.write() = Residence::Retired;
        for cache in self.caches.lock().drain(..).filter_map(|cache| cache.upgrade()) {
            *cache.lock() = None;
        }
    }

    /// Tells this model, range and these weights from others: what a request's state belongs to.
    ///
    /// The SHA-256 of the config, the range, every tensor's name, shape and dtype, and the beginning and end of its
    /// content, norms and biases whole: fine-tunes of one model differ there, and no gigabytes are read.
    pub(super) fn fingerprint(&self) -> Result<&[u8; 32]> {
        self.fingerprint.get_or_try_init(|| {
            self.with(|loaded| {
                const SAMPLE: usize = 4096;
                let mut hash = Sha256::new();
                let (start, end) = (self.info.start_layer, self.info.end_layer);
                hash.update(format!("{:?} {start}..={end} kv {}", self.config, loaded.session.kv_type(self.kv)));
                for weight in self.graph.weights() {
                    let Some(stored) = loaded.weights.get(&weight.name) else { continue };
                    let data = stored.matrix().data;
                    hash.update(format!("{} {:?} {:?}", weight.name, weight.shape, stored.layout()));
                    hash.update(&data[..data.len().min(SAMPLE)]);
                    hash.update(&data[data.len().saturating_sub(SAMPLE)..]);
                }
                Ok(hash.finalize().into())
            })
        })
    }

    pub(super) fn config(&self) -> &ModelConfig {
        &self.config
    }
}

impl Loaded {
    fn build(
        source: &Checkpoint,
        packer: &Packer,
        target: &Target,
        graph: &Graph,
        config: &ModelConfig,
        budget: &Arc<Budget>,
        report: &mut Report,
    ) -> Result<Self> {
        let wanted = graph.weights();
        report.tensors(wanted.len())?;
        let exact = source.load(&wanted, report)?;
        let memory = budget.reserve(packer.bytes(&wanted, &exact), Site::Load, "the shard's weights")?;
        let weights = Arc::new(packer.pack(exact, &wanted, report)?);
        report.stage(Stage::Session)?;
        let session = Session::new(target, packer, graph, config, &weights, budget)?;
        Ok(Self { session, weights, memory })
    }
}

/// The model's shape.
pub(super) fn read_config(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<ModelConfig> {
    let content = files.read_required(names::CONFIG, CONFIG_LIMIT, on)?;
    model::read_config(&content).map_err(|e| e.within(files.describe()))
}

/// The shape, range and graph that `spec` names.
pub(super) fn inspect(
    files: &dyn ModelFiles,
    spec: &ShardSpec,
    on: &mut OnTransfer<'_>,
) -> Result<(ModelConfig, Range, Graph)> {
    let config = read_config(files, on)?;
    let range = range(spec, &config)?;
    let graph = model::graph(&config, range)?;
    Ok((config, range, graph))
}

fn range(spec: &ShardSpec, config: &ModelConfig) -> Result<Range> {
    if spec.n_layers != 0 && spec.n_layers as usize != config.layers {
        bail!(InvalidArgument, "n_layers is {}, model `{}` has {} layers", spec.n_layers, spec.model, config.layers);
    }
    let end = if spec.end_layer == ShardSpec::LAST { config.layers - 1 } else { spec.end_layer as usize };
    Range::new(spec.start_layer as usize, end, config.layers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;
    use crate::engine::run_memory::run_bytes;
    use crate::engine::{Engine, EngineOptions, Input, Logits, Request, RequestOptions};

    /// What ONNX Runtime itself does when its arena is full. A reservation in front of it normally sees to it that this
    /// never happens, so the session is given an arena smaller than was reserved.
    #[test]
    fn a_full_arena_in_the_middle_of_a_run_is_out_of_memory_and_harms_nothing() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama_256");
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let shard = engine.ensure_shard(&ShardSpec::whole(model), None).unwrap();
        let request = || Request::new(&shard, RequestOptions { capacity: 64, ..RequestOptions::default() }).unwrap();
        let ids: Vec<i64> = (1..=40).collect();
        let before = request().infer(Input::Ids(&ids), Logits::All).unwrap().values().to_owned();

        let (source, packer, target) = (&shard.source, &shard.packer, &shard.target);
        let mut capped =
            Loaded::build(source, packer, target, &shard.graph, &shard.config, &shard.budget, &mut Report::silent())
                .unwrap();
        // One step short of the largest value, the MLP's inner one.
        let limit = run_bytes(&shard.graph, ids.len()) - 256;
        capped.session =
            Session::native_within(Some(limit), &shard.graph, &capped.weights, usize::MAX, Vec::new()).unwrap();
        *shard.residence.write() = Residence::Here(Box::new(capped));

        let mut request = request();
        for failures in 1..=3 {
            let error = request.infer(Input::Ids(&ids), Logits::All).unwrap_err();
            let oom = error.out_of_memory().unwrap();
            assert_eq!((oom.site, oom.device.as_str()), (Site::Run, "cpu"), "{}", error.chain());
            assert!(oom.requested > 0 && oom.requested <= limit, "{}", error.chain());
            assert!(error.chain().contains("Available memory of"), "these are its words: {}", error.chain());
            assert_eq!((engine.stats().out_of_memory_run, request.position()), (failures, 0));
            // The middle of the run: attention of the first layer has been computed, of the last one not.
            let written: Vec<bool> = request
                .with_cache(|cache| {
                    let mut rows = Vec::new();
                    cache.read(1, &mut rows)?;
                    let head = shard.kv.rows.bytes(shard.config.head_dim);
                    Ok(rows.chunks_exact(head).map(|head| head.iter().any(|byte| *byte != 0)).collect())
                })
                .unwrap();
            assert!(written[0] && !written[written.len() - 1]);
        }
        // Memory was given back: what fits runs in the same arena.
        let _ = request.infer(Input::Ids(&ids[..10]), Logits::None).unwrap();
        request.truncate(0).unwrap();
        // And with room again the same request gives the same bits.
        shard.resume().unwrap();
        let after = request.infer(Input::Ids(&ids), Logits::All).unwrap().values().to_owned();
        assert_eq!(after.map(|v| v.to_bits()), before.map(|v| v.to_bits()));
        assert_eq!(engine.stats().out_of_memory_run, 3);
    }
}
