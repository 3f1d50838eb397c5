//! What a parser gives: events, and the whole message.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::event::{Call, ChatEvent};
use crate::chat::json::quoted;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Content,
    Reasoning,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Out {
    events: VecDeque<ChatEvent>,
    content: String,
    reasoning: String,
    calls: Vec<Call>,
    /// Whether white space at the start of the part counts for nothing: it stands behind a marker.
    lead: bool,
    /// White space at the end of the part, which counts for nothing if a marker follows.
    tail: String,
}

impl Out {
    /// Adds text to the part that is open. A part has no white space at its edges that markers make.
    pub(super) fn text(&mut self, kind: Kind, text: &str) {
        let text = if self.lead { text.trim_start() } else { text };
        if text.is_empty() {
            return;
        }
        self.lead = false;
        let kept = text.trim_end();
        if !kept.is_empty() {
            let whole = std::mem::take(&mut self.tail) + kept;
            self.emit(kind, &whole);
        }
        self.tail.push_str(&text[kept.len()..]);
    }

    /// A marker ends the part.
    pub(super) fn close(&mut self) {
        self.tail.clear();
        self.lead = true;
    }

    /// The message ends within the part.
    pub(super) fn end(&mut self, kind: Kind) {
        let tail = std::mem::take(&mut self.tail);
        if kind == Kind::Content && !tail.is_empty() {
            self.emit(kind, &tail);
        }
    }

    fn emit(&mut self, kind: Kind, text: &str) {
        match (kind, self.events.back_mut()) {
            (Kind::Content, Some(ChatEvent::Content(last))) | (Kind::Reasoning, Some(ChatEvent::Reasoning(last))) => {
                last.push_str(text);
            }
            (Kind::Content, _) => self.events.push_back(ChatEvent::Content(text.to_owned())),
            (Kind::Reasoning, _) => self.events.push_back(ChatEvent::Reasoning(text.to_owned())),
        }
        match kind {
            Kind::Content => self.content.push_str(text),
            Kind::Reasoning => self.reasoning.push_str(text),
        }
    }

    pub(super) fn call(&mut self, call: Call) {
        self.close();
        let Call { name, arguments, id } = call.clone();
        self.events.push_back(ChatEvent::ToolCall { name, arguments, id });
        self.calls.push(call);
    }

    pub(super) fn first(&self) -> Option<&ChatEvent> {
        self.events.front()
    }

    pub(super) fn next(&mut self) -> Option<ChatEvent> {
        self.events.pop_front()
    }

    /// Forgets what has been given so far.
    pub(super) fn forget(&mut self) {
        *self = Self { lead: self.lead, ..Self::default() };
    }

    /// The message as a JSON object, as a chat takes it.
    pub(super) fn message(&self) -> String {
        let mut message = String::from("{\"role\": \"assistant\"");
        if !self.reasoning.is_empty() {
            message += ", \"reasoning_content\": ";
            message += &quoted(&self.reasoning);
        }
        if !self.content.is_empty() || self.calls.is_empty() {
            message += ", \"content\": ";
            message += &quoted(&self.content);
        }
        for (index, Call { name, arguments, id }) in self.calls.iter().enumerate() {
            message += if index == 0 { ", \"tool_calls\": [" } else { ", " };
            message += "{\"type\": \"function\", ";
            if let Some(id) = id {
                let _ = write!(message, "\"id\": {}, ", quoted(id));
            }
            let _ = write!(message, "\"function\": {{\"name\": {}, \"arguments\": {arguments}}}}}", quoted(name));
        }
        if !self.calls.is_empty() {
            message.push(']');
        }
        message.push('}');
        message
    }
}
