//! The gated delta rule (Yang et al., 2024): linear attention whose matrix forgets, and corrects what it holds under a key.

use super::super::elementwise::TASK_VALUES;
use super::super::shared::{Output, Scratch};
use super::super::simd::{Kernel, Simd};
use super::super::{Isa, Parallel};
use super::{Shared, StateSegment, shared, softplus};

/// Columns of a head's matrix that a task computes: with 128 rows they are 16 KB, which stay in the first-level cache while all tokens
/// of a run go through them. It is how matrices lie in memory, and in exported states.
const COLUMNS: usize = 32;

/// The heads of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeltaShape {
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Heads of values, of which as many as there are for one key head use it, one after another. Each has a matrix.
    pub value_heads: usize,
    /// Values of a query and of a key: rows of a matrix.
    pub key_width: usize,
    /// Values of a value: columns of a matrix.
    pub value_width: usize,
    /// What is added to the sum of the squares of queries and keys before they are divided by its root.
    pub eps: f32,
}

impl DeltaShape {
    /// Values that it keeps between tokens: for each value head its matrix, 32 columns of all rows after another.
    #[must_use]
    pub const fn state(&self) -> usize {
        self.value_heads.saturating_mul(self.key_width).saturating_mul(self.value_width)
    }

    /// Values of a row of queries, keys and values.
    #[must_use]
    pub const fn row(&self) -> usize {
        2 * self.key_heads * self.key_width + self.value_heads * self.value_width
    }
}

/// What goes into a layer.
#[derive(Debug, Clone, Copy)]
pub struct DeltaInputs<'a> {
    /// Rows of queries, keys and values: `[key_heads, key_width]` twice, and `[value_heads, value_width]`.
    pub qkv: &'a [f32],
    /// For each row and value head, what the sigmoid is taken of for how far a value is corrected.
    pub corrections: &'a [f32],
    /// For each row and value head, what decides how much is forgotten.
    pub decays: &'a [f32],
    /// Of each value head `e^A`.
    pub rates: &'a [f32],
    /// What is added to `decays` in each value head.
    pub shifts: &'a [f32],
}

/// `y = qᵀ S` for each row and value head, where with the row's `g = e^(-rate * softplus(decay + shift))` and
/// `b = sigmoid(correction)` its matrix has become `S = g S + k ⊗ b (v - g kᵀ S)`.
///
/// Queries and keys are divided by their length, and queries by the root of their width.
pub fn gated_delta(
    isa: Isa,
    par: &dyn Parallel,
    shape: &DeltaShape,
    inputs: &DeltaInputs,
    segments: &mut [StateSegment],
    y: &mut [f32],
) {
    let DeltaShape { key_heads, value_heads: heads, key_width, value_width, .. } = *shape;
    let rows = inputs.qkv.len().checked_div(shape.row()).unwrap_or(0);
    let fits = key_heads > 0
        && heads.is_multiple_of(key_heads)
        && [inputs.corrections, inputs.decays].iter().all(|values| values.len() == rows * heads)
        && [inputs.rates, inputs.shifts].iter().all(|values| values.len() == heads);
    let Some(segments) = shared(par, segments, rows, shape.state()).filter(|_| fits) else {
        par.incomplete();
        return;
    };
    let mut scratch = Scratch::take(2 * rows * heads);
    let (kept, corrected) = scratch.values()[..2 * rows * heads].split_at_mut(rows * heads);
    factors(par, inputs, heads, kept, corrected);
    let (kept, corrected) = (&*kept, &*corrected);
    let y = Output::new(par, y);
    let blocks = value_width.div_ceil(COLUMNS);
    let units = segments.len() * heads * blocks;
    // As many columns as are worth waking a thread for.
    let work = (rows / segments.len().max(1)).max(1) * key_width * COLUMNS;
    let per_task = (TASK_VALUES / work.max(1)).clamp(1, units.div_ceil(par.threads().max(1)).max(1));
    par.run(units.div_ceil(per_task), &|task| {
        for unit in task * per_task..units.min((task + 1) * per_task) {
            let (segment, head, block) = (unit / blocks / heads, unit / blocks % heads, unit % blocks);
            let columns = Columns {
                shape,
                qkv: inputs.qkv,
                kept,
                corrected,
                segment: &segments[segment],
                head,
                from: block * COLUMNS,
                width: COLUMNS.min(value_width - block * COLUMNS),
                y: &y,
            };
            isa.run(columns);
        }
    });
}

/// What each head keeps of its matrix in each row, and how far it corrects a value.
fn factors(par: &dyn Parallel, inputs: &DeltaInputs, heads: usize, kept: &mut [f32], corrected: &mut [f32]) {
    const ROWS: usize = 64;
    let rows = kept.len() / heads.max(1);
    let (kept, corrected) = (Output::new(par, kept), Output::new(par, corrected));
    par.run(rows.div_ceil(ROWS), &|task| {
        let range = task * ROWS * heads..rows.min((task + 1) * ROWS) * heads;
        // SAFETY: every task has its own rows.
        let (kept, corrected) =
            unsafe { (kept.slice(range.start, range.len()), corrected.slice(range.start, range.len())) };
        for (at, (kept, corrected)) in kept.iter_mut().zip(corrected).enumerate() {
            let head = at % heads;
            let step = softplus(inputs.decays[range.start + at] + inputs.shifts[head]);
            *kept = (-inputs.rates[head] * step).exp();
            *corrected = 1.0 / (1.0 + (-inputs.corrections[range.start + at]).exp());
        }
    });
}

/// Some columns of a head's matrix, through which the tokens of a segment go.
struct Columns<'a> {
    shape: &'a DeltaShape,
    qkv: &'a [f32],
    kept: &'a [f32],
    corrected: &'a [f32],
    segment: &'a Shared<'a>,
    head: usize,
    /// The first column.
    from: usize,
    width: usize,
    y: &'a Output<'a>,
}

impl Kernel for Columns<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // Registers for COLUMNS values.
        match (S::LANES, self.width == COLUMNS) {
            (16, true) => self.walk::<S, 2, true>(simd),
            (16, false) => self.walk::<S, 2, false>(simd),
            (8, true) => self.walk::<S, 4, true>(simd),
            (8, false) => self.walk::<S, 4, false>(simd),
            (_, true) => self.walk::<S, 8, true>(simd),
            (_, false) => self.walk::<S, 8, false>(simd),
        }
    }
}

impl Columns<'_> {
    #[inline(always)]
    fn walk<S: Simd, const R: usize, const WHOLE: bool>(self, simd: S) {
        let Self { shape, qkv, segment, head, from, width, y, .. } = self;
        let DeltaShape { key_heads, value_heads: heads, key_width, value_width, eps } = *shape;
        let place = head * key_width * value_width + from * key_width;
        let size = key_width * width;
        let Some((_, last)) = segment.to.last() else { return };
        // SAFETY: the task has these columns, of every state.
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
        let mut scratch = Scratch::take(2 * key_width);
        let (query, key) = scratch.values()[..2 * key_width].split_at_mut(key_width);
        let key_head = head / (heads / key_heads);
        #[allow(clippy::cast_precision_loss, reason = "no head is 2^24 wide")]
        let scale = 1.0 / (key_width as f32).sqrt();
        let mut marks = segment.to[..segment.to.len() - 1].iter().peekable();
        for token in 0..segment.tokens {
            let row = segment.first + token;
            let values = &qkv[row * shape.row()..][..shape.row()];
            let part = |first: usize| &values[first..][..key_width];
            unit(simd, part(key_head * key_width), eps, scale, query);
            unit(simd, part((key_heads + key_head) * key_width), eps, 1.0, key);
            let v = &values[2 * key_heads * key_width + head * value_width + from..][..width];
            // SAFETY: the task has these columns of the segment's rows.
            let y = unsafe { y.slice(row * heads * value_width + head * value_width + from, width) };
            if y.len() < width {
                return;
            }
            let at = row * heads + head;
            let step = Step { key: &*key, query: &*query, kept: self.kept[at], corrected: self.corrected[at] };
            // SAFETY: both matrices have `key_width` rows of `width` values, `v` and `y` have one.
            unsafe { step.run::<S, R, WHOLE>(simd, source, matrix, width, v.as_ptr(), y.as_mut_ptr()) };
            source = matrix;
            if let Some((_, to)) = marks.next_if(|(behind, _)| *behind == token + 1) {
                // SAFETY: the task has these columns of every state, and the two do not overlap.
                unsafe {
                    let to = to.slice(place, size);
                    std::ptr::copy_nonoverlapping(matrix.cast_const(), to.as_mut_ptr(), to.len());
                }
            }
        }
    }
}

/// `y = x * scale / the root of (x·x + eps)`.
#[inline(always)]
fn unit<S: Simd>(simd: S, x: &[f32], eps: f32, scale: f32, y: &mut [f32]) {
    let len = x.len().min(y.len());
    let mut sums = [simd.splat(0.0); 2];
    for (i, at) in (0..len).step_by(S::LANES).enumerate() {
        // SAFETY: at + count <= len.
        let v = unsafe { simd.load_part(x.as_ptr().add(at), S::LANES.min(len - at)) };
        sums[i % 2] = simd.mul_add(v, v, sums[i % 2]);
    }
    let squares = simd.sum(simd.add(sums[0], sums[1]));
    let factor = simd.splat(scale / (squares + eps).sqrt());
    for at in (0..len).step_by(S::LANES) {
        let count = S::LANES.min(len - at);
        // SAFETY: at + count <= len.
        unsafe {
            let v = simd.mul(simd.load_part(x.as_ptr().add(at), count), factor);
            simd.store_part(v, y.as_mut_ptr().add(at), count);
        }
    }
}

/// One token.
struct Step<'a> {
    key: &'a [f32],
    query: &'a [f32],
    kept: f32,
    corrected: f32,
}

impl Step<'_> {
    /// Takes columns of `width` values from `source` to `matrix`, which may be one place.
    ///
    /// # Safety
    /// `source` is valid for reading and `matrix` for writing a row of `width` values for each value of the key, `v` for reading one and
    /// `y` for writing one. `WHOLE`: `width` is `R` registers, else it is fewer values.
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const WHOLE: bool>(
        &self,
        simd: S,
        source: *const f32,
        matrix: *mut f32,
        width: usize,
        v: *const f32,
        y: *mut f32,
    ) {
        let Self { key, query, kept, corrected } = *self;
        let rows = key.len().min(query.len());
        let (g, b) = (simd.splat(kept), simd.splat(corrected));
        // Even and odd rows are summed apart, so that one addition need not wait for the last.
        let (mut even, mut odd) = ([simd.splat(0.0); R], [simd.splat(0.0); R]);
        // SAFETY: row < rows here and below, and a row of columns has `width` values.
        unsafe {
            for pair in 0..rows / 2 {
                let row = 2 * pair;
                read::<S, R, WHOLE>(simd, source.add(row * width), width, key[row], &mut even);
                read::<S, R, WHOLE>(simd, source.add((row + 1) * width), width, key[row + 1], &mut odd);
            }
            if !rows.is_multiple_of(2) {
                read::<S, R, WHOLE>(simd, source.add((rows - 1) * width), width, key[rows - 1], &mut even);
            }
        }
        let mut change = [simd.splat(0.0); R];
        for r in 0..R {
            let held = simd.mul(g, simd.add(even[r], odd[r]));
            // SAFETY: `v` has `width` values.
            change[r] = simd.mul(b, simd.sub(unsafe { load::<S, WHOLE>(simd, v, width, r) }, held));
        }
        (even, odd) = ([simd.splat(0.0); R], [simd.splat(0.0); R]);
        // SAFETY: as above.
        unsafe {
            for pair in 0..rows / 2 {
                let row = 2 * pair;
                let at = (source.add(row * width), matrix.add(row * width));
                write::<S, R, WHOLE>(simd, at, width, (g, key[row], &change), query[row], &mut even);
                let at = (source.add((row + 1) * width), matrix.add((row + 1) * width));
                write::<S, R, WHOLE>(simd, at, width, (g, key[row + 1], &change), query[row + 1], &mut odd);
            }
            if !rows.is_multiple_of(2) {
                let row = rows - 1;
                let at = (source.add(row * width), matrix.add(row * width));
                write::<S, R, WHOLE>(simd, at, width, (g, key[row], &change), query[row], &mut even);
            }
            for r in 0..R {
                store::<S, WHOLE>(simd, simd.add(even[r], odd[r]), y, width, r);
            }
        }
    }
}

/// `sums += k * row`.
///
/// # Safety
/// The row has `width` values.
#[inline(always)]
unsafe fn read<S: Simd, const R: usize, const WHOLE: bool>(
    simd: S,
    row: *const f32,
    width: usize,
    k: f32,
    sums: &mut [S::V; R],
) {
    let k = simd.splat(k);
    for (r, sum) in sums.iter_mut().enumerate() {
        // SAFETY: the caller vouches for the row.
        *sum = simd.mul_add(k, unsafe { load::<S, WHOLE>(simd, row, width, r) }, *sum);
    }
}

/// `to = g * from + k * change`, and `sums += q * to`.
///
/// # Safety
/// Both rows have `width` values.
#[inline(always)]
unsafe fn write<S: Simd, const R: usize, const WHOLE: bool>(
    simd: S,
    (from, to): (*const f32, *mut f32),
    width: usize,
    (g, k, change): (S::V, f32, &[S::V; R]),
    q: f32,
    sums: &mut [S::V; R],
) {
    let (k, q) = (simd.splat(k), simd.splat(q));
    for (r, sum) in sums.iter_mut().enumerate() {
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let value = simd.mul_add(k, change[r], simd.mul(g, load::<S, WHOLE>(simd, from, width, r)));
            store::<S, WHOLE>(simd, value, to, width, r);
            *sum = simd.mul_add(q, value, *sum);
        }
    }
}

/// Register `r` of a row.
///
/// # Safety
/// The row has `width` values, as many as registers hold if `WHOLE`.
#[inline(always)]
unsafe fn load<S: Simd, const WHOLE: bool>(simd: S, row: *const f32, width: usize, r: usize) -> S::V {
    let at = r * S::LANES;
    // SAFETY: the caller vouches for the row; of a register behind its end nothing is read.
    unsafe {
        if WHOLE {
            simd.load(row.add(at))
        } else {
            simd.load_part(row.add(at.min(width)), S::LANES.min(width.saturating_sub(at)))
        }
    }
}

/// Writes register `r` of a row.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
unsafe fn store<S: Simd, const WHOLE: bool>(simd: S, v: S::V, row: *mut f32, width: usize, r: usize) {
    let at = r * S::LANES;
    // SAFETY: the caller vouches for the row; of a register behind its end nothing is written.
    unsafe {
        if WHOLE {
            simd.store(v, row.add(at));
        } else {
            simd.store_part(v, row.add(at.min(width)), S::LANES.min(width.saturating_sub(at)));
        }
    }
}
