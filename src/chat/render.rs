//! Chat templates turn messages into the text that a model was trained on.

use std::fmt;

use super::jinja::{self, Kind, Variable};
use crate::error::{Error, Result, bail, err};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user` or `assistant`; the template decides what is allowed.
    pub role: String,
    /// The text.
    pub content: String,
}

impl ChatMessage {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// The text that `template` makes of `messages`. `names` are further variables of the template.
pub(crate) fn render(
    template: &str,
    names: &[(String, String)],
    messages: &[ChatMessage],
    add_generation_prompt: bool,
) -> Result<String> {
    if messages.is_empty() {
        bail!(InvalidArgument, "the conversation is empty: a chat template needs at least one message");
    }
    let message = |message: &ChatMessage| {
        let text = |text: &str| Variable::Text(text.to_owned());
        Variable::Dict(vec![("role".to_owned(), text(&message.role)), ("content".to_owned(), text(&message.content))])
    };
    let mut variables: Vec<_> =
        names.iter().map(|(name, text)| (name.as_str(), Variable::Text(text.clone()))).collect();
    // These come last, so that no name of a token can replace them.
    variables.extend([
        ("messages", Variable::List(messages.iter().map(message).collect())),
        ("tools", Variable::None),
        ("documents", Variable::None),
        ("add_generation_prompt", Variable::Bool(add_generation_prompt)),
    ]);
    match jinja::render(template, &variables) {
        Some(text) => text.map_err(explain),
        None => bail!(Internal, "rendering the chat template panicked"),
    }
}

/// A line of the template, for messages.
struct Place(u32);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " in line {}", self.0) }
    }
}

/// This crate's error for a failed rendering.
fn explain(error: jinja::Error) -> Error {
    let place = Place(error.line);
    match error.kind {
        Kind::Raised => err!(InvalidArgument, "the chat template refuses these messages: {}", error.message),
        Kind::Bound => err!(Malformed, "the chat template exceeds a bound{place}").with_source(error),
        Kind::Unsupported => {
            err!(Unsupported, "the chat template asks for what is not supported{place}").with_source(error)
        }
        _ => err!(Malformed, "the chat template is faulty{place}").with_source(error),
    }
}
