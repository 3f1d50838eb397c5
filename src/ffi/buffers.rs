//! Arrays across the boundary: `(pointer, count)` in, `(buffer, capacity, *needed)` out.

use std::borrow::Cow;
use std::ptr::{NonNull, copy_nonoverlapping};

use super::handle::Out;
use super::status::{Failure, ORTSHARD_ERROR_BUFFER_TOO_SMALL, ORTSHARD_ERROR_OUT_OF_RANGE};

/// The `count` values at `data`, copied if they are not aligned. NULL is an empty array if `count` is 0.
///
/// # Safety
/// `data` is NULL or points to `count` values of a type that any bits are a value of, unchanged
/// for `'a`.
pub(super) unsafe fn array<'a, T: Copy>(
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
    // SAFETY: as above, without the alignment.
    Ok(Cow::Owned((0..count).map(|index| unsafe { data.add(index).read_unaligned() }).collect()))
}

/// An array of the caller's that answers are written to, one by one. Like a single one's place, its memory may be uninitialised
/// and lie at any address, so it is never a slice.
#[derive(Debug)]
pub(super) struct OutArray<T> {
    data: NonNull<T>,
    count: usize,
}

impl<T> OutArray<T> {
    /// # Safety
    /// `data` is NULL or may be written to, `count` values, until the call returns.
    pub(super) unsafe fn new(data: *mut T, count: usize, parameter: &str) -> Result<Self, Failure> {
        match NonNull::new(data) {
            Some(data) => Ok(Self { data, count }),
            None if count == 0 => Ok(Self { data: NonNull::dangling(), count }),
            None => Err(Failure::null(parameter)),
        }
    }

    /// Writes the answer `index`. One that the array has no room for is nobody's.
    pub(super) fn set(&self, index: usize, value: T) {
        if index < self.count {
            // SAFETY: `new` was promised so many writable places. C's structs have no destructor to run on the old value.
            unsafe { self.data.as_ptr().add(index).write_unaligned(value) };
        }
    }
}

/// A caller's buffer and the place for the size it needs.
#[derive(Debug)]
pub(super) struct Buffer<T> {
    data: *mut T,
    capacity: usize,
    needed: Out<usize>,
}

impl<T: Copy> Buffer<T> {
    /// # Safety
    /// Until the call returns, `data` is NULL or has room for `capacity` values, and `needed` is
    /// NULL or may be written to.
    pub(super) unsafe fn new(
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

    /// Tells the caller how many values come, and fails if they do not fit.
    pub(super) fn room_for(&self, count: usize) -> Result<(), Failure> {
        self.needed.set(count);
        if count > self.capacity {
            return Err(Failure::new(
                ORTSHARD_ERROR_BUFFER_TOO_SMALL,
                format!("the buffer has room for {}, {count} are needed", self.capacity),
            ));
        }
        Ok(())
    }

    /// Writes all of `values` or nothing.
    pub(super) fn fill(self, values: &[T]) -> Result<(), Failure> {
        self.room_for(values.len())?;
        if !values.is_empty() {
            // SAFETY: `new` was promised room for `capacity` values; bytes need no alignment.
            unsafe { copy_nonoverlapping(values.as_ptr().cast::<u8>(), self.data.cast(), size_of_val(values)) };
        }
        Ok(())
    }

    pub(super) fn cast<U>(self) -> Buffer<U> {
        const { assert!(size_of::<T>() == size_of::<U>()) };
        Buffer { data: self.data.cast(), capacity: self.capacity, needed: self.needed }
    }
}

/// Token ids are int64_t in C, so that what one function gives, every other takes, tensors included.
pub(super) fn token_id(id: i64, index: usize) -> Result<u32, Failure> {
    u32::try_from(id)
        .map_err(|_| Failure::new(ORTSHARD_ERROR_OUT_OF_RANGE, format!("id {id} at index {index} is no token id")))
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
    fn answers_go_to_uninitialised_places_at_any_address() {
        let mut places = [std::mem::MaybeUninit::<u8>::uninit(); 25];
        for offset in 0..8 {
            let data = places[offset..].as_mut_ptr().cast::<c_void>().cast::<u64>();
            // SAFETY: two values have room from every offset.
            let out = unsafe { OutArray::new(data, 2, "ids") }.unwrap();
            (0..3).for_each(|index| out.set(index, 7 + index as u64));
            // SAFETY: both were just written.
            assert_eq!(unsafe { (data.read_unaligned(), data.add(1).read_unaligned()) }, (7, 8));
        }
        // SAFETY: NULL is allowed.
        assert!(unsafe { OutArray::<u64>::new(std::ptr::null_mut(), 1, "ids") }.is_err());
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
