//! Where a shard's weights come from.

use std::path::Path;

use super::progress::Report;
use crate::error::{Result, err};
use crate::graph::Weight;
use crate::source::{Folder, ModelFiles};
use crate::weights::{self, Event, WeightTable};

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
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| err!(InvalidArgument, "checkpoint `{}` is no file name", path.display()))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { files: Box::new(Folder::open(folder)?), file: Some(name.to_owned()) })
    }

    /// Maps the tensors `wanted`, fetched first if need be.
    pub(super) fn load(&self, wanted: &[&Weight], report: &mut Report) -> Result<WeightTable> {
        weights::load(&*self.files, self.file.as_deref(), wanted, &mut |event| match event {
            Event::Fetched(now) => report.fetched(now),
            Event::Mapped { tensors, bytes } => report.mapped(tensors, bytes),
        })
        .map_err(|e| e.within(self.files.describe()))
    }
}
