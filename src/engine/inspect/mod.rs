//! What can be said of a model before anything of it is loaded.

mod audit;
mod blueprint;
mod estimate;
mod model_info;

pub use audit::{AuditedFile, FileState};
pub(crate) use blueprint::{inspect_here, settle};
pub use estimate::Estimate;
pub use model_info::ModelInfo;
