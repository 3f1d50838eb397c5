//! From messages to the text that a model was trained on. A chat needs no model and no tokenizer.

mod conversation;
mod jinja;
mod json;
mod marks;
mod message;
mod options;
mod render;

pub use self::message::ChatMessage;
pub use self::options::ChatOptions;

pub(crate) use self::conversation::Conversation;
pub(crate) use self::marks::{ControlTokens, Piece, pieces};
pub(crate) use self::render::{literals, render};
