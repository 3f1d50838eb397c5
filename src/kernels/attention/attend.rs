//! The online softmax (Milakov & Gimelshein 2018; as in `FlashAttention`, Dao et al. 2022): a row's weighted sum of values is kept
//! relative to the largest score so far, so keys are read once and scores are never stored beyond a block.
//!
//! A block of keys is transposed once for all rows of a task. Scores (queries times transposed keys) and sums (weights times
//! values) are then the same product of small matrices, [`multiply`], in which every element is summed over in one fixed order.
//!
//! Which keys a row sees decides its range of every loop; keys outside are never touched by its sums, so not even a NaN in
//! another token's value can leak into it.

use super::super::elementwise::{Function, SoftCap};
use super::super::math::exp;
use super::super::simd::{Kernel, Simd};
use super::multiply::{Ahead, Left, Right, TILE, multiply};
use super::rows::Rows;
use super::shape::Window;
use std::ops::Range;

/// Keys of a block.
pub(super) const BLOCK: usize = 64;
/// Keys of a chunk, a whole number of blocks: what one task of a long context takes.
pub(super) const CHUNK: usize = 1024;

/// Prepared queries and what they look at.
pub(super) struct Queries<'a> {
    /// `[tokens * group, dim]`, normalised, rotated and scaled.
    pub(super) rows: &'a [f32],
    pub(super) dim: usize,
    /// Values of a row of the result: without latents as many.
    pub(super) value_dim: usize,
    /// Rows of one token.
    pub(super) group: usize,
    /// Position of the first token.
    pub(super) first: usize,
    pub(super) window: Option<Window>,
    /// Scores are held below it.
    pub(super) soft_cap: Option<SoftCap>,
    /// Position of the first cached token.
    pub(super) start: usize,
    /// The keys of all cached tokens, and room for more; or latents, which are the values as well.
    pub(super) keys: Rows<'a>,
    /// What the keys have behind latents.
    pub(super) behind: Option<Rows<'a>>,
    /// The values of the same tokens.
    pub(super) values: Rows<'a>,
}

impl Queries<'_> {
    /// The keys that a row sees.
    #[inline(always)]
    fn visible(&self, row: usize) -> Range<usize> {
        let position = self.first + row / self.group;
        self.window.map_or(0, |window| window.first(position)).max(self.start)..position + 1
    }
}

/// Rows' running softmax: the largest score, the sum of weights and the weighted sum of values, both relative to that score.
pub(super) struct State<'a> {
    largest: &'a mut [f32],
    weights: &'a mut [f32],
    /// `[rows, width]`.
    sums: &'a mut [f32],
    /// `dim` in whole registers.
    width: usize,
}

impl<'a> State<'a> {
    /// Values of memory for `rows` rows.
    pub(super) fn len<S: Simd>(rows: usize, dim: usize) -> usize {
        Self::padded_len(rows, dim, S::LANES)
    }

    /// As [`len`](Self::len), for registers of any width up to `lanes`.
    pub(super) fn padded_len(rows: usize, dim: usize, lanes: usize) -> usize {
        rows * (2 + dim.next_multiple_of(lanes))
    }

    /// Uses `memory` for `rows` rows, as it is.
    #[inline(always)]
    pub(super) fn new<S: Simd>(memory: &'a mut [f32], rows: usize, dim: usize) -> Self {
        let (largest, rest) = memory.split_at_mut(rows);
        let (weights, sums) = rest.split_at_mut(rows);
        let width = dim.next_multiple_of(S::LANES);
        Self { largest, weights, sums: &mut sums[..rows * width], width }
    }

    /// Nothing seen.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.largest.fill(f32::NEG_INFINITY);
        self.weights.fill(0.0);
        self.sums.fill(0.0);
    }

    /// Multiplies a row's sums.
    #[inline(always)]
    fn rescale<S: Simd>(&mut self, simd: S, row: usize, by: f32) {
        let sums = &mut self.sums[row * self.width..][..self.width];
        for at in (0..self.width).step_by(S::LANES) {
            // SAFETY: width is a whole number of registers.
            unsafe {
                let to = sums.as_mut_ptr().add(at);
                simd.store(simd.mul(simd.load(to), simd.splat(by)), to);
            }
        }
    }

    /// Writes a row's result. A sink is one more score, of no value.
    #[inline(always)]
    pub(super) fn divide<S: Simd>(&self, simd: S, row: usize, sink: Option<f32>, to: &mut [f32]) {
        let by = match sink {
            None => 1.0 / self.weights[row],
            Some(sink) => {
                let largest = self.largest[row].max(sink);
                let by = exp_one(simd, self.largest[row] - largest);
                by / (self.weights[row] * by + exp_one(simd, sink - largest))
            }
        };
        let by = simd.splat(by);
        let sums = &self.sums[row * self.width..][..self.width];
        let mut at = 0;
        while at < to.len() {
            let count = S::LANES.min(to.len() - at);
            // SAFETY: width is a whole number of registers, and at + count is inside `to`.
            unsafe { simd.store_part(simd.mul(simd.load(sums.as_ptr().add(at)), by), to.as_mut_ptr().add(at), count) }
            at += count;
        }
    }
}

/// Adds what `part` has seen to `total`.
#[inline(always)]
pub(super) fn merge<S: Simd>(simd: S, total: &mut State, part: &State) {
    let width = total.width;
    for row in 0..total.largest.len() {
        if part.weights[row] == 0.0 {
            continue;
        }
        let sums = &mut total.sums[row * width..][..width];
        let others = &part.sums[row * width..][..width];
        if total.weights[row] == 0.0 {
            total.largest[row] = part.largest[row];
            total.weights[row] = part.weights[row];
            sums.copy_from_slice(others);
            continue;
        }
        let largest = total.largest[row].max(part.largest[row]);
        let by = exp_one(simd, total.largest[row] - largest);
        let other_by = exp_one(simd, part.largest[row] - largest);
        total.largest[row] = largest;
        total.weights[row] = total.weights[row] * by + part.weights[row] * other_by;
        for at in (0..width).step_by(S::LANES) {
            // SAFETY: width is a whole number of registers.
            unsafe {
                let to = sums.as_mut_ptr().add(at);
                let other = simd.mul(simd.load(others.as_ptr().add(at)), simd.splat(other_by));
                simd.store(simd.mul_add(simd.load(to), simd.splat(by), other), to);
            }
        }
    }
}

#[inline(always)]
fn exp_one<S: Simd>(simd: S, x: f32) -> f32 {
    let mut lane = 0.0;
    // SAFETY: one value.
    unsafe { simd.store_part(exp(simd, simd.splat(x)), &raw mut lane, 1) }
    lane
}

/// Scratch values that [`attend`] needs.
pub(super) fn scratch_len(dim: usize, value_dim: usize) -> usize {
    (dim + value_dim + 2 * (TILE + 1)) * BLOCK
}

/// Lets every row see those of its keys that are in this chunk.
#[inline(always)]
pub(super) fn attend<S: Simd>(simd: S, queries: &Queries, chunk: usize, state: &mut State, scratch: &mut [f32]) {
    let rows = state.largest.len();
    let (transposed, scratch) = scratch.split_at_mut(queries.dim * BLOCK);
    let (widened, scratch) = scratch.split_at_mut(queries.value_dim * BLOCK);
    let (scales, scratch) = scratch.split_at_mut(BLOCK);
    let (scales_behind, scores) = scratch.split_at_mut(BLOCK);
    // Later rows see later keys.
    let (seen_from, seen_to) = (queries.visible(0).start, queries.visible(rows - 1).end);
    let end = (chunk * CHUNK + CHUNK).min(seen_to);
    let mut block = (chunk * CHUNK).max(seen_from / BLOCK * BLOCK);
    while block < end {
        let count = BLOCK.min(end - block);
        // A block begins where it would if all keys were kept, so that what a row gets from it has the same bits.
        let skip = queries.start.saturating_sub(block);
        let (first, next) = (block + skip - queries.start, block + BLOCK - queries.start);
        let bytes = BLOCK * queries.keys.stride();
        // Latents are keys and values at once: half of them in the place of either.
        let mut ahead = if queries.behind.is_none() {
            Ahead::new(queries.keys.address(next), queries.values.address(next), bytes)
        } else {
            let next = queries.keys.address(next);
            Ahead::new(next, next.wrapping_add(bytes / 2), bytes / 2)
        };
        let keys = queries.keys.part(first, count - skip);
        keys.transpose(simd, &mut transposed[skip..], BLOCK, &mut ahead);
        let behind = queries.behind.map(|behind| {
            let behind = behind.part(first, count - skip);
            behind.transpose(simd, &mut transposed[queries.value_dim * BLOCK + skip..], BLOCK, &mut ahead);
            behind
        });
        let scales_behind = behind.and_then(|behind| behind.scales(scales_behind, skip));
        let scales_behind = scales_behind.map(|scales| (queries.value_dim, scales));
        let keys = Keys { transposed, scales: keys.scales(scales, skip), scales_behind };
        let values = queries.values.part(first, count - skip).values(simd, widened, skip);
        let mut row = 0;
        while row < rows {
            // Even shares: 7 rows as 4 + 3, not 6 + 1.
            let left = rows - row;
            let take = left.div_ceil(left.div_ceil(TILE));
            if queries.visible(row + take - 1).end > block && queries.visible(row).start < block + count {
                tile(simd, queries, block, count, row, take, keys, values, scores, state, &mut ahead);
            }
            row += take;
        }
        ahead.ask_all(simd);
        block += BLOCK;
    }
}

/// A block of keys.
#[derive(Clone, Copy)]
struct Keys<'a> {
    /// `[dim, BLOCK]`; columns before the first kept key and beyond the last hold anything.
    transposed: &'a [f32],
    /// What each column is to be multiplied by, if anything.
    scales: Option<&'a [f32]>,
    /// What it is from some row on, if not the same.
    scales_behind: Option<(usize, &'a [f32])>,
}

/// Up to [`TILE`] rows and one block of keys.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the state of the loops around it")]
fn tile<S: Simd>(
    simd: S,
    queries: &Queries,
    block: usize,
    count: usize,
    row: usize,
    take: usize,
    keys: Keys,
    values: &[f32],
    scores: &mut [f32],
    state: &mut State,
    ahead: &mut Ahead,
) {
    let dim = queries.dim;
    let (scores, others) = scores.split_at_mut(TILE * BLOCK);
    // The last block of a context is seldom full.
    let seen = count.next_multiple_of(2 * S::LANES).min(BLOCK);
    scores[..take * BLOCK].fill(0.0);
    let coefficients = &queries.rows[row * dim..][..take * dim];
    let left = Left { at: coefficients, stride: dim };
    let right = Right { at: keys.transposed, stride: BLOCK, width: seen };
    let end = keys.scales_behind.map_or(dim, |(from, _)| from);
    multiply(simd, take, left, right, 0..end, scores, BLOCK, ahead);
    if let Some(scales) = keys.scales {
        scale(simd, &mut scores[..take * BLOCK], scales);
    }
    if let Some((from, scales)) = keys.scales_behind {
        let (scores, others) = (&mut scores[..take * BLOCK], &mut others[..take * BLOCK]);
        simd.run_apart(AddBehind { take, left, right, range: from..dim, scales, scores, others, ahead });
    }
    if let Some(function) = queries.soft_cap {
        simd.run_apart(Cap { scores: &mut scores[..take * BLOCK], function });
    }

    // Where all rows of the tile see the same keys, which is everywhere but at the edges, they are taken together.
    let (mut from, mut to) = (0, count);
    let mut ranges = [0..0, 0..0, 0..0, 0..0, 0..0, 0..0];
    for (i, range) in ranges.iter_mut().enumerate().take(take) {
        let visible = queries.visible(row + i);
        *range = visible.start.saturating_sub(block).min(count)..visible.end.saturating_sub(block).min(count);
        from = from.max(range.start);
        to = to.min(range.end);
        if range.start < range.end {
            softmax(simd, &mut scores[i * BLOCK..][..BLOCK], range, row + i, state);
        }
    }
    let to = to.max(from);
    let values = Right { at: values, stride: queries.value_dim, width: queries.value_dim };
    let width = state.width;
    let sums = &mut state.sums[row * width..][..take * width];
    for (i, range) in ranges.iter().enumerate().take(take) {
        let left = Left { at: &scores[i * BLOCK..][..BLOCK], stride: BLOCK };
        multiply(
            simd,
            1,
            left,
            values,
            range.start..range.end.min(from),
            &mut sums[i * width..][..width],
            width,
            ahead,
        );
    }
    let left = Left { at: &scores[..take * BLOCK], stride: BLOCK };
    multiply(simd, take, left, values, from..to, sums, width, ahead);
    for (i, range) in ranges.iter().enumerate().take(take) {
        let left = Left { at: &scores[i * BLOCK..][..BLOCK], stride: BLOCK };
        multiply(simd, 1, left, values, range.start.max(to)..range.end, &mut sums[i * width..][..width], width, ahead);
    }
}

/// Multiplies each row of scores by the keys' scales.
#[inline(always)]
fn scale<S: Simd>(simd: S, scores: &mut [f32], scales: &[f32]) {
    for row in scores.chunks_exact_mut(BLOCK) {
        for (to, by) in row.chunks_exact_mut(S::LANES).zip(scales.chunks_exact(S::LANES)) {
            // SAFETY: both are a whole register.
            unsafe { simd.store(simd.mul(simd.load(to.as_ptr()), simd.load(by.as_ptr())), to.as_mut_ptr()) }
        }
    }
}

/// Adds what the keys have behind latents, where its scales are others.
struct AddBehind<'a, 'b> {
    take: usize,
    left: Left<'a>,
    right: Right<'a>,
    /// Its rows of the transposed keys.
    range: Range<usize>,
    scales: &'a [f32],
    scores: &'a mut [f32],
    /// Memory for as many scores.
    others: &'a mut [f32],
    ahead: &'b mut Ahead,
}

impl Kernel for AddBehind<'_, '_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { take, left, right, range, scales, scores, others, ahead } = self;
        others.fill(0.0);
        multiply(simd, take, left, right, range, others, BLOCK, ahead);
        for (row, others) in scores.chunks_exact_mut(BLOCK).zip(others.chunks_exact(BLOCK)) {
            let others = others.chunks_exact(S::LANES).zip(scales.chunks_exact(S::LANES));
            for (to, (other, by)) in row.chunks_exact_mut(S::LANES).zip(others) {
                // SAFETY: all are a whole register.
                unsafe {
                    let sum = simd.mul_add(simd.load(other.as_ptr()), simd.load(by.as_ptr()), simd.load(to.as_ptr()));
                    simd.store(sum, to.as_mut_ptr());
                }
            }
        }
    }
}

/// Holds scores below a cap.
struct Cap<'a> {
    scores: &'a mut [f32],
    function: SoftCap,
}

impl Kernel for Cap<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for scores in self.scores.chunks_exact_mut(S::LANES) {
            // SAFETY: a whole register.
            unsafe { simd.store(self.function.of(simd, simd.load(scores.as_ptr())), scores.as_mut_ptr()) }
        }
    }
}

/// Turns a row's scores in `range` into weights and brings its state up to the new largest score.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &mut [f32], range: &Range<usize>, row: usize, state: &mut State) {
    scores[..range.start].fill(f32::NEG_INFINITY);
    scores[range.end..].fill(f32::NEG_INFINITY);
    let at = scores.as_mut_ptr();
    let mut largest = simd.splat(f32::NEG_INFINITY);
    for i in (0..BLOCK).step_by(S::LANES) {
        // SAFETY: the block is a whole number of registers.
        largest = simd.max(largest, unsafe { simd.load(at.add(i)) });
    }
    let before = state.largest[row];
    let largest = simd.largest(largest).max(before);
    let mut sum = simd.splat(0.0);
    for i in (0..BLOCK).step_by(S::LANES) {
        // SAFETY: the block is a whole number of registers.
        unsafe {
            let weight = exp(simd, simd.sub(simd.load(at.add(i)), simd.splat(largest)));
            simd.store(weight, at.add(i));
            sum = simd.add(sum, weight);
        }
    }
    let sum = simd.sum(sum);
    if largest > before {
        let by = exp_one(simd, before - largest);
        state.largest[row] = largest;
        state.weights[row] = state.weights[row] * by + sum;
        state.rescale(simd, row, by);
    } else {
        state.weights[row] += sum;
    }
}
