//! Where a shard's weights come from.

use std::path::Path;

use super::progress::Report;
use crate::error::Result;
use crate::graph::Weight;
use crate::source::{Folder, ModelFiles};
use crate::weights::{self, WeightTable};

/// All files of a model, or one file.
#[derive(Debug)]
pub(super) struct Checkpoint {
    files: Box<dyn ModelFiles>,
    file: Option<String>,
}

impl Checkpoint {
    /// A model's own weights.
    pub(super) fn of(files: Box<dyn ModelFiles>) -> Self {
        Self { files, file: None }
    }

    /// A folder with safetensors, or one safetensors file.
    pub(super) fn at(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::of(Box::new(Folder::open(path)?)));
        }
        let (folder, name) = Folder::around(path)?;
        Ok(Self { files: Box::new(folder), file: Some(name.to_owned()) })
    }

    /// Whether the tensor `name` is there.
    pub(super) fn holds(&self, name: &str, report: &mut Report) -> Result<bool> {
        weights::holds(&*self.files, self.file.as_deref(), name, &mut |event| report.hear(event))
            .map_err(|e| e.within(self.files.describe()))
    }

    /// Maps the tensors `wanted`, fetched first if need be.
    pub(super) fn load(&self, wanted: &[&Weight], report: &mut Report) -> Result<WeightTable> {
        weights::load(&*self.files, self.file.as_deref(), wanted, &mut |event| report.hear(event))
            .map_err(|e| e.within(self.files.describe()))
    }
}
