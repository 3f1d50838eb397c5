//! The text of the tokens that are generated.

use std::sync::Arc;

use super::bytes::{Reader, Writer};
use super::stop_strings::StopStrings;
use crate::error::{ErrorKind, Result, err};
use crate::tokenizer::{StreamState, TextStream, Tokenizer};

/// Ids become text, and text is given on up to a stop string.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// None without a tokenizer: there is no text then.
    stream: Option<TextStream>,
    /// Text that the stream has given, and whether the stop strings have not taken it yet, because memory ran out.
    waiting: String,
    waits: bool,
    /// Whether the stream has given all it has.
    flushed: bool,
    stops: StopStrings,
}

impl Text {
    pub(super) fn new(tokenizer: Option<Arc<Tokenizer>>, keep_special: bool, stops: StopStrings) -> Self {
        let stream = tokenizer.map(|tokenizer| TextStream::new(tokenizer, !keep_special));
        Self { stream, waiting: String::new(), waits: false, flushed: false, stops }
    }

    /// Takes the next token. After an error the call may be repeated.
    pub(super) fn push(&mut self, id: u32) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if !self.waits {
            self.waiting.clear();
            match stream.push_to(id, &mut self.waiting) {
                // A model may have more ids than its tokenizer: such an id has no text.
                Err(error) if error.kind() == ErrorKind::OutOfRange => {}
                pushed => pushed?,
            }
            self.waits = true;
        }
        self.pass_on()
    }

    /// The last token has come: gives what was held back, on top of what that token has given. After an error the call
    /// may be repeated.
    pub(super) fn finish(&mut self) -> Result<()> {
        if let Some(stream) = self.stream.as_mut().filter(|_| !self.flushed) {
            // A stream that fails to finish has forgotten what it held.
            let mut ended = stream.clone();
            self.waiting.clear();
            ended.finish_to(&mut self.waiting)?;
            *stream = ended;
            (self.waits, self.flushed) = (true, true);
        }
        self.pass_on()?;
        if self.stops.found().is_none() {
            self.stops.release();
        }
        Ok(())
    }

    fn pass_on(&mut self) -> Result<()> {
        if self.waits {
            self.stops.append(&self.waiting)?;
            self.waits = false;
        }
        Ok(())
    }

    /// What the last token has made certain.
    pub(super) fn given(&self) -> &str {
        self.stops.given()
    }

    /// Which stop string has come.
    pub(super) fn stopped(&self) -> Option<usize> {
        self.stops.found()
    }

    /// Nothing of the last token is given any more.
    pub(super) fn taken(&mut self) {
        self.stops.taken();
    }

    /// What goes on from here; nothing of the last token is given any more.
    pub(super) fn fork(&self) -> Self {
        let mut fork = self.clone();
        fork.taken();
        fork
    }

    /// Appends what is held back to a state. Nothing is waiting.
    pub(super) fn write(&self, to: &mut Writer) -> Result<()> {
        let none = StreamState::default();
        let StreamState { started, stripped, bytes, ids, .. } = self.stream.as_ref().map_or(&none, TextStream::state);
        to.number(usize::from(*started))?;
        // It stands for any number where nothing is stripped any more.
        to.number((*stripped).min(1 << 30))?;
        to.bytes(bytes)?;
        to.ids(ids.iter().copied())?;
        to.number(self.flushed.into())?;
        to.bytes(self.stops.held().as_bytes())
    }

    /// What goes on where the text was that wrote a state.
    pub(super) fn read(&self, from: &mut Reader) -> Result<Self> {
        let started = from.flag()?;
        let state = StreamState::new(started, from.number()?, from.bytes()?.to_vec(), from.ids()?);
        let mut text = self.clone();
        (text.waits, text.flushed) = (false, from.flag()?);
        if let Some(stream) = &mut text.stream {
            stream.set_state(state)?;
        }
        let held = std::str::from_utf8(from.bytes()?);
        let held = held.map_err(|_| err!(Malformed, "state: the text that is held back is not UTF-8"))?;
        text.stops.hold(held)?;
        Ok(text)
    }

    /// Back to the start of a text. The stream has been finished.
    pub(super) fn reset(&mut self) {
        self.stops.reset();
        (self.waits, self.flushed) = (false, false);
    }
}
