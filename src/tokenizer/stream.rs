//! Decodes token by token, for text that is shown while it is generated.

use std::sync::Arc;

use super::memory::Ids;
use super::stages::Join;
use super::{Tokenizer, guarded, memory};
use crate::error::{Result, bail};

/// Turns ids into text as they come, in whole characters.
///
/// All that [`push`](Self::push) returns, followed by what [`finish`](Self::finish) returns, is exactly what
/// [`Tokenizer::decode`] gives for all the ids at once: also where bytes are not UTF-8, and at the first token.
///
/// Text comes as soon as it is certain. In a byte-level vocabulary (GPT-2, Llama 3, Qwen) only an incomplete character
/// is held back, so at most 3 bytes. In a vocabulary with byte fallback (Llama 2, Gemma) a run of byte tokens is held
/// until another token ends it, since a later byte decides how the whole run decodes; the memory for that is one byte
/// per token of the run. A token costs the time of its own length, on average. A decoder that cannot be taken apart
/// gives all its text in `finish`: `BPEDecoder`, `CTC`, and sequences that change a text by more than one character at
/// a time once its tokens are joined. No published model of the architectures that this library runs is known to have
/// one.
///
/// `Send` and `Sync`; one call at a time.
#[derive(Debug, Clone)]
pub struct TextStream {
    tokenizer: Arc<Tokenizer>,
    skip_special: bool,
    state: State,
}

/// The tokens that have been seen and whose text has not been given yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// Whether a token has come.
    pub(crate) started: bool,
    /// How many leading characters have been stripped; `usize::MAX` as soon as a character was kept.
    pub(crate) stripped: usize,
    /// Bytes whose text is not yet certain.
    pub(crate) bytes: Vec<u8>,
    /// Ids that can only be decoded together.
    pub(crate) ids: Vec<u32>,
    /// Memory for the text of one token, and for what becomes of it, so that a token needs none of its own.
    piece: String,
    spare: String,
}

impl TextStream {
    /// A stream at its start; `skip_special` is that of [`Tokenizer::decode`].
    #[must_use]
    pub fn new(tokenizer: Arc<Tokenizer>, skip_special: bool) -> Self {
        tokenizer.know_spellings();
        Self { tokenizer, skip_special, state: State::default() }
    }

    /// The text that `id` makes certain; often empty.
    ///
    /// # Errors
    /// `OutOfRange` if `id` is not in the vocabulary; `OutOfMemory`. The stream then stays as it was.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let mut text = String::new();
        self.push_to(id, &mut text)?;
        Ok(text)
    }

    /// Appends to `text` what [`push`](Self::push) gives: in memory that is there, once as much has been needed before.
    ///
    /// # Errors
    /// Those of [`push`](Self::push); `text` then stays as it was, too.
    pub fn push_to(&mut self, id: u32, text: &mut String) -> Result<()> {
        let tokenizer = &*self.tokenizer;
        let Some(token) = tokenizer.spelling(id) else {
            bail!(OutOfRange, "id {id} is not in the vocabulary of {} tokens", tokenizer.size);
        };
        if self.skip_special && tokenizer.is_special_token(&token) {
            return Ok(());
        }
        self.state.push(tokenizer, id, &token, text)
    }

    /// The text still held back, with U+FFFD where it is incomplete; the stream is then at its start again.
    ///
    /// # Errors
    /// `Malformed` if a decoder that needs all tokens fails on them; `OutOfMemory`.
    pub fn finish(&mut self) -> Result<String> {
        let mut text = String::new();
        self.finish_to(&mut text)?;
        Ok(text)
    }

    /// Appends to `text` what [`finish`](Self::finish) gives.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish); `text` then stays as it was.
    pub fn finish_to(&mut self, text: &mut String) -> Result<()> {
        let finished = self.state.finish(&self.tokenizer, text);
        self.state.reset();
        finished
    }

    /// What it has seen.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Goes where one on the same tokenizer was that had seen `state`.
    ///
    /// # Errors
    /// `Malformed` if an id in it is not in the vocabulary.
    pub(crate) fn set_state(&mut self, state: State) -> Result<()> {
        if let Some(id) = state.ids.iter().find(|id| self.tokenizer.id_to_token(**id).is_none()) {
            bail!(Malformed, "state: token {id} is not in the vocabulary");
        }
        self.state = state;
        Ok(())
    }
}

impl State {
    /// That of a stream that has seen tokens whose text is not certain.
    pub(crate) fn new(started: bool, stripped: usize, bytes: Vec<u8>, ids: Vec<u32>) -> Self {
        Self { started, stripped, bytes, ids, ..Self::default() }
    }

    /// Whether `tokenizer` can give text before all tokens are there.
    pub(super) fn streams(tokenizer: &Tokenizer) -> bool {
        tokenizer.stages.join != Join::Whole
    }

    /// The bytes that `token`, whose id is `id`, adds to a text that it does not begin.
    pub(super) fn bytes_of(tokenizer: &Tokenizer, id: u32, token: String) -> Result<Vec<u8>> {
        let stages = &tokenizer.stages;
        if stages.join == Join::Whole {
            return Ok(tokenizer.decode(&[id], false)?.into_bytes());
        }
        let piece = guarded(&tokenizer.label, || stages.apply(token, false))?;
        let mut bytes = Vec::new();
        match (&stages.join, fallback_byte(&piece)) {
            (Join::ByteLevel, _) => push_byte_level(&piece, &mut bytes),
            (Join::ByteFallback, Some(byte)) => bytes.push(byte),
            _ => bytes.extend_from_slice(piece.as_bytes()),
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(stages.finish(text).into_bytes()),
            Err(part) => Ok(part.into_bytes()),
        }
    }

    /// Appends the text that `token`, whose id is `id`, makes certain to `text`. After an error all is as it was.
    pub(super) fn push(&mut self, tokenizer: &Tokenizer, id: u32, token: &str, text: &mut String) -> Result<()> {
        let stages = &tokenizer.stages;
        self.piece.clear();
        memory::append(&mut self.piece, token)?;
        guarded(&tokenizer.label, || stages.apply_to(&mut self.piece, !self.started, &mut self.spare))?;
        let (piece, begin) = (self.piece.as_str(), text.len());
        memory::reserve(&mut self.bytes, piece.len())?;
        // A byte that is no text takes three, and so does a space that becomes one.
        memory::reserve_text(text, 3 * (self.bytes.len() + piece.len()) + 1)?;
        match stages.join {
            Join::Spaced if self.started => text.extend([" ", piece]),
            Join::Text | Join::Spaced => text.push_str(piece),
            Join::ByteLevel => {
                push_byte_level(piece, &mut self.bytes);
                take_certain(&mut self.bytes, text);
            }
            Join::ByteFallback => {
                if let Some(byte) = fallback_byte(piece) {
                    self.bytes.push(byte);
                } else {
                    take_run(&mut self.bytes, text);
                    text.push_str(piece);
                }
            }
            Join::Whole => self.ids.take(std::iter::once(id))?,
        }
        stages.finish_from(text, begin, &mut self.spare);
        self.started = true;
        self.strip(text, begin, stages.lead);
        Ok(())
    }

    /// Appends the text that is still held back.
    pub(super) fn finish(&mut self, tokenizer: &Tokenizer, text: &mut String) -> Result<()> {
        let (stages, begin) = (&tokenizer.stages, text.len());
        memory::reserve_text(text, 3 * self.bytes.len() + 1)?;
        match stages.join {
            Join::Text | Join::Spaced => {}
            Join::ByteLevel => {
                for chunk in self.bytes.utf8_chunks() {
                    text.push_str(chunk.valid());
                    if !chunk.invalid().is_empty() {
                        text.push(char::REPLACEMENT_CHARACTER);
                    }
                }
            }
            Join::ByteFallback => take_run(&mut self.bytes, text),
            // Special tokens are left out already.
            Join::Whole => return memory::append(text, &tokenizer.decode(&self.ids, false)?),
        }
        stages.finish_from(text, begin, &mut self.spare);
        self.strip(text, begin, stages.lead);
        Ok(())
    }

    /// Back to the start of a text; the memory stays.
    fn reset(&mut self) {
        (self.started, self.stripped) = (false, 0);
        self.bytes.clear();
        self.ids.clear();
    }

    /// Takes those of the characters of `text` from `begin` on away that are to be stripped from the start of the whole text.
    fn strip(&mut self, text: &mut String, begin: usize, (character, limit): (char, usize)) {
        let mut rest = &text[begin..];
        while self.stripped < limit && !rest.is_empty() {
            match rest.strip_prefix(character) {
                Some(shorter) => (rest, self.stripped) = (shorter, self.stripped + 1),
                None => self.stripped = usize::MAX,
            }
        }
        let end = text.len() - rest.len();
        text.drain(begin..end);
    }
}

/// Appends the bytes of a byte-level token, or of its text if it has a character outside the GPT-2 alphabet.
fn push_byte_level(token: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for character in token.chars() {
        let Some(byte) = byte_level(character) else {
            bytes.truncate(start);
            bytes.extend_from_slice(token.as_bytes());
            return;
        };
        bytes.push(byte);
    }
}

/// The byte that a character of the GPT-2 alphabet means: a printable character of Latin-1 means itself, and the
/// other bytes are counted from U+0100 on.
pub(super) fn byte_level(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The byte of a byte-fallback token such as `<0x0A>`, by exactly the rule of `tokenizers`.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// Appends all bytes but those of an incomplete last character to `text`, as `String::from_utf8_lossy` would, and takes them.
fn take_certain(bytes: &mut Vec<u8>, text: &mut String) {
    let mut rest = bytes.as_slice();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        rest = &rest[chunk.valid().len()..];
        let incomplete = matches!(std::str::from_utf8(rest), Err(error) if error.error_len().is_none());
        if chunk.invalid().is_empty() || incomplete {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        rest = &rest[chunk.invalid().len()..];
    }
    let taken = bytes.len() - rest.len();
    bytes.drain(..taken);
}

/// Appends a run of byte-fallback tokens to `text`, and takes it.
fn take_run(bytes: &mut Vec<u8>, text: &mut String) {
    match std::str::from_utf8(bytes) {
        Ok(run) => text.push_str(run),
        Err(_) => text.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, bytes.len())),
    }
    bytes.clear();
}
