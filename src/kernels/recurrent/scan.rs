//! The selective scan of Mamba-2 (Dao and Gu, 2024): each head has a matrix that decays at a rate of its own, by steps of time that each
//! token chooses.

use super::super::elementwise::TASK_VALUES;
use super::super::shared::{Output, Scratch};
use super::super::simd::{Kernel, Simd};
use super::super::{Isa, Parallel};
use super::{Shared, StateSegment, shared, softplus};

/// Rows of a head's matrix that a task computes: with 128 columns they are 16 KB, which stay in the first-level cache while all tokens
/// of a run go through them.
const ROWS: usize = 32;
/// Rows that are computed side by side, for which what the token reads and writes is loaded once.
const TOGETHER: usize = 4;

/// The heads of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScanShape {
    /// Heads, each with a matrix.
    pub heads: usize,
    /// Values of a head: rows of its matrix.
    pub head_width: usize,
    /// As many heads as there are for one group, one after another, share what is written to and read from their matrices.
    pub groups: usize,
    /// Values of that: columns of a matrix.
    pub state_width: usize,
    /// The shortest and the longest step of time.
    pub limits: [f32; 2],
}

impl ScanShape {
    /// Values that it keeps between tokens: `[heads, head_width, state_width]`.
    #[must_use]
    pub const fn state(&self) -> usize {
        self.inner().saturating_mul(self.state_width)
    }

    /// Values of all heads of a row.
    #[must_use]
    pub const fn inner(&self) -> usize {
        self.heads.saturating_mul(self.head_width)
    }

    /// Values of an input row.
    #[must_use]
    pub const fn row(&self) -> usize {
        self.inner().saturating_add(self.groups.saturating_mul(self.state_width).saturating_mul(2))
    }
}

/// What goes into a layer.
#[derive(Debug, Clone, Copy)]
pub struct ScanInputs<'a> {
    /// Rows of `x` `[heads, head_width]`, then `B` and `C`, both `[groups, state_width]`.
    pub x: &'a [f32],
    /// For each row and head, what decides the step of time.
    pub steps: &'a [f32],
    /// Of each head `e^A`: how fast its matrix decays.
    pub rates: &'a [f32],
    /// What is added to `steps` in each head.
    pub shifts: &'a [f32],
    /// The share of `x` that each head passes on beside its matrix.
    pub skips: &'a [f32],
}

/// `y = S C + skip * x` for each row and head, where with the row's `t = softplus(step + shift)`, held within limits, its matrix has become
/// `S = e^(-rate * t) S + t * x ⊗ B`.
pub fn selective_scan(
    isa: Isa,
    par: &dyn Parallel,
    shape: &ScanShape,
    inputs: &ScanInputs,
    segments: &mut [StateSegment],
    y: &mut [f32],
) {
    let ScanShape { heads, head_width, groups, state_width, .. } = *shape;
    let rows = inputs.x.len().checked_div(shape.row()).unwrap_or(0);
    let fits = groups > 0
        && heads.is_multiple_of(groups)
        && inputs.steps.len() == rows * heads
        && [inputs.rates, inputs.shifts, inputs.skips].iter().all(|values| values.len() == heads);
    let Some(segments) = shared(par, segments, rows, shape.state()).filter(|_| fits) else {
        par.incomplete();
        return;
    };
    let mut scratch = Scratch::take(2 * rows * heads);
    let (kept, steps) = scratch.values()[..2 * rows * heads].split_at_mut(rows * heads);
    factors(par, inputs, shape, kept, steps);
    let (kept, steps) = (&*kept, &*steps);
    let y = Output::new(par, y);
    let blocks = head_width.div_ceil(ROWS);
    let units = segments.len() * heads * blocks;
    // As many rows of matrices as are worth waking a thread for.
    let work = (rows / segments.len().max(1)).max(1) * ROWS.min(head_width) * state_width;
    let per_task = (TASK_VALUES / work.max(1)).clamp(1, units.div_ceil(par.threads().max(1)).max(1));
    par.run(units.div_ceil(per_task), &|task| {
        for unit in task * per_task..units.min((task + 1) * per_task) {
            let (segment, head, block) = (unit / blocks / heads, unit / blocks % heads, unit % blocks);
            let from = block * ROWS;
            isa.run(Block {
                shape,
                x: inputs.x,
                kept,
                steps,
                skip: inputs.skips[head],
                segment: &segments[segment],
                head,
                from,
                height: ROWS.min(head_width - from),
                y: &y,
            });
        }
    });
}

/// What each head keeps of its matrix in each row, and its step of time.
fn factors(par: &dyn Parallel, inputs: &ScanInputs, shape: &ScanShape, kept: &mut [f32], steps: &mut [f32]) {
    const ROWS: usize = 64;
    let (heads, [least, most]) = (shape.heads, shape.limits);
    let rows = kept.len() / heads.max(1);
    let (kept, steps) = (Output::new(par, kept), Output::new(par, steps));
    par.run(rows.div_ceil(ROWS), &|task| {
        let range = task * ROWS * heads..rows.min((task + 1) * ROWS) * heads;
        // SAFETY: every task has its own rows.
        let (kept, steps) = unsafe { (kept.slice(range.start, range.len()), steps.slice(range.start, range.len())) };
        for (at, (kept, step)) in kept.iter_mut().zip(steps).enumerate() {
            let head = at % heads;
            // Not a number stays none.
            *step = match softplus(inputs.steps[range.start + at] + inputs.shifts[head]) {
                step if step < least => least,
                step if step > most => most,
                step => step,
            };
            *kept = (-inputs.rates[head] * *step).exp();
        }
    });
}

/// Some rows of a head's matrix, through which the tokens of a segment go.
struct Block<'a> {
    shape: &'a ScanShape,
    x: &'a [f32],
    kept: &'a [f32],
    steps: &'a [f32],
    skip: f32,
    segment: &'a Shared<'a>,
    head: usize,
    /// The first row.
    from: usize,
    height: usize,
    y: &'a Output<'a>,
}

impl Kernel for Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { shape, segment, head, from, height, skip, y, .. } = self;
        let ScanShape { heads, head_width, groups, state_width: width, .. } = *shape;
        let first = head * head_width + from;
        let (place, size) = (first * width, height * width);
        let Some((_, last)) = segment.to.last() else { return };
        // SAFETY: the task has these rows, of every state.
        let matrix = unsafe { last.slice(place, size) };
        if matrix.len() < size {
            return;
        }
        let mut source = if let Some(state) = segment.from {
            state[place..][..size].as_ptr()
        } else {
            matrix.fill(0.0);
            matrix.as_ptr()
        };
        let matrix = matrix.as_mut_ptr();
        let group = head / (heads / groups);
        let mut marks = segment.to[..segment.to.len() - 1].iter().peekable();
        for token in 0..segment.tokens {
            let row = segment.first + token;
            let values = &self.x[row * shape.row()..][..shape.row()];
            let (x, shared) = values.split_at(shape.inner());
            let x = &x[first..][..height];
            let [written, read] = [group, groups + group].map(|place| &shared[place * width..][..width]);
            // SAFETY: the task has these rows' values of the segment's tokens.
            let y = unsafe { y.slice(row * shape.inner() + first, height) };
            if y.len() < height {
                return;
            }
            let at = row * heads + head;
            let step = Step { written, read, kept: self.kept[at], time: self.steps[at], skip };
            let whole = height / TOGETHER * TOGETHER;
            for at in (0..whole).step_by(TOGETHER) {
                let (x, y) = (&x[at..][..TOGETHER], &mut y[at..][..TOGETHER]);
                // SAFETY: both matrices have `height` rows of `width` values.
                unsafe { step.run::<S, TOGETHER>(simd, source.add(at * width), matrix.add(at * width), x, y) };
            }
            for at in whole..height {
                let (x, y) = (&x[at..=at], &mut y[at..=at]);
                // SAFETY: as above.
                unsafe { step.run::<S, 1>(simd, source.add(at * width), matrix.add(at * width), x, y) };
            }
            source = matrix;
            if let Some((_, to)) = marks.next_if(|(behind, _)| *behind == token + 1) {
                // SAFETY: the task has these rows of every state, and the two do not overlap.
                unsafe {
                    let to = to.slice(place, size);
                    std::ptr::copy_nonoverlapping(matrix.cast_const(), to.as_mut_ptr(), to.len());
                }
            }
        }
    }
}

/// One token.
struct Step<'a> {
    /// What is written into the matrix, times the head's values.
    written: &'a [f32],
    /// What the matrix is read by.
    read: &'a [f32],
    kept: f32,
    time: f32,
    skip: f32,
}

impl Step<'_> {
    /// Takes `R` rows, at most four, from `source` to `matrix`, which may be one place.
    ///
    /// # Safety
    /// `source` is valid for reading and `matrix` for writing `R` rows as wide as what is written and read.
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize>(
        &self,
        simd: S,
        source: *const f32,
        matrix: *mut f32,
        x: &[f32],
        y: &mut [f32],
    ) {
        let width = self.written.len().min(self.read.len());
        let kept = simd.splat(self.kept);
        let mut values = [simd.splat(0.0); R];
        for (value, x) in values.iter_mut().zip(x) {
            *value = simd.splat(self.time * x);
        }
        let mut sums = [simd.splat(0.0); R];
        let (whole, rest) = (width / S::LANES * S::LANES, width % S::LANES);
        for at in (0..whole).step_by(S::LANES) {
            // SAFETY: at + LANES <= whole <= width.
            unsafe {
                let (b, c) = (simd.load(self.written.as_ptr().add(at)), simd.load(self.read.as_ptr().add(at)));
                for r in 0..R {
                    let at = r * width + at;
                    let value = simd.mul_add(values[r], b, simd.mul(kept, simd.load(source.add(at))));
                    simd.store(value, matrix.add(at));
                    sums[r] = simd.mul_add(c, value, sums[r]);
                }
            }
        }
        if rest > 0 {
            // SAFETY: whole + rest == width.
            unsafe {
                let b = simd.load_part(self.written.as_ptr().add(whole), rest);
                let c = simd.load_part(self.read.as_ptr().add(whole), rest);
                for r in 0..R {
                    let at = r * width + whole;
                    let value = simd.mul_add(values[r], b, simd.mul(kept, simd.load_part(source.add(at), rest)));
                    simd.store_part(value, matrix.add(at), rest);
                    sums[r] = simd.mul_add(c, value, sums[r]);
                }
            }
        }
        // A sum does not depend on those beside it.
        let mut four = [simd.splat(0.0); 4];
        four[..R].copy_from_slice(&sums);
        for ((y, x), sum) in y.iter_mut().zip(x).zip(simd.sum4(four)) {
            *y = sum + self.skip * x;
        }
    }
}
