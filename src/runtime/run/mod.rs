//! Sessions, and what goes into and comes out of their runs.

pub(super) mod batch;
pub(super) mod cancel;
pub(super) mod rows;
pub(super) mod session;
pub(super) mod tensor;
pub(super) mod values;
