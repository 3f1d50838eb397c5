//! Opaque handles: how Rust objects cross the boundary and come back.

use std::ptr::NonNull;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::status::{Failure, ORTSHARD_ERROR_INVALID_STATE};

/// An opaque C type and the Rust object that a pointer to it points to.
pub(super) trait Handle {
    type Object;
    /// `Boxed` or `Counted`: the compiler refuses to free one as the other.
    type Owner;
}

/// One owner; `ortshard_x_free` drops the object.
pub(super) enum Boxed {}

/// Counted references, an `Arc`; `ortshard_x_free` gives one back.
pub(super) enum Counted {}

pub(super) fn give_box<H: Handle<Owner = Boxed>>(object: H::Object) -> *mut H {
    Box::into_raw(Box::new(object)).cast()
}

pub(super) fn give_counted<H: Handle<Owner = Counted>>(object: Arc<H::Object>) -> *mut H {
    Arc::into_raw(object).cast_mut().cast()
}

/// # Safety
/// `handle` is NULL or came from `give_box` and is not used again.
pub(super) unsafe fn free_box<H: Handle<Owner = Boxed>>(handle: *mut H) {
    if !handle.is_null() {
        // SAFETY: made by `Box::into_raw`, as the caller promises, and given back once.
        drop(unsafe { Box::from_raw(handle.cast::<H::Object>()) });
    }
}

/// # Safety
/// `handle` is NULL or came from `give_counted`, and this reference is not used again.
pub(super) unsafe fn free_counted<H: Handle<Owner = Counted>>(handle: *mut H) {
    if !handle.is_null() {
        // SAFETY: made by `Arc::into_raw`, as the caller promises; gives back one reference.
        drop(unsafe { Arc::from_raw(handle.cast_const().cast::<H::Object>()) });
    }
}

/// Another reference to a counted object.
///
/// # Safety
/// As for `borrow`.
pub(super) unsafe fn share<H: Handle<Owner = Counted>>(
    handle: *const H,
    parameter: &str,
) -> Result<Arc<H::Object>, Failure> {
    // SAFETY: the caller's promise.
    unsafe { borrow(handle, parameter) }?;
    // Not by way of the reference: the count lies before what it may reach.
    let object = handle.cast::<H::Object>();
    // SAFETY: the handle holds one reference throughout the call, so the count is not 0.
    unsafe { Arc::increment_strong_count(object) };
    // SAFETY: takes the reference just counted.
    Ok(unsafe { Arc::from_raw(object) })
}

/// # Safety
/// `handle` is NULL or a live handle, and stays so for `'a`.
pub(super) unsafe fn borrow<'a, H: Handle>(handle: *const H, parameter: &str) -> Result<&'a H::Object, Failure> {
    // SAFETY: the caller's promise; the pointer came from a box or counted object of this type.
    unsafe { handle.cast::<H::Object>().as_ref() }.ok_or_else(|| Failure::null(parameter))
}

/// The object behind a handle that allows one call at a time. A second one is refused instead of waiting: it shows a
/// mistake in the caller's threading, which waiting would hide.
#[derive(Debug)]
pub(super) struct Exclusive<T>(Mutex<T>);

impl<T> Exclusive<T> {
    pub(super) fn new(object: T) -> Self {
        Self(Mutex::new(object))
    }

    pub(super) fn enter(&self, parameter: &str) -> Result<MutexGuard<'_, T>, Failure> {
        self.0.try_lock().ok_or_else(|| {
            Failure::new(ORTSHARD_ERROR_INVALID_STATE, format!("{parameter} is in use by another call right now"))
        })
    }
}

/// A pointer that an answer is written through; it may point to uninitialised memory.
#[derive(Debug)]
pub(super) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// # Safety
    /// `pointer` is NULL or may be written to until the call returns.
    pub(super) unsafe fn new(pointer: *mut T, parameter: &str) -> Result<Self, Failure> {
        NonNull::new(pointer).map(Self).ok_or_else(|| Failure::null(parameter))
    }

    pub(super) fn set(&self, value: T) {
        // SAFETY: `new` was promised a writable place. C's structs have no destructor to run on the old value.
        unsafe { self.0.as_ptr().write_unaligned(value) }
    }

    pub(super) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<H> Out<*mut H> {
    /// A place for a handle: NULL from now on until it is set.
    ///
    /// # Safety
    /// As for `new`.
    pub(super) unsafe fn handle(pointer: *mut *mut H, parameter: &str) -> Result<Self, Failure> {
        // SAFETY: the caller's promise.
        let out = unsafe { Self::new(pointer, parameter) }?;
        out.set(std::ptr::null_mut());
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::status::ORTSHARD_ERROR_NULL_ARGUMENT;

    struct Opaque;
    impl Handle for Opaque {
        type Object = Exclusive<u32>;
        type Owner = Counted;
    }

    #[test]
    fn references_are_counted() {
        let object = Arc::new(Exclusive::new(7));
        let handle: *mut Opaque = give_counted(Arc::clone(&object));
        // SAFETY: a live handle.
        let other = unsafe { share(handle, "handle") }.unwrap();
        assert_eq!(Arc::strong_count(&object), 3);
        // SAFETY: freed once.
        unsafe { free_counted(handle) };
        drop(other);
        assert_eq!(Arc::strong_count(&object), 1);
    }

    #[test]
    fn a_second_call_is_refused() {
        let object = Exclusive::new(());
        let first = object.enter("sampler").unwrap();
        let second = object.enter("sampler").map(drop).unwrap_err();
        assert_eq!(second.status, ORTSHARD_ERROR_INVALID_STATE);
        drop(first);
        assert!(object.enter("sampler").is_ok());
    }

    #[test]
    fn null_is_named() {
        // SAFETY: NULL is allowed.
        let failure = unsafe { borrow::<Opaque>(std::ptr::null(), "thing") }.map(|_| ()).unwrap_err();
        assert_eq!((failure.status, failure.message.as_str()), (ORTSHARD_ERROR_NULL_ARGUMENT, "thing is NULL"));
        // SAFETY: as above.
        unsafe { free_counted::<Opaque>(std::ptr::null_mut()) };
    }
}
