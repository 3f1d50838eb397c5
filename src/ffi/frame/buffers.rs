//! Arrays across the boundary: `(pointer, count)` in, `(buffer, capacity, *needed)` out.

use std::borrow::Cow;
use std::ptr::copy_nonoverlapping;

use crate::error::{Error, Site};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::{ORTSHARD_ERROR_BUFFER_TOO_SMALL, ORTSHARD_ERROR_OUT_OF_RANGE};

/// The `count` values at `data`, copied if they are not aligned. NULL is an empty array if `count` is 0.
///
/// # Safety
/// `data` is NULL or points to `count` values of a type that any bits are a value of, unchanged
/// for `'a`.
pub(in crate::ffi) unsafe fn array<'a, T: Copy>(
    data: *const T,
    count: usize,
    parameter: &str,
) -> Result<Cow<'a, [T]>, Failure> {
    if count == 0 {
        return Ok(Cow::Borrowed(&[]));
    }
    if data.is_null() {
        return Err(Failure::null(parameter));
    }
    if count.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(Failure::invalid(format!("{parameter}: {count} values do not fit into memory")));
    }
    if data.is_aligned() {
        // SAFETY: the caller's promise; aligned, and smaller than any object may be.
        return Ok(Cow::Borrowed(unsafe { std::slice::from_raw_parts(data, count) }));
    }
    let mut aligned = Vec::new();
    let bytes = (count * size_of::<T>()) as u64;
    aligned.try_reserve_exact(count).map_err(|_| Error::oom(Site::Run, "cpu", bytes, parameter))?;
    // SAFETY: as above, without the alignment.
    aligned.extend((0..count).map(|index| unsafe { data.add(index).read_unaligned() }));
    Ok(Cow::Owned(aligned))
}

/// A caller's buffer and the place for the size it needs.
#[derive(Debug)]
pub(in crate::ffi) struct Buffer<T> {
    data: *mut T,
    capacity: usize,
    needed: Out<usize>,
}

impl<T: Copy> Buffer<T> {
    /// # Safety
    /// Until the call returns, `data` is NULL or has room for `capacity` values, and `needed` is
    /// NULL or may be written to.
    pub(in crate::ffi) unsafe fn new(
        data: *mut T,
        capacity: usize,
        needed: *mut usize,
        parameter: &str,
    ) -> Result<Self, Failure> {
        // SAFETY: the caller's promise.
        let needed = unsafe { Out::new(needed, "needed") }?;
        needed.set(0);
        if data.is_null() && capacity != 0 {
            return Err(Failure::null(parameter));
        }
        Ok(Self { data, capacity, needed })
    }

    /// Whether the caller asks for the number alone.
    pub(in crate::ffi) fn only_asks(&self) -> bool {
        self.data.is_null()
    }

    /// Tells the caller how many values come. Whether they are to be written: not if only that was asked for. Fails if they do
    /// not fit.
    pub(in crate::ffi) fn room_for(&self, count: usize) -> Result<bool, Failure> {
        self.needed.set(count);
        if self.data.is_null() {
            return Ok(false);
        }
        if count > self.capacity {
            return Err(Failure::new(
                ORTSHARD_ERROR_BUFFER_TOO_SMALL,
                format!("the buffer has room for {}, {count} are needed", self.capacity),
            ));
        }
        Ok(true)
    }

    /// Writes all of `values` or nothing.
    pub(in crate::ffi) fn fill(self, values: &[T]) -> Result<(), Failure> {
        if self.room_for(values.len())? && !values.is_empty() {
            // SAFETY: `new` was promised room for `capacity` values; bytes need no alignment.
            unsafe { copy_nonoverlapping(values.as_ptr().cast::<u8>(), self.data.cast(), size_of_val(values)) };
        }
        Ok(())
    }

    pub(in crate::ffi) fn cast<U>(self) -> Buffer<U> {
        const { assert!(size_of::<T>() == size_of::<U>()) };
        Buffer { data: self.data.cast(), capacity: self.capacity, needed: self.needed }
    }
}

/// Token ids are int64_t in C, so that what one function gives, every other takes, tensors included.
pub(in crate::ffi) fn token_id(id: i64, index: usize) -> Result<u32, Failure> {
    u32::try_from(id)
        .map_err(|_| Failure::new(ORTSHARD_ERROR_OUT_OF_RANGE, format!("id {id} at index {index} is no token id")))
}

/// All `values`, each converted. There can be as many as memory holds, so that more memory is asked for, not taken.
pub(in crate::ffi) fn converted<T: Copy, U>(
    values: &[T],
    convert: impl Fn(T, usize) -> Result<U, Failure>,
) -> Result<Vec<U>, Failure> {
    let mut converted = Vec::new();
    let bytes = (values.len() * size_of::<U>()) as u64;
    converted.try_reserve_exact(values.len()).map_err(|_| Error::oom(Site::Run, "cpu", bytes, "a list"))?;
    for (index, value) in values.iter().enumerate() {
        converted.push(convert(*value, index)?);
    }
    Ok(converted)
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;

    use super::*;

    #[test]
    fn a_buffer_is_filled_whole_or_not_at_all() {
        let (mut place, mut needed) = ([7_i64; 3], 0);
        let mut fill = |capacity, values: &[i64]| {
            // SAFETY: the array has room for every capacity tested.
            let buffer = unsafe { Buffer::new(place.as_mut_ptr(), capacity, &raw mut needed, "ids") };
            let status = buffer.and_then(|buffer| buffer.fill(values)).map_err(|failure| failure.status);
            (status, needed, place)
        };
        assert_eq!(fill(2, &[1, 2, 3]), (Err(ORTSHARD_ERROR_BUFFER_TOO_SMALL), 3, [7; 3]));
        assert_eq!(fill(3, &[1, 2, 3]), (Ok(()), 3, [1, 2, 3]));
        assert_eq!(fill(3, &[]), (Ok(()), 0, [1, 2, 3]));
    }

    #[test]
    fn asking_for_the_size_is_no_error() {
        let mut needed = 0;
        // SAFETY: NULL and 0 ask for the size.
        let buffer = unsafe { Buffer::<i64>::new(std::ptr::null_mut(), 0, &raw mut needed, "ids") }.unwrap();
        assert!(buffer.fill(&[1, 2, 3]).is_ok());
        assert_eq!(needed, 3);
    }

    #[test]
    fn misaligned_arrays_are_copied() {
        let bytes: Vec<u8> = (0..33).collect();
        for offset in 0..8 {
            // SAFETY: two values lie within the bytes from every offset.
            let values = unsafe { array(bytes[offset..].as_ptr().cast::<c_void>().cast::<u64>(), 2, "data") }.unwrap();
            assert_eq!(values[1].to_le_bytes()[0] as usize, offset + 8);
        }
        // SAFETY: never read.
        assert!(unsafe { array(std::ptr::dangling::<u64>(), usize::MAX / 8, "data") }.is_err());
    }
}
