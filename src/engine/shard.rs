//! A loaded range of layers.

use std::path::Path;
use std::sync::{Arc, Weak};

use once_cell::sync::OnceCell;
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};

use super::callout;
use super::export;
use super::frame::Sides;
use super::identity::{self, Fingerprint};
use super::load::{Report, Stage};
use super::memory::{Budget, KeptCell, Slots};
use super::options::EngineOptions;
use super::recipe::{Loaded, Recipe};
use super::shard_info::ShardInfo;
use super::stats::Counters;
use crate::error::{Result, bail, err};
use crate::graph::{PerPart, Role};
use crate::kept::{KeptShape, Room};
use crate::model::ModelConfig;
use crate::source::absolute;
use crate::weights;

/// Layers `first..=last` of a model, ready to run. Share it between threads and requests.
///
/// The layers and weights of a shard never change. A shard can lose its memory while handles on it exist: if the engine is cleared,
/// or takes the memory for another shard, the shard is *retired* and calls on it return
/// [`StaleShard`](crate::ErrorKind::StaleShard).
#[derive(Debug)]
pub struct Shard {
    info: ShardInfo,
    recipe: Recipe,
    kept: KeptShape,
    /// Every run holds the lock for reading, so that whoever takes the memory away waits for the runs in progress.
    residence: RwLock<Residence>,
    /// Where requests on another device than the processor get their KV caches.
    slots: Slots,
    /// The KV caches of the shard's requests, which are given back when the shard retires.
    caches: Mutex<Vec<Weak<KeptCell>>>,
    fingerprint: OnceCell<Fingerprint>,
    /// What frames into the shard, and out of it, are known by.
    sides: [OnceCell<Sides>; 2],
    pub(crate) budget: Arc<Budget>,
    pub(crate) counters: Arc<Counters>,
}

/// Whether a shard's memory is there.
#[derive(Debug)]
enum Residence {
    Here(Box<Loaded>),
    /// The memory was given up for another shard that is being built, and may come back.
    Suspended,
    /// The memory was given up to load the shard again, and that failed. The next call tries once more.
    Lost,
    /// The memory is gone for good.
    Retired,
}

impl Shard {
    /// Builds the shard of `recipe`.
    pub(crate) fn build(
        mut recipe: Recipe,
        options: &EngineOptions,
        budget: &Arc<Budget>,
        counters: &Arc<Counters>,
        report: &mut Report,
    ) -> Result<Self> {
        let loaded = recipe.load(budget, report)?;
        let kept = KeptShape::new(&recipe.blueprint.graph, options.kv_type.rows());
        let info = ShardInfo::new(&recipe.blueprint, &loaded, &kept, &recipe.target);
        report.stage(Stage::Ready)?;
        // If the processor has taken the device's place, it keeps that place.
        recipe.target = recipe.target.at(info.device);
        Ok(Self {
            info,
            recipe,
            kept,
            residence: RwLock::new(Residence::Here(Box::new(loaded))),
            slots: Slots::new(options.batch_slots as usize),
            caches: Mutex::new(Vec::new()),
            fingerprint: OnceCell::new(),
            sides: Default::default(),
            budget: Arc::clone(budget),
            counters: Arc::clone(counters),
        })
    }

    /// What the shard is made of.
    pub(crate) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The shape of the shard's model.
    pub(crate) fn config(&self) -> &ModelConfig {
        &self.recipe.blueprint.config
    }

    /// What the shard's layers keep between tokens.
    pub(crate) fn kept(&self) -> &KeptShape {
        &self.kept
    }

    /// What the shard is, and what memory it takes.
    pub fn info(&self) -> &ShardInfo {
        &self.info
    }

    /// The role and width of each part that passes the boundary in front of the shard; none if it takes ids.
    pub(crate) fn input_parts(&self) -> PerPart<(Role, usize)> {
        self.recipe.blueprint.graph.input.widths()
    }

    /// The same behind the shard; none if it gives logits.
    pub(crate) fn output_parts(&self) -> PerPart<(Role, usize)> {
        self.recipe.blueprint.graph.output.widths()
    }

    /// The width of each tensor that the shard gives.
    pub(crate) fn output_widths(&self) -> PerPart<usize> {
        self.recipe.blueprint.graph.output.tensors().iter().map(|(_, width)| *width).collect()
    }

    /// What frames into the shard are to be known by; `None` if it takes ids.
    pub(crate) fn sides_before(&self) -> Result<Option<&Sides>> {
        match self.recipe.blueprint.range.start.checked_sub(1) {
            None => Ok(None),
            Some(layer) => self.sides(0, layer).map(Some),
        }
    }

    /// What frames out of the shard are to be known by.
    pub(crate) fn sides_behind(&self) -> Result<&Sides> {
        self.sides(1, self.recipe.blueprint.range.end)
    }

    fn sides(&self, end: usize, layer: usize) -> Result<&Sides> {
        let Recipe { blueprint, source, packer, .. } = &self.recipe;
        if self.sides[end].get().is_none() {
            drop(self.loaded()?);
        }
        Ok(self.sides[end].get_or_init(|| Sides::of(&blueprint.config, source, packer, layer)))
    }

    /// Saves the shard as a standard ONNX model: the graph in `path`, and the weights in `path` + `.data` beside it. Weights are
    /// float32 or, if the shard is quantised, the codes and scales of its matrices.
    ///
    /// The file uses the stock operators, those of ONNX and of ONNX Runtime itself, so any ONNX Runtime loads it; 8 bit weights need
    /// 1.24. Both files appear complete or not at all; existing files are replaced.
    pub fn export_onnx(&self, path: &Path) -> Result<()> {
        let info = &self.info;
        let metadata = [
            ("architecture", info.architecture.clone()),
            ("first_layer", info.first_layer.to_string()),
            ("last_layer", info.last_layer.to_string()),
            ("layer_count", info.layer_count.to_string()),
        ];
        let (blueprint, blocks) = (&self.recipe.blueprint, self.recipe.packer.blocks());
        export::write(&absolute(path), &blueprint.graph, &blueprint.config, &self.loaded()?.weights, blocks, &metadata)
    }

    /// Saves the shard's tensors, in their stored dtype and under the graph's names, as the safetensors file `path`.
    pub(crate) fn save_checkpoint(&self, path: &Path) -> Result<()> {
        let Recipe { blueprint, source, packer, .. } = &self.recipe;
        let (path, loaded, wanted) = (&absolute(path), self.loaded()?, blueprint.graph.weights());
        if packer.changes(&wanted) {
            weights::save(&source.load(&wanted, &mut Report::silent())?, &wanted, path)
        } else {
            weights::save(&loaded.weights, &wanted, path)
        }
    }

    /// The shard's memory for a run. The memory stays as long as the guard that is returned.
    pub(crate) fn loaded_to_run(&self) -> Result<MappedRwLockReadGuard<'_, Loaded>> {
        callout::refuse_inside()?;
        if matches!(&*self.residence.read(), Residence::Lost) {
            self.rebuild()?;
        }
        self.loaded_of(self.residence.read())
    }

    /// The shard's memory for anything but a run. This call waits for no run, not even behind somebody who waits for runs to end.
    pub(crate) fn loaded(&self) -> Result<MappedRwLockReadGuard<'_, Loaded>> {
        callout::refuse_inside()?;
        if matches!(&*self.residence.read_recursive(), Residence::Lost) {
            self.rebuild()?;
        }
        self.loaded_of(self.residence.read_recursive())
    }

    fn loaded_of<'s>(&self, residence: RwLockReadGuard<'s, Residence>) -> Result<MappedRwLockReadGuard<'s, Loaded>> {
        let loaded = RwLockReadGuard::try_map(residence, |residence| match residence {
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

    /// What keeps as much as a request has `room` for. It is given back when the shard retires.
    pub(crate) fn new_cache(&self, room: Room) -> Result<Arc<KeptCell>> {
        // The guard is held until the cache is on the list: a shard that has retired does not look at its list again.
        let loaded = self.loaded()?;
        let cache = loaded.session.new_kept(&self.kept, room, &self.slots, &self.budget)?;
        let cell = Arc::new(Mutex::new(Some(cache)));
        let mut caches = self.caches.lock();
        caches.retain(|cache| cache.strong_count() > 0);
        caches.push(Arc::downgrade(&cell));
        Ok(cell)
    }

    /// Bytes that [`suspend`](Self::suspend) would give back to the budget. This call loads nothing.
    pub(crate) fn own_bytes(&self) -> u64 {
        // A recursive lock does not queue behind somebody who waits for runs to end.
        match &*self.residence.read_recursive() {
            Residence::Here(loaded) => loaded.bytes(),
            Residence::Suspended | Residence::Lost | Residence::Retired => 0,
        }
    }

    /// Waits for the runs in progress, then gives the weights and the session back. The requests keep their caches.
    pub(crate) fn suspend(&self) {
        let mut residence = self.residence.write();
        if let Residence::Here(loaded) = &*residence {
            self.identify(loaded);
        }
        *residence = Residence::Suspended;
    }

    /// Loads what [`suspend`](Self::suspend) gave back.
    pub(crate) fn resume(&self) -> Result<()> {
        let loaded = self.build_again()?;
        *self.residence.write() = Residence::Here(Box::new(loaded));
        Ok(())
    }

    fn build_again(&self) -> Result<Loaded> {
        let loaded = self.recipe.load(&self.budget, &mut Report::silent())?;
        // The requests' caches are still on the device that the shard ran on.
        if loaded.session.device != self.info.device {
            bail!(DeviceUnavailable, "the shard ran on {}, which cannot be used any more", self.info.device);
        }
        // And they hold what the weights of that time have computed.
        if self.fingerprint.get().is_some_and(|own| *own != self.fingerprint_of(&loaded)) {
            bail!(StaleShard, "the files of {} have changed since the shard was loaded", self.recipe.source.describe());
        }
        Ok(loaded)
    }

    /// Whether memory ran out in a run although it had been enough before, so that the shard should be [rebuilt](Self::rebuild).
    pub(crate) fn is_broken(&self) -> bool {
        match &*self.residence.read() {
            Residence::Here(loaded) => self.recipe.target.rebuilds && loaded.session.is_broken(),
            Residence::Lost => true,
            Residence::Suspended | Residence::Retired => false,
        }
    }

    /// Gives a broken session and its memory back and loads the shard again. The requests keep their caches.
    pub(crate) fn rebuild(&self) -> Result<()> {
        let mut residence = self.residence.write();
        match &*residence {
            Residence::Here(loaded) if loaded.session.is_broken() => {
                self.identify(loaded);
                let (start, end) = (self.info.first_layer, self.info.last_layer);
                log::warn!("layers {start}..={end} are loaded again: memory ran out that was there before");
            }
            Residence::Lost => {}
            // Another call has done it already.
            Residence::Here(_) | Residence::Suspended | Residence::Retired => return Ok(()),
        }
        *residence = Residence::Lost;
        let loaded = self
            .build_again()
            .map_err(|again| again.within("the shard ran out of memory and was to be loaded again"))?;
        *residence = Residence::Here(Box::new(loaded));
        Ok(())
    }

    /// Waits for the runs in progress, then gives all memory back. The requests of the shard are stale from now on.
    pub(crate) fn retire(&self) {
        *self.residence.write() = Residence::Retired;
        for cache in self.caches.lock().drain(..).filter_map(|cache| cache.upgrade()) {
            *cache.lock() = None;
        }
    }

    /// The fingerprint of the model, the range and the weights: an exported state belongs to one fingerprint.
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
        let (blueprint, kv) = (&self.recipe.blueprint, loaded.session.kv_type(&self.kept));
        identity::of(&blueprint.config, blueprint.range, &kv, &blueprint.graph, &loaded.weights)
    }
}

#[cfg(test)]
mod tests;
