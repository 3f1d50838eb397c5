//! The numbers of config.json, in one form for every family and both transformers spellings.

use std::sync::Arc;

use super::families::{Llama, NEMOTRON_H};
use super::family::{Architecture, Family};
use super::fields::Fields;
use super::layers::Windows;
use super::rope::{Rope, RopeDefaults};
use super::{EMBEDDING, unsupported};
use crate::error::{Result, bail};

// Limits far above any model, far below what would overflow a size computed from them.
const MAX_LAYERS: u64 = 1 << 12;
pub(super) const MAX_WIDTH: u64 = 1 << 20;
pub(super) const MAX_HEADS: u64 = 1 << 14;
pub(super) const MAX_HEAD_DIM: u64 = 1 << 12;
const MAX_VOCABULARY: u64 = 1 << 24;
pub(super) const MAX_POSITIONS: u64 = 1 << 31;

/// The key of the inner width of MLPs, which some families have for each layer.
const INNER: &str = "intermediate_size";

/// The dtype config.json says the checkpoint is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredDtype {
    F32,
    F16,
    Bf16,
}

/// What a checkpoint calls its embedding and its layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    pub embedding: &'static str,
    /// The module that holds the layers.
    pub layers: &'static str,
}

/// A decoder's shape.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own in config.json")]
#[derive(Debug, Clone)]
pub(crate) struct ModelConfig {
    /// The name of its class in transformers.
    pub architecture: &'static str,
    pub names: Names,
    /// What the family computes its own way.
    pub family: Arc<dyn Family>,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab_size: usize,
    /// `max_position_embeddings`: no request may pass it.
    pub max_positions: usize,
    /// The epsilon of its norms. NaN while config.json is read: the family has not read it under a key of its own.
    pub rms_norm_eps: f32,
    pub tie_word_embeddings: bool,
    /// Bias on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on the output projection.
    pub o_bias: bool,
    /// Bias on the three MLP projections.
    pub mlp_bias: bool,
    /// Bias on the output head.
    pub head_bias: bool,
    pub windows: Windows,
    /// How the family rotates where config.json does not say.
    pub rope: RopeDefaults,
    /// The rotations of positions that layers have: in most models one.
    pub ropes: Vec<Rope>,
    /// Whether the checkpoint stacks the experts of a layer, as transformers holds them in memory; the tensors' names decide.
    pub stacked_experts: bool,
    /// Rows and columns of the blocks of its layers' matrices, if these are stored as eight-bit floats.
    pub blocks: Option<[usize; 2]>,
    /// `torch_dtype` or `dtype`, if given; the tensors' own dtype decides.
    pub dtype: Option<StoredDtype>,
}

impl ModelConfig {
    /// The keys all families share. An architecture's `configure` then applies its own defaults and deviations.
    pub(super) fn read(f: Fields, architecture: &Architecture) -> Result<Self> {
        unsupported::refuse(f, architecture.honours)?;
        let hidden_size = f.required("hidden_size", 1..=MAX_WIDTH)?;
        let heads = f.required("num_attention_heads", 1..=MAX_HEADS)?;
        let max_positions = f.integer("max_position_embeddings", 1..=MAX_POSITIONS)?.unwrap_or(2048);
        let head_dim = f.integer_or_null("head_dim", 1..=MAX_HEAD_DIM)?.unwrap_or((hidden_size / heads).max(1));
        Ok(Self {
            architecture: architecture.name,
            names: Names { embedding: EMBEDDING, layers: "model.layers" },
            family: Arc::new(Llama),
            hidden_size,
            intermediate_size: if architecture.honours.contains(&INNER) {
                0
            } else {
                f.integer(INNER, 1..=MAX_WIDTH)?.unwrap_or(0)
            },
            layers: layers(f, architecture)?,
            heads,
            kv_heads: f.integer_or_null("num_key_value_heads", 1..=MAX_HEADS)?.unwrap_or(heads),
            head_dim,
            vocab_size: f.required("vocab_size", 1..=MAX_VOCABULARY)?,
            max_positions,
            rms_norm_eps: f32::NAN,
            tie_word_embeddings: f.flag("tie_word_embeddings")?.unwrap_or(false),
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            head_bias: false,
            windows: Vec::new(),
            rope: RopeDefaults::default(),
            ropes: Vec::new(),
            stacked_experts: false,
            blocks: None,
            dtype: dtype(f),
        })
    }

    /// Gives a number another default than most families have, where `key` is absent.
    pub(super) fn set_default(
        &mut self,
        f: Fields,
        key: &str,
        number: impl Fn(&mut Self) -> &mut usize,
        default: usize,
    ) -> Result<()> {
        if !f.has(key) {
            *number(self) = default;
        } else if f.get(key).is_none() {
            return Err(f.wrong(key, "a whole number"));
        }
        Ok(())
    }

    /// How many tokens a text may have before its positions are rotated at other frequencies; `None`: any number.
    pub(crate) fn border(&self) -> Option<usize> {
        self.ropes.iter().find_map(Rope::border)
    }

    /// All rotations have one border between short and long texts, or none.
    pub(super) fn check_ropes(&self) -> Result<()> {
        let borders: Vec<usize> = self.ropes.iter().filter_map(Rope::border).collect();
        if borders.windows(2).any(|pair| pair[0] != pair[1]) {
            bail!(
                Unsupported,
                "config.json: original_max_position_embeddings is not the same for all kinds of layers, but {borders:?}"
            );
        }
        Ok(())
    }

    /// Relations between the numbers.
    pub(super) fn check(&self) -> Result<()> {
        // Some families have it under another key.
        if self.intermediate_size == 0 {
            bail!(Malformed, "config.json: intermediate_size is missing");
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            bail!(
                Malformed,
                "config.json: num_attention_heads {} is not a multiple of num_key_value_heads {}",
                self.heads,
                self.kv_heads
            );
        }
        if !self.head_dim.is_multiple_of(2) {
            bail!(
                Malformed,
                "config.json: head_dim {} (hidden_size / num_attention_heads unless given) is odd; rotary positions need pairs",
                self.head_dim
            );
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
}

/// How many layers there are. Nemotron-H has a list of them instead, or beside it, which the family reads.
fn layers(f: Fields, architecture: &Architecture) -> Result<usize> {
    const KEY: &str = "num_hidden_layers";
    if architecture.name == NEMOTRON_H.name && !f.has(KEY) { Ok(1) } else { f.required(KEY, 1..=MAX_LAYERS) }
}

/// The epsilon of norms under `key`, `default` where there is none.
pub(super) fn norm_eps(f: Fields, key: &str, default: f64) -> Result<f32> {
    let eps = f.number(key)?.unwrap_or(default);
    if !(0.0..=1.0).contains(&eps) {
        return Err(f.wrong(key, "between 0 and 1"));
    }
    Ok(eps as f32)
}

/// `dtype`, or `torch_dtype`, as transformers 4 has it.
fn dtype(f: Fields) -> Option<StoredDtype> {
    let name = f.get("dtype").or(f.get("torch_dtype"))?.as_str()?;
    match name.trim_start_matches("torch.") {
        "float32" => Some(StoredDtype::F32),
        "float16" => Some(StoredDtype::F16),
        "bfloat16" => Some(StoredDtype::Bf16),
        _ => None,
    }
}
