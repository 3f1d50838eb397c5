//! From messages to the text that a model was trained on. A chat needs no model and no tokenizer.

mod jinja;
mod render;

pub use self::render::ChatMessage;
pub(crate) use self::render::render;
