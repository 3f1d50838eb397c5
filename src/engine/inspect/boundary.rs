//! What passes between two layers of a model.

use std::path::Path;

use super::blueprint::read_config;
use crate::engine::frame::{self, PartType};
use crate::error::{Result, bail};
use crate::graph::Role;
use crate::model::{self, ModelConfig};
use crate::source::{Folder, ModelFiles, OnTransfer};

/// The place behind a layer that is not the last: whether the model can be cut there, and what passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    /// The layer in front of it.
    pub layer: u32,
    /// Why the model cannot be cut there; `None` if it can.
    pub refused: Option<String>,
    /// The parts that pass it and their widths, hidden states first.
    pub parts: Vec<(Role, u32)>,
    /// What frames say of the model's numbers, as hexadecimal digits: the same on both sides.
    pub model: String,
}

impl Boundary {
    /// Bytes that a token's values of all parts take as `dtype`.
    pub fn bytes_per_token(&self, dtype: PartType) -> u64 {
        self.parts.iter().map(|(_, width)| u64::from(*width) * dtype.size() as u64).sum()
    }

    /// Bytes in front of the parts of its frames.
    pub fn header_bytes(&self) -> usize {
        frame::header_bytes(self.parts.len())
    }

    /// The place behind `layer` of the model in the folder `model`. For a model that is no folder:
    /// [`Engine::boundary`](crate::Engine::boundary).
    ///
    /// # Errors
    /// `OutOfRange` for the last layer, or one that the model does not have.
    pub fn read(model: &Path, layer: u32) -> Result<Self> {
        Self::of(&Folder::open(model)?, layer, &mut |_| Ok(()))
    }

    /// The place behind `layer` of the model of `files`.
    pub(crate) fn of(files: &dyn ModelFiles, layer: u32, on: &mut OnTransfer<'_>) -> Result<Self> {
        Self::behind(&read_config(files, on)?, layer)
    }

    /// The place behind `layer` of the model with `config`.
    pub(crate) fn behind(config: &ModelConfig, layer: u32) -> Result<Self> {
        if layer as usize + 1 >= config.layers {
            bail!(OutOfRange, "layer {layer} has no other behind it: the model has {} layers", config.layers);
        }
        let model::Boundary { parts, refused } = model::boundary(config, layer as usize);
        let parts = parts.iter().map(|(role, width)| (*role, *width as u32)).collect();
        Ok(Self { layer, refused, parts, model: frame::hex(&frame::numbers_of(config)) })
    }
}
