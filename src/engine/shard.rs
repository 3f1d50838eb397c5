//! A loaded range of layers.

use std::path::Path;
use std::sync::{Arc, Weak};

use once_cell::sync::OnceCell;
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};

use crate::engine::identity::{self, Fingerprint};
use crate::engine::inspect::settle;
use crate::engine::load::{Checkpoint, Place, Report, Stage, Stamps};
use crate::engine::memory::{Budget, KvCell, Reservation, Slots};
use crate::engine::options::{EngineOptions, Packer, ShardSpec, Target};
use crate::engine::session::Session;
use crate::engine::shard_info::ShardInfo;
use crate::engine::stats::Counters;
use crate::engine::{callout, export};
use crate::error::{Result, Site, bail, err};
use crate::graph::Graph;
use crate::kept::KeptShape;
use crate::model::{self, ModelConfig, Range};
use crate::source::{ModelFiles, OnTransfer, absolute, names};
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
    place: Place,
    spec: ShardSpec,
    /// Whether its weights are the model's own, not a checkpoint's.
    own: bool,
    stamps: Stamps,
    config: ModelConfig,
    range: Range,
    graph: Graph,
    kept: KeptShape,
    /// Held for reading by every run, so that whoever takes the memory away waits for runs in progress.
    residence: RwLock<Residence>,
    /// Where those of requests on another device get theirs.
    slots: Slots,
    /// The KV caches of its requests, to be given back when it retires.
    caches: Mutex<Vec<Weak<KvCell>>>,
    fingerprint: OnceCell<Fingerprint>,
    source: Checkpoint,
    packer: Packer,
    target: Target,
    pub(crate) budget: Arc<Budget>,
    pub(crate) counters: Arc<Counters>,
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
pub(crate) struct Loaded {
    pub session: Session,
    pub weights: Arc<WeightTable>,
    memory: Reservation,
}

/// What a shard will be: read and checked, but nothing taken for it yet.
pub(crate) struct Blueprint {
    place: Place,
    spec: ShardSpec,
    source: Checkpoint,
    /// Whether the weights are the model's own.
    own: bool,
    config: ModelConfig,
    range: Range,
    graph: Graph,
    stamps: Stamps,
}

impl Blueprint {
    /// Of the layers that `spec` names of the model at `place`, with the model's own weights or those of `checkpoint`.
    pub(crate) fn new(
        place: &Place,
        spec: &ShardSpec,
        checkpoint: Option<&Path>,
        options: &EngineOptions,
        report: &mut Report,
    ) -> Result<Self> {
        report.stage(Stage::Inspect)?;
        let files = place.open(&options.source)?;
        let (config, range, graph) = inspect(&*files, spec, &mut |_| report.waiting())?;
        report.stage(Stage::Fetch)?;
        let mut source = match checkpoint {
            None => Checkpoint::of(files, report)?,
            Some(path) => Checkpoint::at(path, report)?,
        };
        let (config, graph) = settle(config, range, graph, source.catalogue());
        source.catalogue().tell_unused(&graph.weights());
        let own = checkpoint.is_none();
        let stamps = match place {
            Place::Folder(folder) if own => source.stamps(folder, &graph.weights())?,
            _ => Stamps::default(),
        };
        Ok(Self { place: place.clone(), spec: spec.clone(), source, own, config, range, graph, stamps })
    }

    /// The shard.
    pub(crate) fn build(
        self,
        options: &EngineOptions,
        target: &Target,
        budget: &Arc<Budget>,
        counters: &Arc<Counters>,
        report: &mut Report,
    ) -> Result<Shard> {
        let Self { place, spec, source, own, config, range, graph, stamps } = self;
        let packer = Packer::new(options, &place.name(), range);
        let loaded = Loaded::build(&source, &packer, target, &graph, &config, budget, report)?;
        let kept = KeptShape::new(&graph, options.kv_type.rows());
        let info = ShardInfo::new(&config, range, &loaded, &kept, target);
        report.stage(Stage::Ready)?;
        Ok(Shard {
            place,
            spec,
            own,
            stamps,
            config,
            range,
            graph,
            kept,
            residence: RwLock::new(Residence::Here(Box::new(loaded))),
            slots: Slots::new(options.batch_slots as usize),
            caches: Mutex::new(Vec::new()),
            fingerprint: OnceCell::new(),
            source,
            packer,
            target: target.at(info.device),
            info,
            budget: Arc::clone(budget),
            counters: Arc::clone(counters),
        })
    }
}

impl Shard {
    /// Whether it is what `spec` names, whose model is at `place`: those layers, with the model's own weights as they lie there
    /// now.
    pub(crate) fn is(&self, place: &Place, spec: &ShardSpec) -> bool {
        let same_range = || range(spec, &self.config).is_ok_and(|range| range == self.range);
        self.own && self.place == *place && same_range() && self.stamps.hold()
    }

    /// Where its model is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What it was made for.
    pub(crate) fn spec(&self) -> &ShardSpec {
        &self.spec
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
            ("first_layer", info.first_layer.to_string()),
            ("last_layer", info.last_layer.to_string()),
            ("n_layers", info.n_layers.to_string()),
        ];
        let (path, blocks) = (&absolute(path), self.packer.blocks());
        export::write(path, &self.graph, &self.config, &self.loaded()?.weights, blocks, &metadata)
    }

    /// Saves the shard's tensors, in their stored dtype and under the graph's names, as the safetensors file `path`.
    pub(crate) fn save_checkpoint(&self, path: &Path) -> Result<()> {
        let (path, loaded, wanted) = (&absolute(path), self.loaded()?, self.graph.weights());
        if self.packer.changes() {
            weights::save(&self.source.load(&wanted, &mut Report::silent())?, &wanted, path)
        } else {
            weights::save(&loaded.weights, &wanted, path)
        }
    }

    /// The shard's memory, which stays as long as what is returned. Many have it at once, beside runs.
    pub(crate) fn loaded(&self) -> Result<MappedRwLockReadGuard<'_, Loaded>> {
        callout::refuse_inside()?;
        if matches!(&*self.residence.read(), Residence::Lost) {
            self.rebuild()?;
        }
        let loaded = RwLockReadGuard::try_map(self.residence.read(), |residence| match residence {
            Residence::Here(loaded) => Some(&**loaded),
            Residence::Suspended | Residence::Lost | Residence::Retired => None,
        });
        loaded.map_err(|_| {
            err!(
                StaleShard,
                "layers {}..={} are no longer loaded: the engine was cleared or holds another shard",
                self.info.first_layer,
                self.info.last_layer
            )
        })
    }

    /// A KV cache for `capacity` tokens, of which at most `chunk` come in one run; given back when the shard retires.
    pub(crate) fn new_cache(&self, capacity: usize, chunk: usize) -> Result<Arc<KvCell>> {
        // The shard stays loaded until the cache is among those to be given back: once it has retired, nobody looks for more.
        let loaded = self.loaded()?;
        let cache = loaded.session.new_kv(&self.kept, capacity, chunk, &self.slots, &self.budget)?;
        let cell = Arc::new(Mutex::new(Some(cache)));
        let mut caches = self.caches.lock();
        caches.retain(|cache| cache.strong_count() > 0);
        caches.push(Arc::downgrade(&cell));
        Ok(cell)
    }

    /// Bytes that [`suspend`](Self::suspend) would give back to the budget. Nothing is loaded to tell.
    pub(crate) fn own_bytes(&self) -> u64 {
        // Recursive: not behind somebody who waits for runs to end.
        match &*self.residence.read_recursive() {
            Residence::Here(loaded) => loaded.memory.bytes() + loaded.session.bytes(),
            Residence::Suspended | Residence::Lost | Residence::Retired => 0,
        }
    }

    /// Gives the weights and the session back, after the runs in progress, but keeps the requests' caches.
    pub(crate) fn suspend(&self) {
        let mut residence = self.residence.write();
        if let Residence::Here(loaded) = &*residence {
            self.identify(loaded);
        }
        *residence = Residence::Suspended;
    }

    /// Builds what [`suspend`](Self::suspend) gave back.
    pub(crate) fn resume(&self) -> Result<()> {
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
        // And they are what its weights have computed.
        if self.fingerprint.get().is_some_and(|own| *own != self.fingerprint_of(&loaded)) {
            bail!(StaleShard, "the files of {} have changed since the shard was loaded", self.source.describe());
        }
        Ok(loaded)
    }

    /// Whether a run failed for want of memory that was there before, so that it is worth to [`rebuild`](Self::rebuild).
    pub(crate) fn is_broken(&self) -> bool {
        match &*self.residence.read() {
            Residence::Here(loaded) => self.target.rebuilds && loaded.session.is_broken(),
            Residence::Lost => true,
            Residence::Suspended | Residence::Retired => false,
        }
    }

    /// Gives a broken session back and makes it anew, with what it took from the device. Requests keep their caches.
    pub(crate) fn rebuild(&self) -> Result<()> {
        let mut residence = self.residence.write();
        match &*residence {
            Residence::Here(loaded) if loaded.session.is_broken() => {
                self.identify(loaded);
                let (start, end) = (self.info.first_layer, self.info.last_layer);
                log::warn!("layers {start}..={end} are loaded again: memory ran out that was there before");
            }
            Residence::Lost => {}
            // Another call was first.
            Residence::Here(_) | Residence::Suspended | Residence::Retired => return Ok(()),
        }
        *residence = Residence::Lost;
        let loaded =
            self.build().map_err(|again| again.within("the shard ran out of memory and was to be loaded again"))?;
        *residence = Residence::Here(Box::new(loaded));
        Ok(())
    }

    /// Gives all memory back, after the runs in progress. Requests on it are stale from now on.
    pub(crate) fn retire(&self) {
        *self.residence.write() = Residence::Retired;
        for cache in self.caches.lock().drain(..).filter_map(|cache| cache.upgrade()) {
            *cache.lock() = None;
        }
    }

    /// Tells this model, range and these weights from others: what a request's state belongs to.
    pub(crate) fn fingerprint(&self) -> Result<&Fingerprint> {
        match self.fingerprint.get() {
            Some(known) => Ok(known),
            None => Ok(self.identify(&*self.loaded()?)),
        }
    }

    /// The fingerprint, computed when it is first needed.
    fn identify(&self, loaded: &Loaded) -> &Fingerprint {
        self.fingerprint.get_or_init(|| self.fingerprint_of(loaded))
    }

    fn fingerprint_of(&self, loaded: &Loaded) -> Fingerprint {
        let kv = loaded.session.kv_type(&self.kept);
        identity::of(&self.config, self.range, &kv, &self.graph, &loaded.weights)
    }

    pub(crate) fn config(&self) -> &ModelConfig {
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
pub(crate) fn read_config(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<ModelConfig> {
    let content = files.read_required(names::CONFIG, CONFIG_LIMIT, on)?;
    model::read_config(&content).map_err(|e| e.within(files.describe()))
}

/// The shape, range and graph that `spec` names.
pub(crate) fn inspect(
    files: &dyn ModelFiles,
    spec: &ShardSpec,
    on: &mut OnTransfer<'_>,
) -> Result<(ModelConfig, Range, Graph)> {
    let config = read_config(files, on)?;
    let range = range(spec, &config)?;
    let graph = model::graph(&config, range);
    Ok((config, range, graph))
}

fn range(spec: &ShardSpec, config: &ModelConfig) -> Result<Range> {
    if spec.n_layers != 0 && spec.n_layers as usize != config.layers {
        bail!(InvalidArgument, "n_layers is {}, model `{}` has {} layers", spec.n_layers, spec.model, config.layers);
    }
    let end = if spec.last_layer == ShardSpec::LAST { config.layers - 1 } else { spec.last_layer as usize };
    Range::new(spec.first_layer as usize, end, config.layers)
}

#[cfg(test)]
mod tests;
