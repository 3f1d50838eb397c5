//! Chat parser
//!
//! A model writes its reasoning, its tool calls and its answer as one text with markers, in a format of its own. A
//! parser takes that text in any parts, while it is generated, and tells what is certain: so much content, so much
//! reasoning, a whole tool call.
//!
//! Markers can be special tokens, so the text has to come from a text stream with skip_special 0:
//!
//!     ortshard_text_stream_push(stream, id, &text, &length);
//!     ortshard_chat_parser_push(parser, text, length);
//!     while (!ortshard_chat_parser_next(parser, &event) && event.kind != ORTSHARD_CHAT_NOTHING) ...
//!
//! After the last token, ortshard_chat_parser_finish(), and the events that are left. ortshard_chat_parser_message()
//! has the whole message, ready to become the last one of the next ortshard_tokenizer_chat_text().
//!
//! The formats, by name:
//!
//! - plain: all is content
//! - qwen3: `<think>`, and `<tool_call>` with JSON: Qwen 2.5 and 3, Hermes
//! - qwen3-coder: `<think>`, and `<tool_call>` with `<function=...>`: Qwen3-Coder, Qwen 3.5
//! - llama3: JSON alone, or behind `<|python_tag|>`: Llama 3.1 to 3.3
//! - mistral: `[THINK]` and `[TOOL_CALLS]`: Mistral, Ministral, Magistral, Devstral
//! - gpt-oss: channels (harmony)
//! - deepseek: `<think>`, and DeepSeek's calls: R1, V3 and later
//! - gemma: `<|channel>` and `<|tool_call>`: Gemma 4; FunctionGemma
//!
//! What looks like a marker and is none, and what is marked as a call but is not written like one, is content: nothing
//! is lost but the markers and the white space beside them. A call whose end has not come is no call where the format
//! cannot tell whether it is whole.

use std::ffi::c_char;
use std::ptr::null;

use crate::error::{Error, Site};
use crate::ffi::basics::objects::{ortshard_chat_parser, ortshard_tokenizer};
use crate::ffi::frame::buffers::{Buffer, array};
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::{Exclusive, Handle, Kind, borrow, free, give};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::{ORTSHARD_ERROR_INVALID_UTF8, ortshard_status};
use crate::ffi::frame::strings::optional;
use crate::ffi::frame::versioned::{Versioned, initial, read, write};
use crate::{ChatEvent, ChatFormat, ChatParser};

constants! {
    /// What an event tells.
    enum ortshard_chat_event_kind {
        /// No event is left; more may come with more text.
        ORTSHARD_CHAT_NOTHING = 0,
        /// More of the answer's text.
        ORTSHARD_CHAT_CONTENT = 1,
        /// More of its reasoning.
        ORTSHARD_CHAT_REASONING = 2,
        /// A tool call, whole.
        ORTSHARD_CHAT_TOOL_CALL = 3,
    }
}

/// How an answer is parsed. All zero but struct_size: by the format that the model's chat template tells. The texts
/// are read during the call only; NULL is none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_chat_parser_options {
    /// sizeof(ortshard_chat_parser_options).
    pub struct_size: usize,
    /// The format, one of the names above. NULL: the one that the chat template tells.
    pub format: *const c_char,
    /// What the model was given: the text of ortshard_tokenizer_chat_text(). Templates often begin the answer, such as
    /// with `<think>`.
    pub prompt: *const c_char,
    /// The tools, as in ortshard_chat_options. Only qwen3-coder looks at them: its arguments are texts, and the
    /// schemas say which of them are numbers.
    pub tools: *const c_char,
}

initial!(ortshard_chat_parser_options, ortshard_chat_parser_options_init);

/// A part of an answer. The texts are NUL-terminated UTF-8 and live until the parser's next call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_chat_event {
    /// Set to sizeof(ortshard_chat_event) before the call.
    pub struct_size: usize,
    /// Content or reasoning; of a tool call its arguments, a JSON object. NULL if there is nothing.
    pub text: *const c_char,
    /// Bytes of `text` without its NUL. Models can write NUL characters, so only this tells where it ends.
    pub length: usize,
    /// The name of the tool that is called; else NULL.
    pub name: *const c_char,
    /// The id of the call, if the model has given it one; else NULL.
    pub id: *const c_char,
    /// An ORTSHARD_CHAT_* constant.
    pub kind: i32,
}

initial!(ortshard_chat_event, ortshard_chat_event_init);

impl Handle for ortshard_chat_parser {
    type Object = Exclusive<ParserObject>;
    const KIND: Kind = Kind::ChatParser;
}

/// A parser, and the texts that its last call lent to the caller.
pub(in crate::ffi) struct ParserObject {
    parser: ChatParser,
    text: Vec<u8>,
    name: Vec<u8>,
    id: Vec<u8>,
}

/// Creates a parser for an answer of the model that `tokenizer` belongs to. NULL `options`: by the format that the
/// chat template tells, without a prompt.
///
/// Errors: INVALID_ARGUMENT for a format that is none, and the message lists them; also, with a pointer to the field,
/// for tools that cannot be read; OUT_OF_MEMORY.
/// Threads: any. Ownership: free `*parser` with ortshard_chat_parser_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_chat_parser_create(
    tokenizer: *const ortshard_tokenizer,
    options: *const ortshard_chat_parser_options,
    parser: *mut *mut ortshard_chat_parser,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(parser, "parser") }?;
        // SAFETY: as above.
        let tokenizer = unsafe { borrow(tokenizer, "tokenizer") }?;
        // SAFETY: as above.
        let options = unsafe { read(options) }?;
        // SAFETY: as above.
        let text = |text, name| unsafe { optional(text, name) };
        let format = match text(options.format, "format")? {
            None => tokenizer.chat_format(),
            Some(name) => match ChatFormat::named(name) {
                Some(format) => format,
                None => return Err(Failure::invalid(format!("format is `{name}`, none of {}", ChatFormat::names()))),
            },
        };
        let prompt = text(options.prompt, "prompt")?.unwrap_or_default();
        let parser = ChatParser::new(format, prompt, text(options.tools, "tools")?)?;
        let [text, name, id] = Default::default();
        out.set(give(Exclusive::new(ParserObject { parser, text, name, id })));
        Ok(())
    })
}

/// Frees a parser and the texts borrowed from it. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_chat_parser_free(parser: *mut ortshard_chat_parser) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(parser, "parser") });
}

/// Takes `length` more bytes of the answer: whole characters, as a text stream gives them. What they make certain
/// becomes events.
///
/// Errors: OUT_OF_MEMORY, and the parser is as it was. Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_chat_parser_push(
    parser: *mut ortshard_chat_parser,
    text: *const c_char,
    length: usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(parser) }.guard(|| {
        // SAFETY: as above.
        let parser = unsafe { borrow(parser, "parser") }?;
        // SAFETY: as above; a char is a byte.
        let bytes = unsafe { array(text.cast::<u8>(), length, "text") }?;
        let text = str::from_utf8(&bytes).map_err(|error| {
            let message = format!("text is not UTF-8 at byte {}", error.valid_up_to());
            Failure::new(ORTSHARD_ERROR_INVALID_UTF8, message)
        })?;
        parser.enter(|parser| parser, "parser")?.parser.push(text)?;
        Ok(())
    })
}

/// The answer has ended: what the parser held back becomes events.
///
/// Errors: OUT_OF_MEMORY, and the parser is as it was. Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_chat_parser_finish(parser: *mut ortshard_chat_parser) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(parser) }.guard(|| {
        // SAFETY: as above.
        unsafe { borrow(parser, "parser") }?.enter(|parser| parser, "parser")?.parser.finish()?;
        Ok(())
    })
}

/// Takes the next event; its kind is ORTSHARD_CHAT_NOTHING if none is left.
///
/// Errors: OUT_OF_MEMORY, and the event is still the next. Threads: one call at a time. Ownership: the texts belong to
/// the parser and live until its next call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_chat_parser_next(
    parser: *mut ortshard_chat_parser,
    event: *mut ortshard_chat_event,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(parser) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(event, "event") }?;
        // SAFETY: as above.
        let mut object = unsafe { borrow(parser, "parser") }?.enter(|parser| parser, "parser")?;
        let nothing =
            ortshard_chat_event { kind: ORTSHARD_CHAT_NOTHING, ..<ortshard_chat_event as Versioned>::INITIAL };
        // SAFETY: as above. A struct whose size is wrong takes no event.
        unsafe { write(&out, nothing) }?;
        let Some(event) = object.lend()? else { return Ok(()) };
        // SAFETY: as above.
        unsafe { write(&out, event) }
    })
}

impl ParserObject {
    /// Takes the next event, keeps its texts, and shows them.
    fn lend(&mut self) -> Result<Option<ortshard_chat_event>, Failure> {
        let Some(event) = self.parser.first_event() else { return Ok(None) };
        let (kind, text, call) = match event {
            ChatEvent::Content(text) => (ORTSHARD_CHAT_CONTENT, text, None),
            ChatEvent::Reasoning(text) => (ORTSHARD_CHAT_REASONING, text, None),
            ChatEvent::ToolCall { name, arguments, id } => (ORTSHARD_CHAT_TOOL_CALL, arguments, Some((name, id))),
        };
        let length = text.len();
        let text = keep(&mut self.text, text)?;
        let (mut name, mut id) = (null(), null());
        if let Some((called, given)) = call {
            name = keep(&mut self.name, without_nul(called))?;
            if let Some(given) = given {
                id = keep(&mut self.id, without_nul(given))?;
            }
        }
        self.parser.next_event();
        let struct_size = size_of::<ortshard_chat_event>();
        Ok(Some(ortshard_chat_event { struct_size, text, length, name, id, kind }))
    }
}

/// Keeps `text` with a NUL in `place`, and shows it.
fn keep(place: &mut Vec<u8>, text: &str) -> Result<*const c_char, Failure> {
    let needed = text.len() + 1;
    place.clear();
    place.try_reserve(needed).map_err(|_| Error::oom(Site::Run, "cpu", needed as u64, "an event"))?;
    place.extend_from_slice(text.as_bytes());
    place.push(0);
    Ok(place.as_ptr().cast())
}

/// `text` up to a NUL, which no name has.
fn without_nul(text: &str) -> &str {
    text.split('\0').next().unwrap_or_default()
}

/// The message so far, as JSON: {"role": "assistant", "reasoning_content": "...", "content": "...", "tool_calls":
/// [{"type": "function", "function": {"name": "...", "arguments": {...}}}]}, each key only if there is something.
///
/// Writes text and a final NUL to `buffer`, which has room for `capacity` bytes, and their number, NUL included, to
/// `*needed`. NULL and 0 ask for the number.
///
/// Errors: BUFFER_TOO_SMALL, and only `*needed` is written; OUT_OF_MEMORY. Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_chat_parser_message(
    parser: *mut ortshard_chat_parser,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(parser) }.guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(buffer, capacity, needed, "buffer") }?;
        // SAFETY: as above.
        let object = unsafe { borrow(parser, "parser") }?.enter(|parser| parser, "parser")?;
        buffer.fill_text(object.parser.message()?)
    })
}
