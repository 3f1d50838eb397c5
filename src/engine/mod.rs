//! The public Rust API, and all that the C API calls: an [`Engine`] holds one [`Shard`], a [`Request`] runs on it.

mod device;
mod export;
mod model_info;
mod options;
mod request;
mod shard;
mod stats;

pub use device::Device;
pub use model_info::ModelInfo;
pub use options::{EngineOptions, Precision, Progress, RequestOptions, ShardSpec, Stage};
pub use request::{CancelHandle, Input, Logits, Output, Request};
pub use shard::{Shard, ShardInfo};
pub use stats::EngineStats;

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Result;
use crate::runtime::Runtime;
use stats::Counters;

/// Holds at most one shard and swaps it as a transaction. All methods may be called from many threads at once.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    device: Device,
    resident: Mutex<Option<Resident>>,
    /// Held while a shard is built, so that two loads never compete for memory; `resident` stays free meanwhile.
    loading: Mutex<()>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Resident {
    spec: ShardSpec,
    shard: Arc<Shard>,
}

impl Engine {
    /// An engine without a shard. Loads ONNX Runtime if no call has yet.
    pub fn new(options: EngineOptions) -> Result<Self> {
        let device = device::resolve(options.device, options.require_device, Runtime::get()?)?;
        Ok(Self {
            options,
            device,
            resident: Mutex::new(None),
            loading: Mutex::new(()),
            counters: Arc::new(Counters::default()),
        })
    }

    /// Makes the shard that `spec` names resident and returns it.
    ///
    /// Nothing happens if it is resident already. Otherwise it is built beside the present one, which is replaced only
    /// once the new shard is ready: after any failure the old shard is still there. Requests keep the shard they were
    /// made on alive and go on working.
    ///
    /// `progress` is called from this thread after each step; [`ControlFlow::Break`] cancels.
    pub fn ensure_shard(
        &self,
        spec: &ShardSpec,
        progress: Option<&mut dyn FnMut(&Progress) -> ControlFlow<()>>,
    ) -> Result<Arc<Shard>> {
        let _loading = self.loading.lock();
        if let Some(resident) = self.resident.lock().as_ref()
            && resident.spec == *spec
        {
            return Ok(Arc::clone(&resident.shard));
        }
        let shard = Shard::load(spec, &self.options, self.device, &self.counters, progress)
            .inspect_err(|error| self.counters.note(error))?;
        let shard = Arc::new(shard);
        let replaced = self.resident.lock().replace(Resident { spec: spec.clone(), shard: Arc::clone(&shard) });
        self.counters.loaded();
        drop(replaced);
        Ok(shard)
    }

    /// The resident shard, if there is one.
    pub fn current_shard(&self) -> Option<Arc<Shard>> {
        self.resident.lock().as_ref().map(|resident| Arc::clone(&resident.shard))
    }

    /// Releases the resident shard. Its memory is freed when the last request and handle on it is. The engine can be
    /// used again.
    pub fn clear(&self) {
        let _loading = self.loading.lock();
        let resident = self.resident.lock().take();
        drop(resident);
    }

    /// Counters since the engine was made.
    pub fn stats(&self) -> EngineStats {
        self.counters.read()
    }

    /// The device its shards run on.
    pub fn device(&self) -> Device {
        self.device
    }
}
