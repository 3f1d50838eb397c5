//! Renders a parsed template: statements, expressions, and what they can name and call.

pub(super) mod arguments;
pub(super) mod checks;
pub(super) mod clock;
pub(super) mod cx;
pub(super) mod eval;
pub(super) mod exec;
pub(super) mod frame;
pub(super) mod globals;
pub(super) mod lookup;
pub(super) mod looping;
pub(super) mod macros;
