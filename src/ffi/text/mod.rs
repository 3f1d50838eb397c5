//! From logits to ids to text.

pub(super) mod sampler;
pub(super) mod text_stream;
pub(super) mod tokenizer;
