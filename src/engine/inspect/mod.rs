//! What can be said of a model before anything of it is loaded.

mod audit;
mod blueprint;
mod boundary;
mod estimate;
mod model_info;
mod plan;
mod sampling;

pub(crate) use audit::audit_files;
pub use audit::{AuditedFile, FileState};
pub(crate) use blueprint::{Blueprint, range};
pub use boundary::Boundary;
pub use estimate::Estimate;
pub(crate) use estimate::{Situation, estimate};
pub use model_info::ModelInfo;
pub(crate) use plan::plan;
pub use plan::{PlanDevice, PlanOptions, PlanStage};
pub(crate) use sampling::published_sampling;
