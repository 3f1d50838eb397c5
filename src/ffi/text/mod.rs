//! From logits to ids to text.

pub(super) mod chat;
pub(super) mod chat_parser;
pub(super) mod constraint;
pub(super) mod sampler;
pub(super) mod text_stream;
pub(super) mod tokenizer;
pub(super) mod tokens;
