//! From a template's source to its tree, as Jinja2 reads it.

pub(super) mod analysis;
pub(super) mod ast;
pub(super) mod expressions;
pub(super) mod lexer;
pub(super) mod literals;
pub(super) mod parser;
pub(super) mod scopes;
pub(super) mod walk;
