//! From messages to the text that a model was trained on, and from its answer back to a message. A chat needs no model
//! and no tokenizer.

mod conversation;
mod jinja;
mod json;
mod marks;
mod message;
mod options;
mod parse;
mod render;

pub use self::message::ChatMessage;
pub use self::options::ChatOptions;
pub use self::parse::{ChatEvent, ChatFormat, ChatParser};

pub(crate) use self::conversation::Conversation;
pub(crate) use self::marks::{ControlTokens, Piece, pieces};
pub(crate) use self::render::{literals, render};
