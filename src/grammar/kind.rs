//! What a grammar is written in.

use sha2::{Digest, Sha256};

/// What a whole text must match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Grammar {
    /// JSON that a JSON schema describes. Keys come in the schema's order.
    JsonSchema(String),
    /// A regular expression in the syntax of Rust's `regex` crate, without look-around and without back-references. All of the
    /// text must match, so that `^` in front and `$` behind say nothing.
    Regex(String),
    /// A context-free grammar in llguidance's dialect of Lark; the rule `start` is the text.
    Lark(String),
}

impl Grammar {
    /// What it is: the SHA-256 of a byte that names the kind, and of the text.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let (kind, text) = match self {
            Self::JsonSchema(text) => (b'j', text),
            Self::Regex(text) => (b'r', text),
            Self::Lark(text) => (b'l', text),
        };
        Sha256::new().chain_update([kind]).chain_update(text).finalize().into()
    }
}
