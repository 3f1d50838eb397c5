// Texts with options, and single tokens.

use std::ffi::{c_char, c_void};

use crate::error::{Error, Site};
use crate::ffi::basics::objects::ortshard_tokenizer;
use crate::ffi::frame::buffers::{Buffer, array, converted, token_id};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::on;
use crate::ffi::frame::handle::borrow;
use crate::ffi::frame::out::{Out, OutArray};
use crate::ffi::frame::status::{ORTSHARD_ERROR_OUT_OF_RANGE, ortshard_status};
use crate::ffi::frame::strings::text;
use crate::ffi::frame::versioned::{initial, read};
use crate::ffi::text::tokenizer::{ORTSHARD_NO_ID, fill_ids, holds};
use crate::{EncodeOptions, Tokenizer};

/// How a text is encoded. All zero but struct_size: the text, with the special tokens that it spells out.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_encode_options {
    /// sizeof(ortshard_encode_options).
    pub struct_size: usize,
    /// Not 0: with the tokens that tokenizer.json puts around a text, such as a BOS.
    pub add_special: i32,
    /// Not 0: special tokens that the text spells out are text like any other. Added tokens that are not special, such
    /// as runs of spaces in some vocabularies, are still found.
    pub special_as_text: i32,
}

initial!(ortshard_encode_options, ortshard_encode_options_init);

/// Bytes of a text: from `start` up to but not including `end`. Its layout is final, so it has no struct_size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_byte_range {
    /// The first byte.
    pub start: usize,
    /// The byte behind the last.
    pub end: usize,
}

/// The token ids of `count` texts, one text after another: what ortshard_tokenizer_encode() gives for each. NULL
/// `options`: the texts, with the special tokens that they spell out. Long lists are shared out among threads.
///
/// Writes the ids of all texts to `ids`, which has room for `capacity`, their number to `*needed`, and to `ends[i]`
/// how many ids texts 0 to i have together. NULL and 0 ask for the numbers. `ends` has room for `count`; NULL: not
/// asked for.
///
/// Errors: those of ortshard_tokenizer_encode(), for the first text that fails; the message names it.
/// Threads: many at once.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "C's arrays are two or three each")]
pub unsafe extern "C" fn ortshard_tokenizer_encode_texts(
    tokenizer: *const ortshard_tokenizer,
    texts: *const *const c_char,
    count: usize,
    options: *const ortshard_encode_options,
    ids: *mut i64,
    capacity: usize,
    needed: *mut usize,
    ends: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(ids, capacity, needed, "ids") }?;
        // SAFETY: as above.
        let ends = unsafe { OutArray::new(ends, if ends.is_null() { 0 } else { count }, "ends") }?;
        // SAFETY: as above.
        let tokenizer = unsafe { borrow(tokenizer, "tokenizer") }?;
        // SAFETY: as above.
        let texts = unsafe { array(texts, count, "texts") }?;
        // SAFETY: as above.
        let texts = converted(&texts, |text, index| unsafe { self::text(text, &format!("texts[{index}]")) })?;
        // SAFETY: as above.
        let encoded = tokenizer.encode_texts(&texts, unsafe { encode_options(options) }?)?;
        let (mut all, count) = (Vec::new(), encoded.iter().map(Vec::len).sum());
        all.try_reserve_exact(count).map_err(|_| Error::oom(Site::Run, "cpu", 4 * count as u64, "token ids"))?;
        for ids in &encoded {
            all.extend(ids);
        }
        fill_ids(buffer, &all)?;
        let mut end = 0;
        for (index, ids) in encoded.iter().enumerate() {
            end += ids.len();
            ends.set(index, end);
        }
        Ok(())
    })
}

/// The token ids of `text`, and for each the bytes of the text that it stands for. NULL `options`: the text, with the
/// special tokens that it spells out.
///
/// A token that is a part of a character has the whole character's bytes; one that add_special adds has none. Some
/// tokenizers do not count the space before a word to it (trim_offsets of tokenizer.json).
///
/// Writes ids to `ids` and ranges to `ranges`, which have room for `capacity` each, and their number to `*needed`.
/// NULL, NULL and 0 ask for the number.
///
/// Errors: those of ortshard_tokenizer_encode(); UNSUPPORTED for any text of more than 16 MiB. It takes 400 times the
/// text's size of memory.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_encode_with_ranges(
    tokenizer: *const ortshard_tokenizer,
    text: *const c_char,
    options: *const ortshard_encode_options,
    ids: *mut i64,
    ranges: *mut ortshard_byte_range,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(ids, capacity, needed, "ids") }?;
        // SAFETY: as above.
        let ranges = unsafe { OutArray::new(ranges, capacity, "ranges") }?;
        // SAFETY: as above.
        let tokenizer = unsafe { borrow(tokenizer, "tokenizer") }?;
        // SAFETY: as above.
        let (text, options) = (unsafe { self::text(text, "text") }?, unsafe { encode_options(options) }?);
        let (ids, found): (Vec<u32>, Vec<_>) = tokenizer.encode_with_ranges(text, options)?.into_iter().unzip();
        fill_ids(buffer, &ids)?;
        for (index, range) in found.into_iter().enumerate() {
            ranges.set(index, ortshard_byte_range { start: range.start, end: range.end });
        }
        Ok(())
    })
}

/// # Safety
/// `options` is NULL or as the header says.
unsafe fn encode_options(options: *const ortshard_encode_options) -> Result<EncodeOptions, Failure> {
    // SAFETY: the caller's promise.
    let options = unsafe { read(options) }?;
    Ok(EncodeOptions { add_special: options.add_special != 0, special_as_text: options.special_as_text != 0 })
}

/// The id of the token that is spelled exactly `token` in the vocabulary, such as "<|im_end|>", or ORTSHARD_NO_ID. The
/// spelling is not the text: of " the" it may be "\xC4\xA0the" or "\xE2\x96\x81the".
///
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_token_to_id(
    tokenizer: *const ortshard_tokenizer,
    token: *const c_char,
    id: *mut i64,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(id, "id") }?;
        // SAFETY: as above.
        let tokenizer = unsafe { borrow(tokenizer, "tokenizer") }?;
        // SAFETY: as above.
        let id = tokenizer.token_to_id(unsafe { text(token, "token") }?);
        out.set(id.map_or(i64::from(ORTSHARD_NO_ID), i64::from));
        Ok(())
    })
}

/// The spelling of token `id` in the vocabulary, of which ortshard_tokenizer_token_to_id() gives `id`.
///
/// Writes text and a final NUL to `buffer`, which has room for `capacity` bytes, and their number, NUL included, to
/// `*needed`. NULL and 0 ask for the number.
///
/// Errors: OUT_OF_RANGE for an id that is not in the vocabulary; BUFFER_TOO_SMALL, and only `*needed` is written.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_id_to_token(
    tokenizer: *const ortshard_tokenizer,
    id: i64,
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
        let Some(token) = tokenizer.id_to_token(token_id(id, 0)?) else {
            let message = format!("id {id} is not in the vocabulary of {} tokens", tokenizer.vocab_size());
            return Err(Failure::new(ORTSHARD_ERROR_OUT_OF_RANGE, message));
        };
        buffer.fill_text(token)
    })
}

/// The bytes that token `id` adds to a text that it does not begin: those of " the", or a part of a character.
///
/// Writes them, without a NUL, to `buffer`, which has room for `capacity` bytes, and their number to `*needed`. NULL
/// and 0 ask for the number.
///
/// Errors: OUT_OF_RANGE for an id that is not in the vocabulary; BUFFER_TOO_SMALL, and only `*needed` is written.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_token_bytes(
    tokenizer: *const ortshard_tokenizer,
    id: i64,
    buffer: *mut c_void,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::<u8>::new(buffer.cast(), capacity, needed, "buffer") }?;
        // SAFETY: as above.
        buffer.fill(&unsafe { borrow(tokenizer, "tokenizer") }?.token_bytes(token_id(id, 0)?)?)
    })
}

/// Whether `id` is a special token, which `skip_special` leaves out: `*is_special` becomes 1 or 0. 0 for ids that do
/// not exist.
///
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_is_special(
    tokenizer: *const ortshard_tokenizer,
    id: i64,
    is_special: *mut i32,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { holds(tokenizer, id, (is_special, "is_special"), Tokenizer::is_special) }
}
