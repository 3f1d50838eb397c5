//! Tokenizer
//!
//! Token ids are int64_t everywhere in this header, so that what the tokenizer gives is a tensor's data as it is.

use std::ffi::c_char;
use std::sync::Arc;

use crate::ffi::basics::objects::ortshard_tokenizer;
use crate::ffi::frame::buffers::{Buffer, array, converted, token_id};
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::{Handle, Kind, borrow, free, give};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::strings::{path, text};
use crate::{EncodeOptions, Tokenizer};

constants! {
    /// What stands for no token id.
    enum nameless {
        /// The model's files declare none.
        ORTSHARD_NO_ID = -1,
    }
}

impl Handle for ortshard_tokenizer {
    type Object = Arc<Tokenizer>;
    const KIND: Kind = Kind::Tokenizer;
}

/// Opens the tokenizer of a model folder, or the tokenizer.json that `path` names. For a model of the hub by name:
/// ortshard_engine_open_tokenizer().
///
/// Errors: NOT_FOUND if there is none, or for a name that the system does not take; MALFORMED if a file breaks its
/// format or is a link that leaves the folder; IO; INVALID_ARGUMENT for an empty path; OUT_OF_MEMORY (site LOAD).
/// Threads: any. Ownership: free `*tokenizer` with ortshard_tokenizer_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_open(
    path: *const c_char,
    tokenizer: *mut *mut ortshard_tokenizer,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(tokenizer, "tokenizer") }?;
        // SAFETY: as above.
        let opened = Tokenizer::open(unsafe { self::path(path, "path") }?)?;
        out.set(give(Arc::new(opened)));
        Ok(())
    })
}

/// Frees a tokenizer; text streams on it go on working. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_free(tokenizer: *mut ortshard_tokenizer) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(tokenizer, "tokenizer") });
}

/// The token ids of `text`: never truncated, never padded.
///
/// `add_special` not 0: with the tokens that tokenizer.json puts around a text, such as a BOS. A text from
/// ortshard_tokenizer_apply_chat_template() has them already, so encode it with 0. Special tokens that the text spells
/// out are recognised either way; ortshard_tokenizer_encode_texts() can take them as text.
///
/// Writes ids to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number,
/// which takes as long as the ids and no memory for them.
///
/// A text of any length is encoded in memory of some ten times its size, where spaces or line ends follow words. What
/// has to be encoded in one, up to 16 MiB, takes 200 times its size.
///
/// Errors: BUFFER_TOO_SMALL, and only `*needed` is written; MALFORMED if the tokenizer's rules fail on this text;
/// UNSUPPORTED if more than 16 MiB would have to be encoded in one: without a space or line end after a word, or at
/// all with a normalizer or pre-tokenizer that is rare with language models; OUT_OF_MEMORY.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_encode(
    tokenizer: *const ortshard_tokenizer,
    text: *const c_char,
    add_special: i32,
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
        let text = unsafe { self::text(text, "text") }?;
        let options = EncodeOptions { add_special: add_special != 0, ..EncodeOptions::default() };
        if buffer.only_asks() {
            buffer.room_for(tokenizer.count(text, options)?)?;
            return Ok(());
        }
        fill_ids(buffer, &tokenizer.encode_as(text, options)?)
    })
}

/// Writes ids, if there is room for them.
pub(super) fn fill_ids(buffer: Buffer<i64>, ids: &[u32]) -> Result<(), Failure> {
    if buffer.room_for(ids.len())? {
        buffer.fill(&converted(ids, |id, _| Ok(i64::from(id)))?)?;
    }
    Ok(())
}

/// The text of the `count` token ids at `ids`. `skip_special` not 0: without the special tokens among them.
///
/// Bytes that are not UTF-8 become U+FFFD. No spaces are cleaned up around punctuation. Writes text and a final NUL to
/// `buffer`, which has room for `capacity` bytes, and their number, NUL included, to `*needed`. NULL and 0 ask for the
/// number.
///
/// Errors: OUT_OF_RANGE for an id that is not in the vocabulary; BUFFER_TOO_SMALL, and only `*needed` is written;
/// MALFORMED; OUT_OF_MEMORY.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_decode(
    tokenizer: *const ortshard_tokenizer,
    ids: *const i64,
    count: usize,
    skip_special: i32,
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
        let ids = unsafe { array(ids, count, "ids") }?;
        let ids = converted(&ids, token_id)?;
        buffer.fill_text(tokenizer.decode(&ids, skip_special != 0)?)
    })
}

/// The number of tokens, added ones included. Ids may have gaps, and a model may have more rows of logits than this.
///
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_vocab_size(
    tokenizer: *const ortshard_tokenizer,
    vocab_size: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(vocab_size, "vocab_size") }?;
        // SAFETY: as above.
        out.set(unsafe { borrow(tokenizer, "tokenizer") }?.vocab_size());
        Ok(())
    })
}

/// Writes the id that `of` gives for `tokenizer`, or `ORTSHARD_NO_ID`, to `id`.
///
/// # Safety
/// As the header says of the functions that call it.
unsafe fn declared(
    tokenizer: *const ortshard_tokenizer,
    id: *mut i64,
    of: impl Fn(&Tokenizer) -> Option<u32>,
) -> ortshard_status {
    // SAFETY: the caller's promise.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::new(id, "id") }?;
        // SAFETY: as above.
        out.set(of(&*unsafe { borrow(tokenizer, "tokenizer") }?).map_or(i64::from(ORTSHARD_NO_ID), i64::from));
        Ok(())
    })
}

/// The beginning-of-sequence id that the model's files declare, or ORTSHARD_NO_ID.
///
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_bos(tokenizer: *const ortshard_tokenizer, id: *mut i64) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { declared(tokenizer, id, Tokenizer::bos) }
}

/// The padding id that the model's files declare, or ORTSHARD_NO_ID.
///
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_pad(tokenizer: *const ortshard_tokenizer, id: *mut i64) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { declared(tokenizer, id, Tokenizer::pad) }
}

/// The end-of-sequence ids that the model's files declare; there may be none or several. First those of
/// generation_config.json, or of config.json where that has none; then special tokens that config.json declares, and
/// the tokenizer's own eos_token.
///
/// Writes them to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
///
/// Errors: BUFFER_TOO_SMALL, and only `*needed` is written. Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_eos(
    tokenizer: *const ortshard_tokenizer,
    ids: *mut i64,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(ids, capacity, needed, "ids") }?;
        // SAFETY: as above.
        buffer.fill(&converted(unsafe { borrow(tokenizer, "tokenizer") }?.eos(), |id, _| Ok(i64::from(id)))?)
    })
}

/// Whether generation ends at `id`: `*is_eos` becomes 1 or 0. 0 for ids that do not exist.
///
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_tokenizer_is_eos(
    tokenizer: *const ortshard_tokenizer,
    id: i64,
    is_eos: *mut i32,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { holds(tokenizer, id, (is_eos, "is_eos"), Tokenizer::is_eos) }
}

/// Writes whether `of` holds for token `id` of `tokenizer` to a place, which comes with its name; 0 if there is no such token.
///
/// # Safety
/// As the header says of the functions that call it.
pub(super) unsafe fn holds(
    tokenizer: *const ortshard_tokenizer,
    id: i64,
    (place, name): (*mut i32, &str),
    of: impl Fn(&Tokenizer, u32) -> bool,
) -> ortshard_status {
    // SAFETY: the caller's promise.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::new(place, name) }?;
        // SAFETY: as above.
        let tokenizer = unsafe { borrow(tokenizer, "tokenizer") }?;
        out.set(u32::try_from(id).is_ok_and(|id| of(&tokenizer, id)).into());
        Ok(())
    })
}
