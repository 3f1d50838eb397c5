//! Memory that a kernel's tasks share: outputs they write side by side, and scratch that outlives the call.

use super::Parallel;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

/// An output that several tasks write at the same time, each its own places.
pub(super) struct Output<'a, T = f32> {
    start: *mut T,
    len: usize,
    /// Who hears of a place that is not there.
    par: &'a dyn Parallel,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: `slice` is the only way to the memory, and its callers promise that no two tasks take the same place.
unsafe impl<T: Send> Sync for Output<'_, T> {}
// SAFETY: it is a `&mut [T]` in parts, and that may move between threads.
unsafe impl<T: Send> Send for Output<'_, T> {}

impl<'a, T> Output<'a, T> {
    /// Takes the output for the length of the call.
    pub(super) fn new(par: &'a dyn Parallel, slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), par, of: PhantomData }
    }

    /// A part of it as an output of its own; as with [`slice`](Self::slice), none of it if it is not all inside.
    pub(super) fn part(&self, from: usize, count: usize) -> Output<'_, T> {
        let inside = from.checked_add(count).is_some_and(|end| end <= self.len);
        if !inside {
            self.incomplete();
        }
        let (from, len) = if inside { (from, count) } else { (0, 0) };
        // The promise of `slice` speaks of the values, whichever way they are reached.
        Output { start: self.start.wrapping_add(from), len, par: self.par, of: PhantomData }
    }

    /// Tells that some of its values are not written.
    pub(super) fn incomplete(&self) {
        self.par.incomplete();
    }

    /// The values `from..from + count`. If they are not all inside, none, and the output is
    /// [incomplete](Parallel::incomplete).
    ///
    /// # Safety
    /// No other task holds any of these values while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "the promise above is what makes it sound")]
    pub(super) unsafe fn slice(&self, from: usize, count: usize) -> &mut [T] {
        if from.checked_add(count).is_none_or(|end| end > self.len) {
            self.incomplete();
            return &mut [];
        }
        // SAFETY: inside the slice, and the caller promises that nobody else holds this part.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), count) }
    }
}

/// There is no memory for a kernel's scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// How much was asked for.
    pub bytes: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no memory for {} bytes of scratch", self.bytes)
    }
}

impl std::error::Error for OutOfMemory {}

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

    /// Takes at least `len` values, or gives an error where there is not enough memory.
    pub(super) fn try_take(len: usize) -> Result<Self, OutOfMemory> {
        let mut scratch = Self::take(0);
        let (have, want) = (scratch.0.len(), len.div_ceil(16));
        if have < want {
            let wanted = scratch.0.try_reserve_exact(want - have);
            wanted.map_err(|_| OutOfMemory { bytes: want.saturating_mul(size_of::<Line>()) })?;
            scratch.0.resize(want, Line([0.0; 16]));
        }
        Ok(scratch)
    }

    /// The values.
    #[inline(always)]
    pub(super) fn values(&mut self) -> &mut [f32] {
        // SAFETY: the lines are 16 values each, one after another, and borrowed as long as the result.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) }
    }

    /// The values' memory as bytes.
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::testing::Stored;
    use super::super::{Dtype, Isa, Norm, norm};
    use super::*;

    #[derive(Default)]
    struct Listening(AtomicBool);

    impl Parallel for Listening {
        fn threads(&self) -> usize {
            1
        }

        fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            (0..tasks).for_each(task);
        }

        fn incomplete(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_result_without_a_place_is_no_success() {
        let weight = Stored::new(1, 4, Dtype::F32, 1);
        for (room, failed) in [(8, false), (7, true), (0, true)] {
            let (par, mut y) = (Listening::default(), vec![0.0; room]);
            norm(Isa::Portable, &par, &Norm::rms(0.0), &[1.0; 8], 4, Some(&weight.matrix()), None, &mut y);
            assert_eq!(par.0.into_inner(), failed, "{room}");
        }
    }
}
