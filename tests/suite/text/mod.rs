//! From text to ids, from logits to an id, and back to text.

mod answers;
mod chats;
mod grammars;
mod long_texts;
mod patterns;
mod published_chats;
mod sampler;
mod special_tokens;
mod tokenizers;
mod tokens;
