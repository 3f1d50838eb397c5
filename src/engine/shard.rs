//! A loaded range of layers.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::device::Device;
use super::options::{EngineOptions, Progress, ShardSpec, Stage};
use super::stats::Counters;
use crate::error::{Result, bail, err};
use crate::graph::{self, Graph};
use crate::kernels::Dtype;
use crate::kv::KvShape;
use crate::model::{self, ModelConfig, Range};
use crate::runtime::Session;
use crate::source::{Folder, names};
use crate::weights::{self, WeightTable};

/// A config.json is a few kilobytes.
const CONFIG_LIMIT: u64 = 4 << 20;

/// What a shard is and takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardInfo {
    /// The model's architecture, as config.json names it.
    pub architecture: String,
    /// First layer, from 0.
    pub start_layer: u32,
    /// Last layer, **inclusive**.
    pub end_layer: u32,
    /// Layers of the whole model.
    pub n_layers: u32,
    /// Whether it takes token ids (it starts at layer 0) rather than hidden states.
    pub is_first: bool,
    /// Whether it gives logits (it ends at the last layer) rather than hidden states.
    pub is_last: bool,
    /// Width of hidden states.
    pub hidden_size: u32,
    /// Number of token ids, and width of logits.
    pub vocab_size: u32,
    /// The longest sequence the model allows.
    pub max_positions: u32,
    /// Element type of most weights: `f32`, `f16` or `bf16`.
    pub weight_dtype: &'static str,
    /// Bytes of weights, as stored.
    pub weight_bytes: u64,
    /// Bytes of KV cache that a token takes.
    pub kv_bytes_per_token: u64,
    /// Where it runs.
    pub device: Device,
}

/// Layers `start..=end` of a model, ready to run. Immutable: share it between threads and requests.
#[derive(Debug)]
pub struct Shard {
    info: ShardInfo,
    config: ModelConfig,
    graph: Graph,
    kv: KvShape,
    session: Session,
    weights: Arc<WeightTable>,
    pub(super) counters: Arc<Counters>,
}

impl Shard {
    pub(super) fn load(
        spec: &ShardSpec,
        _options: &EngineOptions,
        device: Device,
        counters: &Arc<Counters>,
        progress: Option<&mut dyn FnMut(&Progress) -> ControlFlow<()>>,
    ) -> Result<Self> {
        let mut silent = |_: &Progress| ControlFlow::Continue(());
        let progress = progress.unwrap_or(&mut silent);
        let mut now =
            Progress { stage: Stage::Inspect, bytes_done: 0, bytes_total: 0, tensors_done: 0, tensors_total: 0 };
        let mut report = |now: &Progress| match progress(now) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(err!(Cancelled, "loading `{}` was cancelled", spec.model)),
        };

        report(&now)?;
        let folder = Folder::open(Path::new(&spec.model))?;
        let config = read_config(&folder)?;
        let range = range(spec, &config)?;
        let graph = model::graph(&config, range)?;

        now.stage = Stage::Weights;
        let wanted = graph.weights();
        now.tensors_total = wanted.len();
        report(&now)?;
        let table = weights::load(&folder, &wanted, &mut |tensors, bytes| {
            (now.tensors_done, now.bytes_done) = (tensors, bytes);
            report(&now)
        })
        .map_err(|e| e.within(format_args!("model `{}`", spec.model)))?;
        let table = Arc::new(table);

        now.stage = Stage::Session;
        now.bytes_total = table.bytes();
        report(&now)?;
        let session = Session::new(&graph::native::write(&graph), Arc::clone(&table))?;
        let kv = KvShape { layers: range.len(), kv_heads: config.kv_heads, head_dim: config.head_dim };
        let info = info(&config, range, &table, kv, device);

        now.stage = Stage::Ready;
        report(&now)?;
        Ok(Self { info, config, graph, kv, session, weights: table, counters: Arc::clone(counters) })
    }

    /// What it is and takes.
    pub fn info(&self) -> &ShardInfo {
        &self.info
    }

    /// Saves the shard as a standard ONNX model: `path`, and its weights as float32 in `path` + `.data` beside it.
    ///
    /// The file uses ONNX operators and ONNX Runtime's own contributed ones, so stock ONNX Runtime loads it. Both
    /// files appear complete or not at all; existing ones are replaced.
    pub fn export_onnx(&self, path: &Path) -> Result<()> {
        let info = &self.info;
        let metadata = [
            ("architecture", info.architecture.clone()),
            ("start_layer", info.start_layer.to_string()),
            ("end_layer", info.end_layer.to_string()),
            ("n_layers", info.n_layers.to_string()),
        ];
        super::export::write(path, &self.graph, &self.config, &self.weights, &metadata)
    }

    pub(super) fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub(super) fn kv_shape(&self) -> KvShape {
        self.kv
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

/// The model's shape.
pub(super) fn read_config(folder: &Folder) -> Result<ModelConfig> {
    model::read_config(&folder.read(names::CONFIG, CONFIG_LIMIT)?)
        .map_err(|e| e.within(format_args!("model `{}`", folder.root().display())))
}

fn range(spec: &ShardSpec, config: &ModelConfig) -> Result<Range> {
    if spec.n_layers != 0 && spec.n_layers as usize != config.layers {
        bail!(InvalidArgument, "n_layers is {}, model `{}` has {} layers", spec.n_layers, spec.model, config.layers);
    }
    let end = if spec.end_layer == ShardSpec::LAST { config.layers - 1 } else { spec.end_layer as usize };
    Range::new(spec.start_layer as usize, end, config.layers)
}

fn info(config: &ModelConfig, range: Range, weights: &WeightTable, kv: KvShape, device: Device) -> ShardInfo {
    ShardInfo {
        architecture: config.architecture.clone(),
        start_layer: range.start as u32,
        end_layer: range.end as u32,
        n_layers: range.layers as u32,
        is_first: range.is_first(),
        is_last: range.is_last(),
        hidden_size: config.hidden_size as u32,
        vocab_size: config.vocab_size as u32,
        max_positions: config.max_positions as u32,
        weight_dtype: match weights.dtype() {
            Some(Dtype::F16) => "f16",
            Some(Dtype::BF16) => "bf16",
            Some(Dtype::F32) | None => "f32",
        },
        weight_bytes: weights.bytes(),
        kv_bytes_per_token: kv.bytes_per_token(),
        device,
    }
}
