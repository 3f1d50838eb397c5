//! Memory that a kernel's tasks share: outputs they write side by side, and scratch that outlives the call.

use std::cell::Cell;
use std::marker::PhantomData;

/// An output that several tasks write at the same time, each its own places.
pub(super) struct Output<'a> {
    start: *mut f32,
    len: usize,
    of: PhantomData<&'a mut [f32]>,
}

// SAFETY: `slice` is the only way to the memory, and its callers promise that no two tasks take the same place.
unsafe impl Sync for Output<'_> {}
// SAFETY: it is a `&mut [f32]` in parts, and that may move between threads.
unsafe impl Send for Output<'_> {}

impl<'a> Output<'a> {
    /// Takes the output for the length of the call.
    pub(super) fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), of: PhantomData }
    }

    /// The values `from..from + count`, or none if they are not all inside.
    ///
    /// # Safety
    /// No other task holds any of these values while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "the promise above is what makes it sound")]
    pub(super) unsafe fn slice(&self, from: usize, count: usize) -> &mut [f32] {
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
    static SCRATCH: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Scratch memory that holds anything and begins at a cache line. Each thread keeps its block for the next call, so the memory is
/// allocated once and stays in the core's own cache.
///
/// A guard rather than a function that takes a closure: code in a closure is compiled for the baseline processor unless the
/// compiler happens to inline it, and vector code must not depend on that.
pub(super) struct Scratch(Vec<Line>);

impl Scratch {
    /// Takes at least `len` values. A second one on the same thread while this one lives makes its own block.
    pub(super) fn take(len: usize) -> Self {
        let mut block = SCRATCH.try_with(Cell::take).unwrap_or_default();
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
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let block = std::mem::take(&mut self.0);
        // The larger block is kept; on a thread that is ending it is simply freed.
        let _ = SCRATCH.try_with(|scratch| {
            let other = scratch.take();
            scratch.set(if other.len() > block.len() { other } else { block });
        });
    }
}
