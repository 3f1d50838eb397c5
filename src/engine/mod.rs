//! The public Rust API, which the C API calls too: an [`Engine`] holds one [`Shard`], and a [`Request`] runs on it.

mod callout;
mod export;
mod frame;
mod identity;
mod inspect;
mod io;
mod load;
mod memory;
mod options;
mod recipe;
mod request;
mod run;
mod session;
mod shard;
mod shard_info;
mod stats;
#[cfg(test)]
pub(crate) mod tests;

pub use crate::graph::Role;
pub(crate) use callout::call_out;
pub(crate) use frame::narrow_into;
pub use frame::{Beyond, Frame, FrameOptions, FramePart, FramePieces, PartType};
pub use inspect::{AuditedFile, Boundary, Estimate, FileState, ModelInfo, PlanDevice, PlanOptions, PlanStage};
pub use io::{Input, Logits, Output};
pub use load::{OnProgress, Progress, Stage};
pub use options::{Device, DeviceInfo, EngineOptions, KvType, PackCache, Precision, RequestOptions, ShardSpec};
pub(crate) use request::chain;
pub use request::{CancelHandle, Request, SampleStep, Step, infer_batch, infer_chain, next_token, next_tokens};
pub(crate) use request::{ChoiceStep, check_chain, next_choice, next_choices};
pub use shard::Shard;
pub use shard_info::{ShardInfo, WeightType};
pub use stats::EngineStats;

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};

use crate::error::{ErrorKind, Result, bail, err};
use crate::runtime::{self, Runtime};
use crate::sampler::SamplerOptions;
use crate::source::{self, ModelFiles, SourceOptions, absolute};
use crate::tokenizer::Tokenizer;
use inspect::Situation;
use load::{ModelPlace, Report};
use memory::Budget;
use options::Target;
use recipe::Recipe;
use stats::Counters;

/// Holds at most one shard and swaps it as a transaction. All methods may be called from many threads at once.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    target: Target,
    resident: Mutex<Option<Arc<Shard>>>,
    /// Held while a shard is built, so that two loads never compete for memory. `resident` stays free meanwhile.
    loading: ReentrantMutex<()>,
    budget: Arc<Budget>,
    counters: Arc<Counters>,
}

impl Engine {
    /// Makes an engine without a shard. Loads ONNX Runtime if no call has yet.
    pub fn new(mut options: EngineOptions) -> Result<Self> {
        // The folders stay the same if the process changes its working directory.
        if let Some(folder) = &mut options.source.cache_dir {
            *folder = absolute(folder);
        }
        if let PackCache::Folder(folder) = &mut options.pack_cache {
            *folder = absolute(folder);
        }
        let target = Target::choose(&options, Runtime::get()?)?;
        Ok(Self {
            target,
            resident: Mutex::new(None),
            loading: ReentrantMutex::new(()),
            budget: Budget::new(target.device.to_string(), options.memory_limit),
            options,
            counters: Arc::new(Counters::default()),
        })
    }

    /// Makes the shard that `spec` names resident and returns it.
    ///
    /// Nothing happens if that shard is resident already: the same layers of the same folder, however its path is spelled, with the
    /// model's own weights, and unchanged files. Otherwise the new shard is built beside the old one and replaces it once it is
    /// ready, so that the old shard is still there after any failure. Requests keep the shard they were made on alive and go on
    /// working. With [`EngineOptions::release_first`] the old shard gives its memory back first.
    ///
    /// This thread calls `progress` after each step; [`Break`](std::ops::ControlFlow::Break) cancels.
    pub fn ensure_shard(&self, spec: &ShardSpec, progress: Option<&mut OnProgress<'_>>) -> Result<Arc<Shard>> {
        let _loading = self.begin_loading()?;
        let (place, old) = (ModelPlace::of(spec)?, self.current_shard());
        match old {
            Some(old) if old.recipe().is_for(&place, spec) => Ok(old),
            old => self.replace(old, &place, spec, None, progress),
        }
    }

    /// Replaces the resident shard by one with other weights of the same model: the weights of `checkpoint`, a safetensors file or a
    /// folder of them. It must hold every tensor of the shard's layers under a name that transformers accepts (`model.layers.0...`,
    /// `layers.0...`).
    ///
    /// This is a transaction like [`ensure_shard`](Self::ensure_shard): the new shard replaces the old one when it is ready.
    pub fn load_checkpoint(&self, checkpoint: &Path, progress: Option<&mut OnProgress<'_>>) -> Result<Arc<Shard>> {
        let _loading = self.begin_loading()?;
        let old = self.resident()?;
        let (place, spec) = (old.recipe().place.clone(), old.recipe().spec.clone());
        self.replace(Some(old), &place, &spec, Some(checkpoint), progress)
    }

    /// Saves the resident shard's tensors, in their stored dtype and under transformers' usual names, as one safetensors file. The
    /// file appears complete or not at all; an existing file is replaced.
    pub fn save_checkpoint(&self, path: &Path) -> Result<()> {
        self.resident()?.save_checkpoint(path)
    }

    fn resident(&self) -> Result<Arc<Shard>> {
        self.current_shard().ok_or_else(|| err!(InvalidState, "the engine holds no shard"))
    }

    /// Builds a shard and makes it resident in `old`'s place.
    fn replace(
        &self,
        old: Option<Arc<Shard>>,
        place: &ModelPlace,
        spec: &ShardSpec,
        checkpoint: Option<&Path>,
        progress: Option<&mut OnProgress<'_>>,
    ) -> Result<Arc<Shard>> {
        let mut report = Report::new(progress);
        // Most of what can be wrong with a model shows here, before the old shard gives anything up.
        let recipe = Recipe::new(place, spec, checkpoint, &self.options, self.target, &mut report);
        let shard = recipe.and_then(|recipe| {
            let build = || Shard::build(recipe, &self.options, &self.budget, &self.counters, &mut report);
            match old.filter(|_| self.options.release_first) {
                None => build(),
                Some(old) => self.in_place_of(&old, build),
            }
        });
        let shard = Arc::new(shard.inspect_err(|error| {
            self.counters.record(error);
            if !matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::Cancelled) {
                log::error!("`{}` could not be loaded: {}", spec.model, error.chain());
            }
        })?);
        let replaced = self.resident.lock().replace(Arc::clone(&shard));
        self.counters.loaded();
        drop(replaced);
        Ok(shard)
    }

    /// Takes the memory of `old` for the shard that `load` makes, and loads `old` again if that fails.
    fn in_place_of(&self, old: &Shard, load: impl FnOnce() -> Result<Shard>) -> Result<Shard> {
        old.suspend();
        let error = match load() {
            Ok(shard) => {
                old.retire();
                return Ok(shard);
            }
            Err(error) => error,
        };
        match old.resume() {
            Ok(()) => Err(error),
            Err(lost) => {
                old.retire();
                *self.resident.lock() = None;
                log::error!("the shard before could not be loaded again either: {}", lost.chain());
                Err(error.within("the shard could not be loaded, nor the one before it again: the engine is empty"))
            }
        }
    }

    /// The resident shard, if there is one.
    pub fn current_shard(&self) -> Option<Arc<Shard>> {
        self.resident.lock().clone()
    }

    /// Waits for the runs in progress, then gives back the memory of the resident shard and the KV caches of the requests on it.
    /// Handles on them stay valid, and calls on them return [`StaleShard`](crate::ErrorKind::StaleShard). The engine can be used
    /// again. Requests keep their last output, and requests without a cache their input. Shards that were replaced before stay as
    /// they are.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the engine's own progress callback calls this.
    pub fn clear(&self) -> Result<()> {
        let _loading = self.begin_loading()?;
        let resident = self.resident.lock().take();
        if let Some(resident) = resident {
            resident.retire();
            // The allocator keeps freed megabytes for later, but whoever clears an engine wants them back.
            runtime::return_freed_memory();
        }
        Ok(())
    }

    /// Waits until no other thread loads or clears. Refuses a call from the thread that loads.
    fn begin_loading(&self) -> Result<ReentrantMutexGuard<'_, ()>> {
        callout::refuse_inside()?;
        if self.loading.is_owned_by_current_thread() {
            bail!(InvalidState, "the engine is loading: its progress callback must not load or clear on it");
        }
        Ok(self.loading.lock())
    }

    /// Deletes every packed shard from the [`PackCache`] and returns how many bytes the files had. Shards in use go on working.
    pub fn clear_pack_cache(&self) -> u64 {
        self.options.pack_cache.store(self.options.pack_cache_limit).map_or(0, |store| store.clear())
    }

    /// Lists the files that the shard of `spec` needs: config.json, the index if the model has one, and the weight files that hold
    /// the shard's tensors. Fetches none of them and opens no socket. If config.json or the index is missing, nobody can say which
    /// weight files are needed, and the list ends with the missing file.
    pub fn audit_files(&self, spec: &ShardSpec) -> Result<Vec<AuditedFile>> {
        inspect::audit_files(&self.offline(), spec)
    }

    /// Predicts the memory of `requests` requests of `context` tokens each on the shard of `spec`. Reads config.json and the headers
    /// of the files that hold the shard's tensors. Where such a file is missing, the dtype in config.json decides.
    pub fn estimate(&self, spec: &ShardSpec, context: u32, requests: u32) -> Result<Estimate> {
        let leaves = self.current_shard().filter(|_| self.options.release_first);
        let held = self.budget.used().saturating_sub(leaves.map_or(0, |shard| shard.own_bytes()));
        let situation = Situation { options: &self.options, target: &self.target, limit: self.budget.limit(), held };
        inspect::estimate(&situation, &self.offline(), spec, context, requests)
    }

    /// Cuts the layers of `spec` among devices: which ones hold which layers, so that the slowest stage's seconds for a step and the
    /// hops between stages are least. Files are read as [`estimate`](Self::estimate) reads them, and nothing is measured: devices are
    /// what `options` says of them. What this engine holds, and its memory limit, do not matter.
    ///
    /// # Errors
    /// `OutOfMemory` if no plan fits, with what is missing; `InvalidArgument` for numbers that are none, with the field.
    pub fn plan(&self, spec: &ShardSpec, options: &PlanOptions) -> Result<Vec<PlanStage>> {
        let situation = Situation { options: &self.options, target: &self.target, limit: None, held: 0 };
        inspect::plan(&situation, &self.offline(), spec, options)
    }

    /// Reads the shape of the model of `spec`. Its files are found as a shard's are: in a folder, in the hub's cache, at the hub, or
    /// by the host. The layers of `spec` do not matter.
    ///
    /// Fetches config.json and `generation_config.json` at most. `progress` may cancel that.
    pub fn model_info(&self, spec: &ShardSpec, progress: Option<&mut OnProgress<'_>>) -> Result<ModelInfo> {
        let mut report = Report::new(progress);
        report.stage(Stage::Inspect)?;
        ModelInfo::of(&*self.files(spec)?, &mut |_| report.waiting())
    }

    /// What passes between layer `layer` and the next of the model of `spec`, and whether the model can be cut there. The layers of `spec`
    /// do not matter.
    ///
    /// Fetches config.json at most. `progress` may cancel that.
    ///
    /// # Errors
    /// `OutOfRange` for the last layer, or one that the model does not have.
    pub fn boundary(&self, spec: &ShardSpec, layer: u32, progress: Option<&mut OnProgress<'_>>) -> Result<Boundary> {
        let mut report = Report::new(progress);
        report.stage(Stage::Inspect)?;
        Boundary::of(&*self.files(spec)?, layer, &mut |_| report.waiting())
    }

    /// How the model of `spec` wants its tokens chosen, as [`ModelInfo::published_sampling`] reads it. Fetches
    /// `generation_config.json` at most. `progress` may cancel that.
    pub fn published_sampling(
        &self,
        spec: &ShardSpec,
        progress: Option<&mut OnProgress<'_>>,
    ) -> Result<SamplerOptions> {
        let mut report = Report::new(progress);
        report.stage(Stage::Inspect)?;
        inspect::published_sampling(&*self.files(spec)?, &mut |_| report.waiting())
    }

    /// Opens the tokenizer of the model of `spec`. Its files are found as [`model_info`](Self::model_info) finds config.json.
    ///
    /// Fetches at most the files that [`Tokenizer::open`] names, up to the sizes given there. If the network is off, a file that the
    /// cache does not hold counts as absent, except `tokenizer.json` itself.
    pub fn tokenizer(&self, spec: &ShardSpec, progress: Option<&mut OnProgress<'_>>) -> Result<Tokenizer> {
        let mut report = Report::new(progress);
        report.stage(Stage::Fetch)?;
        Tokenizer::of(&*self.files(spec)?, &mut |now| report.fetched(now))
    }

    fn files(&self, spec: &ShardSpec) -> Result<Box<dyn ModelFiles>> {
        source::open(&spec.model, spec.revision.as_deref(), &self.options.source)
    }

    /// Where files come from for a call that opens no socket, whatever the engine's other calls may do.
    fn offline(&self) -> SourceOptions {
        SourceOptions { offline: true, ..self.options.source.clone() }
    }

    /// Bytes that the engine has reserved now: weights, KV caches and, under a limit, the memory of runs.
    pub fn memory_used(&self) -> u64 {
        self.budget.used()
    }

    /// Counters since the engine was made.
    pub fn stats(&self) -> EngineStats {
        self.counters.read()
    }

    /// The device that the engine's shards run on. A shard that cannot run there runs on the processor, as its
    /// [`info`](ShardInfo::device) says, unless the device is required.
    pub fn device(&self) -> Device {
        self.target.device
    }
}
