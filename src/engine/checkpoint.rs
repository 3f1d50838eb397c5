//! Where a shard's weights come from.

use std::path::Path;

use super::place::Stamps;
use super::progress::Report;
use crate::error::Result;
use crate::graph::Weight;
use crate::source::{FileState, Folder, ModelFiles, absolute, names};
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
        // What is not there is named as it was given.
        let path = path.canonicalize().unwrap_or_else(|_| absolute(path));
        if path.is_dir() {
            return Ok(Self::of(Box::new(Folder::open(&path)?)));
        }
        let (folder, name) = Folder::around(&path)?;
        Ok(Self { files: Box::new(folder), file: Some(name.to_owned()) })
    }

    /// The files that hold the tensors `wanted`, and those that say which they are, as they are now.
    pub(super) fn stamps(&self, wanted: &[&Weight]) -> Result<Stamps> {
        let weights = weights::files(&*self.files, wanted, &mut |_| Ok(()))?;
        let names = [names::CONFIG, names::INDEX].into_iter().chain(weights.iter().map(String::as_str));
        let states = names.map(|name| self.files.audit(name)).collect::<Result<Vec<_>>>()?;
        Ok(Stamps::of(states.into_iter().filter_map(|state| match state {
            FileState::Present { path, .. } => Some(path),
            FileState::Missing { .. } | FileState::Absent => None,
        })))
    }

    /// Whether the tensor `name` is there.
    pub(super) fn holds(&self, name: &str, report: &mut Report) -> Result<bool> {
        weights::holds(&*self.files, self.file.as_deref(), name, &mut |event| report.hear(event))
            .map_err(|e| e.within(self.files.describe()))
    }

    /// What it is called in messages.
    pub(super) fn describe(&self) -> String {
        self.files.describe()
    }

    /// Maps the tensors `wanted`, fetched first if need be.
    pub(super) fn load(&self, wanted: &[&Weight], report: &mut Report) -> Result<WeightTable> {
        weights::load(&*self.files, self.file.as_deref(), wanted, &mut |event| report.hear(event))
            .map_err(|e| e.within(self.files.describe()))
    }
}
