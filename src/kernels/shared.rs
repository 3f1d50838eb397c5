//! Memory that a kernel's tasks share: outputs they write side by side, and scratch that outlives the call.

use std::cell::RefCell;
use std::marker::PhantomData;

/// An output that several tasks write at the same time, each its own places.
pub(super) struct Output<'a, T = f32> {
    start: *mut T,
    len: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: `slice` is the only way to the memory, and its callers promise that no two tasks take the same place.
unsafe impl<T: Send> Sync for Output<'_, T> {}
// SAFETY: it is a `&mut [T]` in parts, and that may move between threads.
unsafe impl<T: Send> Send for Output<'_, T> {}

impl<'a, T> Output<'a, T> {
    /// Takes the output for the length of the call.
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), of: PhantomData }
    }

    /// The values `from..from + count`, or none if they are not all inside.
    ///
    /// # Safety
    /// No other task holds any of these values while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "the promise above is what makes it sound")]
    pub(super) unsafe fn slice(&self, from: usize, count: usize) -> &mut [T] {
        if from.checked_add(count).is_none_or(|end| end > self.len) {
            return &mut [];
        }
        // SAFETY: inside the slice, and the caller promises that nobody else holds this part.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), count) }
    }
}

/// A cache line of values: a register loaded from the start of one does not touch two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    static SCRATCH: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Scratch memory that holds anything and begins at a cache line. Each thread keeps its blocks for the next call, so the memory is
/// allocated once and stays in the core's own cache: one for a call, and one for the task that runs on the same thread inside it.
///
/// A guard rather than a function that takes a closure: code in a closure is compiled for the baseline processor unless the
/// compiler happens to inline it, and vector code must not depend on that.
pub(super) struct Scratch(Vec<Line>);

impl Scratch {
    /// Takes at least `len` values. The block is the last one given back on this thread, so those of calls and of tasks, which
    /// end before them, stay apart.
    pub(super) fn take(len: usize) -> Self {
        let mut block = SCRATCH.try_with(|kept| kept.borrow_mut().pop()).ok().flatten().unwrap_or_default();
        if block.len() * 16 < len {
            block.resize(len.div_ceil(16), Line([0.0; 16]));
        }
        Self(block)
    }

    /// The values.
    #[inline(always)]
    pub(super) fn values(&mut self) -> &mut [f32] {
        // SAFETY: the lines are 16 values each, one after another, and borrowed as long as the result.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) }
    }

    /// The same memory as bytes.
    #[inline(always)]
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the lines are 64 bytes each, one after another, any bytes are a value, and borrowed as long as the result.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 64) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let block = std::mem::take(&mut self.0);
        // On a thread that is ending it is simply freed.
        let _ = SCRATCH.try_with(|kept| kept.borrow_mut().push(block));
    }
}
