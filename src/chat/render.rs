//! Chat templates turn a conversation into the text that a model was trained on.

use std::fmt;

use super::conversation::{Conversation, REASONING};
use super::jinja::{self, Kind};
use super::json::{Json, Pointer};
use crate::error::{Error, Result, Site, bail, err};

/// What `transformers` puts behind a message that is to be continued, to find its end in the prompt.
const END: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// The text that `template` makes of `conversation`. `names` are further variables of the template, below those of the
/// conversation. With `continued`, the text ends within that field of the last message.
pub(crate) fn render(
    template: &str,
    names: &[(String, String)],
    mut conversation: Conversation,
    add_generation_prompt: bool,
    continued: Option<&str>,
) -> Result<String> {
    if add_generation_prompt && continued.is_some() {
        bail!(
            InvalidArgument,
            "a prompt cannot both continue the last message and begin a new one: continue_field contradicts \
             add_generation_prompt"
        );
    }
    let last = match continued {
        Some(field) => Some(mark_end(template, &mut conversation, field)?),
        None => None,
    };
    let Conversation { messages, tools, documents, variables: own } = conversation;
    let names: Vec<_> = names.iter().map(|(name, text)| (name.as_str(), Json::text(text.as_str()))).collect();
    let (messages, generation) = (Json::List(messages), Json::Bool(add_generation_prompt));
    let mut variables: Vec<_> = names.iter().map(|(name, value)| (*name, value)).collect();
    variables.extend(own.iter().map(|(name, value)| (name.as_str(), value)));
    // These come last, so that no name of a token can replace them.
    variables.extend([
        ("messages", &messages),
        ("tools", &tools),
        ("documents", &documents),
        ("add_generation_prompt", &generation),
    ]);
    let text = match jinja::render(template, &variables) {
        Some(text) => text.map_err(explain)?,
        None => bail!(Internal, "rendering the chat template panicked"),
    };
    match last {
        Some(last) => cut(text, &last),
        None => Ok(text),
    }
}

/// Puts [`END`] behind the field of the last message that is to be continued. Returns the field's text.
fn mark_end(template: &str, conversation: &mut Conversation, field: &str) -> Result<String> {
    let index = conversation.messages.len().saturating_sub(1);
    let place = Pointer::to("messages").index(index).key(field);
    let Some(message) = conversation.messages.last_mut() else { bail!(Internal, "a conversation without messages") };
    let Some(last) = message.get(field).cloned() else {
        bail!(InvalidArgument, "{place} is missing, so that nothing can be continued");
    };
    // A message has its reasoning under several names, and the template reads one of them.
    let copies = REASONING.iter().copied().filter(|name| message.get(name) == Some(&last));
    let fields: Vec<&str> = if REASONING.contains(&field) { copies.collect() } else { vec![field] };
    if !fields.iter().any(|field| template.contains(field)) {
        bail!(InvalidArgument, "{place} cannot be continued: the chat template does not name `{field}`");
    }
    if let Some(Json::List(parts)) = message.get_mut(field) {
        let text = parts.iter_mut().rev().find_map(|part| part.get_mut("text"));
        let Some(Json::Text(text)) = text else {
            bail!(InvalidArgument, "{place} has no part with a text that could be continued");
        };
        let last = text.clone();
        text.push_str(END);
        return Ok(last);
    }
    let Json::Text(last) = last else {
        bail!(InvalidArgument, "{place} is {}, and only a text can be continued", last.kind());
    };
    for field in fields {
        if let Some(Json::Text(text)) = message.get_mut(field) {
            text.push_str(END);
        }
    }
    Ok(last)
}

/// The prompt up to the end of its last message, whose text is `last`.
fn cut(mut prompt: String, last: &str) -> Result<String> {
    let tag = jinja::strip(END);
    let Some(place) = prompt.rfind(tag).filter(|_| prompt.contains(jinja::strip(last))) else {
        bail!(
            InvalidArgument,
            "the last message cannot be continued: the chat template leaves out a part of it, or changes it"
        );
    };
    // The space at the end of the tag tells whether the template has trimmed the message.
    let trimmed = !prompt[place..].starts_with(END);
    prompt.truncate(place);
    if trimmed {
        prompt.truncate(jinja::rstrip(&prompt).len());
    }
    Ok(prompt)
}

/// The texts that `template` writes itself: what stands outside its tags, and the texts in its expressions.
pub(crate) fn literals(template: &str) -> Result<Vec<String>> {
    jinja::literals(template).map_err(|error| explain(*error))
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
        Kind::Memory(bytes) => Error::oom(Site::Run, "cpu", bytes as u64, "a chat template").with_source(error),
        Kind::Bound => err!(Malformed, "the chat template exceeds a bound{place}").with_source(error),
        Kind::Unsupported => {
            err!(Unsupported, "the chat template asks for what is not supported{place}").with_source(error)
        }
        _ => err!(Malformed, "the chat template is faulty{place}").with_source(error),
    }
}
