//! Where answers are written: memory of the caller's that may be uninitialised and lie at any address.

use std::ptr::NonNull;

use crate::ffi::frame::failure::Failure;

/// A pointer that an answer is written through; it may point to uninitialised memory.
#[derive(Debug)]
pub(in crate::ffi) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// # Safety
    /// `pointer` is NULL or may be written to until the call returns.
    pub(in crate::ffi) unsafe fn new(pointer: *mut T, parameter: &str) -> Result<Self, Failure> {
        NonNull::new(pointer).map(Self).ok_or_else(|| Failure::null(parameter))
    }

    pub(in crate::ffi) fn set(&self, value: T) {
        // SAFETY: `new` was promised a writable place. C's structs have no destructor to run on the old value.
        unsafe { self.0.as_ptr().write_unaligned(value) }
    }

    pub(in crate::ffi) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<H> Out<*mut H> {
    /// A place for a handle: NULL from now on until it is set.
    ///
    /// # Safety
    /// As for `new`.
    pub(in crate::ffi) unsafe fn handle(pointer: *mut *mut H, parameter: &str) -> Result<Self, Failure> {
        // SAFETY: the caller's promise.
        let out = unsafe { Self::new(pointer, parameter) }?;
        out.set(std::ptr::null_mut());
        Ok(out)
    }
}

/// An array of the caller's that answers are written to, one by one. Like a single one's place, its memory may be uninitialised
/// and lie at any address, so it is never a slice.
#[derive(Debug)]
pub(in crate::ffi) struct OutArray<T> {
    data: NonNull<T>,
    count: usize,
}

impl<T> OutArray<T> {
    /// # Safety
    /// `data` is NULL or may be written to, `count` values, until the call returns.
    pub(in crate::ffi) unsafe fn new(data: *mut T, count: usize, parameter: &str) -> Result<Self, Failure> {
        match NonNull::new(data) {
            Some(data) => Ok(Self { data, count }),
            None if count == 0 => Ok(Self { data: NonNull::dangling(), count }),
            None => Err(Failure::null(parameter)),
        }
    }

    /// Writes the answer `index`. One that the array has no room for is nobody's.
    pub(in crate::ffi) fn set(&self, index: usize, value: T) {
        if index < self.count {
            // SAFETY: `new` was promised so many writable places. C's structs have no destructor to run on the old value.
            unsafe { self.data.as_ptr().add(index).write_unaligned(value) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;

    use super::*;

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
}
