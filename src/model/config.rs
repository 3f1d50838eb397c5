//! The numbers of config.json, in one form for every family and both transformers spellings.

use super::fields::Fields;
use super::rope::Rope;
use crate::error::{Result, bail};

// Limits far above any model, far below what would overflow a size computed from them.
const MAX_LAYERS: u64 = 1 << 12;
const MAX_WIDTH: u64 = 1 << 20;
const MAX_HEADS: u64 = 1 << 14;
const MAX_HEAD_DIM: u64 = 1 << 12;
const MAX_VOCABULARY: u64 = 1 << 24;
const MAX_POSITIONS: u64 = 1 << 31;

/// The dtype config.json says the checkpoint is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredDtype {
    F32,
    F16,
    Bf16,
}

/// A decoder's shape.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own in config.json")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelConfig {
    /// `architectures[0]`.
    pub architecture: String,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab_size: usize,
    /// `max_position_embeddings`: no request may pass it.
    pub max_positions: usize,
    pub rms_norm_eps: f32,
    pub tie_word_embeddings: bool,
    /// Bias on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on the output projection.
    pub o_bias: bool,
    /// Bias on the three MLP projections.
    pub mlp_bias: bool,
    /// Sliding window of each layer; empty: none has one.
    pub windows: Vec<Option<usize>>,
    pub rope: Rope,
    /// `torch_dtype` or `dtype`, if given; the tensors' own dtype decides.
    pub dtype: Option<StoredDtype>,
}

impl ModelConfig {
    /// The keys all families share. An architecture's `configure` then applies its own defaults and deviations.
    pub(super) fn read(f: Fields, architecture: &str) -> Result<Self> {
        if f.get("quantization_config").is_some() {
            bail!(
                Unsupported,
                "config.json: quantization_config: pre-quantised checkpoints are not supported; use the original one"
            );
        }
        let hidden_size = f.required("hidden_size", 1..=MAX_WIDTH)?;
        let heads = f.required("num_attention_heads", 1..=MAX_HEADS)?;
        let max_positions = f.integer("max_position_embeddings", 1..=MAX_POSITIONS)?.unwrap_or(2048);
        if let Some(activation) = f.text("hidden_act")?
            && !matches!(activation, "silu" | "swish")
        {
            bail!(Unsupported, "config.json: hidden_act `{activation}` is not supported (supported: silu)");
        }
        let head_dim = f.integer("head_dim", 1..=MAX_HEAD_DIM)?.unwrap_or((hidden_size / heads).max(1));
        Ok(Self {
            architecture: architecture.to_owned(),
            hidden_size,
            intermediate_size: f.required("intermediate_size", 1..=MAX_WIDTH)?,
            layers: f.required("num_hidden_layers", 1..=MAX_LAYERS)?,
            heads,
            kv_heads: f.integer("num_key_value_heads", 1..=MAX_HEADS)?.unwrap_or(heads),
            head_dim,
            vocab_size: f.required("vocab_size", 1..=MAX_VOCABULARY)?,
            max_positions,
            rms_norm_eps: f.positive("rms_norm_eps", 1.0)?.unwrap_or(1e-6) as f32,
            tie_word_embeddings: f.flag("tie_word_embeddings")?.unwrap_or(false),
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            windows: Vec::new(),
            rope: Rope::default(),
            dtype: dtype(f)?,
        })
    }

    /// Relations between the numbers.
    pub(super) fn check(&self) -> Result<()> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            bail!(
                Malformed,
                "config.json: num_attention_heads {} is not a multiple of num_key_value_heads {}",
                self.heads,
                self.kv_heads
            );
        }
        if !self.head_dim.is_multiple_of(2) {
            bail!(Malformed, "config.json: head_dim {} is odd; rotary positions need pairs", self.head_dim);
        }
        if (self.heads * self.head_dim) as u64 > MAX_WIDTH {
            bail!(
                Malformed,
                "config.json: num_attention_heads {} x head_dim {} is over {MAX_WIDTH}",
                self.heads,
                self.head_dim
            );
        }
        Ok(())
    }

    /// The window that `sliding_window` sets on the layers for which `slides` holds.
    pub(super) fn slide(&mut self, window: Option<usize>, slides: impl Fn(usize) -> bool) {
        self.windows = (0..self.layers).map(|layer| window.filter(|_| slides(layer))).collect();
    }
}

/// `sliding_window`, with the class default where the key is absent; `null` means none.
pub(super) fn sliding_window(f: Fields, default: usize) -> Result<Option<usize>> {
    if f.has("sliding_window") { f.integer("sliding_window", 1..=MAX_POSITIONS) } else { Ok(Some(default)) }
}

/// Which layers slide in the Qwen families: `layer_types` where given, else those from `max_window_layers` on, and
/// only if `use_sliding_window`.
pub(super) fn qwen_windows(f: Fields, config: &mut ModelConfig) -> Result<()> {
    if !f.flag("use_sliding_window")?.unwrap_or(false) {
        return Ok(());
    }
    let window = sliding_window(f, 4096)?;
    if let Some(types) = f.texts("layer_types")? {
        if types.len() != config.layers {
            bail!(
                Malformed,
                "config.json: layer_types has {} entries, num_hidden_layers is {}",
                types.len(),
                config.layers
            );
        }
        if let Some(odd) = types.iter().find(|t| !matches!(**t, "full_attention" | "sliding_attention")) {
            bail!(Unsupported, "config.json: layer_types: `{odd}` is not supported");
        }
        config.slide(window, |layer| types[layer] == "sliding_attention");
    } else {
        let first = f.integer("max_window_layers", 0..=u64::from(u32::MAX))?.unwrap_or(28);
        config.slide(window, |layer| layer >= first);
    }
    Ok(())
}

fn dtype(f: Fields) -> Result<Option<StoredDtype>> {
    let name = match f.text("dtype")? {
        Some(name) => Some(name),
        None => f.text("torch_dtype")?,
    };
    Ok(match name.map(|n| n.trim_start_matches("torch.")) {
        Some("float32") => Some(StoredDtype::F32),
        Some("float16") => Some(StoredDtype::F16),
        Some("bfloat16") => Some(StoredDtype::Bf16),
        _ => None,
    })
}
