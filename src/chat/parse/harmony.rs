//! Answers of gpt-oss: messages on channels, each with a header.

use super::calls;
use super::event::Call;
use super::out::{Kind, Out};
use super::watch::{Found, Watch};
use crate::chat::json::quoted;

const START: &str = "<|start|>";
const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";
const ENDS: [&str; 3] = ["<|end|>", "<|return|>", "<|call|>"];

#[derive(Debug, Clone)]
enum State {
    /// Between messages.
    Between,
    /// In a header, which begins at the place up to which all has been given.
    Header,
    Text(Kind),
    /// In a call of this function. Its header begins at the place up to which all has been given, and has so many
    /// bytes; so many have been looked at.
    Call(String, usize, usize),
}

#[derive(Debug, Clone)]
pub(super) struct Harmony {
    state: State,
    between: Watch,
    header: Watch,
    message: Watch,
}

impl Harmony {
    pub(super) fn new() -> Self {
        let [end, done, call] = ENDS;
        Self {
            state: State::Between,
            between: Watch::new(vec![START, CHANNEL, end, done, call]),
            header: Watch::new(vec![MESSAGE]),
            message: Watch::new(vec![end, done, call, START, CHANNEL]),
        }
    }

    /// Gives what `text` holds for certain. Returns the bytes of it that are done with.
    pub(super) fn take(&mut self, text: &str, complete: bool, out: &mut Out) -> usize {
        let mut at = 0;
        while self.step(text, &mut at, complete, out) {}
        if complete {
            out.end(if matches!(self.state, State::Text(Kind::Reasoning)) { Kind::Reasoning } else { Kind::Content });
        }
        at
    }

    fn step(&mut self, text: &str, at: &mut usize, complete: bool, out: &mut Out) -> bool {
        match self.state.clone() {
            State::Between => match self.between.look(text, *at, complete) {
                Found::NoneUntil(end) => {
                    out.text(Kind::Content, &text[*at..end]);
                    *at = end;
                    false
                }
                Found::At(place, literal) => {
                    out.text(Kind::Content, &text[*at..place]);
                    *at = place;
                    if ENDS.contains(&literal) {
                        *at += literal.len();
                    } else {
                        self.state = State::Header;
                    }
                    true
                }
            },
            State::Header => match self.header.look(text, *at, complete) {
                Found::NoneUntil(_) if complete => {
                    // A header that has only begun is the prompt's, or a marker.
                    if text[*at..].len() > START.len() + "assistant".len() {
                        out.text(Kind::Content, &text[*at..]);
                    }
                    *at = text.len();
                    self.state = State::Between;
                    false
                }
                Found::NoneUntil(_) => false,
                Found::At(place, literal) => {
                    self.state = opened(&text[*at..place], place + literal.len() - *at);
                    if matches!(self.state, State::Text(_)) {
                        out.close();
                        *at = place + literal.len();
                    }
                    true
                }
            },
            State::Text(kind) => match self.message.look(text, *at, complete) {
                Found::NoneUntil(end) => {
                    out.text(kind, &text[*at..end]);
                    *at = end;
                    false
                }
                Found::At(place, literal) => {
                    out.text(kind, &text[*at..place]);
                    out.close();
                    *at = place + if ENDS.contains(&literal) { literal.len() } else { 0 };
                    self.state = State::Between;
                    true
                }
            },
            State::Call(name, header, looked) => {
                let (end, closing) = match self.message.look(text, *at + looked, complete) {
                    Found::At(place, literal) => (place, if ENDS.contains(&literal) { literal.len() } else { 0 }),
                    Found::NoneUntil(_) if complete => (text.len(), 0),
                    Found::NoneUntil(end) => {
                        self.state = State::Call(name, header, end - *at);
                        return false;
                    }
                };
                let body = &text[*at + header..end];
                match arguments(&name, body) {
                    Some(arguments) => out.call(Call { name, arguments, id: None }),
                    None => out.text(Kind::Content, &text[*at..end]),
                }
                *at = end + closing;
                self.state = State::Between;
                true
            }
        }
    }
}

/// What follows `header`, of `length` bytes with the marker that ends it.
fn opened(header: &str, length: usize) -> State {
    let word = |mark: &str| {
        let rest = header.split_once(mark)?.1.trim_start();
        let end = rest.find(|c: char| c.is_whitespace() || c == '<').unwrap_or(rest.len());
        Some(&rest[..end])
    };
    let recipient = word("to=").filter(|name| !name.is_empty());
    if let Some(name) = recipient {
        let name = name.strip_prefix("functions.").unwrap_or(name);
        return State::Call(name.to_owned(), length, length);
    }
    State::Text(if word(CHANNEL) == Some("analysis") { Kind::Reasoning } else { Kind::Content })
}

/// The arguments of a call of `name`: an object, or the program that the built-in interpreter gets.
fn arguments(name: &str, body: &str) -> Option<String> {
    let program = || (name == "python").then(|| format!("{{\"code\": {}}}", quoted(body)));
    calls::arguments_object(body).or_else(program).filter(|_| calls::is_name(name))
}
