//! Where a shard's weights come from.

use std::path::Path;

use super::{Report, Stamps};
use crate::error::{Error, Result};
use crate::graph::Weight;
use crate::source::{FileState, Folder, ModelFiles, absolute, names};
use crate::weights::{self, Catalogue, WeightTable};

/// The files of a model, and the tensors in them.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    files: Box<dyn ModelFiles>,
    catalogue: Catalogue,
}

impl Checkpoint {
    /// The checkpoint with the model's own weights.
    pub(crate) fn of(files: Box<dyn ModelFiles>, report: &mut Report) -> Result<Self> {
        Self::read(files, None, report)
    }

    /// The checkpoint in a folder with safetensors files, or in one such file.
    pub(crate) fn at(path: &Path, report: &mut Report) -> Result<Self> {
        // Messages name a missing path as the caller gave it.
        let path = path.canonicalize().unwrap_or_else(|_| absolute(path));
        if path.is_dir() {
            return Self::of(Box::new(Folder::open(&path)?), report);
        }
        let (folder, name) = Folder::around(&path)?;
        Self::read(Box::new(folder), Some(name), report)
    }

    fn read(files: Box<dyn ModelFiles>, file: Option<&str>, report: &mut Report) -> Result<Self> {
        let catalogue = Catalogue::read(&*files, file, &mut |event| report.event(event));
        let catalogue = catalogue.map_err(|e| named(e, &*files))?;
        Ok(Self { files, catalogue })
    }

    /// The tensors that are there.
    pub(crate) fn catalogue(&mut self) -> &mut Catalogue {
        &mut self.catalogue
    }

    /// The present state of the files of `folder` that hold the tensors `wanted`, and of the files that say which these are.
    pub(crate) fn stamps(&self, folder: &Path, wanted: &[&Weight]) -> Result<Stamps> {
        let said = [names::CONFIG, names::WEIGHTS, names::INDEX];
        let states = self.catalogue.files(wanted).and_then(|weights| {
            said.into_iter()
                .chain(self.catalogue.index())
                .chain(weights)
                .map(|name| self.files.audit(name))
                .collect::<Result<Vec<_>>>()
        });
        let states = states.map_err(|e| named(e, &*self.files))?;
        let present = states.into_iter().filter_map(|state| match state {
            FileState::Present { path, .. } => Some(path),
            FileState::Missing { .. } | FileState::Absent => None,
        });
        Ok(Stamps::of(present, [names::WEIGHTS, names::INDEX].map(|name| folder.join(name)).into()))
    }

    /// The name of the checkpoint in messages.
    pub(crate) fn describe(&self) -> String {
        self.files.describe()
    }

    /// Maps the tensors `wanted`; `None` if a file that holds them is not here. Fetches nothing.
    pub(crate) fn load_here(&self, wanted: &[&Weight]) -> Result<Option<WeightTable>> {
        for file in self.catalogue.files(wanted)? {
            if !matches!(self.files.audit(file)?, FileState::Present { .. }) {
                return Ok(None);
            }
        }
        self.load(wanted, &mut Report::silent()).map(Some)
    }

    /// Maps the tensors `wanted`. Files that are not here are fetched first.
    pub(crate) fn load(&self, wanted: &[&Weight], report: &mut Report) -> Result<WeightTable> {
        weights::load(&*self.files, &self.catalogue, wanted, &mut |event| report.event(event))
            .map_err(|e| named(e, &*self.files))
    }
}

/// `error`, with the name of the model if the error does not name it already.
fn named(error: Error, files: &dyn ModelFiles) -> Error {
    let model = files.describe();
    if error.chain().contains(&model) { error } else { error.within(model) }
}
