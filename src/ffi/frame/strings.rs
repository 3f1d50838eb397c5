//! Text across the boundary: NUL-terminated UTF-8 in both directions.

use std::ffi::{CStr, c_char};
use std::path::Path;

use crate::error::{Error, Site};
use crate::ffi::frame::buffers::Buffer;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::status::ORTSHARD_ERROR_INVALID_UTF8;

/// # Safety
/// `text` is NULL or NUL-terminated and unchanged for `'a`.
pub(in crate::ffi) unsafe fn text<'a>(text: *const c_char, parameter: &str) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::null(parameter));
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(text) };
    bytes.to_str().map_err(|error| {
        let at = error.valid_up_to();
        Failure::new(ORTSHARD_ERROR_INVALID_UTF8, format!("{parameter} is not UTF-8 at byte {at}"))
    })
}

/// As `text`, but NULL is none.
///
/// # Safety
/// As for `text`.
pub(in crate::ffi) unsafe fn optional<'a>(text: *const c_char, parameter: &str) -> Result<Option<&'a str>, Failure> {
    // SAFETY: the caller's promise.
    if text.is_null() { Ok(None) } else { unsafe { self::text(text, parameter) }.map(Some) }
}

/// # Safety
/// As for `text`.
pub(in crate::ffi) unsafe fn path<'a>(path: *const c_char, parameter: &str) -> Result<&'a Path, Failure> {
    // SAFETY: the caller's promise.
    let text = unsafe { text(path, parameter) }?;
    if text.is_empty() {
        return Err(Failure::invalid(format!("{parameter} is empty")));
    }
    Ok(Path::new(text))
}

/// A copy of `text`.
pub(in crate::ffi) fn owned(text: &str, parameter: &str) -> Result<String, Failure> {
    let mut owned = String::new();
    let refused = |_| Error::oom(Site::Run, "cpu", text.len() as u64, parameter);
    owned.try_reserve_exact(text.len()).map_err(refused)?;
    owned.push_str(text);
    Ok(owned)
}

impl Buffer<c_char> {
    /// Writes `text` and its terminator.
    pub(in crate::ffi) fn fill_text(self, text: String) -> Result<(), Failure> {
        let mut bytes = text.into_bytes();
        let needed = bytes.len() as u64 + 1;
        bytes.try_reserve_exact(1).map_err(|_| Error::oom(Site::Run, "cpu", needed, "a text"))?;
        bytes.push(0);
        self.cast::<u8>().fill(&bytes)
    }
}

/// `text` in a struct's fixed array, NUL-terminated; cut between characters where it is too long.
pub(in crate::ffi) fn fixed<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    let end = text.floor_char_boundary(N - 1);
    for (place, byte) in array.iter_mut().zip(&text.as_bytes()[..end]) {
        *place = *byte as c_char;
    }
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_text_is_terminated_and_cut_between_characters() {
        let shown = |array: &[c_char]| array.iter().map(|c| *c as u8).collect::<Vec<_>>();
        assert_eq!(shown(&fixed::<4>("ab")), b"ab\0\0");
        assert_eq!(shown(&fixed::<4>("abcdef")), b"abc\0");
        assert_eq!(shown(&fixed::<4>("ab\u{e9}")), b"ab\0\0");
    }
}
