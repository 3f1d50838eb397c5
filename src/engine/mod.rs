//! The public Rust API, and all that the C API calls: an [`Engine`] holds one [`Shard`], a [`Request`] runs on it.

mod callout;
mod export;
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
mod tests;

pub(crate) use callout::call_out;
pub use inspect::{AuditedFile, Estimate, FileState, ModelInfo};
pub use io::{Input, Logits, Output};
pub use load::{OnProgress, Progress, Stage};
pub use options::{Device, DeviceInfo, EngineOptions, KvType, PackCache, Precision, RequestOptions, ShardSpec};
pub use request::{CancelHandle, Request, SampleStep, Step, infer_batch, infer_chain, next_token, next_tokens};
pub use shard::Shard;
pub use shard_info::{ShardInfo, WeightType};
pub use stats::EngineStats;

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};

use crate::error::{ErrorKind, Result, bail, err};
use crate::runtime::{self, Runtime};
use crate::source::{self, ModelFiles, SourceOptions, absolute};
use crate::tokenizer::Tokenizer;
use inspect::Situation;
use load::{Place, Report};
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
    /// Held while a shard is built, so that two loads never compete for memory; `resident` stays free meanwhile.
    loading: ReentrantMutex<()>,
    budget: Arc<Budget>,
    counters: Arc<Counters>,
}

impl Engine {
    /// An engine without a shard. Loads ONNX Runtime if no call has yet.
    pub fn new(mut options: EngineOptions) -> Result<Self> {
        // Wherever the process goes, what the options name stays what it is.
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
    /// Nothing happens if it is resident already: the same layers of the same folder, however its path is spelled, with the
    /// model's own weights, and the files as they were. Otherwise it is built beside the present one, which is replaced only
    /// once the new shard is ready: after any failure the old shard is still there. Requests keep the shard they were
    /// made on alive and go on working. With [`EngineOptions::release_first`] the old one makes room first.
    ///
    /// `progress` is called from this thread after each step; [`Break`](std::ops::ControlFlow::Break) cancels.
    pub fn ensure_shard(&self, spec: &ShardSpec, progress: Option<&mut OnProgress<'_>>) -> Result<Arc<Shard>> {
        let _loading = self.begin_loading()?;
        let (place, old) = (Place::of(spec)?, self.current_shard());
        match old {
            Some(old) if old.recipe().is_for(&place, spec) => Ok(old),
            old => self.replace(old, &place, spec, None, progress),
        }
    }

    /// Puts other weights of the same model into the resident shard's place: those of the safetensors file or folder
    /// `checkpoint`, which must hold every tensor of the shard's layers under a name that transformers takes for it
    /// (`model.layers.0...`, `layers.0...`).
    ///
    /// A transaction like [`ensure_shard`](Self::ensure_shard): the new shard replaces the old one when it is ready.
    pub fn load_checkpoint(&self, checkpoint: &Path, progress: Option<&mut OnProgress<'_>>) -> Result<Arc<Shard>> {
        let _loading = self.begin_loading()?;
        let old = self.resident()?;
        let (place, spec) = (old.recipe().place.clone(), old.recipe().spec.clone());
        self.replace(Some(old), &place, &spec, Some(checkpoint), progress)
    }

    /// Saves the resident shard's tensors, in their stored dtype and under transformers' usual names, as one safetensors file.
    /// It appears complete or not at all; an existing file is replaced.
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
        place: &Place,
        spec: &ShardSpec,
        checkpoint: Option<&Path>,
        progress: Option<&mut OnProgress<'_>>,
    ) -> Result<Arc<Shard>> {
        let mut report = Report::new(progress);
        // Before anything is given up for it: most of what can be wrong with a model shows here.
        let recipe = Recipe::new(place, spec, checkpoint, &self.options, self.target, &mut report);
        let shard = recipe.and_then(|recipe| {
            let build = || Shard::build(recipe, &self.options, &self.budget, &self.counters, &mut report);
            match old.filter(|_| self.options.release_first) {
                None => build(),
                Some(old) => self.in_place_of(&old, build),
            }
        });
        let shard = Arc::new(shard.inspect_err(|error| {
            self.counters.note(error);
            if !matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::Cancelled) {
                log::error!("`{}` could not be loaded: {}", spec.model, error.chain());
            }
        })?);
        let replaced = self.resident.lock().replace(Arc::clone(&shard));
        self.counters.loaded();
        drop(replaced);
        Ok(shard)
    }

    /// Gives `old`'s memory to what `load` makes; gives it back if that fails.
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

    /// Gives back the memory of the resident shard and the KV caches of the requests on it, after the runs in progress.
    /// Handles on them stay valid, their calls return [`StaleShard`](crate::ErrorKind::StaleShard). The engine can be used
    /// again. Requests keep their last output, and their input if they have no cache; shards that were replaced before are not
    /// touched.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) from the engine's own progress callback.
    pub fn clear(&self) -> Result<()> {
        let _loading = self.begin_loading()?;
        let resident = self.resident.lock().take();
        if let Some(resident) = resident {
            resident.retire();
            // The allocator would keep freed megabytes for later; who clears an engine wants them back.
            runtime::return_freed_memory();
        }
        Ok(())
    }

    /// Waits for other threads that load or clear, but not for itself.
    fn begin_loading(&self) -> Result<ReentrantMutexGuard<'_, ()>> {
        callout::refuse_inside()?;
        if self.loading.is_owned_by_current_thread() {
            bail!(InvalidState, "the engine is loading: its progress callback must not load or clear on it");
        }
        Ok(self.loading.lock())
    }

    /// Deletes every packed shard from the [`PackCache`] and returns the bytes of the files. Shards in use go on working.
    pub fn clear_pack_cache(&self) -> u64 {
        self.options.pack_cache.store(self.options.pack_cache_limit).map_or(0, |store| store.clear())
    }

    /// Lists the files that the shard of `spec` needs, without fetching any or opening a socket: config.json, the index
    /// if the model has one, and the weight files that hold the shard's tensors. Where config.json or the index is
    /// missing, which weight files are needed cannot be told, and the list ends with what is missing.
    pub fn audit_files(&self, spec: &ShardSpec) -> Result<Vec<AuditedFile>> {
        inspect::audit_files(&self.offline(), spec)
    }

    /// Predicts the memory of `requests` requests of `context` tokens each on the shard of `spec`. Reads config.json and
    /// the headers of the files that hold the shard's tensors; where those are not there, config.json's dtype decides.
    pub fn estimate(&self, spec: &ShardSpec, context: u32, requests: u32) -> Result<Estimate> {
        let leaves = self.current_shard().filter(|_| self.options.release_first);
        let held = self.budget.used().saturating_sub(leaves.map_or(0, |shard| shard.own_bytes()));
        let situation = Situation { options: &self.options, target: &self.target, limit: self.budget.limit(), held };
        inspect::estimate(&situation, &self.offline(), spec, context, requests)
    }

    /// The shape of the model of `spec`, found as the files of a shard are: in a folder, in the hub's cache, at the
    /// hub, or by the host. The layers of `spec` do not matter.
    ///
    /// Fetches config.json and `generation_config.json` at most. `progress` may cancel that.
    pub fn model_info(&self, spec: &ShardSpec, progress: Option<&mut OnProgress<'_>>) -> Result<ModelInfo> {
        let mut report = Report::new(progress);
        report.stage(Stage::Inspect)?;
        ModelInfo::of(&*self.files(spec)?, &mut |_| report.waiting())
    }

    /// The tokenizer of the model of `spec`, found as [`model_info`](Self::model_info) finds config.json.
    ///
    /// Fetches the files that [`Tokenizer::open`] names at most, none beyond the sizes told there. What the cache does
    /// not hold when the network is off counts as not there, but for `tokenizer.json` itself.
    pub fn tokenizer(&self, spec: &ShardSpec, progress: Option<&mut OnProgress<'_>>) -> Result<Tokenizer> {
        let mut report = Report::new(progress);
        report.stage(Stage::Fetch)?;
        Tokenizer::of(&*self.files(spec)?, &mut |now| report.fetched(now))
    }

    fn files(&self, spec: &ShardSpec) -> Result<Box<dyn ModelFiles>> {
        source::open(&spec.model, spec.revision.as_deref(), &self.options.source)
    }

    /// Where files come from for what opens no socket, whatever the engine may do.
    fn offline(&self) -> SourceOptions {
        SourceOptions { offline: true, ..self.options.source.clone() }
    }

    /// Bytes reserved by the engine now: weights, KV caches and, under a limit, the memory of runs.
    pub fn memory_used(&self) -> u64 {
        self.budget.used()
    }

    /// Counters since the engine was made.
    pub fn stats(&self) -> EngineStats {
        self.counters.read()
    }

    /// The device its shards run on. A shard that cannot runs on the processor, as its
    /// [`info`](ShardInfo::device) says, unless the device is required.
    pub fn device(&self) -> Device {
        self.target.device
    }
}
