//! Names of the files of a model folder.

/// The model's shape.
pub(crate) const CONFIG: &str = "config.json";
/// The authors' settings for generation, which may say where a text ends.
pub(crate) const GENERATION: &str = "generation_config.json";
/// The weights, when one file holds them all.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// Which file holds which tensor, when there are several.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// Text to token ids and back.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
