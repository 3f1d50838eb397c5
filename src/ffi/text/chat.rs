//! Chat
//!
//! A conversation becomes a prompt by the model's chat template, character by character as in transformers. Messages
//! that are a role and a text come as structs (ortshard_tokenizer_apply_chat_template()); what else there is, as JSON:
//!
//!     [{"role": "user", "content": "What is the weather in Bern?"},
//!      {"role": "assistant", "reasoning_content": "I have a tool for that.",
//!       "tool_calls": [{"type": "function", "id": "a1",
//!                       "function": {"name": "get_weather", "arguments": {"city": "Bern"}}}]},
//!      {"role": "tool", "tool_call_id": "a1", "name": "get_weather", "content": "sunny"}]
//!
//! A message has a role. Its content is a text or a list of parts, each with a type, such as {"type": "text", "text":
//! "Hi"}; a part that is no text, such as an image, is UNSUPPORTED. Whatever else it has is the template's. An error
//! names the field as a JSON pointer, such as /messages/1/tool_calls/0/function/name.
//!
//! As in transformers 5, keys of a message that are null count as missing, and reasoning_content, thinking and
//! reasoning are one thing; transformers 4 gives both to the template as they are. JSON is Python's: NaN and Infinity
//! are numbers, whole numbers have up to 127 bits, and the last of two equal keys counts. A text has at most 64 MiB, a
//! million values, and lists and objects 64 deep.

use std::ffi::c_char;

use crate::ffi::basics::objects::ortshard_tokenizer;
use crate::ffi::frame::buffers::{Buffer, array, converted};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::on;
use crate::ffi::frame::handle::borrow;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::strings::{optional, owned, text};
use crate::ffi::frame::versioned::{initial, read};
use crate::ffi::text::tokenizer::fill_ids;
use crate::{ChatMessage, ChatOptions};

/// One message of a conversation. Its layout is final, so it has no struct_size. Messages that have more than a
/// text come as JSON.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_chat_message {
    /// Who speaks, such as "system", "user" or "assistant".
    pub role: *const c_char,
    /// The text.
    pub content: *const c_char,
}

/// What a chat is made of beside its messages. All zero but struct_size: the model's template, and nothing else. The
/// texts are read during the call only; NULL is none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_chat_options {
    /// sizeof(ortshard_chat_options).
    pub struct_size: usize,
    /// The tools that the model may call: a JSON list of objects, each with its JSON schema.
    pub tools: *const c_char,
    /// Documents to answer from: a JSON list of objects, usually with "title" and "text".
    pub documents: *const c_char,
    /// Further variables of the template, such as {"enable_thinking": false}: a JSON object. They win over the names
    /// of special tokens, such as bos_token.
    pub variables: *const c_char,
    /// Which of the model's templates. NULL: "tool_use" if there are tools and the model has it, else "default".
    pub template_name: *const c_char,
    /// A template of your own, in the place of the model's: the text of a chat_template.jinja.
    pub own_template: *const c_char,
    /// The field of the last message that the model goes on with, such as "content" or "reasoning_content": the prompt
    /// ends within it. NULL: the last message is complete.
    pub continue_field: *const c_char,
    /// Not 0: the prompt ends where the assistant's answer begins.
    pub add_generation_prompt: i32,
    /// Not 0: control tokens that messages, tools, documents and variables spell out are text; see
    /// ortshard_tokenizer_chat_ids(). For texts from people who might write them to deceive the model.
    pub control_as_text: i32,
}

initial!(ortshard_chat_options, ortshard_chat_options_init);

/// The prompt that the model's chat template makes of `count` messages. `add_generation_prompt` not 0: it ends where
/// the assistant's answer begins. Encode it with add_special 0.
///
/// Writes text and a final NUL to `buffer`, which has room for `capacity` bytes, and their number, NUL included, to
/// `*needed`. NULL and 0 ask for the number.
///
/// The template gives what it gives in transformers, character by character; its strftime_now gives the local time.
/// Steps, time and memory are bounded, the more generously the longer the messages are.
///
/// Errors: UNSUPPORTED if the model has no chat template, or if the template asks for the little of Jinja2 that is not
/// supported, which is named; INVALID_ARGUMENT if `count` is 0, and with the template's own words if it refuses these
/// messages; MALFORMED if the template is faulty or exceeds a bound, which is named; OUT_OF_MEMORY;
/// BUFFER_TOO_SMALL, and only `*needed` is written.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_apply_chat_template(
    tokenizer: *const ortshard_tokenizer,
    messages: *const ortshard_chat_message,
    count: usize,
    add_generation_prompt: i32,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(buffer, capacity, needed, "buffer") }?;
        // SAFETY: as above.
        let tokenizer = unsafe { borrow(tokenizer, "tokenizer") }?;
        // SAFETY: as above.
        let messages = unsafe { array(messages, count, "messages") }?;
        // SAFETY: as above.
        let messages = converted(&messages, |each, index| unsafe { message(index, each) })?;
        buffer.fill_text(tokenizer.apply_chat_template(&messages, add_generation_prompt != 0)?)
    })
}

/// # Safety
/// The texts are NULL or NUL-terminated.
unsafe fn message(index: usize, message: ortshard_chat_message) -> Result<ChatMessage, Failure> {
    // SAFETY: the caller's promise.
    let role = unsafe { text(message.role, &format!("messages[{index}].role")) }?;
    // SAFETY: as above.
    let content = unsafe { text(message.content, &format!("messages[{index}].content")) }?;
    Ok(ChatMessage::new(owned(role, "a message")?, owned(content, "a message")?))
}

/// The prompt that a chat template makes of `messages`, a JSON list; see above. NULL `options`: the model's template,
/// and nothing else. Encode it with add_special 0.
///
/// Writes text and a final NUL to `buffer`, which has room for `capacity` bytes, and their number, NUL included, to
/// `*needed`. NULL and 0 ask for the number.
///
/// Errors: INVALID_ARGUMENT, with a pointer to the field, for what cannot be read or is not of this form, and if the
/// last message cannot be continued; UNSUPPORTED, with a pointer, for a part that is no text; NOT_FOUND if the model
/// has no template of that name; those of ortshard_tokenizer_apply_chat_template().
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_chat_text(
    tokenizer: *const ortshard_tokenizer,
    messages: *const c_char,
    options: *const ortshard_chat_options,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(buffer, capacity, needed, "buffer") }?;
        // SAFETY: as above.
        let tokenizer = unsafe { borrow(tokenizer, "tokenizer") }?;
        // SAFETY: as above.
        let (messages, options) = (unsafe { text(messages, "messages") }?, unsafe { chat_options(options) }?);
        buffer.fill_text(tokenizer.chat_text(messages, &options)?)
    })
}

/// The ids of ortshard_tokenizer_chat_text().
///
/// With `control_as_text`, only the template writes control tokens, as with sanitize_control_tokens of transformers:
/// those that the JSON spells out in its texts are encoded as text. Control tokens are the special tokens, and the
/// added tokens that the template's own texts hold. Whole tokens are found. A template that makes a token of a role
/// by adding to it ("<|" and "|>" around it) still makes one: roles, and the keys of objects, are for the program to
/// choose.
///
/// Writes ids to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
///
/// Errors: those of ortshard_tokenizer_chat_text() and ortshard_tokenizer_encode(). With `control_as_text`:
/// INVALID_ARGUMENT, with a pointer to it, for a control token in a key; UNSUPPORTED for one that the tokenizer makes
/// of plain text.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_chat_ids(
    tokenizer: *const ortshard_tokenizer,
    messages: *const c_char,
    options: *const ortshard_chat_options,
    ids: *mut i64,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(ids, capacity, needed, "ids") }?;
        // SAFETY: as above.
        let tokenizer = unsafe { borrow(tokenizer, "tokenizer") }?;
        // SAFETY: as above.
        let (messages, options) = (unsafe { text(messages, "messages") }?, unsafe { chat_options(options) }?);
        fill_ids(buffer, &tokenizer.chat_ids(messages, &options)?)
    })
}

/// # Safety
/// `options` is NULL or as the header says, for `'a`.
pub(in crate::ffi) unsafe fn chat_options<'a>(
    options: *const ortshard_chat_options,
) -> Result<ChatOptions<'a>, Failure> {
    // SAFETY: the caller's promise.
    let options = unsafe { read(options) }?;
    // SAFETY: as above.
    let text = |text, name| unsafe { optional(text, name) };
    Ok(ChatOptions {
        tools: text(options.tools, "tools")?,
        documents: text(options.documents, "documents")?,
        variables: text(options.variables, "variables")?,
        template: text(options.template_name, "template_name")?,
        own_template: text(options.own_template, "own_template")?,
        continue_field: text(options.continue_field, "continue_field")?,
        add_generation_prompt: options.add_generation_prompt != 0,
        control_as_text: options.control_as_text != 0,
    })
}
