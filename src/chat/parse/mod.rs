//! From a model's answer to content, reasoning and tool calls, while it is written.
//!
//! An answer is text with markers, by which the model says what is what. A parser gets the text in any parts and gives
//! what is certain. What looks like a marker but is none, and what is marked as a call but cannot be read as one, is
//! content: nothing that the model has said is lost, but for the markers and the white space beside them.

mod body;
mod calls;
mod event;
mod format;
mod grammar;
mod harmony;
mod markup;
mod out;
mod tags;
mod watch;

pub use self::event::ChatEvent;
pub use self::format::ChatFormat;

use self::grammar::grammar;
use self::harmony::Harmony;
use self::markup::Tools;
use self::out::Out;
use self::tags::Tags;
use super::json::{self, Json};
use crate::error::{self, Result, Site};
use crate::json::Makeup;

#[derive(Debug, Clone)]
enum Machine {
    Tags(Tags),
    Harmony(Harmony),
}

/// Parses an answer while it is written.
///
/// Markers may be special tokens, so that the text has to come with them: from a [`TextStream`](crate::TextStream)
/// that does not skip special tokens. In what parts it comes does not matter.
///
/// `Send` and `Sync`; one call at a time.
#[derive(Debug, Clone)]
pub struct ChatParser {
    machine: Machine,
    /// Text of which it is not certain yet what it says.
    held: String,
    out: Out,
    /// Bytes that all text so far takes at most.
    taken: usize,
    /// So many have been asked for.
    asked: usize,
}

/// Bytes that are too few to ask for.
const SMALL: usize = 64 << 10;

/// Bytes that `text` takes at most: held back, in events and in the message; and calls, each of which has a bracket, and their keys.
fn taken(text: &str) -> usize {
    let Makeup { bytes, colons, brackets, .. } = Makeup::of(text.as_bytes());
    8 * bytes + 120 * colons + 600 * brackets
}

/// Fails if `bytes` bytes cannot be had.
fn ask(bytes: usize) -> Result<()> {
    if bytes <= SMALL { Ok(()) } else { error::probe(Site::Run, bytes, "an answer's parts") }
}

impl ChatParser {
    /// A parser of `format`. `prompt` is what the model has been given: a template often begins the answer itself,
    /// such as with `<think>`. `tools` is the JSON list of tools, whose schemas say which arguments are numbers where
    /// the format does not.
    ///
    /// # Errors
    /// `InvalidArgument`, with a JSON pointer, if `tools` is no JSON.
    pub fn new(format: ChatFormat, prompt: &str, tools: Option<&str>) -> Result<Self> {
        let tools = tools.map(|tools| json::read(tools, "tools")).transpose()?.unwrap_or(Json::Null);
        let grammar = grammar(format);
        let machine = match grammar {
            Some(grammar) => Machine::Tags(Tags::new(grammar, Tools::new(&tools))),
            None => Machine::Harmony(Harmony::new()),
        };
        let mut parser = Self { machine, held: String::new(), out: Out::default(), taken: 0, asked: SMALL };
        let begun = match grammar {
            Some(grammar) => {
                let ends = grammar.anchors.iter().filter_map(|anchor| Some(prompt.rfind(anchor)? + anchor.len()));
                ends.max().map(|end| &prompt[end..])
            }
            None => prompt.rfind("<|start|>assistant").map(|start| &prompt[start..]),
        };
        if let Some(begun) = begun.filter(|begun| !begun.is_empty()) {
            parser.push(begun)?;
            parser.out.forget();
        }
        Ok(parser)
    }

    /// Takes more text of the answer.
    ///
    /// # Errors
    /// `OutOfMemory`; the parser is as it was.
    pub fn push(&mut self, text: &str) -> Result<()> {
        let taken = self.taken + taken(text);
        if taken > self.asked {
            ask(2 * taken)?;
            self.asked = 2 * taken;
        }
        self.taken = taken;
        self.held.push_str(text);
        self.run(false);
        Ok(())
    }

    /// The answer has ended: what was held back becomes events.
    ///
    /// # Errors
    /// `OutOfMemory`; the parser is as it was.
    pub fn finish(&mut self) -> Result<()> {
        ask(taken(&self.held))?;
        self.run(true);
        Ok(())
    }

    fn run(&mut self, complete: bool) {
        let done = match &mut self.machine {
            Machine::Tags(tags) => tags.take(&self.held, complete, &mut self.out),
            Machine::Harmony(harmony) => harmony.take(&self.held, complete, &mut self.out),
        };
        self.held.drain(..done);
    }

    /// The event that [`next_event`](Self::next_event) takes next.
    pub(crate) fn first_event(&self) -> Option<&ChatEvent> {
        self.out.first()
    }

    /// The next event that has not been taken yet.
    pub fn next_event(&mut self) -> Option<ChatEvent> {
        self.out.next()
    }

    /// The message so far as a JSON object with `role`, `content`, `reasoning_content` and `tool_calls`, to be added
    /// to the messages of [`chat_text`](crate::Tokenizer::chat_text).
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn message(&self) -> Result<String> {
        ask(self.taken)?;
        Ok(self.out.message())
    }
}
