//! Where a model's files come from. No weights are read here: a source turns file names into paths.

mod folder;

pub(crate) use folder::Folder;

/// Names of the files of a model folder.
pub(crate) mod names {
    /// The model's shape.
    pub(crate) const CONFIG: &str = "config.json";
    /// The weights, when one file holds them all.
    pub(crate) const WEIGHTS: &str = "model.safetensors";
    /// Which file holds which tensor, when there are several.
    pub(crate) const INDEX: &str = "model.safetensors.index.json";
}
