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

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Calls `work` with `len` values of scratch memory that hold anything. Each thread keeps its block for the next call, so the
/// memory is allocated once and stays in the core's own cache.
pub(super) fn with_scratch(len: usize, work: impl FnOnce(&mut [f32])) {
    // Taken out for the time of the call: a nested call finds an empty one and makes its own.
    let mut block = SCRATCH.try_with(Cell::take).unwrap_or_default();
    if block.len() < len {
        block.resize(len, 0.0);
    }
    work(&mut block[..len]);
    // On a thread that is ending the block is simply freed.
    let _ = SCRATCH.try_with(|scratch| scratch.set(block));
}
