//! A conversation and what else a template is given, checked. Errors name the field as a JSON pointer.

use super::json::{self, Json, Pointer};
use super::marks::ControlTokens;
use super::{ChatMessage, ChatOptions};
use crate::error::{Result, bail};

/// Variables that a chat sets itself.
const OWN: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

/// The names of a message's reasoning. Templates read the first; the others are older.
pub(super) const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Parts of a message that are no text. A template makes a placeholder of them, which no shard could fill.
const MEDIA: [&str; 12] = [
    "image",
    "image_url",
    "input_image",
    "video",
    "video_url",
    "input_video",
    "audio",
    "audio_url",
    "input_audio",
    "file",
    "input_file",
    "image_file",
];

/// What a template is given.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    pub(super) messages: Vec<Json>,
    pub(super) tools: Json,
    pub(super) documents: Json,
    pub(super) variables: Vec<(String, Json)>,
}

impl Conversation {
    /// A conversation of messages that have a text and nothing else.
    pub(crate) fn plain(messages: &[ChatMessage]) -> Result<Self> {
        let message = |message: &ChatMessage| {
            Json::Object(vec![
                ("role".to_owned(), Json::text(&*message.role)),
                ("content".to_owned(), Json::text(&*message.content)),
            ])
        };
        let messages = messages.iter().map(message).collect();
        Self { messages, tools: Json::Null, documents: Json::Null, variables: Vec::new() }.not_empty()
    }

    /// Reads `messages`, a JSON list, and the JSON texts of `options`.
    pub(crate) fn read(messages: &str, options: &ChatOptions<'_>) -> Result<Self> {
        let place = Pointer::to("messages");
        let Json::List(list) = json::read(messages, "messages")? else {
            bail!(InvalidArgument, "{place} must be a list of messages");
        };
        let mut messages = Vec::with_capacity(list.len());
        for (index, message) in list.into_iter().enumerate() {
            messages.push(self::message(message, &place.index(index))?);
        }
        let objects = |text: Option<&str>, name: &str| match text {
            Some(text) => objects(json::read(text, name)?, &Pointer::to(name)),
            None => Ok(Json::Null),
        };
        let conversation = Self {
            messages,
            tools: objects(options.tools, "tools")?,
            documents: objects(options.documents, "documents")?,
            variables: options.variables.map(variables).transpose()?.unwrap_or_default(),
        };
        conversation.not_empty()
    }

    fn not_empty(self) -> Result<Self> {
        if self.messages.is_empty() {
            bail!(InvalidArgument, "the conversation is empty: a chat template needs at least one message");
        }
        Ok(self)
    }

    /// Marks control tokens that users have spelled out.
    pub(crate) fn mark(&mut self, control: &ControlTokens) -> Result<()> {
        let messages = Pointer::to("messages");
        for (index, message) in self.messages.iter_mut().enumerate() {
            control.mark(message, &messages.index(index))?;
        }
        control.mark(&mut self.tools, &Pointer::to("tools"))?;
        control.mark(&mut self.documents, &Pointer::to("documents"))?;
        for (name, value) in &mut self.variables {
            control.mark(value, &Pointer::to("variables").key(name))?;
        }
        Ok(())
    }
}

/// `value`, which must be a list of objects or null.
fn objects(value: Json, place: &Pointer) -> Result<Json> {
    match &value {
        Json::Null => Ok(value),
        Json::List(items) => match items.iter().position(|item| !matches!(item, Json::Object(_))) {
            Some(index) => {
                bail!(InvalidArgument, "{} must be an object, and is {}", place.index(index), items[index].kind())
            }
            None => Ok(value),
        },
        _ => bail!(InvalidArgument, "{place} must be a list, and is {}", value.kind()),
    }
}

fn variables(text: &str) -> Result<Vec<(String, Json)>> {
    let place = Pointer::to("variables");
    let Json::Object(entries) = json::read(text, "variables")? else {
        bail!(InvalidArgument, "{place} must be an object");
    };
    if let Some((name, _)) = entries.iter().find(|(name, _)| OWN.contains(&name.as_str())) {
        bail!(InvalidArgument, "{}: the chat sets this variable itself", place.key(name));
    }
    Ok(entries)
}

/// A message as a template gets it: checked, without keys whose value is null, and with its reasoning under each name
/// that templates know. This is what transformers 5 does to it.
fn message(message: Json, place: &Pointer) -> Result<Json> {
    let Json::Object(mut entries) = message else {
        bail!(InvalidArgument, "{place} must be an object, and is {}", message.kind());
    };
    entries.retain(|(_, value)| *value != Json::Null);
    let message = Json::Object(entries);
    check(&message, place)?;
    let reasoning = REASONING.iter().find_map(|name| message.get(name)).cloned();
    let Json::Object(mut entries) = message else { return Ok(Json::Null) };
    if let Some(reasoning) = reasoning {
        let own = entries.iter().position(|(name, _)| name == "thinking").map(|place| entries.remove(place).1);
        entries.insert(0, ("thinking".to_owned(), own.unwrap_or_else(|| reasoning.clone())));
        match entries.iter_mut().find(|(name, _)| name == "reasoning_content") {
            Some((_, value)) => *value = reasoning,
            None => entries.push(("reasoning_content".to_owned(), reasoning)),
        }
    }
    Ok(Json::Object(entries))
}

fn check(message: &Json, place: &Pointer) -> Result<()> {
    let Some(role) = text(message, "role", place)? else {
        bail!(InvalidArgument, "{} is missing: a message says who speaks", place.key("role"));
    };
    for name in REASONING.iter().chain(&["name", "tool_call_id"]) {
        text(message, name, place)?;
    }
    // What a tool has answered may be anything.
    if !matches!(role, "tool" | "ipython" | "tool_results") {
        content(message.get("content"), &place.key("content"))?;
    }
    let place = place.key("tool_calls");
    match message.get("tool_calls") {
        None => Ok(()),
        Some(Json::List(calls)) => {
            calls.iter().enumerate().try_for_each(|(index, call)| tool_call(call, &place.index(index)))
        }
        Some(other) => bail!(InvalidArgument, "{place} must be a list, and is {}", other.kind()),
    }
}

/// The text that `object`, which is at `place`, has at `key`; none if it has nothing there.
fn text<'a>(object: &'a Json, key: &str, place: &Pointer) -> Result<Option<&'a str>> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(other) => bail!(InvalidArgument, "{} must be a text, and is {}", place.key(key), other.kind()),
    }
}

fn content(content: Option<&Json>, place: &Pointer) -> Result<()> {
    let parts = match content {
        None | Some(Json::Text(_)) => return Ok(()),
        Some(Json::List(parts)) => parts,
        Some(other) => bail!(InvalidArgument, "{place} must be a text or a list of parts, and is {}", other.kind()),
    };
    for (index, part) in parts.iter().enumerate() {
        let place = place.index(index);
        if !matches!(part, Json::Object(_)) {
            bail!(InvalidArgument, "{place} must be an object with a type, and is {}", part.kind());
        }
        match text(part, "type", &place)? {
            None => bail!(InvalidArgument, "{} is missing: a part of a message has a type", place.key("type")),
            Some("text") if text(part, "text", &place)?.is_none() => {
                bail!(InvalidArgument, "{} is missing", place.key("text"));
            }
            Some(kind) if MEDIA.contains(&kind) => {
                bail!(Unsupported, "{} is `{kind}`: language models are run on text only", place.key("type"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn tool_call(call: &Json, place: &Pointer) -> Result<()> {
    if !matches!(call, Json::Object(_)) {
        bail!(InvalidArgument, "{place} must be an object, and is {}", call.kind());
    }
    let (call, place) = match call.get("function") {
        None => (call, place.clone()),
        Some(function @ Json::Object(_)) => (function, place.key("function")),
        Some(other) => bail!(InvalidArgument, "{} must be an object, and is {}", place.key("function"), other.kind()),
    };
    if text(call, "name", &place)?.is_none() {
        bail!(InvalidArgument, "{} is missing: a call names its function", place.key("name"));
    }
    match call.get("arguments") {
        None | Some(Json::Null | Json::Text(_) | Json::Object(_)) => Ok(()),
        Some(other) => bail!(
            InvalidArgument,
            "{} must be an object or its JSON as a text, and is {}",
            place.key("arguments"),
            other.kind()
        ),
    }
}
