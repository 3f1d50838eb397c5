//! What a text must look like: a JSON schema, a regular expression or a Lark grammar, as a rule for the next token.
//!
//! The `llguidance` crate does the work. What is added here: tokens as this library's tokenizers see them, errors that name the
//! place, and bounds for whatever a stranger may write.

#[cfg(feature = "grammar")]
mod automaton;
#[cfg(feature = "grammar")]
mod bounds;
#[cfg(feature = "grammar")]
mod compile;
mod constraint;
mod kind;
#[cfg(feature = "grammar")]
mod lark;
#[cfg(feature = "grammar")]
mod regex;
#[cfg(feature = "grammar")]
mod schema;
#[cfg(feature = "grammar")]
mod vocabulary;
#[cfg(not(feature = "grammar"))]
mod without;

pub use constraint::GrammarConstraint;
pub use kind::Grammar;
