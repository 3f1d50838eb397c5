//! From a model's files to its weights.

mod checkpoint;
mod packer;
mod place;
mod progress;

pub(crate) use checkpoint::Checkpoint;
pub(crate) use packer::Packer;
pub(crate) use place::{ModelPlace, Stamps};
pub(crate) use progress::Report;
pub use progress::{OnProgress, Progress, Stage};
