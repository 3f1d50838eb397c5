//! Text stream
//!
//! Text while it is generated: push each id as it comes, print what it gives. All pieces together, and what _finish
//! gives, are exactly what ortshard_tokenizer_decode() gives for all the ids at once.
//!
//! Text comes as soon as it is certain. What waits: in a byte-level vocabulary (GPT-2, Llama 3, Qwen) the bytes of an
//! incomplete character; in one with byte fallback (Llama 2, Mistral) a run of byte tokens, until another token ends
//! it; and everything, until _finish, for a tokenizer.json whose decoder needs all tokens (BPEDecoder, CTC, or a
//! sequence that changes more than single characters after its tokens were joined), which language models do not have.

use std::ffi::c_char;
use std::sync::Arc;

use crate::TextStream;
use crate::ffi::basics::objects::{ortshard_text_stream, ortshard_tokenizer};
use crate::ffi::frame::buffers::token_id;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::{Exclusive, Handle, Kind, borrow, free, give};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;

impl Handle for ortshard_text_stream {
    type Object = Exclusive<StreamObject>;
    const KIND: Kind = Kind::TextStream;
}

/// A stream and the piece that its last call lent to the caller.
pub(in crate::ffi) struct StreamObject {
    stream: TextStream,
    /// Ends with a NUL.
    piece: String,
}

/// Creates a stream on `tokenizer`, which it keeps alive. `skip_special` not 0: special tokens give no text.
///
/// Threads: any. Ownership: free `*stream` with ortshard_text_stream_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_text_stream_create(
    tokenizer: *const ortshard_tokenizer,
    skip_special: i32,
    stream: *mut *mut ortshard_text_stream,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(stream, "stream") }?;
        // SAFETY: as above.
        let tokenizer = Arc::clone(&*unsafe { borrow(tokenizer, "tokenizer") }?);
        let stream = TextStream::new(tokenizer, skip_special != 0);
        out.set(give(Exclusive::new(StreamObject { stream, piece: String::new() })));
        Ok(())
    })
}

/// Frees a stream and the text borrowed from it. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_text_stream_free(stream: *mut ortshard_text_stream) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(stream, "stream") });
}

/// Gives the text that `id` makes certain: whole characters, often none, since a character can span tokens.
///
/// `*text` is UTF-8 followed by a NUL, `*length` its bytes without that NUL; models can produce NUL characters, so
/// only the length tells where the text ends.
///
/// Errors: OUT_OF_RANGE if `id` is not in the tokenizer's vocabulary, the stream then stays as it was; OUT_OF_MEMORY.
/// Threads: one call at a time. Ownership: the text belongs to the stream and lives until its next call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_text_stream_push(
    stream: *mut ortshard_text_stream,
    id: i64,
    text: *mut *const c_char,
    length: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    let push = |stream: &mut TextStream, piece: &mut String| Ok(stream.push_to(token_id(id, 0)?, piece)?);
    // SAFETY: as above.
    unsafe { on(stream) }.guard(|| unsafe { lend(stream, text, length, push) })
}

/// Gives the text that was still held back, with U+FFFD for an incomplete character. The stream is then at its start
/// and can be used again.
///
/// Errors: MALFORMED for a tokenizer that fails on these tokens.
/// Threads: one call at a time. Ownership: the text belongs to the stream and lives until its next call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_text_stream_finish(
    stream: *mut ortshard_text_stream,
    text: *mut *const c_char,
    length: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    let finish = |stream: &mut TextStream, piece: &mut String| Ok(stream.finish_to(piece)?);
    // SAFETY: as above.
    unsafe { on(stream) }.guard(|| unsafe { lend(stream, text, length, finish) })
}

/// Keeps a piece of text in the stream and shows it to the caller.
///
/// # Safety
/// The arguments are as the header says.
unsafe fn lend(
    stream: *mut ortshard_text_stream,
    text: *mut *const c_char,
    length: *mut usize,
    make: impl FnOnce(&mut TextStream, &mut String) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let text = unsafe { Out::new(text, "text") }?;
    text.set(std::ptr::null());
    // SAFETY: as above.
    let length = unsafe { Out::new(length, "length") }?;
    length.set(0);
    // SAFETY: as above.
    let mut object = unsafe { borrow(stream, "stream") }?.enter(|stream| stream, "stream")?;
    let StreamObject { stream, piece } = &mut *object;
    piece.clear();
    make(stream, piece)?;
    length.set(piece.len());
    piece.push('\0');
    text.set(piece.as_ptr().cast());
    Ok(())
}
